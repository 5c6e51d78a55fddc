/* SPDX-License-Identifier: Apache-2.0 */
/* GET over jumbo frames: replies that end with bytes where they lie, or with whole units whose sums
 * are kept. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "get_bed.h"

static void open_jumbo(void)
{
    struct rig_options options;

    rig_defaults(&options);
    options.data_size = 2u << 20;
    options.max_datagram = KVR_DATAGRAM_MAX;
    options.zero_copy_min = 2048;
    get_bed_open(&options);
}

TestSuite(get_zero_copy, .init = open_jumbo, .fini = get_bed_close);

Test(get_zero_copy, sends_large_fragments_from_where_they_lie_and_the_odd_end_by_copy)
{
    struct kvr_get_req like = {.count = 1};
    struct fetched fetched;

    get_bed_store("large", 60001, NULL);
    get_bed_fetch("large", &like, 0, 139, &fetched);
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

    get_bed_store("large", 40000, NULL);
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

    get_bed_fetch(key, &like, KVR_GET_META, 0, &fetched);
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
        get_bed_fetch("large", &like, 0, 139, &fetched);
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
    get_bed_store("large", VALUE, NULL);
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

    get_bed_store("large", 60001, NULL);
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
    get_bed_open(&options);
}

TestSuite(get_jumbo, .init = open_copying, .fini = get_bed_close);

Test(get_jumbo, sends_units_where_nothing_can_be_attached_too)
{
    get_bed_store("large", VALUE, NULL);
    sends_units(0, 0);
    sends_units(100, 8192);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->tx_zero_copy), 0);
}
