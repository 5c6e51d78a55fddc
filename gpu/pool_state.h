/* SPDX-License-Identifier: Apache-2.0 */
/* What a pool consists of; for pool*.c only. The owner writes everything, but for regions, which
 * are set once by who creates it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/counters.h"
#include "gpu/pool.h"
#include "shm/order.h"

#define SLOT_NONE UINT32_MAX
#define COUNT_WAYS 4u

enum slot_state {
    SLOT_FREE,    /* in its shelf's list */
    SLOT_LOADING, /* a job writes it; in the table */
    SLOT_DOOMED,  /* a job writes it; forgotten */
    SLOT_READY,   /* in the table and in the policy */
    SLOT_LEAVING  /* pinned; forgotten */
};

struct slot {
    uint64_t ref;
    uint32_t bytes; /* that it holds */
    uint32_t pins;
    uint32_t next;  /* free: the next one of its shelf */
    uint8_t state;  /* enum slot_state */
    uint8_t device; /* index in pool.devices */
    uint8_t class;
};

/* Slots of one size on one device; their numbers follow each other, and so do their places. */
struct shelf {
    uint32_t first, nr, slot_bytes;
    uint32_t free, nr_free;
    uint64_t offset;       /* of the first one, in the region */
    struct policy *policy; /* of the ready ones, numbered from first */
};

struct pool_device {
    unsigned number; /* the fleet's */
    struct gpu_region *region;
    uint32_t lost; /* gpu_region_lost() that was dealt with */
    struct shelf shelves[POOL_CLASSES_MAX];
    struct pool_stats stats;
};

struct load {
    struct gpu_job job; /* first: pool_take finds the load by it */
    struct gpu_owner owner;
    uint32_t slot; /* SLOT_NONE: not in use */
    uint32_t lost; /* gpu_region_lost() when it was pushed */
    uint32_t next; /* not in use: the next one */
};

/* A number that somebody may hold for too long: (generation, index). */
struct pin {
    uint32_t generation; /* from 1, of this use */
    uint32_t slot;       /* SLOT_NONE: not in use */
    uint32_t holder;
    uint32_t lost; /* gpu_region_lost() when it was taken */
};

struct holder {
    struct order pins;
    uint32_t nr;
};

/* Hits of a block that has no copy. */
struct count {
    uint64_t ref; /* 0: none */
    uint32_t hits;
};

struct pool {
    struct pool_options options;
    const struct policy_ops *policy;
    unsigned nr_devices;
    struct pool_device devices[GPU_DEVICES_MAX];

    uint32_t nr_slots;
    struct slot *slots;
    struct block_desc *descs; /* of slots, as policies expect them */
    uint32_t *table;          /* of slots by reference and device; open addressing */
    uint32_t table_mask;

    struct load *loads;
    uint32_t free_load, nr_loading;
    bool stopped;

    struct pin *pins;
    struct order_link *pin_links;
    struct order free_pins;
    struct holder *holders;

    struct count *counts; /* sets of COUNT_WAYS */
    uint32_t counts_mask; /* of sets */
    struct pool_totals totals;
};

static inline struct pool_device *device_of(struct pool *pool, const struct slot *slot)
{
    return &pool->devices[slot->device];
}

static inline struct shelf *shelf_of(struct pool *pool, const struct slot *slot)
{
    return &device_of(pool, slot)->shelves[slot->class];
}

/* Else jobs come back at once. */
static inline bool device_is_up(const struct pool *pool, const struct pool_device *device)
{
    return gpu_region_address(device->region, device->number) != 0 &&
           gpu_device_state(pool->options.fleet, device->number) == GPU_UP;
}

static inline uint32_t slot_number(const struct pool *pool, const struct slot *slot)
{
    return (uint32_t)(slot - pool->slots);
}

static inline uint64_t slot_offset(struct pool *pool, const struct slot *slot)
{
    const struct shelf *shelf = shelf_of(pool, slot);

    return shelf->offset + (uint64_t)(slot_number(pool, slot) - shelf->first) * shelf->slot_bytes;
}

static inline void count_add(uint64_t *counter, int64_t n)
{
    counter_set(counter, *counter + (uint64_t)n);
}

/* pool_slot.c */

/* The copy, loading or ready, on the device of that index; NULL: none. */
struct slot *slot_find(struct pool *pool, uint64_t ref, unsigned device);
/* A free slot of the shelf, evicting what the policy gives up; NULL: none. It stays free until
 * slot_begin. */
struct slot *slot_take(struct pool *pool, struct shelf *shelf);
void slot_begin(struct pool *pool, struct slot *slot, uint64_t ref, uint32_t bytes);
/* Its job ended: the bytes are there, or not. */
void slot_loaded(struct pool *pool, struct slot *slot, bool good);
/* Nobody finds it any more; free as soon as nobody reads or writes it. Of one that is found. */
void slot_forget(struct pool *pool, struct slot *slot);
void slot_pin(struct pool *pool, struct slot *slot);
void slot_unpin(struct pool *pool, struct slot *slot);
/* Forgets what devices lost since the last call. */
void slots_lost(struct pool *pool);

/* pool_count.c: one hit more; their number, as far as it is known. */
uint32_t count_hit(struct pool *pool, uint64_t ref);
void count_clear(struct pool *pool, uint64_t ref);

/* pool_pin.c */
void pins_clear(struct pool *pool);
