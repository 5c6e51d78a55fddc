/* SPDX-License-Identifier: Apache-2.0 */
/* Host devices that fail and hang all the time, while two producers load and store, owners go,
 * regions come and go, the arena is being registered and figures are read. What a job says is done
 * has moved its bytes, and each comes back once. At the end the fleet is destroyed in the middle of
 * it. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"
#include "gpu/fleet.h"
#include "unit/gpu/paged.h"

#define PRODUCERS 2u
#define DEVICES 3u
#define LAYERS 4u
#define PIECE 1024u
#define BLOCKS 32u /* of a producer */
#define POPS 8u
#define HANG_TIMEOUT_MS 30u

struct producer {
    pthread_t thread;
    unsigned index;
    struct rng rng;
    struct gpu_job jobs[BLOCKS]; /* the fleet's if in_fleet */
    bool in_fleet[BLOCKS];
    struct gpu_owner owners[BLOCKS];
    uint64_t nr_ended[KVR_CANCELED + 1]; /* by status */
};

static struct gpu_fleet *fleet;
static struct paged paged;
static struct producer producers[PRODUCERS];
static bool stop; /* atomic */

static bool stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void fail(const char *what, const struct gpu_job *job)
{
    fprintf(stderr, "%s: status %d ran on %d moved %u layers %u\n", what, (int)job->status,
            job->ran_on, job->moved, job->layers_done);
    abort();
}

static unsigned block_of(const struct producer *producer, unsigned i)
{
    return producer->index * BLOCKS + i;
}

static void push(struct producer *producer, unsigned i)
{
    struct gpu_job *job = &producer->jobs[i];
    struct rng *rng = &producer->rng;
    uint64_t stamp = rng_next(rng);

    *job = paged_job(&paged, block_of(producer, i));
    job->direction = rng_below(rng, 3) ? GPU_LOAD : GPU_STORE;
    job->priority = (uint8_t)rng_below(rng, GPU_PRIORITIES);
    job->device = rng_below(rng, 4) ? GPU_ANY : (int16_t)rng_below(rng, DEVICES);
    if (rng_below(rng, 16) == 0)
        job->deadline_ns = clock_ns() + rng_below(rng, NS_PER_MS);
    __atomic_store_n(&producer->owners[i].gone, 0, __ATOMIC_RELAXED);
    job->owner = &producer->owners[i];
    job->user = producer;
    /* The side that is read gets new bytes in its last layer. */
    if (job->direction == GPU_LOAD)
        memcpy(job->near + job->near_len - sizeof(stamp), &stamp, sizeof(stamp));
    else
        memcpy(paged.cache + job->region_off + (LAYERS - 1) * paged.form.layer_step +
                   paged.form.kind_step,
               &stamp, sizeof(stamp));
    if (!gpu_push(fleet, producer->index, job))
        fail("not taken", job);
    producer->in_fleet[i] = true;
}

static void check_ended(struct producer *producer, const struct gpu_job *job)
{
    unsigned i = (unsigned)(job - producer->jobs);

    if (job->user != producer || i >= BLOCKS || !producer->in_fleet[i])
        fail("came back to another, or twice", job);
    producer->in_fleet[i] = false;
    if (job->status != KVR_OK && job->status != KVR_EXPIRED && job->status != KVR_CANCELED &&
        job->status != KVR_INTERNAL)
        fail("wrong status", job);
    if (job->ended_ns == 0 || job->layers_done > LAYERS ||
        (job->status == KVR_OK && job->layers_done != LAYERS))
        fail("ended without an end", job);
    if (!paged_same(&paged, block_of(producer, i), 0, job->layers_done))
        fail("wrong bytes", job);
    producer->nr_ended[job->status]++;
}

static void *produce(void *arg)
{
    struct producer *producer = arg;
    const struct timespec pause = {.tv_nsec = 50000};

    while (!stopped()) {
        struct gpu_job *jobs[POPS];
        unsigned nr = gpu_pop(fleet, producer->index, jobs, POPS);

        for (unsigned i = 0; i < nr; i++)
            check_ended(producer, jobs[i]);
        for (unsigned i = 0; i < BLOCKS; i++) {
            if (!producer->in_fleet[i])
                push(producer, i);
            else if (rng_below(&producer->rng, 2000) == 0)
                __atomic_store_n(&producer->owners[i].gone, 1, __ATOMIC_RELAXED);
        }
        if (nr == 0)
            nanosleep(&pause, NULL);
    }
    return NULL;
}

static void try_regions(struct rng *rng, uint64_t *nr_regions)
{
    struct gpu_region *region = NULL, *pool = NULL;
    int rc = gpu_region_import(fleet, GPU_ANY, &paged.handle, &region);

    if (rc < 0 && rc != -EIO)
        abort();
    if (gpu_region_alloc(fleet, (int)rng_below(rng, DEVICES), 1 << 20, &pool) == 0)
        gpu_region_close(fleet, pool);
    if (rc == 0)
        gpu_region_close(fleet, region);
    *nr_regions += rc == 0;
}

static void harm(struct gpu_device *device, struct rng *rng)
{
    if (rng_below(rng, 2) == 0)
        gpu_host_stall(device, true);
    else
        gpu_host_fail_after(device, rng_below(rng, 20), (unsigned)rng_below(rng, 2));
}

/* One of each, so that none is left to chance. */
static void harm_first(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct gpu_device_stats stats = {0};

    gpu_host_stall(gpu_fleet_device(fleet, 0), true);
    gpu_host_fail_after(gpu_fleet_device(fleet, 1), 0, 0);
    while (!stopped() && gpu_stats(fleet, 0, &stats) == 0 && stats.hangs == 0)
        nanosleep(&pause, NULL);
}

/* Of three devices two may be down at a time. */
static void *meddle(void *arg)
{
    uint64_t *nr_regions = arg;
    struct gpu_device_stats stats;
    struct rng rng;

    rng_seed(&rng, 99);
    harm_first();
    while (!stopped()) {
        struct timespec pause = {.tv_nsec = (long)rng_below(&rng, 4000000)};

        if (rng_below(&rng, 4) == 0)
            harm(gpu_fleet_device(fleet, (unsigned)rng_below(&rng, DEVICES - 1)), &rng);
        try_regions(&rng, nr_regions);
        for (unsigned i = 0; i < DEVICES; i++)
            if (gpu_stats(fleet, i, &stats) < 0 || stats.registered_bytes > paged.size)
                abort();
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void setup(void)
{
    static struct gpu_device_options devices[DEVICES];
    struct gpu_fleet_options options = {.backend = &gpu_backend_host,
                                        .nr_producers = PRODUCERS,
                                        .jobs_max = BLOCKS,
                                        .batch_bytes = 16 << 10,
                                        .hang_timeout_ms = HANG_TIMEOUT_MS,
                                        .devices = devices};
    char why[128];

    for (unsigned i = 0; i < DEVICES; i++)
        devices[i].model_bytes_s = 10000000 * (i + 1);
    gpu_host_set_devices(DEVICES);
    paged_open(&paged, PRODUCERS * BLOCKS, LAYERS, 2, PIECE);
    paged_fill(&paged, 1);
    if (gpu_fleet_create(&options, &fleet, why, sizeof(why)) < 0 ||
        gpu_region_import(fleet, GPU_ANY, &paged.handle, &paged.region) < 0 ||
        gpu_register_start(fleet, paged.arena, paged.size) < 0)
        abort();
}

static void add_failures(uint64_t *failures, uint64_t *hangs)
{
    struct gpu_device_stats stats;

    for (unsigned i = 0; i < DEVICES; i++) {
        if (gpu_stats(fleet, i, &stats) < 0)
            abort();
        *failures += stats.failures;
        *hangs += stats.hangs;
    }
}

/* They stopped with their jobs in the fleet. */
static void check_rest(struct producer *producer)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (producer->in_fleet[i])
            check_ended(producer, &producer->jobs[i]);
}

int main(int argc, char **argv)
{
    struct timespec duration = {.tv_sec = argc > 1 ? atol(argv[1]) : 3};
    uint64_t nr_regions = 0, ended[KVR_CANCELED + 1] = {0}, failures = 0, hangs = 0;
    pthread_t meddler;

    setup();
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i].index = i;
        rng_seed(&producers[i].rng, i + 1);
        if (pthread_create(&producers[i].thread, NULL, produce, &producers[i]))
            abort();
    }
    if (pthread_create(&meddler, NULL, meddle, &nr_regions))
        abort();
    nanosleep(&duration, NULL);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(producers[i].thread, NULL);
    pthread_join(meddler, NULL);
    add_failures(&failures, &hangs);
    gpu_fleet_destroy(fleet);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        check_rest(&producers[i]);
        for (unsigned k = 0; k <= KVR_CANCELED; k++)
            ended[k] += producers[i].nr_ended[k];
    }
    printf("%lu done, %lu expired, %lu canceled, %lu without a device, %lu failures, %lu hangs, "
           "%lu regions\n",
           (unsigned long)ended[KVR_OK], (unsigned long)ended[KVR_EXPIRED],
           (unsigned long)ended[KVR_CANCELED], (unsigned long)ended[KVR_INTERNAL],
           (unsigned long)failures, (unsigned long)hangs, (unsigned long)nr_regions);
    paged_close(&paged);
    return ended[KVR_OK] > 100 && ended[KVR_CANCELED] && failures > 2 && failures > hangs &&
                   hangs > 0 && nr_regions
               ? 0
               : 1;
}
