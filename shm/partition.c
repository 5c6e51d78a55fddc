/* SPDX-License-Identifier: Apache-2.0 */
/* What a partition promises (partition.h): reserve, fill, seal, find again, delete. Owner core
 * only, but for partition_unpin. */
#include "shm/partition.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/bucket.h"
#include "shm/pages.h"
#include "shm/partition_state.h"

#define LANE_MAX 8192u

/* Opening and closing. */

static void private_free(struct partition *partition)
{
    free(partition->expiring);
    free(partition->leased);
    free(partition->aside);
    free(partition->lease_until);
    free(partition->pins);
    free(partition->sums);
    free(partition);
}

static struct partition *private_alloc(const struct part_map *map, uint64_t region_size)
{
    struct partition *partition = aligned_alloc(CACHE_LINE, sizeof(*partition));
    uint32_t nr = map->nr_blocks;

    if (!partition)
        return NULL;
    memset(partition, 0, sizeof(*partition));
    partition->map = map;
    partition->header = map->header;
    partition->nr_blocks = nr;
    partition->nr_words = (nr + 63) / 64;
    partition->free_head = BLOCK_NONE;
    queue_clear(&partition->waiting);
    queue_clear(&partition->pinned_ones.queue);
    queue_clear(&partition->held_ones.queue);
    partition->expiring = calloc(partition->nr_words, sizeof(uint64_t));
    partition->leased = calloc(partition->nr_words, sizeof(uint64_t));
    partition->aside = calloc(partition->nr_words, sizeof(uint64_t));
    partition->lease_until = pages_calloc(nr, sizeof(*partition->lease_until));
    partition->pins = pages_calloc(nr, sizeof(*partition->pins));
    partition->sums = pages_calloc(region_size / KVR_FRAG_BEST + 1, sizeof(*partition->sums));
    if (partition->expiring && partition->leased && partition->aside && partition->lease_until &&
        partition->pins && partition->sums)
        return partition;
    private_free(partition);
    return NULL;
}

static int policy_open(const struct partition *partition, const struct policy_ops *ops,
                       struct policy **policy)
{
    struct policy_env env = {.nr_blocks = partition->nr_blocks,
                             .descs = partition->map->descs,
                             .metas = partition->map->metas};

    return ops->create(&env, policy);
}

int partition_open(struct arena *arena, unsigned number, const struct partition_options *options,
                   struct partition **out, struct partition_recovery *recovery)
{
    const struct policy_ops *ops = policy_find(options->policy);
    const struct part_map *map = &arena->maps[number];
    uint32_t lane_size = map->nr_blocks < LANE_MAX ? map->nr_blocks : LANE_MAX;
    struct partition *partition;

    if (!ops)
        return -EINVAL;
    partition = private_alloc(map, arena->region_size);
    if (!partition)
        return -ENOMEM;
    partition->arena = arena;
    partition->number = number;
    partition->ops = ops;
    partition->reclaimer = options->reclaimer;
    partition->now_ms = arena_ms(arena, clock_ns());
    if (index_writer_open(&partition->index, map, !map->header->blocks_used) < 0)
        goto free_private;
    if (alloc_open(&partition->alloc, map) < 0)
        goto close_index;
    if (meta_open(&partition->metas, map) < 0)
        goto close_alloc;
    if (policy_open(partition, ops, &partition->policy) < 0)
        goto close_metas;
    if (reclaim_lane_create(options->reclaimer, lane_size, &partition->lane) < 0)
        goto close_policy;
    recover(partition, options, recovery);
    *out = partition;
    return 0;
close_policy:
    ops->destroy(partition->policy);
close_metas:
    meta_close(&partition->metas);
close_alloc:
    alloc_close(&partition->alloc);
close_index:
    index_writer_close(&partition->index);
free_private:
    private_free(partition);
    return -ENOMEM;
}

void partition_close(struct partition *partition)
{
    if (!partition)
        return;
    reclaim_lane_destroy(partition->lane);
    partition->ops->destroy(partition->policy);
    meta_close(&partition->metas);
    alloc_close(&partition->alloc);
    index_writer_close(&partition->index);
    private_free(partition);
}

/* Reserving. */

/* The number of the entry that holds the hint, or META_NONE. */
static uint32_t hint_store(struct partition *partition, const struct kvr_hint *hint)
{
    uint32_t number = meta_take(&partition->metas);

    if (number == META_NONE)
        counter_add(&partition->header->hints_lost, 1);
    else
        meta_write(&partition->metas, number, hint);
    return number;
}

static void desc_reserve(struct partition *partition, uint32_t block, uint32_t place,
                         const struct block_request *request)
{
    struct block_desc *desc = desc_of(partition, block);
    uint32_t ttl_ms = request->ttl_ms;
    struct block_desc fresh = {.generation = desc->generation + 1,
                               .state = BLOCK_RESERVED,
                               .key_len = (uint16_t)request->key_len,
                               .value_len = request->value_len,
                               .value_crc = request->mark,
                               .place = place,
                               .tenant = request->tenant,
                               .layout = request->layout};

    if (!fresh.generation)
        fresh.generation = 1;
    if (request->mark)
        fresh.flags = DESC_MARKED;
    if (ttl_ms) {
        fresh.flags |= DESC_EXPIRES;
        /* From sealing on; until then this holds the time to live itself. */
        fresh.expiry_ms = ttl_ms < PARTITION_TTL_MAX_MS ? ttl_ms : PARTITION_TTL_MAX_MS;
    }
    if (request->key_len <= KEY_INLINE) {
        memcpy(fresh.key, request->key, request->key_len);
    } else {
        fresh.far_key.place = place + units_of(request->value_len);
        memcpy(partition->arena->data + (uint64_t)fresh.far_key.place * DATA_UNIT, request->key,
               request->key_len);
    }
    if (meta_needed(&request->hint))
        fresh.meta = hint_store(partition, &request->hint);
    desc_publish(desc, &fresh);
    memset(partition_sums(partition, block), 0,
           request->value_len / KVR_FRAG_BEST * sizeof(*partition->sums));
}

static enum kvr_status memory_take(struct partition *partition, uint32_t units, uint32_t block,
                                   uint32_t *place)
{
    uint16_t class = class_choose(&partition->alloc.table, units);

    room_claim(partition, class, units);
    if (!alloc_take(&partition->alloc, class, units, block, place))
        return room_make(partition, class, units);
    room_keep(partition, class);
    return KVR_OK;
}

static enum kvr_status reserve(struct partition *partition, const struct block_request *request,
                               uint32_t units, uint32_t *block)
{
    enum kvr_status status = KVR_OK;
    uint32_t place = 0, taken = block_take(partition);

    if (taken == BLOCK_NONE)
        return room_make_descriptor(partition);
    if (units)
        status = memory_take(partition, units, taken, &place);
    else
        room_keep(partition, CLASS_RUN);
    if (status != KVR_OK) {
        block_put_back(partition, taken);
        return status;
    }
    desc_reserve(partition, taken, place, request);
    counter_add(&partition->header->reserved, 1);
    *block = taken;
    return KVR_OK;
}

enum kvr_status partition_reserve(struct partition *partition, const struct block_request *request,
                                  uint32_t now_ms, uint32_t *block)
{
    enum kvr_status status = KVR_TOO_LARGE;
    uint32_t units;

    assert(request->key_len >= 1 && request->key_len <= KVR_KEY_MAX);
    partition->now_ms = now_ms;
    if (request->value_len > KVR_VALUE_MAX)
        return status;
    units = block_units(request->value_len, request->key_len);
    if (alloc_fits(&partition->alloc, units))
        status = reserve(partition, request, units, block);
    if (status == KVR_BUSY)
        counter_add(&partition->header->grace_waits, 1);
    else if (status == KVR_NO_SPACE)
        counter_add(&partition->header->no_space, 1);
    return status;
}

uint8_t *partition_value(struct partition *partition, uint32_t block)
{
    return partition->arena->data + (uint64_t)desc_of(partition, block)->place * DATA_UNIT;
}

uint32_t *partition_sums(const struct partition *partition, uint32_t block)
{
    uint64_t at = (uint64_t)desc_of(partition, block)->place * DATA_UNIT;

    if (at < partition->map->region_off) /* 0: of no bytes, so without a place */
        return partition->sums;
    return partition->sums + (at - partition->map->region_off) / KVR_FRAG_BEST;
}

void partition_abort(struct partition *partition, uint32_t block)
{
    assert(desc_of(partition, block)->state == BLOCK_RESERVED);
    block_drop(partition, block);
}

bool partition_next_reserved(const struct partition *partition, uint32_t *block, uint32_t *mark)
{
    for (; *block < partition->header->blocks_used; ++*block) {
        const struct block_desc *desc = desc_of(partition, *block);

        if (desc->state == BLOCK_RESERVED && desc->flags & DESC_MARKED) {
            *mark = desc->value_crc;
            return true;
        }
    }
    return false;
}

/* Sealing. */

static void expiry_set(struct block_desc *desc, uint32_t ttl_ms, uint32_t now_ms)
{
    desc->flags = (uint8_t)((desc->flags & ~DESC_EXPIRES) | (ttl_ms ? DESC_EXPIRES : 0));
    desc->expiry_ms = ttl_ms ? now_ms + ttl_ms : 0;
}

/* The descriptor as sealed, in the entry of the older block or in a new one. */
static void publish(struct partition *partition, uint32_t block, const struct block_desc *fresh,
                    struct key_hash hash, const struct index_place *older)
{
    uint32_t head = hash_bucket(hash, partition->map->nr_buckets);
    bool in = true;

    chain_begin(&partition->index, head);
    /* From here on until it is sealed, an owner that dies leaves no mark. */
    shared_store(&desc_of(partition, block)->flags, fresh->flags);
    desc_publish(desc_of(partition, block), fresh);
    if (older)
        shared_store(&older->bucket->blocks[older->slot], block);
    else
        in = index_insert(&partition->index, head, hash_tag(hash), block);
    chain_end(&partition->index, head);
    if (!in) {
        /* The chain is full: one of its blocks makes way. */
        block_unlink(partition, room_in_chain(partition, head), UNLINK_EVICTED);
        chain_begin(&partition->index, head);
        in = index_insert(&partition->index, head, hash_tag(hash), block);
        chain_end(&partition->index, head);
    }
    assert(in);
}

enum kvr_status partition_seal(struct partition *partition, uint32_t block, uint32_t value_crc,
                               bool add, uint32_t now_ms, uint64_t *ref)
{
    struct block_desc fresh = *desc_of(partition, block);
    struct key_hash hash = block_hash(partition, &fresh);
    const uint8_t *data = partition->arena->data;
    struct slab *slab = slab_of(partition, &fresh);
    struct index_place place;
    uint32_t older;
    bool expired;

    assert(fresh.state == BLOCK_RESERVED);
    partition->now_ms = now_ms;
    older =
        index_locate(&partition->index, data, hash, desc_key(&fresh, data), fresh.key_len, &place);
    expired = older != BLOCK_NONE && is_expired(desc_of(partition, older), now_ms);
    if (add && older != BLOCK_NONE && !expired) {
        block_drop(partition, block);
        return KVR_EXISTS;
    }
    fresh.state = BLOCK_SEALED;
    if (fresh.key_len > KEY_INLINE)
        fresh.far_key.hash_lo = hash.lo;
    fresh.flags &= (uint8_t)~DESC_MARKED;
    fresh.value_crc = value_crc;
    expiry_set(&fresh, fresh.flags & DESC_EXPIRES ? fresh.expiry_ms : 0, now_ms);
    counter_add(&partition->header->reserved, -1ull);
    if (slab)
        slab->reserved--;
    publish(partition, block, &fresh, hash, older == BLOCK_NONE ? NULL : &place);
    if (older != BLOCK_NONE)
        block_retire(partition, older, expired ? UNLINK_EXPIRED : UNLINK_REPLACED);
    block_enter(partition, block);
    *ref = block_ref(fresh.generation, partition->number * partition->nr_blocks + block);
    return KVR_OK;
}

/* Operations on what is stored. */

/* The sealed block of the key; an expired one goes and counts as none. */
static uint32_t locate(struct partition *partition, struct key_hash hash, const void *key,
                       uint32_t key_len, uint32_t now_ms)
{
    struct index_place place;
    uint32_t block =
        index_locate(&partition->index, partition->arena->data, hash, key, key_len, &place);

    partition->now_ms = now_ms;
    if (block != BLOCK_NONE && is_expired(desc_of(partition, block), now_ms)) {
        block_unlink(partition, block, UNLINK_EXPIRED);
        block = BLOCK_NONE;
    }
    return block;
}

enum kvr_status partition_del(struct partition *partition, struct key_hash hash, const void *key,
                              uint32_t key_len, uint64_t ref, uint32_t now_ms)
{
    uint32_t block = locate(partition, hash, key, key_len, now_ms);

    if (block == BLOCK_NONE)
        return KVR_MISS;
    if (ref && ref != block_ref(desc_of(partition, block)->generation,
                                partition->number * partition->nr_blocks + block))
        return KVR_STALE;
    block_unlink(partition, block, UNLINK_DELETED);
    return KVR_OK;
}

enum kvr_status partition_touch(struct partition *partition, struct key_hash hash, const void *key,
                                uint32_t key_len, uint32_t ttl_ms, uint32_t now_ms)
{
    uint32_t block = locate(partition, hash, key, key_len, now_ms);
    uint32_t head = hash_bucket(hash, partition->map->nr_buckets);
    struct block_desc fresh;

    if (block == BLOCK_NONE)
        return KVR_MISS;
    if (ttl_ms > PARTITION_TTL_MAX_MS)
        ttl_ms = PARTITION_TTL_MAX_MS;
    fresh = *desc_of(partition, block);
    expiry_set(&fresh, ttl_ms, now_ms);
    chain_begin(&partition->index, head);
    desc_publish(desc_of(partition, block), &fresh);
    chain_end(&partition->index, head);
    expiry_note(partition, block);
    partition_hit(partition, block);
    return KVR_OK;
}

enum kvr_status partition_hint(struct partition *partition, struct key_hash hash, const void *key,
                               uint32_t key_len, const struct kvr_hint *hint, uint32_t now_ms)
{
    uint32_t block = locate(partition, hash, key, key_len, now_ms);
    struct block_desc *desc;

    if (block == BLOCK_NONE)
        return KVR_MISS;
    desc = desc_of(partition, block);
    if (desc->meta)
        meta_write(&partition->metas, desc->meta, hint);
    else if (meta_needed(hint))
        shared_store(&desc->meta, hint_store(partition, hint));
    hits_apply(partition);
    if (!bit_test(partition->aside, block))
        partition->ops->hint(partition->policy, block);
    return KVR_OK;
}

/* Pins. */

void partition_pin(struct partition *partition, uint32_t block)
{
    __atomic_add_fetch(&partition->pins[block], 1, __ATOMIC_RELAXED);
    counter_add(&partition->pinned, 1);
}

bool partition_pin_ref(struct partition *partition, uint64_t ref)
{
    uint32_t block = (uint32_t)ref - partition->number * partition->nr_blocks;

    if (block >= partition->nr_blocks || block_reference(partition, block) != ref ||
        desc_of(partition, block)->state != BLOCK_SEALED)
        return false;
    partition_pin(partition, block);
    return true;
}

void partition_unpin(struct partition *partition, uint32_t block)
{
    /* Pairs with the acquire in block_is_pinned. The total first: it never counts more given back
     * than a look at the pins would show. */
    __atomic_add_fetch(&partition->unpinned, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&partition->pins[block], 1, __ATOMIC_RELEASE);
}

uint64_t partition_pinned(const struct partition *partition)
{
    uint64_t unpinned = counter_read(&partition->unpinned);

    return counter_read(&partition->pinned) - unpinned;
}

/* The rest of a turn. */

void partition_watch(struct partition *partition, void (*unlinked)(void *context, uint64_t ref),
                     void *context)
{
    partition->unlinked = unlinked;
    partition->unlinked_context = context;
}

bool partition_poll(struct partition *partition, uint32_t now_ms)
{
    bool any;

    partition->now_ms = now_ms;
    partition->turn++;
    hits_apply(partition);
    any = blocks_reclaim(partition);
    any |= room_poll(partition);
    any |= expiry_poll(partition);
    any |= leases_poll(partition);
    return any;
}

int partition_set_policy(struct partition *partition, const char *name, uint32_t now_ms)
{
    const struct policy_ops *ops = policy_find(name);
    struct policy *policy;
    uint32_t block;

    partition->now_ms = now_ms;
    if (!ops)
        return -EINVAL;
    if (ops == partition->ops)
        return 0;
    hits_apply(partition);
    if (policy_open(partition, ops, &policy) < 0)
        return -ENOMEM;
    partition->ops->walk_start(partition->policy);
    while ((block = partition->ops->walk_next(partition->policy)) != BLOCK_NONE)
        ops->insert(policy, block);
    partition->ops->destroy(partition->policy);
    partition->ops = ops;
    partition->policy = policy;
    return 0;
}
