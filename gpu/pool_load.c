/* SPDX-License-Identifier: Apache-2.0 */
/* What comes into the pool: blocks that were hit often enough or hinted at, by jobs of the fleet,
 * and what goes because the arena's block went. Owner only. */
#include <errno.h>

#include "gpu/form.h"
#include "gpu/pool_state.h"

struct kvr_form pool_form(const struct kvr_form *form)
{
    struct kvr_form packed = *form;

    packed.piece_step = form->piece_bytes;
    packed.kind_step = packed.piece_step * form->nr_pieces;
    packed.layer_step = packed.kind_step * form->nr_kinds;
    return packed;
}

/* Bytes as pieces that are not too large. nr_layers 0: that cannot be. */
static struct kvr_form form_of_bytes(uint32_t len)
{
    struct kvr_form form = {.nr_kinds = 1};
    uint32_t nr = (len + KVR_PIECE_MAX - 1) / KVR_PIECE_MAX;

    for (; nr > 0 && nr <= KVR_PIECES_MAX; nr++)
        if (len % (16 * nr) == 0) {
            form.nr_layers = 1;
            form.nr_pieces = (uint16_t)nr;
            form.piece_bytes = len / nr;
            break;
        }
    return pool_form(&form);
}

/* How the block lies in a slot, and what it takes there; 0: it is no such block. */
static uint64_t slot_form(const struct pool_block *block, struct kvr_form *form)
{
    *form = block->form.nr_layers ? pool_form(&block->form) : form_of_bytes(block->len);
    if (!form_valid(form, &block->conversion) ||
        form_packed_len(form, &block->conversion) != block->len)
        return 0;
    return form_span(form);
}

static unsigned class_of(const struct pool *pool, uint64_t bytes)
{
    unsigned i = 0;

    while (i < pool->options.nr_classes && pool->options.classes[i].slot_bytes < bytes)
        i++;
    return i;
}

/* *chosen: where to load to. -EEXIST, -ENODEV: as pool_load. */
static int device_choose(struct pool *pool, int device, uint64_t ref, unsigned class,
                         struct pool_device **chosen)
{
    *chosen = NULL;
    for (unsigned i = 0; i < pool->nr_devices; i++) {
        struct pool_device *at = &pool->devices[i];

        if (device != GPU_ANY && (unsigned)device != at->number)
            continue;
        if (slot_find(pool, ref, i))
            return -EEXIST;
        if ((!*chosen || at->shelves[class].nr_free > (*chosen)->shelves[class].nr_free) &&
            device_is_up(pool, at))
            *chosen = at;
    }
    return *chosen ? 0 : -ENODEV;
}

/* The arena's block is pinned. */
static int load_begin(struct pool *pool, struct pool_device *device, unsigned class,
                      const struct pool_block *block, const struct kvr_form *form)
{
    struct slot *slot = slot_take(pool, &device->shelves[class]);
    struct load *load = &pool->loads[pool->free_load];

    if (!slot) {
        counter_add(&device->stats.no_slot, 1);
        return -ENOSPC;
    }
    load->owner.gone = 0;
    load->job = (struct gpu_job){.direction = GPU_LOAD,
                                 .priority = block->priority,
                                 .device = (int16_t)device->number,
                                 .owner = &load->owner,
                                 .region = device->region,
                                 .region_off = slot_offset(pool, slot),
                                 .near = block->near,
                                 .near_len = block->len,
                                 .form = *form,
                                 .conversion = block->conversion};
    load->lost = gpu_region_lost(device->region);
    if (!gpu_push(pool->options.fleet, pool->options.producer, &load->job)) {
        counter_add(&pool->totals.busy, 1);
        return -EBUSY;
    }
    pool->free_load = load->next;
    pool->nr_loading++;
    load->slot = slot_number(pool, slot);
    slot_begin(pool, slot, block->ref, (uint32_t)form_span(form));
    count_clear(pool, block->ref);
    return 0;
}

int pool_load(struct pool *pool, int device, const struct pool_block *block)
{
    struct kvr_form form;
    uint64_t bytes = slot_form(block, &form);
    unsigned class = class_of(pool, bytes);
    struct pool_device *chosen;
    int rc;

    if (pool->stopped)
        return -ESHUTDOWN;
    if (bytes == 0 || class == pool->options.nr_classes) {
        counter_add(&pool->totals.too_large, 1);
        return -EFBIG;
    }
    slots_lost(pool);
    rc = device_choose(pool, device, block->ref, class, &chosen);
    if (rc < 0)
        return rc;
    if (pool->free_load == SLOT_NONE) {
        counter_add(&pool->totals.busy, 1);
        return -EBUSY;
    }
    if (!pool->options.pin(pool->options.context, block->ref)) {
        counter_add(&pool->totals.stale, 1);
        return -ESTALE;
    }
    rc = load_begin(pool, chosen, class, block, &form);
    if (rc < 0)
        pool->options.unpin(pool->options.context, block->ref);
    return rc;
}

bool pool_hit(struct pool *pool, int device, const struct pool_block *block)
{
    uint32_t hits = pool->options.promote_hits;

    return hits > 0 && count_hit(pool, block->ref) >= hits && pool_load(pool, device, block) == 0;
}

bool pool_take(struct pool *pool, struct gpu_job *job)
{
    uintptr_t at = (uintptr_t)job, first = (uintptr_t)pool->loads;
    struct load *load = (struct load *)(void *)job;
    struct pool_device *device;
    struct slot *slot;
    bool good;

    if (at < first || at >= first + pool->options.loads_max * sizeof(*load))
        return false;
    slot = &pool->slots[load->slot];
    device = device_of(pool, slot);
    good = job->status == KVR_OK && gpu_region_lost(device->region) == load->lost;
    counter_add(good ? &device->stats.loads : &device->stats.loads_failed, 1);
    if (good)
        counter_add(&device->stats.loaded_bytes, slot->bytes);
    pool->options.unpin(pool->options.context, slot->ref);
    slot_loaded(pool, slot, good);
    load->slot = SLOT_NONE;
    load->next = pool->free_load;
    pool->free_load = (uint32_t)(load - pool->loads);
    pool->nr_loading--;
    return true;
}

/* Relaxed: the job ends as CANCELED some time, or well. */
static void load_cancel(struct load *load)
{
    __atomic_store_n(&load->owner.gone, 1, __ATOMIC_RELAXED);
}

static void load_cancel_of(struct pool *pool, const struct slot *slot)
{
    for (uint32_t i = 0; i < pool->options.loads_max; i++)
        if (pool->loads[i].slot == slot_number(pool, slot))
            load_cancel(&pool->loads[i]);
}

void pool_forget(struct pool *pool, uint64_t ref)
{
    count_clear(pool, ref);
    for (unsigned i = 0; i < pool->nr_devices; i++) {
        struct slot *slot = slot_find(pool, ref, i);

        if (!slot)
            continue;
        if (slot->state == SLOT_LOADING)
            load_cancel_of(pool, slot);
        slot_forget(pool, slot);
        counter_add(&pool->devices[i].stats.forgotten, 1);
    }
}

uint32_t pool_stop(struct pool *pool)
{
    pool->stopped = true;
    for (uint32_t i = 0; i < pool->options.loads_max; i++)
        if (pool->loads[i].slot != SLOT_NONE)
            load_cancel(&pool->loads[i]);
    return pool->nr_loading;
}
