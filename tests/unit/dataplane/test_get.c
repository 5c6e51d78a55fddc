/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/random.h"
#include "rig.h"

#define VALUE 200000u

static struct rig rig;
static uint8_t value[VALUE];

static void open_with(const struct rig_options *options)
{
    struct rng rng;

    rng_seed(&rng, 5);
    for (unsigned i = 0; i < VALUE; i++)
        value[i] = (uint8_t)rng_next(&rng);
    rig_open(&rig, options);
    rig_hello(&rig);
}

static void open_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    open_with(&options);
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(get, .init = open_rig, .fini = close_rig);

/* Stores value[0, len) under the key, however large. */
static void store(const char *key, uint32_t len, uint64_t *ref)
{
    struct message m;
    struct record record;
    uint8_t bytes[KVR_DATAGRAM_MAX];
    uint64_t handle;
    uint32_t seq;

    rig_begin_write(&rig, &m, key);
    seq = m.hdr.seq;
    message_reserve(&m, key, len, 1024, 0);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&handle, record.body, sizeof(handle));
    for (uint32_t off = 0; off < len; off += 1024) {
        rig_begin(&rig, &m);
        m.hdr.partition = (uint16_t)rig_partition(&rig, key);
        m.hdr.seq = m.hdr.floor = seq;
        message_write(&m, handle, off, value + off, len - off < 1024 ? len - off : 1024,
                      KVR_WRITE_QUIET);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), -1);
    }
    rig_begin(&rig, &m);
    m.hdr.partition = (uint16_t)rig_partition(&rig, key);
    m.hdr.seq = m.hdr.floor = seq;
    message_commit(&m, handle, crc32c(0, value, len), len);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    if (ref)
        memcpy(ref, record.body, sizeof(*ref));
}

struct fetched {
    uint8_t *bytes; /* the view, zeroes where nothing came */
    uint32_t from, to, records, datagrams, largest;
    struct kvr_get_rep first;
};

/* Puts a train together; every byte of the window must come exactly once and in order. */
static void fetch(const char *key, const struct kvr_get_req *like, unsigned flags,
                  uint8_t reply_max, struct fetched *fetched)
{
    struct replies replies;
    struct message m;

    memset(fetched, 0, sizeof(*fetched));
    rig_begin(&rig, &m);
    m.hdr.partition = (uint16_t)rig_partition(&rig, key);
    m.hdr.reply_max = reply_max;
    message_get(&m, key, like, flags);
    rig_inject(&rig, &m);
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    for (unsigned i = 0; i < replies.nr; i++) {
        uint32_t at = sizeof(struct kvr_hdr);
        struct kvr_get_rep rep;
        struct record record;

        fetched->datagrams++;
        if (replies.list[i]->len > fetched->largest)
            fetched->largest = replies.list[i]->len;
        while (reply_next(replies.list[i]->bytes, replies.list[i]->len, &at, &record)) {
            cr_assert_eq(record.op.status, KVR_OK);
            memcpy(&rep, record.bytes, sizeof(rep));
            if (fetched->records++ == 0) {
                fetched->first = rep;
                fetched->from = fetched->to = rep.pos;
                fetched->bytes = calloc(1, rep.view_len + 1u);
            }
            cr_assert_eq(rep.pos, fetched->to);
            cr_assert_eq(record.op.size, sizeof(rep) + ((rep.len + 7u) & ~7u));
            memcpy(fetched->bytes + rep.pos, record.bytes + sizeof(rep), rep.len);
            fetched->to += rep.len;
        }
    }
    replies_free(&replies);
}

Test(get, of_a_small_value_is_one_record_with_all_that_is_known_of_the_block)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_get_rep rep;
    struct record record;
    struct message m;
    uint64_t ref;

    cr_assert_eq(rig_put(&rig, "key", value, 100, &ref), KVR_OK);
    rig_begin(&rig, &m);
    message_get(&m, "key", NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&rep, record.bytes, sizeof(rep));
    cr_assert_eq(rep.value_len, 100);
    cr_assert_eq(rep.value_crc, crc32c(0, value, 100));
    cr_assert_eq(rep.ref, ref);
    cr_assert_eq(rep.view_len, 100);
    cr_assert_eq(rep.len, 100);
    cr_assert_eq(rep.tier, KVR_TIER_HOST);
    cr_assert_eq(memcmp(record.bytes + sizeof(rep), value, 100), 0);
    for (unsigned i = 148; i < record.op.size; i++)
        cr_assert_eq(record.bytes[i], 0, "padding");
    cr_assert_eq(counter_read(&rig.cores[0]->stats->hits), 1);
}

Test(get, of_an_empty_value_is_a_record_without_bytes)
{
    uint8_t out[8];

    cr_assert_eq(rig_put(&rig, "empty", NULL, 0, NULL), KVR_OK);
    cr_assert_eq(rig_get(&rig, "empty", out, sizeof(out)), 0);
}

Test(get, of_every_length_up_to_a_datagram_gives_the_same_bytes_back)
{
    for (uint32_t len = 0; len <= 1000; len += 1 + len / 40) {
        uint8_t out[1100];

        cr_assert_eq(rig_put(&rig, "key", value + len, len, NULL), KVR_OK);
        cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), (int)len);
        cr_assert_eq(memcmp(out, value + len, len), 0);
    }
}

Test(get, misses_what_is_not_stored_and_says_nothing_if_asked_quietly)
{
    struct message m;

    rig_begin(&rig, &m);
    message_get(&m, "nothing", NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_MISS);
    rig_begin(&rig, &m);
    message_get(&m, "nothing", NULL, KVR_GET_QUIET);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), -1);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->misses), 2);
}

Test(get, of_a_large_value_is_a_train_cut_at_train_max)
{
    struct kvr_get_req like = {.count = 1};
    struct fetched fetched;

    store("large", VALUE, NULL);
    fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.from, 0);
    cr_assert_eq(fetched.to, 65536);
    cr_assert_eq(fetched.first.view_len, VALUE);
    cr_assert_leq(fetched.largest, KVR_DATAGRAM_MIN_MAX);
    cr_assert_eq(memcmp(fetched.bytes, value, 65536), 0);
    free(fetched.bytes);
    like.skip = 65536;
    like.want = 5000;
    fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.from, 65536);
    cr_assert_eq(fetched.to, 70536);
    cr_assert_eq(memcmp(fetched.bytes + 65536, value + 65536, 5000), 0);
    free(fetched.bytes);
}

Test(get, of_a_client_that_was_promised_longer_trains_still_has_them)
{
    struct kvr_get_req like = {.count = 1};
    struct fetched fetched;
    uint64_t epoch_ns = rig.cores[0]->now->cookie_ms * 1000000ull;

    store("large", VALUE, NULL);
    rig.cores[0]->live->train_max = 2000;
    fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.to, 65536, "cut at what HELLO did not say");
    free(fetched.bytes);
    rig.now_ns += 2 * epoch_ns; /* the cookie that came with it is dead */
    rig_hello(&rig);
    fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.to, 2000);
    free(fetched.bytes);
    rig.cores[0]->live->train_max = 65536;
    fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.to, 65536);
    free(fetched.bytes);
}

Test(get, of_random_views_and_windows_is_what_the_definition_says)
{
    uint8_t *expected = malloc(1u << 20);
    struct rng rng;

    store("large", 50001, NULL);
    rng_seed(&rng, 9);
    for (unsigned turn = 0; turn < 400; turn++) {
        struct kvr_get_req like = {.off = (uint32_t)rng_below(&rng, 1000),
                                   .len = 1 + (uint32_t)rng_below(&rng, 700),
                                   .count = (uint16_t)(1 + rng_below(&rng, 40))};
        uint32_t view_len = like.len * like.count, end;
        struct fetched fetched;

        like.stride = rng_below(&rng, 4) == 0 ? like.len : (uint32_t)rng_below(&rng, 1000);
        like.skip = (uint32_t)rng_below(&rng, view_len + 1u);
        like.want = (uint32_t)rng_below(&rng, view_len + 1u);
        for (uint32_t i = 0; i < like.count; i++)
            memcpy(expected + i * like.len, value + like.off + i * like.stride, like.len);
        end = like.want == 0 || like.want > view_len - like.skip ? view_len : like.skip + like.want;
        fetch("large", &like, 0, (uint8_t)(19 + rng_below(&rng, 3)), &fetched);
        cr_assert_eq(fetched.first.view_len, view_len);
        cr_assert_eq(fetched.from, like.skip);
        cr_assert_eq(fetched.to, end);
        cr_assert_eq(memcmp(fetched.bytes + like.skip, expected + like.skip, end - like.skip), 0);
        free(fetched.bytes);
    }
    free(expected);
}

Test(get, refuses_ranges_outside_the_value)
{
    static const struct kvr_get_req bad[] = {
        {.count = 1, .off = 101},
        {.count = 1, .off = 50, .len = 51},
        {.count = 1, .len = UINT32_MAX},
        {.count = 2, .len = 50, .stride = 51},
        {.count = 1, .skip = 101},
        {.count = 1, .off = 90, .skip = 11},
        {.count = 65535, .len = 100, .stride = UINT32_MAX},
    };
    struct message m;

    cr_assert_eq(rig_put(&rig, "key", value, 100, NULL), KVR_OK);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        rig_begin(&rig, &m);
        message_get(&m, "key", &bad[i], 0);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_BAD_RANGE, "range %u", i);
    }
    cr_assert_eq(counter_read(&rig.cores[0]->stats->drops[DROP_bad_range]),
                 sizeof(bad) / sizeof(bad[0]));
}

Test(get, with_meta_sends_no_bytes)
{
    struct kvr_get_req like = {.count = 1};
    struct fetched fetched;

    store("large", VALUE, NULL);
    fetch("large", &like, KVR_GET_META, 0, &fetched);
    cr_assert_eq(fetched.records, 1);
    cr_assert_eq(fetched.to, 0);
    cr_assert_eq(fetched.first.value_len, VALUE);
    cr_assert_eq(fetched.first.value_crc, crc32c(0, value, VALUE));
    free(fetched.bytes);
}

Test(get, with_a_reference_insists_on_that_very_block)
{
    struct kvr_get_req like = {.count = 1};
    struct message m;
    uint64_t ref, newer;

    cr_assert_eq(rig_put(&rig, "key", value, 100, &ref), KVR_OK);
    like.ref = ref;
    rig_begin(&rig, &m);
    message_get(&m, "key", &like, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    cr_assert_eq(rig_put(&rig, "key", value, 100, &newer), KVR_OK);
    cr_assert_neq(newer, ref);
    rig_begin(&rig, &m);
    message_get(&m, "key", &like, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_STALE);
}

Test(get, with_pin_is_told_whether_the_lease_was_granted)
{
    struct kvr_get_req like = {.count = 1, .lease_ms = 1000};
    struct fetched fetched;

    store("key", 2000, NULL);
    fetch("key", &like, KVR_GET_PIN, 0, &fetched);
    cr_assert_eq(fetched.first.pinned, 1);
    free(fetched.bytes);
    like.lease_ms = 0;
    fetch("key", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.first.pinned, 0);
    free(fetched.bytes);
}

Test(get, of_several_small_values_shares_datagrams)
{
    struct replies replies;
    struct message m;
    unsigned records = 0;

    for (unsigned i = 0; i < 32; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key%u", i);
        cr_assert_eq(rig_put(&rig, key, value + i, 60, NULL), KVR_OK);
    }
    rig_begin(&rig, &m);
    for (unsigned i = 0; i < 32; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key%u", i);
        message_get(&m, key, NULL, 0);
    }
    rig_inject(&rig, &m);
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    cr_assert_eq(replies.nr, 4); /* 112 bytes each, ten to a datagram of 1,232 */
    for (unsigned i = 0; i < replies.nr; i++) {
        uint32_t at = sizeof(struct kvr_hdr);
        struct record record;

        while (reply_next(replies.list[i]->bytes, replies.list[i]->len, &at, &record)) {
            cr_assert_eq(record.op.idx, records);
            cr_assert_eq(memcmp(record.bytes + sizeof(struct kvr_get_rep), value + records, 60), 0);
            records++;
        }
    }
    cr_assert_eq(records, 32);
    replies_free(&replies);
}

Test(get, of_more_than_a_turn_may_send_waits_for_the_next_turns)
{
    struct replies first, rest;
    struct message m;

    store("large", 65536, NULL);
    rig_begin(&rig, &m);
    for (unsigned i = 0; i < 16; i++)
        message_get(&m, "large", NULL, 0);
    rig_inject(&rig, &m);
    rig_turn(&rig);
    rig_replies(&rig, &first);
    cr_assert_gt(first.bytes, TRAIN_BUDGET);
    cr_assert_lt(first.bytes, 3 * TRAIN_BUDGET);
    rig_settle(&rig);
    rig_replies(&rig, &rest);
    cr_assert_gt(first.bytes + rest.bytes, 16 * 65536, "and nothing is left out");
    cr_assert_eq(counter_read(&rig.cores[0]->stats->ops[KVR_GET][KVR_OK]), 16);
    replies_free(&first);
    replies_free(&rest);
}

Test(get, that_waited_past_its_deadline_is_answered_so)
{
    struct replies replies;
    struct message m;

    store("large", 65536, NULL);
    rig_begin(&rig, &m);
    m.hdr.deadline_us = 1000;
    for (unsigned i = 0; i < 16; i++)
        message_get(&m, "large", NULL, 0);
    rig_inject(&rig, &m);
    rig_turn(&rig);
    rig.now_ns += 2000000;
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    replies_free(&replies);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->ops[KVR_GET][KVR_OK]), 8);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->ops[KVR_GET][KVR_EXPIRED]), 8);
}

Test(get, counts_buffers_that_were_missing_and_goes_on)
{
    struct message m;

    cr_assert_eq(rig_put(&rig, "key", value, 100, NULL), KVR_OK);
    mem_starve(rig.transports[0], 1);
    rig_begin(&rig, &m);
    message_get(&m, "key", NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), -1);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->drops[DROP_no_buffer]), 1);
    rig_begin(&rig, &m);
    message_get(&m, "key", NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
}

Test(get, does_not_deliver_what_has_expired)
{
    struct message m;
    uint8_t out[16];

    rig_begin_write(&rig, &m, "key");
    message_put(&m, "key", "soon gone", 9, 0, 50);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), 9);
    rig.now_ns += 51000000u;
    cr_assert_eq(rig_get(&rig, "key", out, sizeof(out)), -1);
}

static void open_jumbo(void)
{
    struct rig_options options;

    rig_defaults(&options);
    options.data_size = 2u << 20;
    options.max_datagram = KVR_DATAGRAM_MAX;
    options.zero_copy_min = 2048;
    open_with(&options);
}

TestSuite(get_zero_copy, .init = open_jumbo, .fini = close_rig);

Test(get_zero_copy, sends_large_fragments_from_where_they_lie_and_the_odd_end_by_copy)
{
    struct kvr_get_req like = {.count = 1};
    struct fetched fetched;

    store("large", 60001, NULL);
    fetch("large", &like, 0, 139, &fetched);
    cr_assert_eq(fetched.to, 60001);
    cr_assert_eq(memcmp(fetched.bytes, value, 60001), 0);
    cr_assert_eq(fetched.datagrams, (60001 + KVR_FRAG_BEST - 1) / KVR_FRAG_BEST);
    cr_assert_eq(fetched.largest,
                 sizeof(struct kvr_hdr) + sizeof(struct kvr_get_rep) + KVR_FRAG_BEST);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->tx_zero_copy), fetched.datagrams - 1);
    free(fetched.bytes);
    cr_assert_eq(partition_pinned(rig.cores[0]->partitions[rig_partition(&rig, "large")]), 0);
}

Test(get_zero_copy, keeps_the_bytes_of_a_reply_on_its_way_through_delete_and_reuse)
{
    struct replies replies;
    struct message m;
    uint32_t pos = 0;

    store("large", 40000, NULL);
    rig_begin(&rig, &m);
    m.hdr.reply_max = 139;
    m.hdr.partition = (uint16_t)rig_partition(&rig, "large");
    message_get(&m, "large", NULL, 0);
    rig_inject(&rig, &m);
    rig_settle(&rig);
    cr_assert_gt(mem_attached(rig.transports[0]), 0);
    rig_begin_write(&rig, &m, "large");
    message_key(&m, KVR_DEL, "large", 0, 0, NULL);
    rig_inject(&rig, &m);
    for (unsigned i = 0; i < 4000; i++) { /* fill the arena twice */
        static uint8_t other[1100];
        char key[16];

        memset(other, (int)i, sizeof(other));
        snprintf(key, sizeof(key), "other%u", i);
        rig_begin_write(&rig, &m, key);
        message_put(&m, key, other, sizeof(other), 0, 0);
        rig_inject(&rig, &m);
        rig_settle(&rig);
    }
    rig_replies(&rig, &replies);
    for (unsigned i = 0; pos < 40000; i++) {
        struct kvr_get_rep rep;

        memcpy(&rep, replies.list[i]->bytes + sizeof(struct kvr_hdr), sizeof(rep));
        cr_assert_eq(rep.op.op, KVR_GET);
        cr_assert_eq(memcmp(replies.list[i]->bytes + sizeof(struct kvr_hdr) + sizeof(rep),
                            value + pos, rep.len),
                     0);
        pos += rep.len;
    }
    replies_free(&replies);
    cr_assert_eq(partition_pinned(rig.cores[0]->partitions[rig_partition(&rig, "large")]), 0);
}

static uint32_t *sums_of(const char *key, uint8_t **bytes)
{
    unsigned number = rig_partition(&rig, key);
    struct partition *partition = rig.cores[0]->partitions[number];
    struct kvr_get_req like = {.count = 1};
    struct fetched fetched;
    uint32_t block;

    fetch(key, &like, KVR_GET_META, 0, &fetched);
    free(fetched.bytes);
    block = (uint32_t)fetched.first.ref - number * rig.arena.maps[number].nr_blocks;
    *bytes = partition_value(partition, block);
    return partition_sums(partition, block);
}

/* Replies of a whole GET whose CRC32C does not fit them. */
static unsigned damaged_replies(const char *key)
{
    struct mem_reply *reply;
    unsigned damaged = 0;
    struct kvr_hdr hdr;
    struct message m;

    rig_begin(&rig, &m);
    m.hdr.reply_max = 139;
    m.hdr.partition = (uint16_t)rig_partition(&rig, key);
    message_get(&m, key, NULL, 0);
    rig_inject(&rig, &m);
    rig_settle(&rig);
    while ((reply = mem_take(rig.transports[0])) != NULL) {
        damaged += !reply_ok(reply->bytes, reply->len, &hdr);
        mem_free(reply);
    }
    return damaged;
}

static void sends_units(uint32_t off, uint32_t skip)
{
    struct kvr_get_req like = {.count = 1, .off = off, .skip = skip};
    struct fetched fetched;
    uint32_t *sums, from = off + skip;
    uint8_t *bytes;

    sums = sums_of("large", &bytes);
    memset(sums, 0, VALUE / KVR_FRAG_BEST * sizeof(sums[0]));
    for (unsigned again = 0; again < 2; again++) {
        fetch("large", &like, 0, 139, &fetched);
        cr_assert_eq(fetched.from, skip);
        cr_assert_eq(memcmp(fetched.bytes + skip, value + from, fetched.to - skip), 0);
        free(fetched.bytes);
    }
    for (uint32_t i = 0; i < VALUE / KVR_FRAG_BEST; i++) {
        bool within = i * KVR_FRAG_BEST >= from && (i + 1) * KVR_FRAG_BEST <= off + fetched.to;
        /* What is left at the end may fill a datagram of its own. */
        bool last = within && (i + 1) * KVR_FRAG_BEST + 1000 > off + fetched.to;

        if (!last || sums[i] != 0)
            cr_assert_eq(sums[i], within ? crc32c(0, value + i * KVR_FRAG_BEST, KVR_FRAG_BEST) : 0);
    }
}

Test(get_zero_copy, keeps_the_sums_of_what_it_sends_and_sends_by_them_again)
{
    store("large", VALUE, NULL);
    sends_units(0, 0);
    sends_units(0, 3 * KVR_FRAG_BEST);
    sends_units(100, 0);
    sends_units(KVR_FRAG_BEST - 8, 8);
    sends_units(13, 70001);
    sends_units(150000, 49000);
}

Test(get_zero_copy, of_a_damaged_block_arrives_damaged_and_a_check_drops_the_block)
{
    struct kvr_get_req like = {.count = 1};
    struct message m;
    uint8_t *bytes;

    store("large", 60001, NULL);
    cr_assert_eq(damaged_replies("large"), 0);
    (void)sums_of("large", &bytes);
    bytes[3 * KVR_FRAG_BEST + 5] ^= 4;
    cr_assert_eq(damaged_replies("large"), 1);
    like.skip = 4 * KVR_FRAG_BEST; /* what is asked for is sound */
    like.want = 100;
    rig_begin(&rig, &m);
    message_get(&m, "large", &like, KVR_GET_CHECK);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    like.skip = like.want = 0;
    rig_begin(&rig, &m);
    message_get(&m, "large", &like, KVR_GET_CHECK);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_CORRUPT);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->drops[DROP_value_crc]), 1);
    rig_begin(&rig, &m);
    message_get(&m, "large", &like, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_MISS);
}

static void open_copying(void)
{
    struct rig_options options;

    rig_defaults(&options);
    options.max_datagram = KVR_DATAGRAM_MAX;
    open_with(&options);
}

TestSuite(get_jumbo, .init = open_copying, .fini = close_rig);

Test(get_jumbo, sends_units_where_nothing_can_be_attached_too)
{
    store("large", VALUE, NULL);
    sends_units(0, 0);
    sends_units(100, 8192);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->tx_zero_copy), 0);
}
