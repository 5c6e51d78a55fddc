/* SPDX-License-Identifier: Apache-2.0 */
/* The owner dies at some instruction; the next one opens what it left. partition_close frees only
 * private memory, so closing in the middle of things is dying there. */
#include "base/random.h"
#include "fixture.h"
#include "shm/bucket.h"

static struct fixture f;

static void create(void)
{
    fixture_create(&f, 4 << 20, 2048, "lru");
    for (uint64_t i = 0; i < 100; i++)
        cr_assert_eq(fixture_put_number(&f, i, (size_t)i * 50), KVR_OK);
    cr_assert_eq(fixture_put(&f, "a key that is longer than thirty-two bytes", 42, "long", 4, 0),
                 KVR_OK);
}

static void destroy(void)
{
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

TestSuite(recover, .init = create);

static void die_and_open(bool verify)
{
    struct partition_options options = {
        .policy = "lru", .reclaimer = f.reclaimer, .verify = verify};

    partition_close(f.partition);
    cr_assert_eq(partition_open(&f.arena, 0, &options, &f.partition, &f.recovery), 0);
    cr_assert_eq(partition_audit(f.partition), 0);
}

static void all_there(void)
{
    struct block_view view;

    for (uint64_t i = 0; i < 100; i++)
        cr_assert(fixture_has(&f, i), "%lu", (unsigned long)i);
    cr_assert(fixture_find(&f, "a key that is longer than thirty-two bytes", 42, &view));
    cr_assert_eq(memcmp(view.value, "long", 4), 0);
}

static struct block_desc *desc_named(uint64_t number)
{
    struct block_view view;

    cr_assert(fixture_find(&f, &number, sizeof(number), &view));
    return &f.arena.maps[0].descs[view.block];
}

Test(recover, keeps_everything_that_was_sealed)
{
    struct block_view before, after;
    uint64_t seven = 7;

    cr_assert(fixture_find(&f, &seven, sizeof(seven), &before));
    die_and_open(true);
    cr_assert_eq(f.recovery.kept, 101);
    cr_assert_eq(f.recovery.dropped_damaged, 0);
    all_there();
    cr_assert(fixture_find(&f, &seven, sizeof(seven), &after));
    cr_assert_eq(after.ref, before.ref);
    cr_assert_eq(after.value, before.value);
    destroy();
}

Test(recover, drops_what_was_only_reserved)
{
    uint32_t block;

    cr_assert_eq(fixture_reserve(&f, "open", 4, 1000, 0, &block), KVR_OK);
    die_and_open(false);
    cr_assert_eq(f.recovery.dropped_unsealed, 1);
    cr_assert_eq(f.recovery.kept, 101);
    cr_assert_eq(arena_part(&f.arena, 0)->reserved, 0);
    all_there();
    destroy();
}

Test(recover, drops_what_was_unlinked_and_waited_for_readers)
{
    uint64_t three = 3;

    rcu_reader_register();
    cr_assert_eq(fixture_del(&f, &three, sizeof(three)), KVR_OK);
    die_and_open(false);
    rcu_reader_unregister();
    cr_assert_eq(f.recovery.kept, 100);
    cr_assert_not(fixture_has(&f, 3));
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    destroy();
}

Test(recover, ends_a_change_of_a_bucket_that_was_cut_short)
{
    const struct part_map *map = &f.arena.maps[0];

    for (uint32_t i = 0; i < map->nr_buckets; i += 3) {
        map->buckets[i].version |= 1;
        map->buckets[i].tags[0] = 0;
        map->buckets[i].next = i;
    }
    die_and_open(false);
    cr_assert_eq(f.recovery.kept, 101);
    all_there();
    destroy();
}

Test(recover, keeps_one_of_two_blocks_of_a_key_that_was_being_overwritten)
{
    struct block_desc *desc = desc_named(5);
    uint64_t five = 5;

    cr_assert_eq(fixture_put(&f, &five, sizeof(five), "x", 1, 0), KVR_OK);
    desc->state = BLOCK_SEALED; /* died before the old one was marked */
    die_and_open(false);
    cr_assert_eq(f.recovery.kept, 101);
    cr_assert_eq(f.recovery.dropped_damaged, 1);
    cr_assert(fixture_has(&f, 5));
    destroy();
}

Test(recover, drops_expired_blocks)
{
    cr_assert_eq(fixture_put(&f, "k", 1, "v", 1, 1), KVR_OK);
    /* The next owner reads the real clock; let what it finds be long past. */
    f.arena.sb->epoch_ns = clock_ns() - 100000 * NS_PER_MS;
    die_and_open(false);
    cr_assert_eq(f.recovery.dropped_expired, 1);
    cr_assert_eq(f.recovery.kept, 101);
    destroy();
}

Test(recover, drops_values_whose_bytes_are_damaged_if_asked_to_verify)
{
    struct block_view view;
    uint64_t nine = 9;

    cr_assert(fixture_find(&f, &nine, sizeof(nine), &view));
    f.arena.data[view.value - f.arena.data] ^= 1;
    die_and_open(false);
    cr_assert_eq(f.recovery.kept, 101);
    die_and_open(true);
    cr_assert_eq(f.recovery.kept, 100);
    cr_assert_eq(f.recovery.dropped_damaged, 1);
    cr_assert_not(fixture_has(&f, 9));
    destroy();
}

Test(recover, drops_descriptors_that_do_not_add_up)
{
    desc_named(20)->place = UINT32_MAX;
    desc_named(21)->place += 1;
    desc_named(22)->value_len = UINT32_MAX;
    desc_named(23)->key_len = 0;
    desc_named(24)->key_len = UINT16_MAX;
    desc_named(25)->generation = 0;
    desc_named(26)->key_len = KEY_INLINE + 1;
    desc_named(27)->state = 77;
    desc_named(28)->place = desc_named(29)->place;
    desc_named(30)->value_len = 50000;
    die_and_open(false);
    cr_assert_eq(f.recovery.dropped_damaged, 10);
    cr_assert_eq(f.recovery.kept, 91);
    for (uint64_t i = 31; i < 100; i++)
        cr_assert(fixture_has(&f, i));
    destroy();
}

Test(recover, survives_tables_full_of_noise)
{
    const struct part_map *map = &f.arena.maps[0];
    struct rng rng;

    rng_seed(&rng, 6);
    for (int round = 0; round < 10; round++) {
        uint64_t *descs = (uint64_t *)(void *)map->descs;

        for (size_t i = 0; i < map->nr_blocks * sizeof(struct block_desc) / 8; i++)
            if (rng_below(&rng, 4) == 0)
                descs[i] = rng_next(&rng) & rng_next(&rng) & rng_next(&rng);
        for (uint32_t i = 0; i < map->nr_blocks; i++)
            if (rng_below(&rng, 2))
                map->descs[i].state = BLOCK_SEALED;
        for (uint32_t i = 0; i < map->nr_chunks; i++)
            if (rng_below(&rng, 3) == 0)
                map->chunks[i] = (struct chunk_entry){.slot_units = (uint32_t)rng_below(&rng, 9),
                                                      .nr_chunks = (uint16_t)rng_below(&rng, 4),
                                                      .index = (uint16_t)rng_below(&rng, 4)};
        die_and_open(round % 2);
        for (uint64_t i = 0; i < 500; i++)
            cr_assert_eq(fixture_put_number(&f, i, 900), KVR_OK);
        cr_assert_eq(partition_audit(f.partition), 0);
    }
    destroy();
}

Test(recover, finds_the_same_again_and_again)
{
    for (uint64_t i = 0; i < 4000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 100 + i * 37 % 9000), KVR_OK);
    fixture_settle(&f);
    for (int i = 0; i < 3; i++) {
        uint64_t items = arena_part(&f.arena, 0)->items;
        uint64_t used = arena_part(&f.arena, 0)->used_bytes;

        die_and_open(true);
        cr_assert_eq(f.recovery.kept, items);
        cr_assert_eq(arena_part(&f.arena, 0)->used_bytes, used);
    }
    destroy();
}
