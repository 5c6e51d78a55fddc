/* SPDX-License-Identifier: Apache-2.0 */
/* The pool on host devices: what comes in, what goes, who may read what. Jobs end when they like,
 * but the pool learns of it only when the test takes them. */
#include <criterion/criterion.h>
#include <errno.h>

#include "pool_bed.h"

static const struct pool_options few = {.classes = {{4096, 4}}, .nr_classes = 1, .promote_hits = 3};

static struct pool_totals totals_of(struct bed *bed)
{
    struct pool_totals totals;

    pool_totals(bed->pool, &totals);
    return totals;
}

Test(pool, loads_a_block_that_was_hit_often_enough)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_block block = bed_block(bed, 7);

    cr_assert_not(pool_hit(bed->pool, GPU_ANY, &block));
    cr_assert_not(pool_hit(bed->pool, GPU_ANY, &block));
    cr_assert_not(bed_has(bed, 7, GPU_ANY));
    cr_assert(pool_hit(bed->pool, GPU_ANY, &block));
    bed_settle(bed);
    cr_assert(bed_has(bed, 7, GPU_ANY));
    cr_assert_eq(bed_stats(bed, 0).loads, 1);
    cr_assert_eq(bed_stats(bed, 0).loaded_bytes, 4096);
    cr_assert_eq(bed_stats(bed, 0).hits, 1);
    cr_assert_eq(totals_of(bed).misses, 1);
    bed_close(bed);
}

Test(pool, loads_nothing_of_a_scan)
{
    struct bed *bed = bed_open(1, &few);

    for (uint32_t i = 0; i < BED_BLOCKS; i++) {
        struct pool_block block = bed_block(bed, i);

        cr_assert_not(pool_hit(bed->pool, GPU_ANY, &block));
        cr_assert_not(pool_hit(bed->pool, GPU_ANY, &block));
    }
    cr_assert_eq(bed_stats(bed, 0).loads + bed_stats(bed, 0).loading, 0);
    bed_close(bed);
}

/* Whether a block is loaded that is hit ten times, after so many others each time. */
static bool loads_among(uint32_t nr_others)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_block hot = bed_block(bed, 0), other = bed_block(bed, 1);
    bool began = false;

    for (uint32_t i = 0; i < 10 * nr_others && !began; i++) {
        other.ref = block_ref(1000 + i, 1);
        cr_assert_not(pool_hit(bed->pool, GPU_ANY, &other));
        began = i % nr_others == 0 && pool_hit(bed->pool, GPU_ANY, &hot);
    }
    bed_close(bed);
    return began;
}

Test(pool, counts_hits_of_several_times_as_many_blocks_as_it_holds_but_not_of_all)
{
    cr_assert(loads_among(12), "three times its slots");
    cr_assert_not(loads_among(2000));
}

Test(pool, loads_by_hint_at_once_and_only_once)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_block block = bed_block(bed, 3);
    struct pool_place place;

    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), 0);
    cr_assert_eq(pool_load(bed->pool, 0, &block), -EEXIST, "on its way");
    cr_assert_eq(pool_pin(bed->pool, block.ref, GPU_ANY, 0, &place), -ENOENT);
    bed_settle(bed);
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), -EEXIST);
    cr_assert(bed_has(bed, 3, 0));
    bed_close(bed);
}

Test(pool, takes_the_smallest_class_that_is_large_enough)
{
    struct pool_options options = {.classes = {{4096, 2}, {16384, 2}, {65536, 1}}, .nr_classes = 3};
    struct bed *bed = bed_open(1, &options);
    const uint32_t lens[] = {16, 4096, 4112, 16384, 65536};

    for (uint32_t i = 0; i < 5; i++) {
        struct pool_place place;

        bed_write(bed, i, lens[i]);
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0);
        bed_pin(bed, i, &place);
        cr_assert_eq(place.bytes, lens[i]);
        cr_assert_eq(place.offset % POOL_ALIGN, 0);
    }
    cr_assert_eq(bed_load(bed, 100, GPU_ANY), -ENOSPC, "both of its class are pinned");
    cr_assert_eq(pool_release(bed->pool, 0), 5);
    bed_close(bed);
}

Test(pool, refuses_what_it_cannot_hold)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_block block = bed_block(bed, 0);

    block.len = 4112;
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), -EFBIG);
    block.len = 4095;
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), -EFBIG);
    block.len = 0;
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), -EFBIG);
    block.len = 4096;
    block.form =
        (struct kvr_form){.nr_layers = 2, .nr_kinds = 2, .nr_pieces = 1, .piece_bytes = 512};
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), -EFBIG, "its form says 2048");
    block.form.piece_bytes = 1000;
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), -EFBIG);
    block.form.nr_layers = 0;
    cr_assert_eq(pool_load(bed->pool, 1, &block), -ENODEV);
    block.ref += 1ull << 32;
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), -ESTALE);
    cr_assert_eq(totals_of(bed).too_large, 5);
    cr_assert_eq(totals_of(bed).stale, 1);
    bed_close(bed);
}

Test(pool, loads_no_more_at_once_than_it_may)
{
    struct pool_options options = few;
    struct bed *bed;

    options.loads_max = 2;
    bed = bed_open(1, &options);
    for (uint32_t i = 0; i < 3; i++) {
        struct pool_block block = bed_block(bed, i);

        cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), i < 2 ? 0 : -EBUSY);
    }
    cr_assert_eq(bed->blocks[0].pins + bed->blocks[1].pins, 2);
    cr_assert_eq(bed->blocks[2].pins, 0);
    bed_settle(bed);
    cr_assert_eq(bed->blocks[0].pins + bed->blocks[1].pins, 0);
    cr_assert_eq(bed_load(bed, 2, GPU_ANY), 0);
    bed_close(bed);
}

Test(pool, counts_anew_when_a_copy_went)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_block block = bed_block(bed, 0);

    for (unsigned i = 0; i < 2; i++)
        cr_assert_not(pool_hit(bed->pool, GPU_ANY, &block));
    cr_assert_eq(bed_load(bed, 0, GPU_ANY), 0);
    for (uint32_t i = 1; i < 5; i++)
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0);
    cr_assert_not(bed_has(bed, 0, GPU_ANY));
    for (unsigned i = 0; i < 2; i++)
        cr_assert_not(pool_hit(bed->pool, GPU_ANY, &block));
    cr_assert(pool_hit(bed->pool, GPU_ANY, &block));
    bed_close(bed);
}

/* Blocks 0 to 3 are in; 0 is read twice, then 2, then 1. */
static void evicts(const char *policy, uint32_t first, uint32_t second)
{
    struct pool_options options = few;
    struct bed *bed;

    options.policy = policy_find(policy);
    bed = bed_open(1, &options);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert(bed_has(bed, (const uint32_t[]){0, 0, 2, 1}[i], GPU_ANY));
    cr_assert_eq(bed_load(bed, 10, GPU_ANY), 0);
    cr_assert_not(bed_has(bed, first, GPU_ANY), "%s", policy);
    /* Frequent enough that it is not the next one to go. */
    cr_assert(bed_has(bed, 10, GPU_ANY) && bed_has(bed, 10, GPU_ANY));
    cr_assert_eq(bed_load(bed, 11, GPU_ANY), 0);
    cr_assert_not(bed_has(bed, second, GPU_ANY), "%s", policy);
    cr_assert_eq(bed_stats(bed, 0).evictions, 2);
    cr_assert_eq(bed_stats(bed, 0).ready, 4);
    bed_close(bed);
}

Test(pool, evicts_what_its_policy_gives_up)
{
    evicts("lru", 3, 0);
    evicts("lfu", 3, 2);
    evicts("fifo", 0, 1);
}

Test(pool, evicts_nothing_that_somebody_reads)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_place places[5], place;

    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0);
        bed_pin(bed, i, &places[i]);
    }
    bed_pin(bed, 2, &places[4]);
    cr_assert_eq(bed_load(bed, 9, GPU_ANY), -ENOSPC);
    cr_assert_eq(bed_stats(bed, 0).no_slot, 1);
    cr_assert_eq(bed->blocks[9].pins, 0);
    cr_assert_eq(pool_unpin(bed->pool, 0, places[2].pin), 0);
    cr_assert_eq(bed_load(bed, 9, GPU_ANY), -ENOSPC, "pinned twice");
    cr_assert_eq(pool_unpin(bed->pool, 0, places[4].pin), 0);
    cr_assert_eq(bed_load(bed, 9, GPU_ANY), 0);
    bed_pin(bed, 9, &place);
    cr_assert_eq(place.offset, places[2].offset);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert(i == 2 || bed_place_holds(bed, &places[i], bed_ref(bed, i)));
    cr_assert_eq(pool_release(bed->pool, 0), 4);
    bed_close(bed);
}

Test(pool, keeps_a_forgotten_slot_until_its_last_reader_ended)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_place first, second, place;
    uint64_t ref = bed_ref(bed, 0);

    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0);
    bed_pin(bed, 0, &first);
    bed_pin(bed, 0, &second);
    bed_write(bed, 0, 4096);
    pool_forget(bed->pool, ref);
    cr_assert_eq(pool_pin(bed->pool, ref, GPU_ANY, 0, &place), -ENOENT);
    cr_assert_eq(pool_audit(bed->pool), 0);
    for (uint32_t i = 10; i < 30; i++)
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0, "three slots are left");
    cr_assert(bed_place_holds(bed, &first, ref));
    cr_assert_eq(pool_unpin(bed->pool, 0, second.pin), 0);
    for (uint32_t i = 30; i < 40; i++)
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0);
    cr_assert(bed_place_holds(bed, &first, ref));
    cr_assert_eq(bed_stats(bed, 0).ready, 3);
    cr_assert_eq(pool_unpin(bed->pool, 0, first.pin), 0);
    cr_assert_eq(bed_load(bed, 40, GPU_ANY), 0);
    cr_assert_eq(bed_stats(bed, 0).ready, 4);
    bed_pin(bed, 40, &place);
    cr_assert_eq(place.offset, first.offset, "it was the only free one");
    cr_assert_eq(pool_release(bed->pool, 0), 1);
    bed_close(bed);
}

Test(pool, finds_no_copy_of_a_block_that_was_overwritten_while_it_loaded)
{
    struct bed *bed = bed_open_slow(1, &few, 10 << 20);
    uint64_t refs[4];

    for (uint32_t i = 0; i < 4; i++) {
        struct pool_block block = bed_block(bed, i);

        refs[i] = block.ref;
        cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), 0);
        cr_assert_eq(bed->blocks[i].pins, 1, "its bytes stay while they are copied");
        pool_forget(bed->pool, block.ref);
    }
    cr_assert_eq(pool_audit(bed->pool), 0);
    cr_assert_eq(bed_load(bed, 8, GPU_ANY), -ENOSPC, "the jobs may still write to all four");
    for (uint32_t i = 0; i < 4; i++) {
        struct pool_place place;

        cr_assert_eq(bed->blocks[i].pins, 0);
        bed_write(bed, i, 4096);
        cr_assert_eq(pool_pin(bed->pool, refs[i], GPU_ANY, 0, &place), -ENOENT);
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0);
        cr_assert(bed_has(bed, i, GPU_ANY));
    }
    cr_assert_eq(bed_stats(bed, 0).forgotten, 4);
    bed_close(bed);
}

Test(pool, tells_generations_of_a_block_apart_even_if_nobody_told_it)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_place place;
    uint64_t old = bed_ref(bed, 5);

    cr_assert_eq(bed_load(bed, 5, GPU_ANY), 0);
    bed_write(bed, 5, 2048);
    cr_assert_not(bed_has(bed, 5, GPU_ANY));
    cr_assert_eq(bed_load(bed, 5, GPU_ANY), 0);
    cr_assert(bed_has(bed, 5, GPU_ANY));
    cr_assert_eq(pool_pin(bed->pool, old, GPU_ANY, 0, &place), 0);
    cr_assert(bed_place_holds(bed, &place, old), "the copy of what it was");
    cr_assert_eq(pool_unpin(bed->pool, 0, place.pin), 0);
    pool_forget(bed->pool, old);
    cr_assert(bed_has(bed, 5, GPU_ANY));
    bed_close(bed);
}

Test(pool, believes_no_number_of_a_pin)
{
    struct pool_options options = few;
    struct pool_place place, again;
    struct bed *bed;

    options.nr_holders = 3;
    options.pins_max = 8;
    bed = bed_open(1, &options);
    cr_assert_eq(bed_load(bed, 0, GPU_ANY), 0);
    cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), GPU_ANY, 3, &place), -EINVAL);
    cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), GPU_ANY, 1, &place), 0);
    cr_assert_eq(pool_unpin(bed->pool, 2, place.pin), -EINVAL, "another's");
    cr_assert_eq(pool_unpin(bed->pool, 1, place.pin + 1), -EINVAL);
    cr_assert_eq(pool_unpin(bed->pool, 1, place.pin + (1ull << 32)), -EINVAL);
    cr_assert_eq(pool_unpin(bed->pool, 1, UINT64_MAX), -EINVAL);
    cr_assert_eq(pool_unpin(bed->pool, 1, 0), -EINVAL);
    cr_assert_eq(pool_unpin(bed->pool, 1, place.pin), 0);
    cr_assert_eq(pool_unpin(bed->pool, 1, place.pin), -EINVAL, "twice");
    for (unsigned i = 0; i < 8; i++) /* until its place in the array is used again */
        cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), GPU_ANY, 1, &again), 0);
    cr_assert_eq((uint32_t)again.pin, (uint32_t)place.pin);
    cr_assert_eq(pool_unpin(bed->pool, 1, place.pin), -EINVAL, "too late");
    cr_assert_eq(pool_release(bed->pool, 3), 0);
    cr_assert_eq(pool_release(bed->pool, 1), 8);
    cr_assert_eq(bed_stats(bed, 0).pins, 0);
    bed_close(bed);
}

Test(pool, gives_back_what_a_dead_holder_had_and_no_more)
{
    struct pool_options options = few;
    struct pool_place place, other;
    struct bed *bed;

    options.nr_holders = 2;
    options.pins_max = 16;
    options.holder_pins_max = 10;
    bed = bed_open(1, &options);
    cr_assert_eq(bed_load(bed, 0, GPU_ANY), 0);
    cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), GPU_ANY, 0, &other), 0);
    for (unsigned i = 0; i < 10; i++)
        cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), GPU_ANY, 1, &place), 0);
    cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), GPU_ANY, 1, &place), -ENOBUFS);
    cr_assert_eq(totals_of(bed).pins_refused, 1);
    cr_assert_eq(pool_release(bed->pool, 1), 10);
    cr_assert_eq(pool_release(bed->pool, 1), 0);
    cr_assert_eq(totals_of(bed).pins_released, 10);
    cr_assert_eq(bed_stats(bed, 0).pins, 1);
    cr_assert_eq(pool_audit(bed->pool), 0);
    cr_assert_eq(pool_unpin(bed->pool, 0, other.pin), 0);
    bed_close(bed);
}

/* More than a device takes at once, so that some wait in its queue, on a slow link. */
static struct bed *open_with_waiting_loads(uint32_t nr)
{
    struct pool_options options = {
        .classes = {{BED_BLOCK_MAX, 128}}, .nr_classes = 1, .loads_max = nr};
    struct bed *bed = bed_open_slow(1, &options, 20 << 20);

    for (uint32_t i = 0; i < nr; i++) {
        struct pool_block block;

        bed_write(bed, i, BED_BLOCK_MAX);
        block = bed_block(bed, i);
        cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), 0);
    }
    return bed;
}

Test(pool, cancels_loads_of_forgotten_blocks_that_still_wait)
{
    struct bed *bed = open_with_waiting_loads(128);

    for (uint32_t i = 0; i < 128; i++)
        pool_forget(bed->pool, bed_ref(bed, i));
    bed_settle(bed);
    cr_assert_gt(bed_stats(bed, 0).loads_failed, 0);
    cr_assert_eq(bed_stats(bed, 0).loads + bed_stats(bed, 0).loads_failed, 128);
    cr_assert_eq(bed_stats(bed, 0).ready, 0);
    bed_close(bed);
}

Test(pool, cancels_loads_when_it_stops_and_begins_no_more)
{
    struct bed *bed = open_with_waiting_loads(128);
    struct pool_block block = bed_block(bed, 200);

    cr_assert_eq(pool_stop(bed->pool), 128);
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), -ESHUTDOWN);
    bed_settle(bed);
    cr_assert_gt(bed_stats(bed, 0).loads_failed, 0);
    cr_assert_eq(bed_stats(bed, 0).ready, bed_stats(bed, 0).loads);
    cr_assert_eq(pool_stop(bed->pool), 0);
    bed_close(bed);
}

static int create(struct bed *bed, struct pool_options options)
{
    struct pool *pool;
    int rc;

    options.fleet = bed->fleet;
    rc = pool_create(&options, &pool);
    if (rc == 0)
        pool_destroy(pool);
    return rc;
}

static bool no_pin(void *, uint64_t)
{
    return false;
}

static void no_unpin(void *, uint64_t)
{
}

Test(pool, checks_its_options)
{
    struct bed *bed = bed_open(2, &few);
    struct pool_options good = few, bad;

    good.policy = policy_find("fifo");
    good.pin = no_pin;
    good.unpin = no_unpin;
    cr_assert_eq(create(bed, good), 0);
    bad = good;
    bad.policy = NULL;
    cr_assert_eq(create(bed, bad), -EINVAL);
    bad = good;
    bad.nr_classes = 0;
    cr_assert_eq(create(bed, bad), -EINVAL);
    bad.nr_classes = POOL_CLASSES_MAX + 1;
    cr_assert_eq(create(bed, bad), -EINVAL);
    bad = good;
    bad.classes[0].slot_bytes = 4097;
    cr_assert_eq(create(bed, bad), -EINVAL);
    bad = good;
    bad.classes[0].nr_slots = UINT32_MAX;
    cr_assert_eq(create(bed, bad), -EINVAL);
    bad = good;
    bad.nr_classes = 2;
    bad.classes[1] = bad.classes[0];
    cr_assert_eq(create(bed, bad), -EINVAL);
    bad = good;
    bad.devices = 1u << 2;
    cr_assert_eq(create(bed, bad), -ENODEV);
    bad = good;
    bad.classes[0] = (struct pool_class){1 << 20, 200};
    cr_assert_eq(create(bed, bad), -ENOMEM, "more than the devices have");
    bed_close(bed);
}
