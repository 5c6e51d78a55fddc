/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stddef.h>
#include <string.h>

#include "base/random.h"
#include "client/build.h"
#include "client/check.h"

struct wire {
    _Alignas(8) uint8_t bytes[4096];
    uint32_t len;
};

static struct kvr_hdr *header(struct wire *wire)
{
    return (struct kvr_hdr *)(void *)wire->bytes;
}

static void sign(struct wire *wire)
{
    header(wire)->len = (uint16_t)wire->len;
    header(wire)->crc = build_crc(wire->bytes, wire->len, NULL, 0);
}

static void begin(struct wire *wire)
{
    memset(wire, 0, sizeof(*wire));
    *header(wire) = (struct kvr_hdr){.magic = KVR_MAGIC, .version = KVR_VERSION, .kind = KVR_REPLY};
    wire->len = sizeof(struct kvr_hdr);
    sign(wire);
}

static void *add(struct wire *wire, uint8_t op, uint8_t status, uint32_t size)
{
    struct kvr_op *record = (struct kvr_op *)(void *)(wire->bytes + wire->len);

    *record = (struct kvr_op){
        .op = op, .idx = header(wire)->nr_ops++, .status = status, .size = (uint16_t)size};
    wire->len += size;
    sign(wire);
    return record;
}

static enum check_fault check(const struct wire *wire)
{
    struct checked_reply reply;

    return check_reply(wire->bytes, wire->len, &reply);
}

static void expect(struct wire *wire, enum check_fault fault)
{
    sign(wire);
    cr_assert_eq(check(wire), fault);
}

static struct kvr_get_rep *add_get(struct wire *wire, uint32_t len)
{
    struct kvr_get_rep *rep = add(wire, KVR_GET, KVR_OK, sizeof(*rep) + pad8(len));

    rep->value_len = rep->view_len = rep->len = len;
    rep->ref = 1;
    sign(wire);
    return rep;
}

Test(check, takes_a_reply_of_several_records)
{
    struct checked_reply reply;
    struct wire wire;

    begin(&wire);
    add_get(&wire, 100);
    add(&wire, KVR_GET, KVR_MISS, 8);
    add(&wire, KVR_DEL, KVR_OK, 8);
    cr_assert_eq(check_reply(wire.bytes, wire.len, &reply), CHECK_OK);
    cr_assert_eq(reply.hdr.nr_ops, 3);
    cr_assert_eq(reply.records[1]->status, KVR_MISS);
    cr_assert_eq(reply.records[2]->idx, 2);
}

Test(check, refuses_every_other_length_of_the_same_datagram)
{
    struct checked_reply reply;
    struct wire wire;

    begin(&wire);
    add_get(&wire, 64);
    for (uint32_t len = 0; len <= sizeof(wire.bytes); len++)
        cr_assert_eq(check_reply(wire.bytes, len, &reply) == CHECK_OK, len == wire.len, "%u", len);
}

Test(check, refuses_every_flipped_bit)
{
    struct wire wire;

    begin(&wire);
    add_get(&wire, 40);
    for (uint32_t bit = 0; bit < wire.len * 8; bit++) {
        wire.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(check(&wire), CHECK_OK, "bit %u", bit);
        wire.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(check(&wire), CHECK_OK);
}

Test(check, refuses_what_is_not_a_reply_of_this_version)
{
    struct wire wire;

    begin(&wire);
    header(&wire)->kind = KVR_REQUEST;
    expect(&wire, CHECK_FOREIGN);
    begin(&wire);
    header(&wire)->magic++;
    expect(&wire, CHECK_FOREIGN);
    begin(&wire);
    header(&wire)->version = 2;
    expect(&wire, CHECK_FOREIGN);
    header(&wire)->status = KVR_BAD_VERSION;
    expect(&wire, CHECK_OK);
    begin(&wire);
    header(&wire)->status = KVR_STATUS_WIRE_MAX + 1;
    expect(&wire, CHECK_RECORD);
}

Test(check, refuses_counts_that_do_not_fit_the_records)
{
    struct wire wire;

    begin(&wire);
    add(&wire, KVR_DEL, KVR_OK, 8);
    header(&wire)->nr_ops = 2;
    expect(&wire, CHECK_RECORD);
    header(&wire)->nr_ops = 0;
    expect(&wire, CHECK_RECORD);
    header(&wire)->nr_ops = 1;
    expect(&wire, CHECK_OK);
    begin(&wire);
    for (unsigned i = 0; i < KVR_OPS_MAX; i++)
        add(&wire, KVR_DEL, KVR_OK, 8);
    expect(&wire, CHECK_OK);
    add(&wire, KVR_DEL, KVR_OK, 8);
    expect(&wire, CHECK_RECORD);
}

Test(check, refuses_impossible_record_heads)
{
    struct kvr_op good, *op;
    struct wire wire;

    begin(&wire);
    op = add(&wire, KVR_TOUCH, KVR_OK, 16);
    good = *op;
    expect(&wire, CHECK_OK);
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        op->field = (value);                                                                       \
        expect(&wire, CHECK_RECORD);                                                               \
        *op = good;                                                                                \
    } while (0)
    REFUSED(size, 0);
    REFUSED(size, 8);
    REFUSED(size, 7);
    REFUSED(size, 12);
    REFUSED(size, 24);
    REFUSED(size, 0xfff8);
    REFUSED(op, 0);
    REFUSED(op, KVR_OPCODES);
    REFUSED(op, 255);
    REFUSED(idx, KVR_OPS_MAX);
    REFUSED(status, KVR_STATUS_WIRE_MAX + 1);
    REFUSED(key_len, 1);
#undef REFUSED
    expect(&wire, CHECK_OK);
}

Test(check, refuses_fixed_parts_that_are_cut_short)
{
    static const uint16_t sizes[KVR_OPCODES] = {
        [KVR_PING] = sizeof(struct kvr_ping),       [KVR_GET] = sizeof(struct kvr_get_rep),
        [KVR_PUT] = sizeof(struct kvr_put_rep),     [KVR_RESERVE] = sizeof(struct kvr_put_rep),
        [KVR_COMMIT] = sizeof(struct kvr_put_rep),  [KVR_STAT] = sizeof(struct kvr_stat_rep),
        [KVR_HELLO] = sizeof(struct kvr_hello_rep), [KVR_MATCH] = sizeof(struct kvr_match_rep)};

    for (uint8_t op = 1; op < KVR_OPCODES; op++)
        for (uint32_t size = 8; size < sizes[op]; size += 8) {
            struct wire wire;

            begin(&wire);
            add(&wire, op, KVR_OK, size);
            expect(&wire, CHECK_RECORD);
            begin(&wire);
            add(&wire, op, KVR_BUSY, size);
            expect(&wire, CHECK_OK); /* a refusal needs no body */
        }
}

Test(check, refuses_a_get_whose_numbers_contradict_each_other)
{
    struct kvr_get_rep good, *rep;
    struct wire wire;

    begin(&wire);
    rep = add_get(&wire, 20);
    rep->view_len = rep->value_len = 100;
    rep->pos = 80;
    good = *rep;
    expect(&wire, CHECK_OK);
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        rep->field = (value);                                                                      \
        expect(&wire, CHECK_RECORD);                                                               \
        *rep = good;                                                                               \
    } while (0)
    REFUSED(pos, 81);
    REFUSED(pos, UINT32_MAX);
    REFUSED(len, 25);
    REFUSED(len, 16);
    REFUSED(len, UINT32_MAX);
    REFUSED(view_len, 99);
    REFUSED(view_len, 0);
    REFUSED(value_len, KVR_VALUE_MAX + 1);
    REFUSED(pinned, 2);
    REFUSED(tier, 3);
#undef REFUSED
    expect(&wire, CHECK_OK);
}

Test(check, a_view_must_follow_from_the_value_and_the_question)
{
    struct kvr_get_rep rep = {.value_len = 1000, .view_len = 1000};

    cr_assert(check_view(&rep, 0, 0, 0, 1));
    cr_assert_not(check_view(&rep, 1, 0, 0, 1));
    cr_assert_not(check_view(&rep, 1001, 0, 0, 1));
    rep.view_len = 30;
    cr_assert(check_view(&rep, 970, 30, 0, 1));
    cr_assert_not(check_view(&rep, 971, 30, 0, 1));
    cr_assert(check_view(&rep, 0, 10, 100, 3));
    cr_assert(check_view(&rep, 790, 10, 100, 3));
    cr_assert_not(check_view(&rep, 791, 10, 100, 3));
    cr_assert_not(check_view(&rep, 0, 10, 100, 4));
    cr_assert_not(check_view(&rep, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT16_MAX));
}

static struct kvr_match_rep *add_match(struct wire *wire, uint16_t nr_keys, bool refs)
{
    uint32_t size = (uint32_t)sizeof(struct kvr_match_rep) + pad8((nr_keys + 7u) / 8u);
    struct kvr_match_rep *rep;

    if (refs)
        size += nr_keys * (uint32_t)sizeof(struct kvr_match_ref);
    rep = add(wire, KVR_MATCH, KVR_OK, size);
    rep->nr_keys = nr_keys;
    return rep;
}

Test(check, a_match_finds_its_bitmap_and_references)
{
    struct kvr_match_rep *rep;
    struct wire wire;

    begin(&wire);
    rep = add_match(&wire, 70, true);
    expect(&wire, CHECK_OK);
    cr_assert_eq((const uint8_t *)check_match_refs(rep) - (const uint8_t *)rep, 16 + 16);
    begin(&wire);
    rep = add_match(&wire, 70, false);
    expect(&wire, CHECK_OK);
    cr_assert_null(check_match_refs(rep));
    cr_assert_eq(check_match_bitmap(rep) - (const uint8_t *)rep, 16);
}

Test(check, refuses_a_match_whose_prefix_is_not_the_bitmaps)
{
    struct kvr_match_rep *rep;
    struct wire wire;
    uint8_t *bitmap;

    begin(&wire);
    rep = add_match(&wire, 10, false);
    bitmap = (uint8_t *)(rep + 1);
    bitmap[0] = 0x37; /* 0, 1, 2, 4, 5 */
    rep->prefix = 3;
    expect(&wire, CHECK_OK);
    rep->prefix = 2;
    expect(&wire, CHECK_RECORD);
    rep->prefix = 4;
    expect(&wire, CHECK_RECORD);
    rep->prefix = 11;
    expect(&wire, CHECK_RECORD);
    rep->prefix = 3;
    bitmap[1] = 0x04; /* key 10 of 10 */
    expect(&wire, CHECK_RECORD);
    bitmap[1] = 0;
    rep->nr_pinned = 11;
    expect(&wire, CHECK_RECORD);
    rep->nr_pinned = 0;
    rep->nr_keys = 0;
    expect(&wire, CHECK_RECORD);
    rep->nr_keys = 65;
    expect(&wire, CHECK_RECORD);
    rep->nr_keys = UINT16_MAX;
    expect(&wire, CHECK_RECORD);
}

Test(check, refuses_missing_ranges_that_cannot_be)
{
    struct kvr_put_rep *rep;
    struct kvr_range *range;
    struct wire wire;

    begin(&wire);
    rep = add(&wire, KVR_COMMIT, KVR_INCOMPLETE, sizeof(*rep) + 2 * sizeof(*range));
    range = (struct kvr_range *)(void *)(rep + 1);
    range[0] = (struct kvr_range){0, 1000};
    range[1] = (struct kvr_range){5000, 1};
    rep->nr_ranges = 2;
    expect(&wire, CHECK_OK);
    rep->nr_ranges = 3;
    expect(&wire, CHECK_RECORD);
    rep->nr_ranges = UINT32_MAX;
    expect(&wire, CHECK_RECORD);
    rep->nr_ranges = 2;
    range[1].len = 0;
    expect(&wire, CHECK_RECORD);
    range[1] = (struct kvr_range){KVR_VALUE_MAX - 1, 2};
    expect(&wire, CHECK_RECORD);
    range[1] = (struct kvr_range){UINT32_MAX, UINT32_MAX};
    expect(&wire, CHECK_RECORD);
}

Test(check, refuses_a_hello_that_cannot_be_worked_with)
{
    struct kvr_hello_rep good = {.version = KVR_VERSION,
                                 .nr_partitions = 4,
                                 .base_port = KVR_PORT,
                                 .max_ops = 32,
                                 .max_datagram = 1472,
                                 .max_value = KVR_VALUE_MAX,
                                 .train_max = 65536,
                                 .cookie_ms = 60000};
    struct kvr_hello_rep rep = good;

    cr_assert(check_hello(&rep));
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        rep.field = (value);                                                                       \
        cr_assert_not(check_hello(&rep), #field);                                                  \
        rep = good;                                                                                \
    } while (0)
    REFUSED(version, 2);
    REFUSED(nr_partitions, 0);
    REFUSED(nr_partitions, KVR_PARTITIONS_MAX + 1);
    REFUSED(max_ops, 0);
    REFUSED(max_datagram, KVR_DATAGRAM_MIN_MAX - 1);
    REFUSED(max_value, KVR_VALUE_MAX + 1);
    REFUSED(train_max, 0);
    REFUSED(cookie_ms, 0);
#undef REFUSED
}

/* Signed nonsense: whatever is let through must hold what check.h promises. */
Test(check, lets_nothing_through_that_points_outside)
{
    struct rng rng;

    rng_seed(&rng, 11);
    for (int i = 0; i < 200000; i++) {
        struct checked_reply reply;
        struct wire wire;

        begin(&wire);
        add(&wire, (uint8_t)(1 + rng_below(&rng, 13)), 0, (uint32_t)(8 + 8 * rng_below(&rng, 30)));
        add(&wire, (uint8_t)(1 + rng_below(&rng, 13)), 0, (uint32_t)(8 + 8 * rng_below(&rng, 30)));
        for (uint64_t n = rng_below(&rng, 12); n > 0; n--)
            wire.bytes[sizeof(struct kvr_hdr) +
                       rng_below(&rng, wire.len - sizeof(struct kvr_hdr))] =
                (uint8_t)rng_next(&rng);
        sign(&wire);
        if (check_reply(wire.bytes, wire.len, &reply) != CHECK_OK)
            continue;
        for (unsigned r = 0; r < reply.hdr.nr_ops; r++) {
            const struct kvr_op *op = reply.records[r];
            const uint8_t *end = (const uint8_t *)op + op->size;
            const struct kvr_get_rep *get = (const void *)op;
            const struct kvr_match_rep *match = (const void *)op;

            cr_assert_leq((size_t)(end - wire.bytes), wire.len);
            if (op->op == KVR_GET && op->status == KVR_OK)
                cr_assert((const uint8_t *)(get + 1) + get->len <= end);
            if (op->op == KVR_MATCH && op->status == KVR_OK && check_match_refs(match))
                cr_assert((const uint8_t *)(check_match_refs(match) + match->nr_keys) <= end);
        }
    }
}
