/* SPDX-License-Identifier: Apache-2.0 */
/* One poll core: everything its thread owns. Fields are the core's own unless they say otherwise. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/request.h"
#include "dataplane/settings.h"
#include "dataplane/transport.h"
#include "shm/arena.h"
#include "shm/partition.h"

#define BURST 32u

struct session_table;
struct upload_table;
struct handoff;

/* Cookie keys, shared by all cores: made at start, turned over by the main thread. */
struct cookie_keys;

/* Settings that may change while running; the main thread publishes a new copy and frees the old
 * one after a grace period. */
struct live_settings {
    enum idle_policy idle;
    uint32_t train_max, cookie_ms, upload_idle_ms, lease_max_ms, deadline_default_ms;
    uint32_t zero_copy_min;
    char policy[16];
};

struct core {
    unsigned index, nr_cores;
    uint64_t now_ns;  /* read once per loop turn */
    uint32_t now_ms;  /* arena_ms(now_ns) */
    struct arena *arena;
    struct core_stats *stats;
    struct transport *transport;
    struct partition *partitions[KVR_PARTITIONS_MAX]; /* own ones; NULL = another core's */
    unsigned nr_partitions;                           /* of the arena */
    struct session_table *sessions;
    struct upload_table *uploads;
    struct handoff *handoff;                          /* shared by all cores; its rings are SPSC */
    struct cookie_keys *cookies;
    struct live_settings *live;                       /* read with rcu: load once per turn */
    struct request *parked, **parked_tail;
    uint64_t boot_id;
    uint16_t base_port;
    uint32_t max_datagram;
    bool stop; /* atomic: set by the main thread */
};

static inline unsigned partition_owner(const struct core *core, unsigned partition)
{
    return partition % core->nr_cores;
}

/* One burst of received requests, through all stages; every request is released, parked or handed
 * on. n <= BURST. engine.c */
void engine_burst(struct core *core, struct request **requests, unsigned n);

/* The rest of a loop turn: requests handed over, parked work, partitions, sessions, uploads.
 * Returns whether there was anything to do. */
bool engine_turn(struct core *core);

/* Runs until core->stop: the poll loop of one core, on the calling thread. loop.c */
void loop_run(struct core *core);
