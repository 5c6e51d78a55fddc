/* SPDX-License-Identifier: Apache-2.0 */
/* Classes, slabs, windows: the allocator alone, and how much of a region it can fill. */
#include "base/random.h"
#include "fixture.h"
#include "shm/alloc.h"
#include "shm/window.h"

#define BLOCKS 4096u

struct region {
    struct part_header header;
    struct chunk_entry entries[256];
    struct part_map map;
    struct alloc alloc;
};

static struct region region;

static void region_open(uint32_t nr_chunks, uint32_t chunk_size)
{
    memset(&region, 0, sizeof(region));
    region.map = (struct part_map){.header = &region.header,
                                   .chunks = region.entries,
                                   .nr_chunks = nr_chunks,
                                   .chunk_size = chunk_size,
                                   .region_off = 1 << 20};
    cr_assert_eq(alloc_open(&region.alloc, &region.map), 0);
}

static void give(uint32_t place)
{
    struct slab *slab = alloc_slab(&region.alloc, place);

    slab->reserved--;
    alloc_give(&region.alloc, place);
}

Test(classes, are_never_smaller_than_the_block_nor_much_larger)
{
    struct class_table table;

    classes_setup(&table, (2 << 20) / DATA_UNIT, 1024);
    for (uint32_t units = 1; units <= (2 << 20) / DATA_UNIT; units += 1 + units / 100) {
        uint16_t class = class_choose(&table, units);
        uint32_t slot = table.classes[class].units;

        cr_assert_geq(slot, units);
        cr_assert_leq(slot, units + units * 15 / 100 + 1, "%u units get %u", units, slot);
    }
}

Test(classes, make_an_exact_one_for_a_large_size_and_reuse_it)
{
    struct class_table table;
    uint16_t class;

    classes_setup(&table, (2 << 20) / DATA_UNIT, 1024);
    class = class_choose(&table, 2560);
    cr_assert_eq(table.classes[class].units, 2560);
    cr_assert_eq(class_choose(&table, 2560), class);
    cr_assert_eq(class_choose(&table, 2550), class, "1/64 of waste is little enough");
    cr_assert_eq(class_exactly(&table, 2560), class);
}

Test(classes, leave_the_rest_to_runs_of_chunks_when_exact_ones_are_used_up)
{
    struct class_table table;
    uint32_t chunk = (1 << 20) / DATA_UNIT, made = 0;

    classes_setup(&table, chunk, 64); /* 8 exact classes */
    for (uint32_t i = 0; i < 20; i++) {
        uint16_t class = class_choose(&table, chunk + (i + 1) * 700);

        if (class == CLASS_RUN)
            continue;
        table.classes[class].slabs = 1;
        made++;
    }
    cr_assert_eq(made, 8);
    cr_assert_eq(class_choose(&table, 60 * chunk), CLASS_RUN);
}

/* Random blocks taken and given: no two overlap, and in the end everything is free. */
Test(alloc, hands_out_memory_that_is_nobody_elses)
{
    static uint32_t place[BLOCKS], units[BLOCKS];
    static uint8_t taken[128 * 1024];
    struct rng rng;

    rng_seed(&rng, 8);
    region_open(128, 64 << 10);
    for (int i = 0; i < 60000; i++) {
        uint32_t block = (uint32_t)rng_below(&rng, BLOCKS), base = region.alloc.base;

        if (units[block]) {
            for (uint32_t u = 0; u < units[block]; u++)
                taken[place[block] - base + u]--;
            give(place[block]);
            units[block] = 0;
            continue;
        }
        units[block] = 1 + (uint32_t)rng_below(&rng, rng_below(&rng, 20) ? 40 : 4000);
        if (!alloc_take(&region.alloc, class_choose(&region.alloc.table, units[block]),
                        units[block], block, &place[block])) {
            units[block] = 0;
            continue;
        }
        cr_assert_geq(place[block], base);
        cr_assert_leq(place[block] - base + units[block], sizeof(taken));
        for (uint32_t u = 0; u < units[block]; u++)
            cr_assert_eq(taken[place[block] - base + u]++, 0, "overlap");
    }
    for (uint32_t block = 0; block < BLOCKS; block++)
        if (units[block])
            give(place[block]);
    cr_assert_eq(region.alloc.nr_free, 128);
    cr_assert_eq(region.header.used_bytes, 0);
    alloc_close(&region.alloc);
}

Test(alloc, knows_the_block_of_every_taken_slot)
{
    static uint32_t place[1500];
    uint32_t seen = 0;
    uint16_t class;

    region_open(16, 64 << 10);
    class = class_choose(&region.alloc.table, 1);
    for (uint32_t i = 0; i < 1500; i++)
        cr_assert(alloc_take(&region.alloc, class, 1, i, &place[i]));
    for (uint32_t i = 0; i < 1500; i++)
        if (i % 7)
            give(place[i]);
    for (uint32_t chunk = 0; chunk < 16; chunk++) {
        const struct slab *slab = &region.alloc.slabs[chunk];
        uint32_t block;

        if (region.alloc.chunks[chunk] != chunk)
            continue;
        for (uint32_t slot = 0; (block = slab_block(&region.alloc, slab, &slot)) != BLOCK_NONE;
             slot++) {
            cr_assert_eq(block % 7, 0);
            cr_assert_eq(place[block], region.alloc.base + chunk * 1024 + slot);
            seen++;
        }
    }
    cr_assert_eq(seen, (1500 + 6) / 7);
    alloc_close(&region.alloc);
}

Test(alloc, gives_an_empty_slabs_chunks_to_any_class)
{
    uint32_t place[64], nr = 0, one;

    region_open(16, 64 << 10);
    while (nr < 64 &&
           alloc_take(&region.alloc, class_choose(&region.alloc.table, 512), 512, nr, &place[nr]))
        nr++;
    cr_assert_eq(nr, 32, "32 KiB in 1 MiB");
    cr_assert_not(alloc_take(&region.alloc, class_choose(&region.alloc.table, 2), 2, 99, &one));
    for (uint32_t i = 0; i < nr; i++)
        give(place[i]);
    cr_assert(alloc_take(&region.alloc, CLASS_RUN, 16 * 1024, 99, &one), "the whole region");
    alloc_close(&region.alloc);
}

Test(alloc, packs_blocks_of_many_chunks_so_that_they_share_slabs)
{
    uint32_t units = 9 * 1024 + 100, place[32], nr = 0;

    region_open(256, 64 << 10);
    while (nr < 32 && alloc_take(&region.alloc, class_choose(&region.alloc.table, units), units, nr,
                                 &place[nr]))
        nr++;
    cr_assert_geq(nr, 27, "28 would fit end to end, runs of whole chunks hold 25: %u", nr);
    while (nr) {
        nr--;
        give(place[nr]);
    }
    cr_assert_eq(region.alloc.nr_free, 256);
    alloc_close(&region.alloc);
}

/* Slots of one and a half chunks: a slab of two chunks wastes a quarter, one of three nothing. */
Test(alloc, leaves_a_gap_to_grow_while_other_sizes_hold_memory)
{
    uint32_t place[64], one, nr = 0;
    uint16_t class;

    region_open(64, 64 << 10);
    class = class_choose(&region.alloc.table, 1536);
    for (uint32_t i = 0; i < 21; i++)
        cr_assert(alloc_take(&region.alloc, class, 1536, i, &one));
    while (nr < 64 && alloc_take(&region.alloc, CLASS_RUN, 1024, 100 + nr, &place[nr]))
        nr++;
    cr_assert_eq(region.alloc.nr_free, 0);
    cr_assert_geq(nr, 16);
    give(place[4]);
    give(place[5]);
    cr_assert_not(alloc_take(&region.alloc, class, 1536, 50, &one), "the gap waits");
    give(place[6]);
    cr_assert(alloc_take(&region.alloc, class, 1536, 50, &one), "and is large enough");
    cr_assert_eq(one, place[4]);
    cr_assert(alloc_take(&region.alloc, class, 1536, 51, &one));
    give(place[10]);
    give(place[11]);
    cr_assert_not(alloc_take(&region.alloc, class, 1536, 52, &one));
    region.alloc.any_slab = true;
    cr_assert(alloc_take(&region.alloc, class, 1536, 52, &one), "where nothing better comes");
    cr_assert_not(region.alloc.any_slab);
    alloc_close(&region.alloc);
}

Test(alloc, describes_its_slabs_so_that_they_can_be_adopted)
{
    uint32_t place[100], again;
    struct alloc fresh;

    region_open(64, 64 << 10);
    for (uint32_t i = 0; i < 100; i++)
        cr_assert(alloc_take(&region.alloc, class_choose(&region.alloc.table, 100 + i % 3 * 200),
                             100 + i % 3 * 200, i, &place[i]));
    cr_assert_eq(alloc_open(&fresh, &region.map), 0);
    region.header.used_bytes = 0;
    for (uint32_t i = 0; i < 100; i += 2)
        cr_assert(alloc_adopt(&fresh, place[i], 100 + i % 3 * 200, i));
    cr_assert_not(alloc_adopt(&fresh, place[0], 100, 1), "taken");
    cr_assert_not(alloc_adopt(&fresh, place[1] + 1, 10, 1), "not the begin of a slot");
    cr_assert_not(alloc_adopt(&fresh, place[1], 100000, 1), "larger than a slot");
    cr_assert_not(alloc_adopt(&fresh, 1, 1, 1), "another region");
    cr_assert_not(alloc_adopt(&fresh, fresh.base + 63 * 1024, 1, 1), "a free chunk");
    alloc_adopt_end(&fresh);
    cr_assert(alloc_take(&fresh, class_choose(&fresh.table, 100), 100, 1, &again));
    alloc_close(&fresh);
    alloc_close(&region.alloc);
}

Test(alloc, adopts_nothing_from_entries_that_contradict_themselves)
{
    region_open(16, 64 << 10);
    region.entries[3] = (struct chunk_entry){.slot_units = 10, .nr_chunks = 2, .index = 0};
    region.entries[5] = (struct chunk_entry){.slot_units = 10, .nr_chunks = 2, .index = 7};
    region.entries[15] = (struct chunk_entry){.slot_units = 10, .nr_chunks = 9, .index = 0};
    region.entries[7] = (struct chunk_entry){.slot_units = UINT32_MAX, .nr_chunks = 1};
    region.entries[0] = (struct chunk_entry){.slot_units = 10, .nr_chunks = 3, .index = 2};
    for (uint32_t chunk = 0; chunk < 16; chunk++)
        cr_assert_not(alloc_adopt(&region.alloc, region.alloc.base + chunk * 1024, 1, 0));
    alloc_adopt_end(&region.alloc);
    cr_assert_eq(region.alloc.nr_free, 16);
    alloc_close(&region.alloc);
}

Test(window, is_the_one_that_costs_least)
{
    uint32_t place[16], chunk, count;

    region_open(16, 64 << 10);
    for (uint32_t i = 0; i < 16; i++)
        cr_assert(alloc_take(&region.alloc, CLASS_RUN, 1024, i, &place[i]));
    cr_assert_not(window_choose(&region.alloc, 1, CLASS_NONE, &chunk, &count), "all reserved");
    for (uint32_t i = 0; i < 16; i++)
        alloc_slab(&region.alloc, place[i])->reserved = 0;
    alloc_slab(&region.alloc, place[5])->cold = 1024;
    cr_assert(window_choose(&region.alloc, 1, CLASS_NONE, &chunk, &count));
    cr_assert_eq(chunk, 5);
    alloc_give(&region.alloc, place[10]);
    alloc_slab(&region.alloc, place[9])->cold = 1024;
    cr_assert(window_choose(&region.alloc, 2, CLASS_NONE, &chunk, &count));
    cr_assert_eq(chunk, 9);
    cr_assert_eq(count, 2);
    alloc_slab(&region.alloc, place[9])->leased = 1;
    cr_assert(window_choose(&region.alloc, 2, CLASS_NONE, &chunk, &count));
    cr_assert_neq(chunk, 9);
    cr_assert_not(window_choose(&region.alloc, 11, CLASS_NONE, &chunk, &count), "9 is leased");
    cr_assert_not(window_choose(&region.alloc, 1, CLASS_RUN, &chunk, &count) && chunk != 10);
    alloc_close(&region.alloc);
}

/* The largest share of a region that values of one size reach before something is evicted. */
static double filled(uint64_t region_size, uint32_t value_len)
{
    struct fixture f;
    const struct part_header *header;
    uint64_t peak = 0;

    fixture_create(&f, region_size, region_size / value_len * 2, "lru");
    header = arena_part(&f.arena, 0);
    for (uint64_t key = 0; !header->evictions; key++) {
        struct block_request request = {.key = &key,
                                        .key_len = sizeof(key),
                                        .hash = fixture_hash(&f, &key, sizeof(key)),
                                        .value_len = value_len};
        uint32_t block;
        uint64_t ref;

        if (partition_reserve(f.partition, &request, f.now_ms, &block) != KVR_OK)
            break;
        cr_assert_eq(partition_seal(f.partition, block, 0, false, f.now_ms, &ref), KVR_OK);
        peak = header->value_bytes > peak ? header->value_bytes : peak;
    }
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
    return (double)peak / (double)region_size;
}

Test(alloc, fills_a_region_to_95_percent_with_blocks_of_real_models)
{
    static const uint32_t kib[] = {4, 16, 64, 128, 160, 320, 512, 640, 1280, 2048, 2560, 65536};

    for (size_t i = 0; i < sizeof(kib) / sizeof(kib[0]); i++)
        cr_assert_geq(filled(256ull << 20, kib[i] << 10), 0.95, "%u KiB", kib[i]);
}
