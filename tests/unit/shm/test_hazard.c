/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "shm/hazard.h"

static const struct segment_spec small = {.nr_slots = 64, .nr_partitions = 1};

static struct fixture f;
static struct segment segment;
static struct hazards hazards;

static void create(void)
{
    fixture_create(&f, 4 << 20, 2048, "lru");
    cr_assert_eq(segment_create(&small, f.arena.sb->arena_id, &segment), 0);
    cr_assert_eq(hazards_open(&hazards, &segment, false), 0);
}

static void destroy(void)
{
    hazards_close(&hazards);
    segment_close(&segment);
    fixture_destroy(&f);
}

TestSuite(hazard, .init = create, .fini = destroy);

Test(hazard, slot_names_the_block_until_it_is_released)
{
    uint32_t slot = hazard_publish(&hazards, 77);

    cr_assert_eq(segment.slots[slot], 77);
    hazard_release(&hazards, slot);
    cr_assert_eq(segment.slots[slot], 0);
}

Test(hazard, slots_are_as_many_as_the_segment_has)
{
    uint32_t slots[64];

    for (unsigned i = 0; i < 64; i++) {
        slots[i] = hazard_publish(&hazards, 100 + i);
        cr_assert_neq(slots[i], HAZARD_NONE);
    }
    cr_assert_eq(hazard_publish(&hazards, 1), HAZARD_NONE);
    for (unsigned i = 0; i < 64; i++)
        cr_assert_eq(segment.slots[slots[i]], 100 + i);
    hazard_release(&hazards, slots[9]);
    cr_assert_eq(hazard_publish(&hazards, 1), slots[9]);
}

Test(hazard, slots_used_covers_every_slot_that_was_ever_taken)
{
    uint32_t first = hazard_publish(&hazards, 1), second = hazard_publish(&hazards, 2);

    cr_assert_eq(segment.header->slots_used, 2);
    hazard_release(&hazards, second);
    hazard_release(&hazards, first);
    for (unsigned i = 0; i < 10; i++)
        hazard_release(&hazards, hazard_publish(&hazards, 3));
    cr_assert_eq(segment.header->slots_used, 2, "the low ones are used again");
}

Test(hazard, holds_a_sealed_block_of_its_generation_only)
{
    struct block_view view;
    uint64_t one = 1;

    cr_assert_eq(fixture_put_number(&f, one, 100), KVR_OK);
    cr_assert(fixture_find(&f, &one, sizeof(one), &view));
    cr_assert(hazard_holds(&f.arena, view.ref));
    cr_assert(hazard_holds_block(&f.arena.maps[0], view.block, (uint32_t)(view.ref >> 32)));
    cr_assert_not(hazard_holds(&f.arena, view.ref + (1ull << 32)));
    cr_assert_not(hazard_holds(&f.arena, view.ref + 1));
    cr_assert_eq(fixture_del(&f, &one, sizeof(one)), KVR_OK);
    cr_assert_not(hazard_holds(&f.arena, view.ref));
    fixture_settle(&f);
    cr_assert_eq(fixture_put_number(&f, one, 100), KVR_OK);
    cr_assert_not(hazard_holds(&f.arena, view.ref));
}

Test(hazard, process_registers_only_where_the_kernel_can)
{
    cr_assert_eq(hazards_register(), hazards_supported());
}
