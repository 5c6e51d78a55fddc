/* SPDX-License-Identifier: Apache-2.0 */
/* What it costs to know: counters, histograms, the statistics of an answered op, the clock. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"
#include "dataplane/reply.h"
#include "perf/micro/bed.h"
#include "perf/micro/bench.h"

#define VALUES 4096u

struct state {
    struct bed *bed; /* run_answer */
    struct request request;
    uint64_t counter, asked;
    struct histogram histogram;
    uint64_t values[VALUES];
};

static void *setup(const struct bench *bench)
{
    struct state *state = calloc(1, sizeof(*state));
    struct rng rng;

    (void)bench;
    if (!state)
        return NULL;
    rng_seed(&rng, 1);
    for (unsigned i = 0; i < VALUES; i++)
        state->values[i] = 500 + rng_below(&rng, 20000);
    return state;
}

static void *setup_answer(const struct bench *bench)
{
    struct state *state = setup(bench);

    if (!state)
        return NULL;
    state->bed = bed_open(1, 0, NULL);
    if (!state->bed) {
        free(state);
        return NULL;
    }
    state->request.nr_ops = 1;
    state->request.ops[0].opcode = KVR_GET;
    return state;
}

static void run_counter(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++) {
        counter_add(&state->counter, 1);
        bench_keep(&state->counter);
    }
    state->asked += nr;
}

static void run_histogram(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++)
        histogram_add(&state->histogram, state->values[i % VALUES]);
    state->asked += nr;
}

static void run_answer(void *arg, uint64_t nr)
{
    struct state *state = arg;
    struct core *core = state->bed->core;

    for (uint64_t done = 0; done < nr; done += BURST) {
        core->burst_ns = state->request.arrived_ns = core->now_ns;
        for (unsigned i = 0; i < BURST; i++)
            answer_count(core, &state->request, &state->request.ops[0], KVR_OK);
        answer_latency(core, core->now_ns + 1000);
    }
    state->asked += nr;
}

static void run_clock(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++)
        state->values[0] = clock_ns();
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    uint64_t counted = state->counter + state->histogram.count;

    if (state->bed) {
        counted += state->bed->core->stats->latency[KVR_GET].count;
        bed_close(state->bed);
    }
    bool right = counted == state->asked;
    free(state);
    return right;
}

void count_benches(struct bench_list *list)
{
    static const struct bench benches[] = {
        {.name = "count/counter",
         .what = "counter_add, each seen in memory",
         .setup = setup,
         .run = run_counter},
        {.name = "count/histogram",
         .what = "histogram_add of 0.5 to 20.5 us",
         .setup = setup,
         .run = run_histogram},
        {.name = "count/answer",
         .what = "counter and latency of an op, bursts of 32",
         .step = BURST,
         .setup = setup_answer,
         .run = run_answer},
        {.name = "count/clock", .what = "clock_ns", .setup = setup, .run = run_clock},
    };

    for (unsigned i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        struct bench bench = benches[i];

        bench.teardown = teardown;
        bench_add(list, &bench);
    }
}
