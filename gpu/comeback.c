/* SPDX-License-Identifier: Apache-2.0 */
/* A device's way down and up again. Worker's thread. Jobs that were not in flight leave at once;
 * those in flight stay until a reset has succeeded, for until then the device may write to what
 * they name. The pause before a reset doubles from failure to failure and from try to try. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "gpu/worker.h"

#define PAUSE_MIN_NS (10 * NS_PER_MS)
#define PAUSE_MAX_NS (10 * NS_PER_S)
#define FORGIVEN_NS (60 * NS_PER_S) /* without a failure: the pause is short again */

static void set_state(struct worker *worker, enum gpu_state state)
{
    __atomic_store_n(&worker->state, state, __ATOMIC_RELAXED);
}

static void longer_pause(struct worker *worker, uint64_t now_ns)
{
    uint64_t pause_ns = worker->backoff_ns * 2;

    if (worker->backoff_ns == 0 || now_ns - worker->failed_ns > FORGIVEN_NS)
        pause_ns = PAUSE_MIN_NS;
    worker->backoff_ns = pause_ns < PAUSE_MAX_NS ? pause_ns : PAUSE_MAX_NS;
    worker->failed_ns = now_ns;
    worker->retry_ns = now_ns + worker->backoff_ns;
}

void worker_fail(struct worker *worker, int rc, uint64_t now_ns)
{
    set_state(worker, GPU_FAILED);
    longer_pause(worker, now_ns);
    counter_add(&worker->stats.failures, 1);
    log_warning("%s device %u (%s) failed (%s), its jobs go to others; reset in %u ms",
                worker->backend->name, worker->index, worker->stats.info.where,
                rc == -ETIMEDOUT ? "it hangs" : strerror(-rc),
                (unsigned)(worker->backoff_ns / NS_PER_MS));
    for (unsigned i = 0; i < GPU_LANES; i++)
        lane_clear(worker, &worker->lanes[i], false, now_ns);
}

/* The backend's part may last as long as the device hangs, so it is not under lock: who takes that
 * meanwhile finds the device not up and leaves its memory alone. */
static int reset(struct worker *worker)
{
    int rc;

    pthread_mutex_lock(&worker->lock);
    set_state(worker, GPU_RESETTING);
    pthread_mutex_unlock(&worker->lock);
    rc = worker->backend->reset(worker->device);
    pthread_mutex_lock(&worker->lock);
    if (rc == 0) {
        worker->registered = 0;
        counter_set(&worker->stats.registered_bytes, 0);
        regions_return(worker);
        worker_note_memory(worker);
    }
    set_state(worker, rc == 0 ? GPU_UP : GPU_FAILED);
    pthread_mutex_unlock(&worker->lock);
    return rc;
}

bool worker_come_back(struct worker *worker, uint64_t now_ns)
{
    int rc;

    if (now_ns < worker->retry_ns)
        return false;
    __atomic_store_n(&worker->suspect, 0, __ATOMIC_RELAXED);
    rc = reset(worker);
    now_ns = clock_ns();
    if (rc < 0) {
        longer_pause(worker, now_ns);
        log_warning("%s device %u (%s) cannot be reset (%s), again in %u ms", worker->backend->name,
                    worker->index, worker->stats.info.where, strerror(-rc),
                    (unsigned)(worker->backoff_ns / NS_PER_MS));
        return true;
    }
    for (unsigned i = 0; i < GPU_LANES; i++)
        lane_abandon(worker, &worker->lanes[i], true, now_ns);
    counter_add(&worker->stats.resets, 1);
    log_info("%s device %u (%s) is back", worker->backend->name, worker->index,
             worker->stats.info.where);
    registrar_again(&worker->fleet->registrar);
    return true;
}
