/* SPDX-License-Identifier: Apache-2.0 */
/* What is lost is known from what comes after it, long before a timer ends. So that no timer does
 * end meanwhile, also on a busy machine, each test begins with some slow exchanges. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "client/build.h"
#include "fake_server.h"

#define SLOW_EXCHANGES 2u /* HELLO and a PING */
#define SLOW_NS (12 * (long)NS_PER_MS)
#define PIECE 1000u
#define PIECES 12u

static struct fake_server fake;
static uint8_t value[PIECES * PIECE], buffer[PIECES * PIECE];

/* What the fake saw, and was told to do, by the thread that serves. */
static struct {
    unsigned nr_slow;
    uint64_t token; /* of the last PING */
    unsigned nr_gets, nr_pings;
    char order[64]; /* G, P as they came; a PING's repeats do not count */
    struct kvr_get_req gets[16];
    struct kvr_hdr first; /* of the first GET */
} seen;

static void note(char what)
{
    size_t n = strlen(seen.order);

    if (n + 1 < sizeof(seen.order))
        seen.order[n] = what;
}

/* The first exchanges, that of the HELLO included: so the window stays wide. */
static bool slow(void)
{
    struct timespec time = {.tv_nsec = SLOW_NS};

    if (seen.nr_slow == SLOW_EXCHANGES)
        return false;
    seen.nr_slow++;
    nanosleep(&time, NULL);
    return true;
}

static bool is_hello(const struct fake_exchange *exchange)
{
    if (!fake_is_hello(exchange))
        return false;
    slow();
    return true;
}

/* True: a PING that was seen before. */
static bool is_repeat(const struct fake_exchange *exchange)
{
    const struct kvr_ping *ping = (const void *)exchange->records[0];
    bool repeat = ping->token == seen.token;

    seen.token = ping->token;
    return repeat;
}

/* Slow at first. True: the exchange was no GET and is dealt with. */
static bool answer_others(struct fake_exchange *exchange)
{
    if (exchange->records[0]->op == KVR_GET) {
        if (seen.nr_gets < 16)
            memcpy(&seen.gets[seen.nr_gets], exchange->records[0], sizeof(seen.gets[0]));
        if (seen.nr_gets++ == 0)
            seen.first = exchange->hdr;
        note('G');
        return false;
    }
    if (exchange->records[0]->op == KVR_PING && !is_repeat(exchange)) {
        if (!slow())
            note('P');
    }
    fake_default(exchange);
    return true;
}

static struct kvr_client *start(bool (*answer)(struct fake_exchange *))
{
    struct kvr_client *client;

    memset(&seen, 0, sizeof(seen));
    for (uint32_t i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)(i * 7 + i / 251);
    fake_setup(&fake);
    fake.value = value;
    fake.value_len = sizeof(value);
    fake.answer = answer;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    /* Where the HELLO was slow twice the first was not: they count in no case. When the second is
     * answered so are repeats of the first. */
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    memset(seen.order, 0, sizeof(seen.order));
    return client;
}

/* One datagram of an answer: [pos, pos + PIECE) of the value. */
static void send_piece(struct fake_exchange *exchange, uint32_t pos)
{
    struct kvr_get_rep *rep;

    fake_begin(exchange, KVR_OK);
    rep = fake_record(exchange, exchange->records[0], KVR_OK, (uint32_t)sizeof(*rep) + PIECE);
    rep->value_len = rep->view_len = sizeof(value);
    rep->value_crc = exchange->fake->value_crc;
    rep->ref = exchange->fake->ref;
    rep->pos = pos;
    rep->len = PIECE;
    memcpy(rep + 1, value + pos, PIECE);
    fake_send(exchange);
}

static bool has_everything(struct kvr_client *client)
{
    struct kvr_call call = {
        .op = KVR_CALL_GET, .key = {"k", 1}, .buffer = buffer, .buffer_len = sizeof(buffer)};

    memset(buffer, 0, sizeof(buffer));
    return kvr_do(client, &call) == KVR_OK && call.result_len == sizeof(value) &&
           memcmp(buffer, value, sizeof(value)) == 0;
}

/* The third piece is lost; the rest of the train waits until somebody asks for it. */
static bool lose_third(struct fake_exchange *exchange)
{
    if (is_hello(exchange))
        return false;
    if (answer_others(exchange))
        return true;
    if (seen.nr_gets == 1) {
        for (uint32_t i = 0; i < 6; i++)
            if (i != 2)
                send_piece(exchange, i * PIECE);
        return true;
    }
    send_piece(exchange, 2 * PIECE);
    exchange->hdr.id = seen.first.id;
    for (uint32_t i = 6; i < PIECES; i++)
        send_piece(exchange, i * PIECE);
    return true;
}

Test(loss, a_hole_is_asked_for_while_the_rest_of_the_train_is_still_to_come)
{
    struct kvr_client *client = start(lose_third);
    struct kvr_client_stats before, stats;

    kvr_client_stats(client, &before);
    cr_assert(has_everything(client));
    stats = fake_finish(&fake, client);
    cr_assert_eq(seen.nr_gets, 2);
    cr_assert_eq(seen.gets[1].skip, 2 * PIECE);
    cr_assert_eq(seen.gets[1].want, PIECE, "only what is missing, not what is on its way");
    cr_assert_geq(stats.retransmits, 1);
    cr_assert_eq(stats.rx_unexpected, before.rx_unexpected);
}

/* Like a path that swaps: the third comes after all. */
static bool delay_third(struct fake_exchange *exchange)
{
    if (is_hello(exchange))
        return false;
    if (answer_others(exchange))
        return true;
    if (seen.nr_gets == 1) {
        for (uint32_t i = 0; i < 6; i++)
            if (i != 2)
                send_piece(exchange, i * PIECE);
        return true;
    }
    if (seen.nr_gets == 2) {
        exchange->hdr.id = seen.first.id;
        send_piece(exchange, 2 * PIECE);
        for (uint32_t i = 6; i < PIECES; i++)
            send_piece(exchange, i * PIECE);
        return true;
    }
    for (uint32_t i = 0; i < PIECES; i++) {
        if (i == PIECES - 1)
            send_piece(exchange, 2 * PIECE);
        if (i != 2)
            send_piece(exchange, i * PIECE);
    }
    return true;
}

Test(loss, a_late_piece_is_taken_and_makes_it_more_patient)
{
    struct kvr_client *client = start(delay_third);
    unsigned before;

    cr_assert(has_everything(client), "its answer may come first");
    before = seen.nr_gets;
    cr_assert_eq(before, 2);
    for (unsigned i = 0; i < 3; i++) /* eight pieces before it: more patient each time */
        cr_assert(has_everything(client));
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK, "all that was asked before has been seen");
    before = seen.nr_gets;
    cr_assert(has_everything(client));
    fake_finish(&fake, client);
    cr_assert_eq(seen.nr_gets, before + 1, "by now it waits for what is only late");
}

/* The first GET is lost. */
static bool lose_first(struct fake_exchange *exchange)
{
    if (is_hello(exchange))
        return false;
    if (answer_others(exchange))
        return true;
    if (seen.nr_gets == 1)
        return true;
    for (uint32_t i = 0; i < PIECES; i++)
        send_piece(exchange, i * PIECE);
    return true;
}

static void on_done(struct kvr_call *call)
{
    *(bool *)call->user = true;
}

Test(loss, a_question_that_was_passed_by_three_answers_is_asked_again)
{
    struct kvr_client *client = start(lose_first);
    bool ended = false;
    struct kvr_call call = {.op = KVR_CALL_GET,
                            .key = {"k", 1},
                            .buffer = buffer,
                            .buffer_len = sizeof(buffer),
                            .done = on_done,
                            .user = &ended};

    cr_assert_eq(kvr_submit(client, &call), KVR_OK);
    kvr_poll(client, 0);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    while (!ended)
        kvr_poll(client, 1000);
    cr_assert_eq(call.status, KVR_OK);
    cr_assert_eq(memcmp(buffer, value, sizeof(value)), 0);
    cr_assert_eq(call.nr_retransmits, 1);
    fake_finish(&fake, client);
    cr_assert_str_eq(seen.order, "GPPPG");
}

/* All are lost that would tell of a loss: only the timer is left. */
static bool lose_end(struct fake_exchange *exchange)
{
    if (is_hello(exchange))
        return false;
    if (answer_others(exchange))
        return true;
    if (seen.nr_gets == 1)
        for (uint32_t i = 0; i < 6; i++)
            send_piece(exchange, i * PIECE);
    else
        for (uint32_t i = 6; i < PIECES; i++)
            send_piece(exchange, i * PIECE);
    return true;
}

Test(loss, at_the_end_of_a_train_is_found_by_the_timer_and_only_the_end_is_asked_for)
{
    struct kvr_client *client = start(lose_end);

    cr_assert(has_everything(client));
    fake_finish(&fake, client);
    cr_assert_eq(seen.gets[1].skip, 6 * PIECE);
}

/* The GET is said to come later: no answer to another tells anything of it. */
static bool busy_first(struct fake_exchange *exchange)
{
    if (is_hello(exchange))
        return false;
    if (answer_others(exchange))
        return true;
    if (seen.nr_gets == 1) {
        fake_refuse(exchange, KVR_BUSY, 100000);
        return true;
    }
    for (uint32_t i = 0; i < PIECES; i++)
        send_piece(exchange, i * PIECE);
    return true;
}

Test(loss, what_a_busy_server_put_off_is_not_sent_before_its_time)
{
    struct kvr_client *client = start(busy_first);
    bool ended = false;
    struct kvr_call call = {.op = KVR_CALL_GET,
                            .key = {"k", 1},
                            .buffer = buffer,
                            .buffer_len = sizeof(buffer),
                            .done = on_done,
                            .user = &ended};
    uint64_t before_ns = clock_ns();

    cr_assert_eq(kvr_submit(client, &call), KVR_OK);
    kvr_poll(client, 0);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    while (!ended)
        kvr_poll(client, 1000);
    cr_assert_eq(call.status, KVR_OK);
    cr_assert_geq(clock_ns() - before_ns, 100 * NS_PER_MS);
    fake_finish(&fake, client);
    cr_assert_str_eq(seen.order, "GPPPPPPPPG");
}
