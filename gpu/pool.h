/* SPDX-License-Identifier: Apache-2.0 */
/* The first tier: copies of sealed blocks in the memory of devices. It is a cache of the arena's
 * immutable blocks, by reference: an overwritten key has a new one, so no copy is ever out of date;
 * whoever unlinks a block says so (pool_forget) and the memory comes back.
 *
 * Each device has one region, cut into shelves of equal slots, a shelf for each class. A slot:
 *   free -> loading (a GPU_LOAD job writes it) -> ready (the shelf's policy orders it)
 *        -> free, if it is evicted or forgotten while nobody reads it
 *        -> leaving, if it is forgotten while somebody does -> free with the last pin
 * Readers hold pins: jobs that copy out of it (GPU_MOVE with from, from_off of a place), and
 * clients that read the exported region. A pinned slot is not evicted, and none is written before
 * its readers ended.
 *
 * Thread: one, the pool's owner: the fleet's producer options.producer, in the dataplane a poll
 * core with a pool for the blocks of its partitions. It calls everything here but what says
 * otherwise. Nothing there allocates, locks, waits or makes a system call. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gpu/fleet.h"
#include "shm/evict.h"

#define POOL_CLASSES_MAX 8u
#define POOL_ALIGN 256u /* slots begin and end at multiples of it */

struct pool;

/* A sealed block of the arena. */
struct pool_block {
    uint64_t ref;     /* block_ref(): with its generation */
    uint8_t *near;    /* the value */
    uint32_t len;     /* of it; a multiple of 16 */
    uint8_t priority; /* of the load; enum kvr_priority */
    /* nr_layers 0: bytes, as they are. Else the value is a block of this form, and with conversion
     * it lies in the slot converted to 16 bits an element. Steps do not matter. */
    struct kvr_form form;
    struct kvr_conversion conversion;
};

struct pool_class {
    uint32_t slot_bytes; /* a multiple of POOL_ALIGN; larger than the class before */
    uint32_t nr_slots;   /* on each device */
};

/* Zero it first. */
struct pool_options {
    struct gpu_fleet *fleet;
    unsigned producer;
    uint32_t devices; /* bit d: on device d, too; 0 = on all that there are */
    const struct policy_ops *policy;
    struct pool_class classes[POOL_CLASSES_MAX];
    unsigned nr_classes;
    uint32_t promote_hits;    /* pool_hit loads from so many hits on; 0 = never */
    uint32_t loads_max;       /* at once; 0 = 64 */
    uint32_t nr_holders;      /* of pins, numbers from 0; 0 = 1 */
    uint32_t pins_max;        /* of all holders; 0 = 4096 */
    uint32_t holder_pins_max; /* of each; 0 = pins_max */
    /* The arena's block stays until unpin, which comes once for each pin, on the same thread.
     * pin: false if it is not there any more. */
    bool (*pin)(void *context, uint64_t ref);
    void (*unpin)(void *context, uint64_t ref);
    void *context;
};

/* A thread that is no producer (takes the fleet's lock). -EINVAL, -ENOMEM, -ENODEV (none of the
 * devices is there), or what gpu_region_alloc says. */
[[nodiscard]] int pool_create(const struct pool_options *options, struct pool **out);
/* The same; when pool_stop has said 0. What was exported stays readable for who imported it. */
void pool_destroy(struct pool *pool);

/* Where a copy lies. Valid until it is unpinned. */
struct pool_place {
    uint64_t pin;
    struct gpu_region *region;
    uint64_t offset; /* in it */
    uint32_t bytes;
    int16_t device;
    uint32_t lost; /* gpu_region_lost() then; handles exported before it was reached do not do */
};

/* Looks for a copy on device, or on any if GPU_ANY, and pins it for holder. Counts as a hit for the
 * policy. -ENOENT: none, still on its way, or on a device that has failed; -ENOBUFS: too many pins;
 * -EINVAL: no such holder. */
[[nodiscard]] int pool_pin(struct pool *pool, uint64_t ref, int device, uint32_t holder,
                           struct pool_place *place);
/* When the reader has ended. -EINVAL: that holder has no such pin (numbers from clients need no
 * other check). -EIO: the bytes were lost with the device meanwhile: what was read from there since
 * pool_pin may be anything. */
int pool_unpin(struct pool *pool, uint32_t holder, uint64_t pin);
/* A holder is gone: all its pins are. Returns how many. */
uint32_t pool_release(struct pool *pool, uint32_t holder);

/* A hit in the arena: from promote_hits of them on, as pool_load. Returns whether a load began. */
bool pool_hit(struct pool *pool, int device, const struct pool_block *block);
/* Begins to load a copy, evicting others where it must. GPU_ANY: unless there is one on any device,
 * to the one with the most free slots.
 * -EEXIST: there, or on its way. -EFBIG: no class is large enough, or len is not what a slot takes.
 * -ENOSPC: all slots are pinned or loading. -EBUSY: as many loads as may be, or the fleet takes no
 * more. -ESTALE: the arena would not pin it. -ENODEV: that device has no pool, or has
 * failed. -ESHUTDOWN. */
int pool_load(struct pool *pool, int device, const struct pool_block *block);
/* A job of the producer that gpu_pop returned. false: not the pool's. */
bool pool_take(struct pool *pool, struct gpu_job *job);

/* The block was unlinked in the arena: overwritten, deleted, evicted there or expired. */
void pool_forget(struct pool *pool, uint64_t ref);
/* Begins no more loads and cancels those that wait. Returns how many there still are: pop and take
 * until there is none. */
uint32_t pool_stop(struct pool *pool);

/* How a block of that form lies in a slot: for from_form of jobs. */
struct kvr_form pool_form(const struct kvr_form *form);

/* Not the owner, nor another producer (takes the fleet's lock). The memory that slots of device lie
 * in, for another process; *lost: gpu_region_lost() of what it names. CUDA and memfds give no
 * read-only access: for clients that may write the arena, too. -ENODEV, or as the backend's export.
 */
[[nodiscard]] int pool_export(struct pool *pool, unsigned device, struct gpu_handle *handle,
                              uint32_t *lost);

/* Written by the owner, read by any thread. Of one device. */
struct pool_stats {
    uint64_t hits, bytes_hit;       /* pinned, and what they could read */
    uint64_t loads, loaded_bytes;   /* that ended well */
    uint64_t loads_failed;          /* that did not, for whatever reason */
    uint64_t evictions, forgotten;  /* copies that went */
    uint64_t lost;                  /* with the device's memory */
    uint64_t no_slot;               /* loads refused: all slots were pinned or loading */
    uint64_t slots, ready, loading; /* now */
    uint64_t ready_bytes, pins;
};
/* Of none in particular. */
struct pool_totals {
    uint64_t misses;                      /* of pool_pin */
    uint64_t too_large, busy, stale;      /* loads refused */
    uint64_t pins_refused, pins_released; /* too many; with their holder */
};
/* Bytes of all slots of a device. */
uint64_t pool_bytes(const struct pool *pool);
/* -ENODEV. Any thread. */
int pool_stats(const struct pool *pool, unsigned device, struct pool_stats *stats);
void pool_totals(const struct pool *pool, struct pool_totals *totals);

/* Walks everything and checks that slots, table, policies, pins and counters agree. 0, or -EUCLEAN
 * with the first contradiction logged. For tests. */
[[nodiscard]] int pool_audit(struct pool *pool);
