/* SPDX-License-Identifier: Apache-2.0 */
/* What the client does when a server says what the real one seldom says. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "client/build.h"
#include "fake_server.h"

static struct fake_server fake;

static bool silent(struct fake_exchange *exchange)
{
    return !fake_is_hello(exchange);
}

Test(calls, end_at_their_deadline_when_nothing_answers)
{
    struct kvr_client *client = fake_open(&fake, silent);
    struct kvr_call call = {.op = KVR_CALL_PING, .timeout_ms = 80};
    uint64_t before_ns = clock_ns(), took_ns;

    cr_assert_eq(kvr_do(client, &call), KVR_TIMEOUT);
    took_ns = clock_ns() - before_ns;
    cr_assert(took_ns >= 80 * NS_PER_MS && took_ns < 330 * NS_PER_MS, "%lu",
              (unsigned long)took_ns);
    cr_assert_gt(fake.nr_seen, 2, "it tried more than once");
    cr_assert_eq(fake_finish(&fake, client).timeouts, 1);
}

Test(calls, give_up_after_as_many_sends_as_the_options_say)
{
    struct kvr_options options;
    struct kvr_client *client;

    fake_setup(&fake);
    fake.answer = silent;
    fake_start(&fake);
    kvr_options_init(&options);
    options.tries = 3;
    options.timeout_ms = 60000;
    client = fake_client(&fake, &options);
    cr_assert_eq(kvr_ping(client, NULL), KVR_TIMEOUT);
    cr_assert_eq(fake.nr_seen, 3);
    fake_finish(&fake, client);
}

static bool deaf_twice(struct fake_exchange *exchange)
{
    return !fake_is_hello(exchange) && exchange->nth < 2;
}

Test(calls, of_every_kind_are_answered_when_their_first_sends_are_lost)
{
    struct kvr_key key = {"k", 1};
    struct kvr_call calls[] = {
        {.op = KVR_CALL_PING},
        {.op = KVR_CALL_STAT},
        {.op = KVR_CALL_GET, .key = key},
        {.op = KVR_CALL_DEL, .key = key},
        {.op = KVR_CALL_PUT, .key = key, .value = "v", .value_len = 1},
    };

    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct kvr_client *client = fake_open(&fake, deaf_twice);

        cr_assert_neq(kvr_do(client, &calls[i]), KVR_TIMEOUT, "call %u", i);
        cr_assert_eq(fake.nr_seen, 3, "call %u was sent %u times", i, fake.nr_seen);
        fake_finish(&fake, client);
    }
}

static bool busy_twice(struct fake_exchange *exchange)
{
    if (fake_is_hello(exchange) || exchange->nth >= 2)
        return false;
    fake_refuse(exchange, KVR_BUSY, 30000);
    return true;
}

Test(calls, wait_as_long_as_a_busy_server_says)
{
    struct kvr_client *client = fake_open(&fake, busy_twice);
    uint64_t before_ns = clock_ns();

    cr_assert_eq(kvr_put(client, "k", 1, "v", 1, 0), KVR_OK);
    cr_assert_geq(clock_ns() - before_ns, 60 * NS_PER_MS);
    cr_assert_eq(fake.nr_seen, 3);
    cr_assert_eq(fake.seen[2].hdr.seq, fake.seen[0].hdr.seq);
    cr_assert_eq(fake_finish(&fake, client).busy, 2);
}

static bool always_busy(struct fake_exchange *exchange)
{
    if (fake_is_hello(exchange))
        return false;
    fake_refuse(exchange, KVR_BUSY, 10000000);
    return true;
}

Test(calls, do_not_wait_for_a_busy_server_beyond_the_deadline)
{
    struct kvr_client *client = fake_open(&fake, always_busy);
    struct kvr_call call = {.op = KVR_CALL_PING, .timeout_ms = 60};
    uint64_t before_ns = clock_ns();

    cr_assert_eq(kvr_do(client, &call), KVR_TIMEOUT);
    cr_assert_lt(clock_ns() - before_ns, 310 * NS_PER_MS);
    fake_finish(&fake, client);
}

static bool refuse_first(struct fake_exchange *exchange)
{
    if (fake_is_hello(exchange) || exchange->nth > 0)
        return false;
    fake_refuse(exchange, (enum kvr_status)exchange->fake->number, 0);
    return true;
}

Test(calls, a_write_refused_as_old_or_late_goes_again_under_a_new_number)
{
    static const enum kvr_status soft[] = {KVR_REPLAYED, KVR_EXPIRED, KVR_LIMIT};

    for (unsigned i = 0; i < 3; i++) {
        struct kvr_client *client;

        fake_setup(&fake);
        fake.answer = refuse_first;
        fake.number = soft[i];
        fake_start(&fake);
        client = fake_client(&fake, NULL);
        cr_assert_eq(kvr_put(client, "k", 1, "v", 1, 0), KVR_OK);
        cr_assert_eq(fake.nr_seen, 2);
        cr_assert_eq(fake.seen[0].hdr.seq, 1);
        cr_assert_eq(fake.seen[1].hdr.seq, 2);
        cr_assert_eq(fake.seen[1].hdr.floor, 2);
        fake_finish(&fake, client);
    }
}

Test(calls, end_with_the_servers_own_refusals)
{
    static const enum kvr_status hard[] = {KVR_NO_SPACE, KVR_TOO_LARGE, KVR_BAD_FIELD, KVR_INTERNAL,
                                           KVR_BAD_OP};

    for (unsigned i = 0; i < sizeof(hard) / sizeof(hard[0]); i++) {
        struct kvr_client *client;

        fake_setup(&fake);
        fake.answer = refuse_first;
        fake.number = hard[i];
        fake_start(&fake);
        client = fake_client(&fake, NULL);
        cr_assert_eq(kvr_put(client, "k", 1, "v", 1, 0), hard[i]);
        cr_assert_eq(fake.nr_seen, 1);
        fake_finish(&fake, client);
    }
}

/* Answers are what limits a chunk with references, so several requests share a datagram. */
Test(calls, a_match_whose_chunks_are_refused_together_ends_once)
{
    enum { KEYS = 300 };
    static char names[KEYS][8];
    static struct kvr_key keys[KEYS];
    static struct kvr_match matches[KEYS];
    struct kvr_client *client;
    uint32_t prefix;

    for (int i = 0; i < KEYS; i++)
        keys[i] = (struct kvr_key){names[i], (uint32_t)snprintf(names[i], 8, "%d", i)};
    fake_setup(&fake);
    fake.answer = refuse_first;
    fake.number = KVR_INTERNAL;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_match(client, keys, KEYS, matches, &prefix), KVR_INTERNAL);
    cr_assert_gt(fake.seen[0].hdr.nr_ops, 1);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    fake_finish(&fake, client);
}

static bool lose_puts(struct fake_exchange *exchange)
{
    return !fake_is_hello(exchange) && exchange->records[0]->op == KVR_PUT &&
           exchange->fake->number == 0;
}

/* What the header promises of KVR_TIMEOUT: the read goes only after the server knows a floor above
 * the write's number, so a copy of it that is still on its way will be refused. */
Test(calls, a_read_after_a_write_given_up_waits_until_the_write_can_no_longer_happen)
{
    struct kvr_client *client = fake_open(&fake, lose_puts);
    struct kvr_call put = {
        .op = KVR_CALL_PUT, .key = {"k", 1}, .value = "v", .value_len = 1, .timeout_ms = 30};
    unsigned lost, del;

    cr_assert_eq(kvr_do(client, &put), KVR_TIMEOUT);
    lost = fake.nr_seen;
    for (unsigned i = 0; i < lost; i++) {
        cr_assert_eq(fake.seen[i].hdr.seq, 1);
        cr_assert_eq(fake.seen[i].hdr.seq, fake.seen[0].hdr.seq);
    }
    cr_assert_eq(kvr_get(client, "k", 1, NULL, 0, NULL), KVR_MISS);
    for (del = lost; fake.seen[del].op != KVR_DEL; del++)
        cr_assert_neq(fake.seen[del].op, KVR_GET, "the read came before the fence");
    cr_assert_eq(fake.seen[del].hdr.seq, 2);
    cr_assert_eq(fake.seen[del].hdr.floor, 2);
    cr_assert_eq(kvr_get(client, "k", 1, NULL, 0, NULL), KVR_MISS);
    cr_assert_eq(fake_count(&fake, KVR_DEL), 1, "once is enough");
    fake_finish(&fake, client);
}

Test(calls, a_write_after_a_write_given_up_carries_the_floor_itself)
{
    struct kvr_client *client = fake_open(&fake, lose_puts);
    struct kvr_call put = {
        .op = KVR_CALL_PUT, .key = {"k", 1}, .value = "v", .value_len = 1, .timeout_ms = 30};

    cr_assert_eq(kvr_do(client, &put), KVR_TIMEOUT);
    fake.number = 1;
    cr_assert_eq(kvr_do(client, &put), KVR_OK);
    cr_assert_eq(fake.seen[fake.nr_seen - 1].hdr.floor, 2);
    cr_assert_eq(kvr_get(client, "k", 1, NULL, 0, NULL), KVR_MISS);
    cr_assert_eq(fake_count(&fake, KVR_DEL), 0, "no fence: the answered write was one");
    fake_finish(&fake, client);
}

static bool answer_odd(struct fake_exchange *exchange)
{
    struct kvr_hdr *hdr = (struct kvr_hdr *)(void *)exchange->reply;
    struct kvr_get_rep *rep;

    if (fake_is_hello(exchange) || exchange->records[0]->op != KVR_GET)
        return false;
    for (int i = 0; i < 10; i++) {
        fake_begin(exchange, KVR_OK);
        rep = fake_record(exchange, exchange->records[0], KVR_OK, sizeof(*rep) + 8);
        *rep = (struct kvr_get_rep){.op = rep->op,
                                    .value_len = 8,
                                    .view_len = 8,
                                    .len = 8,
                                    .ref = 5,
                                    .value_crc = crc32c(0, "BADBYTES", 8)};
        memcpy(rep + 1, "BADBYTES", 8);
        switch (i) {
        case 0:
            hdr->session++;
            break;
        case 1:
            hdr->id += 1024;
            break;
        case 2:
            hdr->id++;
            break;
        case 3:
            hdr->seq = 3;
            break;
        case 4:
            rep->op.op = KVR_PUT;
            break;
        case 5:
            rep->op.idx = 1;
            break;
        case 6:
            rep->view_len = 4;
            rep->len = 4;
            break;
        case 7:
            rep->pos = 1;
            rep->view_len = 9;
            break;
        case 8:
            rep->ref = 0;
            break;
        case 9:
            hdr->id = 1u << 20 | 1023;
            break;
        }
        fake_send(exchange);
    }
    return false;
}

Test(calls, use_nothing_of_an_answer_that_does_not_fit_the_question)
{
    uint8_t value[] = "GOODBYES", buffer[16];
    struct kvr_client_stats stats;
    struct kvr_client *client;
    size_t len;

    fake_setup(&fake);
    fake.value = value;
    fake.value_len = 8;
    fake.answer = answer_odd;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), &len), KVR_OK);
    cr_assert_eq(len, 8);
    cr_assert_arr_eq(buffer, "GOODBYES", 8);
    stats = fake_finish(&fake, client);
    cr_assert_eq(stats.rx_unexpected, 10);
    cr_assert_eq(stats.retransmits, 0);
}

static bool damage_value(struct fake_exchange *exchange)
{
    struct fake_server *server = exchange->fake;

    if (!fake_is_hello(exchange))
        server->value[3] = exchange->nth < server->number ? 'X' : 'd';
    return false;
}

Test(calls, a_value_that_does_not_match_its_crc_is_fetched_again)
{
    uint8_t value[] = "abcdefgh", buffer[16];
    struct kvr_client *client;
    size_t len;

    fake_setup(&fake);
    fake.value = value;
    fake.value_len = 8;
    fake.number = 2;
    fake.answer = damage_value;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), &len), KVR_OK);
    cr_assert_arr_eq(buffer, "abcdefgh", 8);
    cr_assert_eq(fake_finish(&fake, client).value_corrupt, 2);
}

Test(calls, a_value_that_stays_damaged_is_reported_not_returned)
{
    uint8_t value[] = "abcdefgh", buffer[16];
    struct kvr_client *client;
    size_t len = 99;

    fake_setup(&fake);
    fake.value = value;
    fake.value_len = 8;
    fake.number = UINT64_MAX;
    fake.answer = damage_value;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), &len), KVR_CORRUPT);
    cr_assert_eq(len, 0);
    fake_finish(&fake, client);
}

/* Replies come damaged until somebody asks whether it is the memory; then it is. */
static bool damage_replies(struct fake_exchange *exchange)
{
    struct fake_server *server = exchange->fake;

    if (fake_is_hello(exchange) || exchange->records[0]->op != KVR_GET)
        return false;
    server->number++;
    if (exchange->records[0]->flags & KVR_GET_CHECK) {
        server->number2++;
        fake_begin(exchange, KVR_OK);
        fake_record(exchange, exchange->records[0], KVR_CORRUPT, sizeof(struct kvr_op));
        fake_send(exchange);
        return true;
    }
    fake_begin(exchange, KVR_OK);
    fake_default_record(exchange, exchange->records[0]);
    ((struct kvr_hdr *)(void *)exchange->reply)->len = (uint16_t)exchange->reply_len;
    (void)!sendto(server->fd, exchange->reply, exchange->reply_len, 0,
                  (struct sockaddr *)&exchange->from,
                  exchange->from_len); /* its CRC is not its own */
    return true;
}

Test(calls, a_value_whose_replies_come_damaged_is_checked_by_the_server_and_reported)
{
    uint8_t value[] = "abcdefgh", buffer[16];
    struct kvr_client *client;
    struct kvr_client_stats stats;
    size_t len = 99;

    fake_setup(&fake);
    fake.value = value;
    fake.value_len = 8;
    fake.number = fake.number2 = 0;
    fake.answer = damage_replies;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), &len), KVR_CORRUPT);
    cr_assert_eq(len, 0);
    stats = fake_finish(&fake, client);
    cr_assert_gt(stats.rx_corrupt, 0);
    cr_assert_eq(fake.number2, fake.number - 1, "every repeat asks");
}

/* The block is replaced while its windows are fetched. */
static bool replace_value(struct fake_exchange *exchange)
{
    const struct kvr_get_req *req = (const void *)exchange->records[0];
    struct fake_server *server = exchange->fake;

    if (fake_is_hello(exchange))
        return false;
    if (server->ref == 0x100000001 && req->skip > 3000) {
        server->ref++;
        memset(server->value, 'n', server->value_len);
        server->value_crc = crc32c(0, server->value, server->value_len);
    }
    if (req->ref == 0 || req->ref == server->ref)
        return false;
    fake_begin(exchange, KVR_OK);
    fake_record(exchange, exchange->records[0], KVR_STALE, sizeof(struct kvr_op));
    fake_send(exchange);
    return true;
}

Test(calls, a_long_value_never_mixes_two_blocks)
{
    static uint8_t value[100000], buffer[100000];
    struct kvr_client *client;
    size_t len;

    memset(value, 'o', sizeof(value));
    fake_setup(&fake);
    fake.value = value;
    fake.value_len = sizeof(value);
    fake.answer = replace_value;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), &len), KVR_OK);
    cr_assert_eq(len, sizeof(value));
    for (size_t i = 0; i < len; i++)
        cr_assert_eq(buffer[i], 'n', "byte %zu", i);
    fake_finish(&fake, client);
}

/* An upload: what has been written, and a first COMMIT that claims that some of it is missing. */
static bool upload(struct fake_exchange *exchange)
{
    const struct kvr_op *op = exchange->records[0];
    struct fake_server *server = exchange->fake;

    if (op->op == KVR_WRITE) {
        const struct kvr_write_req *req = (const void *)op;
        memcpy(server->value + req->off, req + 1, req->len);
        return exchange->nth % 5 == 0; /* and some acknowledgements get lost */
    }
    if (op->op == KVR_COMMIT && server->number++ == 0) {
        struct kvr_put_rep *rep;

        memset(server->value + 10000, 0, 20000);
        fake_begin(exchange, KVR_OK);
        rep = fake_record(exchange, op, KVR_INCOMPLETE, sizeof(*rep) + sizeof(struct kvr_range));
        rep->nr_ranges = 1;
        *(struct kvr_range *)(void *)(rep + 1) = (struct kvr_range){10000, 20000};
        fake_send(exchange);
        return true;
    }
    return false;
}

Test(calls, an_upload_sends_again_what_the_server_misses)
{
    static uint8_t stored[60000], value[60000];
    struct kvr_client *client;

    for (size_t i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)(i * 7 + 1);
    fake_setup(&fake);
    fake.value = stored;
    fake.value_len = sizeof(stored);
    fake.answer = upload;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_put(client, "k", 1, value, sizeof(value), 0), KVR_OK);
    cr_assert_arr_eq(stored, value, sizeof(value));
    cr_assert_eq(fake_count(&fake, KVR_COMMIT), 2);
    for (unsigned i = 0; i < fake.nr_seen; i++) {
        cr_assert_eq(fake.seen[i].hdr.seq, 1, "all of an upload carries its number");
        cr_assert_eq(fake.seen[i].hdr.floor, 1);
    }
    cr_assert_eq(kvr_put(client, "k", 1, "v", 1, 0), KVR_OK);
    cr_assert_eq(fake.seen[fake.nr_seen - 1].hdr.floor, 2);
    fake_finish(&fake, client);
}

static bool forget_upload(struct fake_exchange *exchange)
{
    struct fake_server *server = exchange->fake;

    if (exchange->records[0]->op != KVR_WRITE || server->number++ != 10)
        return false;
    fake_begin(exchange, KVR_OK);
    fake_record(exchange, exchange->records[0], KVR_NO_UPLOAD, sizeof(struct kvr_op));
    fake_send(exchange);
    return true;
}

Test(calls, an_upload_that_the_server_dropped_starts_again)
{
    static uint8_t value[60000];
    struct kvr_client *client = fake_open(&fake, forget_upload);

    cr_assert_eq(kvr_put(client, "k", 1, value, sizeof(value), 0), KVR_OK);
    cr_assert_eq(fake_count(&fake, KVR_RESERVE), 2);
    cr_assert_eq(fake.seen[fake.nr_seen - 1].op, KVR_COMMIT);
    cr_assert_eq(fake.seen[fake.nr_seen - 1].hdr.seq, 2);
    fake_finish(&fake, client);
}

static bool never_commit(struct fake_exchange *exchange)
{
    return exchange->records[0]->op == KVR_COMMIT;
}

Test(calls, an_upload_given_up_is_aborted)
{
    static uint8_t value[5000];
    struct kvr_client *client = fake_open(&fake, never_commit);
    struct kvr_call put = {.op = KVR_CALL_PUT,
                           .key = {"k", 1},
                           .value = value,
                           .value_len = sizeof(value),
                           .timeout_ms = 1000};

    cr_assert_eq(kvr_do(client, &put), KVR_TIMEOUT);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    cr_assert_eq(fake_count(&fake, KVR_ABORT), 1);
    fake_finish(&fake, client);
}

/* Refuses whole datagrams, or ops, of one kind, a few times. */
static bool refuse_kind(struct fake_exchange *exchange)
{
    struct fake_server *server = exchange->fake;
    enum kvr_opcode op = (enum kvr_opcode)(server->number >> 8 & 0xff);
    enum kvr_status status = (enum kvr_status)(server->number & 0xff);

    if (exchange->records[0]->op != op || server->number2 == 0 || --server->number2 % 3 == 2)
        return false;
    if (server->number >> 16) {
        fake_refuse(exchange, status, 0);
        return true;
    }
    fake_begin(exchange, KVR_OK);
    for (unsigned i = 0; i < exchange->hdr.nr_ops; i++)
        fake_record(exchange, exchange->records[i], status, sizeof(struct kvr_op));
    fake_send(exchange);
    return true;
}

static void put_and_get_through_refusals(uint64_t whole, enum kvr_opcode op, enum kvr_status status)
{
    static uint8_t value[20000], buffer[20000];
    struct kvr_client *client;
    size_t len;

    memset(value, 'a' + (int)op, sizeof(value));
    fake_setup(&fake);
    fake.value = value;
    fake.value_len = sizeof(value);
    fake.number = whole << 16 | (uint64_t)op << 8 | (uint64_t)status;
    fake.number2 = 7;
    fake.answer = refuse_kind;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_put(client, "k", 1, value, sizeof(value), 0), KVR_OK, "op %d: %d", op, status);
    cr_assert_eq(kvr_put(client, "k", 1, value, 5, 0), KVR_OK);
    cr_assert_eq(kvr_get(client, "k", 1, buffer, sizeof(buffer), &len), KVR_OK);
    cr_assert_arr_eq(buffer, value, sizeof(value));
    /* Every number was finished in the end: a floor that stands still would stop all writes. */
    cr_assert_eq(kvr_del(client, "k", 1), KVR_OK);
    cr_assert_eq(fake.seen[fake.nr_seen - 1].hdr.floor, fake.seen[fake.nr_seen - 1].hdr.seq);
    fake_finish(&fake, client);
}

Test(calls, of_any_phase_outlive_refusals_that_only_mean_not_now)
{
    static const enum kvr_opcode ops[] = {KVR_GET, KVR_PUT, KVR_RESERVE, KVR_WRITE, KVR_COMMIT};
    static const enum kvr_status soft[] = {KVR_BUSY, KVR_EXPIRED, KVR_LIMIT, KVR_REPLAYED};

    for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        for (unsigned j = 0; j < sizeof(soft) / sizeof(soft[0]); j++)
            for (uint64_t whole = 0; whole < 2; whole++)
                put_and_get_through_refusals(whole, ops[i], soft[j]);
}
