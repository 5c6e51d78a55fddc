/* SPDX-License-Identifier: Apache-2.0 */
/* All stages together, from the datagram to the sealed reply, without a device: GETs of 64 bytes,
 * zipf 0.99, in bursts of 32 datagrams. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "client/build.h"
#include "perf/micro/bed.h"
#include "perf/micro/bench.h"

#define DATAGRAMS 8192u /* different ones; a multiple of BURST */
#define VALUE 64u

struct state {
    struct bed *bed;
    struct request requests[BURST];
    uint8_t *bytes, *buffers; /* datagrams to come; where those of a burst lie, and their replies */
    uint32_t stride, len, nr_ops;
    uint64_t at, asked;
};

static void build(struct state *state, const struct zipf *zipf, struct rng *rng, uint64_t number)
{
    struct kvr_hdr hdr = {.priority = KVR_NORMAL,
                          .id = number + 1,
                          .session = state->bed->session,
                          .cookie = state->bed->cookie,
                          .reply_max = UINT8_MAX};
    struct kvr_get_req get = {.count = 1};
    uint8_t key[BED_KEY];
    struct writer writer;

    build_begin(&writer, state->bytes + number * state->stride);
    for (unsigned i = 0; i < state->nr_ops; i++) {
        bed_key(zipf_next(zipf, rng), key);
        build_get(&writer, &get, key, sizeof(key));
    }
    state->len = build_finish(&writer, &hdr, NULL, 0);
}

static void *setup(const struct bench *bench)
{
    const uint32_t *nr_ops = bench->with;
    struct state *state = calloc(1, sizeof(*state));
    struct zipf zipf;
    struct rng rng;

    if (!state)
        return NULL;
    state->nr_ops = *nr_ops;
    state->stride = (uint32_t)sizeof(struct kvr_hdr) + *nr_ops * build_get_size(BED_KEY);
    state->bytes = aligned_alloc(8, (size_t)DATAGRAMS * state->stride);
    state->buffers = aligned_alloc(CACHE_LINE, (size_t)BURST * BED_FRAME);
    state->bed = state->bytes && state->buffers ? bed_open(bench->arg, VALUE, NULL) : NULL;
    if (!state->bed || !bed_fill(state->bed, bench->arg, VALUE)) {
        if (state->bed)
            bed_close(state->bed);
        free(state->bytes);
        free(state->buffers);
        free(state);
        return NULL;
    }
    rng_seed(&rng, 1);
    zipf_setup(&zipf, bench->arg, 0.99);
    for (uint64_t i = 0; i < DATAGRAMS; i++)
        build(state, &zipf, &rng, i);
    return state;
}

/* The i-th of a burst, into a buffer of its own: the reply may be written over it. */
static void receive(struct state *state, unsigned i, uint64_t now_ns)
{
    struct request *request = &state->requests[i];
    uint8_t *buffer = state->buffers + (size_t)i * BED_FRAME;

    memcpy(buffer, state->bytes + state->at++ % DATAGRAMS * state->stride, state->len);
    request->next = NULL;
    request->frame = buffer;
    request->msg = buffer;
    request->len = state->len;
    request->room = KVR_DATAGRAM_MAX;
    request->arrived_ns = now_ns;
    request->peer = state->bed->peer;
}

static void run(void *arg, uint64_t nr)
{
    struct state *state = arg;
    struct core *core = state->bed->core;

    for (uint64_t done = 0; done < nr; done += (uint64_t)BURST * state->nr_ops) {
        struct request *burst[BURST];
        uint64_t now_ns = clock_ns();

        core_tick(core, now_ns);
        for (unsigned i = 0; i < BURST; i++) {
            burst[i] = &state->requests[i];
            receive(state, i, now_ns);
        }
        engine_burst(core, burst, BURST);
        (void)engine_turn(core);
    }
    state->asked += nr;
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    bool right = state->bed->core->stats->hits == state->asked;

    bed_close(state->bed);
    free(state->bytes);
    free(state->buffers);
    free(state);
    return right;
}

void engine_benches(struct bench_list *list)
{
    static const uint32_t batches[] = {1, 16};
    static const uint64_t sizes[] = {64ull << 10, 1ull << 20};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (unsigned j = 0; j < sizeof(batches) / sizeof(batches[0]); j++) {
            struct bench bench = {.what = j == 0 ? "GET, one a datagram" : "GET, 16 a datagram",
                                  .with = &batches[j],
                                  .arg = sizes[i],
                                  .memory = bed_memory(sizes[i], VALUE),
                                  .step = BURST * batches[j],
                                  .setup = setup,
                                  .run = run,
                                  .teardown = teardown};

            bench_name(&bench, "engine/get%s/%s", j == 0 ? "" : "16", bench_size(sizes[i]).s);
            bench_add(list, &bench);
        }
}
