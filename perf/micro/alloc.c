/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator in its steady state: a region three quarters full, and for each block that goes
 * another comes. */
#include "shm/alloc.h"

#include <stdlib.h>

#include "base/random.h"
#include "perf/micro/bench.h"

#define CHUNK (2u << 20)
#define CHUNKS 256u
#define LIVE_MAX 65536u
#define ORDER (1u << 16) /* of going; power of two */

struct state {
    struct part_header header;
    struct part_map map;
    struct alloc alloc;
    struct chunk_entry entries[CHUNKS];
    uint32_t places[LIVE_MAX], victims[ORDER];
    uint32_t units, nr_live;
    uint16_t class;
    uint64_t at, failed;
};

static bool take(struct state *state, uint32_t block)
{
    return alloc_take(&state->alloc, state->class, state->units, block, &state->places[block]);
}

static void *setup(const struct bench *bench)
{
    struct state *state = calloc(1, sizeof(*state));
    struct rng rng;

    if (!state)
        return NULL;
    state->map = (struct part_map){.header = &state->header,
                                   .chunks = state->entries,
                                   .nr_chunks = CHUNKS,
                                   .chunk_size = CHUNK};
    if (alloc_open(&state->alloc, &state->map)) {
        free(state);
        return NULL;
    }
    state->units = (uint32_t)(bench->arg / DATA_UNIT);
    state->class = class_choose(&state->alloc.table, state->units);
    state->nr_live = (uint32_t)((uint64_t)CHUNKS * CHUNK / 4 * 3 / bench->arg);
    if (state->nr_live > LIVE_MAX)
        state->nr_live = LIVE_MAX;
    for (uint32_t i = 0; i < state->nr_live; i++)
        state->failed += !take(state, i);
    rng_seed(&rng, 1);
    for (uint32_t i = 0; i < ORDER; i++)
        state->victims[i] = (uint32_t)rng_below(&rng, state->nr_live);
    return state;
}

static void run(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++) {
        uint32_t block = state->victims[state->at++ % ORDER];
        struct slab *slab = alloc_slab(&state->alloc, state->places[block]);

        slab->reserved--;
        alloc_give(&state->alloc, state->places[block]);
        state->failed += !take(state, block);
    }
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    const struct size_class *class = &state->alloc.table.classes[state->class];
    bool right = state->failed == 0 && class->used == state->nr_live;

    alloc_close(&state->alloc);
    free(state);
    return right;
}

void alloc_benches(struct bench_list *list)
{
    static const uint64_t sizes[] = {64, 512, 4096, 64 << 10, 1 << 20};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bench bench = {.what = "a random block given back, another taken",
                              .arg = sizes[i],
                              .setup = setup,
                              .run = run,
                              .teardown = teardown};

        bench_name(&bench, "alloc/give-take/%s", bench_size(sizes[i]).s);
        bench_add(list, &bench);
    }
}
