/* SPDX-License-Identifier: Apache-2.0 */
/* Four host devices of unequal speed share one stream of jobs from two producers. First
 * undisturbed: it takes as long as the speeds together say, and a tenth more at most. Then one
 * device fails half way: no job is lost, none ends twice, none begins after its deadline, no urgent
 * one waits behind one that is not, and every byte is where it belongs. */
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
#define DEVICES 4u
#define LAYERS 4u
#define PIECE (8u << 10) /* two kinds: 64 KiB a block */
#define BLOCK (LAYERS * 2 * PIECE)
#define IN_FLEET 256u
#define IN_FLEET_FEW 32u /* so that much is still to come when the device is back */
#define BATCH (1u << 20) /* 65 ms of the fastest: so long may the machine be busy elsewhere */
#define BATCH_SMALL (128u << 10) /* so that much waits, and order means something */
#define POPS 16u
#define SLACK_NS NS_PER_MS /* between a producer's clock and its push, as others see it */
#define BACK_NS (70 * NS_PER_MS)
#define PATIENCE_NS (30 * NS_PER_S)

static const uint64_t speeds[DEVICES] = {16000000, 8000000, 4000000, 2000000};

/* What the producer remembers of a job; the job itself is the fleet's meanwhile. */
struct record {
    struct gpu_job job;
    uint64_t visible_ns; /* pushed for certain */
    unsigned times_ended;
    bool may_expire;
};

struct producer {
    pthread_t thread;
    unsigned index, nr_jobs, in_fleet;
    bool picky; /* deadlines, classes, both directions */
    struct record *records;
    uint64_t started_ns, ended_ns;
};

static struct gpu_fleet *fleet;
static struct paged paged;
static uint64_t nr_ended;  /* atomic */
static uint64_t failed_ns; /* main */

static void fail(const char *what, const struct gpu_job *job)
{
    fprintf(stderr, "%s: status %d priority %u ran on %d moved %u\n", what, (int)job->status,
            job->priority, job->ran_on, job->moved);
    abort();
}

static void make(struct producer *producer, unsigned i, struct rng *rng)
{
    struct record *record = &producer->records[i];
    struct gpu_job *job = &record->job;

    *job = paged_job(&paged, producer->index * producer->nr_jobs + i);
    job->user = record;
    if (!producer->picky)
        return;
    job->direction = rng_below(rng, 4) == 0 ? GPU_STORE : GPU_LOAD;
    job->priority = (uint8_t)rng_below(rng, GPU_PRIORITIES);
    record->may_expire = rng_below(rng, 8) == 0;
    if (record->may_expire)
        job->deadline_ns = clock_ns() + rng_below(rng, 20) * NS_PER_MS;
}

static unsigned take_back(struct producer *producer)
{
    struct gpu_job *jobs[POPS];
    unsigned nr = gpu_pop(fleet, producer->index, jobs, POPS);

    for (unsigned i = 0; i < nr; i++) {
        struct record *record = jobs[i]->user;

        if (record->times_ended++ > 0)
            fail("ended twice", jobs[i]);
    }
    __atomic_add_fetch(&nr_ended, nr, __ATOMIC_RELAXED);
    return nr;
}

static void *produce(void *arg)
{
    struct producer *producer = arg;
    const struct timespec pause = {.tv_nsec = 200000};
    unsigned pushed = 0, ended = 0;
    struct rng rng;

    rng_seed(&rng, producer->index + 7);
    producer->started_ns = clock_ns();
    while (ended < producer->nr_jobs) {
        unsigned nr = take_back(producer);

        ended += nr;
        while (pushed < producer->nr_jobs && pushed - ended < producer->in_fleet) {
            struct record *record = &producer->records[pushed];

            make(producer, pushed, &rng);
            if (!gpu_push(fleet, producer->index, &record->job))
                fail("not taken", &record->job);
            record->visible_ns = clock_ns();
            pushed++;
        }
        if (clock_ns() - producer->started_ns > PATIENCE_NS)
            fail("lost", &producer->records[0].job);
        if (nr == 0)
            nanosleep(&pause, NULL);
    }
    producer->ended_ns = clock_ns();
    return NULL;
}

static void check_job(const struct record *record, unsigned block)
{
    const struct gpu_job *job = &record->job;

    if (record->times_ended != 1)
        fail("did not end once", job);
    if (job->status != KVR_OK && !(job->status == KVR_EXPIRED && record->may_expire))
        fail("wrong status", job);
    if (job->deadline_ns && job->status == KVR_OK && job->began_ns > job->deadline_ns)
        fail("began after its deadline", job);
    if (job->status == KVR_OK &&
        (job->layers_done != LAYERS || !paged_same(&paged, block, 0, LAYERS)))
        fail("wrong bytes", job);
    if (job->status == KVR_EXPIRED && job->moved == 0 && paged_same(&paged, block, 0, 1))
        fail("moved bytes although it expired", job);
}

/* Whether the urgent one was there when the other began, at the same lane, and began later. */
static void check_pair(const struct record *urgent, const struct record *other)
{
    const struct gpu_job *a = &urgent->job, *b = &other->job;

    if (a->ran_on != b->ran_on || (a->direction == GPU_STORE) != (b->direction == GPU_STORE))
        return;
    if (urgent->visible_ns + SLACK_NS < b->began_ns && a->began_ns > b->began_ns)
        fail("an urgent job waited behind another", a);
}

static uint64_t check_order(const struct record *records, unsigned nr)
{
    uint64_t nr_pairs = 0;

    for (unsigned i = 0; i < nr; i++) {
        const struct gpu_job *urgent = &records[i].job;

        if (urgent->priority != KVR_CRITICAL || urgent->moved || urgent->status != KVR_OK)
            continue;
        for (unsigned k = 0; k < nr; k++) {
            const struct gpu_job *other = &records[k].job;

            if (other->priority != KVR_BACKGROUND || other->moved || other->status != KVR_OK)
                continue;
            check_pair(&records[i], &records[k]);
            nr_pairs++;
        }
    }
    return nr_pairs;
}

/* Fails device 0 when half of the jobs have ended. */
static void disturb(unsigned nr_jobs)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t start_ns = clock_ns();

    while (__atomic_load_n(&nr_ended, __ATOMIC_RELAXED) < nr_jobs / 2 &&
           clock_ns() - start_ns < PATIENCE_NS)
        nanosleep(&pause, NULL);
    failed_ns = clock_ns();
    gpu_host_fail_after(gpu_fleet_device(fleet, 0), 5, 2);
}

static void setup(unsigned nr_jobs, uint32_t batch_bytes, unsigned in_fleet)
{
    static struct gpu_device_options devices[DEVICES];
    struct gpu_fleet_options options = {.backend = &gpu_backend_host,
                                        .nr_producers = PRODUCERS,
                                        .jobs_max = in_fleet,
                                        .batch_bytes = batch_bytes,
                                        .devices = devices};
    char why[128];

    for (unsigned i = 0; i < DEVICES; i++)
        devices[i].model_bytes_s = speeds[i];
    gpu_host_set_devices(DEVICES);
    paged_open(&paged, nr_jobs, LAYERS, 2, PIECE);
    paged_fill(&paged, 1);
    if (gpu_fleet_create(&options, &fleet, why, sizeof(why)) < 0 ||
        gpu_region_import(fleet, GPU_ANY, &paged.handle, &paged.region) < 0) {
        fprintf(stderr, "no fleet: %s\n", why);
        abort();
    }
}

/* All jobs of both producers, whose records follow each other. Returns how long they took. */
static uint64_t run(struct record *records, unsigned nr_jobs, bool disturbed)
{
    struct producer producers[PRODUCERS];
    uint64_t started_ns = UINT64_MAX, ended_ns = 0;

    __atomic_store_n(&nr_ended, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.index = i,
                                         .nr_jobs = nr_jobs / PRODUCERS,
                                         .in_fleet = disturbed ? IN_FLEET_FEW : IN_FLEET,
                                         .picky = disturbed,
                                         .records = &records[i * (nr_jobs / PRODUCERS)]};
        if (pthread_create(&producers[i].thread, NULL, produce, &producers[i]))
            abort();
    }
    if (disturbed)
        disturb(nr_jobs);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        pthread_join(producers[i].thread, NULL);
        if (producers[i].started_ns < started_ns)
            started_ns = producers[i].started_ns;
        if (producers[i].ended_ns > ended_ns)
            ended_ns = producers[i].ended_ns;
    }
    return ended_ns - started_ns;
}

/* Of device 0, after it was back: two resets that fail, and one. */
static unsigned count_after(const struct record *records, unsigned nr)
{
    unsigned after = 0;

    for (unsigned i = 0; i < nr; i++)
        after += records[i].job.ran_on == 0 && records[i].job.began_ns > failed_ns + BACK_NS;
    return after;
}

static void print_shares(void)
{
    struct gpu_device_stats stats;

    for (unsigned i = 0; i < DEVICES; i++) {
        if (gpu_stats(fleet, i, &stats) < 0)
            abort();
        if (stats.jobs_waiting || stats.jobs_running || stats.outstanding_bytes) {
            fprintf(stderr, "device %u: something is left over\n", i);
            abort();
        }
        printf("  device %u of %2lu MB/s: %3lu jobs, %lu moved away, %lu failures, busy %lu ms\n",
               i, (unsigned long)(speeds[i] / 1000000), (unsigned long)stats.jobs,
               (unsigned long)stats.moved_away, (unsigned long)stats.failures,
               (unsigned long)(stats.busy_ns[0] / NS_PER_MS));
    }
}

/* The ideal: every device works until the end. Returns whether it was within a tenth of that. */
static bool balance(uint64_t seconds)
{
    uint64_t bytes_s = 0, ns, ideal_ns;
    unsigned nr_jobs;
    struct record *records;

    for (unsigned i = 0; i < DEVICES; i++)
        bytes_s += speeds[i];
    nr_jobs = (unsigned)(bytes_s * seconds / BLOCK) & ~(PRODUCERS - 1);
    ideal_ns = (uint64_t)nr_jobs * BLOCK * NS_PER_S / bytes_s;
    setup(nr_jobs, BATCH, IN_FLEET);
    records = calloc(nr_jobs, sizeof(*records));
    if (!records)
        abort();
    ns = run(records, nr_jobs, false);
    for (unsigned i = 0; i < nr_jobs; i++)
        check_job(&records[i], i);
    printf("%u jobs took %.3f s, ideal %.3f s: %+.1f %%\n", nr_jobs, (double)ns / NS_PER_S,
           (double)ideal_ns / NS_PER_S, 100 * ((double)ns / (double)ideal_ns - 1));
    print_shares();
    gpu_fleet_destroy(fleet);
    paged_close(&paged);
    free(records);
    return ns < ideal_ns + ideal_ns / 10;
}

static void survive(uint64_t seconds)
{
    unsigned nr_jobs = (unsigned)(seconds * 28000000 / BLOCK) & ~(PRODUCERS - 1), nr_moved = 0;
    unsigned nr_expired = 0, nr_after;
    struct gpu_device_stats stats;
    struct record *records = calloc(nr_jobs, sizeof(*records));
    uint64_t nr_pairs, ns;

    setup(nr_jobs, BATCH_SMALL, IN_FLEET_FEW);
    if (!records)
        abort();
    ns = run(records, nr_jobs, true);
    for (unsigned i = 0; i < nr_jobs; i++) {
        check_job(&records[i], i);
        nr_moved += records[i].job.moved > 0;
        nr_expired += records[i].job.status == KVR_EXPIRED;
    }
    nr_pairs = check_order(records, nr_jobs);
    nr_after = count_after(records, nr_jobs);
    printf(
        "%u jobs took %.3f s with a failure: %u moved, %u expired, %u on the failed device since, "
        "%lu pairs in order\n",
        nr_jobs, (double)ns / NS_PER_S, nr_moved, nr_expired, nr_after, (unsigned long)nr_pairs);
    print_shares();
    if (gpu_stats(fleet, 0, &stats) < 0 || stats.failures == 0 || nr_moved == 0 || nr_pairs == 0 ||
        nr_after == 0) {
        fprintf(stderr, "nothing was tried\n");
        abort();
    }
    gpu_fleet_destroy(fleet);
    paged_close(&paged);
    free(records);
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 2;

    setvbuf(stdout, NULL, _IOLBF, 0);
    survive(seconds);
    /* The machine may be busy with something else for a while, but not three times. */
    for (unsigned i = 0; i < 3; i++)
        if (balance(seconds))
            return 0;
    fprintf(stderr, "the devices did not share the work as their speeds say\n");
    return 1;
}
