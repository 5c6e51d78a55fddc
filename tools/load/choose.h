/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses what goes into a thread's next datagram: kinds of ops by their weights, keys by their
 * distribution, gathered by partition where a datagram may only hold one. No DPDK. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"
#include "tools/load/draw.h"
#include "tools/load/settings.h"

/* The ops of one datagram. */
struct chosen {
    uint8_t nr;
    bool writes; /* one of them does */
    bool alone;  /* it is one op, and needs several datagrams */
    uint16_t partition;
    uint8_t kinds[KVR_OPS_MAX]; /* enum bench_op */
    uint64_t ids[KVR_OPS_MAX];
    uint8_t *keys; /* key_len bytes each, stride apart */
};

struct chooser {
    const struct load_settings *settings;
    const struct limits *limits;
    uint64_t seed;                       /* of the server's key hash */
    uint32_t nr_partitions, nr_gathered; /* gathered: one a partition, or one for all */
    uint32_t stride;                     /* of keys */
    uint32_t batch;                      /* ops of a datagram */
    uint64_t left;                       /* ops to choose; UINT64_MAX = no end */
    bool gathers, warming;
    uint64_t weights, hot_below; /* sum of weights; of 2^64: share of the hot partition */
    enum bench_op only;          /* BENCH_OPS: a mix */
    enum bench_op kind;          /* drawn by chooser_kind; BENCH_OPS: none */
    struct draw draw;
    struct rng rng;
    uint8_t key[KVR_KEY_MAX]; /* of an op whose datagram is not known yet */
    uint64_t *again;          /* warming: ids that were not stored at the first try */
    uint32_t nr_again, again_max;
    struct chosen gathered[KVR_PARTITIONS_MAX];
    bool may_be_alone[BENCH_OPS]; /* kinds of which some ops need several datagrams */
    struct chosen alone;          /* has no keys */
};

/* again_max: ops in flight at most. settings and limits have to stay. -ENOMEM. */
[[nodiscard]] int chooser_create(struct chooser *c, const struct load_settings *s,
                                 const struct limits *limits, const struct draw_table *table,
                                 const struct kvr_hello_rep *hello, unsigned thread,
                                 uint32_t again_max);
void chooser_destroy(struct chooser *c);

/* Begins a phase: every key of this thread once, or ops as the settings say. */
void chooser_warm(struct chooser *c, unsigned thread, uint32_t batch);
void chooser_measure(struct chooser *c, uint64_t quota);

/* The kind of the next op, for a caller that may have a shorter way than chooser_next for it. */
enum bench_op chooser_kind(struct chooser *c);
/* The next datagram's, to be emptied (nr = 0) by who sends it; NULL: nothing is left. */
struct chosen *chooser_next(struct chooser *c);
/* An op of the warm-up has to come again. */
void chooser_again(struct chooser *c, uint64_t id);
