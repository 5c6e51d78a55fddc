/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine calls for clients on this host: a poll core's side of local.h. */
#pragma once

#include "dataplane/core.h"

struct local;
struct session_table;

/* The core's partitions are open, its thread does not run yet: it serves local's clients from its
 * first turn on. Sets core->local. */
void local_bind(struct local *local, struct core *core);
/* Its thread has ended: releases what waits. Places stay, for the next run. */
void local_unbind(struct core *core);

/* A core's share of a turn: requests from the rings through all stages, waiting ones, accesses,
 * clients that leave. Returns whether there was anything to do that may not wait for a sleep. */
bool local_turn(struct core *core);

/* Whether a client may ask this; else the status for its header. What it says of itself is put
 * right: reply_max. */
[[nodiscard]] enum kvr_status local_admit(struct core *core, struct request *request);
/* Where the seqs of the client's writes are known. */
struct session_table *local_sessions(const struct core *core, const struct request *request);
/* Waits at its client, until the next turn. */
void local_park(struct core *core, struct request *request);
/* All ops of the request that this core owns are done: nothing waits for their copies. */
void local_settle(struct core *core, const struct request *request);
