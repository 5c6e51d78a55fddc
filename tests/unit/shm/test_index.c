/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "shm/bucket.h"

Test(index, finds_what_is_stored_and_nothing_else)
{
    struct fixture f;
    struct block_view view;

    fixture_create(&f, 4 << 20, 1024, "lru");
    cr_assert_not(fixture_find(&f, "a", 1, &view));
    cr_assert_eq(fixture_put(&f, "a", 1, "hello", 5, 0), KVR_OK);
    cr_assert(fixture_find(&f, "a", 1, &view));
    cr_assert_eq(view.value_len, 5);
    cr_assert_eq(memcmp(view.value, "hello", 5), 0);
    cr_assert_eq(view.value_crc, crc32c(0, "hello", 5));
    cr_assert_eq(view.ttl_ms, 0);
    cr_assert_neq(view.ref, 0);
    cr_assert_not(fixture_find(&f, "b", 1, &view));
    cr_assert_not(fixture_find(&f, "a\0", 2, &view));
    fixture_destroy(&f);
}

Test(index, holds_keys_of_1_to_1024_bytes_of_anything)
{
    struct fixture f;
    uint8_t key[KVR_KEY_MAX];
    struct block_view view;

    memset(key, 0xff, sizeof(key));
    key[0] = 0;
    fixture_create(&f, 8 << 20, 2048, "lru");
    for (uint32_t len = 1; len <= KVR_KEY_MAX; len++)
        cr_assert_eq(fixture_put(&f, key, len, &len, sizeof(len), 0), KVR_OK);
    for (uint32_t len = 1; len <= KVR_KEY_MAX; len++) {
        cr_assert(fixture_find(&f, key, len, &view));
        cr_assert_eq(memcmp(view.value, &len, sizeof(len)), 0);
    }
    cr_assert_eq(partition_audit(f.partition), 0);
    for (uint32_t len = 1; len <= KVR_KEY_MAX; len++)
        cr_assert_eq(fixture_del(&f, key, len), KVR_OK);
    fixture_settle(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->used_bytes, 0);
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

Test(index, fills_every_descriptor_and_finds_all)
{
    struct fixture f;
    uint64_t nr;

    fixture_create(&f, 4 << 20, 4096, "fifo");
    nr = f.arena.maps[0].nr_blocks;
    for (uint64_t i = 0; i < nr; i++)
        cr_assert_eq(fixture_put_number(&f, i, 100), KVR_OK);
    /* A few are evicted ahead, and they are the oldest. */
    for (uint64_t i = 64; i < nr; i++)
        cr_assert(fixture_has(&f, i), "%lu of %lu", (unsigned long)i, (unsigned long)nr);
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

/* Keys that all belong to one bucket, as an attacker who knows the seed would choose them. */
Test(index, keeps_chains_short_when_keys_are_made_to_collide)
{
    struct fixture f;
    uint32_t stored = 0, found = 0, nr_buckets;

    fixture_create(&f, 4 << 20, 1024, "lru");
    nr_buckets = f.arena.maps[0].nr_buckets;
    for (uint64_t key = 0; stored < 300; key++) {
        if (hash_bucket(fixture_hash(&f, &key, sizeof(key)), nr_buckets) != 3)
            continue;
        cr_assert_eq(fixture_put_number(&f, key, 64), KVR_OK);
        cr_assert(fixture_has(&f, key), "the newest is always there");
        stored++;
    }
    cr_assert_eq(partition_audit(f.partition), 0);
    for (uint64_t key = 0, seen = 0; seen < 300; key++)
        if (hash_bucket(fixture_hash(&f, &key, sizeof(key)), nr_buckets) == 3) {
            found += fixture_has(&f, key);
            seen++;
        }
    cr_assert_eq(found, BUCKET_SLOTS * (1 + CHAIN_OVERFLOW_MAX));
    fixture_destroy(&f);
}

/* Clients with the write right may write to the data, where long keys lie. */
Test(index, loses_no_entry_when_a_long_key_is_damaged)
{
    struct fixture f;
    char key[KEY_INLINE + 8] = "a key too long for its descriptor";
    const struct block_desc *desc;
    struct block_view view;

    fixture_create(&f, 4 << 20, 1024, "lru");
    cr_assert_eq(fixture_put(&f, key, sizeof(key), "value", 5, 0), KVR_OK);
    cr_assert(fixture_find(&f, key, sizeof(key), &view));
    desc = &f.arena.maps[0].descs[view.block];
    memset(f.arena.data + (uint64_t)desc->far_key.place * DATA_UNIT, 'x', sizeof(key));
    cr_assert_not(fixture_find(&f, key, sizeof(key), &view), "a damaged key is no key");
    for (uint64_t i = 0; i < 1100; i++)
        cr_assert_eq(fixture_put_number(&f, i, 64), KVR_OK);
    fixture_settle(&f);
    cr_assert_eq(partition_audit(f.partition), 0, "its entry went with it");
    fixture_destroy(&f);
}

Test(index, takes_a_bucket_that_stays_odd_for_a_miss)
{
    struct fixture f;
    uint64_t key = 1;
    uint32_t head;

    fixture_create(&f, 4 << 20, 1024, "lru");
    cr_assert_eq(fixture_put_number(&f, key, 10), KVR_OK);
    head = hash_bucket(fixture_hash(&f, &key, sizeof(key)), f.arena.maps[0].nr_buckets);
    f.arena.maps[0].buckets[head].version++;
    cr_assert_not(fixture_has(&f, key));
    f.arena.maps[0].buckets[head].version++;
    cr_assert(fixture_has(&f, key));
    fixture_destroy(&f);
}

/* Any number of buckets, not a power of two, and hashes fall on all of them alike. */
Test(index, spreads_keys_evenly)
{
    uint32_t counts[1000] = {0}, least = UINT32_MAX, most = 0;

    for (uint64_t key = 0; key < 1000000; key++)
        counts[hash_bucket(hash_key(&key, sizeof(key), 3), 1000)]++;
    for (unsigned i = 0; i < 1000; i++) {
        least = counts[i] < least ? counts[i] : least;
        most = counts[i] > most ? counts[i] : most;
    }
    cr_assert_geq(least, 850);
    cr_assert_leq(most, 1150);
}

Test(index, ends_in_a_chain_that_bites_its_tail)
{
    struct fixture f;
    const struct part_map *map;

    fixture_create(&f, 4 << 20, 1024, "lru");
    map = &f.arena.maps[0];
    for (uint32_t i = 0; i < map->nr_buckets; i++)
        map->buckets[i].next = 1;
    map->buckets[map->nr_buckets].next = 1;
    for (uint64_t key = 0; key < 100; key++)
        cr_assert_not(fixture_has(&f, key));
    fixture_destroy(&f);
}

Test(bucket, matches_tags_in_every_slot)
{
    struct bucket bucket = {0};

    for (unsigned slot = 0; slot < BUCKET_SLOTS; slot++)
        bucket.tags[slot] = (uint16_t)(0x8000 + slot);
    for (unsigned slot = 0; slot < BUCKET_SLOTS; slot++)
        cr_assert_eq(bucket_match(&bucket, (uint16_t)(0x8000 + slot)), 1u << slot);
    cr_assert_eq(bucket_match(&bucket, 0x7fff), 0);
    bucket.tags[8] = bucket.tags[0] = bucket.tags[5] = 7;
    cr_assert_eq(bucket_match(&bucket, 7), 1u << 8 | 1u << 5 | 1u);
}

Test(index, look_is_undecided_while_the_chain_is_in_the_middle_of_a_change)
{
    struct fixture f;
    struct block_view view;
    struct key_hash hash;
    uint32_t *version;

    fixture_create(&f, 4 << 20, 1024, "lru");
    hash = fixture_hash(&f, "a", 1);
    version = &f.arena.maps[0].buckets[hash_bucket(hash, f.arena.maps[0].nr_buckets)].version;
    cr_assert_eq(index_look(&f.arena, 0, hash, "a", 1, f.now_ms, &view), INDEX_MISS);
    ++*version;
    cr_assert_eq(index_look(&f.arena, 0, hash, "a", 1, f.now_ms, &view), INDEX_UNDECIDED);
    ++*version;
    cr_assert_eq(fixture_put(&f, "a", 1, "hello", 5, 0), KVR_OK);
    cr_assert_eq(index_look(&f.arena, 0, hash, "a", 1, f.now_ms, &view), INDEX_HIT);
    ++*version;
    cr_assert_eq(index_look(&f.arena, 0, hash, "a", 1, f.now_ms, &view), INDEX_UNDECIDED);
    ++*version;
    fixture_destroy(&f);
}

Test(index, key_is_told_from_every_other_that_differs_in_a_byte)
{
    struct fixture f;
    struct block_view view;
    uint8_t key[KVR_KEY_MAX];

    fixture_create(&f, 4 << 20, 1024, "lru");
    memset(key, 7, sizeof(key));
    for (uint32_t len = 1; len <= 40; len++) {
        const struct block_desc *desc;

        cr_assert_eq(fixture_put(&f, key, len, "v", 1, 0), KVR_OK);
        cr_assert(fixture_find(&f, key, len, &view));
        desc = &f.arena.maps[0].descs[view.block];
        for (uint32_t i = 0; i < len; i++) {
            key[i] ^= 0x80;
            cr_assert_not(len <= KEY_INLINE && desc_key_equal(desc, key, len), "%u of %u", i, len);
            cr_assert_not(fixture_find(&f, key, len, &view));
            key[i] ^= 0x80;
        }
        cr_assert(len > KEY_INLINE || desc_key_equal(desc, key, len));
    }
    fixture_destroy(&f);
}
