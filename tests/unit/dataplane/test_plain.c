/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams that hold nothing but GETs of whole values take a shorter way (parse_plain, get_plain).
 * What they are answered must be what the same GETs are answered on the long one, byte for byte;
 * naming the value's length as the wanted window is enough to take that. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "rig.h"
#include "shm/probe.h"

#define LONGEST 1180u /* a record of it is too long for a datagram of 1,232 */

static struct rig rig;
static struct rng rng;
static uint8_t value[LONGEST];
static bool dressed; /* requests say all that a header may say */

static void open_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    rig_open(&rig, &options);
    rig_hello(&rig);
    rng_seed(&rng, 11);
    for (unsigned i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)rng_next(&rng);
}

static void close_rig(void)
{
    rig_close(&rig);
}

/* As clients do that know where a key belongs: such a GET may take the shortest way (single.h). */
static void dress(struct kvr_hdr *hdr, const char *key)
{
    hdr->priority = KVR_PRIORITIES - 1;
    hdr->reply_max = 20;
    hdr->deadline_us = 1000000;
    hdr->seq = 0x01020304;
    hdr->floor = 0x05060708;
    hdr->tenant = 0x1122;
    hdr->partition = (uint16_t)rig_partition(&rig, key);
}

TestSuite(plain, .init = open_rig, .fini = close_rig);

static void store(const char *key, uint32_t len, uint32_t ttl_ms)
{
    struct message m;

    rig_begin_write(&rig, &m, key);
    message_put(&m, key, value, len, 0, ttl_ms);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
}

/* The bytes of all replies to GETs of the keys, headers without id and CRC. */
static uint32_t ask(const char (*keys)[16], unsigned nr, bool plain, uint8_t *out)
{
    struct kvr_get_req like = {.count = 1, .want = plain ? 0 : KVR_VALUE_MAX};
    struct replies replies;
    struct message m;
    uint32_t len = 0;

    rig_begin(&rig, &m);
    if (dressed)
        dress(&m.hdr, keys[0]);
    for (unsigned i = 0; i < nr; i++)
        message_get(&m, keys[i], &like, 0);
    rig_inject(&rig, &m);
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    for (unsigned i = 0; i < replies.nr; i++) {
        struct kvr_hdr hdr;

        memcpy(&hdr, replies.list[i]->bytes, sizeof(hdr));
        hdr.id = hdr.crc = 0;
        memcpy(out + len, &hdr, sizeof(hdr));
        memcpy(out + len + sizeof(hdr), replies.list[i]->bytes + sizeof(hdr),
               replies.list[i]->len - sizeof(hdr));
        len += replies.list[i]->len;
    }
    replies_free(&replies);
    return len;
}

static void compare(const char (*keys)[16], unsigned nr)
{
    static uint8_t plain[64 * KVR_DATAGRAM_MAX], other[64 * KVR_DATAGRAM_MAX];
    uint32_t len = ask(keys, nr, true, plain);

    cr_assert_gt(len, 0);
    cr_assert_eq(ask(keys, nr, false, other), len);
    cr_assert_eq(memcmp(plain, other, len), 0);
}

Test(plain, gets_of_every_length_are_answered_as_others_are)
{
    for (uint32_t len = 0; len <= LONGEST; len++) {
        store("key", len, 0);
        compare((const char[][16]){"key"}, 1);
    }
}

Test(plain, a_get_sent_to_its_partition_is_answered_as_others_are)
{
    dressed = true;
    for (uint32_t len = 0; len <= LONGEST; len++) {
        store("key", len, len % 3 ? 0 : 60000);
        compare((const char[][16]){"key"}, 1);
    }
}

Test(plain, a_get_with_another_cookie_than_the_one_seen_before_is_refused)
{
    uint8_t out[KVR_DATAGRAM_MAX];
    struct message m;

    dressed = true;
    store("key", 64, 0);
    ask((const char[][16]){"key"}, 1, true, out);
    for (unsigned wrong = 0; wrong < 3; wrong++) {
        rig_begin(&rig, &m);
        dress(&m.hdr, "key");
        m.hdr.cookie ^= wrong == 1;
        m.hdr.session ^= wrong == 2;
        message_get(&m, "key", NULL, 0);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), wrong ? REFUSED(KVR_NEED_COOKIE) : KVR_OK);
    }
    rig.now_ns += 3ull * rig.cores[0]->now->cookie_ms * NS_PER_MS;
    rig_begin(&rig, &m);
    dress(&m.hdr, "key");
    message_get(&m, "key", NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), REFUSED(KVR_NEED_COOKIE));
}

Test(plain, gets_of_several_keys_share_datagrams_as_others_do)
{
    char keys[KVR_OPS_MAX][16];

    for (unsigned i = 0; i < 40; i++) {
        snprintf(keys[0], sizeof(keys[0]), "k%u", i);
        store(keys[0], (uint32_t)rng_below(&rng, i % 2 ? 80 : LONGEST), i % 5 ? 0 : 60000);
    }
    for (unsigned round = 0; round < 400; round++) {
        unsigned nr = 1 + (unsigned)rng_below(&rng, KVR_OPS_MAX);

        for (unsigned i = 0; i < nr; i++) /* some are missing */
            snprintf(keys[i], sizeof(keys[i]), "k%u", (unsigned)rng_below(&rng, 44));
        compare((const char(*)[16])keys, nr);
    }
}

Test(plain, gets_of_keys_of_every_length_find_their_own)
{
    char key[KEY_INLINE + 16];
    struct message m;
    struct record record;
    uint8_t bytes[KVR_DATAGRAM_MAX];

    for (uint32_t len = 1; len < sizeof(key); len++) {
        memset(key, 'x', len);
        key[len] = 0;
        key[len - 1] = 'y';
        rig_begin_write(&rig, &m, key);
        message_put(&m, key, &len, sizeof(len), 0, 0);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
    }
    for (uint32_t len = 1; len < sizeof(key); len++) {
        memset(key, 'x', len);
        key[len] = 0;
        for (unsigned wrong = 0; wrong < 2; wrong++) {
            key[len - 1] = wrong ? 'z' : 'y';
            rig_begin(&rig, &m);
            message_get(&m, key, NULL, 0);
            cr_assert_eq(rig_status(&rig, &m, &record, bytes), wrong ? KVR_MISS : KVR_OK);
            if (!wrong)
                cr_assert_eq(memcmp(record.bytes + sizeof(struct kvr_get_rep), &len, 4), 0);
        }
    }
}

Test(plain, gets_do_not_deliver_what_has_expired)
{
    struct message m;

    store("brief", 100, 50);
    rig.now_ns += 51 * NS_PER_MS;
    rig_begin(&rig, &m);
    message_get(&m, "brief", NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_MISS);
}

/* A burst is looked up ahead: what its own writes change must still be seen by the GETs behind. */
Test(plain, gets_see_the_writes_of_their_own_burst)
{
    struct replies replies;
    struct message m;
    unsigned overwritten = 0, missing = 0;

    store("over", 8, 0);
    store("gone", 8, 0);
    rig_begin_write(&rig, &m, "over");
    message_put(&m, "over", "overwritten", 11, 0, 0);
    rig_inject(&rig, &m);
    rig_begin_write(&rig, &m, "gone");
    message_key(&m, KVR_DEL, "gone", 0, 0, NULL);
    rig_inject(&rig, &m);
    for (unsigned i = 0; i < 8; i++) {
        rig_begin(&rig, &m);
        message_get(&m, i % 2 ? "over" : "gone", NULL, 0);
        rig_inject(&rig, &m);
    }
    rig_turn(&rig);
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    for (unsigned i = 0; i < replies.nr; i++) {
        uint32_t at = sizeof(struct kvr_hdr);
        struct record record;

        cr_assert(reply_next(replies.list[i]->bytes, replies.list[i]->len, &at, &record));
        if (record.op.op != KVR_GET)
            continue;
        if (record.op.status == KVR_MISS)
            missing++;
        else
            overwritten += !memcmp(record.bytes + sizeof(struct kvr_get_rep), "overwritten", 11);
    }
    replies_free(&replies);
    cr_assert_eq(missing, 4);
    cr_assert_eq(overwritten, 4);
}

Test(plain, gets_are_counted_as_others_are)
{
    const struct core_stats *stats = rig.cores[0]->stats;
    struct core_stats *before = malloc(sizeof(*before));
    uint8_t out[4 * KVR_DATAGRAM_MAX];
    uint32_t len;

    store("key", 100, 0);
    memcpy(before, stats, sizeof(*before));
    len = ask((const char[][16]){"key", "key", "none"}, 3, true, out);
    len += ask((const char[][16]){"key"}, 1, true, out);
    dressed = true;
    len += ask((const char[][16]){"key"}, 1, true, out);
    rig_turn(&rig); /* latencies are known when the next turn begins */
    cr_assert_eq(stats->ops[KVR_GET][KVR_OK] - before->ops[KVR_GET][KVR_OK], 4);
    cr_assert_eq(stats->ops[KVR_GET][KVR_MISS] - before->ops[KVR_GET][KVR_MISS], 1);
    cr_assert_eq(stats->hits - before->hits, 4);
    cr_assert_eq(stats->misses - before->misses, 1);
    cr_assert_eq(stats->value_bytes_out - before->value_bytes_out, 400);
    cr_assert_eq(stats->tx_datagrams - before->tx_datagrams, 3);
    cr_assert_eq(stats->tx_bytes - before->tx_bytes, len);
    cr_assert_eq(stats->latency[KVR_GET].count - before->latency[KVR_GET].count, 5);
    free(before);
}
