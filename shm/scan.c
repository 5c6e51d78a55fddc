/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over the slots in use gives the set of held blocks anew. Its cost follows from those
 * slots alone: bits are set and cleared by lists, never swept. A slot may hold any number; one that
 * names no sealed or unlinked block of its generation counts for nothing. */
#include "shm/scan.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counters.h"
#include "shm/arena.h"
#include "shm/hazard.h"
#include "shm/pages.h"
#include "shm/words.h"

#define PERIOD_HELD_NS (10 * NS_PER_MS)
#define PERIOD_IDLE_NS (100 * NS_PER_MS) /* for what clients are said to hold */
#define BURST 32u                        /* slots whose descriptors are fetched ahead */

struct client {
    const struct segment *segment;
    uint32_t id;
    uint64_t blocks, bytes; /* at the last scan */
};

struct blocks {
    uint32_t *list, nr;
};

struct scan {
    const struct arena *arena;
    uint32_t nr_blocks, nr_all; /* of a partition, of all */
    uint64_t *held;             /* atomic, bit per block: by the last scan */
    uint64_t *seen, *own;       /* bit per block: by this scan, by this scan in one client */
    uint64_t last_ns, releases; /* reclaimer; releases: atomic */
    uint64_t nr_held;           /* atomic; reclaimer writes */
    bool any_client;            /* atomic; main thread writes */
    bool membarrier;            /* this process may fence for clients */
    pthread_mutex_t lock; /* all below; held while the slots are read, never for a grace period */
    struct blocks now, before; /* held by this scan, by the last one */
    struct blocks mine;        /* of one client */
    struct client *clients;
    uint32_t nr_clients, clients_room, blocks_room;
};

int scan_create(const struct arena *arena, struct scan **out)
{
    struct scan *scan = calloc(1, sizeof(*scan));
    size_t nr_words;

    if (!scan)
        return -ENOMEM;
    scan->arena = arena;
    scan->membarrier = hazards_supported();
    scan->nr_blocks = arena->maps[0].nr_blocks;
    scan->nr_all = scan->nr_blocks * arena->nr_partitions;
    nr_words = ((size_t)scan->nr_all + 63) / 64;
    pthread_mutex_init(&scan->lock, NULL);
    scan->held = pages_calloc(nr_words, sizeof(uint64_t));
    scan->seen = pages_calloc(nr_words, sizeof(uint64_t));
    scan->own = pages_calloc(nr_words, sizeof(uint64_t));
    scan->mine.list = calloc(SEGMENT_SLOTS_MAX, sizeof(uint32_t));
    *out = scan;
    if (scan->held && scan->seen && scan->own && scan->mine.list)
        return 0;
    scan_destroy(scan);
    return -ENOMEM;
}

void scan_destroy(struct scan *scan)
{
    if (!scan)
        return;
    free(scan->held);
    free(scan->seen);
    free(scan->own);
    free(scan->now.list);
    free(scan->before.list);
    free(scan->mine.list);
    free(scan->clients);
    pthread_mutex_destroy(&scan->lock);
    free(scan);
}

/* Room for one client more, and for all that it may hold. */
static bool room_grow(struct scan *scan, uint32_t nr_slots)
{
    uint32_t blocks = nr_slots;
    void *grown;

    for (uint32_t i = 0; i < scan->nr_clients; i++)
        blocks += scan->clients[i].segment->spec.nr_slots;
    if (scan->nr_clients == scan->clients_room) {
        grown = realloc(scan->clients, (scan->clients_room * 2 + 8) * sizeof(struct client));
        if (!grown)
            return false;
        scan->clients = grown;
        scan->clients_room = scan->clients_room * 2 + 8;
    }
    if (blocks <= scan->blocks_room)
        return true;
    if (!(grown = realloc(scan->now.list, blocks * sizeof(uint32_t))))
        return false;
    scan->now.list = grown;
    if (!(grown = realloc(scan->before.list, blocks * sizeof(uint32_t))))
        return false;
    scan->before.list = grown;
    scan->blocks_room = blocks;
    return true;
}

int scan_client_add(struct scan *scan, uint32_t id, const struct segment *segment)
{
    int error = -ENOMEM;

    /* Who says otherwise and leaves its fences out all the same loses its own blocks. */
    if (shared_load(&segment->header->asymmetric) && !scan->membarrier)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&scan->lock);
    if (room_grow(scan, segment->spec.nr_slots)) {
        scan->clients[scan->nr_clients++] = (struct client){.segment = segment, .id = id};
        __atomic_store_n(&scan->any_client, true, __ATOMIC_RELAXED);
        error = 0;
    }
    pthread_mutex_unlock(&scan->lock);
    return error;
}

static struct client *client_find(const struct scan *scan, uint32_t id)
{
    for (uint32_t i = 0; i < scan->nr_clients; i++)
        if (scan->clients[i].id == id)
            return &scan->clients[i];
    return NULL;
}

void scan_client_remove(struct scan *scan, uint32_t id)
{
    struct client *client;

    pthread_mutex_lock(&scan->lock);
    client = client_find(scan, id);
    if (client) {
        *client = scan->clients[--scan->nr_clients];
        __atomic_store_n(&scan->any_client, scan->nr_clients > 0, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&scan->lock);
}

bool scan_client_held(struct scan *scan, uint32_t id, uint64_t *blocks, uint64_t *bytes)
{
    const struct client *client;

    pthread_mutex_lock(&scan->lock);
    client = client_find(scan, id);
    if (client) {
        *blocks = client->blocks;
        *bytes = client->bytes;
    }
    pthread_mutex_unlock(&scan->lock);
    return client != NULL;
}

static inline bool test(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> i % 64 & 1;
}

static inline void flip(uint64_t *bits, uint32_t i)
{
    bits[i / 64] ^= 1ull << i % 64;
}

static inline void blocks_add(struct blocks *blocks, uint32_t block)
{
    blocks->list[blocks->nr++] = block;
}

/* One writer. Pairs with the acquire in scan_held: what a client read before it emptied its slot
 * was read before the block's owner sees the bit gone. */
static inline void held_flip(struct scan *scan, uint32_t block)
{
    shared_store(&scan->held[block / 64], scan->held[block / 64] ^ 1ull << block % 64);
}

/* A block of value_len bytes lies in a slot of the client. */
static inline void note(struct scan *scan, struct client *client, uint32_t block,
                        uint32_t value_len, uint64_t *bytes)
{
    if (test(scan->own, block))
        return;
    flip(scan->own, block);
    blocks_add(&scan->mine, block);
    client->blocks++;
    client->bytes += value_len;
    if (test(scan->seen, block))
        return;
    flip(scan->seen, block);
    blocks_add(&scan->now, block);
    *bytes += value_len;
    if (!test(scan->held, block))
        held_flip(scan, block);
}

struct candidate {
    const uint64_t *desc; /* as words */
    uint32_t block, generation;
};

/* Slots [from, from + BURST) below end that name a block there could be. */
static unsigned candidates_load(const struct scan *scan, const uint64_t *slots, uint32_t from,
                                uint32_t end, struct candidate *candidates)
{
    unsigned nr = 0;

    for (uint32_t i = from; i < end && i < from + BURST; i++) {
        /* Pairs with the release in hazard_release, and with that in hazard_publish. */
        uint64_t ref = shared_load(&slots[i]);
        uint32_t block = (uint32_t)ref, partition;
        const struct block_desc *desc;

        if (!ref || block >= scan->nr_all)
            continue;
        partition = block / scan->nr_blocks;
        desc = &scan->arena->maps[partition].descs[block - partition * scan->nr_blocks];
        prefetch_read(desc);
        candidates[nr++] =
            (struct candidate){(const uint64_t *)(const void *)desc, block, (uint32_t)(ref >> 32)};
    }
    return nr;
}

/* Returns how many slots it looked at. */
static uint32_t client_scan(struct scan *scan, struct client *client, uint64_t *bytes)
{
    const struct segment *segment = client->segment;
    uint32_t used = shared_load(&segment->header->slots_used);
    struct candidate candidates[BURST];

    if (used > segment->spec.nr_slots)
        used = segment->spec.nr_slots;
    client->blocks = client->bytes = 0;
    scan->mine.nr = 0;
    for (uint32_t from = 0; from < used; from += BURST) {
        unsigned nr = candidates_load(scan, segment->slots, from, used, candidates);

        for (unsigned i = 0; i < nr; i++) {
            uint64_t word = shared_load(&candidates[i].desc[0]);
            uint8_t state = (uint8_t)(word >> 32);

            if ((uint32_t)word == candidates[i].generation &&
                (state == BLOCK_SEALED || state == BLOCK_UNLINKED))
                note(scan, client, candidates[i].block,
                     (uint32_t)shared_load(&candidates[i].desc[1]), bytes);
        }
    }
    for (uint32_t i = 0; i < scan->mine.nr; i++)
        flip(scan->own, scan->mine.list[i]);
    return used;
}

/* Blocks that only the scan before found are held no more. */
static void settle(struct scan *scan)
{
    struct blocks now = scan->now;
    bool released = false;

    for (uint32_t i = 0; i < scan->before.nr; i++)
        if (!test(scan->seen, scan->before.list[i])) {
            held_flip(scan, scan->before.list[i]);
            released = true;
        }
    for (uint32_t i = 0; i < now.nr; i++)
        flip(scan->seen, now.list[i]);
    scan->now = scan->before;
    scan->now.nr = 0;
    scan->before = now;
    __atomic_store_n(&scan->nr_held, now.nr, __ATOMIC_RELAXED);
    if (released)
        shared_store(&scan->releases, scan->releases + 1);
}

/* A client that leaves its fences to us runs publish (a store) and check (a load) in program order
 * only. membarrier makes every thread of a registered process that runs now pass a full barrier
 * between its start and its return (and those that do not run pass one as they are scheduled): in
 * C11's terms, each of them executes atomic_thread_fence(seq_cst) at one place of its program,
 * which we do not know, and that fence is ordered with ours as any two are. If it lies before the
 * client's check, the check sees the block unlinked; else its publishing is seen by the scan. */
static void fence(const struct scan *scan)
{
    if (scan->nr_clients && scan->membarrier)
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void scan_run(struct scan *scan, uint64_t now_ns)
{
    struct reclaim_stats *stats = &scan->arena->sb->reclaim;
    uint64_t slots = 0, bytes = 0;

    pthread_mutex_lock(&scan->lock);
    fence(scan);
    for (uint32_t i = 0; i < scan->nr_clients; i++)
        slots += client_scan(scan, &scan->clients[i], &bytes);
    settle(scan);
    counter_set(&stats->held, scan->before.nr);
    pthread_mutex_unlock(&scan->lock);
    counter_set(&stats->held_bytes, bytes);
    counter_add(&stats->slots, slots);
    counter_add(&stats->scans, 1);
    counter_add(&stats->scan_ns, clock_ns() - now_ns);
    scan->last_ns = now_ns;
}

bool scan_due(const struct scan *scan, uint64_t now_ns)
{
    uint64_t age_ns = now_ns - scan->last_ns;

    if (scan->nr_held)
        return age_ns >= PERIOD_HELD_NS;
    return __atomic_load_n(&scan->any_client, __ATOMIC_RELAXED) && age_ns >= PERIOD_IDLE_NS;
}

bool scan_held(const struct scan *scan, uint32_t block)
{
    return block < scan->nr_all && (shared_load(&scan->held[block / 64]) >> block % 64 & 1);
}

bool scan_holds_any(const struct scan *scan)
{
    return __atomic_load_n(&scan->nr_held, __ATOMIC_RELAXED) != 0;
}

uint64_t scan_releases(const struct scan *scan)
{
    return shared_load(&scan->releases);
}
