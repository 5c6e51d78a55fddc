/* SPDX-License-Identifier: Apache-2.0 */
/* The rule: an address that showed no cookie never gets more bytes than it sent. */
#include <criterion/criterion.h>
#include <stddef.h>
#include <string.h>

#include "base/random.h"
#include "rig.h"

static struct rig rig;

/* A stored value, so that a GET that slips through would have something to send. */
static void open_rig(void)
{
    static uint8_t value[1000];
    struct rig_options options;

    rig_defaults(&options);
    rig_open(&rig, &options);
    rig_hello(&rig);
    cr_assert_eq(rig_put(&rig, "stored", value, sizeof(value), NULL), KVR_OK);
    rig_become(&rig, 2); /* somebody else, unproven */
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(amplification, .init = open_rig, .fini = close_rig);

static uint32_t bytes_out(unsigned *nr)
{
    struct replies replies;
    uint32_t bytes;

    rig_settle(&rig);
    rig_replies(&rig, &replies);
    bytes = replies.bytes;
    *nr = replies.nr;
    replies_free(&replies);
    return bytes;
}

static void add(struct message *m, unsigned opcode)
{
    switch (opcode) {
    case KVR_HELLO:
        message_hello(m);
        break;
    case KVR_PING:
        message_ping(m, 1);
        break;
    case KVR_GET:
        message_get(m, "stored", NULL, 0);
        break;
    case KVR_PUT:
        message_put(m, "x", "v", 1, 0, 0);
        break;
    case KVR_RESERVE:
        message_reserve(m, "x", 5000, 1024, 0);
        break;
    case KVR_WRITE:
        message_write(m, 1, 0, "12345678", 8, 0);
        break;
    case KVR_COMMIT:
        message_commit(m, 1, 0, 0);
        break;
    case KVR_ABORT:
        message_abort(m, 1);
        break;
    case KVR_MATCH:
        message_match(m, "stored", 4, KVR_MATCH_REFS, 0);
        break;
    case KVR_STAT:
        message_stat(m);
        break;
    case KVR_PLACE:
        message_place(m, "x", 5000, 1, 0);
        break;
    case KVR_SEAL:
    case KVR_DROP:
    case KVR_RELEASE:
        message_end_place(m, opcode, 1ull << 32, 1, 0);
        break;
    case KVR_STORE:
        message_store(m, "x", 0, 5000, 0, 0);
        break;
    case KVR_LOAD:
        message_load(m, "stored", 0, 0, UINT64_MAX);
        break;
    case KVR_LOOK:
        message_look(m, "stored", 1, 0, 0);
        break;
    case KVR_SAVE:
        message_save(m, "x", 0, UINT64_MAX, 0);
        break;
    default:
        message_key(m, opcode, "stored", 0, 0, NULL);
    }
}

Test(amplification, does_not_happen_with_any_op)
{
    for (unsigned opcode = 1; opcode < KVR_OPCODES; opcode++) {
        struct message m;
        struct replies replies;
        struct kvr_hdr hdr;

        rig_begin(&rig, &m);
        m.hdr.seq = m.hdr.floor = 1;
        m.hdr.reply_max = 139;
        add(&m, opcode);
        rig_inject(&rig, &m);
        rig_settle(&rig);
        rig_replies(&rig, &replies);
        cr_assert_eq(replies.nr, 1, "op %u", opcode);
        cr_assert_leq(replies.bytes, m.len, "op %u", opcode);
        cr_assert(reply_ok(replies.list[0]->bytes, replies.list[0]->len, &hdr));
        if (opcode == KVR_HELLO || opcode == KVR_PING)
            cr_assert_eq(hdr.status, KVR_OK);
        else
            cr_assert_eq(hdr.status, KVR_NEED_COOKIE);
        replies_free(&replies);
    }
}

Test(amplification, does_not_happen_with_many_pings_or_ops_mixed_with_pings)
{
    for (unsigned nr = 1; nr <= KVR_OPS_MAX; nr++) {
        struct message m;
        unsigned replies;

        rig_begin(&rig, &m);
        for (unsigned i = 0; i < nr; i++)
            message_ping(&m, i);
        rig_inject(&rig, &m);
        cr_assert_leq(bytes_out(&replies), m.len);
        cr_assert_geq(replies, 1);
        rig_begin(&rig, &m);
        message_ping(&m, 1);
        message_get(&m, "stored", NULL, 0);
        rig_inject(&rig, &m);
        cr_assert_eq(bytes_out(&replies), sizeof(struct kvr_hdr));
    }
}

Test(amplification, does_not_happen_with_damaged_datagrams_whatever_is_wrong_with_them)
{
    struct rng rng;
    unsigned answered = 0;

    rng_seed(&rng, 11);
    for (unsigned turn = 0; turn < 30000; turn++) {
        struct message m;
        unsigned replies;
        uint32_t out;

        rig_begin(&rig, &m);
        m.hdr.seq = m.hdr.floor = 1;
        for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
            add(&m, 1 + (unsigned)rng_below(&rng, KVR_OPCODES - 1));
        message_seal(&m);
        for (uint64_t n = rng_below(&rng, 5); n > 0; n--)
            m.bytes[4 + rng_below(&rng, m.len - 4)] = (uint8_t)rng_next(&rng);
        m.bytes[offsetof(struct kvr_hdr, kind)] = KVR_REQUEST;
        if (rng_below(&rng, 3) == 0)
            m.len = 1 + (uint32_t)rng_below(&rng, m.len);
        if (m.len >= sizeof(struct kvr_hdr))
            message_fix_crc(&m);
        rig_inject_at(&rig, 0, &m);
        out = bytes_out(&replies);
        cr_assert_leq(out, m.len, "turn %u: %u in, %u out", turn, m.len, out);
        answered += replies;
    }
    cr_assert_gt(answered, 10000);
}

Test(amplification, is_not_reached_by_replies_sent_to_the_server)
{
    struct message m;
    unsigned replies;

    rig_begin(&rig, &m);
    m.hdr.kind = KVR_REPLY;
    message_ping(&m, 1);
    rig_inject(&rig, &m);
    cr_assert_eq(bytes_out(&replies), 0);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->drops[DROP_bad_kind]), 1);
}
