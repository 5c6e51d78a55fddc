/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

static struct rig rig;

static void open_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    rig_open(&rig, &options);
    rig_hello(&rig);
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(dispatch, .init = open_rig, .fini = close_rig);

static struct core_stats *stats(void)
{
    return rig.cores[0]->stats;
}

/* ---- every op ---- */

Test(dispatch, answers_the_key_ops_exactly)
{
    struct kvr_hint hint = {.parent = 7, .cost_us = 5, .flags = KVR_HINT_ENDED};
    static const unsigned opcodes[] = {KVR_DEL, KVR_TOUCH, KVR_HINT};
    struct message m;
    uint64_t ref;

    for (unsigned i = 0; i < 3; i++) {
        rig_begin_write(&rig, &m, "key");
        message_key(&m, opcodes[i], "key", 0, 0, &hint);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_MISS);
    }
    cr_assert_eq(rig_put(&rig, "key", "value", 5, &ref), KVR_OK);
    for (unsigned i = 1; i < 3; i++) {
        rig_begin_write(&rig, &m, "key");
        message_key(&m, opcodes[i], "key", 0, 0, &hint);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    }
    rig_begin_write(&rig, &m, "key");
    message_key(&m, KVR_DEL, "key", ref + 1, 0, NULL);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_STALE);
    rig_begin_write(&rig, &m, "key");
    message_key(&m, KVR_DEL, "key", ref, 0, NULL);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    rig_begin_write(&rig, &m, "key");
    message_key(&m, KVR_DEL, "key", 0, 0, NULL);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_MISS);
    cr_assert_eq(counter_read(&stats()->ops[KVR_DEL][KVR_MISS]), 2);
    cr_assert_eq(counter_read(&stats()->ops[KVR_DEL][KVR_STALE]), 1);
    cr_assert_eq(counter_read(&stats()->ops[KVR_DEL][KVR_OK]), 1);
}

Test(dispatch, touch_gives_a_new_time_to_live)
{
    struct message m;
    uint8_t out[8];

    rig_begin_write(&rig, &m, "key");
    message_put(&m, "key", "value", 5, 0, 100);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    rig_begin_write(&rig, &m, "key");
    message_key(&m, KVR_TOUCH, "key", 0, 1000, NULL);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    rig.now_ns += 500000000u;
    cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), 5);
    rig.now_ns += 600000000u;
    cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), -1);
}

Test(dispatch, put_with_add_stores_only_what_is_absent)
{
    struct message m;
    uint8_t out[8];

    rig_begin_write(&rig, &m, "key");
    message_put(&m, "key", "first", 5, KVR_PUT_ADD, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    rig_begin_write(&rig, &m, "key");
    message_put(&m, "key", "other", 5, KVR_PUT_ADD, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_EXISTS);
    cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), 5);
    cr_assert_eq(memcmp(out, "first", 5), 0);
}

Test(dispatch, put_with_a_wrong_crc_stores_nothing)
{
    struct message m;
    uint8_t out[8];
    uint8_t *record;

    rig_begin_write(&rig, &m, "key");
    message_put(&m, "key", "value", 5, 0, 0);
    record = m.bytes + sizeof(struct kvr_hdr);
    record[offsetof(struct kvr_put_req, value_crc)] ^= 1;
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_CORRUPT);
    cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), -1);
    cr_assert_eq(counter_read(&stats()->drops[DROP_value_crc]), 1);
}

Test(dispatch, refuses_from_the_network_what_only_clients_on_this_host_may_do)
{
    struct message m;

    for (unsigned opcode = KVR_PLACE; opcode < KVR_OPCODES; opcode++) {
        rig_begin_write(&rig, &m, "key");
        if (opcode == KVR_PLACE)
            message_place(&m, "key", 10, 1, 0);
        else if (opcode == KVR_STORE)
            message_store(&m, "key", 0, 10, 0, 0);
        else if (opcode == KVR_LOAD)
            message_load(&m, "key", 0, 0, UINT64_MAX);
        else if (opcode == KVR_LOOK)
            message_look(&m, "key", 1, 0, 0);
        else if (opcode == KVR_SAVE)
            message_save(&m, "key", 0, UINT64_MAX, 0);
        else
            message_end_place(&m, opcode, 1, 1, 0);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), REFUSED(KVR_BAD_OP), "op %u", opcode);
    }
    cr_assert_eq(counter_read(&stats()->drops[DROP_bad_op]), 8);
}

Test(dispatch, ping_echoes_its_token_and_tells_the_time)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct record record;
    struct kvr_ping ping;
    struct message m;

    rig_begin(&rig, &m);
    message_ping(&m, 0xfeedbeef);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&ping, bytes, sizeof(ping));
    cr_assert_eq(ping.token, 0xfeedbeef);
    cr_assert_eq(ping.server_ns, rig.now_ns);
}

Test(dispatch, stat_adds_up_the_cores_and_partitions)
{
    uint8_t bytes[KVR_DATAGRAM_MAX], out[8];
    struct kvr_stat_rep rep;
    struct record record;
    struct message m;

    for (unsigned i = 0; i < 20; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key%u", i);
        cr_assert_eq(rig_put(&rig, key, "1234567", 7, NULL), KVR_OK);
        cr_assert_eq(rig_get(&rig, key, out, sizeof(out)), 7);
    }
    cr_assert_eq(rig_get(&rig, "absent", out, sizeof(out)), -1);
    rig_begin(&rig, &m);
    message_stat(&m);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&rep, bytes, sizeof(rep));
    cr_assert_eq(rep.items, 20);
    cr_assert_eq(rep.bytes, 140);
    cr_assert_eq(rep.puts, 20);
    cr_assert_eq(rep.gets, 21);
    cr_assert_eq(rep.hits, 20);
    cr_assert_eq(rep.misses, 1);
    cr_assert_eq(rep.errors, 0);
    cr_assert_eq(rep.capacity, rig.arena.sb->data_size);
    cr_assert_geq(rep.rx_datagrams, 42);
    cr_assert_gt(rep.rx_bytes, rep.rx_datagrams * sizeof(struct kvr_hdr));
}

Test(dispatch, counts_latency_per_op_and_keeps_errors_with_their_source)
{
    struct message m;

    rig_begin(&rig, &m);
    message_get(&m, "key", NULL, 0);
    message_get(&m, "key", NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_MISS);
    cr_assert_eq(stats()->latency[KVR_GET].count, 2);
    for (unsigned i = 0; i < 300; i++) { /* of them 100 a second are kept */
        rig_begin(&rig, &m);
        m.hdr.session = 0;
        message_get(&m, "key", NULL, 0);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), REFUSED(KVR_BAD_FIELD));
    }
    cr_assert_eq(counter_read(&stats()->drops[DROP_bad_header]), 300);
    cr_assert_eq(counter_read(&stats()->errors_total), 100);
    cr_assert_eq(stats()->errors[0].reason, DROP_bad_header);
    cr_assert_eq(stats()->errors[0].port, rig.peer.port);
    cr_assert_eq(memcmp(stats()->errors[0].source, rig.peer.ip, 16), 0);
    rig.now_ns += 1000000000u;
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), REFUSED(KVR_BAD_FIELD));
    cr_assert_eq(counter_read(&stats()->errors_total), 101);
}

Test(dispatch, echoes_what_belongs_to_the_request)
{
    struct replies replies;
    struct message m;
    struct kvr_hdr hdr;

    rig_begin(&rig, &m);
    m.hdr.id = 0x1122334455667788;
    m.hdr.priority = KVR_HIGH;
    m.hdr.partition = 1;
    m.hdr.tenant = 9;
    message_ping(&m, 1);
    rig_inject(&rig, &m);
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    cr_assert_eq(replies.nr, 1);
    cr_assert(reply_ok(replies.list[0]->bytes, replies.list[0]->len, &hdr));
    cr_assert_eq(hdr.id, m.hdr.id);
    cr_assert_eq(memcmp(&replies.list[0]->peer, &rig.peer, sizeof(rig.peer)), 0);
    cr_assert_eq(hdr.session, rig.session);
    cr_assert_eq(hdr.partition, 1);
    cr_assert_eq(hdr.nr_ops, 1);
    replies_free(&replies);
}

/* ---- writes happen once ---- */

static int put_as(uint32_t seq, uint32_t floor, const char *value)
{
    struct message m;

    rig_begin(&rig, &m);
    m.hdr.partition = (uint16_t)rig_partition(&rig, "key");
    m.hdr.seq = seq;
    m.hdr.floor = floor;
    message_put(&m, "key", value, (uint32_t)strlen(value), 0, 0);
    return rig_status(&rig, &m, NULL, NULL);
}

static void key_holds(const char *value)
{
    char out[64] = {0};

    cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), (int)strlen(value));
    cr_assert_str_eq(out, value);
}

Test(dispatch, never_brings_an_old_value_back_whatever_is_repeated_or_late)
{
    cr_assert_eq(put_as(1, 1, "one"), KVR_OK);
    cr_assert_eq(put_as(2, 1, "two"), KVR_OK);
    cr_assert_eq(put_as(1, 1, "one"), KVR_OK); /* repeated: answered, not executed */
    key_holds("two");
    cr_assert_eq(put_as(5, 5, "five"), KVR_OK);
    cr_assert_eq(put_as(4, 3, "four"), KVR_REPLAYED); /* came for the first time, but given up */
    cr_assert_eq(put_as(2, 1, "two"), KVR_REPLAYED);
    key_holds("five");
    cr_assert_eq(counter_read(&stats()->drops[DROP_replayed]), 2);
    cr_assert_eq(put_as(5 + KVR_WINDOW, 6, "newest"), KVR_OK);
    cr_assert_eq(put_as(6, 6, "too old"), KVR_OK); /* still inside the window */
    cr_assert_eq(put_as(6 + KVR_WINDOW, 6, "newest"), KVR_OK);
    cr_assert_eq(put_as(6, 6, "too old"), KVR_REPLAYED);
    key_holds("newest");
}

Test(dispatch, repeats_the_recorded_status_of_every_write)
{
    struct message m;

    for (unsigned turn = 0; turn < 3; turn++) {
        struct replies replies;
        struct record record;
        static const uint8_t expected[] = {KVR_MISS, KVR_OK, KVR_OK, KVR_OK, KVR_EXISTS};
        uint32_t at = sizeof(struct kvr_hdr), n = 0;

        rig_begin(&rig, &m);
        m.hdr.partition = (uint16_t)rig_partition(&rig, "key");
        m.hdr.seq = m.hdr.floor = 1;
        message_key(&m, KVR_DEL, "key", 0, 0, NULL);
        message_put(&m, "key", "v", 1, 0, 0);
        message_key(&m, KVR_TOUCH, "key", 0, 0, NULL);
        message_key(&m, KVR_HINT, "key", 0, 0, NULL);
        message_put(&m, "key", "w", 1, KVR_PUT_ADD, 0);
        rig_inject(&rig, &m);
        rig_settle(&rig);
        rig_replies(&rig, &replies);
        cr_assert_eq(replies.nr, 1);
        while (reply_next(replies.list[0]->bytes, replies.list[0]->len, &at, &record)) {
            cr_assert_eq(record.op.idx, n);
            cr_assert_eq(record.op.status, expected[n], "op %u: %u", n, record.op.status);
            n++;
        }
        cr_assert_eq(n, 5);
        replies_free(&replies);
    }
    key_holds("v");
}

Test(dispatch, has_a_limit_of_writing_sessions_and_readers_do_not_count)
{
    struct message m;

    for (unsigned i = 1; i <= 16; i++) {
        rig_become(&rig, i);
        rig_hello(&rig);
        cr_assert_eq(rig_put(&rig, "key", "v", 1, NULL), KVR_OK);
    }
    rig_become(&rig, 17);
    rig_hello(&rig);
    cr_assert_eq(rig_put(&rig, "key", "v", 1, NULL), REFUSED(KVR_LIMIT));
    rig_begin(&rig, &m);
    message_get(&m, "key", NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    cr_assert_eq(counter_read(&stats()->sessions), 16);
    rig.now_ns += 131000000000u; /* two epochs and the uploads' time */
    for (unsigned i = 0; i < 5; i++) {
        rig.now_ns += 1000000u;
        rig_turn(&rig);
    }
    cr_assert_eq(counter_read(&stats()->sessions), 0);
    rig_hello(&rig);
    cr_assert_eq(rig_put(&rig, "key", "v", 1, NULL), KVR_OK);
}

Test(dispatch, refuses_writes_to_another_partition_than_the_datagrams)
{
    struct replies replies;
    struct record record;
    struct message m;
    unsigned n = 0, bad = 0, ok = 0;
    char here[64], there[64];
    uint32_t at = sizeof(struct kvr_hdr);

    rig_key(&rig, "k", 0, &n, here);
    rig_key(&rig, "k", 1, &n, there);
    rig_begin_write(&rig, &m, here);
    message_put(&m, there, "v", 1, 0, 0);
    message_put(&m, here, "v", 1, 0, 0);
    message_get(&m, there, NULL, 0);
    rig_inject(&rig, &m);
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    cr_assert_eq(replies.nr, 1);
    while (reply_next(replies.list[0]->bytes, replies.list[0]->len, &at, &record)) {
        bad += record.op.idx == 0 && record.op.status == KVR_BAD_FIELD;
        ok += record.op.idx == 1 && record.op.status == KVR_OK;
        ok += record.op.idx == 2 && record.op.status == KVR_MISS;
    }
    cr_assert_eq(bad, 1);
    cr_assert_eq(ok, 2);
    replies_free(&replies);
}

/* ---- deadline, priority, overload ---- */

Test(dispatch, answers_what_is_past_its_deadline_as_expired)
{
    struct message m;

    rig_begin_write(&rig, &m, "key");
    m.hdr.deadline_us = 1000;
    message_put(&m, "key", "v", 1, 0, 0);
    message_seal(&m);
    {
        /* received in time, executed late, as on a core that was busy */
        struct core *core = rig.cores[0];
        struct request *requests[BURST];

        rig_inject_at(&rig, 0, &m);
        core_tick(core, rig.now_ns);
        cr_assert_eq(core->transport->ops->rx(core->transport, rig.now_ns, requests, BURST), 1);
        core_tick(core, rig.now_ns + 2000000u);
        engine_burst(core, requests, 1);
    }
    {
        struct replies replies;
        struct record record;
        uint32_t at = sizeof(struct kvr_hdr);

        rig_replies(&rig, &replies);
        cr_assert_eq(replies.nr, 1);
        cr_assert(reply_next(replies.list[0]->bytes, replies.list[0]->len, &at, &record));
        cr_assert_eq(record.op.status, KVR_EXPIRED);
        replies_free(&replies);
    }
    cr_assert_eq(counter_read(&stats()->drops[DROP_expired]), 1);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_EXPIRED); /* and a repeat stays so */
}

Test(dispatch, serves_a_burst_in_order_of_priority)
{
    static const uint8_t priorities[] = {KVR_BACKGROUND, KVR_NORMAL, KVR_LOW,     KVR_CRITICAL,
                                         KVR_NORMAL,     KVR_HIGH,   KVR_CRITICAL};
    static const uint8_t expected[] = {3, 6, 5, 1, 4, 2, 0};
    struct replies replies;

    for (unsigned i = 0; i < sizeof(priorities); i++) {
        struct message m;

        rig_begin(&rig, &m);
        m.hdr.id = i;
        m.hdr.priority = priorities[i];
        message_ping(&m, i);
        rig_inject(&rig, &m);
    }
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    cr_assert_eq(replies.nr, sizeof(priorities));
    for (unsigned i = 0; i < replies.nr; i++) {
        struct kvr_hdr hdr;

        cr_assert(reply_ok(replies.list[i]->bytes, replies.list[i]->len, &hdr));
        cr_assert_eq(hdr.id, expected[i]);
    }
    replies_free(&replies);
}

/* A turn after which nobody was quiescent: evicted blocks do not come back, so writes wait. */
static void turn_without_grace(void)
{
    struct core *core = rig.cores[0];
    struct request *requests[BURST];
    unsigned n;

    core_tick(core, rig.now_ns);
    n = core->transport->ops->rx(core->transport, core->now_ns, requests, BURST);
    engine_burst(core, requests, n);
}

#define CLIENTS 24u

static uint64_t cookies[CLIENTS];

/* A small arena, and clients that have their cookies: what is said later is said without a turn. */
static void open_small(void)
{
    struct rig_options options;

    rig_close(&rig);
    rig_defaults(&options);
    options.data_size = 2u << 20;
    options.sessions_max = 2 * CLIENTS;
    rig_open(&rig, &options);
    for (unsigned i = 0; i < CLIENTS; i++) {
        rig_become(&rig, 1 + i);
        rig_hello(&rig);
        cookies[i] = rig.cookie;
    }
}

static void become(unsigned client)
{
    rig_become(&rig, 1 + client);
    rig.cookie = cookies[client];
}

/* The status of a PUT that is answered at once, or -1 if it was parked. */
static int put_without_grace(unsigned i, uint8_t priority)
{
    static uint8_t value[1000];
    struct replies replies;
    struct message m;
    struct kvr_hdr hdr;
    char key[64];
    int status = -1;

    become(i / KVR_WINDOW);
    snprintf(key, sizeof(key), "stuff%u", i);
    rig_begin_write(&rig, &m, key);
    m.hdr.seq = 1 + i % KVR_WINDOW;
    m.hdr.floor = 1;
    m.hdr.priority = priority;
    m.hdr.deadline_us = 10000000;
    message_put(&m, key, value, sizeof(value), 0, 0);
    rig_inject(&rig, &m);
    turn_without_grace();
    rig_replies(&rig, &replies);
    if (replies.nr > 0) {
        cr_assert(reply_ok(replies.list[0]->bytes, replies.list[0]->len, &hdr));
        status = hdr.status == KVR_BUSY && hdr.deadline_us > 0 ? REFUSED(KVR_BUSY) : hdr.status;
    }
    replies_free(&replies);
    return status;
}

Test(dispatch, parks_writes_until_there_is_memory_and_loses_none)
{
    static uint8_t value[1000];
    unsigned ok = 0, total = 6000;
    struct replies replies;

    open_small();
    for (unsigned i = 0; i < total; i++) {
        struct message m;
        char key[64];

        snprintf(key, sizeof(key), "key%u", i);
        rig_begin_write(&rig, &m, key);
        m.hdr.deadline_us = 10000000;
        message_put(&m, key, value, sizeof(value), 0, 0);
        m.hdr.floor = m.hdr.seq > 200 ? m.hdr.seq - 200 : 1;
        rig_inject(&rig, &m);
        if (i % 100 == 99)
            rig_settle(&rig);
    }
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    for (unsigned i = 0; i < replies.nr; i++) {
        uint32_t at = sizeof(struct kvr_hdr);
        struct record record;

        cr_assert(reply_next(replies.list[i]->bytes, replies.list[i]->len, &at, &record));
        ok += record.op.status == KVR_OK;
    }
    cr_assert_eq(replies.nr, total);
    cr_assert_eq(ok, total);
    replies_free(&replies);
    cr_assert_gt(counter_read(&arena_part(&rig.arena, 0)->evictions), 1000);
    cr_assert_eq(rig.cores[0]->nr_parked, 0);
}

Test(dispatch, sheds_the_least_important_writes_first_when_too_much_waits)
{
    unsigned i = 0, parked;

    open_small();
    while (rig.cores[0]->nr_parked < PARKED_MAX / 2)
        (void)put_without_grace(i++, KVR_NORMAL);
    cr_assert_eq(put_without_grace(i++, KVR_LOW), REFUSED(KVR_BUSY));
    cr_assert_eq(put_without_grace(i++, KVR_BACKGROUND), REFUSED(KVR_BUSY));
    cr_assert_eq(put_without_grace(i++, KVR_NORMAL), -1);
    while (rig.cores[0]->nr_parked < PARKED_MAX)
        cr_assert_eq(put_without_grace(i++, KVR_CRITICAL), -1);
    parked = rig.cores[0]->nr_parked;
    cr_assert_eq(put_without_grace(i++, KVR_CRITICAL), REFUSED(KVR_BUSY));
    cr_assert_eq(rig.cores[0]->nr_parked, parked);
    cr_assert_eq(counter_read(&stats()->shed_busy), 3);
    cr_assert_geq(counter_read(&stats()->parked), PARKED_MAX);
    rig.now_ns += 11000000000u; /* what still waits has expired */
    rig_settle(&rig);
    cr_assert_eq(rig.cores[0]->nr_parked, 0);
}

Test(dispatch, does_not_execute_a_parked_write_that_was_given_up_meanwhile)
{
    static uint8_t value[1000];
    struct message m;
    unsigned i = 0;
    uint8_t out[1000];

    open_small();
    while (rig.cores[0]->nr_parked < 4)
        (void)put_without_grace(i++, KVR_NORMAL);
    become(CLIENTS - 1);
    rig_begin_write(&rig, &m, "key");
    message_put(&m, "key", value, sizeof(value), 0, 0);
    rig_inject(&rig, &m);
    turn_without_grace();
    rig_begin_write(&rig, &m, "key"); /* the client went on: its floor is above */
    message_key(&m, KVR_DEL, "key", 0, 0, NULL);
    rig_inject(&rig, &m);
    turn_without_grace();
    rig_settle(&rig);
    cr_assert_eq(rig.cores[0]->nr_parked, 0);
    cr_assert_eq(counter_read(&stats()->ops[KVR_PUT][KVR_REPLAYED]), 1);
    for (struct mem_reply *reply; (reply = mem_take(rig.transports[0])) != NULL;)
        mem_free(reply);
    cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), -1);
}
