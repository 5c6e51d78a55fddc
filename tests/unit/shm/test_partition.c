/* SPDX-License-Identifier: Apache-2.0 */
/* The life of blocks as partition.h promises it. */
#include "fixture.h"

#include <errno.h>

static struct fixture f;

static void create(void)
{
    fixture_create(&f, 4 << 20, 1024, "lru");
}

static void destroy(void)
{
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

TestSuite(partition, .init = create);

static uint64_t ref_of(const char *key)
{
    struct block_view view;

    return fixture_find(&f, key, strlen(key), &view) ? view.ref : 0;
}

Test(partition, shows_a_block_only_after_it_is_sealed)
{
    uint32_t block;
    uint64_t ref;

    cr_assert_eq(fixture_reserve(&f, "k", 1, 10, 0, &block), KVR_OK);
    cr_assert_eq(ref_of("k"), 0);
    cr_assert_eq(arena_part(&f.arena, 0)->reserved, 1);
    memcpy(partition_value(f.partition, block), "0123456789", 10);
    cr_assert_eq(partition_seal(f.partition, block, 0, false, f.now_ms, &ref), KVR_OK);
    cr_assert_eq(ref_of("k"), ref);
    cr_assert_eq(arena_part(&f.arena, 0)->reserved, 0);
    cr_assert_eq(arena_part(&f.arena, 0)->items, 1);
    cr_assert_eq(arena_part(&f.arena, 0)->value_bytes, 10);
    destroy();
}

Test(partition, takes_an_aborted_reservation_back_at_once)
{
    uint32_t block;

    cr_assert_eq(fixture_reserve(&f, "k", 1, 100000, 0, &block), KVR_OK);
    cr_assert_gt(arena_part(&f.arena, 0)->used_bytes, 0);
    partition_abort(f.partition, block);
    cr_assert_eq(arena_part(&f.arena, 0)->used_bytes, 0);
    cr_assert_eq(ref_of("k"), 0);
    destroy();
}

Test(partition, publishes_a_new_block_when_a_key_is_overwritten)
{
    struct block_view view;
    uint64_t before;

    cr_assert_eq(fixture_put(&f, "k", 1, "old", 3, 0), KVR_OK);
    before = ref_of("k");
    cr_assert_eq(fixture_put(&f, "k", 1, "newer", 5, 0), KVR_OK);
    cr_assert(fixture_find(&f, "k", 1, &view));
    cr_assert_neq(view.ref, before);
    cr_assert_eq(view.value_len, 5);
    cr_assert_eq(memcmp(view.value, "newer", 5), 0);
    cr_assert_eq(arena_part(&f.arena, 0)->replaced, 1);
    cr_assert_eq(arena_part(&f.arena, 0)->items, 1);
    destroy();
}

Test(partition, keeps_the_old_value_readable_until_its_readers_are_gone)
{
    struct block_view old;

    rcu_reader_register();
    cr_assert_eq(fixture_put(&f, "k", 1, "old", 3, 0), KVR_OK);
    cr_assert(fixture_find(&f, "k", 1, &old));
    cr_assert_eq(fixture_del(&f, "k", 1), KVR_OK);
    for (int i = 0; i < 30; i++) {
        fixture_turn(&f);
        cr_assert_eq(fixture_put_number(&f, (uint64_t)i, 3), KVR_OK);
    }
    cr_assert_eq(memcmp(old.value, "old", 3), 0);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 1);
    rcu_reader_offline();
    fixture_settle(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    rcu_reader_online();
    rcu_reader_unregister();
    destroy();
}

Test(partition, adds_only_where_nothing_is_stored)
{
    uint32_t block;
    uint64_t ref;

    cr_assert_eq(fixture_reserve(&f, "k", 1, 3, 50, &block), KVR_OK);
    cr_assert_eq(partition_seal(f.partition, block, 0, true, f.now_ms, &ref), KVR_OK);
    cr_assert_eq(fixture_reserve(&f, "k", 1, 3, 0, &block), KVR_OK);
    cr_assert_eq(partition_seal(f.partition, block, 0, true, f.now_ms, &ref), KVR_EXISTS);
    cr_assert_eq(arena_part(&f.arena, 0)->reserved, 0);
    f.now_ms += 50;
    cr_assert_eq(fixture_reserve(&f, "k", 1, 3, 0, &block), KVR_OK);
    cr_assert_eq(partition_seal(f.partition, block, 0, true, f.now_ms, &ref), KVR_OK, "expired");
    destroy();
}

Test(partition, deletes_what_it_is_told_and_only_the_block_that_is_meant)
{
    uint64_t ref;
    struct key_hash hash = fixture_hash(&f, "k", 1);

    cr_assert_eq(fixture_del(&f, "k", 1), KVR_MISS);
    cr_assert_eq(fixture_put(&f, "k", 1, "1", 1, 0), KVR_OK);
    ref = ref_of("k");
    cr_assert_eq(fixture_put(&f, "k", 1, "2", 1, 0), KVR_OK);
    cr_assert_eq(partition_del(f.partition, hash, "k", 1, ref, f.now_ms), KVR_STALE);
    cr_assert_eq(partition_del(f.partition, hash, "k", 1, ref_of("k"), f.now_ms), KVR_OK);
    cr_assert_eq(ref_of("k"), 0);
    destroy();
}

Test(partition, never_gives_the_same_reference_twice)
{
    uint64_t last = 0;

    for (int i = 0; i < 3000; i++) {
        uint64_t ref;

        cr_assert_eq(fixture_put(&f, "k", 1, &i, sizeof(i), 0), KVR_OK);
        ref = ref_of("k");
        cr_assert_neq(ref, 0);
        cr_assert_neq(ref, last);
        last = ref;
    }
    destroy();
}

Test(partition, holds_values_of_no_bytes)
{
    struct block_view view;

    cr_assert_eq(fixture_put(&f, "k", 1, NULL, 0, 0), KVR_OK);
    cr_assert(fixture_find(&f, "k", 1, &view));
    cr_assert_eq(view.value_len, 0);
    cr_assert_eq(arena_part(&f.arena, 0)->used_bytes, 0);
    cr_assert_eq(fixture_del(&f, "k", 1), KVR_OK);
    fixture_settle(&f);
    destroy();
}

Test(partition, evicts_values_of_no_bytes_when_descriptors_run_out)
{
    for (uint64_t i = 0; i < 3000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 0), KVR_OK);
    cr_assert_gt(arena_part(&f.arena, 0)->evictions, 1900);
    cr_assert(fixture_has(&f, 2999));
    cr_assert_not(fixture_has(&f, 0));
    destroy();
}

Test(partition, says_what_could_never_fit)
{
    uint32_t block;

    cr_assert_eq(fixture_reserve(&f, "k", 1, (4 << 20) + 1, 0, &block), KVR_TOO_LARGE);
    cr_assert_eq(fixture_reserve(&f, "k", 1, KVR_VALUE_MAX + 1, 0, &block), KVR_TOO_LARGE);
    cr_assert_eq(fixture_reserve(&f, "k", 1, 4 << 20, 0, &block), KVR_OK);
    partition_abort(f.partition, block);
    destroy();
}

Test(partition, says_when_nothing_may_be_evicted)
{
    uint32_t blocks[64], more;
    unsigned nr = 0;

    while (nr < 64 && fixture_reserve(&f, &nr, sizeof(nr), 100000, 0, &blocks[nr]) == KVR_OK)
        nr++;
    cr_assert_geq(nr, 32);
    cr_assert_eq(fixture_reserve(&f, "k", 1, 100000, 0, &more), KVR_NO_SPACE);
    cr_assert_gt(arena_part(&f.arena, 0)->no_space, 0);
    partition_abort(f.partition, blocks[0]);
    cr_assert_eq(fixture_reserve(&f, "k", 1, 100000, 0, &more), KVR_OK);
    partition_abort(f.partition, more);
    for (unsigned i = 1; i < nr; i++)
        partition_abort(f.partition, blocks[i]);
    cr_assert_eq(arena_part(&f.arena, 0)->used_bytes, 0);
    destroy();
}

Test(partition, answers_busy_while_readers_hold_what_makes_room)
{
    struct block_request request = {.key = "x", .key_len = 1, .value_len = 3 << 20};
    uint32_t block;

    for (uint64_t i = 0; i < 40; i++)
        cr_assert_eq(fixture_put_number(&f, i, 65000), KVR_OK);
    rcu_reader_register();
    request.hash = fixture_hash(&f, "x", 1);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(partition_reserve(f.partition, &request, f.now_ms, &block), KVR_BUSY);
        fixture_turn(&f);
    }
    cr_assert_geq(arena_part(&f.arena, 0)->grace_waits, 20);
    rcu_reader_offline();
    cr_assert_eq(fixture_reserve(&f, "x", 1, 3 << 20, 0, &block), KVR_OK);
    rcu_reader_online();
    rcu_reader_unregister();
    partition_abort(f.partition, block);
    destroy();
}

static uint64_t told[2048];
static unsigned nr_told;

static void note_unlinked(void *context, uint64_t ref)
{
    cr_assert_eq(context, &f);
    cr_assert_not(partition_pin_ref(f.partition, ref), "it is not sealed any more");
    told[nr_told++ % 2048] = ref;
}

Test(partition, tells_who_watches_of_each_block_that_goes)
{
    uint64_t refs[3];
    uint32_t block;

    partition_watch(f.partition, note_unlinked, &f);
    cr_assert_eq(fixture_put(&f, "a", 1, "old", 3, 0), KVR_OK);
    cr_assert_eq(fixture_put(&f, "b", 1, "b", 1, 0), KVR_OK);
    cr_assert_eq(fixture_put(&f, "c", 1, "c", 1, 5), KVR_OK);
    refs[0] = ref_of("a");
    refs[1] = ref_of("b");
    refs[2] = ref_of("c");
    cr_assert_eq(fixture_reserve(&f, "a", 1, 3, 0, &block), KVR_OK);
    partition_abort(f.partition, block);
    cr_assert_eq(nr_told, 0, "nobody has seen that one");
    cr_assert_eq(fixture_put(&f, "a", 1, "new", 3, 0), KVR_OK);
    cr_assert_eq(partition_del(f.partition, fixture_hash(&f, "b", 1), "b", 1, 0, f.now_ms), KVR_OK);
    f.now_ms += 10;
    cr_assert_eq(partition_touch(f.partition, fixture_hash(&f, "c", 1), "c", 1, 0, f.now_ms),
                 KVR_MISS);
    cr_assert_eq(nr_told, 3);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(told[i], refs[i]);
    for (uint64_t i = 0; i < 3000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 0), KVR_OK);
    cr_assert_eq(nr_told, 3 + arena_part(&f.arena, 0)->evictions);
    partition_watch(f.partition, NULL, NULL);
    cr_assert_eq(fixture_put(&f, "a", 1, "last", 4, 0), KVR_OK);
    destroy();
}

Test(partition, pins_the_block_of_a_reference_while_that_is_sealed)
{
    uint64_t ref, before;

    cr_assert_eq(fixture_put(&f, "a", 1, "old", 3, 0), KVR_OK);
    before = ref_of("a");
    cr_assert(partition_pin_ref(f.partition, before));
    cr_assert_eq(partition_pinned(f.partition), 1);
    partition_unpin(f.partition, (uint32_t)before);
    cr_assert_eq(fixture_put(&f, "a", 1, "new", 3, 0), KVR_OK);
    ref = ref_of("a");
    cr_assert_not(partition_pin_ref(f.partition, before));
    cr_assert_not(partition_pin_ref(f.partition, ref + (1ull << 32)), "another generation");
    cr_assert_not(partition_pin_ref(f.partition, ref + 4096), "no block of this partition");
    cr_assert(partition_pin_ref(f.partition, ref));
    partition_unpin(f.partition, (uint32_t)ref);
    cr_assert_eq(partition_pinned(f.partition), 0);
    destroy();
}

Test(partition, stores_the_hint_for_the_policies)
{
    struct kvr_hint hint = {.parent = 77, .cost_us = 5, .reuse_ms = 1500, .flags = KVR_HINT_ALIVE};
    struct key_hash hash = fixture_hash(&f, "k", 1);
    const struct block_meta *meta;
    struct block_view view;

    cr_assert_eq(partition_hint(f.partition, hash, "k", 1, &hint, f.now_ms), KVR_MISS);
    cr_assert_eq(fixture_put(&f, "k", 1, "v", 1, 0), KVR_OK);
    cr_assert_eq(partition_hint(f.partition, hash, "k", 1, &hint, f.now_ms), KVR_OK);
    cr_assert(fixture_find(&f, "k", 1, &view));
    cr_assert(f.arena.maps[0].descs[view.block].meta);
    meta = &f.arena.maps[0].metas[f.arena.maps[0].descs[view.block].meta - 1];
    cr_assert_eq(meta->parent, 77);
    cr_assert_eq(meta->cost_us, 5);
    cr_assert_eq(meta->reuse_s, 2);
    cr_assert_eq(meta->hint_flags, KVR_HINT_ALIVE);
    destroy();
}

Test(partition, changes_its_policy_while_it_is_in_use)
{
    for (uint64_t i = 0; i < 900; i++)
        cr_assert_eq(fixture_put_number(&f, i, 1), KVR_OK);
    cr_assert_eq(partition_set_policy(f.partition, "nonesuch", f.now_ms), -EINVAL);
    cr_assert_eq(partition_set_policy(f.partition, "fifo", f.now_ms), 0);
    cr_assert_eq(partition_audit(f.partition), 0);
    for (uint64_t i = 900; i < 1200; i++)
        cr_assert_eq(fixture_put_number(&f, i, 1), KVR_OK);
    cr_assert_not(fixture_has(&f, 5), "the order was kept");
    cr_assert(fixture_has(&f, 600));
    cr_assert_eq(partition_set_policy(f.partition, "lfu", f.now_ms), 0);
    destroy();
}

Test(partition_large, holds_64_mib_values_and_evicts_them)
{
    struct fixture big;
    struct block_view view;
    uint32_t block, len = KVR_VALUE_MAX;
    uint64_t ref;

    fixture_create(&big, 160 << 20, 1024, "lru");
    for (uint64_t i = 0; i < 5; i++) {
        cr_assert_eq(fixture_reserve(&big, &i, sizeof(i), len, 0, &block), KVR_OK);
        partition_value(big.partition, block)[0] = (uint8_t)i;
        partition_value(big.partition, block)[len - 1] = (uint8_t)i;
        cr_assert_eq(partition_seal(big.partition, block, 0, false, big.now_ms, &ref), KVR_OK);
        cr_assert(fixture_find(&big, &i, sizeof(i), &view));
        cr_assert_eq(view.value[0], i);
        cr_assert_eq(view.value[len - 1], i);
        cr_assert_eq(partition_audit(big.partition), 0);
    }
    cr_assert(fixture_has(&big, 3));
    cr_assert_not(fixture_has(&big, 2));
    fixture_destroy(&big);
}
