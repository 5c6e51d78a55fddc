/* SPDX-License-Identifier: Apache-2.0 */
/* A device made of threads and host memory. Each lane is a thread that copies piece by piece and,
 * if a speed is modelled, sleeps until a link of that speed would be done. Memory is memfds, so
 * that other processes map it, too. Device addresses are not those of the process
 * (HOST_DEVICE_BIT): who takes one for a pointer crashes. The lock is held by whoever reads or
 * changes the lists; lanes do not take it, for what is in flight keeps its memory. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "gpu/host_lane.h"
#include "gpu/quant.h"

#define MEMORY_DEFAULT (256ull << 20)
#define PAGE 4096ull
#define PROBE_BYTES (4u << 20)
#define PROBE_RUNS 3

/* Memory of the device, or registered memory of the process. */
struct stretch {
    struct stretch *next;
    uint64_t address, size;
    uint64_t id; /* of memory */
    int fd;      /* of alloc's memory, for export; else -1 */
};

struct gpu_device {
    unsigned index;
    struct gpu_device_options options;
    uint64_t bytes_s;
    pthread_mutex_t lock;
    struct stretch *memories, *registered; /* under lock */
    uint64_t allocated, next_id;           /* under lock */
    struct host_lane *lanes[GPU_LANES];    /* worker */
    struct host_fault fault;
};

static unsigned nr_devices = 1;

void gpu_host_set_devices(unsigned nr)
{
    nr_devices = nr < GPU_DEVICES_MAX ? nr : GPU_DEVICES_MAX;
}

void gpu_host_fail_after(struct gpu_device *device, uint64_t nr_pieces, unsigned nr_resets)
{
    __atomic_store_n(&device->fault.resets_bad, nr_resets, __ATOMIC_RELAXED);
    __atomic_store_n(&device->fault.pieces_left, (int64_t)nr_pieces, __ATOMIC_RELAXED);
    if (nr_pieces == 0)
        host_fail(&device->fault);
}

void gpu_host_stall(struct gpu_device *device, bool stalled)
{
    __atomic_store_n(&device->fault.stalled, stalled, __ATOMIC_RELAXED);
}

static struct stretch *stretch_add(struct stretch **list, uint64_t address, uint64_t size, int fd)
{
    struct stretch *stretch = malloc(sizeof(*stretch));

    if (!stretch)
        return NULL;
    *stretch = (struct stretch){.next = *list, .address = address, .size = size, .fd = fd};
    *list = stretch;
    return stretch;
}

static void stretch_remove(struct stretch **list, struct stretch *stretch)
{
    while (*list != stretch)
        list = &(*list)->next;
    *list = stretch->next;
    free(stretch);
}

/* Whether [address, address + len) lies in one of them. */
static bool stretch_holds(const struct stretch *list, uint64_t address, unsigned __int128 len)
{
    for (; list; list = list->next)
        if (address >= list->address && address - list->address <= list->size &&
            len <= list->size - (address - list->address))
            return true;
    return false;
}

/* What a copy of a few MiB takes; the link that there is not. */
static uint64_t measure(void)
{
    uint8_t *from = malloc(PROBE_BYTES), *to = malloc(PROBE_BYTES);
    uint64_t best_ns = UINT64_MAX;

    for (int i = 0; from && to && i < PROBE_RUNS; i++) {
        uint64_t start = clock_ns(), ns;

        memset(from, i, PROBE_BYTES);
        memcpy(to, from, PROBE_BYTES);
        ns = clock_ns() - start + 1;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    free(from);
    free(to);
    return best_ns == UINT64_MAX ? NS_PER_S : PROBE_BYTES * NS_PER_S / best_ns;
}

static int host_probe(unsigned *nr, char *why, size_t why_len)
{
    *nr = nr_devices;
    if (nr_devices > 0)
        return 0;
    snprintf(why, why_len, "no host device is set up");
    return -ENODEV;
}

static void stop_lanes(struct gpu_device *device)
{
    for (unsigned i = 0; i < GPU_LANES; i++) {
        host_lane_destroy(device->lanes[i]);
        device->lanes[i] = NULL;
    }
}

static int start_lanes(struct gpu_device *device)
{
    for (unsigned i = 0; i < GPU_LANES; i++) {
        int rc = host_lane_create(device->options.model_bytes_s, &device->fault, &device->lanes[i]);

        if (rc == 0)
            continue;
        stop_lanes(device);
        return rc;
    }
    return 0;
}

static int host_open(unsigned index, const struct gpu_device_options *options,
                     struct gpu_device **out)
{
    struct gpu_device *device;
    int rc;

    if (index >= nr_devices)
        return -ENODEV;
    device = calloc(1, sizeof(*device));
    if (!device)
        return -ENOMEM;
    device->index = index;
    device->options = options ? *options : (struct gpu_device_options){0};
    if (device->options.model_memory == 0)
        device->options.model_memory = MEMORY_DEFAULT;
    device->bytes_s = device->options.model_bytes_s ? device->options.model_bytes_s : measure();
    device->fault.pieces_left = -1;
    rc = start_lanes(device);
    if (rc < 0) {
        free(device);
        return rc;
    }
    pthread_mutex_init(&device->lock, NULL);
    *out = device;
    return 0;
}

/* Memory and registrations; the lanes stand. */
static void forget_memory(struct gpu_device *device)
{
    pthread_mutex_lock(&device->lock);
    while (device->memories) {
        struct stretch *memory = device->memories;

        munmap(host_pointer(memory->address), memory->size);
        if (memory->fd >= 0)
            close(memory->fd);
        stretch_remove(&device->memories, memory);
    }
    while (device->registered)
        stretch_remove(&device->registered, device->registered);
    device->allocated = 0;
    pthread_mutex_unlock(&device->lock);
}

static void host_close(struct gpu_device *device)
{
    gpu_host_stall(device, false);
    stop_lanes(device);
    forget_memory(device);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

static void host_info(struct gpu_device *device, struct gpu_device_info *info)
{
    *info = (struct gpu_device_info){.numa_node = -1,
                                     .memory_total = device->options.model_memory,
                                     .load_bytes_s = device->bytes_s,
                                     .store_bytes_s = device->bytes_s};
    snprintf(info->name, sizeof(info->name), "host memory%s",
             device->options.model_bytes_s ? ", modelled speed" : "");
    snprintf(info->where, sizeof(info->where), "host:%u", device->index);
    pthread_mutex_lock(&device->lock);
    info->memory_free = device->options.model_memory - device->allocated;
    pthread_mutex_unlock(&device->lock);
}

static bool overlaps(const struct stretch *list, uint64_t address, uint64_t len)
{
    for (; list; list = list->next)
        if (address < list->address + list->size && list->address < address + len)
            return true;
    return false;
}

static int host_register(struct gpu_device *device, void *address, size_t len)
{
    uint64_t at = (uintptr_t)address;
    int rc = 0;

    if (host_has_failed(&device->fault))
        return -EIO;
    if (len == 0 || len > UINT64_MAX - at)
        return -EINVAL;
    pthread_mutex_lock(&device->lock);
    if (overlaps(device->registered, at, len))
        rc = -EEXIST;
    else if (!stretch_add(&device->registered, at, len, -1))
        rc = -ENOMEM;
    pthread_mutex_unlock(&device->lock);
    return rc;
}

static void host_unregister(struct gpu_device *device, void *address, size_t len)
{
    pthread_mutex_lock(&device->lock);
    for (struct stretch *stretch = device->registered; stretch; stretch = stretch->next) {
        if (stretch->address != (uintptr_t)address || stretch->size != len)
            continue;
        stretch_remove(&device->registered, stretch);
        break;
    }
    pthread_mutex_unlock(&device->lock);
}

/* Takes fd if it is to be kept; under lock. */
static int map_memory(struct gpu_device *device, int fd, uint64_t size, bool keep_fd,
                      struct gpu_memory *memory)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct stretch *stretch;

    if (map == MAP_FAILED)
        return errno == ENOMEM ? -ENOMEM : -EINVAL;
    stretch =
        stretch_add(&device->memories, (uintptr_t)map | HOST_DEVICE_BIT, size, keep_fd ? fd : -1);
    if (!stretch) {
        munmap(map, size);
        return -ENOMEM;
    }
    stretch->id = ++device->next_id;
    *memory = (struct gpu_memory){.address = stretch->address, .size = size, .id = stretch->id};
    return 0;
}

static int memory_fd(uint64_t size)
{
    int fd = memfd_create("kvrail-gpu", MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
        return fd;
    rc = -errno;
    close(fd);
    return rc;
}

static int host_alloc(struct gpu_device *device, uint64_t size, struct gpu_memory *memory)
{
    int rc, fd;

    if (host_has_failed(&device->fault))
        return -EIO;
    if (size == 0)
        return -EINVAL;
    if (size > device->options.model_memory)
        return -ENOMEM;
    size = (size + PAGE - 1) & ~(PAGE - 1);
    pthread_mutex_lock(&device->lock);
    rc = size <= device->options.model_memory - device->allocated ? 0 : -ENOMEM;
    if (rc == 0)
        rc = fd = memory_fd(size);
    if (rc >= 0) {
        rc = map_memory(device, fd, size, true, memory);
        if (rc < 0)
            close(fd);
        else
            device->allocated += size;
    }
    pthread_mutex_unlock(&device->lock);
    return rc;
}

/* Memory that reset took away is not found: nothing is left to do. */
static void drop_memory(struct gpu_device *device, struct gpu_memory *memory)
{
    pthread_mutex_lock(&device->lock);
    for (struct stretch *stretch = device->memories; stretch; stretch = stretch->next) {
        if (stretch->id != memory->id)
            continue;
        munmap(host_pointer(stretch->address), stretch->size);
        if (stretch->fd >= 0) {
            close(stretch->fd);
            device->allocated -= stretch->size;
        }
        stretch_remove(&device->memories, stretch);
        break;
    }
    pthread_mutex_unlock(&device->lock);
    *memory = (struct gpu_memory){0};
}

static int host_export(struct gpu_device *device, const struct gpu_memory *memory,
                       struct gpu_handle *handle)
{
    int rc = -EINVAL;

    if (host_has_failed(&device->fault))
        return -EIO;
    pthread_mutex_lock(&device->lock);
    for (const struct stretch *stretch = device->memories; stretch; stretch = stretch->next) {
        if (stretch->id != memory->id || stretch->fd < 0)
            continue;
        *handle = (struct gpu_handle){.kind = GPU_HANDLE_MEMFD, .size = memory->size};
        handle->fd = fcntl(stretch->fd, F_DUPFD_CLOEXEC, 0);
        rc = handle->fd < 0 ? -errno : 0;
        break;
    }
    pthread_mutex_unlock(&device->lock);
    return rc;
}

static int host_import(struct gpu_device *device, const struct gpu_handle *handle,
                       struct gpu_memory *memory)
{
    struct stat st;
    int seals, rc;

    if (host_has_failed(&device->fault))
        return -EIO;
    if (handle->kind != GPU_HANDLE_MEMFD)
        return -ENOTSUP;
    /* Or its owner could cut it off under the copies: SIGBUS. */
    seals = fcntl(handle->fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(handle->fd, &st) < 0 || handle->size == 0 ||
        (uint64_t)st.st_size < handle->size)
        return -EINVAL;
    pthread_mutex_lock(&device->lock);
    rc = map_memory(device, handle->fd, handle->size, false, memory);
    pthread_mutex_unlock(&device->lock);
    return rc;
}

/* 0: the device's lock is held until the copy is done. */
static int copy_begin(struct gpu_device *device, uint64_t address, size_t len)
{
    if (host_has_failed(&device->fault))
        return -EIO;
    pthread_mutex_lock(&device->lock);
    if (stretch_holds(device->memories, address, len))
        return 0;
    pthread_mutex_unlock(&device->lock);
    return -EINVAL;
}

static int host_read(struct gpu_device *device, uint64_t address, void *to, size_t len)
{
    int rc = copy_begin(device, address, len);

    if (rc < 0)
        return rc;
    memcpy(to, host_pointer(address), len);
    pthread_mutex_unlock(&device->lock);
    return 0;
}

static int host_write(struct gpu_device *device, uint64_t address, const void *from, size_t len)
{
    int rc = copy_begin(device, address, len);

    if (rc < 0)
        return rc;
    memcpy(host_pointer(address), from, len);
    pthread_mutex_unlock(&device->lock);
    return 0;
}

/* Steps count forward only. */
static bool strip_fits(const struct gpu_device *device, uint64_t at, uint64_t step,
                       const struct gpu_strip *strip)
{
    unsigned __int128 len = (unsigned __int128)step * (strip->nr_pieces - 1u) + strip->piece_bytes;

    return strip->nr_pieces > 0 && strip->piece_bytes > 0 &&
           stretch_holds(device->memories, at, len);
}

/* As a device that reads from an address which it does not know: a fault, once. */
static bool strips_fit(struct gpu_device *device, enum gpu_direction direction,
                       const struct gpu_strip *strips, unsigned nr)
{
    bool fit = true;

    pthread_mutex_lock(&device->lock);
    for (unsigned i = 0; i < nr && fit; i++)
        fit = strip_fits(device, strips[i].device, strips[i].device_step, &strips[i]) &&
              (direction != GPU_MOVE ||
               strip_fits(device, strips[i].near, strips[i].near_step, &strips[i]));
    pthread_mutex_unlock(&device->lock);
    return fit;
}

static bool submit_valid(enum gpu_direction direction, const struct gpu_strip *strips, unsigned nr)
{
    if (nr == 0 || nr > GPU_STRIPS_MAX)
        return false;
    for (unsigned i = 0; i < nr; i++)
        if (strip_converts(&strips[i]) &&
            (direction == GPU_MOVE ||
             !quant_valid(&strips[i].conversion, strips[i].piece_bytes / 2)))
            return false;
    return true;
}

static int host_submit(struct gpu_device *device, unsigned lane, enum gpu_direction direction,
                       const struct gpu_strip *strips, unsigned nr, uint64_t *ticket)
{
    if (host_has_failed(&device->fault))
        return -EIO;
    if (!submit_valid(direction, strips, nr))
        return -EINVAL;
    if (strips_fit(device, direction, strips, nr))
        return host_lane_submit(device->lanes[lane], direction, strips, nr, ticket);
    host_fail(&device->fault);
    return -EIO;
}

static int host_poll(struct gpu_device *device, unsigned lane, uint64_t ticket)
{
    return device->lanes[lane] ? host_lane_poll(device->lanes[lane], ticket) : -EIO;
}

static int host_reset(struct gpu_device *device)
{
    uint32_t bad = __atomic_load_n(&device->fault.resets_bad, __ATOMIC_RELAXED);

    host_fail(&device->fault); /* lanes take no further piece */
    if (bad > 0) {
        __atomic_store_n(&device->fault.resets_bad, bad - 1, __ATOMIC_RELAXED);
        return -EIO;
    }
    stop_lanes(device);
    forget_memory(device);
    gpu_host_stall(device, false);
    __atomic_store_n(&device->fault.pieces_left, -1, __ATOMIC_RELAXED);
    if (start_lanes(device) < 0)
        return -EIO;
    __atomic_store_n(&device->fault.failed, 0, __ATOMIC_RELAXED);
    return 0;
}

const struct gpu_backend gpu_backend_host = {
    .name = "host",
    .probe = host_probe,
    .open = host_open,
    .close = host_close,
    .info = host_info,
    .host_register = host_register,
    .host_unregister = host_unregister,
    .alloc = host_alloc,
    .free = drop_memory,
    .export = host_export,
    .import = host_import,
    .unimport = drop_memory,
    .read = host_read,
    .write = host_write,
    .submit = host_submit,
    .poll = host_poll,
    .reset = host_reset,
};
