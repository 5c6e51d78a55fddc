/* SPDX-License-Identifier: Apache-2.0 */
/* All calls against the real engine (engine.h), started for each test. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "engine.h"

#define TIMEOUT_MS ENGINE_TIMEOUT_MS

static struct kvr_client *client;

static void start_with(char *partitions, char *size)
{
    engine_start(partitions, size, "0");
}

static void connect_to(const char *host)
{
    client = engine_open(host);
}

static void setup(void)
{
    start_with("2", "67108864");
    connect_to("127.0.0.1");
}

static void teardown(void)
{
    kvr_close(client);
    engine_stop();
}

TestSuite(server, .init = setup, .fini = teardown);

static void fill(uint8_t *bytes, size_t len, uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t at = 0; at < len; at += 8) {
        uint64_t word = rng_next(&rng);
        memcpy(bytes + at, &word, len - at < 8 ? len - at : 8);
    }
}

/* Stores and fetches a value of this size. */
static void roundtrip(size_t size)
{
    uint8_t *value = malloc(size + 8), *buffer = malloc(size + 8);
    struct kvr_call get = {.op = KVR_CALL_GET, .buffer = buffer, .buffer_len = size};
    char key[32];
    int key_len = snprintf(key, sizeof(key), "value of %zu", size);

    fill(value, size, size);
    memset(buffer, 0xee, size + 8);
    cr_assert_eq(kvr_put(client, key, (size_t)key_len, value, size, 0), KVR_OK, "%zu", size);
    get.key = (struct kvr_key){key, (uint32_t)key_len};
    cr_assert_eq(kvr_do(client, &get), KVR_OK, "%zu", size);
    cr_assert_eq(get.result_len, size);
    cr_assert_eq(get.stored_len, size);
    cr_assert_eq(get.stored_crc, crc32c(0, value, size));
    cr_assert_eq(memcmp(buffer, value, size), 0, "%zu", size);
    for (size_t i = size; i < size + 8; i++)
        cr_assert_eq(buffer[i], 0xee, "written beyond the value");
    free(value);
    free(buffer);
}

Test(server, stores_values_of_every_size_around_a_datagrams)
{
    roundtrip(0);
    roundtrip(1);
    for (size_t size = 1390; size <= 1500; size++)
        roundtrip(size);
    for (size_t size = 8800; size <= 8960; size++)
        roundtrip(size);
}

Test(server, stores_long_values)
{
    for (size_t size = 65535; size <= 65537; size++)
        roundtrip(size);
    roundtrip(1000003);
    roundtrip(2u << 20);
}

Test(server, stores_the_longest_value)
{
    kvr_close(client);
    engine_stop();
    start_with("1", "201326592");
    connect_to("127.0.0.1");
    roundtrip(KVR_VALUE_MAX);
}

Test(server, speaks_ipv6)
{
    kvr_close(client);
    connect_to("[::1]");
    roundtrip(100);
    roundtrip(300000);
}

Test(server, keeps_to_small_datagrams_where_told_to)
{
    struct kvr_options options;
    struct kvr_server_info info;

    kvr_close(client);
    kvr_options_init(&options);
    options.max_datagram = KVR_DATAGRAM_MIN_MAX;
    options.timeout_ms = TIMEOUT_MS;
    cr_assert_eq(kvr_open(engine_url, &options, &client), KVR_OK);
    kvr_server_info(client, &info);
    cr_assert_eq(info.max_datagram, KVR_DATAGRAM_MIN_MAX);
    cr_assert_eq(info.nr_partitions, 2);
    roundtrip(1000);
    roundtrip(1200);
    roundtrip(200000);
}

Test(server, takes_keys_of_any_bytes_and_length)
{
    uint8_t key[KVR_KEY_MAX];

    fill(key, sizeof(key), 1);
    for (uint32_t len = 1; len <= KVR_KEY_MAX; len += len < 40 ? 1 : 123) {
        uint8_t buffer[16];
        size_t got;

        cr_assert_eq(kvr_put(client, key, len, &len, sizeof(len), 0), KVR_OK);
        cr_assert_eq(kvr_get(client, key, len, buffer, sizeof(buffer), &got), KVR_OK);
        cr_assert_eq(got, sizeof(len));
        cr_assert_eq(memcmp(buffer, &len, sizeof(len)), 0);
    }
}

Test(server, forgets_what_is_deleted_and_only_that_block_where_named)
{
    struct kvr_call put = {.op = KVR_CALL_PUT, .key = {"k", 1}, .value = "1", .value_len = 1};
    struct kvr_call del = {.op = KVR_CALL_DEL, .key = {"k", 1}};

    cr_assert_eq(kvr_del(client, "k", 1), KVR_MISS);
    cr_assert_eq(kvr_do(client, &put), KVR_OK);
    cr_assert_neq(put.ref, 0);
    del.if_ref = put.ref;
    cr_assert_eq(kvr_do(client, &put), KVR_OK);
    cr_assert_eq(kvr_do(client, &del), KVR_STALE);
    del.if_ref = put.ref;
    cr_assert_eq(kvr_do(client, &del), KVR_OK);
    cr_assert_eq(kvr_get(client, "k", 1, NULL, 0, NULL), KVR_MISS);
}

Test(server, adds_only_where_nothing_is)
{
    static uint8_t large[100000];
    struct kvr_call add = {
        .op = KVR_CALL_PUT, .key = {"k", 1}, .value = "1", .value_len = 1, .add = 1};

    cr_assert_eq(kvr_do(client, &add), KVR_OK);
    cr_assert_eq(kvr_do(client, &add), KVR_EXISTS);
    add.value = large;
    add.value_len = sizeof(large);
    cr_assert_eq(kvr_do(client, &add), KVR_EXISTS);
    cr_assert_eq(kvr_del(client, "k", 1), KVR_OK);
    cr_assert_eq(kvr_do(client, &add), KVR_OK);
}

Test(server, says_how_large_a_buffer_must_be)
{
    static uint8_t value[5000];
    uint8_t buffer[100];
    size_t len = 0;

    cr_assert_eq(kvr_put(client, "k", 1, value, sizeof(value), 0), KVR_OK);
    cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), &len), KVR_BUFFER_TOO_SMALL);
    cr_assert_eq(len, sizeof(value));
    len = 0;
    cr_assert_eq(kvr_get(client, "k", 1, NULL, 0, &len), KVR_BUFFER_TOO_SMALL);
    cr_assert_eq(len, sizeof(value));
}

Test(server, tells_of_a_block_without_its_bytes)
{
    struct kvr_call put = {.op = KVR_CALL_PUT,
                           .key = {"k", 1},
                           .value = "12345",
                           .value_len = 5,
                           .ttl_ms = 60000,
                           .layout = 7};
    struct kvr_call get = {.op = KVR_CALL_GET, .key = {"k", 1}, .meta_only = 1};

    cr_assert_eq(kvr_do(client, &put), KVR_OK);
    cr_assert_eq(kvr_do(client, &get), KVR_OK);
    cr_assert_eq(get.stored_len, 5);
    cr_assert_eq(get.stored_crc, crc32c(0, "12345", 5));
    cr_assert_eq(get.stored_layout, 7);
    cr_assert_eq(get.ref, put.ref);
    cr_assert(get.ttl_left_ms > 0 && get.ttl_left_ms <= 60000);
    cr_assert_eq(get.result_len, 0);
    get.if_ref = put.ref + (1ull << 32);
    cr_assert_eq(kvr_do(client, &get), KVR_STALE);
}

Test(server, lets_values_expire_and_touch_keeps_them)
{
    struct timespec pause = {.tv_nsec = 300 * (long)NS_PER_MS};

    cr_assert_eq(kvr_put(client, "a", 1, "1", 1, 150), KVR_OK);
    cr_assert_eq(kvr_put(client, "b", 1, "1", 1, 150), KVR_OK);
    cr_assert_eq(kvr_touch(client, "b", 1, 0), KVR_OK);
    cr_assert_eq(kvr_touch(client, "c", 1, 0), KVR_MISS);
    nanosleep(&pause, NULL);
    cr_assert_eq(kvr_get(client, "a", 1, NULL, 0, NULL), KVR_MISS);
    cr_assert_eq(kvr_get(client, "b", 1, NULL, 0, NULL), KVR_BUFFER_TOO_SMALL);
}

Test(server, takes_hints)
{
    struct kvr_hint hint = {
        .parent = kvr_key_id(client, "a", 1), .cost_us = 100, .flags = KVR_HINT_ALIVE};

    cr_assert_neq(hint.parent, kvr_key_id(client, "b", 1));
    cr_assert_eq(kvr_hint(client, "b", 1, &hint), KVR_MISS);
    cr_assert_eq(kvr_put(client, "b", 1, "1", 1, 0), KVR_OK);
    cr_assert_eq(kvr_hint(client, "b", 1, &hint), KVR_OK);
}

/* Views, short and longer than one train, checked byte by byte. */
Test(server, delivers_views)
{
    static const struct {
        uint32_t off, len, stride, count;
    } views[] = {{0, 1, 0, 0},        {5, 100, 0, 1},        {100000, 0, 0, 0},
                 {0, 64, 128, 1000},  {13, 1000, 4096, 200}, {0, 10, 10, 5000},
                 {7, 100, 50, 10000}, {0, 4096, 65536, 16},  {1048575, 1, 0, 0},
                 {0, 1048576, 0, 0},  {17, 3, 1, 60000},     {1048576, 0, 0, 0}};
    const uint32_t size = 1u << 20;
    uint8_t *value = malloc(size), *buffer = malloc(4 * size);

    fill(value, size, 3);
    cr_assert_eq(kvr_put(client, "k", 1, value, size, 0), KVR_OK);
    for (size_t v = 0; v < sizeof(views) / sizeof(views[0]); v++) {
        uint32_t count = views[v].count ? views[v].count : 1;
        uint32_t len = views[v].len ? views[v].len : size - views[v].off;
        struct kvr_call get = {.op = KVR_CALL_GET,
                               .key = {"k", 1},
                               .buffer = buffer,
                               .buffer_len = 4 * size,
                               .off = views[v].off,
                               .len = views[v].len,
                               .stride = views[v].stride,
                               .count = views[v].count};

        cr_assert_eq(kvr_do(client, &get), KVR_OK, "view %zu: %s", v, kvr_status_name(get.status));
        cr_assert_eq(get.result_len, (size_t)len * count);
        for (uint32_t i = 0; i < count; i++)
            cr_assert_eq(memcmp(buffer + (size_t)i * len,
                                value + views[v].off + (size_t)i * views[v].stride, len),
                         0, "view %zu, piece %u", v, i);
    }
    free(value);
    free(buffer);
}

Test(server, refuses_views_outside_the_value)
{
    uint8_t buffer[100];
    struct kvr_call get = {.op = KVR_CALL_GET,
                           .key = {"k", 1},
                           .buffer = buffer,
                           .buffer_len = sizeof(buffer),
                           .off = 5,
                           .len = 6};

    cr_assert_eq(kvr_put(client, "k", 1, "0123456789", 10, 0), KVR_OK);
    cr_assert_eq(kvr_do(client, &get), KVR_BAD_RANGE);
    get.off = 11;
    get.len = 0;
    cr_assert_eq(kvr_do(client, &get), KVR_BAD_RANGE);
}

#define CHAIN 5000u

static char chain_names[CHAIN][40];
static struct kvr_key chain[CHAIN];
static struct kvr_call puts_[CHAIN];

static void store_chain(uint32_t nr, uint32_t step, bool same_length)
{
    for (uint32_t i = 0; i < CHAIN; i++) {
        int len = snprintf(chain_names[i], sizeof(chain_names[i]),
                           same_length ? "block %08u" : "block %u", i * 7919);
        chain[i] = (struct kvr_key){chain_names[i], (uint32_t)len};
    }
    for (uint32_t i = 0; i < nr; i++)
        puts_[i] = (struct kvr_call){
            .op = KVR_CALL_PUT, .key = chain[i * step], .value = "value", .value_len = i % 6};
    cr_assert_eq(kvr_do_batch(client, puts_, nr), KVR_OK);
}

Test(server, matches_thousands_of_keys_at_once)
{
    static struct kvr_match matches[CHAIN];
    struct kvr_client_stats before, after;
    uint32_t prefix;

    store_chain(3000, 1, true);
    kvr_client_stats(client, &before);
    cr_assert_eq(kvr_match(client, chain, CHAIN, matches, &prefix), KVR_OK);
    kvr_client_stats(client, &after);
    cr_assert_eq(prefix, 3000);
    for (uint32_t i = 0; i < CHAIN; i++) {
        cr_assert_eq(matches[i].present, i < 3000, "key %u", i);
        cr_assert_eq(matches[i].ref != 0, i < 3000);
        cr_assert_eq(matches[i].value_len, i < 3000 ? i % 6 : 0);
        if (i < 3000)
            cr_assert_eq(matches[i].ref, puts_[i].ref);
    }
    cr_assert_lt(after.tx_datagrams - before.tx_datagrams -
                     (after.retransmits - before.retransmits),
                 30, "a few datagrams");
    cr_assert_eq(kvr_match(client, chain, CHAIN, NULL, &prefix), KVR_OK);
    cr_assert_eq(prefix, 3000);
}

Test(server, matches_chains_with_holes_and_keys_of_different_length)
{
    static struct kvr_match matches[CHAIN];
    struct kvr_call match = {.op = KVR_CALL_MATCH,
                             .keys = chain,
                             .nr_keys = CHAIN,
                             .matches = matches,
                             .lease_ms = 1000};

    store_chain(CHAIN / 2, 2, false);
    cr_assert_eq(kvr_do(client, &match), KVR_OK);
    cr_assert_eq(match.prefix, 1);
    cr_assert_eq(match.nr_present, CHAIN / 2);
    cr_assert_eq(match.nr_pinned, CHAIN / 2);
    for (uint32_t i = 0; i < CHAIN; i++) {
        cr_assert_eq(matches[i].present, i % 2 == 0);
        cr_assert_eq(matches[i].pinned, i % 2 == 0);
    }
    match.keys = chain + 1;
    match.nr_keys = 1;
    cr_assert_eq(kvr_do(client, &match), KVR_OK);
    cr_assert_eq(match.prefix, 0);
    match.keys = chain;
    cr_assert_eq(kvr_do(client, &match), KVR_OK);
    cr_assert_eq(match.prefix, 1);
}

Test(server, pins_what_it_is_asked_to)
{
    struct kvr_call get = {.op = KVR_CALL_GET, .key = {"k", 1}, .lease_ms = 1000, .meta_only = 1};

    cr_assert_eq(kvr_put(client, "k", 1, "v", 1, 0), KVR_OK);
    cr_assert_eq(kvr_do(client, &get), KVR_OK);
    cr_assert_eq(get.pinned, 1);
}

Test(server, counts_what_it_did)
{
    struct kvr_stat_rep stat;
    uint64_t rtt_ns = 0;

    cr_assert_eq(kvr_ping(client, &rtt_ns), KVR_OK);
    cr_assert_gt(rtt_ns, 0);
    cr_assert_eq(kvr_put(client, "k", 1, "v", 1, 0), KVR_OK);
    cr_assert_eq(kvr_stat(client, &stat), KVR_OK);
    cr_assert_gt(stat.capacity, 0);
    cr_assert_gt(stat.rx_datagrams, 0);
}

static unsigned nr_done, nr_good;

static void check_done(struct kvr_call *call)
{
    nr_done++;
    nr_good += call->status == KVR_OK;
}

Test(server, runs_many_submitted_calls_of_all_sizes_together)
{
    enum { N = 200 };
    static const size_t sizes[] = {0, 10, 1000, 9000, 70000, 300000};
    static struct kvr_call calls[N];
    static char keys[N][16];
    static uint8_t *values[N], *buffers[N];

    for (int i = 0; i < N; i++) {
        size_t size = sizes[i % 6];
        values[i] = malloc(size + 1);
        buffers[i] = calloc(1, size + 1);
        fill(values[i], size, (uint64_t)i);
        snprintf(keys[i], sizeof(keys[i]), "async %d", i);
        calls[i] = (struct kvr_call){.op = KVR_CALL_PUT,
                                     .key = {keys[i], (uint32_t)strlen(keys[i])},
                                     .value = values[i],
                                     .value_len = size,
                                     .done = check_done};
        cr_assert_eq(kvr_submit(client, &calls[i]), KVR_OK);
    }
    while (nr_done < N)
        kvr_poll(client, -1);
    cr_assert_eq(nr_good, N);
    for (int i = 0; i < N; i++) {
        calls[i] = (struct kvr_call){.op = KVR_CALL_GET,
                                     .key = calls[i].key,
                                     .buffer = buffers[i],
                                     .buffer_len = sizes[i % 6],
                                     .done = check_done};
        cr_assert_eq(kvr_submit(client, &calls[i]), KVR_OK);
    }
    while (nr_done < 2 * N)
        kvr_poll(client, -1);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(calls[i].status, KVR_OK, "%d: %s", i, kvr_status_name(calls[i].status));
        cr_assert_eq(calls[i].result_len, sizes[i % 6]);
        cr_assert_eq(memcmp(values[i], buffers[i], sizes[i % 6]), 0);
    }
}

Test(server, survives_calls_canceled_at_any_moment)
{
    static uint8_t value[300000], buffer[300000];
    struct rng rng;

    fill(value, sizeof(value), 9);
    rng_seed(&rng, 4);
    cr_assert_eq(kvr_put(client, "k", 1, value, sizeof(value), 0), KVR_OK);
    for (int i = 0; i < 100; i++) {
        struct kvr_call get = {
            .op = KVR_CALL_GET, .key = {"k", 1}, .buffer = buffer, .buffer_len = sizeof(buffer)};
        struct kvr_call put = {
            .op = KVR_CALL_PUT, .key = {"k", 1}, .value = value, .value_len = sizeof(value)};

        cr_assert_eq(kvr_submit(client, &get), KVR_OK);
        cr_assert_eq(kvr_submit(client, &put), KVR_OK);
        for (uint64_t turns = rng_below(&rng, 12); turns > 0; turns--)
            kvr_poll(client, 0);
        kvr_cancel(client, &get);
        kvr_cancel(client, &put);
        kvr_poll(client, 0);
        cr_assert(get.status == KVR_OK || get.status == KVR_CANCELED);
        cr_assert(put.status == KVR_OK || put.status == KVR_CANCELED);
    }
    memset(buffer, 0, sizeof(buffer));
    cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), NULL), KVR_OK);
    cr_assert_arr_eq(buffer, value, sizeof(value));
}

static void restart_server(void)
{
    char port[8];

    snprintf(port, sizeof(port), "%u", engine_child.port);
    child_kill(&engine_child);
    engine_start("2", "67108864", port);
}

Test(server, is_found_again_after_a_restart)
{
    static uint8_t value[100000], buffer[100000];
    struct kvr_server_info before, after;
    enum kvr_status status;

    kvr_server_info(client, &before);
    fill(value, sizeof(value), 2);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(kvr_put(client, "k", 1, value, sizeof(value), 0), KVR_OK);
        cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), NULL), KVR_OK);
        restart_server();
        /* The mapped cache is looked after ten times a second. */
        do
            status = kvr_get(client, "k", 1, buffer, sizeof(buffer), NULL);
        while (engine_path[0] && status == KVR_OK);
        cr_assert_eq(status, KVR_MISS);
    }
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    kvr_server_info(client, &after);
    cr_assert_neq(before.boot, after.boot);
}

Test(server, a_restart_in_the_middle_of_calls_costs_time_only)
{
    enum { N = 40 };
    static struct kvr_call calls[N];
    static uint8_t value[300000];
    static char keys[N][16];

    fill(value, sizeof(value), 2);
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        calls[i] = (struct kvr_call){.op = i % 4 == 3 ? KVR_CALL_GET : KVR_CALL_PUT,
                                     .key = {keys[i], (uint32_t)strlen(keys[i])},
                                     .value = value,
                                     .value_len = i % 2 ? 100 : sizeof(value),
                                     .done = check_done};
        cr_assert_eq(kvr_submit(client, &calls[i]), KVR_OK);
    }
    for (int i = 0; i < 5; i++)
        kvr_poll(client, 0);
    restart_server();
    while (nr_done < N)
        kvr_poll(client, -1);
    for (int i = 0; i < N; i++)
        cr_assert(calls[i].status == KVR_OK || (i % 4 == 3 && calls[i].status == KVR_MISS),
                  "%d: %s", i, kvr_status_name(calls[i].status));
}

Test(server, a_dead_one_costs_no_more_than_the_deadline)
{
    struct kvr_call calls[20];
    uint64_t before_ns;

    child_kill(&engine_child);
    engine_child.pid = 0;
    for (int i = 0; i < 20; i++)
        calls[i] = (struct kvr_call){.op = i % 2 ? KVR_CALL_PUT : KVR_CALL_GET,
                                     .key = {"k", 1},
                                     .value = "v",
                                     .value_len = 1,
                                     .timeout_ms = 100};
    before_ns = clock_ns();
    /* The mapped cache can be read on for a moment. */
    cr_assert_eq(kvr_do_batch(client, calls, 20), engine_path[0] ? KVR_MISS : KVR_TIMEOUT);
    cr_assert(calls[1].status == KVR_TIMEOUT || calls[1].status == KVR_UNREACHABLE);
    cr_assert_lt(clock_ns() - before_ns, 350 * NS_PER_MS);
}

Test(server, serves_the_example_of_the_readme)
{
    char command[512], line[128], all[1024] = "";
    FILE *out;

    snprintf(command, sizeof(command), "%s %s", getenv("KVRAIL_EXAMPLE"), engine_url);
    out = popen(command, "r");
    cr_assert_not_null(out);
    while (fgets(line, sizeof(line), out))
        strncat(all, line, sizeof(all) - strlen(all) - 1);
    cr_assert_eq(pclose(out), 0);
    cr_assert_str_eq(all, "put: OK\nmatch: the first 1 of 3\n"
                          "get: keys and values of the first tokens\n");
}

Test(server, serves_the_example_in_place)
{
    char command[512];

    if (!engine_path[0])
        cr_skip("only over shared memory");
    snprintf(command, sizeof(command), "%s %s", getenv("KVRAIL_EXAMPLE_LOCAL"), engine_url);
    cr_assert_eq(system(command), 0);
}

Test(server, other_partitions_are_found_by_the_same_keys)
{
    for (int i = 0; i < 4; i++) {
        static char *const partitions[] = {"1", "3", "8", "64"};
        char key[16];

        kvr_close(client);
        engine_stop();
        start_with(partitions[i], "134217728");
        connect_to("127.0.0.1");
        for (int k = 0; k < 100; k++) {
            int len = snprintf(key, sizeof(key), "%d", k);
            cr_assert_eq(kvr_put(client, key, (size_t)len, key, (size_t)len, 0), KVR_OK);
        }
        for (int k = 0; k < 100; k++) {
            int len = snprintf(key, sizeof(key), "%d", k);
            char buffer[16];
            cr_assert_eq(kvr_get(client, key, (size_t)len, buffer, sizeof(buffer), NULL), KVR_OK);
            cr_assert_eq(memcmp(key, buffer, (size_t)len), 0);
        }
    }
}
