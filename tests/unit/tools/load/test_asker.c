/* SPDX-License-Identifier: Apache-2.0 */
/* An asker against a few lines that answer as a server would. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "tools/content.h"
#include "tools/load/asker.h"

#define DATAGRAM 1472u
#define KEYS 100u

static struct load_settings settings;
static struct kvr_hello_rep hello = {.op = {.op = KVR_HELLO, .size = sizeof(hello)},
                                     .version = KVR_VERSION,
                                     .nr_partitions = 2,
                                     .base_port = KVR_PORT,
                                     .max_ops = 32,
                                     .max_datagram = DATAGRAM,
                                     .max_value = KVR_VALUE_MAX,
                                     .train_max = 65536,
                                     .cookie_ms = 60000,
                                     .seed = 99,
                                     .boot = 1};
static struct draw_table no_table;
static struct asker asker;
static _Alignas(8) uint8_t request[DATAGRAM], reply[KVR_DATAGRAM_MAX];
static uint16_t partition;

static void settings_setup(void)
{
    settings = (struct load_settings){.timeout_ns = 20 * NS_PER_MS};
    bench_option_defaults(&settings.bench);
    settings.bench.keys = KEYS;
    settings.bench.dist = BENCH_UNIFORM;
    settings.bench.depth = 8;
    settings.bench.chain = 10;
    cr_assert_eq(sizes_parse("64", &settings.bench.sizes), 0);
    memset(settings.bench.weights, 0, sizeof(settings.bench.weights));
    settings.bench.weights[BENCH_GET] = 1;
}

TestSuite(asker, .init = settings_setup, .timeout = 30);

static void sign(uint32_t len)
{
    struct kvr_hdr *hdr = (void *)reply;

    hdr->len = (uint16_t)len;
    hdr->crc = build_crc(reply, len, NULL, 0);
}

static struct kvr_hdr *begin_reply(void)
{
    struct kvr_hdr *hdr = (void *)reply;

    memset(reply, 0, sizeof(reply));
    memcpy(hdr, request, sizeof(*hdr));
    hdr->kind = KVR_REPLY;
    hdr->nr_ops = 0;
    return hdr;
}

static void greeted(void)
{
    struct kvr_hdr *hdr;

    cr_assert_eq(asker_create(&asker, &settings, &no_table, &hello, DATAGRAM, 0), 0);
    cr_assert_not(asker_ready(&asker));
    cr_assert_eq(asker_hello(&asker, 1, request), PROOF_HELLO_BYTES);
    hdr = begin_reply();
    hdr->nr_ops = 1;
    hdr->cookie = 4711;
    memcpy(hdr + 1, &hello, sizeof(hello));
    sign(sizeof(*hdr) + sizeof(hello));
    asker_take(&asker, reply, hdr->len, 2);
    cr_assert(asker_ready(&asker));
    cr_assert_eq(asker_hello(&asker, 3, request), 0);
}

/* The id that the key of a record was made from, or KEYS. */
static uint64_t id_of(const void *key)
{
    uint8_t made[KVR_KEY_MAX];

    for (uint64_t id = 0; id < KEYS; id++) {
        content_key(made, settings.bench.key_len, id, settings.bench.salt);
        if (memcmp(made, key, settings.bench.key_len) == 0)
            return id;
    }
    return KEYS;
}

static uint32_t next(uint64_t now_ns)
{
    uint32_t len = asker_next(&asker, now_ns, now_ns, request, &partition);
    const struct kvr_hdr *hdr = (const void *)request;

    if (len == 0)
        return 0;
    cr_assert_eq(hdr->len, len);
    cr_assert_eq(hdr->magic, KVR_MAGIC);
    cr_assert_eq(hdr->kind, KVR_REQUEST);
    cr_assert_eq(hdr->cookie, 4711);
    cr_assert_eq(hdr->partition, partition);
    cr_assert_eq(hdr->crc, build_crc(request, len, NULL, 0));
    return len;
}

/* Answers a GET: the value of its key, or (wrong) of another. Returns the end of the record. */
static uint8_t *answer_get(uint8_t *at, const struct kvr_get_req *get, bool wrong)
{
    struct kvr_get_rep rep = {.op = {.op = KVR_GET, .idx = get->op.idx, .size = sizeof(rep) + 64},
                              .value_len = 64,
                              .view_len = 64,
                              .len = 64,
                              .tier = KVR_TIER_HOST};
    uint64_t id = id_of(get + 1);

    cr_assert_lt(id, KEYS);
    content_fill(at + sizeof(rep), 64, wrong ? id + 1 : id, 12);
    rep.value_crc = crc32c(0, at + sizeof(rep), 64);
    memcpy(at, &rep, sizeof(rep));
    return at + rep.op.size;
}

/* Answers all ops of the request; returns the reply's length. */
static uint32_t answer(bool wrong)
{
    struct kvr_hdr *hdr = begin_reply();
    const struct kvr_hdr *asked = (const void *)request;
    const uint8_t *from = request + sizeof(*asked);
    uint8_t *at = reply + sizeof(*hdr);

    for (unsigned i = 0; i < asked->nr_ops; i++) {
        const struct kvr_op *op = (const void *)from;

        cr_assert_eq(op->idx, i);
        if (op->op == KVR_GET) {
            at = answer_get(at, (const void *)op, wrong);
        } else {
            struct kvr_put_rep rep = {.op = {.op = op->op, .idx = op->idx, .size = sizeof(rep)}};

            memcpy(at, &rep, sizeof(rep));
            at += sizeof(rep);
        }
        from += op->size;
    }
    cr_assert_eq(from - request, asked->len);
    hdr->nr_ops = asked->nr_ops;
    sign((uint32_t)(at - reply));
    return hdr->len;
}

Test(asker, gets_are_asked_answered_and_counted)
{
    settings.bench.verify = true;
    greeted();
    asker_measure(&asker, UINT64_MAX);
    for (int i = 0; i < 100; i++) {
        cr_assert_gt(next(1000), 0);
        cr_assert_eq(partition, hash_partition(hash_key(request + 96, 16, hello.seed), 2));
        asker_take(&asker, reply, answer(false), 3000);
    }
    cr_assert_eq(asker.tallies[BENCH_GET].ops, 100);
    cr_assert_eq(asker.tallies[BENCH_GET].ended[KVR_OK], 100);
    cr_assert_eq(asker.tallies[BENCH_GET].corrupt, 0);
    cr_assert_eq(asker.tallies[BENCH_GET].latency.max, 2000);
    cr_assert_eq(asker.moved_in, 6400);
    cr_assert_eq(asker.tx_datagrams, 100);
    cr_assert_eq(asker.rx_datagrams, 100);
    cr_assert_eq(flights_busy(&asker.flights), 0);
    asker_destroy(&asker);
}

Test(asker, a_batch_is_of_one_partition_and_its_size)
{
    settings.bench.batch = 8;
    greeted();
    asker_measure(&asker, 40);
    for (unsigned left = 40; left > 0;) {
        const struct kvr_hdr *hdr = (const void *)request;
        unsigned nr;

        cr_assert_gt(next(1000), 0);
        nr = hdr->nr_ops;
        cr_assert(nr == 8 || left < 16, "only what is left over is less");
        for (unsigned i = 0; i < nr; i++)
            cr_assert_eq(partition,
                         hash_partition(hash_key(request + 96 + 56 * i, 16, hello.seed), 2));
        left -= nr;
        asker_take(&asker, reply, answer(false), 2000);
    }
    cr_assert_eq(next(1000), 0, "the quota is used up");
    cr_assert_eq(asker.tallies[BENCH_GET].ended[KVR_OK], 40);
    asker_destroy(&asker);
}

Test(asker, wrong_bytes_are_found_where_they_are_looked_at)
{
    settings.bench.verify = true;
    greeted();
    asker_measure(&asker, UINT64_MAX);
    next(1000);
    asker_take(&asker, reply, answer(true), 2000);
    cr_assert_eq(asker.tallies[BENCH_GET].corrupt, 1);
    asker_destroy(&asker);
}

Test(asker, damaged_strange_and_repeated_answers_end_nothing_twice)
{
    uint32_t len;

    greeted();
    asker_measure(&asker, UINT64_MAX);
    next(1000);
    len = answer(false);
    reply[100] ^= 1;
    asker_take(&asker, reply, len, 2000);
    cr_assert_eq(asker.invalid, 1);
    reply[100] ^= 1;
    ((struct kvr_hdr *)(void *)reply)->session ^= 1;
    sign(len);
    asker_take(&asker, reply, len, 2000);
    cr_assert_eq(asker.late, 1);
    ((struct kvr_hdr *)(void *)reply)->session ^= 1;
    sign(len);
    asker_take(&asker, reply, len, 2000);
    asker_take(&asker, reply, len, 2000);
    cr_assert_eq(asker.late, 2);
    cr_assert_eq(asker.tallies[BENCH_GET].ops, 1);
    asker_destroy(&asker);
}

Test(asker, what_is_not_answered_in_time_is_lost_and_stays_so)
{
    uint32_t len;

    greeted();
    asker_measure(&asker, UINT64_MAX);
    next(1000);
    len = answer(false);
    for (uint64_t now = 1000; now < 19 * NS_PER_MS; now += 10000)
        asker_expire(&asker, now);
    cr_assert_eq(asker.lost, 0);
    for (uint64_t now = 19 * NS_PER_MS; now < 25 * NS_PER_MS; now += 10000)
        asker_expire(&asker, now);
    cr_assert_eq(asker.lost, 1);
    cr_assert_eq(asker.tallies[BENCH_GET].ended[KVR_TIMEOUT], 1);
    asker_take(&asker, reply, len, 26 * NS_PER_MS);
    cr_assert_eq(asker.late, 1);
    cr_assert_eq(asker.tallies[BENCH_GET].ops, 1);
    cr_assert_eq(asker.flights.nr_free, 8);
    asker_destroy(&asker);
}

Test(asker, a_refused_datagram_ends_with_the_servers_word)
{
    struct kvr_hdr *hdr;

    settings.bench.batch = 2;
    greeted();
    asker_measure(&asker, UINT64_MAX);
    next(1000);
    hdr = begin_reply();
    hdr->status = KVR_BUSY;
    sign(sizeof(*hdr));
    asker_take(&asker, reply, sizeof(*hdr), 2000);
    cr_assert_eq(asker.tallies[BENCH_GET].ended[KVR_BUSY], 2);
    next(1000);
    hdr = begin_reply();
    hdr->status = KVR_NEED_COOKIE;
    sign(sizeof(*hdr));
    asker_take(&asker, reply, sizeof(*hdr), 2000);
    cr_assert_eq(asker.tallies[BENCH_GET].ended[KVR_NEED_COOKIE], 2);
    cr_assert_not(asker_ready(&asker));
    cr_assert_eq(asker_hello(&asker, 3000, request), PROOF_HELLO_BYTES);
    asker_destroy(&asker);
}

Test(asker, writes_are_numbered_and_wait_for_the_window)
{
    static uint8_t kept[ORDER_OPEN_MAX + 1][DATAGRAM];
    const struct kvr_hdr *hdr = (const void *)request;
    unsigned nr = 0;

    hello.nr_partitions = 1;
    settings.bench.depth = 1000;
    settings.bench.weights[BENCH_GET] = 0;
    settings.bench.weights[BENCH_PUT] = 1;
    greeted();
    asker_measure(&asker, UINT64_MAX);
    while (next(1000) > 0) {
        cr_assert_lt(nr, ORDER_OPEN_MAX);
        cr_assert_eq(hdr->seq, nr + 1);
        cr_assert_eq(hdr->floor, 1);
        memcpy(kept[nr++], request, DATAGRAM);
    }
    cr_assert_eq(nr, ORDER_OPEN_MAX);
    memcpy(request, kept[1], DATAGRAM);
    asker_take(&asker, reply, answer(false), 2000);
    cr_assert_eq(next(1000), 0, "the first is still open");
    memcpy(request, kept[0], DATAGRAM);
    asker_take(&asker, reply, answer(false), 2000);
    cr_assert_gt(next(1000), 0);
    cr_assert_eq(hdr->seq, ORDER_OPEN_MAX + 1);
    cr_assert_eq(hdr->floor, 3);
    cr_assert_eq(asker.moved_out, 128);
    asker_destroy(&asker);
}

Test(asker, a_put_holds_the_value_that_its_key_and_crc_say)
{
    const struct kvr_put_req *put = (const void *)(request + sizeof(struct kvr_hdr));
    const uint8_t *key = (const uint8_t *)(put + 1);

    settings.bench.weights[BENCH_GET] = 0;
    settings.bench.weights[BENCH_PUT] = 1;
    greeted();
    asker_measure(&asker, UINT64_MAX);
    for (int i = 0; i < 8; i++) {
        cr_assert_gt(next(1000), 0);
        cr_assert_eq(put->op.op, KVR_PUT);
        cr_assert_eq(put->value_len, 64);
        cr_assert_eq(put->value_crc, crc32c(0, key + 16, 64));
        cr_assert(content_check(key + 16, 64, id_of(key), NULL));
    }
    asker_destroy(&asker);
}

Test(asker, the_warm_up_asks_again_until_every_key_is_stored)
{
    unsigned datagrams = 0;

    greeted();
    asker_warm(&asker);
    for (uint64_t now = 1000; asker.warm.ops < KEYS; now += 30 * NS_PER_MS) {
        cr_assert_lt(datagrams, 1000);
        asker_expire(&asker, now);
        while (asker_has_room(&asker) && next(now) > 0)
            if (datagrams++ % 3 == 0) /* two of three get lost */
                asker_take(&asker, reply, answer(false), now + 1);
    }
    cr_assert_eq(asker.warm.ops, KEYS);
    cr_assert_eq(asker.warm.ended[KVR_OK], KEYS);
    cr_assert_eq(asker.tallies[BENCH_PUT].ops, 0, "nothing was measured");
    cr_assert_eq(asker.warm_failed, 0);
    asker_destroy(&asker);
}

Test(asker, a_warm_up_without_space_is_hopeless)
{
    struct kvr_hdr *hdr;
    struct kvr_op *op;

    greeted();
    asker_warm(&asker);
    next(1000);
    hdr = begin_reply();
    op = (void *)(hdr + 1);
    *op = (struct kvr_op){.op = KVR_PUT, .status = KVR_NO_SPACE, .size = sizeof(*op)};
    hdr->nr_ops = 1;
    sign(sizeof(*hdr) + sizeof(*op));
    asker_take(&asker, reply, hdr->len, 2000);
    cr_assert_eq(asker.warm_failed, KVR_NO_SPACE);
    asker_destroy(&asker);
}

/* One part of the answer to the GET in request. */
static void take_part(uint32_t total, uint32_t pos, uint32_t len)
{
    static uint8_t value[4096];
    struct kvr_hdr *hdr = begin_reply();
    struct kvr_get_rep *rep = (void *)(hdr + 1);
    const struct kvr_get_req *get = (const void *)(request + sizeof(*hdr));

    content_fill(value, total, id_of(get + 1), 5);
    *rep = (struct kvr_get_rep){.op = {.op = KVR_GET, .size = (uint16_t)(sizeof(*rep) + pad8(len))},
                                .value_len = total,
                                .value_crc = crc32c(0, value, total),
                                .ref = 9,
                                .view_len = total,
                                .pos = pos,
                                .len = len,
                                .tier = KVR_TIER_HOST};
    memcpy(rep + 1, value + pos, len);
    hdr->nr_ops = 1;
    sign((uint32_t)sizeof(*hdr) + rep->op.size);
    asker_take(&asker, reply, hdr->len, 2000);
}

Test(asker, an_answer_in_parts_ends_the_op_with_its_last_one)
{
    settings.bench.verify = true;
    settings.bench.warm = false;
    cr_assert_eq(sizes_parse("3000", &settings.bench.sizes), 0);
    greeted();
    asker_measure(&asker, UINT64_MAX);
    next(1000);
    take_part(3000, 2000, 1000);
    take_part(3000, 0, 1000);
    take_part(3000, 0, 1000);
    cr_assert_eq(asker.tallies[BENCH_GET].ops, 0);
    take_part(3000, 1000, 1000);
    cr_assert_eq(asker.tallies[BENCH_GET].ended[KVR_OK], 1);
    cr_assert_eq(asker.tallies[BENCH_GET].corrupt, 0);
    cr_assert_eq(asker.moved_in, 3000);
    next(1000);
    take_part(2999, 0, 1000);
    take_part(2999, 1000, 1000);
    take_part(2999, 2000, 999);
    cr_assert_eq(asker.tallies[BENCH_GET].corrupt, 1, "a value of another length");
    next(1000);
    take_part(3000, 0, 1000);
    asker_destroy(&asker);
}

Test(asker, matches_tell_how_much_was_stored)
{
    const struct kvr_match_req *match = (const void *)(request + sizeof(struct kvr_hdr));
    struct kvr_match_rep *rep;
    struct kvr_hdr *hdr;

    settings.bench.weights[BENCH_GET] = 0;
    settings.bench.weights[BENCH_MATCH] = 1;
    greeted();
    asker_measure(&asker, UINT64_MAX);
    next(1000);
    cr_assert_eq(match->nr_keys, 10);
    cr_assert_eq(match->key_size, 16);
    for (unsigned i = 0; i < 10; i++)
        cr_assert_eq(id_of((const uint8_t *)(match + 1) + 16 * i), (id_of(match + 1) + i) % KEYS);
    hdr = begin_reply();
    rep = (void *)(hdr + 1);
    *rep = (struct kvr_match_rep){
        .op = {.op = KVR_MATCH, .size = sizeof(*rep) + 8}, .nr_keys = 10, .prefix = 6};
    *(uint8_t *)(rep + 1) = 0x3f;
    hdr->nr_ops = 1;
    sign(sizeof(*hdr) + rep->op.size);
    asker_take(&asker, reply, hdr->len, 2000);
    cr_assert_eq(asker.tallies[BENCH_MATCH].ended[KVR_OK], 1);
    cr_assert_eq(asker.match_keys, 10);
    cr_assert_eq(asker.match_found, 6);
    asker_destroy(&asker);
}

Test(asker, a_restarted_server_gets_a_new_session)
{
    uint64_t session;
    struct kvr_hdr *hdr;

    settings.bench.weights[BENCH_PUT] = 1;
    greeted();
    session = asker.proof.id;
    asker_measure(&asker, UINT64_MAX);
    next(1000);
    cr_assert_eq(asker_hello(&asker, 61 * NS_PER_S, request), PROOF_HELLO_BYTES);
    hdr = begin_reply();
    hello.boot = 2;
    hdr->nr_ops = 1;
    hdr->cookie = 4712;
    memcpy(hdr + 1, &hello, sizeof(hello));
    sign(sizeof(*hdr) + sizeof(hello));
    asker_take(&asker, reply, hdr->len, 61 * NS_PER_S);
    cr_assert_neq(asker.proof.id, session);
    cr_assert_not(asker_ready(&asker));
    cr_assert_eq(flights_busy(&asker.flights), 0);
    cr_assert_eq(asker.orders[0].next, 1);
    asker_destroy(&asker);
}
