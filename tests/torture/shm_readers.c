/* SPDX-License-Identifier: Apache-2.0 */
/* Readers against one owner that overwrites, deletes and evicts all the time: no reader may ever
 * see a byte that was not stored under its key, nor go back to an older version. Two kinds: RCU
 * readers that look keys up themselves, and a holder of pins that is handed blocks by the owner,
 * reads them at leisure and unpins. Usage: shm_readers [SECONDS] */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/spsc.h"
#include "shm/partition.h"
#include "shm/reclaim.h"

#define READERS 2
#define KEYS 3000u
#define VALUE_WORDS_MAX 300u
#define VALUE_WORDS_HUGE 20000u
#define READS_WANTED 1000000u
#define SECONDS_MAX 15u

struct key {
    uint64_t number;
    uint8_t rest[56];
};

struct reader {
    pthread_t thread;
    uint64_t seed, reads, hits;
    uint64_t seen[KEYS]; /* newest version */
};

static struct arena arena;
static struct partition *partition;
static struct spsc pinned, names; /* block numbers; (key, version) of each */
static uint64_t reads_total;      /* atomic */
static bool stop, owner_done;     /* atomic */

static uint64_t word_of(uint64_t key, uint64_t version, uint64_t i)
{
    return (key + 1) * 0x9e3779b97f4a7c15ull ^ version * 0xbf58476d1ce4e5b9ull ^ i << 40 ^ i;
}

/* Long keys lie in the data segment, short ones in the descriptor. */
static uint32_t key_make(struct key *key, uint64_t number)
{
    memset(key, (int)number, sizeof(*key));
    key->number = number;
    return number % 3 ? 8 : sizeof(*key);
}

static void fail(const char *what, uint64_t key, uint64_t version)
{
    fprintf(stderr, "%s: key %lu version %lu\n", what, (unsigned long)key, (unsigned long)version);
    abort();
}

/* Version and length come first, so that every value says what it must hold. */
static uint64_t verify(const uint8_t *value, uint32_t len, uint64_t key)
{
    const uint64_t *words = (const uint64_t *)(const void *)value;
    uint64_t version = words[0];

    if (len % 8 || words[1] != (key << 32 | len))
        fail("wrong head", key, version);
    for (uint32_t i = 2; i < len / 8; i++)
        if (words[i] != word_of(key, version, i))
            fail("wrong bytes", key, version);
    return version;
}

static void *read_loop(void *arg)
{
    struct reader *reader = arg;
    struct rng rng;
    struct key key;

    rng_seed(&rng, reader->seed);
    rcu_reader_register();
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uint64_t number = rng_below(&rng, KEYS), version;
        uint32_t key_len = key_make(&key, number), now_ms = arena_ms(&arena, clock_ns());
        struct block_view view;

        reader->reads++;
        if (index_find(&arena, 0, hash_key(&key, key_len, arena.sb->seed), &key, key_len, now_ms,
                       &view)) {
            version = verify(view.value, view.value_len, number);
            if (version < reader->seen[number])
                fail("an older version came back", number, version);
            reader->seen[number] = version;
            reader->hits++;
        }
        if (reader->reads % 4 == 0)
            rcu_reader_quiescent();
        if (reader->reads % 1000 == 0)
            __atomic_add_fetch(&reads_total, 1000, __ATOMIC_RELAXED);
        if (reader->reads % 500 == 0) {
            /* Or the owner would spend its time waiting for readers that have lost their core. */
            rcu_reader_offline();
            sched_yield();
            rcu_reader_online();
        }
    }
    rcu_reader_unregister();
    return NULL;
}

/* A device that reads values long after they may have been unlinked. */
static void *pin_loop(void *arg)
{
    uint64_t *count = arg, word, name;

    while (!__atomic_load_n(&owner_done, __ATOMIC_ACQUIRE) || pinned.tail != pinned.head) {
        struct timespec pause = {.tv_nsec = 100000};

        if (!spsc_pop(&pinned, &word)) {
            nanosleep(&pause, NULL);
            continue;
        }
        while (!spsc_pop(&names, &name))
            ;
        if (*count % 8 == 0)
            nanosleep(&pause, NULL);
        (void)verify(partition_value(partition, (uint32_t)word), (uint32_t)(word >> 32), name);
        partition_unpin(partition, (uint32_t)word);
        ++*count;
    }
    return NULL;
}

static bool put(struct rng *rng, uint64_t number, uint64_t version, uint32_t now_ms)
{
    uint32_t words = 2 + (uint32_t)rng_below(rng, VALUE_WORDS_MAX), block;
    struct key key;
    struct block_request request = {
        .key = &key, .key_len = key_make(&key, number), .value_len = words * 8};
    uint64_t *value, ref;

    if (rng_below(rng, 300) == 0)
        request.value_len = 8 * (words = VALUE_WORDS_HUGE); /* chunks change hands */
    if (rng_below(rng, 8) == 0)
        request.ttl_ms = 1 + (uint32_t)rng_below(rng, 200);
    request.hash = hash_key(&key, request.key_len, arena.sb->seed);
    if (partition_reserve(partition, &request, now_ms, &block) != KVR_OK)
        return false;
    value = (uint64_t *)(void *)partition_value(partition, block);
    value[0] = version;
    value[1] = number << 32 | request.value_len;
    for (uint32_t i = 2; i < words; i++)
        value[i] = word_of(number, version, i);
    if (partition_seal(partition, block, 0, false, now_ms, &ref) != KVR_OK)
        fail("seal", number, version);
    return true;
}

static void hand_to_pins(uint64_t number, uint32_t now_ms)
{
    struct block_view view;
    struct key key;
    uint32_t key_len = key_make(&key, number);

    if (!index_find(&arena, 0, hash_key(&key, key_len, arena.sb->seed), &key, key_len, now_ms,
                    &view))
        return;
    partition_hit(partition, view.block);
    partition_pin(partition, view.block);
    if (!spsc_push(&pinned, (uint64_t)view.value_len << 32 | view.block))
        partition_unpin(partition, view.block);
    else if (!spsc_push(&names, number))
        fail("ring", number, 0);
}

static void own(uint64_t end_ns, uint64_t hard_end_ns)
{
    uint64_t version = 0, now_ns;
    struct rng rng;

    rng_seed(&rng, 99);
    rcu_reader_register();
    while ((now_ns = clock_ns()) < hard_end_ns &&
           (now_ns < end_ns || __atomic_load_n(&reads_total, __ATOMIC_RELAXED) < READS_WANTED)) {
        uint32_t now_ms = arena_ms(&arena, now_ns);

        for (int i = 0; i < 4; i++) {
            uint64_t number = rng_below(&rng, KEYS);
            struct key key;
            uint32_t key_len = key_make(&key, number);

            if (!put(&rng, number, version + 1, now_ms))
                continue;
            version++;
            if (version % 8 == 0)
                (void)partition_del(partition, hash_key(&key, key_len, arena.sb->seed), &key,
                                    key_len, 0, now_ms);
            if (i == 1)
                hand_to_pins(rng_below(&rng, KEYS), now_ms);
        }
        partition_poll(partition, now_ms);
        rcu_reader_quiescent();
    }
    rcu_reader_unregister();
    printf("%lu versions, ", (unsigned long)version);
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 3, pins = 0;
    struct arena_spec spec = {
        .data_size = 2 << 20, .nr_partitions = 1, .nr_cores = 1, .blocks_max = 1024, .seed = 1};
    struct partition_options options = {.policy = "lru"};
    struct partition_recovery recovery;
    static struct reader readers[READERS];
    const struct part_header *header;
    pthread_t pin_thread;
    uint64_t start = clock_ns(), hits = 0, reads = 0;

    if (arena_create(&spec, &arena) < 0 || reclaimer_create(&arena, &options.reclaimer) < 0 ||
        partition_open(&arena, 0, &options, &partition, &recovery) < 0 ||
        spsc_create(&pinned, 64) < 0 || spsc_create(&names, 128) < 0)
        return 1;
    header = arena_part(&arena, 0);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i].seed = i + 1;
        if (pthread_create(&readers[i].thread, NULL, read_loop, &readers[i]))
            return 1;
    }
    if (pthread_create(&pin_thread, NULL, pin_loop, &pins))
        return 1;
    own(start + seconds * NS_PER_S,
        start + (seconds > SECONDS_MAX ? seconds : SECONDS_MAX) * NS_PER_S);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    __atomic_store_n(&owner_done, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        hits += readers[i].hits;
        reads += readers[i].reads;
    }
    pthread_join(pin_thread, NULL);
    for (int i = 0; i < 2000 && header->unlinked; i++) {
        struct timespec pause = {.tv_nsec = 1000000};

        partition_poll(partition, arena_ms(&arena, clock_ns()));
        nanosleep(&pause, NULL);
    }
    if (header->unlinked || partition_pinned(partition) || partition_audit(partition) < 0)
        fail("something is left over", header->unlinked, partition_pinned(partition));
    printf("%lu reads, %lu hits, %lu pinned reads, %lu evictions, %lu replaced, 0 wrong bytes\n",
           (unsigned long)reads, (unsigned long)hits, (unsigned long)pins,
           (unsigned long)header->evictions, (unsigned long)header->replaced);
    partition_close(partition);
    reclaimer_destroy(options.reclaimer);
    arena_close(&arena);
    spsc_destroy(&pinned);
    spsc_destroy(&names);
    return 0;
}
