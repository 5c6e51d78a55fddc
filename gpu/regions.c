/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: memory that jobs name, in some devices or all. The list is under the fleet's
 * regions_lock, what a device has of a region under that worker's lock. A region is on the list
 * before a device has it: one that comes back meanwhile imports it, too, and nobody does twice. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/log.h"
#include "gpu/worker.h"

struct gpu_region {
    struct gpu_region *next;
    uint64_t size;
    struct gpu_handle handle; /* fd is the region's own */
    bool allocated;           /* here; else imported */
    uint32_t wanted;          /* atomic, a bit for each device: who imports it, and the worker */
    uint32_t lost;            /* counter: worker */
    struct gpu_memory memories[GPU_DEVICES_MAX]; /* under the worker's lock */
    uint64_t addresses[GPU_DEVICES_MAX];         /* atomic: who holds the worker's lock */
};

uint64_t gpu_region_size(const struct gpu_region *region)
{
    return region->size;
}

uint32_t gpu_region_lost(const struct gpu_region *region)
{
    return __atomic_load_n(&region->lost, __ATOMIC_RELAXED);
}

uint64_t region_address(const struct gpu_region *region, unsigned device)
{
    return counter_read(&region->addresses[device]);
}

bool region_wants(const struct gpu_region *region, unsigned device)
{
    return __atomic_load_n(&region->wanted, __ATOMIC_RELAXED) >> device & 1;
}

uint64_t gpu_region_address(const struct gpu_region *region, unsigned device)
{
    return device < GPU_DEVICES_MAX ? region_address(region, device) : 0;
}

void worker_note_memory(struct worker *worker)
{
    struct gpu_device_info info;

    worker->backend->info(worker->device, &info);
    counter_set(&worker->stats.memory_free, info.memory_free);
}

/* Lock held. */
static int enter(struct worker *worker, struct gpu_region *region)
{
    struct gpu_memory *memory = &region->memories[worker->index];
    int rc;

    if (region->allocated)
        rc = worker->backend->alloc(worker->device, region->size, memory);
    else
        rc = worker->backend->import(worker->device, &region->handle, memory);
    if (rc == 0)
        counter_set(&region->addresses[worker->index], memory->address);
    return rc;
}

static void unwant(struct gpu_region *region, unsigned device)
{
    __atomic_and_fetch(&region->wanted, ~(1u << device), __ATOMIC_RELAXED);
}

void regions_return(struct worker *worker)
{
    struct gpu_fleet *fleet = worker->fleet;

    pthread_mutex_lock(&fleet->regions_lock);
    for (struct gpu_region *region = fleet->regions; region; region = region->next) {
        bool was_in = region_address(region, worker->index) != 0;
        int rc;

        region->memories[worker->index] = (struct gpu_memory){0};
        counter_set(&region->addresses[worker->index], 0);
        if (!region_wants(region, worker->index))
            continue;
        if (region->allocated && was_in)
            __atomic_store_n(&region->lost, region->lost + 1, __ATOMIC_RELAXED);
        rc = enter(worker, region);
        if (rc == 0)
            continue;
        log_warning("%s device %u: a region of %llu bytes did not survive the reset (%s), its jobs "
                    "end",
                    worker->backend->name, worker->index, (unsigned long long)region->size,
                    strerror(-rc));
        unwant(region, worker->index);
    }
    pthread_mutex_unlock(&fleet->regions_lock);
}

/* Of a device that is up. A failed one takes the region when it comes back. */
static int enter_now(struct worker *worker, struct gpu_region *region)
{
    int rc = 0;

    pthread_mutex_lock(&worker->lock);
    if (worker->device && worker_state(worker) == GPU_UP &&
        region_address(region, worker->index) == 0) {
        rc = enter(worker, region);
        worker_note_memory(worker);
    }
    pthread_mutex_unlock(&worker->lock);
    if (rc == -EIO) {
        __atomic_store_n(&worker->suspect, 1, __ATOMIC_RELAXED);
        return 0;
    }
    if (rc < 0)
        unwant(region, worker->index);
    return rc;
}

static int enter_all(struct gpu_fleet *fleet, struct gpu_region *region)
{
    int first_rc = 0;

    for (unsigned i = 0; i < fleet->nr_devices; i++) {
        int rc = region_wants(region, i) ? enter_now(&fleet->workers[i], region) : 0;

        first_rc = first_rc ? first_rc : rc;
    }
    return __atomic_load_n(&region->wanted, __ATOMIC_RELAXED) ? 0 : first_rc;
}

/* Devices that never opened want nothing. */
static uint32_t wanted_by(const struct gpu_fleet *fleet, int device)
{
    uint32_t wanted = 0;

    for (unsigned i = 0; i < fleet->nr_devices; i++)
        if ((device == GPU_ANY || (unsigned)device == i) && fleet->workers[i].device)
            wanted |= 1u << i;
    return wanted;
}

static int region_open(struct gpu_fleet *fleet, int device, struct gpu_region *region,
                       struct gpu_region **out)
{
    int rc;

    region->wanted = wanted_by(fleet, device);
    pthread_mutex_lock(&fleet->regions_lock);
    region->next = fleet->regions;
    fleet->regions = region;
    __atomic_add_fetch(&fleet->nr_regions, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&fleet->regions_lock);
    rc = region->wanted ? enter_all(fleet, region) : -EINVAL;
    if (rc < 0)
        gpu_region_close(fleet, region);
    else
        *out = region;
    return rc;
}

int gpu_region_import(struct gpu_fleet *fleet, int device, const struct gpu_handle *handle,
                      struct gpu_region **out)
{
    struct gpu_region *region;

    if (handle->size == 0 || device < GPU_ANY)
        return -EINVAL;
    region = calloc(1, sizeof(*region));
    if (!region)
        return -ENOMEM;
    region->handle = *handle;
    region->size = handle->size;
    if (handle->fd >= 0) {
        region->handle.fd = fcntl(handle->fd, F_DUPFD_CLOEXEC, 0);
        if (region->handle.fd < 0) {
            int rc = -errno;

            free(region);
            return rc;
        }
    }
    return region_open(fleet, device, region, out);
}

int gpu_region_alloc(struct gpu_fleet *fleet, int device, uint64_t size, struct gpu_region **out)
{
    struct gpu_region *region;

    if (size == 0 || device < 0)
        return -EINVAL;
    region = calloc(1, sizeof(*region));
    if (!region)
        return -ENOMEM;
    region->size = size;
    region->handle.fd = -1;
    region->allocated = true;
    return region_open(fleet, device, region, out);
}

int gpu_region_export(struct gpu_fleet *fleet, const struct gpu_region *region,
                      struct gpu_handle *handle, uint32_t *lost)
{
    int rc = -EINVAL;

    for (unsigned i = 0; i < fleet->nr_devices && region->allocated; i++) {
        struct worker *worker = &fleet->workers[i];

        if (!region_wants(region, i))
            continue;
        /* A reset holds it, too: the handle and the count are of the same memory. */
        pthread_mutex_lock(&worker->lock);
        rc = -EIO;
        if (region_address(region, i) && worker_state(worker) == GPU_UP)
            rc = worker->backend->export(worker->device, &region->memories[i], handle);
        *lost = gpu_region_lost(region);
        pthread_mutex_unlock(&worker->lock);
        break;
    }
    return rc;
}

/* What a failed device has is gone with its reset. */
static void leave(struct worker *worker, struct gpu_region *region)
{
    struct gpu_memory *memory = &region->memories[worker->index];

    pthread_mutex_lock(&worker->lock);
    if (region_address(region, worker->index) && worker_state(worker) == GPU_UP) {
        if (region->allocated)
            worker->backend->free(worker->device, memory);
        else
            worker->backend->unimport(worker->device, memory);
        worker_note_memory(worker);
    }
    counter_set(&region->addresses[worker->index], 0);
    pthread_mutex_unlock(&worker->lock);
}

static void region_free(struct gpu_region *region)
{
    if (region->handle.fd >= 0)
        close(region->handle.fd);
    free(region);
}

void regions_teardown(struct gpu_fleet *fleet)
{
    while (fleet->regions) {
        struct gpu_region *region = fleet->regions;

        fleet->regions = region->next;
        region_free(region);
    }
    pthread_mutex_destroy(&fleet->regions_lock);
}

void gpu_region_close(struct gpu_fleet *fleet, struct gpu_region *region)
{
    struct gpu_region **link;

    /* It stays on the list until no device has it: a reset that comes between must know. */
    __atomic_store_n(&region->wanted, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < fleet->nr_devices; i++)
        leave(&fleet->workers[i], region);
    pthread_mutex_lock(&fleet->regions_lock);
    for (link = &fleet->regions; *link != region; link = &(*link)->next)
        ;
    *link = region->next;
    __atomic_sub_fetch(&fleet->nr_regions, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&fleet->regions_lock);
    region_free(region);
}
