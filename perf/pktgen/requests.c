/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram is of one partition, that of its first key, and goes to that partition's port: as
 * libkvrail sends them. Its further keys are drawn until they are of the same partition. */
#include "perf/pktgen/requests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/hash.h"
#include "base/log.h"
#include "client/build.h"
#include "dataplane/eth/frame.h"
#include "perf/pktgen/capture.h"
#include "tools/content.h"

#define DRAWS 100000u /* for a key of a partition */
#define ANY_PARTITION KVR_PARTITIONS_MAX

const char *const request_names[REQUEST_KINDS] = {"get", "put", "match"};

/* Bytes of the largest record of that kind. */
static uint32_t record_size(const struct requests_spec *spec, enum request_kind kind)
{
    switch (kind) {
    case REQUEST_GET:
        return build_get_size(spec->key_len);
    case REQUEST_PUT:
        return build_put_size(spec->key_len, spec->sizes.largest);
    default:
        return (uint32_t)sizeof(struct kvr_match_req) + pad8(spec->chain * spec->key_len);
    }
}

static unsigned partition_of(const struct requests *requests, uint64_t id)
{
    const struct kvr_hello_rep *hello = &requests->flows->hello;
    uint8_t key[KVR_KEY_MAX];

    content_key(key, requests->spec->key_len, id, requests->spec->salt);
    return hash_partition(hash_key(key, requests->spec->key_len, hello->seed),
                          hello->nr_partitions);
}

/* Every partition has at least one key, or drawing them might not end. */
static bool keys_everywhere(const struct requests *requests)
{
    unsigned nr = requests->flows->hello.nr_partitions, found = 0;
    uint64_t seen = 0;

    for (uint64_t id = 0; id < requests->spec->keys && found < nr; id++) {
        uint64_t bit = 1ull << partition_of(requests, id);

        found += !(seen & bit);
        seen |= bit;
    }
    return found == nr;
}

static int check_sizes(const struct requests *requests)
{
    const struct requests_spec *spec = requests->spec;

    for (unsigned kind = 0; kind < REQUEST_KINDS; kind++) {
        uint64_t size = sizeof(struct kvr_hdr) +
                        (uint64_t)spec->batch * record_size(spec, (enum request_kind)kind);

        if (spec->weights[kind] > 0 && size > requests->room) {
            log_error("--batch %u: %s datagrams would have %llu bytes; --mtu %u and the server "
                      "allow %u",
                      spec->batch, request_names[kind], (unsigned long long)size, spec->mtu,
                      requests->room);
            return -EINVAL;
        }
    }
    return 0;
}

int requests_open(struct requests *requests, const struct requests_spec *spec, struct flows *flows)
{
    uint32_t heads = frame_head_size(&flows->list[0].peer) - FRAME_ETH_SIZE,
             most = flows->hello.max_datagram;
    int rc;

    *requests = (struct requests){.spec = spec, .flows = flows, .number = 1};
    requests->room = (spec->mtu - heads < most ? spec->mtu - heads : most) & ~7u;
    for (unsigned kind = 0; kind < REQUEST_KINDS; kind++)
        requests->weights += spec->weights[kind];
    rng_seed(&requests->rng, spec->seed);
    zipf_setup(&requests->zipf, spec->keys, spec->exponent);
    rc = check_sizes(requests);
    if (rc)
        return rc;
    if (!keys_everywhere(requests)) {
        log_error("--keys %llu: not every one of the server's %u partitions has a key",
                  (unsigned long long)spec->keys, flows->hello.nr_partitions);
        return -EINVAL;
    }
    requests->seqs =
        calloc((size_t)flows->nr * flows->hello.nr_partitions, sizeof(*requests->seqs));
    requests->value = malloc(spec->sizes.largest + 1u);
    if (!requests->seqs || !requests->value) {
        log_error("requests: %s", strerror(ENOMEM));
        requests_close(requests);
        return -ENOMEM;
    }
    return 0;
}

void requests_close(struct requests *requests)
{
    free(requests->seqs);
    free(requests->value);
    requests->seqs = NULL;
    requests->value = NULL;
}

static uint64_t draw(struct requests *requests)
{
    const struct requests_spec *spec = requests->spec;

    if (spec->order == ORDER_SEQUENTIAL)
        return requests->next_id++ % spec->keys;
    return spec->order == ORDER_ZIPF ? zipf_next(&requests->zipf, &requests->rng)
                                     : rng_below(&requests->rng, spec->keys);
}

/* An id of the partition, or of any; *partition is its own. A skewed choice that never falls on the
 * partition is helped on to the next id that does. */
static uint64_t draw_of(struct requests *requests, unsigned wanted, unsigned *partition)
{
    uint64_t id = draw(requests);

    for (unsigned i = 0; (*partition = partition_of(requests, id)) != wanted; i++) {
        if (wanted == ANY_PARTITION)
            break;
        id = i < DRAWS ? draw(requests) : (id + 1) % requests->spec->keys;
    }
    return id;
}

static void add_put(struct requests *requests, struct writer *writer, uint64_t id,
                    const uint8_t *key)
{
    uint32_t len = sizes_of(&requests->spec->sizes, id);
    struct kvr_put_req put = {.value_len = len};

    content_fill(requests->value, len, id, requests->number);
    put.value_crc = crc32c(0, requests->value, len);
    build_put(writer, &put, key, requests->spec->key_len, requests->value);
}

/* The chain goes on with the next ids of the partition. */
static void add_match(struct requests *requests, struct writer *writer, uint64_t id,
                      unsigned partition)
{
    const struct requests_spec *spec = requests->spec;
    struct kvr_match_req *match =
        build_match(writer, 0, (uint16_t)spec->chain, (uint16_t)spec->key_len, 0);
    uint8_t key[KVR_KEY_MAX];

    for (unsigned i = 0; i < spec->chain; i++, id = (id + 1) % spec->keys) {
        while (partition_of(requests, id) != partition)
            id = (id + 1) % spec->keys;
        content_key(key, spec->key_len, id, spec->salt);
        build_match_key(writer, match, key, spec->key_len);
    }
    build_match_end(writer, match);
}

static enum request_kind choose(struct requests *requests)
{
    uint64_t at = rng_below(&requests->rng, requests->weights);
    unsigned kind = 0;

    while (at >= requests->spec->weights[kind])
        at -= requests->spec->weights[kind++];
    return (enum request_kind)kind;
}

/* One op; returns whether it writes. */
static bool add_op(struct requests *requests, struct writer *writer, unsigned *partition)
{
    static const struct kvr_get_req get = {.count = 1};
    enum request_kind kind = choose(requests);
    uint64_t id = draw_of(requests, *partition, partition);
    uint8_t key[KVR_KEY_MAX];

    content_key(key, requests->spec->key_len, id, requests->spec->salt);
    if (kind == REQUEST_GET)
        build_get(writer, &get, key, requests->spec->key_len);
    else if (kind == REQUEST_PUT)
        add_put(requests, writer, id, key);
    else
        add_match(requests, writer, id, *partition);
    requests->ops[kind]++;
    return kind == REQUEST_PUT;
}

static uint8_t reply_max(uint32_t room)
{
    uint32_t units = room / 64;

    return (uint8_t)(units < UINT8_MAX ? units : UINT8_MAX);
}

uint32_t requests_next(struct requests *requests, uint8_t *frame)
{
    struct flows *flows = requests->flows;
    unsigned number = (unsigned)((requests->number - 1) % flows->nr), partition = ANY_PARTITION;
    const struct flow *flow = &flows->list[number];
    _Alignas(8) uint8_t datagram[CAPTURE_FRAME_MAX];
    struct kvr_hdr hdr = {.priority = KVR_NORMAL,
                          .reply_max = reply_max(requests->room),
                          .id = requests->number + 1, /* HELLO had 1 */
                          .session = flow->session,
                          .cookie = flow->cookie};
    struct writer writer;
    bool writes = false;
    uint32_t len;

    build_begin(&writer, datagram);
    for (unsigned i = 0; i < requests->spec->batch; i++)
        writes |= add_op(requests, &writer, &partition);
    hdr.partition = (uint16_t)partition;
    if (writes) {
        uint32_t *seq = &requests->seqs[number * flows->hello.nr_partitions + partition];

        hdr.seq = ++*seq;
        hdr.floor = hdr.seq < KVR_WINDOW ? 1 : hdr.seq - KVR_WINDOW + 1;
    }
    len = build_finish(&writer, &hdr, NULL, 0);
    requests->number++;
    return flow_frame(flow, (uint16_t)(flows->hello.base_port + partition), datagram, len, frame);
}
