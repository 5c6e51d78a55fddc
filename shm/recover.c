/* SPDX-License-Identifier: Apache-2.0 */
/* Rebuilds a partition's private state from its descriptors when it is opened, and drops whatever
 * was not sealed or does not add up. Trusts nothing it reads: the last owner may have died at any
 * instruction, and others may have written to the data. */
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

static void count(struct partition *partition, uint32_t block, enum verdict verdict,
                  struct partition_recovery *recovery)
{
    switch (verdict) {
    case KEEP:
        recovery->kept++;
        recovery->kept_bytes += desc_of(partition, block)->value_len;
        break;
    case EXPIRED:
        recovery->dropped_expired++;
        break;
    case DAMAGED:
        recovery->dropped_damaged++;
        break;
    }
}

static void counters_clear(struct part_header *header)
{
    counter_set(&header->items, 0);
    counter_set(&header->value_bytes, 0);
    counter_set(&header->reserved, 0);
    counter_set(&header->unlinked, 0);
    counter_set(&header->used_bytes, 0);
}

/* Whether the block stays; counts it. */
static bool settle(struct partition *partition, uint32_t block, bool verify,
                   struct partition_recovery *recovery)
{
    enum verdict verdict = DAMAGED;

    switch (desc_of(partition, block)->state) {
    case BLOCK_FREE:
    case BLOCK_UNLINKED:
        return false;
    case BLOCK_RESERVED:
        recovery->dropped_unsealed++;
        return false;
    case BLOCK_SEALED:
        verdict = adopt(partition, block, verify);
        break;
    default:
        break;
    }
    count(partition, block, verdict, recovery);
    return verdict == KEEP;
}

void recover(struct partition *partition, bool verify, struct partition_recovery *recovery)
{
    uint32_t used = partition->header->blocks_used;
    struct queue free;

    if (used > partition->nr_blocks)
        used = partition->nr_blocks; /* damaged: then look at all of them */
    shared_store(&partition->header->blocks_used, used);
    *recovery = (struct partition_recovery){0};
    counters_clear(partition->header);
    queue_clear(&free);
    for (uint32_t block = 0; block < used; block++) {
        struct block_desc *desc = desc_of(partition, block);

        if (settle(partition, block, verify, recovery)) {
            block_enter(partition, block);
            continue;
        }
        if (desc->state != BLOCK_FREE)
            shared_store(&desc->state, (uint8_t)BLOCK_FREE);
        queue_append(&free, partition->map->descs, block);
        partition->nr_recycled++;
    }
    partition->free_head = free.head;
    alloc_adopt_end(&partition->alloc);
}
