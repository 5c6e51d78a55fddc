/* SPDX-License-Identifier: Apache-2.0 */
/* Thread kvrail-copy. Invariant: a struct store is its own from the ring until it stores done; the
 * CRC32C is taken from the copy, never from the client's memory, which may change meanwhile. */
#include "dataplane/local/copy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/crc32c.h"

#define PIECE (128u * 1024u) /* bytes; stays in the cache for its CRC */
#define SLEEP_MIN_NS 20000u
#define SLEEP_MAX_NS 1000000u
#define SLEEP_ALONE_NS 20000000u /* while there is no client */
#define SLACK_NS 1000ul

struct queue_of_client {
    struct store *head, **tail;
};

struct copier {
    pthread_t thread;
    struct copy_stats *stats;
    const uint64_t *clients;
    struct spsc *rings[KVR_PARTITIONS_MAX];
    unsigned nr_rings;
    bool stop; /* atomic */
    struct queue_of_client queues[LOCAL_CLIENTS_MAX];
};

static void take_over(struct copier *copier)
{
    uint64_t word;

    for (unsigned i = 0; i < copier->nr_rings; i++) {
        while (spsc_pop(copier->rings[i], &word)) {
            struct store *store = (struct store *)(uintptr_t)word;
            struct queue_of_client *queue = &copier->queues[store->slot];

            store->next = NULL;
            *queue->tail = store;
            queue->tail = &store->next;
        }
    }
}

static void copy_piece(struct copier *copier, struct queue_of_client *queue)
{
    struct store *store = queue->head;
    uint32_t len = store->len - store->at < PIECE ? store->len - store->at : PIECE;

    if (store->from)
        memcpy(store->to + store->at, store->from + store->at, len);
    store->crc = crc32c(store->crc, store->to + store->at, len);
    store->at += len;
    counter_add(&copier->stats->bytes, len);
    if (store->at < store->len)
        return;
    queue->head = store->next;
    if (!queue->head)
        queue->tail = &queue->head;
    counter_add(&copier->stats->copies, 1);
    /* Pairs with the acquire in store.c; the store is the core's again. */
    __atomic_store_n(&store->done, 1, __ATOMIC_RELEASE);
}

static bool copy_some(struct copier *copier)
{
    bool any = false;

    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++) {
        if (!copier->queues[slot].head)
            continue;
        copy_piece(copier, &copier->queues[slot]);
        any = true;
    }
    return any;
}

/* Cores ring no bell: that would be a system call. */
static void rest(const struct copier *copier, uint64_t *sleep_ns)
{
    struct timespec ts = {.tv_nsec = (long)*sleep_ns};

    if (__atomic_load_n(copier->clients, __ATOMIC_RELAXED) == 0)
        ts.tv_nsec = SLEEP_ALONE_NS;
    nanosleep(&ts, NULL);
    if (*sleep_ns < SLEEP_MAX_NS)
        *sleep_ns *= 2;
}

static void *copier_run(void *arg)
{
    struct copier *copier = arg;
    uint64_t sleep_ns = SLEEP_MIN_NS;

    pthread_setname_np(pthread_self(), "kvrail-copy");
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
    while (!__atomic_load_n(&copier->stop, __ATOMIC_RELAXED)) {
        take_over(copier);
        counter_set(&copier->stats->heartbeat_ns, clock_ns());
        if (copy_some(copier))
            sleep_ns = SLEEP_MIN_NS;
        else
            rest(copier, &sleep_ns);
    }
    return NULL;
}

int copier_create(struct copy_stats *stats, const uint64_t *clients, struct spsc *const *rings,
                  unsigned nr_rings, struct copier **out)
{
    struct copier *copier = calloc(1, sizeof(*copier));
    int rc;

    if (!copier)
        return -ENOMEM;
    copier->stats = stats;
    copier->clients = clients;
    memcpy(copier->rings, rings, nr_rings * sizeof(rings[0]));
    copier->nr_rings = nr_rings;
    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++)
        copier->queues[slot].tail = &copier->queues[slot].head;
    rc = pthread_create(&copier->thread, NULL, copier_run, copier);
    if (rc != 0) {
        free(copier);
        return -rc;
    }
    *out = copier;
    return 0;
}

void copier_destroy(struct copier *copier)
{
    if (!copier)
        return;
    __atomic_store_n(&copier->stop, true, __ATOMIC_RELAXED);
    pthread_join(copier->thread, NULL);
    free(copier);
}
