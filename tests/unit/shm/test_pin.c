/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "fixture.h"

static struct fixture f;

static void create(void)
{
    fixture_create(&f, 2 << 20, 1024, "lru");
}

static void destroy(void)
{
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

TestSuite(pin, .init = create);

static struct block_view pin(const char *key)
{
    struct block_view view;
    char room[64] = {
        0}; /* keys of 16 bytes are hashed apart, which gcc takes for a look behind key */
    size_t len = strlen(key);

    cr_assert_lt(len, sizeof(room));
    memcpy(room, key, len);
    cr_assert(fixture_find(&f, room, len, &view));
    partition_pin(f.partition, view.block);
    return view;
}

Test(pin, keeps_a_values_bytes_after_the_block_was_deleted)
{
    struct block_view view;

    cr_assert_eq(fixture_put(&f, "k", 1, "precious", 8, 0), KVR_OK);
    view = pin("k");
    partition_pin(f.partition, view.block);
    cr_assert_eq(partition_pinned(f.partition), 2);
    cr_assert_eq(fixture_del(&f, "k", 1), KVR_OK);
    for (uint64_t i = 0; i < 3000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 8), KVR_OK);
    cr_assert_eq(memcmp(view.value, "precious", 8), 0);
    partition_unpin(f.partition, view.block);
    for (int i = 0; i < 100; i++)
        fixture_turn(&f);
    cr_assert_eq(memcmp(view.value, "precious", 8), 0, "one pin is left");
    cr_assert_eq(partition_audit(f.partition), 0);
    partition_unpin(f.partition, view.block);
    fixture_settle(&f);
    cr_assert_eq(partition_pinned(f.partition), 0);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    destroy();
}

Test(pin, keeps_a_block_from_eviction)
{
    struct block_view view;

    cr_assert_eq(fixture_put(&f, "k", 1, "precious", 8, 0), KVR_OK);
    view = pin("k");
    for (uint64_t i = 0; i < 3000; i++)
        cr_assert_eq(fixture_put_number(&f, i, 8), KVR_OK);
    cr_assert(fixture_find(&f, "k", 1, &view));
    partition_unpin(f.partition, view.block);
    destroy();
}

Test(pin, on_everything_means_no_space)
{
    uint32_t block, extra[4], nr_extra = 0, nr = 0, free_one = BLOCK_NONE;
    struct block_view view;

    for (uint64_t i = 0; i < 32; i++)
        cr_assert_eq(fixture_put_number(&f, i, 60000), KVR_OK);
    for (uint64_t i = 0; i < 32; i++)
        if (fixture_find(&f, &i, sizeof(i), &view)) {
            partition_pin(f.partition, view.block);
            free_one = i == 9 ? view.block : free_one;
            nr++;
        }
    cr_assert_geq(nr, 30);
    fixture_settle(&f);
    while (fixture_reserve(&f, "new", 3, 60000, 0, &block) == KVR_OK) { /* what was free */
        cr_assert_lt(nr_extra, 4);
        extra[nr_extra++] = block;
    }
    cr_assert_eq(fixture_reserve(&f, "new", 3, 60000, 0, &block), KVR_NO_SPACE);
    cr_assert_eq(fixture_reserve(&f, "other", 5, 300, 0, &block), KVR_NO_SPACE);
    cr_assert_eq(arena_part(&f.arena, 0)->items, nr, "and nothing is lost");
    partition_unpin(f.partition, free_one);
    cr_assert_eq(fixture_reserve(&f, "new", 3, 60000, 0, &block), KVR_OK);
    cr_assert_not(fixture_has(&f, 9), "the one without a pin went");
    cr_assert(fixture_has(&f, 8));
    while (nr_extra)
        partition_abort(f.partition, extra[--nr_extra]);
    destroy();
}

static void *unpin_later(void *arg)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    partition_unpin(f.partition, *(uint32_t *)arg);
    return NULL;
}

Test(pin, may_be_given_back_by_any_thread)
{
    struct block_view view;
    pthread_t thread;

    cr_assert_eq(fixture_put(&f, "k", 1, "precious", 8, 0), KVR_OK);
    view = pin("k");
    cr_assert_eq(fixture_put(&f, "k", 1, "next", 4, 0), KVR_OK);
    cr_assert_eq(pthread_create(&thread, NULL, unpin_later, &view.block), 0);
    fixture_settle(&f);
    pthread_join(thread, NULL);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    destroy();
}

Test(pin, outlives_an_aborted_reservation)
{
    uint32_t block;

    cr_assert_eq(fixture_reserve(&f, "k", 1, 100, 0, &block), KVR_OK);
    partition_pin(f.partition, block);
    partition_abort(f.partition, block);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 1);
    cr_assert_eq(partition_audit(f.partition), 0);
    partition_unpin(f.partition, block);
    fixture_settle(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    destroy();
}
