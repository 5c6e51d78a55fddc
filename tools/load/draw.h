/* SPDX-License-Identifier: Apache-2.0 */
/* Which keys the operations are for. Zipf ranks are drawn ahead of time, into a table that all
 * threads read, each from a place of its own: to draw one takes longer than to ask for its key.
 * Uniform ones are made as they are needed, so that none comes more often than others. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "tools/bench.h"

/* Read by all threads. */
struct draw_table {
    uint32_t *ids;
    uint64_t mask; /* of ids: one less than their power of two */
};

/* Ids of [0, keys), keys at most 2^32. least: entries at least, a power of two. -ENOMEM. Others
 * than zipf need no table and get none. */
[[nodiscard]] int draw_table_create(struct draw_table *table, const struct bench_settings *s,
                                    uint64_t least);
void draw_table_destroy(struct draw_table *table);

/* A thread's. */
struct draw {
    enum bench_dist dist;
    const uint32_t *ids;
    uint64_t mask, at; /* at: place in the table, or of the next sequential one */
    uint64_t keys, step;
    struct rng rng;
};

void draw_setup(struct draw *draw, const struct draw_table *table, const struct bench_settings *s,
                unsigned thread);

static inline uint64_t draw_next(struct draw *draw)
{
    uint64_t id;

    if (draw->dist == BENCH_ZIPF)
        return draw->ids[draw->at++ & draw->mask];
    if (draw->dist == BENCH_UNIFORM)
        return rng_below(&draw->rng, draw->keys);
    id = draw->at;
    draw->at += draw->step;
    if (draw->at >= draw->keys)
        draw->at %= draw->keys;
    return id;
}
