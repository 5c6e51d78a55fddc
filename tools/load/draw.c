/* SPDX-License-Identifier: Apache-2.0 */
/* The table of zipf ranks: as many entries as the rarer keys need to come at all, within reason. */
#include "tools/load/draw.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRIES_MAX (1ull << 25)

int draw_table_create(struct draw_table *table, const struct bench_settings *s, uint64_t least)
{
    uint64_t nr = least;
    struct zipf zipf;
    struct rng rng;

    *table = (struct draw_table){0};
    if (s->dist != BENCH_ZIPF)
        return 0;
    while (nr < 4 * s->keys && nr < ENTRIES_MAX)
        nr *= 2;
    table->ids = malloc(nr * sizeof(table->ids[0]));
    if (!table->ids)
        return -ENOMEM;
    table->mask = nr - 1;
    rng_seed(&rng, s->seed);
    zipf_setup(&zipf, s->keys, s->exponent);
    for (uint64_t i = 0; i < nr; i++)
        table->ids[i] = (uint32_t)zipf_next(&zipf, &rng);
    return 0;
}

void draw_table_destroy(struct draw_table *table)
{
    free(table->ids);
    table->ids = NULL;
}

void draw_setup(struct draw *draw, const struct draw_table *table, const struct bench_settings *s,
                unsigned thread)
{
    *draw = (struct draw){.dist = s->dist,
                          .ids = table->ids,
                          .mask = table->mask,
                          .keys = s->keys,
                          .step = s->threads};
    rng_seed(&draw->rng, s->seed * 1000003 + thread);
    draw->at = s->dist == BENCH_ZIPF ? (table->mask + 1) / s->threads * thread : thread % s->keys;
}
