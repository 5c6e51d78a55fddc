/* SPDX-License-Identifier: Apache-2.0 */
/* The last stage: header and CRC32C of reply datagrams, and what the CRC32C alone costs. */
#include "dataplane/reply.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "perf/micro/bed.h"
#include "perf/micro/bench.h"

struct state {
    struct bed *bed;
    struct request request;
    uint32_t size; /* of the datagram */
    uint64_t asked;
};

static void *setup(const struct bench *bench)
{
    struct state *state = calloc(1, sizeof(*state));

    if (!state)
        return NULL;
    state->bed = bed_open(1, 0, NULL);
    if (!state->bed) {
        free(state);
        return NULL;
    }
    state->size = (uint32_t)bench->arg;
    state->request.peer = state->bed->peer;
    state->request.hdr = (struct kvr_hdr){
        .session = state->bed->session, .cookie = state->bed->cookie, .reply_max = UINT8_MAX};
    return state;
}

static void run_seal(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++) {
        struct answer answer;
        uint8_t *room;

        answer_begin(&answer, state->bed->core, &state->request);
        room = answer_room(&answer, state->size - (uint32_t)sizeof(struct kvr_hdr));
        bench_keep(room);
        answer_end(&answer);
    }
    state->asked += nr;
}

static void run_header(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++)
        answer_header(state->bed->core, &state->request, KVR_BUSY, 500);
    state->asked += nr;
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    bool right = state->bed->sent == state->asked;

    bed_close(state->bed);
    free(state);
    return right;
}

struct bytes {
    size_t len;
    uint8_t bytes[];
};

static void *setup_crc(const struct bench *bench)
{
    struct bytes *bytes = calloc(1, sizeof(*bytes) + bench->arg);

    if (bytes)
        bytes->len = bench->arg;
    return bytes;
}

static void run_crc(void *arg, uint64_t nr)
{
    const struct bytes *bytes = arg;

    for (uint64_t i = 0; i < nr; i++) {
        uint32_t crc = crc32c(0, bytes->bytes, bytes->len);

        bench_keep(&crc);
    }
}

static bool teardown_crc(void *arg)
{
    free(arg);
    return true;
}

void reply_benches(struct bench_list *list)
{
    static const uint64_t datagrams[] = {64, 168, 1024, 1448, 8192};
    static const uint64_t lengths[] = {16, 64, 256, 1024, 4096, 64 << 10};
    struct bench header = {.name = "reply/header",
                           .what = "datagram that is a header only",
                           .setup = setup,
                           .run = run_header,
                           .teardown = teardown};

    bench_add(list, &header);
    for (unsigned i = 0; i < sizeof(datagrams) / sizeof(datagrams[0]); i++) {
        struct bench bench = {.what = "datagram begun, its header written, summed",
                              .arg = datagrams[i],
                              .setup = setup,
                              .run = run_seal,
                              .teardown = teardown};

        bench_name(&bench, "reply/seal/%s", bench_size(datagrams[i]).s);
        bench_add(list, &bench);
    }
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct bench bench = {.what = "CRC32C of so many bytes in the cache",
                              .arg = lengths[i],
                              .setup = setup_crc,
                              .run = run_crc,
                              .teardown = teardown_crc};

        bench_name(&bench, "reply/crc32c/%s", bench_size(lengths[i]).s);
        bench_add(list, &bench);
    }
}
