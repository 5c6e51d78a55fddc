/* SPDX-License-Identifier: Apache-2.0 */
/* All devices, each with a worker thread (worker.c); producers hand in jobs over rings of their own
 * and take them back when they ended. Everything that a job names is checked before a byte moves.
 *
 * Order at a device: the more urgent class first, always; within a class the earliest deadline. A
 * job runs layer by layer; the layers of jobs that wait together are submitted together, at most
 * batch_bytes at once, so that an urgent job waits for little. Loads and stores run at once.
 * Choice of device: job->device, or the one among those that the region is in with the least
 * outstanding bytes over measured bandwidth, failed ones excluded. A device that fails is drained:
 * its jobs go to others that the region is in, or end as INTERNAL; it is reset, its regions are
 * imported again, and it comes back, later each time it fails. */
#pragma once

#include "gpu/job.h"

struct gpu_fleet;

struct gpu_fleet_options {
    const struct gpu_backend *backend;
    unsigned nr_producers;  /* threads that push and pop, each with its own number from 0 */
    uint32_t jobs_max;      /* of a producer in the fleet at once, a power of two; 0 = 1024 */
    uint32_t batch_bytes;   /* 0 = 4 MiB: submitted to a lane and not yet done */
    uint32_t batch_wait_us; /* wait so long for more while the lane is idle; 0 = do not */
    const struct gpu_device_options *devices; /* per device, or NULL */
    bool spin;                                /* workers do not sleep between looks */
};

/* -ENODEV: the backend has none; why: one line. */
[[nodiscard]] int gpu_fleet_create(const struct gpu_fleet_options *options,
                                   struct gpu_fleet **fleet, char *why, size_t why_len);
/* Jobs not begun end as CANCELED, those that run are waited for; then producers can pop no more. */
void gpu_fleet_destroy(struct gpu_fleet *fleet);
unsigned gpu_fleet_size(const struct gpu_fleet *fleet);

/* Producer's thread. false: jobs_max are there already, or rings are full: try again after a pop. A
 * bad job is taken, too, and comes back with the status that says why. */
bool gpu_push(struct gpu_fleet *fleet, unsigned producer, struct gpu_job *job);
/* Producer's thread: jobs that ended, at most nr. Gives jobs of failed devices to others. */
unsigned gpu_pop(struct gpu_fleet *fleet, unsigned producer, struct gpu_job **jobs, unsigned nr);

/* Any thread but producers' (takes a lock): the region is imported on device, or on all of them if
 * GPU_ANY. Copies the handle's descriptor. */
[[nodiscard]] int gpu_region_import(struct gpu_fleet *fleet, int device,
                                    const struct gpu_handle *handle, struct gpu_region **region);
/* A region in a device's own memory (a pool; staging). */
[[nodiscard]] int gpu_region_alloc(struct gpu_fleet *fleet, int device, uint64_t size,
                                   struct gpu_region **region);
/* No job may name it any more. */
void gpu_region_close(struct gpu_fleet *fleet, struct gpu_region *region);
uint64_t gpu_region_size(const struct gpu_region *region);
/* Where it begins at a device; 0: not there. For tests and read/write of the backend. */
uint64_t gpu_region_address(const struct gpu_region *region, unsigned device);

/* Registers the arena's data with every device, in chunks, on a thread of its own (kvrail-gpu-reg)
 * while jobs run. Ends by itself or with the fleet. */
[[nodiscard]] int gpu_register_start(struct gpu_fleet *fleet, void *data, size_t len);

enum gpu_state { GPU_UP = 1, GPU_FAILED, GPU_RESETTING };

/* What is known of a device. Written by its worker (counters), read by any thread. */
struct gpu_device_stats {
    struct gpu_device_info info;
    enum gpu_state state;
    uint64_t heartbeat_ns;
    uint64_t jobs, jobs_waiting, jobs_running; /* ended; in its queues; begun */
    uint64_t expired, canceled, refused, failed, moved_away;
    uint64_t load_bytes, store_bytes, outstanding_bytes;
    uint64_t busy_ns[GPU_LANES]; /* a lane had work submitted */
    uint64_t batches, pieces;
    uint64_t failures, resets;
    uint64_t registered_bytes; /* of the arena */
};
int gpu_stats(struct gpu_fleet *fleet, unsigned device, struct gpu_device_stats *stats);
/* The device itself, for tests (failures) and set-up. */
struct gpu_device *gpu_fleet_device(struct gpu_fleet *fleet, unsigned device);
