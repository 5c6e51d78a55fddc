/* SPDX-License-Identifier: Apache-2.0 */
/* Rebuilds a partition's private state from its descriptors when it is opened, and drops whatever
 * was not sealed or does not add up. Clients live on meanwhile: what they may hold keeps its memory
 * until the reclaimer has looked, what they are still writing stays reserved. Trusts nothing it
 * reads: the last owner may have died at any instruction, and others may have written to the data.
 */
#include "base/crc32c.h"
#include "shm/bucket.h"
#include "shm/partition_state.h"

enum verdict { KEEP, EXPIRED, DAMAGED };

/* What can be seen in the descriptor alone. */
static bool shape_valid(const struct partition *partition, const struct block_desc *desc)
{
    uint64_t base = partition->alloc.base;
    uint64_t end = base + (uint64_t)partition->alloc.nr_chunks * partition->alloc.chunk_units;
    uint32_t units;

    if (!desc->generation || desc->key_len < 1 || desc->key_len > KVR_KEY_MAX ||
        desc->value_len > KVR_VALUE_MAX)
        return false;
    units = units_held(desc);
    if (desc->key_len > KEY_INLINE &&
        desc->far_key.place != desc->place + units_of(desc->value_len))
        return false;
    return !units || (desc->place >= base && desc->place + (uint64_t)units <= end);
}

static bool value_valid(const struct partition *partition, const struct block_desc *desc)
{
    const uint8_t *value = partition->arena->data + (uint64_t)desc->place * DATA_UNIT;

    return crc32c(0, value, desc->value_len) == desc->value_crc;
}

static bool enter_index(struct partition *partition, uint32_t block, struct key_hash hash)
{
    uint32_t head = hash_bucket(hash, partition->map->nr_buckets);
    bool in;

    chain_begin(&partition->index, head);
    in = index_insert(&partition->index, head, hash_tag(hash), block);
    chain_end(&partition->index, head);
    return in;
}

static enum verdict adopt(struct partition *partition, uint32_t block, bool verify)
{
    struct block_desc *desc = desc_of(partition, block);
    const uint8_t *data = partition->arena->data;
    struct index_place place;
    struct key_hash hash;

    if (!shape_valid(partition, desc))
        return DAMAGED;
    if (is_expired(desc, partition->now_ms))
        return EXPIRED;
    hash = block_hash(partition, desc);
    if (hash_partition(hash, partition->arena->nr_partitions) != partition->number ||
        (desc->key_len > KEY_INLINE && desc->far_key.hash_lo != hash.lo) ||
        index_locate(&partition->index, data, hash, desc_key(desc, data), desc->key_len, &place) !=
            BLOCK_NONE)
        return DAMAGED;
    if (verify && !value_valid(partition, desc))
        return DAMAGED;
    if (units_held(desc) && !alloc_adopt(&partition->alloc, desc->place, units_held(desc), block))
        return DAMAGED;
    if (enter_index(partition, block, hash)) {
        /* A hint is no reason to lose a block. */
        if (!meta_adopt(&partition->metas, desc->meta))
            shared_store(&desc->meta, META_NONE);
        return KEEP;
    }
    if (units_held(desc))
        alloc_give(&partition->alloc, desc->place);
    return DAMAGED;
}

static void counters_clear(struct part_header *header)
{
    counter_set(&header->items, 0);
    counter_set(&header->value_bytes, 0);
    counter_set(&header->reserved, 0);
    counter_set(&header->unlinked, 0);
    counter_set(&header->used_bytes, 0);
}

/* Keeps a sealed block, or leaves it unlinked. */
static void settle_sealed(struct partition *partition, uint32_t block, bool verify,
                          struct partition_recovery *recovery)
{
    struct block_desc *desc = desc_of(partition, block);

    switch (adopt(partition, block, verify)) {
    case KEEP:
        recovery->kept++;
        recovery->kept_bytes += desc->value_len;
        block_enter(partition, block);
        return;
    case EXPIRED:
        recovery->dropped_expired++;
        break;
    case DAMAGED:
        recovery->dropped_damaged++;
        break;
    }
    shared_store(&desc->state, (uint8_t)BLOCK_UNLINKED);
}

/* Whether the block could be had with the memory that it names. */
static bool adopt_memory(struct partition *partition, uint32_t block)
{
    struct block_desc *desc = desc_of(partition, block);

    if (!shape_valid(partition, desc) ||
        (units_held(desc) && !alloc_adopt(&partition->alloc, desc->place, units_held(desc), block)))
        return false;
    if (!meta_adopt(&partition->metas, desc->meta))
        shared_store(&desc->meta, META_NONE);
    return true;
}

/* Clients may hold it: it waits as if it had been unlinked just now. */
static void settle_unlinked(struct partition *partition, uint32_t block, struct queue *free)
{
    struct block_desc *desc = desc_of(partition, block);

    if (adopt_memory(partition, block)) {
        block_await(partition, block);
        return;
    }
    shared_store(&desc->state, (uint8_t)BLOCK_FREE);
    queue_append(free, partition->map->descs, block);
    partition->nr_recycled++;
}

/* Nobody ever saw it, but somebody may be writing it. */
static void settle_reserved(struct partition *partition, uint32_t block,
                            const struct partition_options *options, struct queue *free,
                            struct partition_recovery *recovery)
{
    struct block_desc *desc = desc_of(partition, block);
    struct slab *slab;

    if (options->keep_reserved && desc->flags & DESC_MARKED &&
        options->keep_reserved(options->context, desc->value_crc) &&
        adopt_memory(partition, block)) {
        slab = slab_of(partition, desc);
        if (slab)
            slab->reserved++;
        counter_add(&partition->header->reserved, 1);
        recovery->kept_reserved++;
        return;
    }
    recovery->dropped_unsealed++;
    shared_store(&desc->state, (uint8_t)BLOCK_FREE);
    queue_append(free, partition->map->descs, block);
    partition->nr_recycled++;
}

/* First what is stored, which has the first claim on its memory. Whether anything is left. */
static bool settle_all_sealed(struct partition *partition, bool verify, struct queue *free,
                              struct partition_recovery *recovery)
{
    bool rest = false;

    for (uint32_t block = 0; block < partition->header->blocks_used; block++) {
        struct block_desc *desc = desc_of(partition, block);

        switch (desc->state) {
        case BLOCK_FREE:
            queue_append(free, partition->map->descs, block);
            partition->nr_recycled++;
            continue;
        case BLOCK_SEALED:
            settle_sealed(partition, block, verify, recovery);
            break;
        case BLOCK_RESERVED:
        case BLOCK_UNLINKED:
            break;
        default:
            recovery->dropped_damaged++;
            shared_store(&desc->state, (uint8_t)BLOCK_UNLINKED);
        }
        rest |= desc->state != BLOCK_SEALED;
    }
    return rest;
}

void recover(struct partition *partition, const struct partition_options *options,
             struct partition_recovery *recovery)
{
    uint32_t used = partition->header->blocks_used;
    struct queue free;

    if (used > partition->nr_blocks)
        used = partition->nr_blocks; /* damaged: then look at all of them */
    shared_store(&partition->header->blocks_used, used);
    *recovery = (struct partition_recovery){0};
    counters_clear(partition->header);
    queue_clear(&free);
    if (settle_all_sealed(partition, options->verify, &free, recovery))
        for (uint32_t block = 0; block < used; block++) {
            uint8_t state = desc_of(partition, block)->state;

            if (state == BLOCK_UNLINKED)
                settle_unlinked(partition, block, &free);
            else if (state == BLOCK_RESERVED)
                settle_reserved(partition, block, options, &free, recovery);
        }
    partition->free_head = free.head;
    alloc_adopt_end(&partition->alloc);
}
