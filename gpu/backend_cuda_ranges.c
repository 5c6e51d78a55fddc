/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory registered with the driver, of all devices of the process: a range is registered
 * once and in use by each device that asked for it. Where there is one device its context holds
 * the registrations; where there are more, the primary context of the first does, so that the
 * reset of one takes no page from under the copies of another. Any thread. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda_device.h"

static_assert(GPU_DEVICES_MAX <= 32);

struct range {
    uint64_t address;
    size_t len;
    uint32_t devices; /* bits by index */
    bool direct;      /* kernels reach it by the same address */
};

/* changing: held while the driver pins pages, which takes long; table_lock: never for long. */
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct range *ranges; /* by address, not overlapping; table_lock */
static unsigned nr_ranges, ranges_room;
static CUcontext keeper; /* changing; NULL: the device's own context keeps */

/* Of the last range that begins at or before address; nr_ranges: none does. */
static unsigned range_before(uint64_t address)
{
    unsigned low = 0, high = nr_ranges;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (ranges[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : nr_ranges;
}

static bool range_has(unsigned i, uint64_t address)
{
    return i < nr_ranges && address - ranges[i].address < ranges[i].len;
}

static int table_insert(const struct range *range)
{
    unsigned at;
    int rc = 0;

    pthread_mutex_lock(&table_lock);
    if (nr_ranges == ranges_room) {
        unsigned room = ranges_room ? 2 * ranges_room : 64;
        struct range *more = realloc(ranges, room * sizeof(*more));

        if (!more) {
            rc = -ENOMEM;
            goto out;
        }
        ranges = more;
        ranges_room = room;
    }
    at = range_before(range->address);
    at = at == nr_ranges ? 0 : at + 1;
    memmove(&ranges[at + 1], &ranges[at], (nr_ranges - at) * sizeof(*ranges));
    ranges[at] = *range;
    nr_ranges++;
out:
    pthread_mutex_unlock(&table_lock);
    return rc;
}

/* table_lock is held. true: nobody uses it any more, and it is out of the table. */
static bool table_drop(unsigned i, unsigned device)
{
    ranges[i].devices &= ~(1u << device);
    if (ranges[i].devices)
        return false;
    memmove(&ranges[i], &ranges[i + 1], (nr_ranges - i - 1) * sizeof(*ranges));
    nr_ranges--;
    return true;
}

/* 1: it is there, and now the device's, too; 0: no such range; -EEXIST: it is the device's already,
 * or another covers part of it. */
static int table_share(unsigned device, uint64_t address, size_t len)
{
    unsigned i;
    int rc = 0;

    pthread_mutex_lock(&table_lock);
    i = range_before(address + len - 1);
    if (i < nr_ranges && ranges[i].address == address && ranges[i].len == len) {
        rc = ranges[i].devices >> device & 1u ? -EEXIST : 1;
        ranges[i].devices |= 1u << device;
    } else if (i < nr_ranges && ranges[i].address + ranges[i].len > address) {
        rc = -EEXIST;
    }
    pthread_mutex_unlock(&table_lock);
    return rc;
}

/* changing is held. The context that keeps registrations is this thread's afterwards. */
static int keeper_use(struct gpu_device *device)
{
    int nr = 0, rc;

    if (!keeper) {
        rc = cuda_result(device, device->driver->DeviceGetCount(&nr), "count devices");
        if (rc || nr <= 1)
            return rc; /* its own context is current already */
        rc = cuda_result(device, device->driver->DevicePrimaryCtxRetain(&keeper, 0),
                         "make a context for registrations");
        if (rc)
            return rc;
    }
    return cuda_result(device, device->driver->CtxSetCurrent(keeper), "enter a context");
}

/* changing is held. */
static void keeper_release(struct gpu_device *device)
{
    if (!keeper || nr_ranges > 0)
        return;
    (void)device->driver->DevicePrimaryCtxRelease(0);
    keeper = NULL;
}

static int range_register(struct gpu_device *device, void *address, size_t len)
{
    struct range range = {
        .address = (uintptr_t)address, .len = len, .devices = 1u << device->index};
    const struct cuda_driver *driver = device->driver;
    CUdeviceptr there = 0;
    int rc = keeper_use(device);

    if (!rc)
        rc = cuda_result(
            device,
            driver->MemHostRegister(address, len,
                                    CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP),
            "register host memory");
    if (rc)
        return rc;
    range.direct = driver->MemHostGetDevicePointer(&there, address, 0) == CUDA_SUCCESS &&
                   there == range.address;
    rc = table_insert(&range);
    if (rc)
        (void)driver->MemHostUnregister(address);
    return rc;
}

int cuda_register(struct gpu_device *device, void *address, size_t len)
{
    int rc;

    if (len == 0 || len > UINTPTR_MAX - (uintptr_t)address)
        return -EINVAL;
    rc = cuda_enter(device);
    if (rc)
        return rc;
    pthread_mutex_lock(&changing);
    rc = table_share(device->index, (uintptr_t)address, len);
    if (rc == 0)
        rc = range_register(device, address, len);
    pthread_mutex_unlock(&changing);
    cuda_leave(device);
    return rc < 0 ? rc : 0;
}

void cuda_unregister(struct gpu_device *device, void *address, size_t len)
{
    bool entered = !cuda_enter(device), last;
    unsigned i;

    pthread_mutex_lock(&changing);
    pthread_mutex_lock(&table_lock);
    i = range_before((uintptr_t)address);
    last = i < nr_ranges && ranges[i].address == (uintptr_t)address && ranges[i].len == len &&
           table_drop(i, device->index);
    pthread_mutex_unlock(&table_lock);
    /* A context that failed loses its registrations when it is destroyed. */
    if (last && (entered || keeper) && !keeper_use(device))
        (void)cuda_result(device, device->driver->MemHostUnregister(address),
                          "unregister host memory");
    keeper_release(device);
    pthread_mutex_unlock(&changing);
    if (entered)
        cuda_leave(device);
}

void cuda_ranges_forget(struct gpu_device *device)
{
    pthread_mutex_lock(&changing);
    for (unsigned i = nr_ranges; i-- > 0;) {
        void *address = (void *)(uintptr_t)ranges[i].address;
        bool last;

        pthread_mutex_lock(&table_lock);
        last = (ranges[i].devices & 1u << device->index) && table_drop(i, device->index);
        pthread_mutex_unlock(&table_lock);
        if (last && keeper && !device->driver->CtxSetCurrent(keeper))
            (void)cuda_check(device->driver, device->driver->MemHostUnregister(address),
                             device->where, "unregister host memory");
    }
    keeper_release(device);
    pthread_mutex_unlock(&changing);
}

size_t cuda_ranges_run(struct gpu_device *device, uint64_t address, size_t len, bool *registered)
{
    size_t run = len;
    unsigned i, next;

    pthread_mutex_lock(&table_lock);
    i = range_before(address);
    next = i == nr_ranges ? 0 : i + 1;
    if (range_has(i, address)) {
        *registered = ranges[i].devices >> device->index & 1u;
        run = ranges[i].address + ranges[i].len - address;
    } else {
        *registered = false;
        if (next < nr_ranges)
            run = ranges[next].address - address;
    }
    pthread_mutex_unlock(&table_lock);
    return run < len ? run : len;
}

bool cuda_ranges_reach(struct gpu_device *device, uint64_t address, size_t len)
{
    uint64_t end = address + len;
    bool reach = true;

    pthread_mutex_lock(&table_lock);
    for (unsigned i = range_before(address); reach && address < end; i++) {
        reach =
            range_has(i, address) && ranges[i].direct && (ranges[i].devices >> device->index & 1u);
        if (reach)
            address = ranges[i].address + ranges[i].len;
    }
    pthread_mutex_unlock(&table_lock);
    return reach;
}
