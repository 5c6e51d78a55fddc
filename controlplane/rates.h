/* SPDX-License-Identifier: Apache-2.0 */
/* What the counters did lately: two readings about a second apart. Main thread. */
#pragma once

#include <stdint.h>

#include "controlplane/loop.h"
#include "shm/arena.h"

/* A device, as it was told last. */
struct gpu_reading {
    uint64_t at_ns, load_bytes, store_bytes, load_busy_ns, store_busy_ns;
};

struct reading_sum {
    uint64_t at_ns;
    uint64_t gets, puts, hits, misses, rx_datagrams, rx_bytes, tx_datagrams, tx_bytes;
    uint64_t busy_ns[KVR_PARTITIONS_MAX];
    struct gpu_reading gpus[GPU_ROWS];
};

struct rates {
    struct loop *loop;
    const struct arena *arena;
    struct timer timer;
    struct reading_sum before, now;
};

void rates_start(struct rates *rates, struct loop *loop, const struct arena *arena);
void rates_stop(struct rates *rates);

/* Per second over the last interval; 0 before there is one. */
double rates_of(const struct rates *rates, uint64_t before, uint64_t now);
/* 0 .. 1 */
double rates_busy(const struct rates *rates, unsigned core);

/* Operations answered by a core, over all statuses. */
uint64_t ops_total(const struct core_stats *stats, enum kvr_opcode op);
