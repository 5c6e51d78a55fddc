/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the pool stand on. */
#include "pool_bed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

#define DEVICE_MEMORY (128ull << 20)
#define PATIENCE_NS (20 * NS_PER_S)

static void fail(const char *what)
{
    fprintf(stderr, "pool_bed: %s\n", what);
    abort();
}

uint64_t bed_ref(const struct bed *bed, uint32_t block)
{
    return block_ref(bed->blocks[block].generation, block);
}

uint64_t bed_word(uint64_t ref, uint64_t i)
{
    return (ref + i) * 0x9e3779b97f4a7c15ull ^ ref;
}

bool bed_bytes_are(const void *bytes, uint64_t ref, uint32_t len)
{
    const uint64_t *words = bytes;

    for (uint32_t i = 0; i < len / sizeof(*words); i++)
        if (words[i] != bed_word(ref, i))
            return false;
    return true;
}

static bool pin(void *context, uint64_t ref)
{
    struct bed *bed = context;
    struct bed_block *block = &bed->blocks[(uint32_t)ref];

    if (block->gone || block->generation != ref >> 32) {
        bed->refused++;
        return false;
    }
    block->pins++;
    return true;
}

static void unpin(void *context, uint64_t ref)
{
    struct bed *bed = context;

    if (bed->blocks[(uint32_t)ref].pins-- == 0)
        fail("a block was unpinned twice");
}

void bed_write(struct bed *bed, uint32_t block, uint32_t len)
{
    struct bed_block *at = &bed->blocks[block];
    uint64_t *words = (uint64_t *)(void *)at->bytes;

    if (at->pins)
        fail("a pinned block is overwritten");
    at->generation++;
    at->len = len;
    at->gone = false;
    for (uint32_t i = 0; i < len / sizeof(*words); i++)
        words[i] = bed_word(bed_ref(bed, block), i);
}

struct pool_block bed_block(const struct bed *bed, uint32_t block)
{
    return (struct pool_block){.ref = bed_ref(bed, block),
                               .near = bed->blocks[block].bytes,
                               .len = bed->blocks[block].len,
                               .priority = KVR_NORMAL};
}

struct bed *bed_open_slow(unsigned nr_devices, const struct pool_options *options, uint64_t bytes_s)
{
    struct gpu_device_options models[GPU_DEVICES_MAX] = {0};
    struct gpu_fleet_options fleet = {
        .backend = &gpu_backend_host, .nr_producers = 1, .devices = models};
    struct pool_options own = *options;
    struct bed *bed = calloc(1, sizeof(*bed));
    char why[128];

    if (!bed)
        fail("no memory");
    log_set_level(LOG_LEVEL_ERROR);
    for (unsigned i = 0; i < nr_devices; i++)
        models[i] =
            (struct gpu_device_options){.model_bytes_s = bytes_s, .model_memory = DEVICE_MEMORY};
    gpu_host_set_devices(nr_devices);
    bed->nr_devices = nr_devices;
    if (gpu_fleet_create(&fleet, &bed->fleet, why, sizeof(why)))
        fail(why);
    for (uint32_t i = 0; i < BED_BLOCKS; i++) {
        bed->blocks[i].bytes = aligned_alloc(64, BED_BLOCK_MAX);
        if (!bed->blocks[i].bytes)
            fail("no memory");
        bed_write(bed, i, 4096);
    }
    own.fleet = bed->fleet;
    own.producer = BED_PRODUCER;
    own.policy = own.policy ? own.policy : policy_find("lru");
    own.pin = pin;
    own.unpin = unpin;
    own.context = bed;
    if (pool_create(&own, &bed->pool))
        fail("the pool does not open");
    return bed;
}

struct bed *bed_open(unsigned nr_devices, const struct pool_options *options)
{
    return bed_open_slow(nr_devices, options, 0);
}

static void take_some(struct bed *bed)
{
    struct gpu_job *jobs[16];
    unsigned nr = gpu_pop(bed->fleet, BED_PRODUCER, jobs, 16);

    for (unsigned i = 0; i < nr; i++)
        if (!pool_take(bed->pool, jobs[i]))
            fail("a job that nobody knows");
}

void bed_close(struct bed *bed)
{
    uint64_t until_ns = clock_ns() + PATIENCE_NS;

    while (pool_stop(bed->pool)) {
        take_some(bed);
        if (clock_ns() > until_ns)
            fail("loads do not end");
    }
    if (pool_audit(bed->pool))
        fail("the audit at the end");
    pool_destroy(bed->pool);
    gpu_fleet_destroy(bed->fleet);
    for (uint32_t i = 0; i < BED_BLOCKS; i++) {
        if (bed->blocks[i].pins)
            fail("the arena's blocks are pinned for ever");
        free(bed->blocks[i].bytes);
    }
    free(bed);
}

static uint64_t nr_loading(const struct bed *bed)
{
    uint64_t nr = 0;

    for (unsigned i = 0; i < bed->nr_devices; i++) {
        struct pool_stats stats;

        nr += pool_stats(bed->pool, i, &stats) == 0 ? stats.loading : 0;
    }
    return nr;
}

void bed_settle(struct bed *bed)
{
    uint64_t until_ns = clock_ns() + PATIENCE_NS;

    while (nr_loading(bed)) {
        take_some(bed);
        if (clock_ns() > until_ns)
            fail("loads do not end");
    }
}

int bed_load(struct bed *bed, uint32_t block, int device)
{
    struct pool_block from = bed_block(bed, block);
    int rc = pool_load(bed->pool, device, &from);

    bed_settle(bed);
    return rc;
}

struct pool_stats bed_stats(const struct bed *bed, unsigned device)
{
    struct pool_stats stats;

    if (pool_stats(bed->pool, device, &stats))
        fail("no such device");
    return stats;
}

void bed_pin(struct bed *bed, uint32_t block, struct pool_place *place)
{
    if (pool_pin(bed->pool, bed_ref(bed, block), GPU_ANY, 0, place))
        fail("no copy to pin");
}

bool bed_has(struct bed *bed, uint32_t block, int device)
{
    struct pool_place place;

    if (pool_pin(bed->pool, bed_ref(bed, block), device, 0, &place))
        return false;
    if (!bed_place_holds(bed, &place, bed_ref(bed, block)))
        fail("a copy has other bytes");
    return pool_unpin(bed->pool, 0, place.pin) == 0;
}

int bed_place_read(struct bed *bed, const struct pool_place *place, uint64_t ref)
{
    unsigned device = (unsigned)place->device;
    uint64_t address = gpu_region_address(place->region, device) + place->offset;
    uint8_t *bytes = malloc(place->bytes);
    int rc = bytes ? gpu_backend_host.read(gpu_fleet_device(bed->fleet, device), address, bytes,
                                           place->bytes)
                   : -ENOMEM;

    if (rc == 0 && !bed_bytes_are(bytes, ref, place->bytes))
        rc = -EBADMSG;
    free(bytes);
    return rc;
}

bool bed_place_holds(struct bed *bed, const struct pool_place *place, uint64_t ref)
{
    return bed_place_read(bed, place, ref) == 0;
}

void bed_wait_resets(struct bed *bed, unsigned device, uint64_t nr)
{
    uint64_t until_ns = clock_ns() + PATIENCE_NS;
    struct gpu_device_stats stats;

    while (gpu_stats(bed->fleet, device, &stats) == 0 && stats.resets < nr) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (clock_ns() > until_ns)
            fail("a device does not come back");
    }
}
