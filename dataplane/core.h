/* SPDX-License-Identifier: Apache-2.0 */
/* One poll core: everything its thread owns. Fields are the core's own unless they say otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cacheline.h"
#include "dataplane/request.h"
#include "dataplane/settings.h"
#include "dataplane/transport.h"
#include "shm/arena.h"
#include "shm/partition.h"

#define BURST 32u
#define PARKED_MAX 1024u /* requests of one core that wait; beyond it BUSY */
/* Bytes that the GETs of a burst send before the rest of them wait, and again those that wait: a
 * turn stays below some 500 datagrams of 1,448 bytes, however much one burst asks for. */
#define TRAIN_BUDGET (256u * 1024u)

struct session_table;
struct upload_table;
struct handoff;
struct cookie_cache;

/* Secret of the cookies, shared by all cores, never changed after it was made. */
struct cookie_keys;

/* Settings that may change while running; live_publish hands a new copy to every core. */
struct live_settings {
    enum idle_policy idle;
    uint32_t train_max, cookie_ms, upload_idle_ms, lease_max_ms, deadline_default_ms;
    uint32_t zero_copy_min;
    char policy[16];
};

/* What GETs answered by get_single came to, until they are counted behind their burst. */
struct singles {
    uint64_t value_bytes;
    uint32_t nr;
    uint64_t bytes; /* of datagrams */
};

struct core {
    unsigned index, nr_cores;
    uint64_t now_ns; /* read once per loop turn */
    uint32_t now_ms; /* arena_ms(now_ns) */
    uint64_t epoch;  /* of cookies: now_ns in units of cookie_ms */
    struct arena *arena;
    struct core_stats *stats;
    struct transport *transport;
    struct transport *local; /* of clients on this host (local/turn.h); NULL: none can come */
    uint64_t local_ns;       /* one of them asked for something then */
    struct partition *partitions[KVR_PARTITIONS_MAX]; /* own ones; NULL = another core's */
    unsigned nr_partitions;                           /* of the arena */
    struct session_table *sessions;
    struct upload_table *uploads;
    struct handoff *handoff; /* shared by all cores; its rings are SPSC */
    const struct cookie_keys *cookies;
    struct cookie_cache *cookie_cache;
    struct pool *pool;               /* of its partitions' blocks (pools.h); NULL: none. Main thread
                                      * writes while the core does not run */
    struct live_settings *live;      /* main thread publishes; core_tick loads it */
    const struct live_settings *now; /* live as of this turn */
    struct request *parked, **parked_tail;
    unsigned nr_parked;
    uint32_t train_max;   /* of GETs; not lower than any cookie's HELLO said */
    uint64_t train_epoch; /* the last one with such HELLOs */
    uint64_t boot_id;
    uint64_t burst_ns;     /* arrival of this turn's burst; 0 = none */
    uint32_t crc_budget;   /* bytes of uploads that this turn may still check */
    uint32_t unit_shift;   /* crc32c_shift(KVR_FRAG_BEST) */
    uint32_t copy_max;     /* longer values are sent from where they lie */
    uint32_t train_budget; /* bytes of values that GETs may still send before they wait */
    struct singles singles;
    uint32_t errors_second, errors_noted; /* the ring of errors takes some a second only */
    uint16_t answered[KVR_OPCODES];       /* ops of this turn's burst, for the histograms */
    uint16_t base_port;
    uint32_t max_datagram;
    uint32_t expired_ms; /* sessions and uploads were looked through then */
    char policy[16];     /* of the partitions */
    bool stop;           /* atomic: set by the main thread */
};

/* Where the request came from, and its answers go. */
static inline struct transport *request_transport(const struct core *core,
                                                  const struct request *request)
{
    return unlikely(request->local) ? core->local : core->transport;
}

static inline unsigned partition_owner(const struct core *core, unsigned partition)
{
    return partition % core->nr_cores;
}

/* How long an idle session is remembered: longer than any cookie that its client may still hold,
 * and longer than its uploads. */
static inline uint32_t core_session_keep_ms(const struct core *core)
{
    return 2 * core->now->cookie_ms + 2 * core->now->upload_idle_ms;
}

/* ---- Made by the main thread, before the cores' threads run (core.c, handoff.c, cookie.c) ---- */

struct core_options {
    unsigned index, nr_cores;    /* index < nr_cores <= partitions of the arena */
    struct arena *arena;         /* writable; outlives the core */
    struct transport *transport; /* the core's own */
    struct handoff *handoff;     /* may be NULL with one core */
    const struct cookie_keys *cookies;
    struct reclaimer *reclaimer;
    struct local *local;       /* clients on this host; NULL: none */
    struct live_settings live; /* copied */
    uint32_t sessions_max, uploads_max;
    uint16_t base_port; /* UDP port of partition 0 */
    uint64_t boot_id;
    bool verify; /* check every stored value first */
};

/* Opens the core's partitions and makes its tables. recovery: summed over its partitions.
 * 0, -EINVAL (unknown policy, options out of range), -ENOMEM. */
[[nodiscard]] int core_create(const struct core_options *options, struct core **out,
                              struct partition_recovery *recovery);
/* After the thread ended: releases what is parked or waits in the core's rings, aborts its uploads,
 * closes its partitions. The transport must still be there. */
void core_destroy(struct core *core);

/* Gives every core its copy of new settings and frees the old ones after a grace period: blocks
 * until every core passed a turn. The calling thread is no RCU reader. 0, -EINVAL (cookie_ms 0),
 * -ENOMEM. */
[[nodiscard]] int live_publish(struct core **cores, unsigned nr_cores,
                               const struct live_settings *live);

/* Rings from every core to every other. -ENOMEM. */
[[nodiscard]] int handoff_create(unsigned nr_cores, struct handoff **out);
void handoff_destroy(struct handoff *handoff);

/* -ENOMEM, -EIO (no randomness). */
[[nodiscard]] int cookie_keys_create(struct cookie_keys **out);
void cookie_keys_destroy(struct cookie_keys *keys);

/* ---- A turn of the poll loop ---- */

/* Begins a turn: the time, the live settings, the budgets. core.c */
void core_tick(struct core *core, uint64_t now_ns);

/* One burst of received requests, through all stages; every request is released, parked or handed
 * on. n <= BURST. engine.c */
void engine_burst(struct core *core, struct request **requests, unsigned n);

/* The rest of a loop turn: requests handed over, parked work, clients on this host, partitions,
 * sessions, uploads.
 * Returns whether there was anything to do. */
bool engine_turn(struct core *core);

/* Runs until core->stop: the poll loop of one core, on the calling thread. loop.c */
void loop_run(struct core *core);
