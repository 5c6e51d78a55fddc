/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"

static struct rig rig;

static void open_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    rig_open(&rig, &options);
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(cookie, .init = open_rig, .fini = close_rig);

static int ask_get(void)
{
    struct message m;

    rig_begin(&rig, &m);
    message_get(&m, "nothing", NULL, 0);
    return rig_status(&rig, &m, NULL, NULL);
}

Test(cookie, of_hello_opens_every_op_and_nothing_else_does)
{
    uint64_t good;

    cr_assert_eq(ask_get(), REFUSED(KVR_NEED_COOKIE));
    rig_hello(&rig);
    cr_assert_eq(ask_get(), KVR_MISS);
    cr_assert_eq(ask_get(), KVR_MISS);
    good = rig.cookie;
    for (unsigned bit = 0; bit < 64; bit++) {
        rig.cookie = good ^ (1ull << bit);
        cr_assert_eq(ask_get(), REFUSED(KVR_NEED_COOKIE));
    }
    rig.cookie = good;
    cr_assert_eq(ask_get(), KVR_MISS);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->drops[DROP_no_cookie]), 65);
}

Test(cookie, fits_one_address_port_and_session_only)
{
    struct rig before;

    rig_hello(&rig);
    cr_assert_eq(ask_get(), KVR_MISS);
    before = rig;
    rig.peer.ip[15] ^= 1;
    cr_assert_eq(ask_get(), REFUSED(KVR_NEED_COOKIE));
    rig = before;
    rig.peer.port++;
    cr_assert_eq(ask_get(), REFUSED(KVR_NEED_COOKIE));
    rig = before;
    rig.session++;
    cr_assert_eq(ask_get(), REFUSED(KVR_NEED_COOKIE));
    rig = before;
    cr_assert_eq(ask_get(), KVR_MISS);
}

Test(cookie, is_valid_for_one_epoch_at_least_and_two_at_most)
{
    uint64_t epoch_ns = 60000ull * 1000000u;

    rig.now_ns = (rig.now_ns / epoch_ns + 1) * epoch_ns; /* an epoch begins */
    rig_turn(&rig);
    rig_hello(&rig);
    rig.now_ns += epoch_ns * 2 - 1000000u;
    cr_assert_eq(ask_get(), KVR_MISS);
    rig.now_ns += 1000000u;
    cr_assert_eq(ask_get(), REFUSED(KVR_NEED_COOKIE));
    rig_hello(&rig);
    cr_assert_eq(ask_get(), KVR_MISS);
}

Test(cookie, of_hello_says_what_a_client_must_know)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_hello_rep rep;
    struct record record;
    struct message m;

    rig_begin(&rig, &m);
    message_hello(&m);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&rep, record.bytes, sizeof(rep));
    cr_assert_eq(rep.version, KVR_VERSION);
    cr_assert_eq(rep.nr_partitions, 2);
    cr_assert_eq(rep.base_port, 9690);
    cr_assert_eq(rep.max_datagram, KVR_DATAGRAM_MIN_MAX);
    cr_assert_eq(rep.max_value, KVR_VALUE_MAX);
    cr_assert_eq(rep.train_max, 65536);
    cr_assert_eq(rep.cookie_ms, 60000);
    cr_assert_eq(rep.seed, 42);
    cr_assert_eq(rep.boot, rig.cores[0]->boot_id);
    cr_assert_eq(rep.arena, rig.arena.sb->arena_id);
    cr_assert_eq(rep.upload_idle_ms, 5000);
}

Test(cookie, of_hello_is_not_given_for_another_version_or_a_tiny_datagram)
{
    struct kvr_hello_req req = {.version_min = 2, .version_max = 3, .max_datagram = 9000};
    struct message m;

    rig_begin(&rig, &m);
    message_record(&m, KVR_HELLO, 0, &req, sizeof(req), 0, NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_BAD_VERSION);
    req = (struct kvr_hello_req){.version_min = 1, .version_max = 3, .max_datagram = 1231};
    rig_begin(&rig, &m);
    message_record(&m, KVR_HELLO, 0, &req, sizeof(req), 0, NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_BAD_FIELD);
}
