/* SPDX-License-Identifier: Apache-2.0 */
/* Clients on this host against two poll cores: threads that put, store, place and seal over their
 * rings and read hits where they lie, in an arena far too small; one that writes nonsense into its
 * indexes and lengths; and the main thread, which ends one client after the other in the middle of
 * a request and lets another take its place. The threads also store blocks from regions of theirs
 * and load them back, several times so that they come from the pool in the device's memory, while
 * the main thread drops and adds regions and lets the device fail. Every value that is read must be
 * right. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/random.h"
#include "guest.h"
#include "shm/hazard.h"
#include "shm/index.h"
#include "shm/reclaim.h"
#include "shm/words.h"

#define CORES 2u
#define CLIENTS 3u
#define KEYS 64u
#define VALUE_MAX 40000u
#define SECONDS_MAX 15u
#define REGION (128u << 10) /* room for two blocks of message_form */
#define BACK (REGION / 2)   /* where they come back */
#define TIMES 4u
#define FAIL_EACH 300u /* ms */

enum state { WORKING, ASKING, ENDED, RESTING }; /* of a neighbour */

struct neighbour {
    struct guest guest;
    struct hazards hazards;
    struct rng rng;
    pthread_t thread;
    uint32_t ended; /* guest.end */
    uint32_t state; /* atomic, enum state: main may end it only while ASKING */
    uint64_t hits, stored, refused, moved, pooled;
    uint8_t *memory; /* its region */
    int memfd;
};

static struct rig rig;
static struct neighbour neighbours[CLIENTS];
static struct guest madman;
static char keys[KEYS][16];
static bool stop, stop_cores;
static pthread_t cores[CORES], mad;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static void *poll_core(void *arg)
{
    struct core *core = arg;

    rcu_reader_register();
    while (!__atomic_load_n(&stop_cores, __ATOMIC_RELAXED)) {
        core_tick(core, clock_ns());
        (void)engine_turn(core);
        rcu_reader_quiescent();
    }
    rcu_reader_unregister();
    return NULL;
}

/* A value that says which key it is of. */
static void fill(uint8_t *value, uint32_t len, unsigned key, struct rng *rng)
{
    memset(value, (int)rng_below(rng, 256), len);
    memcpy(value, &key, sizeof(key));
}

static uint32_t some_len(struct rng *rng)
{
    return 4 + (uint32_t)rng_below(rng, rng_below(rng, 4) ? 900 : VALUE_MAX - 4);
}

/* Finds it, holds it, looks at every byte, tells of it. */
static void hit(struct neighbour *n, unsigned number)
{
    struct block_view view;
    unsigned partition, key;
    const char *text = keys[number];
    struct key_hash hash = hash_key(text, strlen(text), rig.arena.sb->seed);
    uint32_t slot;

    partition = hash_partition(hash, rig.nr_partitions);
    if (!index_find(&rig.arena, partition, hash, text, (uint32_t)strlen(text),
                    arena_ms(&rig.arena, clock_ns()), &view))
        return;
    slot = hazard_publish(&n->hazards, view.ref);
    hazard_fence(&n->hazards);
    if (hazard_holds(&rig.arena, view.ref)) {
        memcpy(&key, view.value, sizeof(key));
        if (key != number || crc32c(0, view.value, view.value_len) != view.value_crc)
            fail("a hit with wrong bytes");
        guest_access(&n->guest, partition, view.ref);
        n->hits++;
    }
    hazard_release(&n->hazards, slot);
}

/* While a request is out, main may end the client. False: it did. */
static bool asked(struct neighbour *n)
{
    uint32_t state = ASKING;

    return __atomic_compare_exchange_n(&n->state, &state, WORKING, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

static void ask(struct neighbour *n)
{
    __atomic_store_n(&n->state, ASKING, __ATOMIC_RELEASE);
}

static void write_place(struct neighbour *n, const char *key, unsigned number)
{
    uint32_t len = some_len(&n->rng), ticket = (uint32_t)rng_below(&n->rng, 4);
    uint8_t *value;
    uint64_t ref;
    int status;

    ask(n);
    status = guest_place(&n->guest, key, len, ticket, &ref, &value);
    if (!asked(n) || status != KVR_OK) {
        n->refused++;
        return;
    }
    fill(value, len, number, &n->rng);
    if (rng_below(&n->rng, 8) == 0)
        return; /* and forgets it: the next one under the ticket ends it */
    uint32_t crc = crc32c(0, value, len);

    ask(n);
    status = guest_seal(&n->guest, key, ref, ticket, crc);
    if (asked(n) && status == KVR_OK)
        n->stored++;
}

static void store(struct neighbour *n, const char *key, unsigned number)
{
    uint8_t *staging = n->guest.segment.staging;
    uint32_t len = some_len(&n->rng), crc;
    int status;

    fill(staging, len, number, &n->rng);
    crc = crc32c(0, staging, len);
    ask(n);
    if (rng_below(&n->rng, 3) == 0 && len <= 900)
        status = guest_put(&n->guest, key, staging, len);
    else
        status = guest_store(&n->guest, key, 0, len, crc);
    if (asked(n) && status == KVR_OK)
        n->stored++;
    else
        n->refused++;
}

static uint8_t *piece_at(const struct neighbour *n, uint64_t off, unsigned piece)
{
    return n->memory + off + piece / 2 * message_form.layer_step +
           piece % 2 * message_form.kind_step;
}

static void must_be(const struct neighbour *n, unsigned number, const struct kvr_load_rep *rep)
{
    uint8_t block[MESSAGE_BLOCK];
    unsigned key;

    for (unsigned i = 0; i < MESSAGE_BLOCK / message_form.piece_bytes; i++)
        memcpy(block + (size_t)i * message_form.piece_bytes, piece_at(n, BACK, i),
               message_form.piece_bytes);
    memcpy(&key, block, sizeof(key));
    if (key != number || crc32c(0, block, sizeof(block)) != rep->value_crc)
        fail("a block came back with wrong bytes");
}

/* False: it did not. */
static bool bring_back(struct neighbour *n, const char *key, unsigned number)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct kvr_load_rep rep;
    struct message message;
    struct record record;
    int status;

    guest_begin_write(&n->guest, &message, key);
    message_load(&message, key, 0, BACK, clock_ns() + NS_PER_S);
    ask(n);
    status = guest_status(&n->guest, &message, &record, bytes);
    if (!asked(n) || status != KVR_OK)
        return false;
    memcpy(&rep, record.bytes, sizeof(rep));
    must_be(n, number, &rep);
    n->moved++;
    n->pooled += rep.ref != 0 && rep.tier == KVR_TIER_GPU;
    return true;
}

/* From the region and back, unless somebody else's value of the key is in the way. */
static void move(struct neighbour *n, const char *key, unsigned number)
{
    uint8_t block[MESSAGE_BLOCK];
    struct message message;
    int status;

    fill(block, sizeof(block), number, &n->rng);
    for (unsigned i = 0; i < MESSAGE_BLOCK / message_form.piece_bytes; i++)
        memcpy(piece_at(n, 0, i), block + (size_t)i * message_form.piece_bytes,
               message_form.piece_bytes);
    guest_begin_write(&n->guest, &message, key);
    message_save(&message, key, 0, clock_ns() + NS_PER_S, 0);
    ask(n);
    status = guest_status(&n->guest, &message, NULL, NULL);
    if (!asked(n))
        return;
    n->stored += status == KVR_OK;
    for (unsigned i = 0; i < TIMES && bring_back(n, key, number); i++)
        memset(n->memory + BACK, 0, REGION - BACK);
}

/* Until main has made it another client. */
static void rest_if_ended(struct neighbour *n)
{
    if (__atomic_load_n(&n->state, __ATOMIC_ACQUIRE) != ENDED)
        return;
    __atomic_store_n(&n->state, RESTING, __ATOMIC_RELEASE);
    while (__atomic_load_n(&n->state, __ATOMIC_ACQUIRE) == RESTING)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void *live(void *arg)
{
    struct neighbour *n = arg;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        unsigned number = (unsigned)rng_below(&n->rng, KEYS);
        const char *key = keys[number];

        switch (rng_below(&n->rng, 5)) {
        case 0:
            write_place(n, key, number);
            break;
        case 1:
            store(n, key, number);
            break;
        case 2:
            move(n, key, number);
            break;
        default:
            for (unsigned i = 0; i < 20; i++)
                hit(n, (unsigned)rng_below(&n->rng, KEYS));
        }
        rest_if_ended(n);
    }
    return NULL;
}

/* Only words that the server loads as such: the rest would be a race by intent. */
static void *rave(void *arg)
{
    struct rng rng;

    (void)arg;
    rng_seed(&rng, 99);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct segment_rings rings =
            segment_rings_of(&madman.segment, (unsigned)rng_below(&rng, CORES));
        uint32_t *const words[] = {
            &rings.group->request_tail,    &rings.group->request_head,
            &rings.group->completion_tail, &rings.group->completion_head,
            &rings.group->access_tail,     &rings.requests[rng_below(&rng, SEGMENT_CELLS)].len};
        uint32_t word = (uint32_t)rng_next(&rng);

        if (rng_below(&rng, 2))
            word = shared_load(words[0]) + (uint32_t)rng_below(&rng, 40);
        shared_store(words[rng_below(&rng, 6)], word);
        __atomic_store_n(&rings.accesses[rng_below(&rng, SEGMENT_ACCESSES)], rng_next(&rng),
                         __ATOMIC_RELAXED);
        if (rng_below(&rng, 64) == 0)
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    return NULL;
}

static void add_region(const struct neighbour *n)
{
    struct gpu_handle handle = {.kind = GPU_HANDLE_MEMFD, .fd = n->memfd, .size = REGION};

    (void)!local_region_add(rig.local, n->guest.id, 0,
                            &handle); /* the last one may still be there */
}

static void make_memory(struct neighbour *n)
{
    n->memfd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (n->memfd < 0 || ftruncate(n->memfd, REGION) < 0 ||
        fcntl(n->memfd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        fail("no memfd");
    n->memory = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, n->memfd, 0);
    if (n->memory == MAP_FAILED)
        fail("no memory");
}

static void note_region(void *context, uint32_t id, unsigned region)
{
    (void)id, (void)region;
    ++*(unsigned *)context;
}

static void open_neighbour(struct neighbour *n, uint32_t id)
{
    n->ended = 0;
    guest_open(&n->guest, &rig, id, true);
    guest_share(&n->guest);
    n->guest.waits = true;
    n->guest.end = &n->ended;
    if (hazards_open(&n->hazards, &n->guest.segment, false) < 0)
        fail("no memory");
    add_region(n);
}

static void note_gone(void *context, uint32_t id, const char *why)
{
    (void)why;
    *(uint32_t *)context = id;
}

static void wait_gone(uint32_t id)
{
    uint64_t end_ns = clock_ns() + 10 * NS_PER_S;
    uint32_t gone = 0;

    while (gone != id) {
        local_tick(rig.local, clock_ns(), note_gone, &gone);
        if (clock_ns() > end_ns)
            fail("a client does not go");
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
}

/* Ends one in the middle of a request. False: it asks for nothing just now. */
static bool replace(struct neighbour *n, uint32_t id)
{
    uint32_t state = ASKING;

    if (!__atomic_compare_exchange_n(&n->state, &state, ENDED, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        return false;
    __atomic_store_n(&n->ended, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&n->state, __ATOMIC_ACQUIRE) != RESTING)
        nanosleep(&(struct timespec){.tv_nsec = 10000}, NULL);
    if (local_drop(rig.local, n->guest.id) < 0)
        fail("no such client");
    wait_gone(n->guest.id);
    hazards_close(&n->hazards);
    guest_close(&n->guest);
    open_neighbour(n, id);
    __atomic_store_n(&n->state, WORKING, __ATOMIC_RELEASE);
    return true;
}

static void start(void)
{
    struct rig_options options;

    log_setup("local_clients", LOG_LEVEL_ERROR);
    for (unsigned i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof(keys[i]), "key%u", i);
    rig_defaults(&options);
    options.nr_cores = options.nr_partitions = CORES;
    options.data_size = 2u << 20;
    options.local = options.gpu = true;
    options.pool_bytes = (uint64_t)CORES * 8 * MESSAGE_BLOCK;
    options.pool_blocks = "4096";
    options.pool_hits = 1;
    rig_open(&rig, &options);
    rcu_reader_offline();
    guest_open(&madman, &rig, 1, true);
    guest_share(&madman);
    for (unsigned i = 0; i < CORES; i++)
        if (pthread_create(&cores[i], NULL, poll_core, rig.cores[i]) != 0)
            fail("no thread");
    for (unsigned i = 0; i < CLIENTS; i++) {
        rng_seed(&neighbours[i].rng, i);
        make_memory(&neighbours[i]);
        open_neighbour(&neighbours[i], 10 + i);
        if (pthread_create(&neighbours[i].thread, NULL, live, &neighbours[i]) != 0)
            fail("no thread");
    }
    if (pthread_create(&mad, NULL, rave, NULL) != 0)
        fail("no thread");
}

/* In the middle of whatever it is used for. */
static unsigned change_region(const struct neighbour *n)
{
    unsigned nr = 0;

    (void)!local_region_drop(rig.local, n->guest.id, 0);
    local_regions_tick(rig.local, note_region, &nr);
    add_region(n);
    return nr;
}

static unsigned disturb(uint64_t end_ns, unsigned *regions)
{
    struct gpu_device *device = gpu_fleet_device(rig.fleet, 0);
    uint64_t fails_ns = clock_ns() + FAIL_EACH * NS_PER_MS;
    unsigned nr = 0;

    for (unsigned i = 0; clock_ns() < end_ns; i++) {
        nr += replace(&neighbours[i % CLIENTS], 100 + nr);
        if (i % 3 == 0)
            *regions += change_region(&neighbours[i / 3 % CLIENTS]);
        if (clock_ns() > fails_ns) {
            gpu_host_fail_after(device, i % 20, 0);
            fails_ns = clock_ns() + FAIL_EACH * NS_PER_MS;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return nr;
}

/* All clients leave, and nothing of them stays. */
static void finish(void)
{
    uint64_t reserved = 0;

    if (local_drop(rig.local, 1) < 0)
        fail("no such client");
    wait_gone(1);
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (local_drop(rig.local, neighbours[i].guest.id) < 0)
            fail("no such client");
        wait_gone(neighbours[i].guest.id);
        hazards_close(&neighbours[i].hazards);
        guest_close(&neighbours[i].guest);
    }
    guest_close(&madman);
    __atomic_store_n(&stop_cores, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < CORES; i++)
        pthread_join(cores[i], NULL);
    for (unsigned p = 0; p < CORES; p++)
        reserved += counter_read(&arena_part(&rig.arena, p)->reserved);
    if (reserved > 0)
        fail("blocks are still reserved");
    rcu_reader_online();
    rig_close(&rig);
}

int main(int argc, char **argv)
{
    unsigned long seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 4;
    uint64_t hits = 0, stored = 0, refused = 0, moved = 0, pooled = 0;
    unsigned replaced, regions = 0;

    start();
    replaced =
        disturb(clock_ns() + (seconds < SECONDS_MAX ? seconds : SECONDS_MAX) * NS_PER_S, &regions);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(mad, NULL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(neighbours[i].thread, NULL);
        hits += neighbours[i].hits;
        stored += neighbours[i].stored;
        refused += neighbours[i].refused;
        moved += neighbours[i].moved;
        pooled += neighbours[i].pooled;
    }
    finish();
    printf(
        "%lu hits right, %lu values stored, %lu refused, %lu blocks moved to a region and right, "
        "%lu of them from the pool, %u clients ended, %u regions\n",
        (unsigned long)hits, (unsigned long)stored, (unsigned long)refused, (unsigned long)moved,
        (unsigned long)pooled, replaced, regions);
    return hits > 0 && stored > 0 && moved > 0 && pooled > 0 && replaced > 0 && regions > 0 ? 0 : 1;
}
