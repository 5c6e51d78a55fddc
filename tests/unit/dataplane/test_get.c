/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/random.h"
#include "get_bed.h"

static void open_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    get_bed_open(&options);
}

TestSuite(get, .init = open_rig, .fini = get_bed_close);

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

    get_bed_store("large", VALUE, NULL);
    get_bed_fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.from, 0);
    cr_assert_eq(fetched.to, 65536);
    cr_assert_eq(fetched.first.view_len, VALUE);
    cr_assert_leq(fetched.largest, KVR_DATAGRAM_MIN_MAX);
    cr_assert_eq(memcmp(fetched.bytes, value, 65536), 0);
    free(fetched.bytes);
    like.skip = 65536;
    like.want = 5000;
    get_bed_fetch("large", &like, 0, 0, &fetched);
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

    get_bed_store("large", VALUE, NULL);
    rig.cores[0]->live->train_max = 2000;
    get_bed_fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.to, 65536, "cut at what HELLO did not say");
    free(fetched.bytes);
    rig.now_ns += 2 * epoch_ns; /* the cookie that came with it is dead */
    rig_hello(&rig);
    get_bed_fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.to, 2000);
    free(fetched.bytes);
    rig.cores[0]->live->train_max = 65536;
    get_bed_fetch("large", &like, 0, 0, &fetched);
    cr_assert_eq(fetched.to, 65536);
    free(fetched.bytes);
}

Test(get, of_random_views_and_windows_is_what_the_definition_says)
{
    uint8_t *expected = malloc(1u << 20);
    struct rng rng;

    get_bed_store("large", 50001, NULL);
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
        get_bed_fetch("large", &like, 0, (uint8_t)(19 + rng_below(&rng, 3)), &fetched);
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

    get_bed_store("large", VALUE, NULL);
    get_bed_fetch("large", &like, KVR_GET_META, 0, &fetched);
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

    get_bed_store("key", 2000, NULL);
    get_bed_fetch("key", &like, KVR_GET_PIN, 0, &fetched);
    cr_assert_eq(fetched.first.pinned, 1);
    free(fetched.bytes);
    like.lease_ms = 0;
    get_bed_fetch("key", &like, 0, 0, &fetched);
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

    get_bed_store("large", 65536, NULL);
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

    get_bed_store("large", 65536, NULL);
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
