/* SPDX-License-Identifier: Apache-2.0 */
/* Every eviction policy over 256 K blocks: hits as a partition reports them (bursts of 32, zipf
 * 0.99), blocks that come, that go in random order, and that go because they are the victim. */
#include <stdlib.h>

#include "base/random.h"
#include "perf/micro/bench.h"
#include "shm/evict.h"

#define BLOCKS (256u << 10)
#define HITS (1u << 20)
#define HIT_BURST 32u

struct state {
    const struct policy_ops *ops;
    struct policy *policy;
    struct block_desc *descs;
    struct block_meta *metas;
    uint32_t *order; /* the blocks in random order */
    uint32_t *hits;
    uint64_t at;
    uint32_t nr_in; /* of order, from its start, are in the policy */
    uint64_t wrong;
};

static void shuffle(uint32_t *order, struct rng *rng)
{
    for (uint32_t i = 0; i < BLOCKS; i++)
        order[i] = i;
    for (uint32_t i = BLOCKS - 1; i > 0; i--) {
        uint32_t j = (uint32_t)rng_below(rng, i + 1), block = order[i];

        order[i] = order[j];
        order[j] = block;
    }
}

static void describe(struct state *state)
{
    for (uint32_t i = 0; i < BLOCKS; i++)
        state->descs[i] = (struct block_desc){.generation = 1,
                                              .state = BLOCK_SEALED,
                                              .key_len = 8,
                                              .value_len = 4096,
                                              .key_words = {i}};
}

static void release(struct state *state)
{
    free(state->descs);
    free(state->metas);
    free(state->order);
    free(state->hits);
    free(state);
}

static void *setup(const struct bench *bench)
{
    struct state *state = calloc(1, sizeof(*state));
    struct policy_env env = {.nr_blocks = BLOCKS};
    struct rng rng;
    struct zipf zipf;

    if (!state)
        return NULL;
    rng_seed(&rng, 1);
    zipf_setup(&zipf, BLOCKS, 0.99);
    state->ops = bench->with;
    state->descs = aligned_alloc(CACHE_LINE, BLOCKS * sizeof(*state->descs));
    state->metas = calloc(BLOCKS, sizeof(*state->metas));
    state->order = malloc(BLOCKS * sizeof(*state->order));
    state->hits = malloc(HITS * sizeof(*state->hits));
    env.descs = state->descs;
    env.metas = state->metas;
    if (!state->descs || !state->metas || !state->order || !state->hits) {
        release(state);
        return NULL;
    }
    describe(state);
    shuffle(state->order, &rng);
    for (uint32_t i = 0; i < HITS; i++)
        state->hits[i] = state->order[zipf_next(&zipf, &rng)];
    if (state->ops->create(&env, &state->policy)) {
        release(state);
        return NULL;
    }
    return state;
}

static void fill(void *arg)
{
    struct state *state = arg;

    for (; state->nr_in < BLOCKS; state->nr_in++)
        state->ops->insert(state->policy, state->order[state->nr_in]);
}

static void drain(void *arg)
{
    struct state *state = arg;

    while (state->nr_in > 0)
        state->ops->remove(state->policy, state->order[--state->nr_in]);
}

static void run_hits(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t done = 0; done < nr; done += HIT_BURST) {
        const uint32_t *hits = &state->hits[state->at % HITS];

        state->at += HIT_BURST;
        state->ops->hits(state->policy, hits, HIT_BURST);
    }
}

static void run_insert(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++)
        state->ops->insert(state->policy, state->order[state->nr_in++]);
}

static void run_remove(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++)
        state->ops->remove(state->policy, state->order[--state->nr_in]);
}

/* The victim goes, and comes in again as a new block. */
static void run_replace(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++) {
        uint32_t block;

        state->ops->walk_start(state->policy);
        block = state->ops->walk_next(state->policy);
        if (block == BLOCK_NONE) {
            state->wrong++;
            continue;
        }
        state->ops->remove(state->policy, block);
        state->ops->insert(state->policy, block);
    }
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    bool right = state->wrong == 0;

    state->ops->destroy(state->policy);
    release(state);
    return right;
}

void policy_benches(struct bench_list *list)
{
    static const struct bench kinds[] = {
        {.name = "hit",
         .what = "hit, in bursts of 32",
         .step = HIT_BURST,
         .prepare = fill,
         .run = run_hits},
        {.name = "insert",
         .what = "block that comes",
         .most = BLOCKS,
         .prepare = drain,
         .run = run_insert},
        {.name = "remove",
         .what = "random block that goes",
         .most = BLOCKS,
         .prepare = fill,
         .run = run_remove},
        {.name = "replace",
         .what = "victim found, removed, another inserted",
         .prepare = fill,
         .run = run_replace},
    };

    for (const struct policy_ops *const *policy = policies; *policy; policy++)
        for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            struct bench bench = kinds[i];

            bench_name(&bench, "policy/%s/%s", (*policy)->name, kinds[i].name);
            bench.with = *policy;
            bench.setup = setup;
            bench.teardown = teardown;
            bench_add(list, &bench);
        }
}
