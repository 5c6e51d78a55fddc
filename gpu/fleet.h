/* SPDX-License-Identifier: Apache-2.0 */
/* All devices, each with a worker thread (worker.c); producers hand in jobs over rings of their own
 * and take them back when they ended. Everything that a job names is checked before a byte moves.
 *
 * Order in a lane of a device: the more urgent class first, always; within a class the earliest
 * deadline. A job runs layer by layer; the layers of jobs that wait together are submitted
 * together, at most batch_bytes at once, so that an urgent job waits for little. Loads and stores
 * run at once. Choice of device: job->device, or the one among those that the region is in with the
 * least outstanding bytes over measured bandwidth, failed ones excluded. A device that fails, or
 * hangs, is drained: its jobs go to others that the region is in, or end as INTERNAL; it is reset,
 * its regions are imported again, and it comes back, later each time it fails. Jobs that wait at
 * one device while another would do them much sooner move there, unless they have begun. */
#pragma once

#include "gpu/job.h"

struct gpu_fleet;

struct gpu_fleet_options {
    const struct gpu_backend *backend;
    unsigned nr_producers;  /* threads that push and pop, each with its own number from 0 */
    uint32_t jobs_max;      /* of a producer in the fleet at once, a power of two; 0 = 1024 */
    uint32_t batch_bytes;   /* 0 = 4 MiB: submitted to a lane and not yet done; or two batches of a
                             * layer each, if that is more */
    uint32_t batch_wait_us; /* wait so long for half of that while the lane is idle; not with
                             * CRITICAL jobs; 0 = do not */
    uint32_t hang_timeout_ms; /* 0 = 2000: a device that has work in flight and ends nothing of it
                               * for so long has failed; longer where 20 times what its measured
                               * speed says is more */
    const struct gpu_device_options *devices; /* per device, or NULL */
    bool spin;                                /* workers do not sleep between looks */
};

/* -ENODEV: the backend has none, or none that opens; why: one line. -EINVAL, -ENOMEM, -errno. */
[[nodiscard]] int gpu_fleet_create(const struct gpu_fleet_options *options,
                                   struct gpu_fleet **fleet, char *why, size_t why_len);
/* Producers have stopped. Jobs not begun end as CANCELED, those that run are waited for; all that
 * were not popped are their producers' again, with their status. Closes the regions that are left.
 */
void gpu_fleet_destroy(struct gpu_fleet *fleet);
unsigned gpu_fleet_size(const struct gpu_fleet *fleet);

/* Producer's thread. false: jobs_max are there already, try again after a pop. A bad job is taken,
 * too, and comes back with the status that says why. */
bool gpu_push(struct gpu_fleet *fleet, unsigned producer, struct gpu_job *job);
/* Producer's thread: jobs that ended, at most nr. Gives jobs of failed devices to others, but those
 * in flight only after the reset, however long it takes: until then the device may write. */
unsigned gpu_pop(struct gpu_fleet *fleet, unsigned producer, struct gpu_job **jobs, unsigned nr);

/* Any thread but producers' (takes a lock): the region is imported on device, or on all of them
 * that can if GPU_ANY; on those that have failed when they come back. Copies the handle's
 * descriptor. -EINVAL: no such device; else as the backend's import, of the first device. */
[[nodiscard]] int gpu_region_import(struct gpu_fleet *fleet, int device,
                                    const struct gpu_handle *handle, struct gpu_region **region);
/* A region in a device's own memory (a pool; staging). What is in it is lost when the device is
 * reset. */
[[nodiscard]] int gpu_region_alloc(struct gpu_fleet *fleet, int device, uint64_t size,
                                   struct gpu_region **region);
/* How often its bytes were lost. Any thread. */
uint32_t gpu_region_lost(const struct gpu_region *region);
/* Any thread but producers': the memory of a region of gpu_region_alloc, for another process; the
 * handle's descriptor is the caller's. *lost: gpu_region_lost() of what it names. -EINVAL: not such
 * a region; -EIO: the device has failed; else as the backend's export. */
[[nodiscard]] int gpu_region_export(struct gpu_fleet *fleet, const struct gpu_region *region,
                                    struct gpu_handle *handle, uint32_t *lost);
/* No job may name it any more. */
void gpu_region_close(struct gpu_fleet *fleet, struct gpu_region *region);
uint64_t gpu_region_size(const struct gpu_region *region);
/* Where it begins at a device; 0: not there. For tests and read/write of the backend. */
uint64_t gpu_region_address(const struct gpu_region *region, unsigned device);

/* Registers the arena's data with every device, in chunks, on a thread of its own (kvrail-gpu-reg)
 * while jobs run, and again with devices that come back. Ends with the fleet. -EBUSY: done already.
 */
[[nodiscard]] int gpu_register_start(struct gpu_fleet *fleet, void *data, size_t len);

enum gpu_state { GPU_UP = 1, GPU_FAILED, GPU_RESETTING };

/* Any thread. GPU_FAILED, too, if there is no such device. */
enum gpu_state gpu_device_state(const struct gpu_fleet *fleet, unsigned device);

/* What is known of a device. Written by its worker (counters), read by any thread. */
struct gpu_device_stats {
    struct gpu_device_info info;
    enum gpu_state state;
    uint64_t heartbeat_ns;
    uint64_t jobs, jobs_waiting, jobs_running;      /* ended; in its queues; begun */
    uint64_t expired, canceled, failed, moved_away; /* failed: INTERNAL */
    uint64_t load_bytes, store_bytes, move_bytes;   /* at the device's side */
    uint64_t outstanding_bytes;                     /* over the link, of jobs that have not ended */
    uint64_t bytes_s[GPU_LANES];                    /* measured while lanes were full */
    uint64_t busy_ns[GPU_LANES];                    /* a lane had work submitted */
    uint64_t batches, pieces;
    uint64_t failures, resets, hangs; /* hangs are failures, too */
    uint64_t registered_bytes;        /* of the arena */
    uint64_t memory_free;             /* when something was last taken or given back */
};
/* -EINVAL: no such device. */
int gpu_stats(struct gpu_fleet *fleet, unsigned device, struct gpu_device_stats *stats);

/* Jobs that no device has seen, or would take. */
struct gpu_push_stats {
    uint64_t refused;  /* BAD_FIELD, BAD_RANGE */
    uint64_t homeless; /* INTERNAL: no device left */
};
void gpu_push_stats(const struct gpu_fleet *fleet, struct gpu_push_stats *stats);
/* The device itself, for tests (failures) and set-up; NULL: it did not open. */
struct gpu_device *gpu_fleet_device(struct gpu_fleet *fleet, unsigned device);
