/* SPDX-License-Identifier: Apache-2.0 */
/* Which device a job is for. Producer's thread: the choice when it is pushed, or has to move.
 * Worker's thread: second thoughts about jobs that wait, for a device that comes back, or is done
 * early, would else stand idle beside one with a long queue. They move as jobs of a failed device
 * do, and their producer chooses again. */
#include "base/clock.h"
#include "base/counters.h"
#include "gpu/worker.h"

#define GAIN_S 0.02 /* less than that is not worth a move */
#define MOVES_MAX 8u

static bool can_run(const struct worker *worker, const struct gpu_job *job)
{
    if (worker_state(worker) != GPU_UP ||
        (job->device != GPU_ANY && (unsigned)job->device != worker->index))
        return false;
    return region_address(job->region, worker->index) &&
           (job->direction != GPU_MOVE || region_address(job->from, worker->index));
}

static double speed(const struct worker *worker, unsigned lane)
{
    uint64_t bytes_s = counter_read(&worker->stats.bytes_s[lane]);

    return (double)(bytes_s ? bytes_s : 1);
}

/* When the device would be done with so many bytes more, in seconds from now. */
static double would_take(const struct worker *worker, unsigned lane, uint64_t bytes)
{
    bytes += counter_read(&worker->outstanding[lane]);
    return (double)bytes / speed(worker, lane);
}

struct worker *balance_choose(struct gpu_fleet *fleet, const struct gpu_job *job, uint64_t bytes)
{
    struct worker *best = NULL;
    double best_s = 0;

    for (unsigned i = 0; i < fleet->nr_devices; i++) {
        struct worker *worker = &fleet->workers[i];
        double s;

        if (!can_run(worker, job))
            continue;
        s = would_take(worker, job_lane(job), bytes);
        if (best && s >= best_s)
            continue;
        best = worker;
        best_s = s;
    }
    return best;
}

/* So many bytes less here and more there, and both would be done at the same time. */
static uint64_t surplus(const struct worker *here, const struct worker *there, unsigned lane)
{
    double here_s = would_take(here, lane, 0), there_s = would_take(there, lane, 0);
    double here_bytes_s = speed(here, lane), there_bytes_s = speed(there, lane);

    if (worker_state(there) != GPU_UP || here_s < 2 * there_s + GAIN_S)
        return 0;
    return (uint64_t)((here_s - there_s) * here_bytes_s * there_bytes_s /
                      (here_bytes_s + there_bytes_s));
}

struct gift {
    struct worker *here;
    const struct worker *there;
    struct lane *lane;
    uint64_t bytes; /* still to be given */
};

static bool keep_or_give(void *arg, struct gpu_job *job)
{
    struct gift *gift = arg;
    uint64_t bytes = job_link_bytes(job, job_layers(job) - job->layers_sent);

    if (job->begun || job->moved >= MOVES_MAX || bytes > gift->bytes || !can_run(gift->there, job))
        return true;
    gift->bytes -= bytes;
    gift->lane->waiting_bytes -= bytes;
    worker_move(gift->here, job);
    return false;
}

/* The least urgent first: the others begin here soon. */
static void give(struct worker *worker, const struct worker *there, unsigned index)
{
    struct lane *lane = &worker->lanes[index];
    struct gift gift = {.here = worker, .there = there, .lane = lane};

    if (lane->waiting_bytes > 0)
        gift.bytes = surplus(worker, there, index);
    for (unsigned i = GPU_PRIORITIES; i > 0 && gift.bytes > 0; i--)
        queue_filter(&lane->queues[i - 1], keep_or_give, &gift);
}

void balance_give(struct worker *worker)
{
    struct gpu_fleet *fleet = worker->fleet;

    for (unsigned i = 0; i < fleet->nr_devices; i++)
        for (unsigned lane = 0; lane < GPU_LANES && i != worker->index; lane++)
            give(worker, &fleet->workers[i], lane);
}
