/* SPDX-License-Identifier: Apache-2.0 */
/* Everything a pool knows twice, compared. Owner only, slow, changes nothing but the policies'
 * walks. */
#include <errno.h>

#include "base/log.h"
#include "gpu/pool_state.h"

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            log_error("pool audit: " __VA_ARGS__);                                                 \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

/* What was counted by the walk over the slots. */
struct tally {
    uint64_t ready, loading, ready_bytes, pins;
};

static bool audit_slot(struct pool *pool, struct slot *slot, struct tally *tally)
{
    uint32_t number = slot_number(pool, slot);
    bool found = slot->ref && slot_find(pool, slot->ref, slot->device) == slot;
    bool listed = slot->state == SLOT_READY || slot->state == SLOT_LOADING;

    CHECK(found == listed, "slot %u in state %u, %s the table", number, slot->state,
          found ? "in" : "not in");
    CHECK(slot->pins == 0 || slot->state == SLOT_READY || slot->state == SLOT_LEAVING,
          "slot %u in state %u is pinned", number, slot->state);
    CHECK(slot->state != SLOT_LEAVING || slot->pins, "slot %u leaves and nobody reads it", number);
    CHECK(slot->state == SLOT_FREE || slot->bytes <= shelf_of(pool, slot)->slot_bytes,
          "slot %u holds %u bytes", number, slot->bytes);
    tally->ready += slot->state == SLOT_READY;
    tally->ready_bytes += slot->state == SLOT_READY ? slot->bytes : 0;
    tally->loading += slot->state == SLOT_LOADING || slot->state == SLOT_DOOMED;
    tally->pins += slot->pins;
    return true;
}

/* Free slots by list and by state; ready ones by policy and by state. */
static bool audit_shelf(struct pool *pool, const struct shelf *shelf)
{
    uint32_t nr_free = 0, nr_ready = 0, walked = 0, listed = 0, at;

    for (uint32_t i = shelf->first; i < shelf->first + shelf->nr; i++) {
        nr_free += pool->slots[i].state == SLOT_FREE;
        nr_ready += pool->slots[i].state == SLOT_READY;
    }
    for (at = shelf->free; at != SLOT_NONE && listed <= shelf->nr; at = pool->slots[at].next) {
        CHECK(at >= shelf->first && at - shelf->first < shelf->nr &&
                  pool->slots[at].state == SLOT_FREE,
              "slot %u is on the list of free ones", at);
        listed++;
    }
    CHECK(listed == nr_free && shelf->nr_free == nr_free, "%u slots free, %u listed, %u counted",
          nr_free, listed, shelf->nr_free);
    pool->policy->walk_start(shelf->policy);
    while (walked <= shelf->nr && (at = pool->policy->walk_next(shelf->policy)) != BLOCK_NONE) {
        CHECK(at < shelf->nr && pool->slots[shelf->first + at].state == SLOT_READY,
              "the policy knows slot %u", at);
        walked++;
    }
    CHECK(walked == nr_ready, "%u slots are ready, the policy has %u", nr_ready, walked);
    return true;
}

static bool audit_device(struct pool *pool, unsigned index)
{
    struct pool_device *device = &pool->devices[index];
    struct tally tally = {0};

    for (uint32_t i = 0; i < pool->nr_slots; i++)
        if (pool->slots[i].device == index && !audit_slot(pool, &pool->slots[i], &tally))
            return false;
    for (unsigned i = 0; i < pool->options.nr_classes; i++)
        if (!audit_shelf(pool, &device->shelves[i]))
            return false;
    CHECK(tally.ready == device->stats.ready && tally.ready_bytes == device->stats.ready_bytes &&
              tally.loading == device->stats.loading && tally.pins == device->stats.pins,
          "counters of device %u", device->number);
    return true;
}

/* Each load in use writes a slot that says so. */
static bool audit_loads(struct pool *pool)
{
    uint64_t loading = 0;
    uint32_t nr = 0;

    for (uint32_t i = 0; i < pool->options.loads_max; i++) {
        const struct load *load = &pool->loads[i];

        if (load->slot == SLOT_NONE)
            continue;
        CHECK(pool->slots[load->slot].state == SLOT_LOADING ||
                  pool->slots[load->slot].state == SLOT_DOOMED,
              "slot %u is written in state %u", load->slot, pool->slots[load->slot].state);
        nr++;
    }
    for (unsigned i = 0; i < pool->nr_devices; i++)
        loading += pool->devices[i].stats.loading;
    CHECK(nr == pool->nr_loading && nr == loading, "%u loads, %u counted", nr, pool->nr_loading);
    return true;
}

static bool audit_holders(struct pool *pool)
{
    uint64_t pins = 0;

    for (uint32_t i = 0; i < pool->options.nr_holders; i++) {
        uint32_t nr = 0, at = pool->holders[i].pins.head;

        for (; at != BLOCK_NONE && nr <= pool->options.pins_max; at = pool->pin_links[at].next) {
            CHECK(pool->pins[at].holder == i && pool->pins[at].slot < pool->nr_slots &&
                      pool->slots[pool->pins[at].slot].pins > 0,
                  "pin %u of holder %u", at, i);
            nr++;
        }
        CHECK(nr == pool->holders[i].nr, "holder %u has %u pins, %u counted", i, nr,
              pool->holders[i].nr);
        pins += nr;
    }
    for (unsigned i = 0; i < pool->nr_devices; i++)
        pins -= pool->devices[i].stats.pins;
    CHECK(pins == 0, "holders and devices disagree about pins");
    return true;
}

int pool_audit(struct pool *pool)
{
    uint32_t entries = 0;
    uint64_t found = 0;

    for (uint32_t i = 0; i <= pool->table_mask; i++)
        entries += pool->table[i] != SLOT_NONE;
    for (uint32_t i = 0; i < pool->nr_slots; i++)
        found += pool->slots[i].state == SLOT_READY || pool->slots[i].state == SLOT_LOADING;
    if (entries != found) {
        log_error("pool audit: %u entries in the table", entries);
        return -EUCLEAN;
    }
    for (unsigned i = 0; i < pool->nr_devices; i++)
        if (!audit_device(pool, i))
            return -EUCLEAN;
    return audit_loads(pool) && audit_holders(pool) ? 0 : -EUCLEAN;
}
