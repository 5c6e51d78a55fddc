/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of the CUDA backend: found, opened with a context of their own, reset by destroying it
 * and making it anew. Threads: cuda_device.h. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gpu/cuda_device.h"

void cuda_fail(struct gpu_device *device)
{
    __atomic_store_n(&device->failed, 1, __ATOMIC_RELAXED);
}

int cuda_result(struct gpu_device *device, CUresult result, const char *what)
{
    int rc = cuda_errno(result);

    /* Who finds the device failed already has nothing to say. */
    if (rc == -EIO && __atomic_exchange_n(&device->failed, 1, __ATOMIC_RELAXED))
        return rc;
    return cuda_check(device->driver, result, device->where, what);
}

int cuda_use(struct gpu_device *device)
{
    if (__atomic_load_n(&device->failed, __ATOMIC_RELAXED))
        return -EIO;
    return cuda_result(device, device->driver->CtxSetCurrent(device->context), "enter its context");
}

int cuda_enter(struct gpu_device *device)
{
    int rc;

    pthread_rwlock_rdlock(&device->lock);
    rc = cuda_use(device);
    if (rc)
        pthread_rwlock_unlock(&device->lock);
    return rc;
}

void cuda_leave(struct gpu_device *device)
{
    pthread_rwlock_unlock(&device->lock);
}

static int backend_probe(unsigned *nr_devices, char *why, size_t why_len)
{
    const struct cuda_driver *driver = cuda_driver(why, why_len);
    int nr = 0;

    if (!driver)
        return -ENODEV;
    if (driver->DeviceGetCount(&nr) || nr <= 0) {
        snprintf(why, why_len, "the CUDA driver sees no device");
        return -ENODEV;
    }
    *nr_devices = (unsigned)nr < GPU_DEVICES_MAX ? (unsigned)nr : GPU_DEVICES_MAX;
    return 0;
}

/* Lanes do not wait for what others do in the default stream. */
static int lane_create(struct gpu_device *device, struct cuda_lane *lane)
{
    const struct cuda_driver *driver = device->driver;
    int rc = cuda_result(device, driver->StreamCreate(&lane->stream, CU_STREAM_NON_BLOCKING),
                         "make a stream");

    for (unsigned i = 0; i < CUDA_IN_FLIGHT && !rc; i++)
        rc = cuda_result(device, driver->EventCreate(&lane->events[i], CU_EVENT_DISABLE_TIMING),
                         "make an event");
    return rc;
}

/* What is made in a context goes with it. */
static void context_destroy(struct gpu_device *device)
{
    if (!device->context)
        return;
    /* Waits for what is in flight; an error that is told here is one of that, and goes with it. */
    (void)device->driver->CtxDestroy(device->context);
    device->context = NULL;
}

static int context_create(struct gpu_device *device)
{
    const struct cuda_driver *driver = device->driver;
    int rc =
        cuda_check(driver,
                   driver->CtxCreate(&device->context, CU_CTX_SCHED_BLOCKING_SYNC | CU_CTX_MAP_HOST,
                                     device->handle),
                   device->where, "make a context");

    if (rc)
        return rc;
    memset(device->lanes, 0, sizeof(device->lanes));
    rc = cuda_result(device, driver->StreamCreate(&device->calls, CU_STREAM_NON_BLOCKING),
                     "make a stream");
    for (unsigned i = 0; i < GPU_LANES && !rc; i++)
        rc = lane_create(device, &device->lanes[i]);
    if (!rc)
        rc = cuda_kernels_load(device);
    if (rc)
        context_destroy(device);
    return rc;
}

static int attribute(const struct gpu_device *device, CUdevice_attribute which)
{
    int value = 0;

    if (device->driver->DeviceGetAttribute(&value, which, device->handle))
        return 0;
    return value;
}

/* where: as sysfs writes it, in small letters. */
static int numa_node_of(const char *where)
{
    char path[96];
    int node = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/numa_node", where);
    file = fopen(path, "re");
    if (!file)
        return -1;
    if (fscanf(file, "%d", &node) != 1)
        node = -1;
    fclose(file);
    return node;
}

static int vmm_describe(struct gpu_device *device)
{
    CUmemAllocationProp properties = {
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
        .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device->handle},
    };

    device->has_vmm =
        attribute(device, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) &&
        attribute(device, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED);
    if (!device->has_vmm)
        return 0;
    return cuda_result(device,
                       device->driver->MemGetAllocationGranularity(
                           &device->granularity, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
                       "learn its granularity");
}

static int describe(struct gpu_device *device)
{
    const struct cuda_driver *driver = device->driver;
    size_t total = 0;
    int rc = cuda_result(device, driver->DeviceGet(&device->handle, (int)device->index),
                         "find the device");

    if (rc)
        return rc;
    if (driver->DeviceGetName(device->name, sizeof(device->name), device->handle))
        snprintf(device->name, sizeof(device->name), "CUDA device");
    if (!driver->DeviceGetPCIBusId(device->where, sizeof(device->where), device->handle)) {
        for (char *c = device->where; *c; c++)
            *c = (char)tolower((unsigned char)*c);
    }
    device->numa_node = numa_node_of(device->where);
    if (!driver->DeviceTotalMem(&total, device->handle))
        device->memory_total = total;
    device->has_batch = driver->copy_batch_13 || driver->copy_batch_12;
    device->pitch_max = (size_t)attribute(device, CU_DEVICE_ATTRIBUTE_MAX_PITCH);
    return vmm_describe(device);
}

static uint32_t devices_open; /* atomic: bits by index */

static void device_destroy(struct gpu_device *device)
{
    pthread_rwlock_wrlock(&device->lock);
    context_destroy(device);
    cuda_ranges_forget(device);
    cuda_free_all(device);
    pthread_rwlock_unlock(&device->lock);
    pthread_rwlock_destroy(&device->lock);
    pthread_mutex_destroy(&device->memories_lock);
    /* Acquire and release: who opens it next sees all that was given back. */
    __atomic_fetch_and(&devices_open, ~(1u << device->index), __ATOMIC_ACQ_REL);
    free(device);
}

/* A reset does not wait until nobody else wants anything. */
static void lock_create(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t writers_first;

    pthread_rwlockattr_init(&writers_first);
    pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &writers_first);
    pthread_rwlockattr_destroy(&writers_first);
}

static int backend_open(unsigned index, const struct gpu_device_options *options,
                        struct gpu_device **opened)
{
    struct gpu_device *device;
    char why[160];
    int rc;

    if (index >= GPU_DEVICES_MAX)
        return -ENODEV;
    if (__atomic_fetch_or(&devices_open, 1u << index, __ATOMIC_ACQ_REL) & 1u << index)
        return -EBUSY; /* registrations are known by a device's index */
    device = calloc(1, sizeof(*device));
    if (!device) {
        __atomic_fetch_and(&devices_open, ~(1u << index), __ATOMIC_RELAXED);
        return -ENOMEM;
    }
    lock_create(&device->lock);
    pthread_mutex_init(&device->memories_lock, NULL);
    device->index = index;
    snprintf(device->where, sizeof(device->where), "cuda:%u", index);
    device->driver = cuda_driver(why, sizeof(why));
    rc = device->driver ? describe(device) : -ENODEV;
    if (!rc)
        rc = context_create(device);
    if (!rc)
        rc = cuda_measure(device, options ? options->gather_below : 0);
    if (rc) {
        device_destroy(device);
        return rc;
    }
    log_info("gpu %s: %s, %.1f GB/s in, %.1f GB/s out; %s", device->where, device->name,
             (double)device->load_bytes_s / 1e9, (double)device->store_bytes_s / 1e9,
             device->has_kernels ? "kernels for small pieces" : "copy engines only");
    *opened = device;
    return 0;
}

static void backend_info(struct gpu_device *device, struct gpu_device_info *info)
{
    size_t free_bytes = 0, total;

    *info = (struct gpu_device_info){.numa_node = device->numa_node,
                                     .memory_total = device->memory_total,
                                     .load_bytes_s = device->load_bytes_s,
                                     .store_bytes_s = device->store_bytes_s,
                                     .gather_below = device->gather_below};
    snprintf(info->name, sizeof(info->name), "%s", device->name);
    snprintf(info->where, sizeof(info->where), "%s", device->where);
    if (cuda_enter(device))
        return;
    if (!cuda_result(device, device->driver->MemGetInfo(&free_bytes, &total),
                     "ask for free memory"))
        info->memory_free = free_bytes;
    cuda_leave(device);
}

/* Memory goes before the new context comes, which needs some. */
static int backend_reset(struct gpu_device *device)
{
    int rc;

    pthread_rwlock_wrlock(&device->lock);
    cuda_fail(device); /* until all is well */
    context_destroy(device);
    cuda_ranges_forget(device);
    cuda_free_all(device);
    rc = context_create(device);
    if (!rc)
        __atomic_store_n(&device->failed, 0, __ATOMIC_RELAXED);
    pthread_rwlock_unlock(&device->lock);
    return rc ? -EIO : 0;
}

const struct gpu_backend gpu_backend_cuda = {
    .name = "cuda",
    .probe = backend_probe,
    .open = backend_open,
    .close = device_destroy,
    .info = backend_info,
    .host_register = cuda_register,
    .host_unregister = cuda_unregister,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .export = cuda_export,
    .import = cuda_import,
    .unimport = cuda_free,
    .read = cuda_read,
    .write = cuda_write,
    .submit = cuda_submit,
    .poll = cuda_poll,
    .reset = backend_reset,
};
