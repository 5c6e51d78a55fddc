/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations against a plain reference: the partition may have evicted what the reference
 * holds, but what it has must be exactly the last thing stored, and what was deleted, overwritten
 * or has expired must never be seen again. */
#include <stdio.h>

#include "base/random.h"
#include "fixture.h"

#define KEYS 400
#define VALUE_MAX 200000

struct expected {
    bool stored;
    uint32_t version, value_len, expires_ms; /* 0 = never */
};

struct model {
    struct fixture f;
    struct rng rng;
    struct expected keys[KEYS];
    uint8_t key[KVR_KEY_MAX];
    uint32_t open_block, open_key, open_len, open_version;
    uint32_t version;
    bool open;
};

static size_t key_make(struct model *m, uint32_t number)
{
    size_t len = number < 200   ? 8 + number % 25
                 : number < 380 ? 33 + number
                                : KVR_KEY_MAX - number % 7;

    memset(m->key, (int)number, len);
    memcpy(m->key, &number, sizeof(number));
    return len;
}

static uint8_t value_byte(uint32_t key, uint32_t version, uint32_t i)
{
    return (uint8_t)(key * 31 + version * 7 + i + (i >> 8));
}

static uint32_t value_len_make(struct model *m)
{
    switch (rng_below(&m->rng, 8)) {
    case 0:
        return 0;
    case 1:
        return 65536;
    case 2:
        return (uint32_t)rng_below(&m->rng, VALUE_MAX);
    case 3:
    case 4:
        return (uint32_t)rng_below(&m->rng, 9000);
    default:
        return (uint32_t)rng_below(&m->rng, 300);
    }
}

static void fill(struct model *m, uint32_t block, uint32_t key, uint32_t version, uint32_t len)
{
    uint8_t *value = partition_value(m->f.partition, block);

    for (uint32_t i = 0; i < len; i++)
        value[i] = value_byte(key, version, i);
}

static void seal(struct model *m, uint32_t block, uint32_t key, uint32_t version, uint32_t len,
                 uint32_t ttl_ms)
{
    bool add = rng_below(&m->rng, 4) == 0;
    struct expected *e = &m->keys[key];
    size_t key_len = key_make(m, key);
    struct block_view view;
    bool had = fixture_find(&m->f, m->key, key_len, &view);
    enum kvr_status status;
    uint64_t ref;

    fill(m, block, key, version, len);
    status = partition_seal(m->f.partition, block,
                            crc32c(0, partition_value(m->f.partition, block), len), add,
                            m->f.now_ms, &ref);
    if (add && had) {
        cr_assert_eq(status, KVR_EXISTS);
        return;
    }
    cr_assert_eq(status, KVR_OK);
    *e = (struct expected){true, version, len, ttl_ms ? m->f.now_ms + ttl_ms : 0};
    cr_assert(fixture_find(&m->f, m->key, key_len, &view));
    cr_assert_eq(view.ref, ref);
}

static void put(struct model *m, uint32_t key)
{
    uint32_t len = value_len_make(m), block;
    uint32_t ttl_ms = rng_below(&m->rng, 5) ? 0 : 1 + (uint32_t)rng_below(&m->rng, 5000);
    size_t key_len = key_make(m, key);
    enum kvr_status status = fixture_reserve(&m->f, m->key, key_len, len, ttl_ms, &block);

    cr_assert_eq(status, KVR_OK, "put of %u bytes: status %d", len, status);
    if (rng_below(&m->rng, 20) == 0)
        partition_abort(m->f.partition, block);
    else
        seal(m, block, key, ++m->version, len, ttl_ms);
}

/* A reservation that stays open while other things happen. */
static void upload(struct model *m, uint32_t key)
{
    size_t key_len;

    if (m->open) {
        seal(m, m->open_block, m->open_key, m->open_version, m->open_len, 0);
        m->open = false;
        return;
    }
    m->open_key = key;
    m->open_len = value_len_make(m);
    m->open_version = ++m->version;
    key_len = key_make(m, key);
    cr_assert_eq(fixture_reserve(&m->f, m->key, key_len, m->open_len, 0, &m->open_block), KVR_OK);
    m->open = true;
}

static bool check(struct model *m, uint32_t key, struct block_view *view)
{
    const struct expected *e = &m->keys[key];
    size_t key_len = key_make(m, key);

    if (!fixture_find(&m->f, m->key, key_len, view))
        return false;
    cr_assert(e->stored, "key %u was deleted and is back", key);
    cr_assert(!e->expires_ms || (int32_t)(e->expires_ms - m->f.now_ms) > 0, "expired key %u", key);
    cr_assert_eq(view->value_len, e->value_len);
    for (uint32_t i = 0; i < e->value_len; i++)
        if (view->value[i] != value_byte(key, e->version, i))
            cr_assert_fail("key %u: wrong byte at %u", key, i);
    cr_assert_eq(crc32c(0, view->value, view->value_len), view->value_crc);
    return true;
}

static void del(struct model *m, uint32_t key)
{
    struct block_view view;
    bool had = check(m, key, &view);
    size_t key_len = key_make(m, key);

    cr_assert_eq(fixture_del(&m->f, m->key, key_len), had ? KVR_OK : KVR_MISS);
    cr_assert_not(fixture_find(&m->f, m->key, key_len, &view));
    m->keys[key].stored = false;
}

static void touch(struct model *m, uint32_t key)
{
    uint32_t ttl_ms = (uint32_t)rng_below(&m->rng, 2) * (1 + (uint32_t)rng_below(&m->rng, 3000));
    size_t key_len = key_make(m, key);

    if (partition_touch(m->f.partition, fixture_hash(&m->f, m->key, key_len), m->key,
                        (uint32_t)key_len, ttl_ms, m->f.now_ms) == KVR_OK)
        m->keys[key].expires_ms = ttl_ms ? m->f.now_ms + ttl_ms : 0;
}

static void step(struct model *m)
{
    uint32_t key = (uint32_t)rng_below(&m->rng, KEYS);
    struct block_view view;

    m->f.now_ms += (uint32_t)rng_below(&m->rng, 3);
    switch (rng_below(&m->rng, 10)) {
    case 0:
    case 1:
    case 2:
        put(m, key);
        break;
    case 3:
        upload(m, key);
        break;
    case 4:
        del(m, key);
        break;
    case 5:
        touch(m, key);
        break;
    case 6:
        if (check(m, key, &view))
            (void)partition_lease(m->f.partition, view.block, 20, m->f.now_ms);
        break;
    default:
        if (check(m, key, &view))
            partition_hit(m->f.partition, view.block);
    }
    if (rng_below(&m->rng, 3) == 0)
        partition_poll(m->f.partition, m->f.now_ms);
}

static void reopen(struct model *m, const char *policy)
{
    uint64_t items = arena_part(&m->f.arena, 0)->items;

    partition_close(m->f.partition);
    m->open = false;
    /* The recovery measures expiry by the real clock, which is behind the test's. */
    fixture_open(&m->f, policy);
    cr_assert_eq(m->f.recovery.dropped_damaged, 0);
    cr_assert_leq(m->f.recovery.kept, items);
    cr_assert_eq(m->f.recovery.kept + m->f.recovery.dropped_expired, items);
}

static void model_run(uint64_t seed, const char *policy, uint64_t data_size, int steps)
{
    static struct model model;
    struct model *m = &model;

    memset(m, 0, sizeof(*m));
    rng_seed(&m->rng, seed);
    fixture_create(&m->f, data_size, 1024, policy);
    for (int i = 0; i < steps; i++) {
        step(m);
        if (i % 500 == 0)
            cr_assert_eq(partition_audit(m->f.partition), 0, "after step %d", i);
        if (i % 2500 == 2499)
            reopen(m, policy);
    }
    cr_assert_eq(partition_audit(m->f.partition), 0);
    cr_assert(arena_part(&m->f.arena, 0)->evictions, "the arena was never full");
    fixture_destroy(&m->f);
}

Test(model, lru_in_four_mib_agrees_with_the_reference)
{
    model_run(1, "lru", 4 << 20, 8000);
}

Test(model, lfu_in_two_mib_agrees_with_the_reference)
{
    model_run(2, "lfu", 2 << 20, 8000);
}

Test(model, fifo_in_one_mib_agrees_with_the_reference)
{
    model_run(3, "fifo", 1 << 20, 8000);
}

Test(model, lru_with_other_seeds_agrees_with_the_reference)
{
    for (uint64_t seed = 10; seed < 13; seed++)
        model_run(seed, "lru", 3 << 20, 2000);
}
