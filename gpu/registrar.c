/* SPDX-License-Identifier: Apache-2.0 */
/* The thread kvrail-gpu-reg: registers the arena's data with every device, a chunk at a time, while
 * jobs run; with one that came back from the start. A worker's lock is held for one chunk only. */
#include <errno.h>
#include <string.h>

#include "base/counters.h"
#include "base/log.h"
#include "gpu/worker.h"

#define CHUNK                                                                                      \
    (64u << 20) /* a multiple of the largest pages that arenas are made of, but of 1 GiB */

static size_t chunk_at(const struct registrar *registrar, uint64_t off)
{
    return registrar->len - off < CHUNK ? registrar->len - off : CHUNK;
}

/* Whether there may be more to do for the device. */
static bool register_chunk(struct registrar *registrar, struct worker *worker)
{
    size_t len;
    int rc = 0;

    pthread_mutex_lock(&worker->lock);
    len = chunk_at(registrar, worker->registered);
    if (!worker->device || worker_state(worker) != GPU_UP || worker->unregistrable || len == 0) {
        pthread_mutex_unlock(&worker->lock);
        return false;
    }
    rc = worker->backend->host_register(worker->device, registrar->data + worker->registered, len);
    if (rc == 0) {
        worker->registered += len;
        counter_set(&worker->stats.registered_bytes, worker->registered);
    } else if (rc != -EIO) {
        worker->unregistrable = true;
    }
    pthread_mutex_unlock(&worker->lock);
    if (rc == -EIO)
        __atomic_store_n(&worker->suspect, 1, __ATOMIC_RELAXED);
    else if (rc < 0)
        log_warning("%s device %u: memory cannot be registered beyond %llu bytes (%s), copies of "
                    "the rest are slower",
                    worker->backend->name, worker->index,
                    (unsigned long long)counter_read(&worker->stats.registered_bytes),
                    strerror(-rc));
    return rc == 0;
}

static bool stopped(struct registrar *registrar)
{
    bool stop;

    pthread_mutex_lock(&registrar->lock);
    stop = registrar->stop;
    pthread_mutex_unlock(&registrar->lock);
    return stop;
}

/* Until somebody has come back. */
static void wait_again(struct registrar *registrar)
{
    pthread_mutex_lock(&registrar->lock);
    while (!registrar->again && !registrar->stop)
        pthread_cond_wait(&registrar->work, &registrar->lock);
    registrar->again = false;
    pthread_mutex_unlock(&registrar->lock);
}

static void *registrar_run(void *arg)
{
    struct gpu_fleet *fleet = arg;
    struct registrar *registrar = &fleet->registrar;

    pthread_setname_np(pthread_self(), "kvrail-gpu-reg");
    while (!stopped(registrar)) {
        bool more = false;

        for (unsigned i = 0; i < fleet->nr_devices; i++)
            more = register_chunk(registrar, &fleet->workers[i]) || more;
        if (!more)
            wait_again(registrar);
    }
    return NULL;
}

void registrar_setup(struct registrar *registrar)
{
    pthread_mutex_init(&registrar->lock, NULL);
    pthread_cond_init(&registrar->work, NULL);
}

int gpu_register_start(struct gpu_fleet *fleet, void *data, size_t len)
{
    struct registrar *registrar = &fleet->registrar;
    int rc = -EBUSY;

    pthread_mutex_lock(&registrar->lock);
    if (!registrar->started) {
        registrar->data = data;
        registrar->len = len;
        rc = -pthread_create(&registrar->thread, NULL, registrar_run, fleet);
        registrar->started = rc == 0;
    }
    pthread_mutex_unlock(&registrar->lock);
    return rc;
}

void registrar_again(struct registrar *registrar)
{
    pthread_mutex_lock(&registrar->lock);
    registrar->again = true;
    pthread_cond_signal(&registrar->work);
    pthread_mutex_unlock(&registrar->lock);
}

void registrar_release(struct worker *worker)
{
    struct registrar *registrar = &worker->fleet->registrar;

    if (worker_state(worker) != GPU_UP)
        return;
    for (uint64_t off = 0; off < worker->registered; off += CHUNK)
        worker->backend->host_unregister(worker->device, registrar->data + off,
                                         chunk_at(registrar, off));
    worker->registered = 0;
}

void registrar_stop(struct registrar *registrar)
{
    pthread_mutex_lock(&registrar->lock);
    registrar->stop = true;
    pthread_cond_signal(&registrar->work);
    pthread_mutex_unlock(&registrar->lock);
    if (registrar->started)
        pthread_join(registrar->thread, NULL);
}

void registrar_teardown(struct registrar *registrar)
{
    pthread_cond_destroy(&registrar->work);
    pthread_mutex_destroy(&registrar->lock);
}
