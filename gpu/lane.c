/* SPDX-License-Identifier: Apache-2.0 */
/* One lane of a device: which layers go next, what is in flight, what is done. Worker's thread.
 * A job with layers still to send is in its queue; one in flight is in the parts of batches, too,
 * and layers_sent - layers_done says with how many layers. It ends when both are left. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "gpu/form.h"
#include "gpu/worker.h"

#define STRIPS_A_LAYER 2u
#define RATE_SHIFT 3 /* the newest sample counts an eighth */
#define RATE_START_NS (10 * NS_PER_MS)
#define BYTES_S_UNKNOWN 1000000000ull
#define HANG_TIMES 20u               /* as long as a batch should take */
#define LOOK_MAX_NS (50 * NS_PER_MS) /* longer between two looks: the worker itself stood still */

int lane_create(struct lane *lane, uint32_t jobs_max, uint64_t bytes_s)
{
    int rc = 0;

    lane->batches = calloc(BATCHES_MAX + 1, sizeof(lane->batches[0]));
    lane->strips = calloc(GPU_STRIPS_MAX, sizeof(lane->strips[0]));
    for (unsigned i = 0; i < GPU_PRIORITIES && rc == 0; i++)
        rc = queue_create(&lane->queues[i], jobs_max);
    lane->rate_ns = RATE_START_NS;
    lane->rate_bytes = (bytes_s ? bytes_s : BYTES_S_UNKNOWN) / (NS_PER_S / RATE_START_NS);
    return lane->batches && lane->strips ? rc : -ENOMEM;
}

void lane_destroy(struct lane *lane)
{
    for (unsigned i = 0; i < GPU_PRIORITIES; i++)
        queue_destroy(&lane->queues[i]);
    free(lane->batches);
    free(lane->strips);
}

void lane_take(struct lane *lane, struct gpu_job *job, uint64_t now_ns)
{
    if (lane->waiting_bytes == 0)
        lane->waiting_since = now_ns;
    lane->waiting_bytes += job_link_bytes(job, job_layers(job) - job->layers_sent);
    queue_push(&lane->queues[job->priority], job);
}

static void forget_waiting(struct lane *lane, const struct gpu_job *job)
{
    lane->waiting_bytes -= job_link_bytes(job, job_layers(job) - job->layers_sent);
}

/* Waiting. */

static bool owner_gone(const struct gpu_job *job)
{
    return job->owner && __atomic_load_n(&job->owner->gone, __ATOMIC_RELAXED) != 0;
}

/* now_ns is when the turn began; the job may have come since. */
static uint64_t begin_ns(const struct gpu_job *job, uint64_t now_ns)
{
    return now_ns > job->pushed_ns ? now_ns : job->pushed_ns;
}

static void cancel(struct worker *worker, struct gpu_job *job, uint64_t now_ns)
{
    job->canceled = true;
    if (job->layers_sent == job->layers_done)
        worker_end(worker, job, KVR_CANCELED, now_ns);
}

bool lane_refuses(struct worker *worker, struct gpu_job *job, uint64_t now_ns)
{
    if (owner_gone(job)) {
        cancel(worker, job, now_ns);
        return true;
    }
    if (job->begun)
        return false;
    if (job->deadline_ns && job->deadline_ns < begin_ns(job, now_ns)) {
        worker_end(worker, job, KVR_EXPIRED, now_ns);
        return true;
    }
    if (job_lost(job) != job->lost) {
        worker_end(worker, job, KVR_INTERNAL, now_ns);
        return true;
    }
    /* A region that did not survive the reset. */
    if (region_address(job->region, worker->index) &&
        (job->direction != GPU_MOVE || region_address(job->from, worker->index)))
        return false;
    worker_move(worker, job);
    return true;
}

struct sweep {
    struct worker *worker;
    struct lane *lane;
    uint64_t now_ns;
    bool cancel;
};

static bool keep_good(void *arg, struct gpu_job *job)
{
    struct sweep *sweep = arg;
    uint64_t bytes = job_link_bytes(job, job_layers(job) - job->layers_sent);

    if (!lane_refuses(sweep->worker, job, sweep->now_ns))
        return true;
    sweep->lane->waiting_bytes -= bytes;
    return false;
}

void lane_sweep(struct worker *worker, struct lane *lane, uint64_t now_ns)
{
    struct sweep sweep = {.worker = worker, .lane = lane, .now_ns = now_ns};

    for (unsigned i = 0; i < GPU_PRIORITIES; i++)
        queue_filter(&lane->queues[i], keep_good, &sweep);
}

static bool keep_none(void *arg, struct gpu_job *job)
{
    struct sweep *sweep = arg;

    forget_waiting(sweep->lane, job);
    if (sweep->cancel)
        cancel(sweep->worker, job, sweep->now_ns);
    else if (job->layers_sent == job->layers_done)
        worker_move(sweep->worker, job);
    return false;
}

void lane_clear(struct worker *worker, struct lane *lane, bool cancel_them, uint64_t now_ns)
{
    struct sweep sweep = {worker, lane, now_ns, cancel_them};

    for (unsigned i = 0; i < GPU_PRIORITIES; i++)
        queue_filter(&lane->queues[i], keep_none, &sweep);
}

/* The most urgent job that may go on. */
static struct gpu_job *top(struct worker *worker, struct lane *lane, uint64_t now_ns)
{
    for (unsigned i = 0; i < GPU_PRIORITIES; i++) {
        struct queue *queue = &lane->queues[i];
        struct gpu_job *job;

        while ((job = queue_top(queue)) != NULL) {
            uint64_t bytes = job_link_bytes(job, job_layers(job) - job->layers_sent);

            if (!lane_refuses(worker, job, now_ns))
                return job;
            (void)queue_pop(queue);
            lane->waiting_bytes -= bytes;
        }
    }
    return NULL;
}

/* Making a batch. */

static struct batch *batch_at(const struct lane *lane, unsigned i)
{
    return &lane->batches[(lane->first + i) % (BATCHES_MAX + 1)];
}

static bool has_room(const struct worker *worker, const struct lane *lane,
                     const struct batch *batch, const struct gpu_job *job)
{
    uint64_t limit = worker->fleet->batch_bytes;
    uint64_t bytes = batch->link_bytes + job->layer_bytes;

    if (lane->nr_strips + STRIPS_A_LAYER > GPU_STRIPS_MAX)
        return false;
    if (batch->nr_parts > 0 && (bytes > limit / 2 || job->direction != batch->direction))
        return false;
    return lane->nr < 2 || lane->link_bytes + bytes <= limit;
}

static void begin(struct worker *worker, struct gpu_job *job, uint64_t now_ns)
{
    job->begun = true;
    job->began_ns = begin_ns(job, now_ns);
    job->ran_on = (int16_t)worker->index;
    counter_add(&worker->stats.jobs_running, 1);
    counter_add(&worker->stats.jobs_waiting, (uint64_t)-1);
}

static unsigned layer_strips(const struct worker *worker, const struct gpu_job *job,
                             struct gpu_strip *strips)
{
    unsigned layer = job->first_layer + job->layers_sent;
    uint64_t device = region_address(job->region, worker->index) + job->region_off;

    if (job->direction != GPU_MOVE)
        return form_strips(&job->form, &job->conversion, layer, (uintptr_t)job->near, device,
                           strips);
    return form_move_strips(&job->from_form, &job->form, layer,
                            region_address(job->from, worker->index) + job->from_off, device,
                            strips);
}

static void add_layer(struct worker *worker, struct lane *lane, struct batch *batch,
                      struct gpu_job *job)
{
    struct part *last = batch->nr_parts ? &batch->parts[batch->nr_parts - 1] : NULL;

    lane->nr_strips += layer_strips(worker, job, &lane->strips[lane->nr_strips]);
    if (last && last->job == job)
        last->layers++;
    else
        batch->parts[batch->nr_parts++] = (struct part){.job = job, .layers = 1};
    batch->direction = job->direction;
    batch->link_bytes += job->layer_bytes;
    lane->waiting_bytes -= job->layer_bytes;
    job->layers_sent++;
}

/* false: nothing waits, or there is no room. */
static bool make_batch(struct worker *worker, struct lane *lane, uint64_t now_ns)
{
    struct batch *batch = batch_at(lane, lane->nr);
    struct gpu_job *job;

    batch->nr_parts = 0;
    batch->link_bytes = 0;
    lane->nr_strips = 0;
    while ((job = top(worker, lane, now_ns)) != NULL && has_room(worker, lane, batch, job)) {
        if (!job->begun)
            begin(worker, job, now_ns);
        add_layer(worker, lane, batch, job);
        if (job->layers_sent == job_layers(job))
            (void)queue_pop(&lane->queues[job->priority]);
        else
            queue_turn(&lane->queues[job->priority]);
    }
    return batch->nr_parts > 0;
}

static bool wait_for_more(const struct gpu_fleet *fleet, const struct lane *lane, uint64_t now_ns)
{
    return fleet->batch_wait_ns && lane->nr == 0 && lane->queues[KVR_CRITICAL].nr == 0 &&
           lane->waiting_bytes < fleet->batch_bytes / 2 &&
           now_ns - lane->waiting_since < fleet->batch_wait_ns;
}

static void submitted(struct worker *worker, struct lane *lane, uint64_t ticket)
{
    struct batch *batch = batch_at(lane, lane->nr);

    batch->ticket = ticket;
    batch->submitted_ns = clock_ns();
    if (lane->nr == 0)
        lane->busy_ns = batch->submitted_ns;
    lane->link_bytes += batch->link_bytes;
    lane->nr++;
    lane->pending = false;
    counter_add(&worker->stats.batches, 1);
}

int lane_fill(struct worker *worker, unsigned index, uint64_t now_ns)
{
    struct lane *lane = &worker->lanes[index];
    int nr = 0;

    while (lane->nr < BATCHES_MAX) {
        struct batch *batch = batch_at(lane, lane->nr);
        uint64_t ticket;
        int rc;

        if (!lane->pending) {
            if (wait_for_more(worker->fleet, lane, now_ns))
                break;
            lane->pending = make_batch(worker, lane, now_ns);
        }
        if (!lane->pending)
            break;
        rc = worker->backend->submit(worker->device, index, batch->direction, lane->strips,
                                     lane->nr_strips, &ticket);
        if (rc == -EAGAIN)
            break;
        if (rc < 0)
            return rc;
        submitted(worker, lane, ticket);
        nr++;
    }
    return nr;
}

/* Done. */

static void count_layers(struct worker *worker, const struct gpu_job *job, unsigned layers)
{
    uint64_t bytes = job->bytes / job_layers(job) * layers;

    counter_add(job->direction == GPU_LOAD    ? &worker->stats.load_bytes
                : job->direction == GPU_STORE ? &worker->stats.store_bytes
                                              : &worker->stats.move_bytes,
                bytes);
    counter_add(&worker->stats.pieces, (uint64_t)job->form.nr_kinds * job->form.nr_pieces * layers);
    __atomic_sub_fetch(&worker->outstanding[job_lane(job)], job_link_bytes(job, layers),
                       __ATOMIC_RELAXED);
}

static void part_done(struct worker *worker, const struct part *part, uint64_t now_ns)
{
    struct gpu_job *job = part->job;
    uint32_t done = job->layers_done + part->layers;

    count_layers(worker, job, part->layers);
    /* Release: pairs with the acquire of who watches the job's progress. */
    __atomic_store_n(&job->layers_done, done, __ATOMIC_RELEASE);
    if (done == job_layers(job))
        worker_end(worker, job, KVR_OK, now_ns);
    else if (job->canceled && done == job->layers_sent)
        worker_end(worker, job, KVR_CANCELED, now_ns);
}

/* Counts only while the lane had work all the time since something was last done: that is its
 * speed, else it is the latency of a job. */
static void measure(struct worker *worker, struct lane *lane, unsigned index,
                    uint64_t oldest_submitted_ns, uint64_t bytes, uint64_t now_ns)
{
    if (oldest_submitted_ns > lane->done_ns)
        return;
    lane->rate_bytes += bytes - (lane->rate_bytes >> RATE_SHIFT);
    lane->rate_ns += now_ns - lane->done_ns - (lane->rate_ns >> RATE_SHIFT);
    counter_set(&worker->stats.bytes_s[index],
                (uint64_t)((unsigned __int128)lane->rate_bytes * NS_PER_S / (lane->rate_ns + 1)));
}

static void batch_done(struct worker *worker, struct lane *lane, uint64_t now_ns)
{
    const struct batch *batch = batch_at(lane, 0);

    for (unsigned i = 0; i < batch->nr_parts; i++)
        part_done(worker, &batch->parts[i], now_ns);
    lane->link_bytes -= batch->link_bytes;
    lane->first = (lane->first + 1) % (BATCHES_MAX + 1);
    lane->nr--;
}

/* How long the first batch may be in flight with nothing done. */
static uint64_t hang_ns(const struct worker *worker, const struct lane *lane, unsigned index)
{
    uint64_t bytes_s = worker->stats.bytes_s[index], floor_ns = worker->fleet->hang_ns;
    uint64_t ns = (uint64_t)((unsigned __int128)batch_at(lane, 0)->link_bytes * HANG_TIMES *
                             NS_PER_S / (bytes_s ? bytes_s : BYTES_S_UNKNOWN));

    return ns > floor_ns ? ns : floor_ns;
}

/* A device that says nothing, neither that it is done nor that it failed. */
static bool hangs(struct worker *worker, const struct lane *lane, unsigned index)
{
    if (lane->nr == 0 || lane->stuck_ns <= hang_ns(worker, lane, index))
        return false;
    counter_add(&worker->stats.hangs, 1);
    log_warning(
        "%s device %u (%s) hangs: its %s lane has done nothing for %llu ms, with %llu bytes "
        "in flight",
        worker->backend->name, worker->index, worker->stats.info.where,
        index == 0 ? "load" : "store", (unsigned long long)(lane->stuck_ns / NS_PER_MS),
        (unsigned long long)lane->link_bytes);
    return true;
}

/* nr: batches that were done by now. */
static void count_time(struct worker *worker, struct lane *lane, unsigned index, int nr,
                       uint64_t now_ns)
{
    uint64_t ns = now_ns - lane->busy_ns;

    counter_add(&worker->stats.busy_ns[index], ns);
    lane->busy_ns = now_ns;
    lane->stuck_ns = nr > 0 ? 0 : lane->stuck_ns + (ns < LOOK_MAX_NS ? ns : LOOK_MAX_NS);
}

int lane_collect(struct worker *worker, unsigned index)
{
    struct lane *lane = &worker->lanes[index];
    uint64_t bytes = 0, oldest_ns = batch_at(lane, 0)->submitted_ns, now_ns;
    bool link = true;
    int nr = 0, rc = 0;

    if (lane->nr == 0)
        return 0;
    now_ns = clock_ns();
    while (lane->nr > 0) {
        const struct batch *batch = batch_at(lane, 0);

        rc = worker->backend->poll(worker->device, index, batch->ticket);
        if (rc <= 0)
            break;
        bytes += batch->link_bytes;
        link = link && batch->direction != GPU_MOVE;
        batch_done(worker, lane, now_ns);
        nr++;
    }
    count_time(worker, lane, index, nr, now_ns);
    if (nr > 0) {
        if (link)
            measure(worker, lane, index, oldest_ns, bytes, now_ns);
        lane->done_ns = now_ns;
    }
    if (rc == 0 && hangs(worker, lane, index))
        rc = -ETIMEDOUT;
    return rc < 0 ? rc : nr;
}

/* Failed. */

static void part_abandon(struct worker *worker, const struct part *part, bool move, uint64_t now_ns)
{
    struct gpu_job *job = part->job;

    job->layers_sent = (uint16_t)(job->layers_sent - part->layers);
    if (job->layers_sent != job->layers_done)
        return;
    job->crashes++;
    if (job->canceled)
        worker_end(worker, job, KVR_CANCELED, now_ns);
    else if (move && job->crashes < 2)
        worker_move(worker, job);
    else
        worker_end(worker, job, KVR_INTERNAL, now_ns);
}

void lane_abandon(struct worker *worker, struct lane *lane, bool move, uint64_t now_ns)
{
    unsigned nr = lane->nr + lane->pending;

    for (unsigned i = 0; i < nr; i++) {
        const struct batch *batch = batch_at(lane, i);

        for (unsigned k = 0; k < batch->nr_parts; k++)
            part_abandon(worker, &batch->parts[k], move, now_ns);
    }
    lane->nr = 0;
    lane->link_bytes = 0;
    lane->stuck_ns = 0;
    lane->pending = false;
}
