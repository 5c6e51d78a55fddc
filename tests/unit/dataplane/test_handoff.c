/* SPDX-License-Identifier: Apache-2.0 */
/* Two cores, driven in turn. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "rig.h"

static struct rig rig;

static struct core_stats *stats(unsigned core)
{
    return rig.cores[core]->stats;
}

static void open_two(void)
{
    struct rig_options options;

    rig_defaults(&options);
    options.nr_cores = 2;
    rig_open(&rig, &options);
    rig_hello(&rig);
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(handoff, .init = open_two, .fini = close_rig);

Test(handoff, a_request_at_the_wrong_core_is_passed_on_and_answered_once)
{
    char keys[2][64];
    uint8_t out[16];

    for (unsigned p = 0; p < 2; p++) {
        struct message m;
        unsigned n = 0;

        rig_key(&rig, "key", p, &n, keys[p]);
        rig_begin_write(&rig, &m, keys[p]);
        message_put(&m, keys[p], keys[p], 4, 0, 0);
        message_seal(&m);
        for (unsigned turn = 0; turn < 2; turn++) { /* the second time it is a repeat */
            struct replies replies;

            rig_inject_at(&rig, 1 - p, &m);
            rig_settle(&rig);
            rig_replies(&rig, &replies);
            cr_assert_eq(replies.nr, 1);
            replies_free(&replies);
        }
        cr_assert_eq(rig_get(&rig, keys[p], out, sizeof(out)), 4);
        cr_assert_eq(memcmp(out, keys[p], 4), 0);
    }
    cr_assert_geq(counter_read(&stats(0)->handoff_out), 2);
    cr_assert_eq(counter_read(&stats(0)->handoff_out), counter_read(&stats(1)->handoff_in));
    cr_assert_eq(counter_read(&stats(1)->handoff_out), counter_read(&stats(0)->handoff_in));
}

Test(handoff, a_request_for_both_cores_is_answered_by_each_for_its_own)
{
    struct replies replies;
    struct message m;
    unsigned answered[32] = {0}, n = 0;
    char keys[32][64];

    for (unsigned i = 0; i < 32; i++) {
        rig_key(&rig, "key", i % 3 == 0, &n, keys[i]);
        cr_assert_eq(rig_put(&rig, keys[i], &i, sizeof(i), NULL), KVR_OK);
    }
    rig_begin(&rig, &m);
    for (unsigned i = 0; i < 32; i++)
        message_get(&m, keys[i], NULL, 0);
    rig_inject(&rig, &m);
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    cr_assert_geq(replies.nr, 2);
    for (unsigned i = 0; i < replies.nr; i++) {
        uint32_t at = sizeof(struct kvr_hdr);
        struct record record;
        struct kvr_hdr hdr;
        unsigned value;

        cr_assert(reply_ok(replies.list[i]->bytes, replies.list[i]->len, &hdr));
        while (reply_next(replies.list[i]->bytes, replies.list[i]->len, &at, &record)) {
            cr_assert_eq(record.op.status, KVR_OK);
            memcpy(&value, record.bytes + sizeof(struct kvr_get_rep), sizeof(value));
            cr_assert_eq(value, record.op.idx);
            cr_assert_eq(hdr.partition, rig_partition(&rig, keys[value]));
            answered[value]++;
        }
    }
    for (unsigned i = 0; i < 32; i++)
        cr_assert_eq(answered[i], 1);
    replies_free(&replies);
}

Test(handoff, match_reads_the_keys_of_all_partitions_in_one_place)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_match_rep rep;
    struct record record;
    struct message m;
    unsigned home = 0, own = 0; /* core of the first key, and how many first ones are its own */

    for (unsigned i = 0; i < 60; i++) {
        char key[64];
        unsigned core;

        snprintf(key, sizeof(key), "chain%u", i);
        core = rig_partition(&rig, key) % rig.nr_cores;
        home = i == 0 ? core : home;
        own += own == i && core == home;
        if (i != 50)
            cr_assert_eq(rig_put(&rig, key, "v", 1, NULL), KVR_OK);
    }
    rig_begin(&rig, &m);
    message_match(&m, "chain", 60, KVR_MATCH_PIN, 100);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&rep, bytes, sizeof(rep));
    cr_assert_eq(rep.prefix, 50);
    cr_assert_eq(rep.nr_pinned, own);
}

Test(handoff, an_upload_belongs_to_the_core_of_its_partition)
{
    static uint8_t value[3000];
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct record record;
    struct message m;
    uint64_t handle;
    unsigned n = 0;
    char key[64];
    uint32_t seq;

    rig_key(&rig, "key", 1, &n, key);
    rig_begin_write(&rig, &m, key);
    seq = m.hdr.seq;
    message_reserve(&m, key, sizeof(value), 1000, 0);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&handle, record.body, sizeof(handle));
    for (uint32_t off = 0; off < sizeof(value); off += 1000) {
        rig_begin(&rig, &m);
        m.hdr.partition = 1;
        m.hdr.seq = m.hdr.floor = seq;
        message_write(&m, handle, off, value + off, 1000, KVR_WRITE_QUIET);
        if (off == 2000)
            message_commit(&m, handle, crc32c(0, value, sizeof(value)), sizeof(value));
        message_seal(&m);
        rig_inject_at(&rig, 0, &m); /* the wrong core */
        rig_settle(&rig);
    }
    {
        struct replies replies;
        uint32_t at = sizeof(struct kvr_hdr);

        rig_replies(&rig, &replies);
        cr_assert_eq(replies.nr, 1);
        cr_assert(reply_next(replies.list[0]->bytes, replies.list[0]->len, &at, &record));
        cr_assert_eq(record.op.op, KVR_COMMIT);
        cr_assert_eq(record.op.status, KVR_OK);
        replies_free(&replies);
    }
}

Test(handoff, a_full_ring_is_answered_busy)
{
    struct core *core = rig.cores[0];
    unsigned n = 0, busy = 0;
    struct replies replies;
    char key[64];

    rig_key(&rig, "key", 1, &n, key);
    for (unsigned i = 0; i < 1100; i++) { /* core 1 does not take them */
        struct request *requests[BURST];
        struct message m;

        rig_begin(&rig, &m);
        message_get(&m, key, NULL, 0);
        message_seal(&m);
        rig_inject_at(&rig, 0, &m);
        core_tick(core, rig.now_ns);
        cr_assert_eq(core->transport->ops->rx(core->transport, rig.now_ns, requests, BURST), 1);
        engine_burst(core, requests, 1);
    }
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    cr_assert_eq(replies.nr, 1100);
    for (unsigned i = 0; i < replies.nr; i++) {
        struct kvr_hdr hdr;

        cr_assert(reply_ok(replies.list[i]->bytes, replies.list[i]->len, &hdr));
        busy += hdr.status == KVR_BUSY;
    }
    cr_assert_eq(busy, 1100 - 1024);
    cr_assert_eq(counter_read(&stats(0)->handoff_full), busy);
    replies_free(&replies);
}
