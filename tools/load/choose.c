/* SPDX-License-Identifier: Apache-2.0 */
/* An op's key is made once, when it is chosen: its hash says which partition it belongs to. */
#include "tools/load/choose.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cacheline.h"
#include "base/hash.h"
#include "tools/content.h"

#define DRAWS_MAX 10000u

int chooser_create(struct chooser *c, const struct load_settings *s, const struct limits *limits,
                   const struct draw_table *table, const struct kvr_hello_rep *hello,
                   unsigned thread, uint32_t again_max)
{
    const struct bench_settings *b = &s->bench;
    unsigned kinds = 0;

    *c = (struct chooser){
        .settings = s,
        .limits = limits,
        .seed = hello->seed,
        .nr_partitions = hello->nr_partitions,
        .stride = ((uint32_t)b->key_len + 7) / 8 * 8,
        .again_max = again_max,
        .hot_below = (uint64_t)(s->hot_share * 0x1.fffffffffffffp63),
        .only = BENCH_OPS,
        .kind = BENCH_OPS,
        .may_be_alone = {[BENCH_PUT] = limits->long_puts, [BENCH_MATCH] = limits->long_chains}};
    c->alone.alone = true;
    c->gathers = c->nr_partitions > 1 && !s->mixed;
    c->nr_gathered = c->gathers ? c->nr_partitions : 1;
    for (unsigned op = 0; op < BENCH_OPS; op++) {
        c->weights += b->weights[op];
        if (b->weights[op]) {
            c->only = (enum bench_op)op;
            kinds++;
        }
    }
    if (kinds > 1)
        c->only = BENCH_OPS;
    draw_setup(&c->draw, table, b, thread);
    rng_seed(&c->rng, b->seed * 7919 + thread);
    c->again = malloc(again_max * sizeof(c->again[0]));
    for (uint32_t i = 0; i < c->nr_gathered; i++)
        c->gathered[i].keys = malloc((size_t)KVR_OPS_MAX * c->stride);
    for (uint32_t i = 0; i < c->nr_gathered; i++)
        if (!c->again || !c->gathered[i].keys) {
            chooser_destroy(c);
            return -ENOMEM;
        }
    return 0;
}

void chooser_destroy(struct chooser *c)
{
    free(c->again);
    for (uint32_t i = 0; i < c->nr_gathered; i++)
        free(c->gathered[i].keys);
    *c = (struct chooser){0};
}

static void begin(struct chooser *c, uint32_t batch)
{
    c->batch = batch;
    c->kind = BENCH_OPS;
    c->nr_again = 0;
    for (uint32_t i = 0; i < c->nr_gathered; i++)
        c->gathered[i].nr = 0;
}

void chooser_warm(struct chooser *c, unsigned thread, uint32_t batch)
{
    const struct bench_settings *b = &c->settings->bench;

    begin(c, batch);
    c->warming = true;
    c->left = b->keys / b->threads + (thread < b->keys % b->threads);
    c->draw.at = thread;
}

void chooser_measure(struct chooser *c, uint64_t quota)
{
    begin(c, (uint32_t)c->settings->bench.batch);
    c->warming = false;
    c->left = quota;
}

static enum bench_op next_kind(struct chooser *c)
{
    enum bench_op kind = c->kind;
    uint64_t at;

    c->kind = BENCH_OPS;
    if (c->warming)
        return BENCH_PUT;
    if (kind != BENCH_OPS)
        return kind;
    if (likely(c->only != BENCH_OPS))
        return c->only;
    at = rng_below(&c->rng, c->weights);
    for (unsigned op = 0; op < BENCH_OPS; op++) {
        if (at < c->settings->bench.weights[op])
            return (enum bench_op)op;
        at -= c->settings->bench.weights[op];
    }
    return BENCH_GET;
}

enum bench_op chooser_kind(struct chooser *c)
{
    return c->kind = next_kind(c);
}

static bool writes(enum bench_op kind)
{
    return kind == BENCH_PUT || kind == BENCH_DEL || kind == BENCH_TOUCH;
}

/* Writes the key and tells its partition. */
static inline uint32_t make_key(const struct chooser *c, uint8_t *key, uint64_t id)
{
    const struct bench_settings *b = &c->settings->bench;

    content_key(key, b->key_len, id, b->salt);
    if (c->nr_partitions == 1)
        return 0;
    return hash_partition(hash_key(key, b->key_len, c->seed), c->nr_partitions);
}

/* Draws until the key is one of the hot partition, or is not, as the share wants it; or gives up,
 * where few keys leave no choice. */
static uint32_t draw_with_share(struct chooser *c, uint8_t *key, uint64_t *id)
{
    bool hot = rng_next(&c->rng) < c->hot_below;
    uint32_t partition;

    for (unsigned tries = 0;; tries++) {
        *id = draw_next(&c->draw);
        partition = make_key(c, key, *id);
        if ((partition == c->settings->hot_partition) == hot || tries == DRAWS_MAX)
            return partition;
    }
}

static uint32_t next_key(struct chooser *c, uint8_t *key, uint64_t *id)
{
    if (unlikely(c->warming)) {
        if (c->nr_again > 0) {
            *id = c->again[--c->nr_again];
        } else {
            *id = c->draw.at;
            c->draw.at += c->settings->bench.threads;
        }
    } else if (unlikely(c->settings->hot)) {
        return draw_with_share(c, key, id);
    } else {
        *id = draw_next(&c->draw);
    }
    return make_key(c, key, *id);
}

static struct chosen *choose_alone(struct chooser *c, enum bench_op kind, uint32_t partition,
                                   uint64_t id)
{
    c->alone.nr = 1;
    c->alone.writes = writes(kind);
    c->alone.partition = (uint16_t)partition;
    c->alone.kinds[0] = (uint8_t)kind;
    c->alone.ids[0] = id;
    return &c->alone;
}

static bool needs_several(const struct chooser *c, enum bench_op kind, uint64_t id)
{
    return c->may_be_alone[kind] &&
           (kind == BENCH_MATCH || sizes_of(&c->settings->bench.sizes, id) > c->limits->put_max);
}

/* What is left at the end, in datagrams that are not full. */
static struct chosen *rest(struct chooser *c)
{
    for (uint32_t i = 0; i < c->nr_gathered; i++)
        if (c->gathered[i].nr > 0)
            return &c->gathered[i];
    return NULL;
}

struct chosen *chooser_next(struct chooser *c)
{
    struct chosen *first = &c->gathered[0], *chosen;
    uint8_t *key;
    uint32_t partition;
    enum bench_op kind;
    uint64_t id;

    while (c->left > 0 || c->nr_again > 0) {
        if (c->nr_again == 0)
            c->left--;
        kind = next_kind(c);
        key = c->gathers ? c->key : first->keys + first->nr * c->stride;
        partition = next_key(c, key, &id);
        if (unlikely(needs_several(c, kind, id)))
            return choose_alone(c, kind, partition, id);
        chosen = c->gathers ? &c->gathered[partition] : first;
        if (c->gathers)
            memcpy(chosen->keys + chosen->nr * c->stride, key, c->settings->bench.key_len);
        if (chosen->nr == 0) {
            chosen->partition = (uint16_t)partition;
            chosen->writes = false;
        }
        chosen->writes |= writes(kind);
        chosen->kinds[chosen->nr] = (uint8_t)kind;
        chosen->ids[chosen->nr++] = id;
        if (chosen->nr == c->batch)
            return chosen;
    }
    return rest(c);
}

void chooser_again(struct chooser *c, uint64_t id)
{
    if (c->nr_again < c->again_max)
        c->again[c->nr_again++] = id;
}
