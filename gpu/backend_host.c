/* SPDX-License-Identifier: Apache-2.0 */
/* A device made of threads and host memory. Each lane is a thread that copies piece by piece and,
 * if a speed is modelled, sleeps until a link of that speed would be done. Memory is memfds, so
 * that other processes map it, too. Device addresses are not those of the process (DEVICE_BIT):
 * who takes one for a pointer crashes. The lock is held by whoever reads or changes the lists;
 * lanes do not take it, for what is in flight keeps its memory. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "gpu/backend.h"
#include "gpu/quant.h"

#define DEVICE_BIT (1ull << 62)
#define MEMORY_DEFAULT (256ull << 20)
#define PAGE 4096ull
#define OPS_MAX 64u /* in flight in a lane, a power of two */
#define SLACK_NS 1000ul
#define PROBE_BYTES (4u << 20)
#define PROBE_RUNS 3

/* Memory of the device, or registered memory of the process. */
struct stretch {
    struct stretch *next;
    uint64_t address, size;
    int fd; /* of alloc's memory, for export; else -1 */
};

struct op {
    enum gpu_direction direction;
    unsigned nr;
    uint64_t submitted_ns;
    struct gpu_strip strips[GPU_STRIPS_MAX];
};

struct lane {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct gpu_device *device;
    struct op *ops;
    uint64_t submitted; /* under lock; ops[ticket % OPS_MAX] */
    uint64_t done;      /* atomic: the lane */
    uint64_t free_ns;   /* lane: when the modelled link is free again */
    bool stop;          /* under lock */
};

struct gpu_device {
    unsigned index;
    struct gpu_device_options options;
    uint64_t bytes_s;
    pthread_mutex_t lock;
    struct stretch *memories, *registered; /* under lock */
    uint64_t allocated;                    /* under lock */
    struct lane lanes[GPU_LANES];
    uint32_t failed;     /* atomic: who finds the fault; 0 by reset */
    int64_t pieces_left; /* atomic: until the injected failure; none if negative */
    uint32_t resets_bad; /* atomic: that many resets fail */
};

static unsigned nr_devices = 1;

void gpu_host_set_devices(unsigned nr)
{
    nr_devices = nr < GPU_DEVICES_MAX ? nr : GPU_DEVICES_MAX;
}

static bool has_failed(struct gpu_device *device)
{
    return __atomic_load_n(&device->failed, __ATOMIC_RELAXED) != 0;
}

static void fail(struct gpu_device *device)
{
    __atomic_store_n(&device->failed, 1, __ATOMIC_RELAXED);
}

void gpu_host_fail_after(struct gpu_device *device, uint64_t nr_pieces, unsigned nr_resets)
{
    __atomic_store_n(&device->resets_bad, nr_resets, __ATOMIC_RELAXED);
    __atomic_store_n(&device->pieces_left, (int64_t)nr_pieces, __ATOMIC_RELAXED);
    if (nr_pieces == 0)
        fail(device);
}

/* Stretches. */

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

/* Copying. */

static void *pointer_of(uint64_t device_address)
{
    return (void *)(uintptr_t)(device_address & ~DEVICE_BIT);
}

static bool converts(const struct gpu_strip *strip)
{
    return strip->conversion.bits != 0 && strip->conversion.bits != 16;
}

static void copy_piece(enum gpu_direction direction, const struct gpu_strip *strip, unsigned i)
{
    uint64_t near = strip->near + i * strip->near_step;
    void *device = pointer_of(strip->device + i * strip->device_step);
    void *host = (void *)(uintptr_t)near;

    if (direction == GPU_MOVE)
        memmove(device, pointer_of(near), strip->piece_bytes);
    else if (direction == GPU_LOAD && converts(strip))
        quant_unpack(&strip->conversion, host, strip->piece_bytes / 2, device);
    else if (direction == GPU_LOAD)
        memcpy(device, host, strip->piece_bytes);
    else if (converts(strip))
        quant_pack(&strip->conversion, device, strip->piece_bytes / 2, host);
    else
        memcpy(host, device, strip->piece_bytes);
}

/* false: the device has failed, now or before. */
static bool take_piece(struct gpu_device *device)
{
    if (has_failed(device))
        return false;
    if (__atomic_load_n(&device->pieces_left, __ATOMIC_RELAXED) < 0)
        return true;
    if (__atomic_fetch_sub(&device->pieces_left, 1, __ATOMIC_RELAXED) != 0)
        return true;
    fail(device);
    return false;
}

/* Bytes that cross the modelled link; 0: the device failed. */
static uint64_t copy_strip(struct gpu_device *device, enum gpu_direction direction,
                           const struct gpu_strip *strip)
{
    uint64_t bytes = strip->piece_bytes;

    if (converts(strip))
        bytes = quant_packed_len(&strip->conversion, strip->piece_bytes / 2);
    for (unsigned i = 0; i < strip->nr_pieces; i++) {
        if (!take_piece(device))
            return 0;
        copy_piece(direction, strip, i);
    }
    return bytes * strip->nr_pieces;
}

static void pace(struct lane *lane, const struct op *op, uint64_t bytes)
{
    uint64_t bytes_s = lane->device->options.model_bytes_s;
    struct timespec until;

    if (bytes_s == 0)
        return;
    if (lane->free_ns < op->submitted_ns)
        lane->free_ns = op->submitted_ns;
    lane->free_ns += (uint64_t)((unsigned __int128)bytes * NS_PER_S / bytes_s);
    until.tv_sec = (time_t)(lane->free_ns / NS_PER_S);
    until.tv_nsec = (long)(lane->free_ns % NS_PER_S);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* false: the device failed. */
static bool run_op(struct lane *lane, const struct op *op)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < op->nr; i++) {
        uint64_t moved = copy_strip(lane->device, op->direction, &op->strips[i]);

        if (moved == 0)
            return false;
        bytes += moved;
    }
    pace(lane, op, bytes);
    return !has_failed(lane->device);
}

static void *lane_run(void *arg)
{
    struct lane *lane = arg;

    pthread_setname_np(pthread_self(), "kvrail-gpu-lane");
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
    pthread_mutex_lock(&lane->lock);
    while (!lane->stop) {
        if (lane->done == lane->submitted || has_failed(lane->device)) {
            pthread_cond_wait(&lane->work, &lane->lock);
            continue;
        }
        pthread_mutex_unlock(&lane->lock);
        /* Release: pairs with poll's acquire; who sees it sees the bytes. */
        if (run_op(lane, &lane->ops[(lane->done + 1) % OPS_MAX]))
            __atomic_store_n(&lane->done, lane->done + 1, __ATOMIC_RELEASE);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

static int lane_start(struct gpu_device *device, struct lane *lane)
{
    int rc;

    lane->device = device;
    lane->stop = false;
    rc = pthread_create(&lane->thread, NULL, lane_run, lane);
    return -rc;
}

static void lane_stop(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->stop = true;
    pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
    pthread_join(lane->thread, NULL);
}

static int lane_create(struct gpu_device *device, struct lane *lane)
{
    int rc = -ENOMEM;

    lane->ops = malloc(OPS_MAX * sizeof(lane->ops[0]));
    if (!lane->ops)
        return -ENOMEM;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->work, NULL);
    rc = lane_start(device, lane);
    if (rc < 0)
        free(lane->ops);
    return rc;
}

static void lane_destroy(struct lane *lane)
{
    lane_stop(lane);
    pthread_cond_destroy(&lane->work);
    pthread_mutex_destroy(&lane->lock);
    free(lane->ops);
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

static int host_open(unsigned index, const struct gpu_device_options *options,
                     struct gpu_device **out)
{
    struct gpu_device *device;
    unsigned nr = 0;
    int rc = 0;

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
    device->pieces_left = -1;
    pthread_mutex_init(&device->lock, NULL);
    for (; nr < GPU_LANES && rc == 0; nr++)
        rc = lane_create(device, &device->lanes[nr]);
    if (rc == 0) {
        *out = device;
        return 0;
    }
    for (nr--; nr > 0; nr--)
        lane_destroy(&device->lanes[nr - 1]);
    pthread_mutex_destroy(&device->lock);
    free(device);
    return rc;
}

/* Memory and registrations; the lanes stand. */
static void forget_memory(struct gpu_device *device)
{
    pthread_mutex_lock(&device->lock);
    while (device->memories) {
        struct stretch *memory = device->memories;

        munmap(pointer_of(memory->address), memory->size);
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
    for (unsigned i = 0; i < GPU_LANES; i++)
        lane_destroy(&device->lanes[i]);
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

    if (has_failed(device))
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
    stretch = stretch_add(&device->memories, (uintptr_t)map | DEVICE_BIT, size, keep_fd ? fd : -1);
    if (!stretch) {
        munmap(map, size);
        return -ENOMEM;
    }
    *memory = (struct gpu_memory){.address = stretch->address, .size = size, .own = stretch};
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

    if (has_failed(device))
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
        if (stretch != memory->own || stretch->address != memory->address)
            continue;
        munmap(pointer_of(stretch->address), stretch->size);
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

    if (has_failed(device))
        return -EIO;
    pthread_mutex_lock(&device->lock);
    for (const struct stretch *stretch = device->memories; stretch; stretch = stretch->next) {
        if (stretch != memory->own || stretch->fd < 0)
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

    if (has_failed(device))
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

static int copy_now(struct gpu_device *device, uint64_t address, void *to, const void *from,
                    size_t len)
{
    int rc = 0;

    if (has_failed(device))
        return -EIO;
    pthread_mutex_lock(&device->lock);
    if (!stretch_holds(device->memories, address, len))
        rc = -EINVAL;
    else if (to)
        memcpy(to, pointer_of(address), len);
    else
        memcpy(pointer_of(address), from, len);
    pthread_mutex_unlock(&device->lock);
    return rc;
}

static int host_read(struct gpu_device *device, uint64_t address, void *to, size_t len)
{
    return copy_now(device, address, to, NULL, len);
}

static int host_write(struct gpu_device *device, uint64_t address, const void *from, size_t len)
{
    return copy_now(device, address, NULL, from, len);
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
        if (converts(&strips[i]) &&
            (direction == GPU_MOVE ||
             !quant_valid(&strips[i].conversion, strips[i].piece_bytes / 2)))
            return false;
    return true;
}

static int host_submit(struct gpu_device *device, unsigned lane_index, enum gpu_direction direction,
                       const struct gpu_strip *strips, unsigned nr, uint64_t *ticket)
{
    struct lane *lane = &device->lanes[lane_index];
    struct op *op;

    if (has_failed(device))
        return -EIO;
    if (!submit_valid(direction, strips, nr))
        return -EINVAL;
    /* Acquire: pairs with the lane's release, the op may be written again. */
    if (lane->submitted - __atomic_load_n(&lane->done, __ATOMIC_ACQUIRE) >= OPS_MAX - 1)
        return -EAGAIN;
    if (!strips_fit(device, direction, strips, nr)) {
        fail(device);
        return -EIO;
    }
    op = &lane->ops[(lane->submitted + 1) % OPS_MAX];
    op->direction = direction;
    op->nr = nr;
    op->submitted_ns = clock_ns();
    memcpy(op->strips, strips, nr * sizeof(strips[0]));
    pthread_mutex_lock(&lane->lock);
    *ticket = ++lane->submitted;
    pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
    return 0;
}

static int host_poll(struct gpu_device *device, unsigned lane, uint64_t ticket)
{
    /* Acquire: pairs with lane_run's release. */
    if (__atomic_load_n(&device->lanes[lane].done, __ATOMIC_ACQUIRE) >= ticket)
        return 1;
    return has_failed(device) ? -EIO : 0;
}

static int host_reset(struct gpu_device *device)
{
    uint32_t bad = __atomic_load_n(&device->resets_bad, __ATOMIC_RELAXED);
    int rc = 0;

    if (bad > 0) {
        __atomic_store_n(&device->resets_bad, bad - 1, __ATOMIC_RELAXED);
        return -EIO;
    }
    fail(device); /* lanes take no further piece */
    for (unsigned i = 0; i < GPU_LANES; i++)
        lane_stop(&device->lanes[i]);
    forget_memory(device);
    __atomic_store_n(&device->pieces_left, -1, __ATOMIC_RELAXED);
    __atomic_store_n(&device->failed, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < GPU_LANES; i++) {
        struct lane *lane = &device->lanes[i];

        lane->submitted = lane->done = 0;
        lane->free_ns = 0;
        rc = lane_start(device, lane) < 0 ? -EIO : rc;
    }
    return rc;
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
