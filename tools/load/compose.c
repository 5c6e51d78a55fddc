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

    content_fill(c->value, len, id, c->version++);
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
    struct kvr_hdr *hdr = &c->hdr;
    const uint8_t *key = chosen->keys;
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
    hdr->id = flight->id;
    hdr->seq = flight->seq;
    hdr->floor = flight->floor;
    hdr->partition = chosen->partition;
    return build_finish(&writer, hdr, NULL, 0);
}

uint64_t compose_size(const struct load_settings *s, uint64_t ops)
{
    const struct bench_settings *b = &s->bench;
    uint32_t key_len = (uint32_t)b->key_len;
    uint64_t sizes[BENCH_OPS] = {
        [BENCH_GET] = build_get_size(key_len),
        [BENCH_PUT] = build_put_size(key_len, b->sizes.largest),
        [BENCH_DEL] = build_key_size(key_len),
        [BENCH_TOUCH] = build_key_size(key_len),
        [BENCH_MATCH] = sizeof(struct kvr_match_req) + b->chain * b->key_len + 7,
        [BENCH_PING] = sizeof(struct kvr_ping),
    };
    uint64_t most = 0;

    for (unsigned op = 0; op < BENCH_OPS; op++)
        if (b->weights[op] && sizes[op] > most)
            most = sizes[op];
    return sizeof(struct kvr_hdr) + ops * most;
}

uint32_t compose_puts(const struct load_settings *s, uint32_t max_datagram)
{
    uint32_t size = build_put_size((uint32_t)s->bench.key_len, s->bench.sizes.largest);
    uint32_t fit = (max_datagram - (uint32_t)sizeof(struct kvr_hdr)) / size;

    return fit < KVR_MUTATIONS_MAX ? fit : KVR_MUTATIONS_MAX;
}
