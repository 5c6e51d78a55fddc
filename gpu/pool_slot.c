/* SPDX-License-Identifier: Apache-2.0 */
/* Slots of the pool: found by reference and device, filled, read, given up. The one place where a
 * slot's state changes. Owner only. */
#include "gpu/pool_state.h"

#define WALK_MAX 64u /* victims looked at, of which all but the last are pinned */

static uint32_t hash_of(uint64_t ref, unsigned device)
{
    uint64_t x = (ref ^ (uint64_t)device << 59) * 0x9e3779b97f4a7c15ull;

    return (uint32_t)((x ^ x >> 29) * 0xbf58476d1ce4e5b9ull >> 32);
}

static uint32_t home_of(const struct pool *pool, const struct slot *slot)
{
    return hash_of(slot->ref, slot->device) & pool->table_mask;
}

/* The entry of the copy, or the empty one where it would be. */
static uint32_t entry_of(const struct pool *pool, uint64_t ref, unsigned device)
{
    uint32_t at = hash_of(ref, device) & pool->table_mask;

    while (pool->table[at] != SLOT_NONE) {
        const struct slot *slot = &pool->slots[pool->table[at]];

        if (slot->ref == ref && slot->device == device)
            break;
        at = (at + 1) & pool->table_mask;
    }
    return at;
}

struct slot *slot_find(struct pool *pool, uint64_t ref, unsigned device)
{
    uint32_t number = pool->table[entry_of(pool, ref, device)];

    return number == SLOT_NONE ? NULL : &pool->slots[number];
}

/* Entries behind the hole move up, unless that were before their home. */
static void table_remove(struct pool *pool, const struct slot *slot)
{
    uint32_t hole = entry_of(pool, slot->ref, slot->device), mask = pool->table_mask;

    for (uint32_t at = (hole + 1) & mask; pool->table[at] != SLOT_NONE; at = (at + 1) & mask) {
        uint32_t home = home_of(pool, &pool->slots[pool->table[at]]);

        if (((at - home) & mask) >= ((at - hole) & mask)) {
            pool->table[hole] = pool->table[at];
            hole = at;
        }
    }
    pool->table[hole] = SLOT_NONE;
}

static void slot_free(struct pool *pool, struct slot *slot)
{
    struct shelf *shelf = shelf_of(pool, slot);

    slot->state = SLOT_FREE;
    slot->next = shelf->free;
    shelf->free = slot_number(pool, slot);
    shelf->nr_free++;
}

/* It leaves the policy and the table. */
static void unready(struct pool *pool, struct slot *slot)
{
    struct shelf *shelf = shelf_of(pool, slot);
    struct pool_stats *stats = &device_of(pool, slot)->stats;

    pool->policy->remove(shelf->policy, slot_number(pool, slot) - shelf->first);
    table_remove(pool, slot);
    count_add(&stats->ready, -1);
    count_add(&stats->ready_bytes, -(int64_t)slot->bytes);
}

static struct slot *victim_of(struct pool *pool, struct shelf *shelf)
{
    pool->policy->walk_start(shelf->policy);
    for (unsigned i = 0; i < WALK_MAX; i++) {
        uint32_t at = pool->policy->walk_next(shelf->policy);

        if (at == BLOCK_NONE)
            break;
        if (pool->slots[shelf->first + at].pins == 0)
            return &pool->slots[shelf->first + at];
    }
    return NULL;
}

struct slot *slot_take(struct pool *pool, struct shelf *shelf)
{
    struct slot *victim;

    if (shelf->free == SLOT_NONE) {
        victim = victim_of(pool, shelf);
        if (!victim)
            return NULL;
        unready(pool, victim);
        slot_free(pool, victim);
        counter_add(&device_of(pool, victim)->stats.evictions, 1);
    }
    return &pool->slots[shelf->free];
}

void slot_begin(struct pool *pool, struct slot *slot, uint64_t ref, uint32_t bytes)
{
    struct shelf *shelf = shelf_of(pool, slot);

    shelf->free = slot->next;
    shelf->nr_free--;
    slot->ref = ref;
    slot->bytes = bytes;
    slot->state = SLOT_LOADING;
    pool->table[entry_of(pool, ref, slot->device)] = slot_number(pool, slot);
    counter_add(&device_of(pool, slot)->stats.loading, 1);
}

/* What a policy may want to know of the block. It has no hint here: meta is 0. */
static void describe(struct pool *pool, const struct slot *slot)
{
    pool->descs[slot_number(pool, slot)] = (struct block_desc){
        .generation = (uint32_t)(slot->ref >> 32), .state = BLOCK_SEALED, .value_len = slot->bytes};
}

void slot_loaded(struct pool *pool, struct slot *slot, bool good)
{
    struct shelf *shelf = shelf_of(pool, slot);
    struct pool_stats *stats = &device_of(pool, slot)->stats;

    count_add(&stats->loading, -1);
    if (slot->state == SLOT_LOADING && good) {
        slot->state = SLOT_READY;
        describe(pool, slot);
        pool->policy->insert(shelf->policy, slot_number(pool, slot) - shelf->first);
        counter_add(&stats->ready, 1);
        counter_add(&stats->ready_bytes, slot->bytes);
        return;
    }
    if (slot->state == SLOT_LOADING)
        table_remove(pool, slot);
    slot_free(pool, slot);
}

void slot_forget(struct pool *pool, struct slot *slot)
{
    if (slot->state == SLOT_LOADING) {
        table_remove(pool, slot);
        slot->state = SLOT_DOOMED;
        return;
    }
    unready(pool, slot);
    if (slot->pins)
        slot->state = SLOT_LEAVING;
    else
        slot_free(pool, slot);
}

void slot_pin(struct pool *pool, struct slot *slot)
{
    struct pool_stats *stats = &device_of(pool, slot)->stats;
    struct shelf *shelf = shelf_of(pool, slot);
    uint32_t at = slot_number(pool, slot) - shelf->first;

    slot->pins++;
    pool->policy->hits(shelf->policy, &at, 1);
    counter_add(&stats->pins, 1);
    counter_add(&stats->hits, 1);
    counter_add(&stats->bytes_hit, slot->bytes);
}

void slot_unpin(struct pool *pool, struct slot *slot)
{
    count_add(&device_of(pool, slot)->stats.pins, -1);
    if (--slot->pins == 0 && slot->state == SLOT_LEAVING)
        slot_free(pool, slot);
}

/* What is loading is left to its job's end, which looks at the same count. */
static void device_lost(struct pool *pool, struct pool_device *device)
{
    for (uint32_t i = 0; i < pool->nr_slots; i++) {
        struct slot *slot = &pool->slots[i];

        if (device_of(pool, slot) != device || slot->state != SLOT_READY)
            continue;
        slot_forget(pool, slot);
        counter_add(&device->stats.lost, 1);
    }
}

void slots_lost(struct pool *pool)
{
    for (unsigned i = 0; i < pool->nr_devices; i++) {
        struct pool_device *device = &pool->devices[i];
        uint32_t lost = gpu_region_lost(device->region);

        if (lost == device->lost)
            continue;
        device->lost = lost;
        device_lost(pool, device);
    }
}
