/* SPDX-License-Identifier: Apache-2.0 */
/* The last stage: header and CRC32C of reply datagrams, and what the CRC32C alone costs: of bytes
 * in the cache, of bytes in memory, and of a copy of such bytes. */
#include "dataplane/reply.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/random.h"
#include "perf/micro/bed.h"
#include "perf/micro/bench.h"

#define COLD_BYTES (64u << 20)
#define COLD_PIECE_MAX 8192u

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
        struct answer answer = {0};
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

/* CRC32C of one piece that stays in the cache, or of random ones out of COLD_BYTES. */
struct pieces {
    size_t len, nr;
    struct rng rng;
    uint8_t copy[COLD_PIECE_MAX];
    uint8_t *bytes;
};

static void *setup_pieces(const struct bench *bench)
{
    struct pieces *pieces = malloc(sizeof(*pieces));
    size_t size = bench->memory ? COLD_BYTES : bench->arg;

    if (!pieces)
        return NULL;
    rng_seed(&pieces->rng, 1);
    pieces->len = bench->arg;
    pieces->nr = size / bench->arg;
    pieces->bytes = malloc(size);
    if (!pieces->bytes) {
        free(pieces);
        return NULL;
    }
    memset(pieces->bytes, 1, size);
    return pieces;
}

static void run_crc(void *arg, uint64_t nr)
{
    const struct pieces *pieces = arg;

    for (uint64_t i = 0; i < nr; i++) {
        uint32_t crc = crc32c(0, pieces->bytes, pieces->len);

        bench_keep(&crc);
    }
}

static const uint8_t *piece(struct pieces *pieces)
{
    return pieces->bytes + rng_below(&pieces->rng, pieces->nr) * pieces->len;
}

static void run_crc_cold(void *arg, uint64_t nr)
{
    struct pieces *pieces = arg;

    for (uint64_t i = 0; i < nr; i++) {
        uint32_t crc = crc32c(0, piece(pieces), pieces->len);

        bench_keep(&crc);
    }
}

static void run_copy_cold(void *arg, uint64_t nr)
{
    struct pieces *pieces = arg;

    for (uint64_t i = 0; i < nr; i++) {
        uint32_t crc;

        memcpy(pieces->copy, piece(pieces), pieces->len);
        crc = crc32c(0, pieces->copy, pieces->len);
        bench_keep(&crc);
    }
}

static bool teardown_pieces(void *arg)
{
    struct pieces *pieces = arg;

    free(pieces->bytes);
    free(pieces);
    return true;
}

static void add_pieces(struct bench_list *list, const char *name, const char *what, uint64_t len,
                       void (*run)(void *, uint64_t))
{
    struct bench bench = {.what = what,
                          .arg = len,
                          .memory = run == run_crc ? 0 : COLD_BYTES,
                          .setup = setup_pieces,
                          .run = run,
                          .teardown = teardown_pieces};

    bench_name(&bench, "reply/%s/%s", name, bench_size(len).s);
    bench_add(list, &bench);
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
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        add_pieces(list, "crc32c", "CRC32C of so many bytes in the cache", lengths[i], run_crc);
    for (uint64_t len = 256; len <= COLD_PIECE_MAX; len *= 2) {
        add_pieces(list, "crc32c-cold", "CRC32C of so many bytes in memory", len, run_crc_cold);
        add_pieces(list, "copy-crc32c-cold", "the same of their copy", len, run_copy_cold);
    }
}
