/* SPDX-License-Identifier: Apache-2.0 */
/* The owner dies at some instruction; the next one opens what it left. partition_close frees only
 * private memory, so closing in the middle of things is dying there. */
#include "base/random.h"
#include "fixture.h"
#include "shm/bucket.h"
#include "shm/hazard.h"

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

static uint32_t living_mark; /* of the one writer that lives */

static bool mark_lives(void *context, uint32_t mark)
{
    return *(uint32_t *)context == mark;
}

static void die_and_open(bool verify)
{
    struct partition_options options = {.policy = "lru",
                                        .reclaimer = f.reclaimer,
                                        .verify = verify,
                                        .keep_reserved = mark_lives,
                                        .context = &living_mark};

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

static uint32_t reserve_marked(const char *key, uint32_t value_len, uint32_t mark)
{
    struct block_request request = {.key = key,
                                    .key_len = (uint32_t)strlen(key),
                                    .hash = fixture_hash(&f, key, strlen(key)),
                                    .value_len = value_len,
                                    .ttl_ms = 50000,
                                    .mark = mark};
    uint32_t block;

    cr_assert_eq(partition_reserve(f.partition, &request, f.now_ms, &block), KVR_OK);
    return block;
}

Test(recover, keeps_a_reservation_whose_writer_lives)
{
    const char *far = "a key of more than thirty-two bytes, reserved";
    uint32_t block = reserve_marked(far, 5000, 77), found = 0, mark;
    uint8_t *value = partition_value(f.partition, block);
    struct block_view view;
    uint64_t ref;

    memset(value, 0x42, 5000);
    (void)reserve_marked("dead", 5000, 78);
    living_mark = 77;
    die_and_open(false);
    cr_assert_eq(f.recovery.kept, 101);
    cr_assert_eq(f.recovery.kept_reserved, 1);
    cr_assert_eq(f.recovery.dropped_unsealed, 1);
    cr_assert_eq(arena_part(&f.arena, 0)->reserved, 1);
    cr_assert(partition_next_reserved(f.partition, &found, &mark));
    cr_assert_eq(found, block);
    cr_assert_eq(mark, 77);
    found++;
    cr_assert_not(partition_next_reserved(f.partition, &found, &mark));
    /* Its memory is nobody else's. */
    for (uint64_t i = 1000; i < 3000; i++)
        (void)fixture_put_number(&f, i, 5000);
    cr_assert_eq(partition_value(f.partition, block), value);
    cr_assert_eq(partition_seal(f.partition, block, crc32c(0, value, 5000), false, f.now_ms, &ref),
                 KVR_OK);
    cr_assert(fixture_find(&f, far, strlen(far), &view));
    cr_assert_eq(view.value_crc, crc32c(0, view.value, 5000));
    cr_assert_eq(view.ttl_ms, 50000);
    cr_assert_eq(view.value[4999], 0x42);
    destroy();
}

Test(recover, gives_a_kept_reservation_back_when_it_is_aborted)
{
    uint32_t block = reserve_marked("open", 5000, 77);

    living_mark = 77;
    die_and_open(false);
    partition_abort(f.partition, block);
    cr_assert_eq(arena_part(&f.arena, 0)->reserved, 0);
    all_there();
    destroy();
}

Test(recover, takes_no_number_of_a_sealed_block_for_a_mark)
{
    uint32_t block = reserve_marked("open", 5000, 77), plain;
    struct block_desc *desc = &f.arena.maps[0].descs[block];

    cr_assert_eq(fixture_reserve(&f, "plain", 5, 10, 0, &plain), KVR_OK);
    f.arena.maps[0].descs[plain].value_crc = 77;
    /* The owner died as it sealed: the CRC is written, the state is not. */
    desc->flags &= (uint8_t)~DESC_MARKED;
    living_mark = 77;
    die_and_open(false);
    cr_assert_eq(f.recovery.kept_reserved, 0);
    cr_assert_eq(f.recovery.dropped_unsealed, 2);
    destroy();
}

Test(recover, keeps_no_reservation_that_does_not_add_up)
{
    uint32_t block = reserve_marked("open", 5000, 77);

    f.arena.maps[0].descs[block].place = desc_named(40)->place;
    living_mark = 77;
    die_and_open(false);
    cr_assert_eq(f.recovery.kept_reserved, 0);
    cr_assert_eq(f.recovery.kept, 101, "what is sealed comes first");
    destroy();
}

/* A client that lives on while the owner does not. */
static struct segment segment;
static struct hazards hazards;

static uint32_t client_holds(uint64_t number)
{
    static const struct segment_spec spec = {.nr_slots = 64, .nr_partitions = 1};
    struct block_view view;
    uint32_t slot;

    if (!segment.header) {
        cr_assert_eq(segment_create(&spec, f.arena.sb->arena_id, &segment), 0);
        cr_assert_eq(hazards_open(&hazards, &segment, false), 0);
        cr_assert_eq(reclaim_client_add(f.reclaimer, 1, &segment), 0);
    }
    cr_assert(fixture_find(&f, &number, sizeof(number), &view));
    slot = hazard_publish(&hazards, view.ref);
    hazard_fence(&hazards);
    cr_assert(hazard_holds(&f.arena, view.ref));
    return slot;
}

static void client_leaves(void)
{
    reclaim_client_remove(f.reclaimer, 1);
    hazards_close(&hazards);
    segment_close(&segment);
}

static void refill(void)
{
    static uint8_t noise[5000];

    memset(noise, 0xee, sizeof(noise));
    for (uint64_t i = 1000; i < 4000; i++)
        cr_assert_eq(fixture_put(&f, &i, sizeof(i), noise, i % 5000, 0), KVR_OK);
}

static void keeps_bytes_of(uint64_t number, void (*loses)(uint64_t number))
{
    const struct block_desc *desc = desc_named(number);
    const uint8_t *value = f.arena.data + (uint64_t)desc->place * DATA_UNIT;
    uint32_t slot = client_holds(number), len = desc->value_len, generation = desc->generation;
    uint8_t *before = malloc(len);

    memcpy(before, value, len);
    loses(number);
    cr_assert_not(fixture_has(&f, number));
    refill();
    cr_assert_eq(memcmp(before, value, len), 0);
    cr_assert_eq(desc->generation, generation);
    cr_assert_eq(desc->state, BLOCK_UNLINKED);
    cr_assert_eq(partition_audit(f.partition), 0);
    hazard_release(&hazards, slot);
    fixture_settle(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    client_leaves();
    free(before);
    destroy();
}

static void deleted(uint64_t number)
{
    cr_assert_eq(fixture_del(&f, &number, sizeof(number)), KVR_OK);
    die_and_open(false);
}

static void expires(uint64_t number)
{
    struct block_desc *desc = desc_named(number);

    desc->flags = DESC_EXPIRES;
    desc->expiry_ms = 1;
    f.arena.sb->epoch_ns = clock_ns() - 100000 * NS_PER_MS;
    die_and_open(false);
    cr_assert_eq(f.recovery.dropped_expired, 1);
}

static void damaged(uint64_t number)
{
    desc_named(number)->value_crc ^= 1;
    die_and_open(true);
    cr_assert_eq(f.recovery.dropped_damaged, 1);
}

Test(recover, keeps_the_bytes_of_an_unlinked_block_that_a_client_holds)
{
    keeps_bytes_of(90, deleted);
}

Test(recover, keeps_the_bytes_of_an_expired_block_that_a_client_holds)
{
    keeps_bytes_of(91, expires);
}

Test(recover, keeps_the_bytes_of_a_damaged_block_that_a_client_holds)
{
    keeps_bytes_of(92, damaged);
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
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 1, "clients may still read it");
    fixture_settle(&f);
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
