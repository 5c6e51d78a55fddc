/* SPDX-License-Identifier: Apache-2.0 */
/* Words and requests on their way to another core: on one CPU, and between two. The second thread
 * spins on the second CPU as long as its benchmark lasts. */
#include "dataplane/handoff.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/spsc.h"
#include "perf/micro/bench.h"

#define RING 1024u
#define NR 32u

struct state {
    struct spsc there, back;
    struct handoff *handoff;
    struct core cores[2];
    struct request requests[NR];
    uint64_t sent, got, wrong;
    pthread_t thread;
    bool threaded;
    bool stop;                        /* atomic: main writes */
    cache_aligned uint64_t seen, sum; /* atomic: the second thread writes */
};

static bool stopped(const struct state *state)
{
    return __atomic_load_n(&state->stop, __ATOMIC_RELAXED);
}

/* Second threads. */

static void *sink(void *arg)
{
    struct state *state = arg;
    uint64_t word;

    bench_pin_second();
    while (!stopped(state)) {
        if (!spsc_pop(&state->there, &word)) {
            cpu_relax();
            continue;
        }
        __atomic_store_n(&state->sum, state->sum + word, __ATOMIC_RELAXED);
        /* release: with the acquire in run_stream, the sum is complete */
        __atomic_store_n(&state->seen, state->seen + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *echo(void *arg)
{
    struct state *state = arg;
    uint64_t word;

    bench_pin_second();
    while (!stopped(state)) {
        if (spsc_pop(&state->there, &word))
            (void)spsc_push(&state->back, word);
        else
            cpu_relax();
    }
    return NULL;
}

static void *echo_requests(void *arg)
{
    struct state *state = arg;

    bench_pin_second();
    while (!stopped(state)) {
        unsigned ring = 0;
        struct request *request = handoff_pop(&state->cores[1], &ring);

        if (!request) {
            cpu_relax();
            continue;
        }
        request->nr_open--;
        while (!handoff_push(&state->cores[1], 0, request) && !stopped(state))
            cpu_relax();
    }
    return NULL;
}

/* Setup and end. */

static bool teardown(void *arg)
{
    struct state *state = arg;
    bool right = state->wrong == 0 && state->got == state->sent;

    __atomic_store_n(&state->stop, true, __ATOMIC_RELAXED);
    if (state->threaded)
        pthread_join(state->thread, NULL);
    if (state->handoff)
        handoff_destroy(state->handoff);
    spsc_destroy(&state->there);
    spsc_destroy(&state->back);
    free(state);
    return right;
}

static struct state *make(void *(*thread)(void *))
{
    struct state *state = aligned_alloc(CACHE_LINE, sizeof(*state));

    if (!state)
        return NULL;
    memset(state, 0, sizeof(*state));
    if (spsc_create(&state->there, RING) || spsc_create(&state->back, RING) ||
        handoff_create(2, &state->handoff)) {
        (void)teardown(state);
        return NULL;
    }
    for (unsigned i = 0; i < 2; i++) {
        state->cores[i].index = i;
        state->cores[i].nr_cores = 2;
        state->cores[i].handoff = state->handoff;
    }
    state->threaded = thread && pthread_create(&state->thread, NULL, thread, state) == 0;
    if (thread && !state->threaded) {
        log_error("no thread");
        (void)teardown(state);
        return NULL;
    }
    return state;
}

static void *setup_alone(const struct bench *bench)
{
    (void)bench;
    return make(NULL);
}

static void *setup_sink(const struct bench *bench)
{
    (void)bench;
    return make(sink);
}

static void *setup_echo(const struct bench *bench)
{
    (void)bench;
    return make(echo);
}

static void *setup_requests(const struct bench *bench)
{
    (void)bench;
    return make(echo_requests);
}

/* What is timed. */

static void run_ring(void *arg, uint64_t nr)
{
    struct state *state = arg;
    uint64_t word = 0;

    for (uint64_t done = 0; done < nr; done += NR) {
        for (unsigned i = 0; i < NR; i++)
            state->sent += spsc_push(&state->there, i);
        for (unsigned i = 0; i < NR; i++) {
            state->got += spsc_pop(&state->there, &word);
            state->wrong += word != i;
        }
    }
}

static void run_stream(void *arg, uint64_t nr)
{
    struct state *state = arg;
    uint64_t before = state->sum;

    for (uint64_t i = 0; i < nr; i++)
        while (!spsc_push(&state->there, 1))
            cpu_relax();
    state->sent += nr;
    while (__atomic_load_n(&state->seen, __ATOMIC_ACQUIRE) < state->sent)
        cpu_relax();
    state->got += __atomic_load_n(&state->sum, __ATOMIC_RELAXED) - before;
}

static void run_round_trip(void *arg, uint64_t nr)
{
    struct state *state = arg;
    uint64_t word = 0;

    for (uint64_t i = 0; i < nr; i++) {
        state->sent += spsc_push(&state->there, i);
        while (!spsc_pop(&state->back, &word))
            cpu_relax();
        state->got++;
        state->wrong += word != i;
    }
}

static void run_requests_alone(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t done = 0; done < nr; done += NR) {
        struct request *request;
        unsigned ring = 0;

        for (unsigned i = 0; i < NR; i++)
            state->sent += handoff_push(&state->cores[0], 1, &state->requests[i]);
        while ((request = handoff_pop(&state->cores[1], &ring)) != NULL) {
            request->nr_open--;
            state->got++;
        }
    }
}

static void run_requests(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t done = 0; done < nr; done += NR) {
        for (unsigned i = 0; i < NR; i++) {
            state->requests[i].nr_open = 2;
            state->sent += handoff_push(&state->cores[0], 1, &state->requests[i]);
        }
        for (unsigned i = 0; i < NR;) {
            unsigned ring = 0;
            struct request *request = handoff_pop(&state->cores[0], &ring);

            if (!request) {
                cpu_relax();
                continue;
            }
            state->got++;
            state->wrong += request->nr_open != 1;
            i++;
        }
    }
}

void handoff_benches(struct bench_list *list)
{
    static const struct bench benches[] = {
        {.name = "handoff/ring/one-core",
         .what = "word pushed and popped, in bursts of 32",
         .step = NR,
         .setup = setup_alone,
         .run = run_ring},
        {.name = "handoff/ring/two-cores",
         .what = "word in a stream to another CPU",
         .two_cpus = true,
         .setup = setup_sink,
         .run = run_stream},
        {.name = "handoff/ring/round-trip",
         .what = "one word to another CPU and back",
         .two_cpus = true,
         .setup = setup_echo,
         .run = run_round_trip},
        {.name = "handoff/request/one-core",
         .what = "request handed over, in bursts of 32",
         .step = NR,
         .setup = setup_alone,
         .run = run_requests_alone},
        {.name = "handoff/request/two-cores",
         .what = "request to another CPU and back, bursts of 32",
         .step = NR,
         .two_cpus = true,
         .setup = setup_requests,
         .run = run_requests},
    };

    for (unsigned i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        struct bench bench = benches[i];

        bench.teardown = teardown;
        bench_add(list, &bench);
    }
}
