/* SPDX-License-Identifier: Apache-2.0 */
/* Has the sender proven its address? From the core's cache, by hash, and in vain. */
#include "dataplane/cookie.h"

#include <stdlib.h>

#include "perf/micro/bed.h"
#include "perf/micro/bench.h"

#define FEW 64u
#define MANY 65536u /* far more than the cache has slots */

struct state {
    struct bed *bed;
    struct request request;
    uint64_t *cookies; /* of sessions 1 .. nr */
    uint64_t nr, at, valid, asked;
    bool wrong;
};

static struct state *make(uint64_t nr)
{
    struct state *state = calloc(1, sizeof(*state));

    if (!state)
        return NULL;
    state->nr = nr;
    state->cookies = malloc(nr * sizeof(*state->cookies));
    state->bed = state->cookies ? bed_open(1, 0, NULL) : NULL;
    if (!state->bed) {
        free(state->cookies);
        free(state);
        return NULL;
    }
    state->request.peer = state->bed->peer;
    for (uint64_t i = 0; i < nr; i++)
        state->cookies[i] =
            cookie_make(state->bed->cookies, &state->bed->peer, i + 1, state->bed->core->epoch);
    return state;
}

static void *setup_few(const struct bench *bench)
{
    (void)bench;
    return make(FEW);
}

static void *setup_many(const struct bench *bench)
{
    (void)bench;
    return make(MANY);
}

static void *setup_wrong(const struct bench *bench)
{
    struct state *state = make(MANY);

    (void)bench;
    for (uint64_t i = 0; state && i < MANY; i++)
        state->cookies[i] ^= 1;
    if (state)
        state->wrong = true;
    return state;
}

static void run(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++) {
        uint64_t session = state->at++ % state->nr;

        state->request.hdr.session = session + 1;
        state->request.hdr.cookie = state->cookies[session];
        state->valid += cookie_check(state->bed->core, &state->request);
    }
    state->asked += nr;
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    bool right = state->valid == (state->wrong ? 0 : state->asked);

    bed_close(state->bed);
    free(state->cookies);
    free(state);
    return right;
}

void cookie_benches(struct bench_list *list)
{
    static const struct bench benches[] = {
        {.name = "cookie/cached", .what = "cookie of one of 64 sessions", .setup = setup_few},
        {.name = "cookie/hashed", .what = "cookie of one of 64 K sessions", .setup = setup_many},
        {.name = "cookie/wrong", .what = "cookie that is wrong", .setup = setup_wrong},
    };

    for (unsigned i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        struct bench bench = benches[i];

        bench.run = run;
        bench.teardown = teardown;
        bench_add(list, &bench);
    }
}
