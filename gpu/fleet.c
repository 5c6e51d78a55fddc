/* SPDX-License-Identifier: Apache-2.0 */
/* The producers' side of the fleet: a job's way to a device, and the way back. gpu_push and gpu_pop
 * run on poll cores: no lock, no system call but for the clock, no allocation. A job is counted in
 * its producer's nr_jobs from push to pop, so that no ring can be full. */
#include "gpu/fleet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "gpu/worker.h"

#define JOBS_MAX_DEFAULT 1024u
#define BATCH_BYTES_DEFAULT (4u << 20)
#define HANG_TIMEOUT_MS_DEFAULT 2000u

static void end_here(struct producer *producer, struct gpu_job *job, enum kvr_status status,
                     uint64_t now_ns)
{
    counter_add(status == KVR_INTERNAL ? &producer->stats.homeless : &producer->stats.refused, 1);
    job->status = status;
    job->ended_ns = now_ns;
    job->next = NULL;
    *producer->ended_tail = job;
    producer->ended_tail = &job->next;
}

/* To a device, or back if there is none. */
static void route(struct gpu_fleet *fleet, unsigned producer, struct gpu_job *job, uint64_t now_ns)
{
    uint64_t bytes = job_link_bytes(job, job_layers(job) - job->layers_done);
    struct worker *worker = balance_choose(fleet, job, bytes);

    if (!worker) {
        end_here(&fleet->producers[producer], job, KVR_INTERNAL, now_ns);
        return;
    }
    __atomic_add_fetch(&worker->outstanding[job_lane(job)], bytes, __ATOMIC_RELAXED);
    (void)spsc_push(&worker->rings[producer * GPU_PRIORITIES + job->priority], (uintptr_t)job);
}

bool gpu_push(struct gpu_fleet *fleet, unsigned producer, struct gpu_job *job)
{
    struct producer *own = &fleet->producers[producer];
    uint64_t now_ns = clock_ns();
    enum kvr_status status;

    if (own->nr_jobs == fleet->options.jobs_max)
        return false;
    own->nr_jobs++;
    job->layers_done = 0;
    job->moved = 0;
    job->ran_on = -1;
    job->status = KVR_OK;
    job->pushed_ns = now_ns;
    job->began_ns = job->ended_ns = job->bytes = 0;
    job->producer = (uint16_t)producer;
    job->layers_sent = 0;
    job->crashes = 0;
    job->begun = job->canceled = false;
    status = job_check(job, fleet->nr_devices);
    if (status == KVR_OK)
        route(fleet, producer, job, now_ns);
    else
        end_here(own, job, status, now_ns);
    return true;
}

static void move(struct gpu_fleet *fleet, unsigned producer, struct gpu_job *job)
{
    job->moved++;
    job->begun = false;
    route(fleet, producer, job, clock_ns());
}

static unsigned pop_from(struct gpu_fleet *fleet, struct worker *worker, unsigned producer,
                         struct gpu_job **jobs, unsigned nr)
{
    unsigned got = 0;
    uint64_t word;

    while (got < nr && spsc_pop(&worker->ended[producer], &word)) {
        struct gpu_job *job = (struct gpu_job *)(uintptr_t)(word & ~(uint64_t)MOVED_BIT);

        if (word & MOVED_BIT)
            move(fleet, producer, job);
        else
            jobs[got++] = job;
    }
    return got;
}

static unsigned pop_own(struct producer *producer, struct gpu_job **jobs, unsigned nr)
{
    unsigned got = 0;

    while (got < nr && producer->ended) {
        jobs[got] = producer->ended;
        producer->ended = jobs[got]->next;
        got++;
    }
    if (!producer->ended)
        producer->ended_tail = &producer->ended;
    return got;
}

unsigned gpu_pop(struct gpu_fleet *fleet, unsigned producer, struct gpu_job **jobs, unsigned nr)
{
    struct producer *own = &fleet->producers[producer];
    unsigned got = 0;

    for (unsigned i = 0; i < fleet->nr_devices && got < nr; i++) {
        unsigned device = (own->next + i) % fleet->nr_devices;

        got += pop_from(fleet, &fleet->workers[device], producer, &jobs[got], nr - got);
    }
    own->next = (own->next + 1) % fleet->nr_devices;
    got += pop_own(own, &jobs[got], nr - got);
    own->nr_jobs -= got;
    return got;
}

static void defaults(struct gpu_fleet *fleet, const struct gpu_fleet_options *options)
{
    fleet->options = *options;
    if (options->jobs_max == 0)
        fleet->options.jobs_max = JOBS_MAX_DEFAULT;
    fleet->batch_bytes = options->batch_bytes ? options->batch_bytes : BATCH_BYTES_DEFAULT;
    fleet->batch_wait_ns = options->batch_wait_us * NS_PER_US;
    fleet->hang_ns =
        (options->hang_timeout_ms ? options->hang_timeout_ms : HANG_TIMEOUT_MS_DEFAULT) * NS_PER_MS;
}

static bool options_valid(const struct gpu_fleet_options *options)
{
    return options->nr_producers > 0 && options->nr_producers <= UINT16_MAX &&
           options->jobs_max != 1 && (options->jobs_max & (options->jobs_max - 1)) == 0;
}

static int allocate(struct gpu_fleet *fleet)
{
    unsigned nr_producers = fleet->options.nr_producers;

    if (posix_memalign((void **)&fleet->workers, CACHE_LINE,
                       fleet->nr_devices * sizeof(fleet->workers[0])) != 0)
        return -ENOMEM;
    memset(fleet->workers, 0, fleet->nr_devices * sizeof(fleet->workers[0]));
    if (posix_memalign((void **)&fleet->producers, CACHE_LINE,
                       nr_producers * sizeof(fleet->producers[0])) != 0)
        return -ENOMEM;
    memset(fleet->producers, 0, nr_producers * sizeof(fleet->producers[0]));
    for (unsigned i = 0; i < nr_producers; i++)
        fleet->producers[i].ended_tail = &fleet->producers[i].ended;
    return 0;
}

/* Ends nr_workers of them; the others were never made. */
static void teardown(struct gpu_fleet *fleet, unsigned nr_workers)
{
    registrar_stop(&fleet->registrar);
    __atomic_store_n(&fleet->stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < nr_workers; i++)
        worker_destroy(&fleet->workers[i]);
    registrar_teardown(&fleet->registrar);
    regions_teardown(fleet);
    free(fleet->workers);
    free(fleet->producers);
    free(fleet);
}

static int start(struct gpu_fleet *fleet, unsigned *nr_workers)
{
    unsigned nr_open = 0;
    int rc = allocate(fleet);

    for (unsigned i = 0; i < fleet->nr_devices && rc == 0; i++) {
        *nr_workers = i + 1;
        rc = worker_create(fleet, i);
        nr_open += rc == 0 && fleet->workers[i].device;
    }
    return rc == 0 && nr_open == 0 ? -ENODEV : rc;
}

int gpu_fleet_create(const struct gpu_fleet_options *options, struct gpu_fleet **out, char *why,
                     size_t why_len)
{
    struct gpu_fleet *fleet;
    unsigned nr_devices, nr_workers = 0;
    int rc;

    snprintf(why, why_len, "options of the fleet");
    if (!options_valid(options))
        return -EINVAL;
    rc = options->backend->probe(&nr_devices, why, why_len);
    if (rc < 0)
        return rc;
    fleet = calloc(1, sizeof(*fleet));
    if (!fleet)
        return -ENOMEM;
    fleet->nr_devices = nr_devices < GPU_DEVICES_MAX ? nr_devices : GPU_DEVICES_MAX;
    defaults(fleet, options);
    pthread_mutex_init(&fleet->regions_lock, NULL);
    registrar_setup(&fleet->registrar);
    rc = start(fleet, &nr_workers);
    if (rc < 0) {
        snprintf(why, why_len, "%u devices, none of them starts (%s)", nr_devices, strerror(-rc));
        teardown(fleet, nr_workers);
        return rc;
    }
    *out = fleet;
    return 0;
}

void gpu_fleet_destroy(struct gpu_fleet *fleet)
{
    if (fleet)
        teardown(fleet, fleet->nr_devices);
}

unsigned gpu_fleet_size(const struct gpu_fleet *fleet)
{
    return fleet->nr_devices;
}

struct gpu_device *gpu_fleet_device(struct gpu_fleet *fleet, unsigned device)
{
    return device < fleet->nr_devices ? fleet->workers[device].device : NULL;
}

enum gpu_state gpu_device_state(const struct gpu_fleet *fleet, unsigned device)
{
    return device < fleet->nr_devices ? worker_state(&fleet->workers[device]) : GPU_FAILED;
}

int gpu_stats(struct gpu_fleet *fleet, unsigned device, struct gpu_device_stats *stats)
{
    const size_t from = offsetof(struct gpu_device_stats, heartbeat_ns) / sizeof(uint64_t);
    const struct worker *worker;
    const uint64_t *words;

    if (device >= fleet->nr_devices)
        return -EINVAL;
    worker = &fleet->workers[device];
    words = (const uint64_t *)(const void *)&worker->stats;
    for (size_t i = from; i < sizeof(*stats) / sizeof(uint64_t); i++)
        ((uint64_t *)(void *)stats)[i] = counter_read(&words[i]);
    stats->info = worker->stats.info;
    stats->state = worker_state(worker);
    stats->outstanding_bytes = 0;
    for (unsigned i = 0; i < GPU_LANES; i++)
        stats->outstanding_bytes += counter_read(&worker->outstanding[i]);
    return 0;
}

void gpu_push_stats(const struct gpu_fleet *fleet, struct gpu_push_stats *stats)
{
    *stats = (struct gpu_push_stats){0};
    for (unsigned i = 0; i < fleet->options.nr_producers; i++) {
        stats->refused += counter_read(&fleet->producers[i].stats.refused);
        stats->homeless += counter_read(&fleet->producers[i].stats.homeless);
    }
}
