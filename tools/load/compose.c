/* SPDX-License-Identifier: Apache-2.0 */
/* One record an op. Values are made anew for every PUT, so that no two writes of a key are alike.
 */
#include "tools/load/compose.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cacheline.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "client/build.h"
#include "tools/content.h"

int composer_create(struct composer *c, const struct load_settings *s, unsigned thread)
{
    uint32_t room = s->bench.sizes.largest ? s->bench.sizes.largest : 1;
    size_t form =
        sizeof(struct kvr_hdr) + s->bench.batch * build_get_size((uint32_t)s->bench.key_len);

    form = (form + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    *c = (struct composer){.settings = s, .get = {.count = 1}};
    c->version = (clock_ns() << 8 | thread) << 16;
    c->value = malloc(room);
    c->form.bytes = aligned_alloc(CACHE_LINE, form);
    if (c->value && c->form.bytes)
        return 0;
    composer_destroy(c);
    return -ENOMEM;
}

void composer_destroy(struct composer *c)
{
    free(c->value);
    free(c->form.bytes);
    c->value = c->form.bytes = NULL;
}

void composer_proof(struct composer *c, const struct proof *proof)
{
    uint32_t most = proof->max_datagram < proof->server.max_datagram ? proof->max_datagram
                                                                     : proof->server.max_datagram;

    c->hdr = (struct kvr_hdr){.priority = c->settings->bench.priority,
                              .reply_max = (uint8_t)(most / 64),
                              .session = proof->id,
                              .cookie = proof->cookie,
                              .deadline_us = (uint32_t)(c->settings->timeout_ns / NS_PER_US)};
    build_get_form(&c->form, c->form.bytes, &c->hdr, &c->get, (uint32_t)c->settings->bench.key_len,
                   (unsigned)c->settings->bench.batch);
}

static void put(struct composer *c, struct writer *writer, uint64_t id, const uint8_t *key)
{
    const struct bench_settings *b = &c->settings->bench;
    uint32_t len = sizes_of(&b->sizes, id);
    struct kvr_put_req req = {.value_len = len, .ttl_ms = (uint32_t)b->ttl_ms};

    content_fill(c->value, len, id, compose_version(c));
    req.value_crc = crc32c(0, c->value, len);
    build_put(writer, &req, key, (uint32_t)b->key_len, c->value);
}

static void match(const struct composer *c, struct writer *writer, uint64_t id)
{
    const struct bench_settings *b = &c->settings->bench;
    struct kvr_match_req *req = build_match(writer, 0, (uint16_t)b->chain, (uint16_t)b->key_len, 0);
    uint8_t key[KVR_KEY_MAX];

    for (uint64_t i = 0; i < b->chain; i++) {
        content_key(key, b->key_len, (id + i) % b->keys, b->salt);
        build_match_key(writer, req, key, (uint32_t)b->key_len);
    }
    build_match_end(writer, req);
}

static void other(struct composer *c, struct writer *writer, enum bench_op kind, uint64_t id,
                  const uint8_t *key)
{
    const struct bench_settings *b = &c->settings->bench;
    struct kvr_key_req req = {.ttl_ms = kind == BENCH_TOUCH ? (uint32_t)b->ttl_ms : 0};

    switch (kind) {
    case BENCH_PUT:
        put(c, writer, id, key);
        break;
    case BENCH_MATCH:
        match(c, writer, id);
        break;
    case BENCH_PING:
        build_ping(writer, id);
        break;
    default:
        build_key(writer, kind == BENCH_DEL ? KVR_DEL : KVR_TOUCH, &req, key, (uint32_t)b->key_len);
        break;
    }
}

uint32_t compose(struct composer *c, const struct chosen *chosen, uint32_t stride,
                 struct order *orders, struct flight *flight, uint8_t *bytes)
{
    uint32_t key_len = (uint32_t)c->settings->bench.key_len;
    const uint8_t *key = chosen->keys;
    struct stamp stamp;
    struct writer writer;

    build_begin(&writer, bytes);
    for (unsigned i = 0; i < chosen->nr; i++, key += stride) {
        flight->ops[i] = (struct flight_op){.id = chosen->ids[i], .kind = chosen->kinds[i]};
        if (likely(chosen->kinds[i] == BENCH_GET))
            build_get(&writer, &c->get, key, key_len);
        else
            other(c, &writer, (enum bench_op)chosen->kinds[i], chosen->ids[i], key);
    }
    flight->nr_ops = chosen->nr;
    flight->open = (uint32_t)((1ull << chosen->nr) - 1);
    flight->partition = chosen->partition;
    flight->seq = flight->floor = 0;
    if (chosen->writes) {
        flight->seq = order_take(&orders[chosen->partition]);
        flight->floor = orders[chosen->partition].floor;
    }
    stamp = (struct stamp){flight->id, flight->seq, flight->floor, flight->partition};
    return compose_end(c, &writer, &stamp, 0);
}

uint32_t compose_end(struct composer *c, struct writer *writer, const struct stamp *stamp,
                     uint32_t tail_len)
{
    uint8_t *tail = writer->bytes + writer->len;

    c->hdr.id = stamp->id;
    c->hdr.seq = stamp->seq;
    c->hdr.floor = stamp->floor;
    c->hdr.partition = stamp->partition;
    memset(tail + tail_len, 0, pad8(tail_len) - tail_len);
    return build_finish(writer, &c->hdr, tail, tail_len);
}

/* The largest size of a value that is at most `most`; 0 if none is. */
static uint32_t largest_of(const struct sizes *sizes, uint32_t most)
{
    uint32_t largest = 0;

    for (unsigned i = 0; i < sizes->nr; i++)
        if (sizes->entries[i].bytes <= most && sizes->entries[i].bytes > largest)
            largest = sizes->entries[i].bytes;
    return largest;
}

/* Keys of a MATCH whose request and reply fit. */
static uint32_t keys_of_match(uint32_t datagram, uint32_t key_len)
{
    uint32_t asked = (uint32_t)(datagram - sizeof(struct kvr_hdr) - sizeof(struct kvr_match_req));
    uint32_t said = datagram / 64 * 64;
    uint32_t bits = (uint32_t)(said - sizeof(struct kvr_hdr) - sizeof(struct kvr_match_rep)) * 8;

    return asked / key_len < bits ? asked / key_len : bits;
}

void compose_limits(const struct load_settings *s, uint32_t max_datagram, struct limits *limits)
{
    const struct bench_settings *b = &s->bench;
    uint32_t room = (max_datagram & ~7u) - (uint32_t)sizeof(struct kvr_hdr);

    *limits = (struct limits){
        .datagram = max_datagram,
        .put_max = room - build_put_size((uint32_t)b->key_len, 0),
        .frag = room - (uint32_t)sizeof(struct kvr_write_req),
        .chain_max = keys_of_match(max_datagram & ~7u, (uint32_t)b->key_len),
    };
    if (limits->frag > KVR_FRAG_BEST)
        limits->frag = KVR_FRAG_BEST;
    limits->long_puts = (b->weights[BENCH_PUT] || b->warm) && b->sizes.largest > limits->put_max;
    limits->long_chains = b->weights[BENCH_MATCH] && b->chain > limits->chain_max;
}

uint64_t compose_size(const struct load_settings *s, const struct limits *limits, uint64_t ops)
{
    const struct bench_settings *b = &s->bench;
    uint32_t key_len = (uint32_t)b->key_len;
    uint64_t sizes[BENCH_OPS] = {
        [BENCH_GET] = build_get_size(key_len),
        [BENCH_PUT] = build_put_size(key_len, largest_of(&b->sizes, limits->put_max)),
        [BENCH_DEL] = build_key_size(key_len),
        [BENCH_TOUCH] = build_key_size(key_len),
        [BENCH_MATCH] = limits->long_chains
                            ? 0
                            : pad8((uint32_t)(sizeof(struct kvr_match_req) + b->chain * key_len)),
        [BENCH_PING] = sizeof(struct kvr_ping),
    };
    uint64_t most = 0;

    for (unsigned op = 0; op < BENCH_OPS; op++)
        if (b->weights[op] && sizes[op] > most)
            most = sizes[op];
    return sizeof(struct kvr_hdr) + ops * most;
}

uint32_t compose_puts(const struct load_settings *s, const struct limits *limits)
{
    uint32_t size =
        build_put_size((uint32_t)s->bench.key_len, largest_of(&s->bench.sizes, limits->put_max));
    uint32_t fit = (limits->datagram - (uint32_t)sizeof(struct kvr_hdr)) / size;

    return fit < KVR_MUTATIONS_MAX ? fit : KVR_MUTATIONS_MAX;
}
