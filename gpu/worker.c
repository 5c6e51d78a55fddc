/* SPDX-License-Identifier: Apache-2.0 */
/* A device's thread (kvrail-gpu-N): takes jobs from the producers' rings, keeps both lanes busy and
 * gives jobs back. It alone submits to the device. A job is in exactly one place: a ring, a queue
 * (and parts in flight), parts alone, or an ended ring. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "gpu/worker.h"

#define SLEEP_MIN_NS 20000u
#define SLEEP_IN_FLIGHT_MAX_NS 160000u
#define SLEEP_IDLE_MAX_NS 1000000u
#define SLEEP_ALONE_NS 20000000u /* while there is no region that a job could name */
#define SLACK_NS 1000ul
#define SWEEP_NS (10 * NS_PER_MS)

static void leave(struct worker *worker, struct gpu_job *job, uint64_t word)
{
    counter_add(job->begun ? &worker->stats.jobs_running : &worker->stats.jobs_waiting,
                (uint64_t)-1);
    __atomic_sub_fetch(&worker->outstanding[job_lane(job)],
                       job_link_bytes(job, job_layers(job) - job->layers_done), __ATOMIC_RELAXED);
    /* Has room: no more jobs of a producer are in the fleet. */
    (void)spsc_push(&worker->ended[job->producer], word);
}

void worker_end(struct worker *worker, struct gpu_job *job, enum kvr_status status, uint64_t now_ns)
{
    counter_add(&worker->stats.jobs, 1);
    if (status == KVR_EXPIRED)
        counter_add(&worker->stats.expired, 1);
    else if (status == KVR_CANCELED)
        counter_add(&worker->stats.canceled, 1);
    else if (status != KVR_OK)
        counter_add(&worker->stats.failed, 1);
    job->status = status;
    job->ended_ns = now_ns;
    leave(worker, job, (uintptr_t)job);
}

void worker_move(struct worker *worker, struct gpu_job *job)
{
    counter_add(&worker->stats.moved_away, 1);
    leave(worker, job, (uintptr_t)job | MOVED_BIT);
}

static bool take_over(struct worker *worker, uint64_t now_ns)
{
    unsigned nr_rings = worker->fleet->options.nr_producers * GPU_PRIORITIES;
    bool any = false;
    uint64_t word;

    for (unsigned i = 0; i < nr_rings; i++) {
        while (spsc_pop(&worker->rings[i], &word)) {
            struct gpu_job *job = (struct gpu_job *)(uintptr_t)word;

            job->order = worker->order++;
            counter_add(&worker->stats.jobs_waiting, 1);
            lane_take(&worker->lanes[job_lane(job)], job, now_ns);
            any = true;
        }
    }
    return any;
}

static void sweep(struct worker *worker, uint64_t now_ns)
{
    if (now_ns < worker->sweep_ns)
        return;
    worker->sweep_ns = now_ns + SWEEP_NS;
    for (unsigned i = 0; i < GPU_LANES; i++)
        lane_sweep(worker, &worker->lanes[i], now_ns);
    balance_give(worker);
}

/* Sum of what step did in both lanes; -errno: the device has failed. */
static int each_lane(struct worker *worker, uint64_t now_ns)
{
    int did = 0;

    for (unsigned i = 0; i < GPU_LANES; i++) {
        int rc = lane_collect(worker, i);

        if (rc < 0)
            return rc;
        did += rc;
        rc = lane_fill(worker, i, now_ns);
        if (rc < 0)
            return rc;
        did += rc;
    }
    return did;
}

/* Whether there was anything to do. The time is taken before the rings are looked at: of two jobs
 * that were there by then the more urgent begins first. */
static bool turn(struct worker *worker)
{
    uint64_t now_ns = clock_ns();
    bool any;
    int did;

    counter_set(&worker->stats.heartbeat_ns, now_ns);
    any = take_over(worker, now_ns);
    if (worker_state(worker) != GPU_UP) {
        for (unsigned i = 0; i < GPU_LANES; i++)
            lane_clear(worker, &worker->lanes[i], false, now_ns);
        return worker_come_back(worker, now_ns) || any;
    }
    sweep(worker, now_ns);
    did = each_lane(worker, now_ns);
    if (did == 0 && __atomic_exchange_n(&worker->suspect, 0, __ATOMIC_RELAXED))
        did = -EIO;
    if (did < 0)
        worker_fail(worker, did, now_ns);
    return any || did != 0;
}

static bool in_flight(const struct worker *worker)
{
    const struct lane *lanes = worker->lanes;

    return lanes[0].nr > 0 || lanes[1].nr > 0 || lanes[0].pending || lanes[1].pending;
}

/* A quarter of what a lane still has to do, or it would run dry. */
static uint64_t sleep_max_ns(const struct worker *worker)
{
    uint64_t max_ns = in_flight(worker) ? SLEEP_IN_FLIGHT_MAX_NS : SLEEP_IDLE_MAX_NS;

    if (__atomic_load_n(&worker->fleet->nr_regions, __ATOMIC_RELAXED) == 0)
        return SLEEP_ALONE_NS;
    for (unsigned i = 0; i < GPU_LANES; i++) {
        const struct lane *lane = &worker->lanes[i];
        uint64_t ns = lane->link_bytes * NS_PER_S / (worker->stats.bytes_s[i] + 1) / 4;

        if (lane->nr > 0 && ns < max_ns)
            max_ns = ns;
    }
    return max_ns > SLEEP_MIN_NS ? max_ns : SLEEP_MIN_NS;
}

/* Producers ring no bell: that would be a system call of a poll core. */
static void rest(const struct worker *worker, uint64_t *sleep_ns)
{
    uint64_t max_ns = sleep_max_ns(worker);
    struct timespec ts;

    if (worker->fleet->options.spin) {
        cpu_relax();
        return;
    }
    if (*sleep_ns > max_ns)
        *sleep_ns = max_ns;
    ts = (struct timespec){.tv_nsec = (long)*sleep_ns};
    nanosleep(&ts, NULL);
    *sleep_ns *= 2;
}

/* What has not begun is canceled; what is in flight is waited for, or a reset is. */
static void wind_up(struct worker *worker)
{
    uint64_t sleep_ns = SLEEP_MIN_NS, now_ns = clock_ns();
    int did = 0;

    (void)take_over(worker, now_ns);
    for (unsigned i = 0; i < GPU_LANES; i++)
        lane_clear(worker, &worker->lanes[i], true, now_ns);
    while (worker_state(worker) == GPU_UP && did >= 0 && in_flight(worker)) {
        did = each_lane(worker, clock_ns());
        if (did == 0)
            rest(worker, &sleep_ns);
    }
}

static void *worker_run(void *arg)
{
    struct worker *worker = arg;
    uint64_t sleep_ns = SLEEP_MIN_NS;
    char name[16];

    snprintf(name, sizeof(name), "kvrail-gpu-%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
    while (!__atomic_load_n(&worker->fleet->stop, __ATOMIC_RELAXED)) {
        if (turn(worker))
            sleep_ns = SLEEP_MIN_NS;
        else
            rest(worker, &sleep_ns);
    }
    wind_up(worker);
    return NULL;
}

static int rings_create(struct spsc **rings, unsigned nr, uint32_t capacity)
{
    int rc = 0;

    if (posix_memalign((void **)rings, CACHE_LINE, nr * sizeof(**rings)) != 0)
        return -ENOMEM;
    memset(*rings, 0, nr * sizeof(**rings));
    for (unsigned i = 0; i < nr && rc == 0; i++)
        rc = spsc_create(&(*rings)[i], capacity);
    return rc;
}

static void rings_destroy(struct spsc *rings, unsigned nr)
{
    for (unsigned i = 0; rings && i < nr; i++)
        spsc_destroy(&rings[i]);
    free(rings);
}

static int worker_allocate(struct worker *worker)
{
    const struct gpu_fleet_options *options = &worker->fleet->options;
    const struct gpu_device_info *info = &worker->stats.info;
    uint64_t bytes_s[GPU_LANES] = {info->load_bytes_s, info->store_bytes_s};
    int rc;

    rc = rings_create(&worker->rings, options->nr_producers * GPU_PRIORITIES, options->jobs_max);
    if (rc == 0)
        rc = rings_create(&worker->ended, options->nr_producers, options->jobs_max);
    for (unsigned i = 0; i < GPU_LANES && rc == 0; i++) {
        worker->stats.bytes_s[i] = bytes_s[i];
        rc = lane_create(&worker->lanes[i], options->nr_producers * options->jobs_max, bytes_s[i]);
    }
    return rc;
}

/* A device that does not open is left out; the others serve. */
static void open_device(struct worker *worker)
{
    const struct gpu_fleet_options *options = &worker->fleet->options;
    int rc = worker->backend->open(
        worker->index, options->devices ? &options->devices[worker->index] : NULL, &worker->device);

    if (rc < 0) {
        log_error("%s device %u cannot be opened (%s), it is not used", worker->backend->name,
                  worker->index, strerror(-rc));
        worker->device = NULL;
        worker->state = GPU_FAILED;
        return;
    }
    worker->backend->info(worker->device, &worker->stats.info);
    worker->stats.memory_free = worker->stats.info.memory_free;
    worker->state = GPU_UP;
}

int worker_create(struct gpu_fleet *fleet, unsigned index)
{
    struct worker *worker = &fleet->workers[index];
    int rc;

    worker->fleet = fleet;
    worker->backend = fleet->options.backend;
    worker->index = index;
    pthread_mutex_init(&worker->lock, NULL);
    open_device(worker);
    rc = worker_allocate(worker);
    if (rc == 0 && worker->device) {
        rc = -pthread_create(&worker->thread, NULL, worker_run, worker);
        worker->running = rc == 0;
    }
    return rc;
}

/* The thread is gone, and so is the device: nothing is in flight. */
static void give_back_all(struct worker *worker)
{
    uint64_t now_ns = clock_ns(), word;

    for (unsigned i = 0; i < GPU_LANES; i++)
        lane_abandon(worker, &worker->lanes[i], false, now_ns);
    for (unsigned i = 0; i < worker->fleet->options.nr_producers; i++) {
        while (spsc_pop(&worker->ended[i], &word)) {
            struct gpu_job *job = (struct gpu_job *)(uintptr_t)(word & ~(uint64_t)MOVED_BIT);

            if (!(word & MOVED_BIT))
                continue;
            job->status = KVR_CANCELED;
            job->ended_ns = now_ns;
        }
    }
}

void worker_destroy(struct worker *worker)
{
    unsigned nr_producers = worker->fleet->options.nr_producers;

    if (worker->running)
        pthread_join(worker->thread, NULL);
    if (worker->device) {
        registrar_release(worker);
        worker->backend->close(worker->device);
    }
    if (worker->running)
        give_back_all(worker);
    for (unsigned i = 0; i < GPU_LANES; i++)
        lane_destroy(&worker->lanes[i]);
    rings_destroy(worker->rings, nr_producers * GPU_PRIORITIES);
    rings_destroy(worker->ended, nr_producers);
    pthread_mutex_destroy(&worker->lock);
}
