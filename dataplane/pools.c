/* SPDX-License-Identifier: Apache-2.0 */
/* Makes and ends the pools, and tells of them. Main thread, but for the three calls by which a pool
 * and a core's partitions know of each other: the core's. Invariant: a partition tells its core's
 * pool of each block that it unlinks, so that a copy is never looked for under a block's next use.
 */
#include "dataplane/pools.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/local/local.h"
#include "gpu/pool.h"

#define CORE_PINS 4096u /* of the core's own jobs: no client takes them away */

/* ---- A core's partitions, as its pool sees them ---- */

static struct partition *partition_of(const struct core *core, uint64_t ref)
{
    return core->partitions[(uint32_t)ref / core->arena->maps[0].nr_blocks];
}

static bool pin(void *context, uint64_t ref)
{
    return partition_pin_ref(partition_of(context, ref), ref);
}

static void unpin(void *context, uint64_t ref)
{
    const struct core *core = context;

    partition_unpin(partition_of(core, ref), (uint32_t)ref % core->arena->maps[0].nr_blocks);
}

static void unlinked(void *context, uint64_t ref)
{
    const struct core *core = context;

    pool_forget(core->pool, ref);
}

static void watch(struct core *core, void (*told)(void *context, uint64_t ref))
{
    for (unsigned p = core->index; p < core->nr_partitions; p += core->nr_cores)
        partition_watch(core->partitions[p], told, core);
}

/* ---- Their making ---- */

/* The same share for each size and core. 0: the list is none, or a share holds no block. */
static unsigned classes_of(const struct settings *settings, unsigned nr_cores,
                           struct pool_class *classes)
{
    uint64_t sizes[POOL_CLASSES_MAX];
    const char *at = settings->gpu_pool_blocks;
    unsigned nr = 0;

    for (char *end; *at && nr < POOL_CLASSES_MAX; at = *end ? end + 1 : end) {
        sizes[nr++] = strtoull(at, &end, 10);
        if (end == at || (*end && *end != ','))
            return 0;
    }
    if (*at)
        return 0;
    for (unsigned i = 0; i < nr; i++) {
        uint64_t slots = sizes[i] ? settings->gpu_pool / nr_cores / nr / sizes[i] : 0;

        if (slots == 0 || slots > UINT32_MAX || sizes[i] > KVR_VALUE_MAX)
            return 0;
        classes[i] =
            (struct pool_class){.slot_bytes = (uint32_t)sizes[i], .nr_slots = (uint32_t)slots};
    }
    return nr;
}

/* Those that opened: one that has failed since may come back. */
static int devices_of(const struct settings *settings, struct gpu_fleet *fleet, uint32_t *devices,
                      struct fault *fault)
{
    struct gpu_device_stats stats;

    for (unsigned i = 0; i < gpu_fleet_size(fleet) && i < GPU_DEVICES_MAX; i++) {
        if (!gpu_fleet_device(fleet, i) || gpu_stats(fleet, i, &stats) < 0)
            continue;
        if (settings->gpu_pool > stats.info.memory_total)
            return fault_set(fault, -ENOMEM,
                             "gpu_pool: %.1f MiB is more than the %.1f MiB of memory that device "
                             "%u (%s) has",
                             (double)settings->gpu_pool / (1 << 20),
                             (double)stats.info.memory_total / (1 << 20), i, stats.info.where);
        *devices |= 1u << i;
    }
    return 0;
}

static int core_pool_create(const struct pool_options *options, struct core *core)
{
    struct pool_options own = *options;
    int rc;

    own.producer = core->index;
    own.context = core;
    rc = pool_create(&own, &core->pool);
    if (rc == 0)
        watch(core, unlinked);
    return rc;
}

static int create_all(const struct settings *settings, struct gpu_fleet *fleet, struct core **cores,
                      unsigned nr_cores, struct fault *fault)
{
    struct pool_options options = {.fleet = fleet,
                                   .policy = policy_find(settings->policy),
                                   .promote_hits = (uint32_t)settings->gpu_pool_promote_hits,
                                   .nr_holders = 1 + LOCAL_CLIENTS_MAX,
                                   .pins_max = CORE_PINS + LOCAL_CLIENTS_MAX * LOCAL_LOOKS_MAX,
                                   .holder_pins_max = CORE_PINS,
                                   .pin = pin,
                                   .unpin = unpin};
    int rc = devices_of(settings, fleet, &options.devices, fault);

    if (rc < 0)
        return rc;
    options.nr_classes = classes_of(settings, nr_cores, options.classes);
    if (options.nr_classes == 0)
        return fault_set(fault, -EINVAL,
                         "gpu_pool_blocks: %s is no list of sizes of which each core has one in "
                         "its share of gpu_pool",
                         settings->gpu_pool_blocks);
    for (unsigned i = 0; i < nr_cores && rc == 0; i++)
        rc = core_pool_create(&options, cores[i]);
    if (rc == 0)
        return 0;
    pools_stop(cores, nr_cores);
    return fault_set(fault, rc, "gpu_pool: no such pool of %.1f MiB: %s; set less, or 0",
                     (double)settings->gpu_pool / (1 << 20), strerror(-rc));
}

int pools_start(const struct settings *settings, struct gpu_fleet *fleet, struct core **cores,
                unsigned nr_cores, struct fault *fault)
{
    return settings->gpu_pool > 0 ? create_all(settings, fleet, cores, nr_cores, fault) : 0;
}

void pools_quiet(struct core **cores, unsigned nr_cores)
{
    for (unsigned i = 0; i < nr_cores; i++)
        if (cores[i]->pool)
            (void)pool_stop(cores[i]->pool);
}

void pools_stop(struct core **cores, unsigned nr_cores)
{
    for (unsigned i = 0; i < nr_cores; i++) {
        struct core *core = cores[i];

        if (!core->pool)
            continue;
        watch(core, NULL);
        pool_destroy(core->pool);
        core->pool = NULL;
    }
}

int pools_export(struct core **cores, unsigned nr_cores, unsigned core, unsigned device,
                 struct gpu_handle *handle, uint32_t *lost)
{
    if (core >= nr_cores)
        return -EINVAL;
    if (!cores[core]->pool)
        return -ENODEV;
    return pool_export(cores[core]->pool, device, handle, lost);
}

/* ---- What is told ---- */

static void add(struct pool_stats *sum, const struct pool_stats *one)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)one;

    for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
        to[i] += from[i];
}

static void tell(struct gpu_row *row, const struct pool_stats *sum, uint64_t bytes)
{
    counter_set(&row->pool_size, bytes);
    counter_set(&row->pool_used, sum->ready_bytes);
    counter_set(&row->pool_slots, sum->slots);
    counter_set(&row->pool_ready, sum->ready);
    counter_set(&row->pool_loading, sum->loading);
    counter_set(&row->pool_pins, sum->pins);
    counter_set(&row->pool_hits, sum->hits);
    counter_set(&row->pool_hit_bytes, sum->bytes_hit);
    counter_set(&row->pool_loads, sum->loads);
    counter_set(&row->pool_loads_failed, sum->loads_failed);
    counter_set(&row->pool_evictions, sum->evictions);
    counter_set(&row->pool_forgotten, sum->forgotten);
    counter_set(&row->pool_lost, sum->lost);
    counter_set(&row->pool_no_slot, sum->no_slot);
}

void pools_tell(struct core **cores, unsigned nr_cores, struct arena *arena)
{
    for (unsigned device = 0; device < GPU_ROWS; device++) {
        struct pool_stats sum = {0}, one;
        uint64_t bytes = 0;

        for (unsigned i = 0; i < nr_cores; i++)
            if (cores[i]->pool && pool_stats(cores[i]->pool, device, &one) == 0) {
                add(&sum, &one);
                bytes += pool_bytes(cores[i]->pool);
            }
        if (bytes > 0)
            tell(&arena->sb->gpus[device], &sum, bytes);
    }
}
