/* SPDX-License-Identifier: Apache-2.0 */
/* The reclaimer thread: takes what the lanes carry, waits for a grace period, looks which blocks
 * clients hold (scan.h), and gives it back. The registry lock is never held while it waits, so
 * readers may come, go and open lanes.
 *
 * liburcu orders readers and the reclaimer by fences that TSan does not see; each reader's own
 * counter (released at every quiescent state, acquired after every grace period) says the same in
 * C11 terms. */
#include "shm/reclaim.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <urcu/urcu-qsbr.h>

#include "base/cacheline.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/spsc.h"
#include "shm/arena.h"
#include "shm/scan.h"

#define SLEEP_MIN_NS 20000u
#define SLEEP_MAX_NS 5000000u
#define LANES_MAX 256u

struct reclaim_lane {
    struct spsc defer, take;
    uint32_t in_flight; /* owner: deferred and not yet taken */
    uint32_t capacity;
    uint32_t ready; /* reclaimer: deferred before this turn's grace period began */
    bool dead;      /* atomic: owner has left */
};

struct reclaimer {
    const struct arena *arena; /* NULL: no clients */
    struct scan *scan;         /* NULL: no clients */
    pthread_t thread;
    pthread_mutex_t lock; /* lanes, nr_lanes */
    struct reclaim_lane *lanes[LANES_MAX];
    unsigned nr_lanes;
    bool stop; /* atomic */
};

/* A registered thread. */
struct reader {
    uint64_t quiescent; /* owner releases, reclaimer acquires */
    struct reader *next;
} cache_aligned;

static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct reader *readers;
static __thread struct reader self;

static void self_mark(void)
{
    __atomic_store_n(&self.quiescent, self.quiescent + 1, __ATOMIC_RELEASE);
}

void rcu_reader_register(void)
{
    pthread_mutex_lock(&readers_lock);
    self.next = readers;
    readers = &self;
    pthread_mutex_unlock(&readers_lock);
    urcu_qsbr_register_thread();
}

void rcu_reader_unregister(void)
{
    self_mark();
    urcu_qsbr_unregister_thread();
    pthread_mutex_lock(&readers_lock);
    for (struct reader **at = &readers; *at; at = &(*at)->next)
        if (*at == &self) {
            *at = self.next;
            break;
        }
    pthread_mutex_unlock(&readers_lock);
}

void rcu_reader_quiescent(void)
{
    self_mark();
    urcu_qsbr_quiescent_state();
}

void rcu_reader_offline(void)
{
    self_mark();
    urcu_qsbr_thread_offline();
}

void rcu_reader_online(void)
{
    urcu_qsbr_thread_online();
}

void rcu_synchronize(void)
{
    urcu_qsbr_synchronize_rcu();
    pthread_mutex_lock(&readers_lock);
    for (const struct reader *reader = readers; reader; reader = reader->next)
        (void)__atomic_load_n(&reader->quiescent, __ATOMIC_ACQUIRE);
    pthread_mutex_unlock(&readers_lock);
}

static void lane_free(struct reclaim_lane *lane)
{
    spsc_destroy(&lane->defer);
    spsc_destroy(&lane->take);
    free(lane);
}

/* Copies the living lanes to turn and frees those whose owner has left. */
static unsigned lanes_collect(struct reclaimer *reclaimer, struct reclaim_lane **turn)
{
    unsigned kept = 0;

    pthread_mutex_lock(&reclaimer->lock);
    for (unsigned i = 0; i < reclaimer->nr_lanes; i++) {
        struct reclaim_lane *lane = reclaimer->lanes[i];

        if (__atomic_load_n(&lane->dead, __ATOMIC_ACQUIRE)) {
            lane_free(lane);
            continue;
        }
        turn[kept] = reclaimer->lanes[kept] = lane;
        kept++;
    }
    reclaimer->nr_lanes = kept;
    pthread_mutex_unlock(&reclaimer->lock);
    return kept;
}

/* Words deferred now; what comes during the grace period waits for the next one. */
static uint32_t lane_waiting(struct reclaim_lane *lane)
{
    return __atomic_load_n(&lane->defer.tail, __ATOMIC_ACQUIRE) - lane->defer.head;
}

static void lane_return(struct reclaim_lane *lane)
{
    uint64_t word;

    /* take holds capacity words and no more than that are in flight. */
    for (; lane->ready; lane->ready--)
        if (spsc_pop(&lane->defer, &word))
            (void)!spsc_push(&lane->take, word);
}

/* In this order: no reader of the dataplane sees what was unlinked any more; then, of the clients,
 * only those whose slots say so. */
static bool turn(struct reclaimer *reclaimer)
{
    struct reclaim_lane *lanes[LANES_MAX];
    unsigned nr = lanes_collect(reclaimer, lanes);
    struct scan *scan = reclaimer->scan;
    uint64_t now_ns = clock_ns();
    bool any = false;

    if (reclaimer->arena)
        counter_set(&reclaimer->arena->sb->reclaim.heartbeat_ns, now_ns);
    for (unsigned i = 0; i < nr; i++) {
        lanes[i]->ready = lane_waiting(lanes[i]);
        any |= lanes[i]->ready != 0;
    }
    if (any)
        rcu_synchronize();
    if (scan && (any || scan_due(scan, now_ns)))
        scan_run(scan, clock_ns());
    for (unsigned i = 0; any && i < nr; i++)
        lane_return(lanes[i]);
    return any;
}

static void *reclaim_loop(void *arg)
{
    struct reclaimer *reclaimer = arg;
    struct timespec pause = {.tv_nsec = SLEEP_MIN_NS};

    prctl(PR_SET_TIMERSLACK, 1000ul); /* the default adds 50 us to every sleep */
    while (!__atomic_load_n(&reclaimer->stop, __ATOMIC_ACQUIRE)) {
        if (turn(reclaimer))
            pause.tv_nsec = SLEEP_MIN_NS;
        else if (pause.tv_nsec < SLEEP_MAX_NS)
            pause.tv_nsec += pause.tv_nsec / 4;
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void reclaimer_free(struct reclaimer *reclaimer)
{
    scan_destroy(reclaimer->scan);
    pthread_mutex_destroy(&reclaimer->lock);
    free(reclaimer);
}

int reclaimer_create(const struct arena *arena, struct reclaimer **out)
{
    struct reclaimer *reclaimer = calloc(1, sizeof(*reclaimer));
    sigset_t all, before;
    int error = 0;

    if (!reclaimer)
        return -ENOMEM;
    reclaimer->arena = arena;
    pthread_mutex_init(&reclaimer->lock, NULL);
    if (arena)
        error = scan_create(arena, &reclaimer->scan);
    if (!error) {
        /* Signals are for the main thread. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = -pthread_create(&reclaimer->thread, NULL, reclaim_loop, reclaimer);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (error) {
        reclaimer_free(reclaimer);
        return error;
    }
    pthread_setname_np(reclaimer->thread, "kvrail-reclaim");
    *out = reclaimer;
    return 0;
}

void reclaimer_destroy(struct reclaimer *reclaimer)
{
    __atomic_store_n(&reclaimer->stop, true, __ATOMIC_RELEASE);
    pthread_join(reclaimer->thread, NULL);
    for (unsigned i = 0; i < reclaimer->nr_lanes; i++)
        lane_free(reclaimer->lanes[i]);
    reclaimer_free(reclaimer);
}

int reclaim_client_add(struct reclaimer *reclaimer, uint32_t id, const struct segment *segment)
{
    return reclaimer->scan ? scan_client_add(reclaimer->scan, id, segment) : -ENOMEM;
}

void reclaim_client_remove(struct reclaimer *reclaimer, uint32_t id)
{
    if (reclaimer->scan)
        scan_client_remove(reclaimer->scan, id);
}

bool reclaim_client_held(struct reclaimer *reclaimer, uint32_t id, uint64_t *blocks,
                         uint64_t *bytes)
{
    return reclaimer->scan && scan_client_held(reclaimer->scan, id, blocks, bytes);
}

bool reclaim_held(const struct reclaimer *reclaimer, uint32_t global_block)
{
    return reclaimer->scan && scan_held(reclaimer->scan, global_block);
}

bool reclaim_holds_any(const struct reclaimer *reclaimer)
{
    return reclaimer->scan && scan_holds_any(reclaimer->scan);
}

uint64_t reclaim_releases(const struct reclaimer *reclaimer)
{
    return reclaimer->scan ? scan_releases(reclaimer->scan) : 0;
}

static int lane_register(struct reclaimer *reclaimer, struct reclaim_lane *lane)
{
    int error = 0;

    pthread_mutex_lock(&reclaimer->lock);
    if (reclaimer->nr_lanes < LANES_MAX)
        reclaimer->lanes[reclaimer->nr_lanes++] = lane;
    else
        error = -ENOMEM;
    pthread_mutex_unlock(&reclaimer->lock);
    return error;
}

int reclaim_lane_create(struct reclaimer *reclaimer, uint32_t capacity, struct reclaim_lane **out)
{
    struct reclaim_lane *lane;
    uint32_t rounded = 2;

    while (rounded < capacity)
        rounded *= 2;
    lane = aligned_alloc(CACHE_LINE, sizeof(*lane));
    if (!lane)
        return -ENOMEM;
    *lane = (struct reclaim_lane){.capacity = rounded};
    if (spsc_create(&lane->defer, rounded) < 0 || spsc_create(&lane->take, rounded) < 0 ||
        lane_register(reclaimer, lane) < 0) {
        lane_free(lane);
        return -ENOMEM;
    }
    *out = lane;
    return 0;
}

/* The reclaimer may be waiting for this very thread to be quiescent: it frees the lane itself. */
void reclaim_lane_destroy(struct reclaim_lane *lane)
{
    __atomic_store_n(&lane->dead, true, __ATOMIC_RELEASE);
}

bool reclaim_defer(struct reclaim_lane *lane, uint64_t word)
{
    if (lane->in_flight == lane->capacity || !spsc_push(&lane->defer, word))
        return false;
    lane->in_flight++;
    return true;
}

bool reclaim_take(struct reclaim_lane *lane, uint64_t *word)
{
    if (!lane->in_flight || !spsc_pop(&lane->take, word))
        return false;
    lane->in_flight--;
    return true;
}
