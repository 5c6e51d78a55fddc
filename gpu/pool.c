/* SPDX-License-Identifier: Apache-2.0 */
/* A pool's beginning and end, and what is known of it. Made and destroyed by a thread that is no
 * producer, while the owner calls nothing. */
#include "gpu/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/pool_state.h"

#define LOADS_DEFAULT 64u
#define PINS_DEFAULT 4096u
#define SLOTS_MAX (1u << 30)
#define COUNTS_OF_A_SLOT 8u /* blocks that are counted, for each that could be in the pool */

/* Slots of one device and their bytes; 0: the classes are not what they should be. */
static uint32_t slots_of(const struct pool_options *options, uint64_t *bytes)
{
    uint64_t nr = 0;

    *bytes = 0;
    for (unsigned i = 0; i < options->nr_classes; i++) {
        const struct pool_class *class = &options->classes[i];

        if (class->slot_bytes == 0 || class->slot_bytes % POOL_ALIGN || class->nr_slots == 0 ||
            (i > 0 && class->slot_bytes <= options->classes[i - 1].slot_bytes))
            return 0;
        nr += class->nr_slots;
        *bytes += (uint64_t) class->nr_slots * class->slot_bytes;
    }
    return nr <= SLOTS_MAX / GPU_DEVICES_MAX ? (uint32_t)nr : 0;
}

static uint32_t power_of_two(uint64_t at_least)
{
    uint32_t n = 16;

    while (n < at_least && n < 1u << 31)
        n *= 2;
    return n;
}

/* Policies see numbers from 0 in each shelf. */
static int shelf_create(struct pool *pool, unsigned device, unsigned class, uint32_t first,
                        uint64_t offset)
{
    static const struct block_meta no_hint;
    struct shelf *shelf = &pool->devices[device].shelves[class];
    const struct pool_class *from = &pool->options.classes[class];
    struct policy_env env = {
        .nr_blocks = from->nr_slots, .descs = pool->descs + first, .metas = &no_hint};

    *shelf = (struct shelf){.first = first,
                            .nr = from->nr_slots,
                            .slot_bytes = from->slot_bytes,
                            .free = first,
                            .nr_free = from->nr_slots,
                            .offset = offset};
    for (uint32_t i = first; i < first + shelf->nr; i++)
        pool->slots[i] = (struct slot){.next = i + 1 < first + shelf->nr ? i + 1 : SLOT_NONE,
                                       .device = (uint8_t)device,
                                       .class = (uint8_t) class};
    return pool->policy->create(&env, &shelf->policy);
}

static int device_create(struct pool *pool, unsigned index, uint64_t bytes)
{
    struct pool_device *device = &pool->devices[index];
    uint32_t first = pool->nr_slots / pool->nr_devices * index;
    uint64_t offset = 0;
    int rc = gpu_region_alloc(pool->options.fleet, (int)device->number, bytes, &device->region);

    if (rc < 0)
        return rc;
    device->lost = gpu_region_lost(device->region);
    counter_set(&device->stats.slots, pool->nr_slots / pool->nr_devices);
    for (unsigned i = 0; i < pool->options.nr_classes && rc == 0; i++) {
        const struct pool_class *class = &pool->options.classes[i];

        rc = shelf_create(pool, index, i, first, offset);
        first += class->nr_slots;
        offset += (uint64_t) class->nr_slots * class->slot_bytes;
    }
    return rc;
}

static int tables_create(struct pool *pool)
{
    const struct pool_options *options = &pool->options;
    uint32_t table = power_of_two(2ull * pool->nr_slots);
    uint32_t sets = power_of_two((uint64_t)COUNTS_OF_A_SLOT * pool->nr_slots / COUNT_WAYS);

    pool->slots = calloc(pool->nr_slots, sizeof(*pool->slots));
    pool->descs = aligned_alloc(CACHE_LINE, pool->nr_slots * sizeof(*pool->descs));
    pool->table = malloc(table * sizeof(*pool->table));
    pool->loads = calloc(options->loads_max, sizeof(*pool->loads));
    pool->pins = calloc(options->pins_max, sizeof(*pool->pins));
    pool->pin_links = calloc(options->pins_max, sizeof(*pool->pin_links));
    pool->holders = calloc(options->nr_holders, sizeof(*pool->holders));
    pool->counts = calloc((size_t)sets * COUNT_WAYS, sizeof(*pool->counts));
    if (!pool->slots || !pool->descs || !pool->table || !pool->loads || !pool->pins ||
        !pool->pin_links || !pool->holders || !pool->counts)
        return -ENOMEM;
    memset(pool->descs, 0, pool->nr_slots * sizeof(*pool->descs));
    memset(pool->table, 0xff, table * sizeof(*pool->table));
    pool->table_mask = table - 1;
    pool->counts_mask = sets - 1;
    for (uint32_t i = 0; i < options->loads_max; i++) {
        pool->loads[i].slot = SLOT_NONE;
        pool->loads[i].next = i + 1 < options->loads_max ? i + 1 : SLOT_NONE;
    }
    pins_clear(pool);
    return 0;
}

static bool options_fill(struct pool_options *options)
{
    options->loads_max = options->loads_max ? options->loads_max : LOADS_DEFAULT;
    options->pins_max = options->pins_max ? options->pins_max : PINS_DEFAULT;
    options->nr_holders = options->nr_holders ? options->nr_holders : 1;
    if (options->holder_pins_max == 0)
        options->holder_pins_max = options->pins_max;
    return options->fleet && options->policy && options->pin && options->unpin &&
           options->nr_classes > 0 && options->nr_classes <= POOL_CLASSES_MAX;
}

/* A device that has failed counts, too: it may come back. */
static void devices_choose(struct pool *pool)
{
    uint32_t wanted = pool->options.devices ? pool->options.devices : UINT32_MAX;

    for (unsigned i = 0; i < gpu_fleet_size(pool->options.fleet) && i < GPU_DEVICES_MAX; i++)
        if (wanted >> i & 1)
            pool->devices[pool->nr_devices++].number = i;
}

int pool_create(const struct pool_options *options, struct pool **out)
{
    struct pool *pool = calloc(1, sizeof(*pool));
    uint64_t bytes = 0;
    int rc = -EINVAL;

    if (!pool)
        return -ENOMEM;
    pool->options = *options;
    pool->policy = options->policy;
    if (!options_fill(&pool->options))
        goto fail;
    pool->nr_slots = slots_of(&pool->options, &bytes);
    if (pool->nr_slots == 0)
        goto fail;
    rc = -ENODEV;
    devices_choose(pool);
    if (pool->nr_devices == 0)
        goto fail;
    pool->nr_slots *= pool->nr_devices;
    rc = tables_create(pool);
    for (unsigned i = 0; i < pool->nr_devices && rc == 0; i++)
        rc = device_create(pool, i, bytes);
    if (rc < 0)
        goto fail;
    *out = pool;
    return 0;
fail:
    pool_destroy(pool);
    return rc;
}

void pool_destroy(struct pool *pool)
{
    for (unsigned i = 0; i < pool->nr_devices; i++) {
        struct pool_device *device = &pool->devices[i];

        for (unsigned s = 0; s < POOL_CLASSES_MAX; s++)
            if (device->shelves[s].policy)
                pool->policy->destroy(device->shelves[s].policy);
        if (device->region)
            gpu_region_close(pool->options.fleet, device->region);
    }
    free(pool->slots);
    free(pool->descs);
    free(pool->table);
    free(pool->loads);
    free(pool->pins);
    free(pool->pin_links);
    free(pool->holders);
    free(pool->counts);
    free(pool);
}

static const struct pool_device *device_numbered(const struct pool *pool, unsigned number)
{
    for (unsigned i = 0; i < pool->nr_devices; i++)
        if (pool->devices[i].number == number)
            return &pool->devices[i];
    return NULL;
}

int pool_export(struct pool *pool, unsigned device, struct gpu_handle *handle, uint32_t *lost)
{
    const struct pool_device *at = device_numbered(pool, device);

    if (!at)
        return -ENODEV;
    return gpu_region_export(pool->options.fleet, at->region, handle, lost);
}

/* Structs of counters, word by word. */
static void counters_copy(uint64_t *to, const uint64_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(*to); i++)
        to[i] = counter_read(&from[i]);
}

uint64_t pool_bytes(const struct pool *pool)
{
    uint64_t bytes = 0;

    (void)slots_of(&pool->options, &bytes);
    return bytes;
}

int pool_stats(const struct pool *pool, unsigned device, struct pool_stats *stats)
{
    const struct pool_device *at = device_numbered(pool, device);

    if (!at)
        return -ENODEV;
    counters_copy((uint64_t *)stats, (const uint64_t *)&at->stats, sizeof(*stats));
    return 0;
}

void pool_totals(const struct pool *pool, struct pool_totals *totals)
{
    counters_copy((uint64_t *)totals, (const uint64_t *)&pool->totals, sizeof(*totals));
}
