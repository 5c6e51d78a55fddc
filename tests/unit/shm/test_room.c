/* SPDX-License-Identifier: Apache-2.0 */
/* Who is evicted, and how memory moves between sizes. */
#include "base/random.h"
#include "fixture.h"

static unsigned count_of(const struct fixture *f, uint64_t from, uint64_t to)
{
    unsigned nr = 0;

    for (uint64_t i = from; i < to; i++)
        nr += fixture_has(f, i);
    return nr;
}

Test(room, evicts_in_the_exact_order_of_the_policy_where_all_have_one_size)
{
    struct fixture f;
    struct block_view view;
    uint64_t first;

    fixture_create(&f, 16 << 20, 4096, "lru");
    for (uint64_t i = 0; i < 1000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 8192), KVR_OK);
    for (uint64_t i = 0; i < 500; i++) {
        cr_assert(fixture_find(&f, &i, sizeof(i), &view));
        partition_hit(f.partition, view.block);
    }
    /* 2,048 slots: 500 to 999 are the oldest now, then 0 to 499, then the rest. */
    for (uint64_t i = 1000; i < 2248; i++)
        cr_assert_eq(fixture_put_number(&f, i, 8192), KVR_OK);
    cr_assert_eq(count_of(&f, 0, 500), 500);
    for (first = 500; first < 1000 && !fixture_has(&f, first);)
        first++;
    cr_assert_geq(first, 700);
    cr_assert_leq(first, 720, "no more are evicted ahead than some");
    cr_assert_eq(count_of(&f, first, 2248), 2248 - first, "and none out of order");
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

Test(room, moves_memory_to_the_size_that_is_used_now)
{
    static const uint32_t sizes[] = {64, 65536, 2000, 40960, 300, 8192, 0, 64000};
    struct fixture f;
    uint64_t key = 0;

    fixture_create(&f, 8 << 20, 0, "lru");
    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        uint64_t before = key, capacity = sizes[s] > 1000 ? (8 << 20) / sizes[s] : 8000;

        for (uint64_t i = 0; i < capacity * 2; i++, key++)
            cr_assert_eq(fixture_put_number(&f, key, sizes[s]), KVR_OK, "%u bytes", sizes[s]);
        if (sizes[s])
            cr_assert_geq(count_of(&f, before, key), capacity * 6 / 10, "%u bytes: %u of %lu",
                          sizes[s], count_of(&f, before, key), (unsigned long)capacity);
        cr_assert_eq(partition_audit(f.partition), 0);
    }
    fixture_destroy(&f);
}

Test(room, makes_way_for_one_huge_value_among_thousands_of_small_ones)
{
    struct fixture f;
    uint32_t block;
    uint64_t ref;

    fixture_create(&f, 16 << 20, 0, "lru");
    for (uint64_t i = 0; i < 12000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 1000 + i % 500), KVR_OK);
    cr_assert_eq(fixture_reserve(&f, "huge", 4, 9 << 20, 0, &block), KVR_OK);
    cr_assert_eq(partition_seal(f.partition, block, 0, false, f.now_ms, &ref), KVR_OK);
    cr_assert_geq(count_of(&f, 0, 12000), 3000, "the rest stays");
    for (uint64_t i = 20000; i < 60000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 1000 + i % 500), KVR_OK);
    cr_assert_not(fixture_has(&f, 20000));
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

/* A hot set of one size must survive a stream of another that is stored once and never read. */
Test(room, does_not_let_a_cold_stream_take_a_hot_sets_memory)
{
    struct fixture f;
    struct block_view view;
    struct rng rng;

    rng_seed(&rng, 5);
    fixture_create(&f, 16 << 20, 0, "lru");
    for (uint64_t i = 0; i < 1000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 4096), KVR_OK);
    for (uint64_t i = 0; i < 3000; i++) {
        for (int k = 0; k < 10; k++) {
            uint64_t hot = rng_below(&rng, 1000);

            if (fixture_find(&f, &hot, sizeof(hot), &view))
                partition_hit(f.partition, view.block);
        }
        cr_assert_eq(fixture_put_number(&f, 100000 + i, 20000), KVR_OK);
    }
    cr_assert_geq(count_of(&f, 0, 1000), 900, "%u of 1,000 hot ones left", count_of(&f, 0, 1000));
    cr_assert_geq(count_of(&f, 100000, 103000), 400);
    fixture_destroy(&f);
}

/* The other way round: what is cold and large must give way although the hot class has victims of
 * its own. */
Test(room, takes_memory_from_cold_blocks_of_other_sizes)
{
    struct fixture f;
    struct block_view view;

    fixture_create(&f, 16 << 20, 0, "lru");
    for (uint64_t i = 0; i < 100; i++)
        cr_assert_eq(fixture_put_number(&f, 500000 + i, 65536), KVR_OK);
    for (uint64_t round = 0; round < 6; round++)
        for (uint64_t i = 0; i < 3950; i++) {
            if (fixture_find(&f, &i, sizeof(i), &view))
                partition_hit(f.partition, view.block);
            else
                cr_assert_eq(fixture_put_number(&f, i, 4096), KVR_OK);
        }
    cr_assert_leq(count_of(&f, 500000, 500100), 20, "%u cold ones left",
                  count_of(&f, 500000, 500100));
    cr_assert_geq(count_of(&f, 0, 3950), 3800);
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}
