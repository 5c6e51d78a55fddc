/* SPDX-License-Identifier: Apache-2.0 */
/* Lookups in a full index: of keys that are there and of others, one by one and in bursts with both
 * passes of prefetching. Keys come in random order, hashed before. */
#include "shm/index.h"

#include <stdlib.h>

#include "base/random.h"
#include "perf/micro/bed.h"
#include "perf/micro/bench.h"

#define LOOKUPS (1u << 20) /* different ones */

struct lookup {
    struct key_hash hash;
    uint8_t key[BED_KEY];
};

struct state {
    struct bed *bed;
    struct lookup *lookups;
    uint64_t at, found, asked;
    bool stored; /* all of them should be found; else none */
};

static void *setup(const struct bench *bench)
{
    const bool *stored = bench->with;
    struct state *state = calloc(1, sizeof(*state));
    struct rng rng;

    if (!state)
        return NULL;
    rng_seed(&rng, 1);
    state->stored = *stored;
    state->lookups = malloc(LOOKUPS * sizeof(*state->lookups));
    state->bed = bed_open(bench->arg, 0, NULL);
    if (!state->lookups || !state->bed || !bed_fill(state->bed, bench->arg, 0)) {
        if (state->bed)
            bed_close(state->bed);
        free(state->lookups);
        free(state);
        return NULL;
    }
    for (unsigned i = 0; i < LOOKUPS; i++) {
        uint64_t id = rng_below(&rng, bench->arg) + (state->stored ? 0 : bench->arg);

        bed_key(id, state->lookups[i].key);
        state->lookups[i].hash = bed_hash(state->bed, state->lookups[i].key);
    }
    return state;
}

static bool find(struct state *state, const struct lookup *lookup)
{
    struct block_view view;
    bool found = index_find(&state->bed->arena, 0, lookup->hash, lookup->key, BED_KEY,
                            state->bed->core->now_ms, &view);

    bench_keep(&view);
    return found;
}

static void run_single(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++)
        state->found += find(state, &state->lookups[state->at++ % LOOKUPS]);
    state->asked += nr;
}

static void run_burst(void *arg, uint64_t nr)
{
    struct state *state = arg;
    const struct arena *arena = &state->bed->arena;

    for (uint64_t done = 0; done < nr; done += BURST) {
        const struct lookup *burst = &state->lookups[state->at % LOOKUPS];

        state->at += BURST;
        for (unsigned i = 0; i < BURST; i++)
            index_prefetch(arena, 0, burst[i].hash);
        for (unsigned i = 0; i < BURST; i++)
            index_prefetch_block(arena, 0, burst[i].hash);
        for (unsigned i = 0; i < BURST; i++)
            state->found += find(state, &burst[i]);
    }
    state->asked += nr;
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    bool right = state->found == (state->stored ? state->asked : 0);

    bed_close(state->bed);
    free(state->lookups);
    free(state);
    return right;
}

struct keys {
    uint64_t nr;
    uint8_t keys[4096][BED_KEY];
};

static void *setup_keys(const struct bench *bench)
{
    struct keys *keys = calloc(1, sizeof(*keys));

    (void)bench;
    for (unsigned i = 0; keys && i < 4096; i++)
        bed_key(i, keys->keys[i]);
    return keys;
}

static void run_hash(void *arg, uint64_t nr)
{
    struct keys *keys = arg;

    for (uint64_t i = 0; i < nr; i++) {
        struct key_hash hash = hash_key(keys->keys[i % 4096], BED_KEY, 7);

        bench_keep(&hash);
    }
}

static bool teardown_keys(void *arg)
{
    free(arg);
    return true;
}

static void add(struct bench_list *list, const char *what, const bool *stored, bool burst,
                uint64_t nr_keys)
{
    struct bench bench = {.what = what,
                          .with = stored,
                          .arg = nr_keys,
                          .memory = bed_memory(nr_keys, 0) + LOOKUPS * sizeof(struct lookup),
                          .step = BURST,
                          .setup = setup,
                          .run = burst ? run_burst : run_single,
                          .teardown = teardown};

    bench_name(&bench, "index/%s%s/%s", *stored ? "hit" : "miss", burst ? "-burst" : "",
               bench_size(nr_keys).s);
    bench_add(list, &bench);
}

void index_benches(struct bench_list *list)
{
    static const uint64_t sizes[] = {64ull << 10, 1ull << 20, 16ull << 20};
    static const bool stored = true, absent = false;
    struct bench hash = {.name = "index/hash",
                         .what = "hash of a key of 16 bytes",
                         .setup = setup_keys,
                         .run = run_hash,
                         .teardown = teardown_keys};

    bench_add(list, &hash);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        add(list, "lookup that finds", &stored, false, sizes[i]);
        add(list, "lookup that finds, in bursts of 32", &stored, true, sizes[i]);
        add(list, "lookup in vain", &absent, false, sizes[i]);
        add(list, "lookup in vain, in bursts of 32", &absent, true, sizes[i]);
    }
}
