/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

static struct fixture f;

static void create(void)
{
    fixture_create(&f, 4 << 20, 8192, "lru");
}

static void destroy(void)
{
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

TestSuite(expire, .init = create);

static enum kvr_status touch(const char *key, uint32_t ttl_ms)
{
    size_t len = strlen(key);

    return partition_touch(f.partition, fixture_hash(&f, key, len), key, (uint32_t)len, ttl_ms,
                           f.now_ms);
}

Test(expire, a_block_is_gone_the_millisecond_its_time_has_passed)
{
    struct block_view view;

    cr_assert_eq(fixture_put(&f, "k", 1, "v", 1, 100), KVR_OK);
    f.now_ms += 99;
    cr_assert(fixture_find(&f, "k", 1, &view));
    cr_assert_eq(view.ttl_ms, 1);
    f.now_ms += 1;
    cr_assert_not(fixture_find(&f, "k", 1, &view));
    cr_assert_eq(fixture_del(&f, "k", 1), KVR_MISS);
    cr_assert_eq(arena_part(&f.arena, 0)->items, 0, "found expired, so taken away");
    cr_assert_eq(arena_part(&f.arena, 0)->expired, 1);
    destroy();
}

Test(expire, counts_from_sealing_and_not_from_reserving)
{
    struct block_view view;
    uint32_t block;
    uint64_t ref;

    cr_assert_eq(fixture_reserve(&f, "k", 1, 1, 100, &block), KVR_OK);
    f.now_ms += 1000;
    cr_assert_eq(partition_seal(f.partition, block, 0, false, f.now_ms, &ref), KVR_OK);
    cr_assert(fixture_find(&f, "k", 1, &view));
    cr_assert_eq(view.ttl_ms, 100);
    destroy();
}

Test(expire, works_where_the_clock_wraps_around)
{
    struct block_view view;

    f.now_ms = UINT32_MAX - 10;
    cr_assert_eq(fixture_put(&f, "k", 1, "v", 1, 100), KVR_OK);
    cr_assert_eq(fixture_put(&f, "long", 4, "v", 1, UINT32_MAX), KVR_OK);
    f.now_ms += 50;
    cr_assert(fixture_find(&f, "k", 1, &view));
    cr_assert_eq(view.ttl_ms, 50);
    f.now_ms += 50;
    cr_assert_not(fixture_find(&f, "k", 1, &view));
    cr_assert(fixture_find(&f, "long", 4, &view));
    cr_assert_eq(view.ttl_ms, PARTITION_TTL_MAX_MS - 100, "capped");
    destroy();
}

Test(expire, touch_gives_new_time_or_takes_the_limit_away)
{
    struct block_view view;

    cr_assert_eq(touch("k", 5), KVR_MISS);
    cr_assert_eq(fixture_put(&f, "k", 1, "v", 1, 100), KVR_OK);
    f.now_ms += 90;
    cr_assert_eq(touch("k", 200), KVR_OK);
    f.now_ms += 150;
    cr_assert(fixture_find(&f, "k", 1, &view));
    cr_assert_eq(view.ttl_ms, 50);
    cr_assert_eq(touch("k", 0), KVR_OK);
    f.now_ms += 1000000;
    cr_assert(fixture_find(&f, "k", 1, &view));
    cr_assert_eq(view.ttl_ms, 0);
    cr_assert_eq(touch("k", 10), KVR_OK);
    f.now_ms += 10;
    cr_assert_eq(touch("k", 10), KVR_MISS);
    destroy();
}

Test(expire, the_sweep_frees_what_nobody_asks_for_within_a_minute)
{
    for (uint64_t i = 0; i < 4000; i++) {
        uint8_t value[100] = {0};

        cr_assert_eq(fixture_put(&f, &i, sizeof(i), value, sizeof(value), i % 2 ? 0 : 500), KVR_OK);
    }
    for (uint32_t passed = 0; passed < 60000; passed += 10) {
        f.now_ms += 10;
        partition_poll(f.partition, f.now_ms);
    }
    cr_assert_eq(arena_part(&f.arena, 0)->items, 2000);
    cr_assert_eq(arena_part(&f.arena, 0)->expired, 2000);
    fixture_settle(&f);
    for (uint64_t i = 0; i < 4000; i++)
        cr_assert_eq(fixture_has(&f, i), i % 2);
    destroy();
}

Test(expire, one_turn_takes_only_a_few_blocks)
{
    uint64_t before;

    for (uint64_t i = 0; i < 4000; i++)
        cr_assert_eq(fixture_put(&f, &i, sizeof(i), "", 0, 500), KVR_OK);
    f.now_ms += 100000;
    for (int turn = 0; turn < 200 && arena_part(&f.arena, 0)->items; turn++) {
        before = arena_part(&f.arena, 0)->items;
        partition_poll(f.partition, f.now_ms);
        cr_assert_leq(before - arena_part(&f.arena, 0)->items, 128);
    }
    cr_assert_eq(arena_part(&f.arena, 0)->items, 0);
    destroy();
}
