/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that stand for copy engines (kvrail-gpu-lane). A lane's ops are written by submit
 * and belong to the thread until it has counted them as done; the lock is for sleep only. */
#include "gpu/host_lane.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "gpu/quant.h"

#define OPS_MAX 64u /* in flight, a power of two */
#define SLACK_NS 1000ul
#define STALL_NS 100000

struct op {
    enum gpu_direction direction;
    unsigned nr;
    uint64_t submitted_ns;
    struct gpu_strip strips[GPU_STRIPS_MAX];
};

struct host_lane {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct host_fault *fault;
    uint64_t bytes_s;
    struct op *ops;     /* ops[ticket % OPS_MAX] */
    uint64_t submitted; /* under lock */
    bool stop;          /* under lock */
    uint64_t done;      /* atomic: the thread */
    uint64_t free_ns;   /* thread: when the modelled link is free again */
};

static void copy_piece(enum gpu_direction direction, const struct gpu_strip *strip, unsigned i)
{
    uint64_t near = strip->near + i * strip->near_step;
    void *device = host_pointer(strip->device + i * strip->device_step);
    void *host = (void *)(uintptr_t)near;

    if (direction == GPU_MOVE)
        memmove(device, host_pointer(near), strip->piece_bytes);
    else if (direction == GPU_LOAD && strip_converts(strip))
        quant_unpack(&strip->conversion, host, strip->piece_bytes / 2, device);
    else if (direction == GPU_LOAD)
        memcpy(device, host, strip->piece_bytes);
    else if (strip_converts(strip))
        quant_pack(&strip->conversion, device, strip->piece_bytes / 2, host);
    else
        memcpy(host, device, strip->piece_bytes);
}

static void wait_while_stalled(const struct host_fault *fault)
{
    const struct timespec pause = {.tv_nsec = STALL_NS};

    while (__atomic_load_n(&fault->stalled, __ATOMIC_RELAXED) && !host_has_failed(fault))
        nanosleep(&pause, NULL);
}

/* false: the device has failed, now or before. */
static bool take_piece(struct host_fault *fault)
{
    wait_while_stalled(fault);
    if (host_has_failed(fault))
        return false;
    if (__atomic_load_n(&fault->pieces_left, __ATOMIC_RELAXED) < 0)
        return true;
    if (__atomic_fetch_sub(&fault->pieces_left, 1, __ATOMIC_RELAXED) != 0)
        return true;
    host_fail(fault);
    return false;
}

/* Bytes that cross the modelled link; 0: the device failed. */
static uint64_t copy_strip(struct host_fault *fault, enum gpu_direction direction,
                           const struct gpu_strip *strip)
{
    uint64_t bytes = strip->piece_bytes;

    if (strip_converts(strip))
        bytes = quant_packed_len(&strip->conversion, strip->piece_bytes / 2);
    for (unsigned i = 0; i < strip->nr_pieces; i++) {
        if (!take_piece(fault))
            return 0;
        copy_piece(direction, strip, i);
    }
    return bytes * strip->nr_pieces;
}

static void pace(struct host_lane *lane, const struct op *op, uint64_t bytes)
{
    struct timespec until;

    if (lane->bytes_s == 0)
        return;
    if (lane->free_ns < op->submitted_ns)
        lane->free_ns = op->submitted_ns;
    lane->free_ns += (uint64_t)((unsigned __int128)bytes * NS_PER_S / lane->bytes_s);
    until.tv_sec = (time_t)(lane->free_ns / NS_PER_S);
    until.tv_nsec = (long)(lane->free_ns % NS_PER_S);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* false: the device failed. */
static bool run_op(struct host_lane *lane, const struct op *op)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < op->nr; i++) {
        uint64_t moved = copy_strip(lane->fault, op->direction, &op->strips[i]);

        if (moved == 0)
            return false;
        bytes += moved;
    }
    pace(lane, op, bytes);
    return !host_has_failed(lane->fault);
}

static void *lane_run(void *arg)
{
    struct host_lane *lane = arg;

    pthread_setname_np(pthread_self(), "kvrail-gpu-lane");
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
    pthread_mutex_lock(&lane->lock);
    while (!lane->stop) {
        if (lane->done == lane->submitted || host_has_failed(lane->fault)) {
            pthread_cond_wait(&lane->work, &lane->lock);
            continue;
        }
        pthread_mutex_unlock(&lane->lock);
        /* Release: pairs with poll's acquire; who sees it sees the bytes. */
        if (run_op(lane, &lane->ops[(lane->done + 1) % OPS_MAX]))
            __atomic_store_n(&lane->done, lane->done + 1, __ATOMIC_RELEASE);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

int host_lane_create(uint64_t bytes_s, struct host_fault *fault, struct host_lane **out)
{
    struct host_lane *lane = calloc(1, sizeof(*lane));
    int rc = ENOMEM;

    if (!lane)
        return -ENOMEM;
    lane->bytes_s = bytes_s;
    lane->fault = fault;
    lane->ops = malloc(OPS_MAX * sizeof(lane->ops[0]));
    if (!lane->ops)
        goto free_lane;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->work, NULL);
    rc = pthread_create(&lane->thread, NULL, lane_run, lane);
    if (rc != 0)
        goto free_ops;
    *out = lane;
    return 0;

free_ops:
    free(lane->ops);
free_lane:
    free(lane);
    return -rc;
}

void host_lane_destroy(struct host_lane *lane)
{
    if (!lane)
        return;
    pthread_mutex_lock(&lane->lock);
    lane->stop = true;
    pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
    pthread_join(lane->thread, NULL);
    pthread_cond_destroy(&lane->work);
    pthread_mutex_destroy(&lane->lock);
    free(lane->ops);
    free(lane);
}

int host_lane_submit(struct host_lane *lane, enum gpu_direction direction,
                     const struct gpu_strip *strips, unsigned nr, uint64_t *ticket)
{
    struct op *op = &lane->ops[(lane->submitted + 1) % OPS_MAX];

    /* Acquire: pairs with the thread's release; it is done with the op that was here. */
    if (lane->submitted - __atomic_load_n(&lane->done, __ATOMIC_ACQUIRE) >= OPS_MAX - 1)
        return -EAGAIN;
    op->direction = direction;
    op->nr = nr;
    op->submitted_ns = clock_ns();
    memcpy(op->strips, strips, nr * sizeof(strips[0]));
    pthread_mutex_lock(&lane->lock);
    *ticket = ++lane->submitted;
    pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
    return 0;
}

int host_lane_poll(struct host_lane *lane, uint64_t ticket)
{
    /* Acquire: pairs with the thread's release. */
    if (__atomic_load_n(&lane->done, __ATOMIC_ACQUIRE) >= ticket)
        return 1;
    return host_has_failed(lane->fault) ? -EIO : 0;
}
