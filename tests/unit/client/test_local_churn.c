/* SPDX-License-Identifier: Apache-2.0 */
/* Handles on threads of their own read, hold, write and delete under constant eviction, while the
 * dataplane restarts: no byte is ever wrong, nothing is lost track of, nothing ends late. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "near_server.h"

#define THREADS 3u
#define KEYS 400u
#define HELD 24u
#define SECONDS 3u
#define TIMEOUT_MS 5000u
#define VALUE_MAX 200000u

static struct near_server near;
static bool over;

struct reader {
    pthread_t thread;
    unsigned number;
    struct rng rng;
    struct kvr_client *client;
    struct kvr_view held[HELD];
    unsigned keys[HELD]; /* of what is held */
    unsigned nr_held;
    unsigned hits, misses, puts;
    uint8_t *bytes;
};

static void name_of(unsigned key, char name[16])
{
    snprintf(name, 16, "k%u", key);
}

/* Every word of a value says whose it is: key, version, and where the word lies. */
static uint64_t word_of(unsigned key, uint64_t version, uint32_t at)
{
    return (version << 16 | key) * 0x9e3779b97f4a7c15ull + at;
}

static void fill(uint8_t *bytes, uint32_t len, unsigned key, uint64_t version)
{
    memcpy(bytes, &version, sizeof(version));
    for (uint32_t at = 8; at + 8 <= len; at += 8) {
        uint64_t word = word_of(key, version, at);

        memcpy(bytes + at, &word, sizeof(word));
    }
}

static bool right(const void *value, uint32_t len, unsigned key)
{
    const uint8_t *bytes = value;
    uint64_t version, word;

    if (len < 8 || len % 8 != 0)
        return false;
    memcpy(&version, bytes, sizeof(version));
    for (uint32_t at = 8; at < len; at += 8) {
        memcpy(&word, bytes + at, sizeof(word));
        if (word != word_of(key, version, at))
            return false;
    }
    return true;
}

static bool known(enum kvr_status status)
{
    return status == KVR_OK || status == KVR_MISS || status == KVR_NO_SPACE || status == KVR_BUSY;
}

static void let_go(struct reader *r, unsigned i)
{
    cr_assert(right(r->held[i].data, r->held[i].len, r->keys[i]));
    kvr_release(r->client, &r->held[i], 1);
    r->nr_held--;
    r->held[i] = r->held[r->nr_held];
    r->keys[i] = r->keys[r->nr_held];
}

static void look(struct reader *r, unsigned key, const char *name)
{
    enum kvr_status status;

    if (r->nr_held == HELD)
        let_go(r, (unsigned)rng_below(&r->rng, HELD));
    status = kvr_get_view(r->client, name, strlen(name), &r->held[r->nr_held]);
    cr_assert(known(status), "view: %s", kvr_status_name(status));
    r->hits += status == KVR_OK;
    r->misses += status != KVR_OK;
    if (status != KVR_OK)
        return;
    cr_assert(right(r->held[r->nr_held].data, r->held[r->nr_held].len, key));
    r->keys[r->nr_held++] = key;
}

static void copy(struct reader *r, unsigned key, const char *name)
{
    size_t len;
    enum kvr_status status = kvr_get(r->client, name, strlen(name), r->bytes, VALUE_MAX, &len);

    cr_assert(known(status), "get: %s", kvr_status_name(status));
    cr_assert(status != KVR_OK || right(r->bytes, (uint32_t)len, key));
}

static void chain(struct reader *r, unsigned key)
{
    char names[20][16];
    struct kvr_key keys[20];
    struct kvr_view views[20];
    uint32_t prefix;
    enum kvr_status status;

    for (unsigned i = 0; i < 20; i++) {
        name_of((key + i) % KEYS, names[i]);
        keys[i] = (struct kvr_key){names[i], (uint32_t)strlen(names[i])};
    }
    status = kvr_match_views(r->client, keys, 20, views, &prefix);
    cr_assert_eq(status, KVR_OK, "match: %s", kvr_status_name(status));
    for (unsigned i = 0; i < prefix; i++)
        cr_assert(right(views[i].data, views[i].len, (key + i) % KEYS));
    kvr_release(r->client, views, prefix);
}

static void put(struct reader *r, unsigned key, const char *name)
{
    uint32_t len = 16 + 8 * (uint32_t)rng_below(&r->rng, rng_below(&r->rng, 2) ? 200 : 20000);
    enum kvr_status status;

    fill(r->bytes, len, key, (uint64_t)r->number << 32 | ++r->puts);
    status = kvr_put(r->client, name, strlen(name), r->bytes, len, 0);
    cr_assert(known(status), "put: %s", kvr_status_name(status));
}

static void *run(void *arg)
{
    struct reader *r = arg;

    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        unsigned key = (unsigned)rng_below(&r->rng, KEYS), op = (unsigned)rng_below(&r->rng, 100);
        uint64_t start_ns = clock_ns();
        char name[16];

        name_of(key, name);
        if (op < 60)
            look(r, key, name);
        else if (op < 70)
            copy(r, key, name);
        else if (op < 75)
            chain(r, key);
        else if (op < 98)
            put(r, key, name);
        else
            cr_assert(known(kvr_del(r->client, name, strlen(name))));
        cr_assert_lt(clock_ns() - start_ns, (TIMEOUT_MS + 2000) * NS_PER_MS);
    }
    while (r->nr_held > 0)
        let_go(r, 0);
    return NULL;
}

static void start(struct reader *r, unsigned number)
{
    struct kvr_options options;

    kvr_options_init(&options);
    options.timeout_ms = TIMEOUT_MS;
    options.connect_ms = 20000;
    options.read_only = number % 2; /* these stage their values */
    *r = (struct reader){.number = number, .bytes = malloc(VALUE_MAX)};
    rng_seed(&r->rng, number + 1);
    r->client = near_client(&near, &options);
    cr_assert_eq(pthread_create(&r->thread, NULL, run, r), 0);
}

Test(local_churn, no_byte_is_wrong_while_all_changes_and_the_dataplane_restarts, .timeout = 100)
{
    uint64_t end_ns = clock_ns() + SECONDS * NS_PER_S;
    static struct reader readers[THREADS];
    unsigned hits = 0, misses = 0, puts = 0;

    near_setup(&near);
    near_start(&near);
    for (unsigned i = 0; i < THREADS; i++)
        start(&readers[i], i);
    while (clock_ns() < end_ns) {
        struct timespec pause = {.tv_nsec = 150 * NS_PER_MS};

        nanosleep(&pause, NULL);
        near_kill_owner(&near);
        near_start_owner(&near);
    }
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(readers[i].thread, NULL);
        kvr_close(readers[i].client);
        free(readers[i].bytes);
        hits += readers[i].hits;
        misses += readers[i].misses;
        puts += readers[i].puts;
    }
    printf("%u hits, %u misses, %u puts\n", hits, misses, puts);
    cr_assert_gt(hits, 1000);
    cr_assert_gt(puts, 100);
    near_poll(&near);
    cr_assert_eq(partition_audit(near.partition), 0);
    cr_assert_eq(near.arena.sb->reclaim.held, 0);
    near_stop(&near);
}
