/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a device: allocated so that another process can map it (as a descriptor where the
 * device can, else by CUDA IPC), or mapped from another process. Any thread; the list of all there
 * is belongs to memories_lock. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gpu/cuda_device.h"

static_assert(sizeof(CUipcMemHandle) <= GPU_HANDLE_MAX);

enum memory_kind { MEMORY_VMM, MEMORY_PLAIN, MEMORY_IPC };

struct cuda_memory {
    struct cuda_memory *next;
    uint64_t id;
    enum memory_kind kind;
    CUdeviceptr address;
    size_t mapped; /* bytes there; VMM: a multiple of the granularity */
    CUmemGenericAllocationHandle handle;
};

static void memory_keep(struct gpu_device *device, struct cuda_memory *own,
                        struct gpu_memory *memory)
{
    pthread_mutex_lock(&device->memories_lock);
    own->id = ++device->memories_made;
    own->next = device->memories;
    device->memories = own;
    pthread_mutex_unlock(&device->memories_lock);
    *memory = (struct gpu_memory){.address = own->address, .size = own->mapped, .id = own->id};
}

/* memories_lock is held. Where the list names it; *at is NULL: freed already, by a reset. */
static struct cuda_memory **memory_find(struct gpu_device *device, const struct gpu_memory *memory)
{
    struct cuda_memory **at = &device->memories;

    while (*at && (*at)->id != memory->id)
        at = &(*at)->next;
    return at;
}

/* NULL: freed already. */
static struct cuda_memory *memory_take(struct gpu_device *device, const struct gpu_memory *memory)
{
    struct cuda_memory *own, **at;

    pthread_mutex_lock(&device->memories_lock);
    at = memory_find(device, memory);
    own = *at;
    if (own)
        *at = own->next;
    pthread_mutex_unlock(&device->memories_lock);
    return own;
}

static CUmemAllocationProp vmm_properties(const struct gpu_device *device)
{
    return (CUmemAllocationProp){
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
        .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device->handle},
    };
}

/* Maps own->handle, all own->mapped bytes of it, where there is room; releases it if that fails. */
static int vmm_map(struct gpu_device *device, struct cuda_memory *own)
{
    const struct cuda_driver *driver = device->driver;
    CUmemAccessDesc access = {
        .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device->handle},
        .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
    };
    int rc = cuda_result(device, driver->MemAddressReserve(&own->address, own->mapped, 0, 0, 0),
                         "reserve addresses");

    if (rc)
        goto release;
    rc = cuda_result(device, driver->MemMap(own->address, own->mapped, 0, own->handle, 0),
                     "map memory");
    if (rc)
        goto free_address;
    rc = cuda_result(device, driver->MemSetAccess(own->address, own->mapped, &access, 1),
                     "make memory accessible");
    if (rc)
        goto unmap;
    return 0;
unmap:
    (void)driver->MemUnmap(own->address, own->mapped);
free_address:
    (void)driver->MemAddressFree(own->address, own->mapped);
release:
    (void)driver->MemRelease(own->handle);
    return rc;
}

static int vmm_round(const struct gpu_device *device, uint64_t size, size_t *mapped)
{
    if (size == 0 || size > UINT64_MAX / 2)
        return -EINVAL;
    *mapped = (size + device->granularity - 1) / device->granularity * device->granularity;
    return 0;
}

static int vmm_alloc(struct gpu_device *device, uint64_t size, struct cuda_memory *own)
{
    CUmemAllocationProp properties = vmm_properties(device);
    int rc = vmm_round(device, size, &own->mapped);

    if (!rc)
        rc = cuda_result(device,
                         device->driver->MemCreate(&own->handle, own->mapped, &properties, 0),
                         "allocate memory");
    return rc ? rc : vmm_map(device, own);
}

static int plain_alloc(struct gpu_device *device, uint64_t size, struct cuda_memory *own)
{
    own->mapped = size;
    if (size == 0)
        return -EINVAL;
    return cuda_result(device, device->driver->MemAlloc(&own->address, size), "allocate memory");
}

int cuda_alloc(struct gpu_device *device, uint64_t size, struct gpu_memory *memory)
{
    struct cuda_memory *own = calloc(1, sizeof(*own));
    int rc = own ? cuda_enter(device) : -ENOMEM;

    if (rc) {
        free(own);
        return rc;
    }
    own->kind = device->has_vmm ? MEMORY_VMM : MEMORY_PLAIN;
    if (device->has_vmm)
        rc = vmm_alloc(device, size, own);
    else
        rc = plain_alloc(device, size, own);
    if (rc)
        free(own);
    else
        memory_keep(device, own, memory);
    cuda_leave(device);
    return rc;
}

/* memories_lock is held: memory stays while its handle is made. */
static int memory_export(struct gpu_device *device, const struct cuda_memory *own,
                         struct gpu_handle *handle)
{
    const struct cuda_driver *driver = device->driver;
    CUipcMemHandle ipc;
    int rc;

    *handle = (struct gpu_handle){.fd = -1, .size = own->mapped};
    if (own->kind == MEMORY_VMM) {
        handle->kind = GPU_HANDLE_CUDA_FD;
        return cuda_result(
            device,
            driver->MemExportToShareableHandle(&handle->fd, own->handle,
                                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
            "export memory");
    }
    handle->kind = GPU_HANDLE_CUDA_IPC;
    rc = cuda_result(device, driver->IpcGetMemHandle(&ipc, own->address), "export memory");
    if (!rc)
        memcpy(handle->bytes, &ipc, sizeof(ipc));
    return rc;
}

int cuda_export(struct gpu_device *device, const struct gpu_memory *memory,
                struct gpu_handle *handle)
{
    const struct cuda_memory *own;
    int rc = cuda_enter(device);

    if (rc)
        return rc;
    pthread_mutex_lock(&device->memories_lock);
    own = *memory_find(device, memory);
    rc = own ? memory_export(device, own, handle) : -EINVAL;
    pthread_mutex_unlock(&device->memories_lock);
    cuda_leave(device);
    return rc;
}

static int ipc_import(struct gpu_device *device, const struct gpu_handle *handle,
                      struct cuda_memory *own)
{
    const struct cuda_driver *driver = device->driver;
    CUipcMemHandle ipc;
    CUdeviceptr base;
    size_t size = 0;
    int rc;

    memcpy(&ipc, handle->bytes, sizeof(ipc));
    rc = cuda_result(
        device, driver->IpcOpenMemHandle(&own->address, ipc, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS),
        "open memory of another process");
    if (rc)
        return rc;
    rc = cuda_result(device, driver->MemGetAddressRange(&base, &size, own->address),
                     "learn the size of memory");
    if (!rc && (base != own->address || size < handle->size)) {
        log_error("gpu %s: memory of another process has %zu bytes, not %lu: not imported",
                  device->where, size, (unsigned long)handle->size);
        rc = -EINVAL;
    }
    own->mapped = handle->size;
    if (rc)
        (void)driver->IpcCloseMemHandle(own->address);
    return rc;
}

/* A mapping larger than the allocation is refused by the driver. */
static int vmm_import(struct gpu_device *device, const struct gpu_handle *handle,
                      struct cuda_memory *own)
{
    int rc = vmm_round(device, handle->size, &own->mapped);

    if (!rc)
        rc = cuda_result(device,
                         device->driver->MemImportFromShareableHandle(
                             &own->handle, (void *)(uintptr_t)handle->fd,
                             CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
                         "import memory of another process");
    return rc ? rc : vmm_map(device, own);
}

int cuda_import(struct gpu_device *device, const struct gpu_handle *handle,
                struct gpu_memory *memory)
{
    bool by_fd = handle->kind == GPU_HANDLE_CUDA_FD;
    struct cuda_memory *own;
    int rc;

    if (!by_fd && handle->kind != GPU_HANDLE_CUDA_IPC)
        return -ENOTSUP;
    if (by_fd && !device->has_vmm)
        return -ENOTSUP;
    if (handle->size == 0 || (by_fd && handle->fd < 0))
        return -EINVAL;
    own = calloc(1, sizeof(*own));
    rc = own ? cuda_enter(device) : -ENOMEM;
    if (rc) {
        free(own);
        return rc;
    }
    own->kind = by_fd ? MEMORY_VMM : MEMORY_IPC;
    rc = by_fd ? vmm_import(device, handle, own) : ipc_import(device, handle, own);
    if (rc)
        free(own);
    else
        memory_keep(device, own, memory);
    cuda_leave(device);
    return rc;
}

/* What fails here is memory lost, which the line of log says. */
static void memory_free(struct gpu_device *device, struct cuda_memory *own, bool has_context)
{
    const struct cuda_driver *driver = device->driver;
    CUresult result = CUDA_SUCCESS;

    if (own->kind == MEMORY_VMM) {
        /* Of the process, not of the context. */
        result = driver->MemUnmap(own->address, own->mapped);
        if (result == CUDA_SUCCESS)
            result = driver->MemAddressFree(own->address, own->mapped);
        if (result == CUDA_SUCCESS)
            result = driver->MemRelease(own->handle);
    } else if (has_context && own->kind == MEMORY_PLAIN) {
        result = driver->MemFree(own->address);
    } else if (has_context) {
        result = driver->IpcCloseMemHandle(own->address);
    }
    if (has_context)
        (void)cuda_result(device, result, "free memory");
    else
        (void)cuda_check(driver, result, device->where, "free memory");
    free(own);
}

void cuda_free(struct gpu_device *device, struct gpu_memory *memory)
{
    const struct gpu_memory wanted = *memory;
    struct cuda_memory *own;

    *memory = (struct gpu_memory){0};
    if (cuda_enter(device))
        return; /* reset or close will do it */
    own = memory_take(device, &wanted);
    if (own)
        memory_free(device, own, true);
    cuda_leave(device);
}

void cuda_free_all(struct gpu_device *device)
{
    struct cuda_memory *next;

    for (struct cuda_memory *own = device->memories; own; own = next) {
        next = own->next;
        memory_free(device, own, false);
    }
    device->memories = NULL;
}

static bool memory_holds(struct gpu_device *device, uint64_t address, size_t len)
{
    bool holds = false;

    pthread_mutex_lock(&device->memories_lock);
    for (const struct cuda_memory *own = device->memories; own && !holds; own = own->next)
        holds = address >= own->address && address - own->address <= own->mapped &&
                len <= own->mapped - (address - own->address);
    pthread_mutex_unlock(&device->memories_lock);
    return holds;
}

/* to or from: the other one is NULL. */
static int copy_now(struct gpu_device *device, uint64_t address, void *to, const void *from,
                    size_t len)
{
    const struct cuda_driver *driver = device->driver;
    CUresult result;
    int rc = cuda_enter(device);

    if (rc)
        return rc;
    rc = memory_holds(device, address, len) ? 0 : -EINVAL;
    if (!rc && len > 0) {
        result = to ? driver->MemcpyDtoHAsync(to, address, len, device->calls)
                    : driver->MemcpyHtoDAsync(address, from, len, device->calls);
        rc = cuda_result(device, result, "copy");
        if (!rc)
            rc = cuda_result(device, driver->StreamSynchronize(device->calls), "copy");
    }
    cuda_leave(device);
    return rc;
}

int cuda_read(struct gpu_device *device, uint64_t address, void *to, size_t len)
{
    return copy_now(device, address, to, NULL, len);
}

int cuda_write(struct gpu_device *device, uint64_t address, const void *from, size_t len)
{
    return copy_now(device, address, NULL, from, len);
}
