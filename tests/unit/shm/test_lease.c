/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

static struct fixture f;

static uint32_t block_of(uint64_t number)
{
    struct block_view view;

    cr_assert(fixture_find(&f, &number, sizeof(number), &view));
    return view.block;
}

static bool lease(uint64_t number, uint32_t ms)
{
    return partition_lease(f.partition, block_of(number), ms, f.now_ms);
}

static void stream(uint64_t from, uint64_t nr, size_t value_len)
{
    for (uint64_t i = from; i < from + nr; i++)
        cr_assert_eq(fixture_put_number(&f, i, value_len), KVR_OK);
}

static void destroy(void)
{
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

static void keeps(const char *policy)
{
    fixture_create(&f, 4 << 20, 4096, policy);
    stream(0, 200, 8192);
    for (uint64_t i = 0; i < 100; i++)
        cr_assert(lease(i, 5000));
    cr_assert_eq(partition_audit(f.partition), 0);
    stream(1000, 3000, 8192);
    for (uint64_t i = 0; i < 100; i++)
        cr_assert(fixture_has(&f, i), "%s: leased block %lu was evicted", policy, (unsigned long)i);
    cr_assert_eq(partition_audit(f.partition), 0);
    /* Over: they go like all others. */
    for (uint32_t ms = 0; ms < 7000; ms += 10) {
        f.now_ms += 10;
        partition_poll(f.partition, f.now_ms);
    }
    stream(5000, 3000, 8192);
    for (uint64_t i = 0; i < 100; i++)
        cr_assert_not(fixture_has(&f, i), "%s", policy);
}

Test(lease, keeps_blocks_from_eviction_by_lru_until_it_is_over)
{
    keeps("lru");
    destroy();
}

Test(lease, keeps_blocks_from_eviction_by_fifo_until_it_is_over)
{
    keeps("fifo");
    destroy();
}

Test(lease, keeps_blocks_from_eviction_by_lfu_until_it_is_over)
{
    keeps("lfu");
    destroy();
}

Test(lease, keeps_blocks_where_memory_changes_hands)
{
    fixture_create(&f, 4 << 20, 4096, "lru");
    stream(0, 2000, 1000);
    for (uint64_t i = 1500; i < 1600; i++)
        cr_assert(lease(i, 5000));
    stream(10000, 200, 60000);
    for (uint64_t i = 1500; i < 1600; i++)
        cr_assert(fixture_has(&f, i));
    destroy();
}

Test(lease, is_refused_when_half_of_the_memory_is_leased)
{
    unsigned granted = 0;

    fixture_create(&f, 4 << 20, 4096, "lru");
    stream(0, 500, 8192);
    for (uint64_t i = 0; i < 500; i++)
        granted += fixture_has(&f, i) && lease(i, 1000);
    cr_assert_eq(granted, 256, "of 512 slots");
    f.now_ms += 1001;
    cr_assert(lease(499, 1000), "the others are over");
    destroy();
}

Test(lease, counts_the_longest_one)
{
    fixture_create(&f, 4 << 20, 4096, "lru");
    stream(0, 1, 8192);
    cr_assert(lease(0, 5000));
    cr_assert(lease(0, 10));
    f.now_ms += 4000;
    stream(1000, 2000, 8192);
    cr_assert(fixture_has(&f, 0));
    destroy();
}

Test(lease, does_not_stop_deletion_or_overwriting)
{
    uint64_t zero = 0, one = 1;

    fixture_create(&f, 4 << 20, 4096, "lru");
    stream(0, 2, 8192);
    cr_assert(lease(0, 5000));
    cr_assert(lease(1, 5000));
    cr_assert_eq(fixture_del(&f, &zero, sizeof(zero)), KVR_OK);
    cr_assert_eq(fixture_put(&f, &one, sizeof(one), "new", 3, 0), KVR_OK);
    cr_assert_not(fixture_has(&f, 0));
    fixture_settle(&f);
    destroy();
}
