/* SPDX-License-Identifier: Apache-2.0 */
/* The owner is killed at any instruction, many times: what it had acknowledged is still there, what
 * is there is right, and the next owner works on. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "fixture.h"

#define KEYS 300u
#define ROUNDS 40

/* Shared with the child: the newest version of each key that was acknowledged; 0 = deleted. */
struct acknowledged {
    uint64_t version[KEYS];
    uint64_t begun[KEYS]; /* the newest that was begun */
    uint64_t last;
};

static struct fixture f;
static struct acknowledged *acks;

static size_t key_make(uint8_t *key, uint32_t number)
{
    memset(key, (int)number, 64);
    memcpy(key, &number, sizeof(number));
    return number % 2 ? 8 : 64;
}

static uint32_t value_make(uint64_t *words, uint32_t number, uint64_t version)
{
    uint32_t nr = 2 + (uint32_t)((number * 31 + version * 17) % 400);

    for (uint32_t i = 0; i < nr; i++)
        words[i] = version + (uint64_t)number * i;
    return nr * 8;
}

static void put(uint32_t number)
{
    uint64_t words[512], version = acks->last + 1;
    uint32_t len = value_make(words, number, version);
    uint8_t key[64];
    size_t key_len = key_make(key, number);

    __atomic_store_n(&acks->last, version, __ATOMIC_RELAXED);
    __atomic_store_n(&acks->begun[number], version, __ATOMIC_RELEASE);
    if (fixture_put(&f, key, key_len, words, len, 0) == KVR_OK)
        __atomic_store_n(&acks->version[number], version, __ATOMIC_RELEASE);
}

/* Until it is killed. huge: values that make everything else be evicted from time to time. */
static void own(uint64_t seed, bool huge)
{
    struct rng rng;
    static uint8_t large[600000];

    rng_seed(&rng, seed);
    if (reclaimer_create(&f.arena, &f.reclaimer) < 0)
        _exit(1);
    fixture_open(&f, "lru");
    for (;;) {
        put((uint32_t)rng_below(&rng, KEYS));
        if (huge && rng_below(&rng, 20) == 0)
            (void)!fixture_put(&f, "huge", 4, large, rng_below(&rng, sizeof(large)), 0);
        if (rng_below(&rng, 3) == 0)
            partition_poll(f.partition, f.now_ms);
    }
}

static void check(bool all)
{
    for (uint32_t number = 0; number < KEYS; number++) {
        uint64_t acked = acks->version[number], begun = acks->begun[number], words[512];
        uint8_t key[64];
        size_t key_len = key_make(key, number);
        struct block_view view;
        uint32_t len;

        if (!fixture_find(&f, key, key_len, &view)) {
            cr_assert(!all || !acked, "key %u is lost", number);
            continue;
        }
        memcpy(words, view.value, 8);
        cr_assert(words[0] == acked || words[0] == begun, "key %u: version %lu, not %lu or %lu",
                  number, (unsigned long)words[0], (unsigned long)acked, (unsigned long)begun);
        len = value_make(words, number, words[0]);
        cr_assert_eq(view.value_len, len);
        cr_assert_eq(memcmp(view.value, words, len), 0);
        /* What survived is what counts from now on. */
        acks->version[number] = acks->begun[number] = words[0];
    }
}

/* However late a busy machine lets the child run. */
static void await_writes(uint64_t number)
{
    for (int i = 0; i < 10000 && __atomic_load_n(&acks->last, __ATOMIC_RELAXED) < number; i++)
        usleep(1000);
}

static void crash(uint64_t data_size, bool huge)
{
    struct partition_options options = {.policy = "lru", .verify = true};
    struct arena_spec spec = {
        .data_size = data_size, .nr_partitions = 1, .nr_cores = 1, .blocks_max = 1024, .seed = 7};
    uint64_t kept = 0;

    acks = mmap(NULL, sizeof(*acks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(acks, MAP_FAILED);
    cr_assert_eq(arena_create(&spec, &f.arena), 0);
    f.now_ms = 1;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t before = acks->last;
        pid_t child = fork();
        int status;

        cr_assert_geq(child, 0);
        if (!child)
            own((uint64_t)round, huge);
        await_writes(before + 100);
        usleep((useconds_t)round * 531);
        kill(child, SIGKILL);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status));
        cr_assert_eq(reclaimer_create(&f.arena, &options.reclaimer), 0);
        cr_assert_eq(partition_open(&f.arena, 0, &options, &f.partition, &f.recovery), 0);
        cr_assert_leq(f.recovery.dropped_damaged, 1, "only the key that was being overwritten");
        cr_assert_eq(partition_audit(f.partition), 0);
        check(!huge);
        kept += f.recovery.kept;
        partition_close(f.partition);
        reclaimer_destroy(options.reclaimer);
    }
    cr_assert_gt(kept, 1000);
    cr_assert_gt(acks->last, 1000);
    arena_close(&f.arena);
}

Test(crash, loses_nothing_that_was_acknowledged)
{
    crash(4 << 20, false);
}

Test(crash, in_the_middle_of_eviction_leaves_only_right_values)
{
    crash(1 << 20, true);
}
