/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "rig.h"

static struct rig rig;

static void open_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    options.max_datagram = KVR_DATAGRAM_MAX;
    rig_open(&rig, &options);
    rig_hello(&rig);
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(match, .init = open_rig, .fini = close_rig);

static uint64_t store(unsigned i)
{
    char key[32];
    uint64_t ref;

    snprintf(key, sizeof(key), "chain%u", i);
    cr_assert_eq(rig_put(&rig, key, key, 5 + i % 3, &ref), KVR_OK);
    return ref;
}

static int ask(unsigned nr, unsigned flags, uint16_t lease_ms, uint8_t reply_max,
               struct kvr_match_rep *rep, uint8_t *bytes)
{
    struct record record;
    struct message m;
    int status;

    rig_begin(&rig, &m);
    m.hdr.reply_max = reply_max;
    message_match(&m, "chain", nr, flags, lease_ms);
    status = rig_status(&rig, &m, &record, bytes);
    if (status == KVR_OK)
        memcpy(rep, bytes, sizeof(*rep));
    return status;
}

static bool bit(const uint8_t *bytes, unsigned i)
{
    return bytes[sizeof(struct kvr_match_rep) + i / 8] >> (i % 8) & 1;
}

Test(match, tells_prefix_bitmap_and_references)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_match_rep rep;
    uint64_t refs[100] = {0};

    for (unsigned i = 0; i < 100; i++)
        if (i < 40 || i % 3 == 0)
            refs[i] = store(i);
    cr_assert_eq(ask(100, KVR_MATCH_REFS, 0, 139, &rep, bytes), KVR_OK);
    cr_assert_eq(rep.nr_keys, 100);
    cr_assert_eq(rep.prefix, 40);
    cr_assert_eq(rep.nr_pinned, 0);
    cr_assert_eq(rep.op.size, sizeof(rep) + 16 + 100 * sizeof(struct kvr_match_ref));
    for (unsigned i = 0; i < 100; i++) {
        struct kvr_match_ref ref;

        memcpy(&ref, bytes + sizeof(rep) + 16 + i * sizeof(ref), sizeof(ref));
        cr_assert_eq(bit(bytes, i), refs[i] != 0, "key %u", i);
        cr_assert_eq(ref.ref, refs[i]);
        if (refs[i] != 0) {
            cr_assert_eq(ref.value_len, 5 + i % 3);
            cr_assert_eq(ref.tier, KVR_TIER_HOST);
        }
    }
    cr_assert_eq(counter_read(&rig.cores[0]->stats->match_keys), 100);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->match_present), 60);
}

Test(match, of_keys_that_are_all_there_or_all_absent)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_match_rep rep;

    cr_assert_eq(ask(70, 0, 0, 0, &rep, bytes), KVR_OK);
    cr_assert_eq(rep.prefix, 0);
    for (unsigned i = 0; i < 70; i++)
        (void)store(i);
    cr_assert_eq(ask(70, 0, 0, 0, &rep, bytes), KVR_OK);
    cr_assert_eq(rep.prefix, 70);
    for (unsigned i = 0; i < 70; i++)
        cr_assert(bit(bytes, i));
}

Test(match, whose_answer_does_not_fit_the_reply_is_refused)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_match_rep rep;

    cr_assert_eq(ask(70, KVR_MATCH_REFS, 0, 0, &rep, bytes), KVR_OK);
    cr_assert_eq(ask(80, KVR_MATCH_REFS, 0, 0, &rep, bytes), KVR_TOO_LARGE);
    cr_assert_eq(ask(80, KVR_MATCH_REFS, 0, 22, &rep, bytes), KVR_OK);
}

Test(match, with_pin_leases_what_it_found)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_match_rep rep;

    for (unsigned i = 0; i < 10; i++)
        (void)store(i);
    cr_assert_eq(ask(12, KVR_MATCH_PIN, 500, 0, &rep, bytes), KVR_OK);
    cr_assert_eq(rep.prefix, 10);
    cr_assert_eq(rep.nr_pinned, 10);
}

static void open_small_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    options.nr_partitions = 1;
    options.max_datagram = KVR_DATAGRAM_MAX;
    rig_open(&rig, &options);
    rig_hello(&rig);
}

Test(match_pins, no_block_behind_one_that_it_could_not_pin, .init = open_small_rig,
     .fini = close_rig)
{
    static const uint8_t large[7000];
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_match_rep rep;
    struct kvr_get_req get = {.count = 1, .lease_ms = 500};
    struct record record;
    struct message m;
    bool pinned = true;
    char key[32];

    /* Half of the memory may be leased: take all of that in large blocks. */
    for (unsigned i = 0; pinned; i++) {
        struct kvr_get_rep got;

        snprintf(key, sizeof(key), "large%u", i);
        cr_assert_eq(rig_put(&rig, key, large, sizeof(large), NULL), KVR_OK);
        rig_begin(&rig, &m);
        message_record(&m, KVR_GET, KVR_GET_PIN | KVR_GET_META, &get, sizeof(get),
                       (uint16_t)strlen(key), key, (uint32_t)strlen(key));
        cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
        memcpy(&got, bytes, sizeof(got));
        pinned = got.pinned;
    }
    cr_assert_eq(rig_put(&rig, "chain0", large, sizeof(large), NULL), KVR_OK);
    (void)store(1);
    cr_assert_eq(ask(2, KVR_MATCH_PIN, 500, 0, &rep, bytes), KVR_OK);
    cr_assert_eq(rep.prefix, 2);
    cr_assert_eq(rep.nr_pinned, 0);
}

Test(match, takes_keys_of_one_size_without_their_lengths)
{
    uint8_t keys[5][16] = {{0}}, bytes[KVR_DATAGRAM_MAX];
    struct kvr_match_req req = {.nr_keys = 5, .key_size = 16};
    struct kvr_match_rep rep;
    struct record record;
    struct message m;

    for (unsigned i = 0; i < 5; i++) {
        snprintf((char *)keys[i], 16, "fifteen-chars-%c", 'a' + i);
        keys[i][15] = 'x';
    }
    for (unsigned i = 0; i < 5; i++) {
        char key[17] = {0};

        memcpy(key, keys[i], 16);
        if (i != 2)
            cr_assert_eq(rig_put(&rig, key, "v", 1, NULL), KVR_OK);
    }
    rig_begin(&rig, &m);
    message_record(&m, KVR_MATCH, 0, &req, sizeof(req), 0, keys, sizeof(keys));
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&rep, bytes, sizeof(rep));
    cr_assert_eq(rep.prefix, 2);
    cr_assert_eq(bytes[sizeof(rep)], 0x1b);
}

#define LONG_CHAIN 100u
#define LONG_KEY 40u

/* Whether the answer about the first nr keys of one size is what refs says of them. */
static void match_first(unsigned nr, uint16_t key_size, const uint8_t *keys, const uint64_t *refs)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_match_req req = {.nr_keys = (uint16_t)nr, .key_size = key_size};
    uint32_t bitmap_len = (nr + 63) / 64 * 8, prefix = 0;
    struct kvr_match_rep rep;
    struct record record;
    struct message m;

    while (prefix < nr && refs[prefix])
        prefix++;
    rig_begin(&rig, &m);
    m.hdr.reply_max = 139;
    message_record(&m, KVR_MATCH, KVR_MATCH_REFS, &req, sizeof(req), 0, keys, nr * key_size);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&rep, bytes, sizeof(rep));
    cr_assert_eq(rep.prefix, prefix, "%u keys of %u bytes: %u", nr, key_size, rep.prefix);
    cr_assert_eq(rep.op.size, sizeof(rep) + bitmap_len + nr * sizeof(struct kvr_match_ref));
    for (unsigned i = 0; i < 8 * bitmap_len; i++)
        cr_assert_eq(bit(bytes, i), i < nr && refs[i], "%u keys: bit %u", nr, i);
    for (unsigned i = 0; i < nr; i++) {
        struct kvr_match_ref ref;

        memcpy(&ref, bytes + sizeof(rep) + bitmap_len + i * sizeof(ref), sizeof(ref));
        cr_assert_eq(ref.ref, refs[i], "%u keys: key %u", nr, i);
        cr_assert(ref.value_len == (refs[i] ? 3 + i : 0) &&
                  ref.tier == (refs[i] ? KVR_TIER_HOST : 0) && memcmp(ref.zero, "\0\0", 3) == 0);
    }
}

/* Of keys of one size, of which gaps are missing: every length of a chain. */
static void match_chains(uint16_t key_size, unsigned gaps)
{
    static const uint8_t value[LONG_CHAIN + 3];
    uint8_t keys[LONG_CHAIN * LONG_KEY];
    uint64_t refs[LONG_CHAIN];

    for (unsigned i = 0; i < LONG_CHAIN; i++) {
        char key[LONG_KEY + 1] = {0}, digits[16];

        snprintf(digits, sizeof(digits), "%08u", i * 100 + gaps);
        memset(key, 'k', key_size);
        memcpy(key + key_size - 8, digits, 8);
        memcpy(keys + i * key_size, key, key_size);
        refs[i] = 0;
        if (gaps == 0 || (i + 1) % gaps)
            cr_assert_eq(rig_put(&rig, key, value, 3 + i, &refs[i]), KVR_OK);
    }
    for (unsigned nr = 1; nr <= LONG_CHAIN; nr++)
        match_first(nr, key_size, keys, refs);
}

static void match_sizes(void)
{
    static const uint16_t sizes[] = {8, 16, 32, LONG_KEY};

    for (unsigned i = 0; i < 4; i++)
        for (unsigned gaps = 0; gaps < 60; gaps += 19)
            match_chains(sizes[i], gaps);
}

Test(match, is_right_for_chains_of_every_length_over_partitions)
{
    match_sizes();
}

Test(match_one, is_right_for_chains_of_every_length, .init = open_small_rig, .fini = close_rig)
{
    match_sizes();
}

static uint64_t store_for(const char *key, uint32_t len, uint32_t ttl_ms)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct record record;
    struct message m;
    uint64_t ref;

    rig_begin_write(&rig, &m, key);
    message_put(&m, key, "abcdefgh", len, 0, ttl_ms);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&ref, record.body, sizeof(ref));
    return ref;
}

Test(match_one, does_not_find_what_has_expired, .init = open_small_rig, .fini = close_rig)
{
    uint64_t refs[2];
    uint8_t keys[32];

    memcpy(keys, "0000000000000001", 16);
    memcpy(keys + 16, "0000000000000002", 16);
    refs[0] = store_for("0000000000000001", 3, 5000);
    refs[1] = store_for("0000000000000002", 4, 1000);
    match_first(2, 16, keys, refs);
    rig.now_ns += 2000 * 1000000ull;
    refs[1] = 0;
    match_first(2, 16, keys, refs);
}
