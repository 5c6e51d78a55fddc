/* SPDX-License-Identifier: Apache-2.0 */
/* An audit that finds nothing proves nothing unless it finds what was planted. */
#include "base/log.h"
#include "fixture.h"
#include "shm/partition_state.h"

static struct fixture f;

static void create(void)
{
    log_setup("test", LOG_LEVEL_ERROR);
    fixture_create(&f, 4 << 20, 1024, "lru");
    for (uint64_t i = 0; i < 50; i++)
        cr_assert_eq(fixture_put_number(&f, i, 5000), KVR_OK);
    cr_assert_eq(partition_audit(f.partition), 0);
}

static void planted_is_found(void)
{
    cr_assert_neq(partition_audit(f.partition), 0, "what was planted is not found");
}

TestSuite(audit, .init = create);

static uint32_t block_of(uint64_t number)
{
    struct block_view view;

    cr_assert(fixture_find(&f, &number, sizeof(number), &view));
    return view.block;
}

static struct block_desc *desc_named(uint64_t number)
{
    return &f.arena.maps[0].descs[block_of(number)];
}

static struct bucket *bucket_named(uint64_t number)
{
    return &f.arena.maps[0].buckets[block_head(f.partition, desc_named(number))];
}

Test(audit, finds_a_sealed_block_that_is_in_no_bucket)
{
    bucket_named(3)->tags[0] ^= 1;
    planted_is_found();
}

Test(audit, finds_a_bucket_entry_that_is_not_sealed)
{
    desc_named(4)->state = BLOCK_FREE;
    planted_is_found();
}

Test(audit, finds_two_entries_for_one_block)
{
    struct bucket *bucket = bucket_named(5);

    for (unsigned i = 0; i < BUCKET_SLOTS; i++)
        if (!bucket->tags[i]) {
            bucket->tags[i] = bucket->tags[0];
            bucket->blocks[i] = bucket->blocks[0];
            break;
        }
    planted_is_found();
}

Test(audit, finds_a_bucket_in_the_middle_of_a_change)
{
    bucket_named(6)->version++;
    planted_is_found();
}

Test(audit, finds_two_blocks_in_one_place)
{
    desc_named(7)->place = desc_named(8)->place;
    planted_is_found();
}

Test(audit, finds_a_place_outside_the_region)
{
    desc_named(9)->place = UINT32_MAX;
    planted_is_found();
}

Test(audit, finds_a_slot_that_was_given_back_too_early)
{
    uint32_t place = desc_named(10)->place;

    f.partition->alloc.taken[place / 64] = 0;
    memset(f.partition->alloc.taken, 0, 4096);
    planted_is_found();
}

Test(audit, finds_a_counter_that_is_wrong)
{
    arena_part(&f.arena, 0)->items++;
    planted_is_found();
}

Test(audit, finds_a_lost_descriptor)
{
    uint64_t key = 1;

    cr_assert_eq(fixture_del(&f, &key, sizeof(key)), KVR_OK);
    fixture_settle(&f);
    cr_assert_eq(partition_audit(f.partition), 0);
    f.partition->free_head = f.arena.maps[0].descs[f.partition->free_head].next;
    planted_is_found();
}

Test(audit, finds_a_block_that_the_policy_does_not_know)
{
    f.partition->ops->remove(f.partition->policy, block_of(11));
    planted_is_found();
}

Test(audit, finds_a_chunk_that_is_described_wrongly)
{
    f.arena.maps[0].chunks[0].slot_units++;
    planted_is_found();
}

Test(audit, finds_a_slot_that_names_another_block)
{
    uint32_t block = block_of(14);

    for (uint32_t slot = 0; slot < 65536; slot++)
        if (f.partition->alloc.owners[slot] == block)
            f.partition->alloc.owners[slot] = block_of(15);
    planted_is_found();
}

Test(audit, finds_a_hint_that_is_nobodys)
{
    (void)!meta_take(&f.partition->metas);
    planted_is_found();
}

Test(audit, finds_a_hint_that_is_free)
{
    desc_named(16)->meta = 5;
    planted_is_found();
}

Test(audit, finds_a_lost_overflow_bucket)
{
    f.partition->index.nr_spare--;
    planted_is_found();
}

Test(audit, finds_a_lease_that_is_not_counted)
{
    bit_set(f.partition->leased, block_of(12));
    planted_is_found();
}

Test(audit, finds_an_expiry_that_is_not_noted)
{
    desc_named(13)->flags |= DESC_EXPIRES;
    planted_is_found();
}
