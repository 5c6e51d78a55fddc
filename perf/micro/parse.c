/* SPDX-License-Identifier: Apache-2.0 */
/* The first stage: Ethernet frames to datagrams, datagrams to requests. 32 of them in turn, each
 * with a request of its own, as they come in a burst. */
#include "dataplane/parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "client/build.h"
#include "dataplane/eth/checksum.h"
#include "dataplane/eth/frame.h"
#include "dataplane/eth/usual.h"
#include "perf/micro/bed.h"
#include "perf/micro/bench.h"

#define NR 32u
#define ROOM 2048u
#define VALUE 64u

struct datagram_kind {
    const char *name, *what;
    void (*add)(struct writer *writer, uint64_t id);
    unsigned nr_ops;
    bool writes;
};

struct state {
    struct parse_env env;
    struct frame_self self;
    struct frame_usual usual;
    struct peer peer;
    unsigned checked; /* of frames */
    uint64_t good, asked;
    uint32_t lens[NR];
    struct request requests[NR];
    _Alignas(CACHE_LINE) uint8_t bytes[NR][ROOM];
};

static void add_get(struct writer *writer, uint64_t id)
{
    struct kvr_get_req get = {.count = 1};
    uint8_t key[BED_KEY];

    bed_key(id, key);
    build_get(writer, &get, key, sizeof(key));
}

static void add_put(struct writer *writer, uint64_t id)
{
    static const uint8_t value[VALUE];
    struct kvr_put_req put = {.value_len = VALUE, .value_crc = crc32c(0, value, VALUE)};
    uint8_t key[BED_KEY];

    bed_key(id, key);
    build_put(writer, &put, key, sizeof(key), value);
}

static void add_match(struct writer *writer, uint64_t id)
{
    struct kvr_match_req *match = build_match(writer, 0, 64, BED_KEY, 0);
    uint8_t key[BED_KEY];

    for (unsigned i = 0; i < 64; i++) {
        bed_key(id + i, key);
        build_match_key(writer, match, key, sizeof(key));
    }
    build_match_end(writer, match);
}

static const struct datagram_kind kinds[] = {
    {"parse/get", "datagram with a GET", add_get, 1, false},
    {"parse/get16", "datagram with 16 GETs", add_get, 16, false},
    {"parse/put", "datagram with a PUT of 64 bytes", add_put, 1, true},
    {"parse/match64", "datagram with a MATCH of 64 keys", add_match, 1, false},
};

static uint32_t build(const struct datagram_kind *kind, uint64_t id, uint8_t *bytes)
{
    struct kvr_hdr hdr = {.priority = KVR_NORMAL, .id = id, .session = 1, .cookie = 1};
    struct writer writer;

    hdr.seq = hdr.floor = kind->writes;
    build_begin(&writer, bytes);
    for (unsigned i = 0; i < kind->nr_ops; i++)
        kind->add(&writer, id * 64 + i);
    return build_finish(&writer, &hdr, NULL, 0);
}

static void *setup_requests(const struct bench *bench)
{
    struct state *state = aligned_alloc(CACHE_LINE, sizeof(*state));

    if (!state)
        return NULL;
    memset(state, 0, sizeof(*state));
    state->env = (struct parse_env){.seed = 7, .nr_partitions = 1};
    for (unsigned i = 0; i < NR; i++) {
        state->lens[i] = build(bench->with, i, state->bytes[i]);
        state->requests[i].msg = state->bytes[i];
        state->requests[i].len = state->lens[i];
    }
    return state;
}

static void run_requests(void *arg, uint64_t nr)
{
    struct state *state = arg;
    struct parse_fault fault;

    for (uint64_t i = 0; i < nr; i++)
        state->good += parse_request(&state->env, &state->requests[i % NR], &fault) == PARSE_OK;
    state->asked += nr;
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    bool right = state->good == state->asked;

    free(state);
    return right;
}

struct frame_sort {
    const char *name, *what;
    bool ipv6;
    unsigned checked;
};

static const struct frame_sort sorts[] = {
    {"parse/frame4", "IPv4 frame, checksums to check", false, 0},
    {"parse/frame4-checked", "IPv4 frame, checked by the device", false,
     FRAME_IP_GOOD | FRAME_L4_GOOD},
    {"parse/frame6", "IPv6 frame, checksum to check", true, 0},
};

/* The addresses as the sender sees them. */
static struct peer server_of(bool ipv6)
{
    struct peer peer = {.port = BED_PORT, .local_port = 40000, .ipv6 = ipv6};

    memcpy(peer.mac, "\x02\0\0\0\0\x01", 6);
    memcpy(peer.local_mac, "\x02\0\0\0\0\x02", 6);
    if (ipv6) {
        memcpy(peer.ip, "\xfd\x96\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
        memcpy(peer.local_ip, "\xfd\x96\0\0\0\0\0\0\0\0\0\0\0\0\0\x02", 16);
    } else {
        memcpy(peer.ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x60\0\x01", 16);
        memcpy(peer.local_ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x60\0\x02", 16);
    }
    return peer;
}

static void *setup_frames(const struct bench *bench)
{
    const struct frame_sort *sort = bench->with;
    struct peer peer = server_of(sort->ipv6);
    struct state *state = aligned_alloc(CACHE_LINE, sizeof(*state));
    _Alignas(8) uint8_t datagram[ROOM];

    if (!state)
        return NULL;
    memset(state, 0, sizeof(*state));
    state->checked = sort->checked;
    state->self = (struct frame_self){.has_ip6 = true, .first_port = BED_PORT, .nr_ports = 1};
    memcpy(state->self.mac, peer.mac, 6);
    memcpy(state->self.ip6, peer.ip, 16);
    frame_self_set_ip4(&state->self, (const uint8_t[4]){10, 96, 0, 1}, 24);
    frame_usual_make(&state->self, &state->usual);
    for (unsigned i = 0; i < NR; i++) {
        uint32_t len = build(&kinds[0], i, datagram), head = frame_head_size(&peer);

        frame_write_head(state->bytes[i], &peer, len, CHECKSUM_SOFTWARE,
                         checksum_add(0, datagram, len));
        memcpy(state->bytes[i] + head, datagram, len);
        state->lens[i] = head + len;
    }
    return state;
}

static void run_frames(void *arg, uint64_t nr)
{
    struct state *state = arg;
    struct frame_view view;

    for (uint64_t i = 0; i < nr; i++)
        state->good +=
            frame_usual_read(&state->usual, state->bytes[i % NR], state->lens[i % NR],
                             state->checked, &state->requests[i % NR].peer) >= 0 ||
            frame_parse(&state->self, state->bytes[i % NR], state->lens[i % NR], state->checked,
                        &view, &state->requests[i % NR].peer) == FRAME_DATAGRAM;
    state->asked += nr;
}

void parse_benches(struct bench_list *list)
{
    for (unsigned i = 0; i < sizeof(sorts) / sizeof(sorts[0]); i++) {
        struct bench bench = {.what = sorts[i].what,
                              .with = &sorts[i],
                              .step = NR,
                              .setup = setup_frames,
                              .run = run_frames,
                              .teardown = teardown};

        bench_name(&bench, "%s", sorts[i].name);
        bench_add(list, &bench);
    }
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct bench bench = {.what = kinds[i].what,
                              .with = &kinds[i],
                              .step = NR,
                              .setup = setup_requests,
                              .run = run_requests,
                              .teardown = teardown};

        bench_name(&bench, "%s", kinds[i].name);
        bench_add(list, &bench);
    }
}
