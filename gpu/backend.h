/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of a backend: what kvrail needs of a kind of device. backend_host.c does it with
 * threads and host memory, backend_cuda.c with the CUDA driver; one suite (tests/unit/gpu) is
 * passed by both. Threads: any function from any thread, but submit, poll and reset of one device
 * from one thread at a time, its worker's. Errors: 0 or -errno; -EIO means that the device failed
 * (for CUDA, a sticky error) and that nothing but reset and close will work until reset has. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvrail/region.h"

#define GPU_DEVICES_MAX 16u
#define GPU_LANES 2u        /* of a device: loads and stores, which run at the same time */
#define GPU_STRIPS_MAX 512u /* of one submit */
#define GPU_NAME_MAX 64u
#define GPU_HANDLE_MAX 64u

enum gpu_direction {
    GPU_LOAD,  /* arena to device */
    GPU_STORE, /* device to arena */
    GPU_MOVE   /* device to device: near is a device address, too */
};

/* Pieces of one size at regular distances. */
struct gpu_strip {
    uint64_t near;      /* first piece: the arena's side, an address of this process */
    uint64_t device;    /* first piece: a device address */
    uint64_t near_step; /* bytes from a piece to the next; packed form if conversion has one */
    uint64_t device_step;
    uint32_t piece_bytes; /* at the device */
    uint32_t nr_pieces;
    struct kvr_conversion conversion;
};

enum gpu_handle_kind {
    GPU_HANDLE_MEMFD = 1, /* host backend: fd of a memfd that is sealed against shrinking */
    GPU_HANDLE_CUDA_IPC,  /* bytes: a CUipcMemHandle */
    GPU_HANDLE_CUDA_FD    /* fd of a VMM allocation (cuMemExportToShareableHandle) */
};

/* Names memory of another process. */
struct gpu_handle {
    enum gpu_handle_kind kind;
    int fd; /* -1: none. The giver's; import duplicates what it needs */
    uint64_t size;
    uint8_t bytes[GPU_HANDLE_MAX];
};

/* Memory of a device in this process: of alloc, or of import. */
struct gpu_memory {
    uint64_t address; /* of the device */
    uint64_t size;
    uint64_t id; /* the backend's: not given again, so that after a reset it names nothing */
};

struct gpu_device_info {
    char name[GPU_NAME_MAX];
    char where[32]; /* PCI address, or "host:2" */
    int numa_node;  /* -1: not known */
    uint64_t memory_total, memory_free;
    uint64_t load_bytes_s, store_bytes_s; /* measured when it was opened */
    uint32_t gather_below; /* bytes: smaller pieces go by kernel, not by copy engine; 0: never */
};

/* What open may be told. Zero it first. */
struct gpu_device_options {
    /* host backend: models a device. Ignored by others. */
    uint64_t model_bytes_s; /* of each lane; 0 = as fast as memory */
    uint64_t model_memory;  /* bytes; 0 = 256 MiB */
    /* CUDA backend: smaller pieces go by kernel; 0 = as measured when it is opened. */
    uint32_t gather_below;
};

struct gpu_device;

struct gpu_backend {
    const char *name; /* "host", "cuda" */
    /* Number of devices. -ENODEV and one line of why: there are none here. */
    int (*probe)(unsigned *nr_devices, char *why, size_t why_len);
    int (*open)(unsigned index, const struct gpu_device_options *options,
                struct gpu_device **device);
    /* Nothing may be in flight, but of a failed device: nothing is when close returns. Frees all
     * memory and registrations. */
    void (*close)(struct gpu_device *device);
    void (*info)(struct gpu_device *device, struct gpu_device_info *info);

    /* Makes [address, address + len) reachable for the copy engines at full speed. Copies work
     * without, slower. For pages that stay as they are until host_unregister. -EEXIST: part of it
     * is registered with this device. */
    int (*host_register)(struct gpu_device *device, void *address, size_t len);
    void (*host_unregister)(struct gpu_device *device, void *address, size_t len);

    int (*alloc)(struct gpu_device *device, uint64_t size, struct gpu_memory *memory);
    void (*free)(struct gpu_device *device, struct gpu_memory *memory);
    /* A handle to memory of alloc that another process may import; its fd is the caller's.
     * -EINVAL: there is no such memory (any more). */
    int (*export)(struct gpu_device *device, const struct gpu_memory *memory,
                  struct gpu_handle *handle);
    /* -ENOTSUP: not this kind; -EINVAL: the handle names no such memory, or less than size. */
    int (*import)(struct gpu_device *device, const struct gpu_handle *handle,
                  struct gpu_memory *memory);
    void (*unimport)(struct gpu_device *device, struct gpu_memory *memory);

    /* Copies that wait; for set-up and tests. -EINVAL: not within one memory of the device. */
    int (*read)(struct gpu_device *device, uint64_t address, void *to, size_t len);
    int (*write)(struct gpu_device *device, uint64_t address, const void *from, size_t len);

    /* Starts all pieces of nr strips, in one lane, after what was submitted to the lane before.
     * The strips may be reused at once, the bytes not until poll says so. -EAGAIN: too much is in
     * flight, poll first. -EINVAL: nr is 0 or above GPU_STRIPS_MAX, or GPU_MOVE with a conversion.
     * -ENOTSUP: conversions, where the backend was built without kernels.
     * *ticket counts up from 1 in each lane, after reset, too. A device address in no memory of the
     * device makes it fail: at once, or with poll. Lanes know no direction. */
    int (*submit)(struct gpu_device *device, unsigned lane, enum gpu_direction direction,
                  const struct gpu_strip *strips, unsigned nr, uint64_t *ticket);
    /* 1: all up to ticket is done, its bytes are visible to every thread; 0: not yet; -EIO. */
    int (*poll)(struct gpu_device *device, unsigned lane, uint64_t ticket);
    /* Brings a failed device back: when it returns 0 nothing is in flight and no byte will be
     * written by what was; memory of alloc and import is gone (freed) and registrations, too. What
     * is freed after that frees nothing. */
    int (*reset)(struct gpu_device *device);
};

extern const struct gpu_backend gpu_backend_host;
extern const struct gpu_backend gpu_backend_cuda;

/* backend_host.c. The number of devices that probe finds, 1 unless set (GPU_DEVICES_MAX at most).
 */
void gpu_host_set_devices(unsigned nr);
/* Injects a hang: while stalled the device takes no further piece. A reset ends it. */
void gpu_host_stall(struct gpu_device *device, bool stalled);
/* Injects a failure: the device fails with -EIO after nr more pieces; resets fail nr_resets times.
 */
void gpu_host_fail_after(struct gpu_device *device, uint64_t nr_pieces, unsigned nr_resets);
