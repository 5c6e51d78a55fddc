/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the fleet, for its own files: fleet.c (producers' side), worker.c (a device's
 * thread), lane.c (what is in flight), balance.c (which device), comeback.c (failure), regions.c
 * and registrar.c (memory).
 *
 *   producer --rings[producer, class]--> worker --submit--> lane of the device
 *   producer <------ended[producer]------ worker <--poll---
 *
 * Writers stand at the fields; "worker" is the device's own thread. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cacheline.h"
#include "base/spsc.h"
#include "gpu/fleet.h"
#include "gpu/queue.h"

#define BATCHES_MAX 8u
#define MOVED_BIT 1u /* of a word in an ended ring: the job is for another device */

/* Layers of a job in a batch. */
struct part {
    struct gpu_job *job;
    uint32_t layers;
};

struct batch {
    uint64_t ticket, link_bytes, submitted_ns;
    enum gpu_direction direction; /* one submit has one */
    unsigned nr_parts;
    struct part parts[GPU_STRIPS_MAX];
};

/* All of it: worker. */
struct lane {
    struct queue queues[GPU_PRIORITIES];
    uint64_t waiting_bytes; /* over the link: layers not sent */
    uint64_t waiting_since; /* when the first of them came */

    struct batch *batches; /* a ring */
    unsigned first, nr;    /* in flight */
    uint64_t link_bytes;   /* in flight */

    /* The batch after those in flight, made but not yet submitted (-EAGAIN). */
    bool pending;
    struct gpu_strip *strips;
    unsigned nr_strips;

    uint64_t done_ns;  /* when something was last done */
    uint64_t busy_ns;  /* up to when busy time is counted */
    uint64_t stuck_ns; /* with batches in flight and none done, as far as the worker looked */
    uint64_t rate_bytes, rate_ns;
};

struct worker {
    struct gpu_fleet *fleet;
    const struct gpu_backend *backend;
    struct gpu_device *device;
    struct spsc *rings; /* [producer * GPU_PRIORITIES + priority] */
    struct spsc *ended; /* [producer] */
    pthread_t thread;
    unsigned index;
    bool running; /* there is a thread; owner of the fleet */

    pthread_mutex_t lock; /* memory of the device: regions, registration; state */
    uint64_t registered;  /* under lock: bytes of the arena, from its start */
    bool unregistrable;   /* under lock: the registrar has given up */

    cache_aligned uint32_t state;    /* atomic, enum gpu_state: worker */
    uint32_t suspect;                /* atomic: who else saw -EIO; worker clears it */
    uint64_t outstanding[GPU_LANES]; /* atomic, bytes over the link: producers add, worker takes */

    cache_aligned struct gpu_device_stats stats; /* counters: worker, and who holds lock (info,
                                                  * registered_bytes, memory_free) */
    struct lane lanes[GPU_LANES];
    uint64_t order;
    uint64_t sweep_ns;
    uint64_t retry_ns, backoff_ns, failed_ns;
};

struct producer {
    cache_aligned uint32_t nr_jobs;      /* in the fleet */
    unsigned next;                       /* device whose ring is looked at first */
    struct gpu_job *ended, **ended_tail; /* never got to a device */
    struct gpu_push_stats stats;         /* counters */
};

struct registrar {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    uint8_t *data;
    size_t len;
    bool started, again, stop; /* under lock */
};

struct gpu_fleet {
    struct gpu_fleet_options options;
    uint64_t batch_bytes, batch_wait_ns, hang_ns;
    unsigned nr_devices;
    struct worker *workers;
    struct producer *producers;
    bool stop;                    /* atomic: gpu_fleet_destroy */
    pthread_mutex_t regions_lock; /* taken after a worker's lock, if both */
    struct gpu_region *regions;   /* under regions_lock */
    uint32_t nr_regions;          /* atomic: who holds regions_lock */
    struct registrar registrar;
};

static inline unsigned job_layers(const struct gpu_job *job)
{
    return job->nr_layers ? job->nr_layers : job->form.nr_layers;
}

static inline unsigned job_lane(const struct gpu_job *job)
{
    return job->direction == GPU_STORE ? 1 : 0;
}

/* See gpu_region_lost. */
static inline uint32_t job_lost(const struct gpu_job *job)
{
    return gpu_region_lost(job->region) +
           (job->direction == GPU_MOVE ? gpu_region_lost(job->from) : 0);
}

static inline uint64_t job_link_bytes(const struct gpu_job *job, unsigned layers)
{
    return (uint64_t)job->layer_bytes * layers;
}

static inline enum gpu_state worker_state(const struct worker *worker)
{
    return (enum gpu_state)__atomic_load_n(&worker->state, __ATOMIC_RELAXED);
}

/* check.c; producer's thread. KVR_OK, BAD_FIELD or BAD_RANGE; fills the fleet's own fields. */
enum kvr_status job_check(struct gpu_job *job, unsigned nr_devices);

/* worker.c */
[[nodiscard]] int worker_create(struct gpu_fleet *fleet, unsigned index);
/* Producers have stopped; jobs end as fleet.h says. */
void worker_destroy(struct worker *worker);
/* The job has ended; it is the producer's from here on. */
void worker_end(struct worker *worker, struct gpu_job *job, enum kvr_status status,
                uint64_t now_ns);
/* The job is for another device; nothing of it is in flight. */
void worker_move(struct worker *worker, struct gpu_job *job);

/* lane.c; worker's thread. */
[[nodiscard]] int lane_create(struct lane *lane, uint32_t jobs_max, uint64_t bytes_s);
void lane_destroy(struct lane *lane);
void lane_take(struct lane *lane, struct gpu_job *job, uint64_t now_ns);
/* Whether the job may begin or go on; else it is ended, now or when what is in flight is done. For
 * jobs that are taken out of their queue. */
bool lane_refuses(struct worker *worker, struct gpu_job *job, uint64_t now_ns);
/* Number of batches that were submitted or done; -errno: the device has failed. -ETIMEDOUT: it
 * hangs. */
[[nodiscard]] int lane_fill(struct worker *worker, unsigned index, uint64_t now_ns);
[[nodiscard]] int lane_collect(struct worker *worker, unsigned index);
/* Takes out waiting jobs of the gone and the expired. */
void lane_sweep(struct worker *worker, struct lane *lane, uint64_t now_ns);
/* Gives up all that waits: for others, or canceled. What is in flight stays. */
void lane_clear(struct worker *worker, struct lane *lane, bool cancel, uint64_t now_ns);
/* The device is reset: gives up what was in flight. */
void lane_abandon(struct worker *worker, struct lane *lane, bool move, uint64_t now_ns);

/* balance.c. Producer's thread: NULL, no device can do it. bytes: over the link, still to come. */
struct worker *balance_choose(struct gpu_fleet *fleet, const struct gpu_job *job, uint64_t bytes);
/* Worker's thread: jobs that wait and have not begun go to devices that would do them much sooner.
 */
void balance_give(struct worker *worker);

/* comeback.c; worker's thread. */
void worker_fail(struct worker *worker, int rc, uint64_t now_ns);
/* Of a failed device. Whether a reset was tried. */
bool worker_come_back(struct worker *worker, uint64_t now_ns);

/* regions.c */
/* Lock held, after a reset: every region is in the device again, or never. */
void regions_return(struct worker *worker);
/* Devices are closed, and what they had of regions with them. */
void regions_teardown(struct gpu_fleet *fleet);
/* Lock held. */
void worker_note_memory(struct worker *worker);
/* Any thread. Address of the region's offset 0 at the device; 0: not there. */
uint64_t region_address(const struct gpu_region *region, unsigned device);
/* Any thread. Whether it is in the device, or will be when that comes back. */
bool region_wants(const struct gpu_region *region, unsigned device);

/* registrar.c */
void registrar_setup(struct registrar *registrar);
/* Ends the thread; workers may still come back. */
void registrar_stop(struct registrar *registrar);
void registrar_teardown(struct registrar *registrar);
/* Worker's thread: the device came back, with nothing registered. */
void registrar_again(struct registrar *registrar);
/* Before the device is closed. */
void registrar_release(struct worker *worker);
