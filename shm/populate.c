/* SPDX-License-Identifier: Apache-2.0 */
/* One madvise per piece, so that it stops soon when it is asked to. Contents stay as they are:
 * MADV_POPULATE_WRITE faults pages in without writing to them. */
#include "shm/populate.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define PIECE (2u << 20)
#define NICE 10

struct populator {
    pthread_t thread;
    const struct arena *arena;
    bool stop, ended; /* atomic */
};

static bool populate(const struct populator *populator, void *start, size_t size)
{
    for (size_t at = 0; at < size; at += PIECE) {
        size_t piece = size - at < PIECE ? size - at : PIECE;

        if (__atomic_load_n(&populator->stop, __ATOMIC_RELAXED) ||
            madvise((char *)start + at, piece, MADV_POPULATE_WRITE))
            return false;
    }
    return true;
}

static void *populate_loop(void *arg)
{
    struct populator *populator = arg;
    const struct arena *arena = populator->arena;

    /* Not below that: while the kernel clears a huge page it holds a lock that faults of others, of
     * poll cores and clients, may wait for, and a thread at idle priority may get no CPU for long.
     */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    if (populate(populator, arena->sb, arena->index_size))
        (void)populate(populator, arena->data, arena->data_size);
    __atomic_store_n(&populator->ended, true, __ATOMIC_RELEASE);
    return NULL;
}

int populate_start(const struct arena *arena, struct populator **out)
{
    struct populator *populator = calloc(1, sizeof(*populator));
    sigset_t all, before;
    int error;

    if (!populator)
        return -ENOMEM;
    populator->arena = arena;
    /* Signals are for the main thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&populator->thread, NULL, populate_loop, populator);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        free(populator);
        return -error;
    }
    pthread_setname_np(populator->thread, "kvrail-populate");
    *out = populator;
    return 0;
}

void populate_stop(struct populator *populator)
{
    __atomic_store_n(&populator->stop, true, __ATOMIC_RELAXED);
    pthread_join(populator->thread, NULL);
    free(populator);
}

bool populate_ended(const struct populator *populator)
{
    return __atomic_load_n(&populator->ended, __ATOMIC_ACQUIRE);
}
