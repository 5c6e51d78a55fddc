/* SPDX-License-Identifier: Apache-2.0 */
/* Batches, submitted calls, their descriptor, cancel, close. */
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

static unsigned nr_done;

static void count_done(struct kvr_call *call)
{
    (void)call;
    nr_done++;
}

Test(calls, batches_share_datagrams)
{
    struct kvr_client *client = fake_open(&fake, NULL);
    static struct kvr_call calls[64];
    static uint8_t buffers[64][8];

    for (unsigned i = 0; i < 64; i++)
        calls[i] = (struct kvr_call){
            .op = KVR_CALL_GET, .key = {"some key", 8}, .buffer = buffers[i], .buffer_len = 8};
    cr_assert_eq(kvr_do_batch(client, calls, 64), KVR_MISS);
    cr_assert_leq(fake.nr_seen, 3);
    for (unsigned i = 0; i < 64; i++)
        calls[i] = (struct kvr_call){
            .op = KVR_CALL_PUT, .key = {"some key", 8}, .value = "v", .value_len = 1};
    cr_assert_eq(kvr_do_batch(client, calls, 64), KVR_OK);
    for (unsigned i = 0; i < fake.nr_seen; i++)
        cr_assert_leq(fake.seen[i].hdr.nr_ops, i < 3 ? KVR_OPS_MAX : KVR_MUTATIONS_MAX);
    cr_assert_leq(fake.nr_seen, 8);
    fake_finish(&fake, client);
}

Test(calls, a_batch_tells_each_calls_own_status)
{
    struct kvr_client *client = fake_open(&fake, NULL);
    struct kvr_call calls[] = {{.op = KVR_CALL_PING},
                               {.op = KVR_CALL_GET, .key = {"k", 1}},
                               {.op = KVR_CALL_GET, .key = {"k", 0}},
                               {.op = KVR_CALL_DEL, .key = {"k", 1}}};

    cr_assert_eq(kvr_do_batch(client, calls, 4), KVR_MISS);
    cr_assert_eq(calls[0].status, KVR_OK);
    cr_assert_eq(calls[1].status, KVR_MISS);
    cr_assert_eq(calls[2].status, KVR_INVALID);
    cr_assert_eq(calls[3].status, KVR_OK);
    fake_finish(&fake, client);
}

Test(calls, submitted_ones_end_in_poll_exactly_once)
{
    struct kvr_client *client = fake_open(&fake, NULL);
    struct kvr_call call = {.op = KVR_CALL_PING, .done = count_done};

    cr_assert_eq(kvr_submit(client, &call), KVR_OK);
    cr_assert_eq(kvr_submit(client, &call), KVR_INVALID, "it is running already");
    cr_assert_eq(nr_done, 0);
    cr_assert_eq(kvr_poll(client, -1), 1);
    cr_assert_eq(nr_done, 1);
    cr_assert_eq(call.status, KVR_OK);
    cr_assert_eq(kvr_poll(client, -1), 0, "nothing is submitted");
    cr_assert_eq(kvr_submit(client, &call), KVR_OK);
    cr_assert_eq(kvr_poll(client, 1000), 1);
    fake_finish(&fake, client);
}

Test(calls, the_descriptor_tells_when_poll_has_work)
{
    struct kvr_client *client = fake_open(&fake, NULL);
    struct pollfd fd = {.fd = kvr_fd(client), .events = POLLIN};
    struct kvr_call call = {.op = KVR_CALL_PING, .done = count_done};

    kvr_poll(client, 0);
    if (poll(&fd, 1, 100) == 1) /* once more, perhaps: the timer of the HELLO */
        kvr_poll(client, 0);
    cr_assert_eq(poll(&fd, 1, 50), 0, "quiet while nothing runs");
    kvr_submit(client, &call);
    cr_assert_eq(poll(&fd, 1, 1000), 1, "the request wants to be sent");
    for (int i = 0; i < 100 && nr_done == 0; i++) {
        cr_assert_eq(poll(&fd, 1, 1000), 1);
        kvr_poll(client, 0);
    }
    cr_assert_eq(nr_done, 1);
    if (poll(&fd, 1, 100) == 1)
        kvr_poll(client, 0);
    cr_assert_eq(poll(&fd, 1, 50), 0);
    fake_finish(&fake, client);
}

Test(calls, the_descriptor_tells_of_retransmissions_and_deadlines)
{
    struct kvr_client *client = fake_open(&fake, silent);
    struct pollfd fd = {.fd = kvr_fd(client), .events = POLLIN};
    struct kvr_call call = {.op = KVR_CALL_PING, .done = count_done, .timeout_ms = 100};

    kvr_submit(client, &call);
    while (nr_done == 0) {
        cr_assert_eq(poll(&fd, 1, 1000), 1);
        kvr_poll(client, 0);
    }
    cr_assert_eq(call.status, KVR_TIMEOUT);
    cr_assert_gt(fake.nr_seen, 2);
    fake_finish(&fake, client);
}

Test(calls, canceled_ones_end_at_the_next_poll)
{
    struct kvr_client *client = fake_open(&fake, silent);
    struct kvr_call call = {
        .op = KVR_CALL_PUT, .key = {"k", 1}, .value = "v", .value_len = 1, .done = count_done};

    kvr_submit(client, &call);
    kvr_poll(client, 5);
    kvr_cancel(client, &call);
    cr_assert_eq(nr_done, 0);
    cr_assert_eq(kvr_poll(client, 1000), 1);
    cr_assert_eq(nr_done, 1);
    cr_assert_eq(call.status, KVR_CANCELED);
    kvr_cancel(client, &call);
    cr_assert_eq(kvr_poll(client, 0), 0, "it is over");
    fake_finish(&fake, client);
}

Test(calls, that_run_when_the_handle_closes_are_canceled)
{
    struct kvr_client *client = fake_open(&fake, silent);
    struct kvr_call call = {.op = KVR_CALL_PING, .done = count_done};

    kvr_submit(client, &call);
    kvr_poll(client, 5);
    fake_finish(&fake, client);
    cr_assert_eq(nr_done, 1);
    cr_assert_eq(call.status, KVR_CANCELED);
}

static struct kvr_client *chained;

static void submit_next(struct kvr_call *call)
{
    if (++nr_done < 10)
        cr_assert_eq(kvr_submit(chained, call), KVR_OK);
}

Test(calls, may_be_submitted_from_done)
{
    struct kvr_call call = {.op = KVR_CALL_PING, .done = submit_next};

    chained = fake_open(&fake, NULL);
    kvr_submit(chained, &call);
    while (nr_done < 10)
        cr_assert_eq(kvr_poll(chained, 1000), 1);
    fake_finish(&fake, chained);
}

Test(calls, bad_arguments_are_refused_before_anything_is_sent)
{
    struct kvr_client *client = fake_open(&fake, NULL);
    static uint8_t key[KVR_KEY_MAX + 1];
    struct kvr_call view = {.op = KVR_CALL_GET, .key = {"k", 1}, .count = 2};
    struct kvr_call unknown = {.op = (enum kvr_call_op)99};

    cr_assert_eq(kvr_del(client, key, 0), KVR_INVALID);
    cr_assert_eq(kvr_del(client, key, sizeof(key)), KVR_INVALID);
    cr_assert_eq(kvr_del(client, NULL, 3), KVR_INVALID);
    cr_assert_eq(kvr_put(client, "k", 1, NULL, 3, 0), KVR_INVALID);
    cr_assert_eq(kvr_match(client, NULL, 0, NULL, NULL), KVR_INVALID);
    cr_assert_eq(kvr_do(client, &view), KVR_INVALID);
    cr_assert_eq(kvr_do(client, &unknown), KVR_INVALID);
    cr_assert_eq(kvr_put(client, "k", 1, key, (size_t)KVR_VALUE_MAX + 1, 0), KVR_TOO_LARGE);
    cr_assert_eq(fake.nr_seen, 0);
    fake_finish(&fake, client);
}
