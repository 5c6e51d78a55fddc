/* SPDX-License-Identifier: Apache-2.0 */
/* The table of hints alone, and what blocks, crashes and a full table make of it. */
#include "fixture.h"
#include "shm/meta.h"

#define ENTRIES 100u

static struct block_meta entries[ENTRIES];
static const struct part_map map = {.metas = entries, .nr_metas = ENTRIES};
static const struct kvr_hint hint = {.parent = 7, .cost_us = 9};

Test(meta, gives_every_entry_once)
{
    struct meta_table table;
    bool seen[ENTRIES + 1] = {false};

    cr_assert_eq(meta_open(&table, &map), 0);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint32_t number = meta_take(&table);

        cr_assert(number >= 1 && number <= ENTRIES && !seen[number]);
        seen[number] = true;
    }
    cr_assert_eq(meta_take(&table), META_NONE);
    meta_give(&table, 3);
    meta_give(&table, 77);
    cr_assert_eq(meta_take(&table) + meta_take(&table), 80);
    cr_assert_eq(meta_take(&table), META_NONE);
    meta_close(&table);
}

Test(meta, adopts_only_what_is_free_and_exists)
{
    struct meta_table table;

    cr_assert_eq(meta_open(&table, &map), 0);
    cr_assert_not(meta_adopt(&table, META_NONE));
    cr_assert_not(meta_adopt(&table, ENTRIES + 1));
    cr_assert_not(meta_adopt(&table, UINT32_MAX));
    cr_assert(meta_adopt(&table, ENTRIES));
    cr_assert_not(meta_adopt(&table, ENTRIES), "another block's");
    cr_assert_eq(table.nr_free, ENTRIES - 1);
    meta_close(&table);
}

Test(meta, writes_nothing_but_its_entry)
{
    struct meta_table table;

    cr_assert_eq(meta_open(&table, &map), 0);
    memset(entries, 0, sizeof(entries));
    meta_write(&table, 5, &hint);
    cr_assert_eq(entries[4].parent, 7);
    cr_assert_eq(entries[4].cost_us, 9);
    cr_assert_eq(entries[3].parent + entries[5].parent, 0);
    meta_close(&table);
}

static enum kvr_status put_hinted(struct fixture *f, uint64_t number, uint64_t parent)
{
    struct block_request request = {.key = &number,
                                    .key_len = sizeof(number),
                                    .hash = fixture_hash(f, &number, sizeof(number)),
                                    .value_len = 64,
                                    .hint = {.parent = parent}};
    enum kvr_status status = KVR_BUSY;
    uint32_t block;
    uint64_t ref;

    for (uint64_t end = clock_ns() + 2 * NS_PER_S; status == KVR_BUSY && clock_ns() < end;) {
        status = partition_reserve(f->partition, &request, f->now_ms, &block);
        if (status == KVR_BUSY)
            fixture_turn(f);
    }
    if (status != KVR_OK)
        return status;
    return partition_seal(f->partition, block, 0, false, f->now_ms, &ref);
}

static struct block_desc *desc_named(const struct fixture *f, uint64_t number)
{
    struct block_view view;

    cr_assert(fixture_find(f, &number, sizeof(number), &view));
    return &f->arena.maps[0].descs[view.block];
}

Test(meta, of_a_full_table_loses_the_hint_and_not_the_block)
{
    struct fixture f;
    struct part_header *header;
    uint32_t nr_metas;

    fixture_create(&f, 4 << 20, 8192, "lru");
    header = arena_part(&f.arena, 0);
    nr_metas = f.arena.maps[0].nr_metas;
    cr_assert_lt(nr_metas, 8192);
    for (uint64_t i = 0; i < nr_metas + 100; i++)
        cr_assert_eq(put_hinted(&f, i, i + 1), KVR_OK);
    cr_assert_eq(header->hints_lost, 100);
    cr_assert_eq(header->items, nr_metas + 100);
    cr_assert_neq(desc_named(&f, 0)->meta, META_NONE);
    cr_assert_eq(desc_named(&f, nr_metas + 50)->meta, META_NONE);
    for (uint64_t i = 0; i < 10; i++)
        cr_assert_eq(fixture_del(&f, &i, sizeof(i)), KVR_OK);
    fixture_settle(&f);
    for (uint64_t i = 0; i < 10; i++)
        cr_assert_eq(put_hinted(&f, i, i + 1), KVR_OK);
    cr_assert_eq(header->hints_lost, 100, "ten had become free");
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

Test(meta, is_taken_by_no_block_without_a_hint)
{
    struct fixture f;
    const uint64_t key = 1;

    fixture_create(&f, 4 << 20, 8192, "lru");
    cr_assert_eq(put_hinted(&f, key, 0), KVR_OK);
    cr_assert_eq(desc_named(&f, key)->meta, META_NONE);
    cr_assert_eq(partition_hint(f.partition, fixture_hash(&f, &key, sizeof(key)), &key, sizeof(key),
                                &hint, f.now_ms),
                 KVR_OK);
    cr_assert_neq(desc_named(&f, key)->meta, META_NONE);
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

Test(meta, survives_its_owner_but_for_what_does_not_add_up)
{
    struct fixture f;
    const struct block_meta *metas;

    fixture_create(&f, 4 << 20, 8192, "lru");
    metas = f.arena.maps[0].metas;
    for (uint64_t i = 0; i < 50; i++)
        cr_assert_eq(put_hinted(&f, i, i + 100), KVR_OK);
    desc_named(&f, 10)->meta = desc_named(&f, 11)->meta;
    desc_named(&f, 12)->meta = UINT32_MAX;
    partition_close(f.partition);
    fixture_open(&f, "lru");
    cr_assert_eq(partition_audit(f.partition), 0);
    cr_assert_eq(f.recovery.kept, 50, "a hint is no reason to lose a block");
    cr_assert_eq(desc_named(&f, 12)->meta, META_NONE);
    cr_assert_eq(!desc_named(&f, 10)->meta + !desc_named(&f, 11)->meta, 1);
    for (uint64_t i = 13; i < 50; i++)
        cr_assert_eq(metas[desc_named(&f, i)->meta - 1].parent, i + 100);
    fixture_destroy(&f);
}
