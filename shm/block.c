/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of one block's life after it was sealed: it enters the policy, leaves the index, waits
 * for its readers and its pins, and gives its memory back. Owner core only. */
#include <assert.h>

#include "shm/bucket.h"
#include "shm/partition_state.h"

#define RECLAIM_BURST 64u /* blocks taken back in one call */
#define PARKED_BURST 8u   /* parked blocks looked at in one call */
#define PARKED_PERIOD_MS 10u

struct key_hash block_hash(const struct partition *partition, const struct block_desc *desc)
{
    return hash_key(desc_key(desc, partition->arena->data), desc->key_len,
                    partition->arena->sb->seed);
}

uint32_t block_head(const struct partition *partition, const struct block_desc *desc)
{
    struct key_hash hash = {.lo = desc->far_key.hash_lo};

    /* A far key lies where others may write; its hash does not. */
    if (desc->key_len <= KEY_INLINE)
        hash = block_hash(partition, desc);
    return hash_bucket(hash, partition->map->nr_buckets);
}

/* Leaves out those that the policy does not know. Returns how many are left. */
static uint32_t keep_known(const struct partition *partition, uint32_t *blocks, uint32_t nr)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < nr; i++)
        if (!bit_test(partition->aside, blocks[i]))
            blocks[kept++] = blocks[i];
    return kept;
}

void hits_apply(struct partition *partition)
{
    uint32_t *blocks = partition->hits.blocks, nr = partition->hits.nr, highest = 0;

    for (uint32_t i = 0; i < nr; i++)
        highest = blocks[i] > highest ? blocks[i] : highest;
    assert(highest < partition->nr_blocks);
    if (unlikely(partition->nr_aside))
        nr = keep_known(partition, blocks, nr);
    partition->hits.nr = 0;
    if (nr > 0)
        partition->ops->hits(partition->policy, blocks, nr);
}

void block_enter(struct partition *partition, uint32_t block)
{
    const struct block_desc *desc = desc_of(partition, block);

    hits_apply(partition);
    partition->ops->insert(partition->policy, block);
    expiry_note(partition, block);
    counter_add(&partition->header->items, 1);
    counter_add(&partition->header->value_bytes, desc->value_len);
}

static bool has_pins(const struct partition *partition, uint32_t block)
{
    /* Pairs with the release in partition_unpin: what the pin's holder read, it read before. */
    return __atomic_load_n(&partition->pins[block], __ATOMIC_ACQUIRE) != 0;
}

bool block_is_pinned(const struct partition *partition, uint32_t block)
{
    return has_pins(partition, block) || block_is_held(partition, block);
}

static void count_cause(struct part_header *header, const struct block_desc *desc,
                        enum unlink_cause cause)
{
    switch (cause) {
    case UNLINK_EVICTED:
        counter_add(&header->evictions, 1);
        counter_add(&header->evicted_bytes, desc->value_len);
        break;
    case UNLINK_EXPIRED:
        counter_add(&header->expired, 1);
        break;
    case UNLINK_REPLACED:
        counter_add(&header->replaced, 1);
        break;
    case UNLINK_DELETED:
        break;
    }
}

/* Hands unlinked blocks to the reclaimer as far as its lane takes them. */
static void waiting_flush(struct partition *partition)
{
    while (partition->waiting.head != BLOCK_NONE &&
           reclaim_defer(partition->lane, block_reference(partition, partition->waiting.head)))
        (void)queue_pop(&partition->waiting, partition->map->descs);
}

void block_await(struct partition *partition, uint32_t block)
{
    struct slab *slab = slab_of(partition, desc_of(partition, block));

    if (slab)
        slab_pending(&partition->alloc, slab, 1);
    counter_add(&partition->header->unlinked, 1);
    queue_append(&partition->waiting, partition->map->descs, block);
    partition->nr_grace++;
    waiting_flush(partition);
}

void block_retire(struct partition *partition, uint32_t block, enum unlink_cause cause)
{
    struct block_desc *desc = desc_of(partition, block);

    shared_store(&desc->state, (uint8_t)BLOCK_UNLINKED);
    hits_apply(partition);
    if (partition->nr_aside && bit_test(partition->aside, block))
        aside_end(partition, block);
    else
        partition->ops->remove(partition->policy, block);
    lease_end(partition, block);
    bit_clear(partition->expiring, block);
    counter_add(&partition->header->items, -1ull);
    counter_add(&partition->header->value_bytes, -(uint64_t)desc->value_len);
    count_cause(partition->header, desc, cause);
    if (unlikely(partition->unlinked))
        partition->unlinked(partition->unlinked_context, block_reference(partition, block));
    block_await(partition, block);
}

void block_unlink(struct partition *partition, uint32_t block, enum unlink_cause cause)
{
    uint32_t head = block_head(partition, desc_of(partition, block));
    struct index_place place;

    if (index_locate_block(&partition->index, head, block, &place)) {
        chain_begin(&partition->index, head);
        index_remove(&partition->index, &place);
        chain_end(&partition->index, head);
    }
    block_retire(partition, block, cause);
}

void block_put_back(struct partition *partition, uint32_t block)
{
    shared_store(&desc_of(partition, block)->next, partition->free_head);
    partition->free_head = block;
    partition->nr_recycled++;
}

uint32_t block_take(struct partition *partition)
{
    uint32_t block = partition->free_head, used = partition->header->blocks_used;

    if (block != BLOCK_NONE) {
        partition->free_head = desc_of(partition, block)->next;
        partition->nr_recycled--;
        return block;
    }
    if (used == partition->nr_blocks)
        return BLOCK_NONE;
    shared_store(&partition->header->blocks_used, used + 1);
    return used;
}

/* Nobody reads the block any more. */
static void block_free(struct partition *partition, uint32_t block)
{
    struct block_desc *desc = desc_of(partition, block);

    if (units_held(desc))
        alloc_give(&partition->alloc, desc->place);
    if (desc->meta)
        meta_give(&partition->metas, desc->meta);
    shared_store(&desc->meta, META_NONE);
    shared_store(&desc->state, (uint8_t)BLOCK_FREE);
    block_put_back(partition, block);
}

static void park(struct partition *partition, struct parking *parking, uint32_t block)
{
    queue_append(&parking->queue, partition->map->descs, block);
    parking->nr++;
}

void block_drop(struct partition *partition, uint32_t block)
{
    struct block_desc *desc = desc_of(partition, block);
    struct slab *slab = slab_of(partition, desc);

    counter_add(&partition->header->reserved, -1ull);
    if (slab)
        slab->reserved--;
    if (!has_pins(partition, block)) {
        block_free(partition, block);
        return;
    }
    shared_store(&desc->state, (uint8_t)BLOCK_UNLINKED);
    counter_add(&partition->header->unlinked, 1);
    park(partition, &partition->pinned_ones, block);
}

static void unlinked_free(struct partition *partition, uint32_t block)
{
    block_free(partition, block);
    counter_add(&partition->header->unlinked, -1ull);
    counter_add(&partition->header->reclaimed, 1);
}

/* The dataplane's readers are through with it. Whether it became free. */
static bool settle(struct partition *partition, uint32_t block)
{
    if (has_pins(partition, block))
        park(partition, &partition->pinned_ones, block);
    else if (block_is_held(partition, block))
        park(partition, &partition->held_ones, block);
    else
        unlinked_free(partition, block);
    return desc_of(partition, block)->state == BLOCK_FREE;
}

/* Looks at each parked block once after change was counted on, a few in one call, and now and then
 * in any case: thousands that stay cost nothing. */
static bool parking_poll(struct partition *partition, struct parking *parking, uint64_t change)
{
    bool any = false;

    if (change != parking->change || partition->now_ms - parking->round_ms >= PARKED_PERIOD_MS) {
        parking->change = change;
        parking->round_ms = partition->now_ms;
        parking->left = parking->nr;
    }
    for (unsigned i = 0; i < PARKED_BURST && parking->left; i++) {
        parking->left--;
        parking->nr--;
        any |= settle(partition, queue_pop(&parking->queue, partition->map->descs));
    }
    return any;
}

bool blocks_reclaim(struct partition *partition)
{
    bool any = false;
    uint64_t word;

    for (unsigned i = 0; i < RECLAIM_BURST && reclaim_take(partition->lane, &word); i++) {
        uint32_t block = (uint32_t)word - partition->number * partition->nr_blocks;
        struct slab *slab = slab_of(partition, desc_of(partition, block));

        partition->nr_grace--;
        if (slab)
            slab_pending(&partition->alloc, slab, -1);
        (void)settle(partition, block);
        any = true;
    }
    if (partition->pinned_ones.nr)
        any |= parking_poll(partition, &partition->pinned_ones, counter_read(&partition->unpinned));
    if (partition->held_ones.nr)
        any |=
            parking_poll(partition, &partition->held_ones, reclaim_releases(partition->reclaimer));
    waiting_flush(partition);
    return any;
}
