/* SPDX-License-Identifier: Apache-2.0 */
/* Pins of the pool's slots, by holder, so that a holder that is gone leaves none. A pin's number
 * names one use of it, so that a wrong or late one is refused. Owner only. */
#include <errno.h>

#include "gpu/pool_state.h"

static uint64_t pin_number(const struct pool *pool, const struct pin *pin)
{
    return (uint64_t)pin->generation << 32 | (uint32_t)(pin - pool->pins);
}

void pins_clear(struct pool *pool)
{
    order_clear(&pool->free_pins);
    for (uint32_t i = 0; i < pool->options.pins_max; i++) {
        pool->pins[i] = (struct pin){.generation = 1, .slot = SLOT_NONE};
        order_append(&pool->free_pins, pool->pin_links, i);
    }
    for (uint32_t i = 0; i < pool->options.nr_holders; i++)
        order_clear(&pool->holders[i].pins);
}

/* Ready, on the device of that number or on any. */
static struct slot *find_ready(struct pool *pool, uint64_t ref, int device)
{
    for (unsigned i = 0; i < pool->nr_devices; i++) {
        struct slot *slot;

        if (device != GPU_ANY && (unsigned)device != pool->devices[i].number)
            continue;
        slot = slot_find(pool, ref, i);
        if (slot && slot->state == SLOT_READY && device_is_up(pool, &pool->devices[i]))
            return slot;
    }
    return NULL;
}

static struct pin *pin_take(struct pool *pool, struct slot *slot, uint32_t holder)
{
    uint32_t index = order_pop(&pool->free_pins, pool->pin_links);
    struct pin *pin = &pool->pins[index];

    pin->slot = slot_number(pool, slot);
    pin->holder = holder;
    pin->lost = device_of(pool, slot)->lost;
    order_append(&pool->holders[holder].pins, pool->pin_links, index);
    pool->holders[holder].nr++;
    slot_pin(pool, slot);
    return pin;
}

int pool_pin(struct pool *pool, uint64_t ref, int device, uint32_t holder, struct pool_place *place)
{
    const struct pool_device *at;
    struct slot *slot;
    struct pin *pin;

    if (holder >= pool->options.nr_holders)
        return -EINVAL;
    slots_lost(pool);
    slot = find_ready(pool, ref, device);
    if (!slot) {
        counter_add(&pool->totals.misses, 1);
        return -ENOENT;
    }
    if (pool->free_pins.head == BLOCK_NONE ||
        pool->holders[holder].nr >= pool->options.holder_pins_max) {
        counter_add(&pool->totals.pins_refused, 1);
        return -ENOBUFS;
    }
    pin = pin_take(pool, slot, holder);
    at = device_of(pool, slot);
    *place = (struct pool_place){.pin = pin_number(pool, pin),
                                 .region = at->region,
                                 .offset = slot_offset(pool, slot),
                                 .bytes = slot->bytes,
                                 .device = (int16_t)at->number,
                                 .lost = pin->lost};
    return 0;
}

/* 0, or -EIO: see pool_unpin. */
static int pin_give(struct pool *pool, struct pin *pin)
{
    uint32_t index = (uint32_t)(pin - pool->pins);
    struct slot *slot = &pool->slots[pin->slot];
    int rc = gpu_region_lost(device_of(pool, slot)->region) == pin->lost ? 0 : -EIO;

    order_remove(&pool->holders[pin->holder].pins, pool->pin_links, index);
    pool->holders[pin->holder].nr--;
    pin->slot = SLOT_NONE;
    pin->generation += pin->generation == UINT32_MAX ? 2 : 1;
    order_append(&pool->free_pins, pool->pin_links, index);
    slot_unpin(pool, slot);
    return rc;
}

int pool_unpin(struct pool *pool, uint32_t holder, uint64_t number)
{
    struct pin *pin;

    if ((uint32_t)number >= pool->options.pins_max)
        return -EINVAL;
    pin = &pool->pins[(uint32_t)number];
    if (pin->slot == SLOT_NONE || pin->generation != number >> 32 || pin->holder != holder)
        return -EINVAL;
    return pin_give(pool, pin);
}

uint32_t pool_release(struct pool *pool, uint32_t holder)
{
    uint32_t nr = 0;

    if (holder >= pool->options.nr_holders)
        return 0;
    for (; pool->holders[holder].nr > 0; nr++)
        (void)pin_give(pool, &pool->pins[pool->holders[holder].pins.head]);
    counter_add(&pool->totals.pins_released, nr);
    return nr;
}
