/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices move blocks between the cache and clients' regions, as the settings say, and what
 * is told of them. Main thread. */
#pragma once

#include "dataplane/eth/fault.h"
#include "dataplane/settings.h"
#include "gpu/fleet.h"
#include "shm/arena.h"

/* *fleet NULL and 0: off, or (auto) none. Begins to register the arena's data with the devices. */
[[nodiscard]] int gpus_start(const struct settings *settings, struct arena *arena,
                             unsigned nr_cores, struct gpu_fleet **fleet, struct fault *fault);
/* Whether there are devices whose memory is worth a pool, where the settings want one; else says
 * why there is none. fleet may be NULL. */
[[nodiscard]] bool gpus_take_pool(const struct settings *settings, struct gpu_fleet *fleet);
/* fleet may be NULL. */
void gpus_stop(struct gpu_fleet *fleet, struct arena *arena);
/* Writes the devices' figures where others look: superblock.gpus. fleet may be NULL. */
void gpus_tell(struct gpu_fleet *fleet, struct arena *arena);
