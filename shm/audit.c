/* SPDX-License-Identifier: Apache-2.0 */
/* Everything a partition knows twice, compared: descriptors against buckets, allocator, policy,
 * queues and counters. Owner core, slow, changes nothing. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "shm/bucket.h"
#include "shm/partition_state.h"

/* What the walk over the descriptors counted, to compare the rest with. */
struct tally {
    uint64_t free, reserved, sealed, unlinked;
    uint64_t value_bytes, leased_units, nr_leased, expiring, aside, nr_metas;
    uint64_t *seen;      /* bit per block, for walks */
    uint64_t *slots;     /* bit per unit, like alloc.taken */
    uint64_t *metas;     /* bit per hint, like metas.taken */
    uint32_t *slab_used; /* by first chunk */
    uint32_t *slab_reserved, *slab_leased;
};

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            log_error("audit: " __VA_ARGS__);                                                      \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

static bool audit_memory(const struct partition *partition, uint32_t block, struct tally *tally)
{
    const struct alloc *alloc = &partition->alloc;
    const struct block_desc *desc = desc_of(partition, block);
    uint32_t units = units_held(desc), chunk, offset, slot;
    const struct slab *slab;

    if (!units)
        return true;
    chunk = (desc->place - alloc->base) / alloc->chunk_units;
    CHECK(desc->place >= alloc->base && chunk < alloc->nr_chunks, "block %u lies outside", block);
    CHECK(alloc->chunks[chunk] < alloc->nr_chunks, "block %u lies in a free chunk", block);
    slab = &alloc->slabs[alloc->chunks[chunk]];
    offset = desc->place - alloc->base - alloc->chunks[chunk] * alloc->chunk_units;
    slot = offset / slab->slot_units;
    CHECK(offset % slab->slot_units == 0 && slot < slab->slots && units <= slab->slot_units,
          "block %u does not fit its slot", block);
    slot += alloc->chunks[chunk] * alloc->chunk_units;
    CHECK(bit_test(alloc->taken, slot), "slot of block %u is free", block);
    CHECK(!bit_test(tally->slots, slot), "block %u shares its slot", block);
    CHECK(alloc->owners[slot] == block, "slot of block %u belongs to block %u", block,
          alloc->owners[slot]);
    bit_set(tally->slots, slot);
    tally->slab_used[alloc->chunks[chunk]]++;
    if (desc->state == BLOCK_RESERVED)
        tally->slab_reserved[alloc->chunks[chunk]]++;
    if (bit_test(partition->leased, block)) {
        tally->slab_leased[alloc->chunks[chunk]]++;
        tally->leased_units += slab->slot_units;
    }
    return true;
}

static bool audit_meta(const struct partition *partition, uint32_t block, struct tally *tally)
{
    uint32_t number = desc_of(partition, block)->meta;

    if (!number)
        return true;
    CHECK(number <= partition->metas.nr && bit_test(partition->metas.taken, number - 1),
          "block %u names hint %u, which is free", block, number);
    CHECK(!bit_test(tally->metas, number - 1), "block %u shares its hint", block);
    bit_set(tally->metas, number - 1);
    tally->nr_metas++;
    return true;
}

static bool audit_sealed(const struct partition *partition, uint32_t block, struct tally *tally)
{
    const struct block_desc *desc = desc_of(partition, block);
    const uint8_t *data = partition->arena->data;
    struct key_hash hash = block_hash(partition, desc);
    struct index_place place;

    tally->sealed++;
    tally->value_bytes += desc->value_len;
    CHECK(desc->generation, "block %u has no generation", block);
    CHECK(hash_bucket(hash, partition->map->nr_buckets) == block_head(partition, desc),
          "block %u is filed under another bucket", block);
    CHECK(index_locate(&partition->index, data, hash, desc_key(desc, data), desc->key_len,
                       &place) == block,
          "sealed block %u is not found by its key", block);
    CHECK(bit_test(partition->expiring, block) == !!(desc->flags & DESC_EXPIRES),
          "block %u: expiry is noted wrongly", block);
    tally->aside += bit_test(partition->aside, block);
    tally->nr_leased += bit_test(partition->leased, block);
    return true;
}

static bool audit_descs(const struct partition *partition, struct tally *tally)
{
    for (uint32_t block = 0; block < partition->header->blocks_used; block++) {
        const struct block_desc *desc = desc_of(partition, block);

        CHECK(desc->state == BLOCK_SEALED ||
                  (!bit_test(partition->leased, block) && !bit_test(partition->aside, block) &&
                   !bit_test(partition->expiring, block)),
              "block %u is not sealed but has a lease or an expiry", block);
        switch (desc->state) {
        case BLOCK_FREE:
            tally->free++;
            continue;
        case BLOCK_RESERVED:
            tally->reserved++;
            break;
        case BLOCK_SEALED:
            if (!audit_sealed(partition, block, tally))
                return false;
            break;
        case BLOCK_UNLINKED:
            tally->unlinked++;
            break;
        default:
            CHECK(false, "block %u is in no known state", block);
        }
        if (!audit_memory(partition, block, tally) || !audit_meta(partition, block, tally))
            return false;
    }
    return true;
}

static bool audit_counters(const struct partition *partition, const struct tally *tally)
{
    const struct part_header *header = partition->header;

    CHECK(tally->free == partition->nr_recycled, "%lu free descriptors, %u on the stack",
          (unsigned long)tally->free, partition->nr_recycled);
    CHECK(header->items == tally->sealed && header->value_bytes == tally->value_bytes,
          "%lu sealed blocks, counter says %lu", (unsigned long)tally->sealed,
          (unsigned long)header->items);
    CHECK(header->reserved == tally->reserved, "%lu reserved blocks, counter says %lu",
          (unsigned long)tally->reserved, (unsigned long)header->reserved);
    CHECK(header->unlinked == tally->unlinked && tally->unlinked == (uint64_t)partition->nr_grace +
                                                                        partition->pinned_ones.nr +
                                                                        partition->held_ones.nr,
          "%lu unlinked blocks, counter says %lu, %u wait for readers, %u for pins, %u for clients",
          (unsigned long)tally->unlinked, (unsigned long)header->unlinked, partition->nr_grace,
          partition->pinned_ones.nr, partition->held_ones.nr);
    CHECK(partition->nr_leased == tally->nr_leased &&
              partition->leased_units == tally->leased_units,
          "%lu leases, counted %lu", (unsigned long)tally->nr_leased,
          (unsigned long)partition->nr_leased);
    CHECK(tally->nr_metas + partition->metas.nr_free == partition->metas.nr,
          "%lu hints in use, %u of %u are free", (unsigned long)tally->nr_metas,
          partition->metas.nr_free, partition->metas.nr);
    return true;
}

static bool audit_free(const struct partition *partition)
{
    uint32_t nr = 0;

    for (uint32_t block = partition->free_head; block != BLOCK_NONE;
         block = desc_of(partition, block)->next) {
        CHECK(block < partition->nr_blocks && desc_of(partition, block)->state == BLOCK_FREE,
              "block %u is on the stack of free ones", block);
        CHECK(nr++ < partition->nr_recycled, "the stack of free descriptors does not end");
    }
    CHECK(nr == partition->nr_recycled, "%u descriptors on the stack, counted %u", nr,
          partition->nr_recycled);
    return true;
}

/* Every bucket is dense, and every entry a sealed block of that bucket and tag. */
static bool audit_chain(const struct partition *partition, uint32_t head, uint64_t *entries,
                        uint32_t *overflow)
{
    const struct part_map *map = partition->map;
    const struct bucket *bucket = &map->buckets[head];
    bool ended = false;

    CHECK(bucket->version % 2 == 0, "bucket %u is in the middle of a change", head);
    for (unsigned length = 0;; length++) {
        CHECK(length <= CHAIN_OVERFLOW_MAX, "the chain of bucket %u is too long", head);
        for (unsigned slot = 0; slot < BUCKET_SLOTS; slot++) {
            uint32_t block = bucket->blocks[slot];

            if (!bucket->tags[slot]) {
                ended = true;
                continue;
            }
            CHECK(!ended, "the chain of bucket %u has a hole", head);
            CHECK(block < map->nr_blocks && map->descs[block].state == BLOCK_SEALED &&
                      block_head(partition, &map->descs[block]) == head,
                  "bucket %u names block %u, which is not its own", head, block);
            CHECK(hash_tag(block_hash(partition, &map->descs[block])) == bucket->tags[slot],
                  "block %u has another tag in its bucket", block);
            (*entries)++;
        }
        if (!bucket->next)
            return true;
        CHECK(bucket->next <= map->nr_overflow && !ended, "the chain of bucket %u is broken", head);
        bucket = &map->buckets[map->nr_buckets + bucket->next - 1];
        (*overflow)++;
    }
}

static bool audit_index(const struct partition *partition, const struct tally *tally)
{
    uint64_t entries = 0;
    uint32_t overflow = 0;

    for (uint32_t head = 0; head < partition->map->nr_buckets; head++)
        if (!audit_chain(partition, head, &entries, &overflow))
            return false;
    CHECK(entries == tally->sealed, "%lu entries in the index, %lu sealed blocks",
          (unsigned long)entries, (unsigned long)tally->sealed);
    CHECK(overflow + partition->index.nr_spare == partition->map->nr_overflow,
          "%u overflow buckets in use, %u spare", overflow, partition->index.nr_spare);
    return true;
}

static bool audit_slab(const struct partition *partition, uint32_t first, const struct tally *tally,
                       struct class_table *sums)
{
    const struct alloc *alloc = &partition->alloc;
    const struct slab *slab = &alloc->slabs[first];
    struct size_class *sum = &sums->classes[slab->class];
    uint32_t taken = 0, base = first * alloc->chunk_units;

    CHECK(slab->nr_chunks && first + slab->nr_chunks <= alloc->nr_chunks, "slab %u is too long",
          first);
    for (uint32_t i = 0; i < slab->nr_chunks; i++)
        CHECK(alloc->chunks[first + i] == first && alloc->shared[first + i].index == i &&
                  alloc->shared[first + i].nr_chunks == slab->nr_chunks &&
                  alloc->shared[first + i].slot_units == slab->slot_units,
              "chunk %u is not described as part of slab %u", first + i, first);
    for (uint32_t slot = 0; slot < slab->slots; slot++)
        taken += bit_test(alloc->taken, base + slot);
    CHECK(slab->used && slab->used == tally->slab_used[first] && slab->used == taken,
          "slab %u: %u slots used, %u taken, %u blocks", first, slab->used, taken,
          tally->slab_used[first]);
    CHECK(slab->reserved == tally->slab_reserved[first] &&
              slab->leased == tally->slab_leased[first],
          "slab %u: its counts are wrong", first);
    CHECK(slab->draining || slab->partial == (slab->used < slab->slots),
          "slab %u is in the wrong list", first);
    sum->slabs++;
    if (!slab->draining) {
        sum->slots += slab->slots;
        sum->used += slab->used;
        sum->pending += slab->pending;
    }
    return true;
}

static bool audit_classes(const struct alloc *alloc, const struct class_table *sums)
{
    for (unsigned i = 0; i < CLASSES_MAX; i++) {
        const struct size_class *have = &alloc->table.classes[i], *sum = &sums->classes[i];

        CHECK(have->slabs == sum->slabs && have->slots == sum->slots && have->used == sum->used &&
                  have->pending == sum->pending,
              "class %u counts %u slabs, %u slots, %u used, %u pending; there are %u, %u, %u, %u",
              i, have->slabs, have->slots, have->used, have->pending, sum->slabs, sum->slots,
              sum->used, sum->pending);
    }
    return true;
}

static bool audit_alloc(const struct partition *partition, const struct tally *tally)
{
    const struct alloc *alloc = &partition->alloc;
    struct class_table *sums = calloc(1, sizeof(*sums));
    uint32_t nr_free = 0, nr_held = 0, nr;
    bool good = sums != NULL;

    for (uint32_t i = 0; good && i < alloc->nr_chunks; i += nr) {
        nr = 1;
        if (alloc->chunks[i] == CHUNK_FREE)
            nr_free++;
        else if (alloc->chunks[i] == CHUNK_HELD)
            nr_held++;
        else if ((good = audit_slab(partition, i, tally, sums)))
            nr = alloc->slabs[i].nr_chunks;
    }
    good = good && audit_classes(alloc, sums);
    free(sums);
    if (!good)
        return false;
    CHECK(nr_free == alloc->nr_free, "%u free chunks, counted %u", nr_free, alloc->nr_free);
    CHECK(partition->header->used_bytes ==
              (uint64_t)(alloc->nr_chunks - nr_free - nr_held) * alloc->chunk_units * DATA_UNIT,
          "used_bytes is wrong");
    return true;
}

static bool audit_policy(const struct partition *partition, struct tally *tally)
{
    uint64_t nr = 0;
    uint32_t block;

    partition->ops->walk_start(partition->policy);
    while ((block = partition->ops->walk_next(partition->policy)) != BLOCK_NONE) {
        CHECK(block < partition->nr_blocks && desc_of(partition, block)->state == BLOCK_SEALED,
              "policy names block %u, which is not sealed", block);
        CHECK(!bit_test(tally->seen, block) && !bit_test(partition->aside, block),
              "policy names block %u twice", block);
        bit_set(tally->seen, block);
        nr++;
    }
    CHECK(nr + tally->aside == tally->sealed, "policy knows %lu blocks, %lu are sealed",
          (unsigned long)nr, (unsigned long)tally->sealed);
    return true;
}

int partition_audit(const struct partition *partition)
{
    uint32_t nr_chunks = partition->alloc.nr_chunks;
    struct tally tally = {
        .seen = calloc(partition->nr_words, sizeof(uint64_t)),
        .slots = calloc((size_t)nr_chunks * partition->alloc.chunk_units / 64, sizeof(uint64_t)),
        .metas = calloc(partition->metas.nr_words, sizeof(uint64_t)),
        .slab_used = calloc(nr_chunks, 3 * sizeof(uint32_t))};
    int result = -ENOMEM;

    if (tally.seen && tally.slots && tally.metas && tally.slab_used) {
        tally.slab_reserved = tally.slab_used + nr_chunks;
        tally.slab_leased = tally.slab_reserved + nr_chunks;
        result = audit_descs(partition, &tally) && audit_counters(partition, &tally) &&
                         audit_free(partition) && audit_index(partition, &tally) &&
                         audit_alloc(partition, &tally) && audit_policy(partition, &tally)
                     ? 0
                     : -EUCLEAN;
    }
    free(tally.seen);
    free(tally.slots);
    free(tally.metas);
    free(tally.slab_used);
    return result;
}
