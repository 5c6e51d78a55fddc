/* SPDX-License-Identifier: Apache-2.0 */
/* A device of the CUDA backend: a context of its own, two streams (the lanes) and what is allocated
 * and registered there. Threads: the lanes belong to the worker; what others may call takes the
 * read side of lock, reset takes the write side, because it destroys the context. A call leaves
 * the context current to its thread. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "gpu/backend.h"
#include "gpu/cuda_driver.h"
#include "gpu/kernels.h"

#define CUDA_IN_FLIGHT 64u /* tickets of a lane not yet polled */
#define CUDA_COPIES_MAX 256u
#define CUDA_SCRATCH_BYTES ((size_t)KVR_PIECE_MAX)

/* Copies collected for one call. */
struct cuda_copies {
    unsigned nr;
    CUdeviceptr to[CUDA_COPIES_MAX], from[CUDA_COPIES_MAX];
    size_t sizes[CUDA_COPIES_MAX];
};

/* Worker only. */
struct cuda_lane {
    CUstream stream;
    CUevent events[CUDA_IN_FLIGHT]; /* of ticket % CUDA_IN_FLIGHT */
    uint64_t submitted, done;       /* tickets; submitted - done <= CUDA_IN_FLIGHT */
    CUdeviceptr scratch;            /* for bytes that kernels cannot reach; 0: not yet needed */
    struct cuda_copies copies;
    enum kernel kernel; /* that launch is for */
    bool inside;        /* launch does not use the bus */
    struct kernel_args launch;
};

struct cuda_memory;

struct gpu_device {
    const struct cuda_driver *driver;
    CUdevice handle;
    unsigned index;
    char name[GPU_NAME_MAX], where[32];
    int numa_node;
    uint64_t memory_total;
    bool has_vmm;       /* memory that can be exported as a descriptor */
    size_t granularity; /* of it */
    size_t pitch_max;   /* of a copy of a strip in one call */
    bool has_batch;     /* worker; false when the driver has refused a batch that could be copied */
    bool no_kernels;    /* open; they do not run here */

    pthread_rwlock_t lock;
    uint32_t failed;   /* atomic: whoever sees it; reset clears it */
    CUcontext context; /* reset writes this and all below up to memories */
    CUfunction kernels[KERNELS];
    bool has_kernels;
    CUstream calls; /* of read and write */
    struct cuda_lane lanes[GPU_LANES];

    pthread_mutex_t memories_lock;
    struct cuda_memory *memories;
    uint64_t memories_made; /* ever; ids count up */

    /* Written by open. */
    uint64_t load_bytes_s, store_bytes_s;
    uint32_t gather_below;
};

/* backend_cuda.c. The context becomes this thread's; -EIO if the device failed. use: worker only;
 * enter: any thread, keeps reset away until leave. */
[[nodiscard]] int cuda_use(struct gpu_device *device);
[[nodiscard]] int cuda_enter(struct gpu_device *device);
void cuda_leave(struct gpu_device *device);
/* Nothing but reset and close from now on. */
void cuda_fail(struct gpu_device *device);
/* cuda_check, and the device has failed if it is -EIO. */
[[nodiscard]] int cuda_result(struct gpu_device *device, CUresult result, const char *what);

/* backend_cuda_memory.c */
int cuda_alloc(struct gpu_device *device, uint64_t size, struct gpu_memory *memory);
int cuda_export(struct gpu_device *device, const struct gpu_memory *memory,
                struct gpu_handle *handle);
int cuda_import(struct gpu_device *device, const struct gpu_handle *handle,
                struct gpu_memory *memory);
/* Of alloc and of import. */
void cuda_free(struct gpu_device *device, struct gpu_memory *memory);
/* All of the device. The context is already gone, or goes next. */
void cuda_free_all(struct gpu_device *device);
int cuda_read(struct gpu_device *device, uint64_t address, void *to, size_t len);
int cuda_write(struct gpu_device *device, uint64_t address, const void *from, size_t len);

/* backend_cuda_ranges.c: host memory that is registered. */
int cuda_register(struct gpu_device *device, void *address, size_t len);
void cuda_unregister(struct gpu_device *device, void *address, size_t len);
/* Nothing is registered with the device any more; its context is already gone. */
void cuda_ranges_forget(struct gpu_device *device);
/* How many of len bytes from address on are alike: in one registered range, or in none. */
size_t cuda_ranges_run(struct gpu_device *device, uint64_t address, size_t len, bool *registered);
/* Whether kernels of the device can read and write all of it. */
bool cuda_ranges_reach(struct gpu_device *device, uint64_t address, size_t len);

/* backend_cuda_copy.c: copy engines. add, strip: collected or begun; flush: all is begun. */
int cuda_copy_strip(struct gpu_device *device, struct cuda_lane *lane, enum gpu_direction direction,
                    const struct gpu_strip *strip);
int cuda_copy_flush(struct gpu_device *device, struct cuda_lane *lane,
                    enum gpu_direction direction);
/* One copy, begun at once. near: all registered, or nothing of it. */
int cuda_copy_bytes(struct gpu_device *device, struct cuda_lane *lane, enum gpu_direction direction,
                    uint64_t near, uint64_t at, size_t len);

/* backend_cuda_kernel.c: kernels. */
int cuda_kernels_load(struct gpu_device *device);
/* From now on there are none. */
void cuda_kernels_refuse(struct gpu_device *device);
/* All of near is in reach. */
int cuda_kernel_strip(struct gpu_device *device, struct cuda_lane *lane,
                      enum gpu_direction direction, const struct gpu_strip *strip);
/* By way of the lane's scratch memory. */
int cuda_staged_strip(struct gpu_device *device, struct cuda_lane *lane,
                      enum gpu_direction direction, const struct gpu_strip *strip);
int cuda_kernel_flush(struct gpu_device *device, struct cuda_lane *lane);

/* backend_cuda_submit.c */
int cuda_submit(struct gpu_device *device, unsigned lane, enum gpu_direction direction,
                const struct gpu_strip *strips, unsigned nr, uint64_t *ticket);
int cuda_poll(struct gpu_device *device, unsigned lane, uint64_t ticket);
bool cuda_converts(const struct gpu_strip *strip);
/* Bytes of a piece at the near side. */
uint32_t cuda_near_bytes(const struct gpu_strip *strip);
/* Bytes of the near side from the first piece to the end of the last. */
size_t cuda_near_span(const struct gpu_strip *strip);

/* backend_cuda_measure.c: bandwidth of both lanes, and, if gather_below does not say it, below
 * which size kernels are faster. */
int cuda_measure(struct gpu_device *device, uint32_t gather_below);
