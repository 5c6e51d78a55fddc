/* SPDX-License-Identifier: Apache-2.0 */
/* HELLO, cookies, restarts of the server. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "client/build.h"
#include "fake_server.h"

static struct fake_server fake;

Test(open, says_what_is_wrong)
{
    struct kvr_options options;
    struct kvr_client *client = (struct kvr_client *)1;
    char url[64];
    uint64_t before_ns = clock_ns();

    cr_assert_eq(kvr_open("tcp://x", NULL, &client), KVR_INVALID);
    kvr_options_init(&options);
    options.connect_ms = 100;
    fake_setup(&fake);
    fake_start(&fake);
    fake_stop(&fake);
    snprintf(url, sizeof(url), "udp://127.0.0.1:%u", fake.port);
    cr_assert_eq(kvr_open(url, &options, &client), KVR_UNREACHABLE);
    cr_assert_null(client);
    cr_assert_lt(clock_ns() - before_ns, 400 * NS_PER_MS);
    options.priority = 9;
    cr_assert_eq(kvr_open(url, &options, &client), KVR_INVALID);
}

static bool other_version(struct fake_exchange *exchange)
{
    fake_refuse(exchange, KVR_BAD_VERSION, 0);
    return true;
}

Test(open, tells_a_server_of_another_version)
{
    struct kvr_client *client;
    char url[64];

    fake_setup(&fake);
    fake.answer = other_version;
    fake_start(&fake);
    snprintf(url, sizeof(url), "udp://127.0.0.1:%u", fake.port);
    cr_assert_eq(kvr_open(url, NULL, &client), KVR_BAD_VERSION);
    fake_stop(&fake);
}

static bool odd_hellos(struct fake_exchange *exchange)
{
    struct kvr_hello_rep *rep;

    if (!fake_is_hello(exchange) || exchange->fake->number++ >= 3)
        return false;
    fake_begin(exchange, KVR_OK);
    rep = fake_record(exchange, exchange->records[0], KVR_OK, sizeof(*rep));
    exchange->fake->hello.op = rep->op;
    *rep = exchange->fake->hello;
    switch (exchange->fake->number) {
    case 1:
        rep->nr_partitions = 65;
        ((struct kvr_hdr *)(void *)exchange->reply)->cookie = 5;
        break;
    case 2: /* no cookie */
        break;
    case 3:
        ((struct kvr_hdr *)(void *)exchange->reply)->cookie = 5;
        ((struct kvr_hdr *)(void *)exchange->reply)->session++;
    }
    fake_send(exchange);
    return true;
}

Test(open, ignores_hellos_that_make_no_sense)
{
    struct kvr_client *client = fake_open(&fake, odd_hellos);

    cr_assert_eq(fake.nr_hellos, 1);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    cr_assert_eq(fake.seen[0].hdr.cookie, 0xc00c1e);
    fake_finish(&fake, client);
}

static bool need_cookie_once(struct fake_exchange *exchange)
{
    if (fake_is_hello(exchange) || exchange->nth != 1)
        return false;
    exchange->fake->cookie = 0x2222;
    fake_refuse(exchange, KVR_NEED_COOKIE, 0);
    return true;
}

Test(session, fetches_a_new_cookie_and_goes_on_in_the_same_session)
{
    struct kvr_client *client = fake_open(&fake, need_cookie_once);

    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    cr_assert_eq(kvr_put(client, "k", 1, "v", 1, 0), KVR_OK);
    cr_assert_eq(kvr_put(client, "k", 1, "w", 1, 0), KVR_OK);
    cr_assert_eq(fake.nr_hellos, 2);
    cr_assert_eq(fake.nr_seen, 4);
    cr_assert_eq(fake.seen[2].hdr.cookie, 0x2222);
    cr_assert_eq(fake.seen[2].hdr.session, fake.seen[1].hdr.session);
    cr_assert_eq(fake.seen[2].hdr.seq, fake.seen[1].hdr.seq, "a write repeats itself");
    cr_assert_eq(fake.seen[2].hdr.seq, 1);
    cr_assert_eq(fake.seen[3].hdr.seq, 2);
    fake_finish(&fake, client);
}

static bool restarted(struct fake_exchange *exchange)
{
    if (fake_is_hello(exchange) || exchange->nth != 1)
        return false;
    exchange->fake->cookie = 0x3333;
    exchange->fake->hello.boot = 2;
    fake_refuse(exchange, KVR_NEED_COOKIE, 0);
    return true;
}

Test(session, begins_a_new_one_when_the_server_has_forgotten_the_old)
{
    struct kvr_client *client = fake_open(&fake, restarted);

    cr_assert_eq(kvr_put(client, "k", 1, "v", 1, 0), KVR_OK);
    cr_assert_eq(kvr_put(client, "k", 1, "w", 1, 0), KVR_OK);
    cr_assert_eq(fake.nr_hellos, 3, "the answer that told of it was for the old session");
    cr_assert_eq(fake.nr_seen, 3);
    cr_assert_neq(fake.seen[2].hdr.session, fake.seen[1].hdr.session);
    cr_assert_eq(fake.seen[1].hdr.seq, 2);
    cr_assert_eq(fake.seen[2].hdr.seq, 1, "numbers start again");
    cr_assert_eq(fake.seen[2].hdr.floor, 1);
    fake_finish(&fake, client);
}

Test(session, says_hello_again_before_the_cookie_is_too_old)
{
    struct kvr_client *client;
    struct timespec pause = {.tv_nsec = 90 * (long)NS_PER_MS};

    fake_setup(&fake);
    fake.hello.cookie_ms = 100;
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    nanosleep(&pause, NULL);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    pause.tv_nsec *= 2;
    nanosleep(&pause, NULL);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    cr_assert_geq(fake.nr_hellos, 3);
    fake_finish(&fake, client);
}
