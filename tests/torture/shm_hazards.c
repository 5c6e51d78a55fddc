/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that hold blocks by hazard slots against one owner that overwrites, deletes and evicts
 * all the time in an arena far too small: what a client holds must not change by a byte, however
 * long. threads: clients are threads, half of them with a full fence, half without. processes:
 * clients are processes that die by SIGKILL at any instruction; what they held must come back.
 * Usage: shm_hazards [SECONDS] [threads | processes] [KILLS] */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "shm/glance.h"
#include "shm/hazard.h"
#include "shm/index.h"
#include "shm/partition.h"
#include "shm/reclaim.h"

#define CLIENTS 4u
#define KEYS 3000u
#define VALUE_WORDS_MAX 200u
#define VALUE_WORDS_HUGE 20000u
#define HOLDS 48u /* blocks that a client holds at once */
#define SECONDS_MAX 120u

struct key {
    uint64_t number;
    uint8_t rest[56];
};

struct holding {
    const uint8_t *value;
    uint64_t key;
    uint32_t len, slot;
};

/* Shared with the clients. */
struct tally {
    uint64_t looks, hits, late, undecided, wrong;
} cache_aligned;

struct client {
    pthread_t thread;
    pid_t pid;
    uint32_t id;
    bool asymmetric;
    struct segment segment;
    struct tally *tally;
};

static struct arena arena;
static struct partition *partition;
static struct reclaimer *reclaimer;
static struct client clients[CLIENTS];
static bool long_keys; /* their bytes are compared in memory that may change: not under TSan */
static bool stop;      /* atomic */

static uint64_t word_of(uint64_t key, uint64_t version, uint64_t i)
{
    return (key + 1) * 0x9e3779b97f4a7c15ull ^ version * 0xbf58476d1ce4e5b9ull ^ i << 40 ^ i;
}

static uint32_t key_make(struct key *key, uint64_t number)
{
    memset(key, (int)number, sizeof(*key));
    key->number = number;
    return number % 3 || !long_keys ? 8 : sizeof(*key);
}

static void fail(const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "%s: %lu %lu\n", what, (unsigned long)a, (unsigned long)b);
    abort();
}

/* Version and length come first, so that every value says what it must hold. */
static void verify(struct tally *tally, const struct holding *holding)
{
    const uint64_t *words = (const uint64_t *)(const void *)holding->value;
    uint64_t version = words[0];
    bool right = holding->len % 8 == 0 && words[1] == (holding->key << 32 | holding->len);

    for (uint32_t i = 2; right && i < holding->len / 8; i++)
        right = words[i] == word_of(holding->key, version, i);
    if (right)
        return;
    counter_add(&tally->wrong, 1);
    fail("wrong bytes", holding->key, version);
}

/* A lookup by one of both ways. What the short one saw counts if it still does afterwards. */
static bool look(struct tally *tally, uint64_t number, bool shortly, struct glance *glance,
                 struct block_view *view)
{
    const struct part_map *map = &arena.maps[0];
    enum index_result result;
    struct key_hash hash;
    struct key key;
    uint32_t key_len = key_make(&key, number);

    counter_add(&tally->looks, 1);
    hash = hash_key(&key, key_len, arena.sb->seed);
    if (shortly) {
        glance_place(glance, map, 0, hash);
        glance_bucket(glance, map);
        return glance_read(&arena, glance, map, 0, &key, key_len, view) && !glance_expires(glance);
    }
    result = index_look(&arena, 0, hash, &key, key_len, arena_ms(&arena, clock_ns()), view);
    if (result == INDEX_UNDECIDED)
        counter_add(&tally->undecided, 1);
    return result == INDEX_HIT;
}

/* Looks a key up and holds its block. */
static bool hold(struct client *client, struct hazards *hazards, uint64_t number, bool shortly,
                 bool dawdle, struct holding *holding)
{
    struct tally *tally = client->tally;
    struct block_view view;
    struct glance glance = {0};
    uint32_t slot;

    if (!look(tally, number, shortly, &glance, &view))
        return false;
    if (dawdle)
        sched_yield(); /* the block may go meanwhile */
    slot = hazard_publish(hazards, view.ref);
    hazard_fence(hazards);
    if (shortly ? !glance_holds(&glance) : !hazard_holds(&arena, view.ref)) {
        counter_add(&tally->late, 1);
        hazard_release(hazards, slot);
        return false;
    }
    *holding = (struct holding){view.value, number, view.value_len, slot};
    counter_add(&tally->hits, 1);
    return true;
}

static void client_run(struct client *client, uint64_t seed)
{
    struct holding holdings[HOLDS];
    struct hazards hazards;
    uint32_t nr = 0, at;
    struct rng rng;

    rng_seed(&rng, seed);
    if (hazards_open(&hazards, &client->segment, client->asymmetric) < 0)
        fail("hazards_open", 0, 0);
    for (uint64_t turn = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); turn++) {
        bool dawdle = rng_below(&rng, 50) == 0;

        if (nr < HOLDS &&
            hold(client, &hazards, rng_below(&rng, KEYS), turn % 2, dawdle, &holdings[nr]))
            verify(client->tally, &holdings[nr++]);
        if (nr && (nr == HOLDS || rng_below(&rng, 3) == 0)) {
            at = (uint32_t)rng_below(&rng, nr);
            verify(client->tally, &holdings[at]);
            hazard_release(&hazards, holdings[at].slot);
            holdings[at] = holdings[--nr];
        }
        if (rng_below(&rng, 100) == 0)
            sched_yield();
    }
    for (at = 0; at < nr; at++) {
        verify(client->tally, &holdings[at]);
        hazard_release(&hazards, holdings[at].slot);
    }
    hazards_close(&hazards);
}

static void *client_thread(void *arg)
{
    struct client *client = arg;

    client_run(client, client->id);
    return NULL;
}

static void client_open(struct client *client, uint32_t id)
{
    static const struct segment_spec spec = {.nr_slots = 64, .nr_partitions = 1};

    client->id = id;
    if (segment_create(&spec, arena.sb->arena_id, &client->segment) < 0 ||
        reclaim_client_add(reclaimer, id, &client->segment) < 0)
        fail("no client", id, 0);
}

static void client_close(struct client *client)
{
    reclaim_client_remove(reclaimer, client->id);
    segment_close(&client->segment);
}

static void client_fork(struct client *client, uint32_t id)
{
    pid_t parent = getpid();

    client->asymmetric = id % 2;
    client_open(client, id);
    client->pid = fork();
    if (client->pid < 0)
        fail("fork", (uint64_t)errno, 0);
    if (client->pid)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    client->asymmetric = client->asymmetric && hazards_register();
    client_run(client, id);
    _exit(1);
}

static void client_kill(struct client *client)
{
    int status = 0;

    kill(client->pid, SIGKILL);
    if (waitpid(client->pid, &status, 0) != client->pid || !WIFSIGNALED(status) ||
        WTERMSIG(status) != SIGKILL)
        fail("a client ended by itself", client->id, (uint64_t)status);
    client_close(client);
}

/* The owner. */

static void put(struct rng *rng, uint64_t number, uint64_t version, uint32_t now_ms)
{
    uint32_t words = 2 + (uint32_t)rng_below(rng, VALUE_WORDS_MAX), block;
    struct key key;
    struct block_request request = {.key = &key, .key_len = key_make(&key, number)};
    uint64_t *value, ref;

    if (rng_below(rng, 300) == 0)
        words = VALUE_WORDS_HUGE; /* chunks change hands */
    if (rng_below(rng, 8) == 0)
        request.ttl_ms = 1 + (uint32_t)rng_below(rng, 200);
    request.value_len = words * 8;
    request.hash = hash_key(&key, request.key_len, arena.sb->seed);
    if (partition_reserve(partition, &request, now_ms, &block) != KVR_OK)
        return;
    value = (uint64_t *)(void *)partition_value(partition, block);
    value[0] = version;
    value[1] = number << 32 | request.value_len;
    for (uint32_t i = 2; i < words; i++)
        value[i] = word_of(number, version, i);
    if (partition_seal(partition, block, 0, false, now_ms, &ref) != KVR_OK)
        fail("seal", number, version);
}

static void own_turn(struct rng *rng, uint64_t *version)
{
    uint32_t now_ms = arena_ms(&arena, clock_ns());

    for (int i = 0; i < 8; i++)
        put(rng, rng_below(rng, KEYS), ++*version, now_ms);
    if (rng_below(rng, 2)) {
        struct key key;
        uint32_t key_len = key_make(&key, rng_below(rng, KEYS));

        (void)partition_del(partition, hash_key(&key, key_len, arena.sb->seed), &key, key_len, 0,
                            now_ms);
    }
    partition_poll(partition, now_ms);
    rcu_reader_quiescent();
    if (rng_below(rng, 16) == 0) {
        rcu_reader_offline();
        sched_yield();
        rcu_reader_online();
    }
}

static void own_threads(struct rng *rng, uint64_t seconds)
{
    uint64_t version = 0, end_ns = clock_ns() + seconds * NS_PER_S;
    bool registered = hazards_register();

    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i].asymmetric = registered && i % 2;
        client_open(&clients[i], i + 1);
        if (pthread_create(&clients[i].thread, NULL, client_thread, &clients[i]))
            fail("no thread", i, 0);
    }
    while (clock_ns() < end_ns)
        own_turn(rng, &version);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        client_close(&clients[i]);
    }
    printf("%lu versions, ", (unsigned long)version);
}

static void own_processes(struct rng *rng, uint64_t seconds, uint64_t kills)
{
    uint64_t version = 0, start_ns = clock_ns(), next_ns = start_ns;
    uint64_t period_ns = seconds * NS_PER_S / kills, done = 0;
    uint32_t id = 0;

    for (uint32_t i = 0; i < CLIENTS; i++)
        client_fork(&clients[i], ++id);
    while (done < kills && clock_ns() < start_ns + SECONDS_MAX * NS_PER_S) {
        own_turn(rng, &version);
        if (clock_ns() < next_ns)
            continue;
        struct client *client = &clients[rng_below(rng, CLIENTS)];

        client_kill(client);
        client_fork(client, ++id);
        next_ns += period_ns / 2 + rng_below(rng, period_ns);
        done++;
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        client_kill(&clients[i]);
    if (done < kills)
        fail("too slow: clients killed", done, kills);
    printf("%lu clients killed, %lu versions, ", (unsigned long)done, (unsigned long)version);
}

/* Nothing is held any more: everything must be back, within a second. */
static void all_back(void)
{
    const struct part_header *header = arena_part(&arena, 0);
    const struct reclaim_stats *stats = &arena.sb->reclaim;
    uint64_t start_ns = clock_ns();

    rcu_reader_offline();
    while (header->unlinked || counter_read(&stats->held)) {
        struct timespec pause = {.tv_nsec = 1000000};

        if (clock_ns() - start_ns > NS_PER_S)
            fail("after a second there are still blocks unlinked, held", header->unlinked,
                 counter_read(&stats->held));
        partition_poll(partition, arena_ms(&arena, clock_ns()));
        nanosleep(&pause, NULL);
    }
    printf("all back after %lu ms, ", (unsigned long)((clock_ns() - start_ns) / NS_PER_MS));
    if (counter_read(&stats->held_bytes) || reclaim_holds_any(reclaimer) ||
        partition_audit(partition) < 0)
        fail("something is left over", counter_read(&stats->held_bytes), 0);
}

static void tell(const struct tally *tallies)
{
    const struct part_header *header = arena_part(&arena, 0);
    const struct reclaim_stats *stats = &arena.sb->reclaim;
    uint64_t scans = counter_read(&stats->scans);
    struct tally sum = {0};

    for (uint32_t i = 0; i < CLIENTS; i++) {
        sum.looks += tallies[i].looks;
        sum.hits += tallies[i].hits;
        sum.late += tallies[i].late;
        sum.undecided += tallies[i].undecided;
        sum.wrong += tallies[i].wrong;
    }
    if (!sum.hits || sum.wrong)
        fail("hits, wrong", sum.hits, sum.wrong);
    printf("%lu looks, %lu holds, %lu too late, %lu undecided, %lu evictions, %lu replaced, "
           "%lu scans of %lu slots in %.1f us each, 0 wrong bytes\n",
           (unsigned long)sum.looks, (unsigned long)sum.hits, (unsigned long)sum.late,
           (unsigned long)sum.undecided, (unsigned long)header->evictions,
           (unsigned long)header->replaced, (unsigned long)scans,
           (unsigned long)counter_read(&stats->slots),
           (double)counter_read(&stats->scan_ns) / (double)(scans + !scans) / 1e3);
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 3;
    bool processes = argc > 2 && !strcmp(argv[2], "processes");
    uint64_t kills = argc > 3 ? strtoul(argv[3], NULL, 10) : 25 * seconds;
    struct arena_spec spec = {
        .data_size = 2 << 20, .nr_partitions = 1, .nr_cores = 1, .blocks_max = 1024, .seed = 1};
    struct partition_options options = {.policy = "lru"};
    struct partition_recovery recovery;
    struct tally *tallies = mmap(NULL, CLIENTS * sizeof(*tallies), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rng rng;

    if (tallies == MAP_FAILED || !seconds || !kills || arena_create(&spec, &arena) < 0 ||
        reclaimer_create(&arena, &reclaimer) < 0)
        return 1;
    options.reclaimer = reclaimer;
    if (partition_open(&arena, 0, &options, &partition, &recovery) < 0)
        return 1;
    long_keys = processes;
    for (uint32_t i = 0; i < CLIENTS; i++)
        clients[i].tally = &tallies[i];
    rng_seed(&rng, 99);
    rcu_reader_register();
    if (processes)
        own_processes(&rng, seconds, kills);
    else
        own_threads(&rng, seconds);
    all_back();
    rcu_reader_unregister();
    tell(tallies);
    partition_close(partition);
    reclaimer_destroy(reclaimer);
    arena_close(&arena);
    munmap(tallies, CLIENTS * sizeof(*tallies));
    return 0;
}
