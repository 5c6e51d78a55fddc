/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/random.h"
#include "rig.h"

#define VALUE 100000u
#define FRAG 1024u

static struct rig rig;
static uint8_t value[VALUE];
static uint64_t handle;
static uint32_t frag_size = FRAG;
static uint32_t seq, low; /* low: a floor to keep, else it moves along with seq */
static const char key[] = "large";

static void open_with(uint32_t max_datagram)
{
    struct rig_options options;
    struct rng rng;

    rig_defaults(&options);
    options.uploads_max = 4;
    options.max_datagram = max_datagram;
    rig_open(&rig, &options);
    rig_hello(&rig);
    rng_seed(&rng, 5);
    for (unsigned i = 0; i < VALUE; i++)
        value[i] = (uint8_t)rng_next(&rng);
}

static void open_rig(void)
{
    open_with(KVR_DATAGRAM_MIN_MAX);
}

static void open_units(void)
{
    frag_size = KVR_FRAG_BEST;
    open_with(KVR_DATAGRAM_MAX);
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(upload, .init = open_rig, .fini = close_rig);

static uint64_t counter(const uint64_t *counter)
{
    return counter_read(counter);
}

static int reserve(uint32_t len)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct record record;
    struct message m;
    int status;

    rig_begin_write(&rig, &m, key);
    seq = m.hdr.seq;
    if (low > 0)
        m.hdr.floor = low;
    message_reserve(&m, key, len, frag_size, 0);
    status = rig_status(&rig, &m, &record, bytes);
    if (status == KVR_OK)
        memcpy(&handle, record.body, sizeof(handle));
    return status;
}

/* A message about the upload. */
static void begin(struct message *m)
{
    rig_begin(&rig, m);
    m->hdr.partition = (uint16_t)rig_partition(&rig, key);
    m->hdr.seq = seq;
    m->hdr.floor = low > 0 ? low : seq;
}

static int write_at(uint32_t off, uint32_t len)
{
    struct message m;

    begin(&m);
    message_write(&m, handle, off, value + off, len, 0);
    return rig_status(&rig, &m, NULL, NULL);
}

static int write_frag(uint32_t frag)
{
    uint32_t off = frag * frag_size;

    return write_at(off, VALUE - off < frag_size ? VALUE - off : frag_size);
}

static int commit_as(uint32_t crc, uint32_t len, struct kvr_put_rep *rep, struct kvr_range *ranges)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct record record;
    struct message m;
    int status;

    begin(&m);
    message_commit(&m, handle, crc, len);
    status = rig_status(&rig, &m, &record, bytes);
    if (rep && (status == KVR_OK || status == KVR_INCOMPLETE)) {
        memcpy(rep, record.bytes, sizeof(*rep));
        cr_assert_eq(record.op.size, sizeof(*rep) + rep->nr_ranges * sizeof(*ranges));
        if (ranges)
            memcpy(ranges, record.bytes + sizeof(*rep), rep->nr_ranges * sizeof(*ranges));
    }
    return status;
}

static int commit(void)
{
    return commit_as(crc32c(0, value, VALUE), VALUE, NULL, NULL);
}

static void stored_value_is_right(void)
{
    struct kvr_get_req like = {.count = 1};
    struct replies replies;
    uint32_t got = 0;

    while (got < VALUE) {
        struct message m;

        like.skip = got;
        rig_begin(&rig, &m);
        message_get(&m, key, &like, 0);
        rig_inject(&rig, &m);
        rig_settle(&rig);
        rig_replies(&rig, &replies);
        cr_assert_gt(replies.nr, 0);
        for (unsigned i = 0; i < replies.nr; i++) {
            struct kvr_get_rep rep;

            memcpy(&rep, replies.list[i]->bytes + sizeof(struct kvr_hdr), sizeof(rep));
            cr_assert_eq(rep.op.status, KVR_OK);
            cr_assert_eq(memcmp(replies.list[i]->bytes + sizeof(struct kvr_hdr) + sizeof(rep),
                                value + rep.pos, rep.len),
                         0);
            got += rep.len;
        }
        replies_free(&replies);
    }
}

#define NR_FRAGS ((VALUE + FRAG - 1) / FRAG)

Test(upload, in_order_is_stored)
{
    struct kvr_put_rep rep;

    cr_assert_eq(reserve(VALUE), KVR_OK);
    cr_assert_eq(counter(&rig.cores[0]->stats->uploads), 1);
    for (uint32_t i = 0; i < NR_FRAGS; i++)
        cr_assert_eq(write_frag(i), KVR_OK);
    cr_assert_eq(commit_as(crc32c(0, value, VALUE), VALUE, &rep, NULL), KVR_OK);
    cr_assert_neq(rep.ref, 0);
    cr_assert_eq(counter(&rig.cores[0]->stats->uploads), 0);
    stored_value_is_right();
}

Test(upload, in_random_order_with_repeats_is_stored)
{
    struct rng rng;
    uint32_t order[NR_FRAGS * 2];

    rng_seed(&rng, 17);
    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = 0; i < NR_FRAGS * 2; i++)
        order[i] = i % NR_FRAGS;
    for (uint32_t i = NR_FRAGS * 2 - 1; i > 0; i--) {
        uint32_t j = (uint32_t)rng_below(&rng, i + 1), swap = order[i];

        order[i] = order[j];
        order[j] = swap;
    }
    for (uint32_t i = 0; i < NR_FRAGS * 2; i++)
        cr_assert_eq(write_frag(order[i]), KVR_OK);
    cr_assert_eq(commit(), KVR_OK);
    stored_value_is_right();
}

Test(upload, in_reverse_needs_several_turns_for_its_crc_but_is_stored)
{
    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = NR_FRAGS; i-- > 1;)
        cr_assert_eq(write_frag(i), KVR_OK);
    cr_assert_eq(write_frag(0), KVR_OK);
    cr_assert_eq(commit(), KVR_OK);
    stored_value_is_right();
}

Test(upload, that_is_incomplete_is_told_the_missing_ranges)
{
    struct kvr_range ranges[64];
    struct kvr_put_rep rep;

    cr_assert_eq(reserve(VALUE), KVR_OK);
    cr_assert_eq(commit_as(0, VALUE, &rep, ranges), KVR_INCOMPLETE);
    cr_assert_eq(rep.nr_ranges, 1);
    cr_assert_eq(ranges[0].off, 0);
    cr_assert_eq(ranges[0].len, VALUE);
    for (uint32_t i = 0; i < NR_FRAGS; i++)
        if (i != 3 && i != 4 && i != 50 && i != NR_FRAGS - 1)
            cr_assert_eq(write_frag(i), KVR_OK);
    cr_assert_eq(commit_as(0, VALUE, &rep, ranges), KVR_INCOMPLETE);
    cr_assert_eq(rep.nr_ranges, 3);
    cr_assert_eq(ranges[0].off, 3 * FRAG);
    cr_assert_eq(ranges[0].len, 2 * FRAG);
    cr_assert_eq(ranges[1].off, 50 * FRAG);
    cr_assert_eq(ranges[1].len, FRAG);
    cr_assert_eq(ranges[2].off, (NR_FRAGS - 1) * FRAG);
    cr_assert_eq(ranges[2].len, VALUE - (NR_FRAGS - 1) * FRAG);
    for (unsigned i = 0; i < rep.nr_ranges; i++)
        for (uint32_t off = ranges[i].off; off < ranges[i].off + ranges[i].len; off += FRAG)
            cr_assert_eq(write_frag(off / FRAG), KVR_OK);
    cr_assert_eq(commit(), KVR_OK);
}

Test(upload, with_every_other_fragment_missing_is_told_as_much_as_fits_one_reply)
{
    struct kvr_range ranges[64];
    struct kvr_put_rep rep;

    cr_assert_eq(reserve(1u << 20), KVR_OK);
    for (uint32_t off = 0; off < VALUE - FRAG; off += 2 * FRAG)
        cr_assert_eq(write_at(off, FRAG), KVR_OK);
    cr_assert_eq(commit_as(0, 1u << 20, &rep, ranges), KVR_INCOMPLETE);
    cr_assert_eq(rep.nr_ranges, 49);
    for (unsigned i = 0; i < 48; i++)
        cr_assert_eq(ranges[i].off, (2 * i + 1) * FRAG);
}

Test(upload, whose_commit_is_repeated_hears_the_same_answer)
{
    struct kvr_put_rep first, again;

    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = 0; i < NR_FRAGS; i++)
        cr_assert_eq(write_frag(i), KVR_OK);
    cr_assert_eq(commit_as(crc32c(0, value, VALUE), VALUE, &first, NULL), KVR_OK);
    cr_assert_eq(commit_as(crc32c(0, value, VALUE), VALUE, &again, NULL), KVR_OK);
    cr_assert_eq(again.ref, first.ref);
    cr_assert_eq(write_frag(7), KVR_OK); /* a late copy */
    stored_value_is_right();
}

Test(upload, with_a_wrong_crc_is_not_stored)
{
    struct message m;

    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = 0; i < NR_FRAGS; i++)
        cr_assert_eq(write_frag(i), KVR_OK);
    cr_assert_eq(commit_as(1 ^ crc32c(0, value, VALUE), VALUE, NULL, NULL), KVR_CORRUPT);
    cr_assert_eq(commit(), KVR_CORRUPT);
    rig_begin(&rig, &m);
    message_get(&m, key, NULL, 0);
    cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_MISS);
    cr_assert_eq(counter(&rig.cores[0]->stats->drops[DROP_value_crc]), 2);
}

Test(upload, refuses_fragments_and_commits_that_do_not_fit_it)
{
    cr_assert_eq(reserve(VALUE), KVR_OK);
    cr_assert_eq(write_at(FRAG / 2, FRAG), KVR_BAD_RANGE);
    cr_assert_eq(write_at(0, FRAG - 8), KVR_BAD_RANGE);
    cr_assert_eq(write_at(0, 8), KVR_BAD_RANGE);
    cr_assert_eq(write_at((NR_FRAGS - 1) * FRAG, 8), KVR_BAD_RANGE);
    {
        struct message m;

        begin(&m);
        message_write(&m, handle, NR_FRAGS * FRAG, value, FRAG, 0);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_BAD_RANGE);
        begin(&m);
        message_write(&m, handle, UINT32_MAX - FRAG + 1, value, FRAG, 0);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_BAD_RANGE);
    }
    cr_assert_eq(commit_as(0, VALUE + 1, NULL, NULL), KVR_BAD_FIELD);
}

Test(upload, belongs_to_its_session)
{
    uint64_t mine;

    cr_assert_eq(reserve(VALUE), KVR_OK);
    mine = handle;
    rig_become(&rig, 2);
    rig_hello(&rig);
    cr_assert_eq(write_frag(0), KVR_NO_UPLOAD);
    cr_assert_eq(commit(), KVR_NO_UPLOAD);
    for (unsigned i = 0; i < 64; i++) {
        handle = mine ^ (1ull << i);
        if (handle >> 24 % 256 != mine >> 24 % 256)
            cr_assert_neq(write_frag(0), KVR_OK);
    }
}

Test(upload, that_is_aborted_frees_its_memory_and_takes_no_more)
{
    const struct part_header *part = arena_part(&rig.arena, rig_partition(&rig, key));
    struct message m;

    cr_assert_eq(reserve(VALUE), KVR_OK);
    cr_assert_eq(counter_read(&part->reserved), 1);
    for (unsigned i = 0; i < 2; i++) { /* a repeat hears the same */
        begin(&m);
        message_abort(&m, handle);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), KVR_OK);
        cr_assert_eq(counter_read(&part->reserved), 0);
    }
    cr_assert_eq(write_frag(0), KVR_NO_UPLOAD);
    cr_assert_eq(commit(), KVR_NO_UPLOAD);
}

Test(upload, of_a_silent_client_expires)
{
    const struct part_header *part = arena_part(&rig.arena, rig_partition(&rig, key));

    cr_assert_eq(reserve(VALUE), KVR_OK);
    rig.now_ns += 3000000000u;
    cr_assert_eq(write_frag(0), KVR_OK);
    rig.now_ns += 3000000000u; /* 3 s since the WRITE */
    rig_turn(&rig);
    cr_assert_eq(counter_read(&part->reserved), 1);
    rig.now_ns += 2100000000u;
    rig_turn(&rig);
    cr_assert_eq(counter_read(&part->reserved), 0);
    cr_assert_eq(counter(&rig.cores[0]->stats->uploads_expired), 1);
    cr_assert_eq(counter(&rig.cores[0]->stats->uploads), 0);
    cr_assert_eq(write_frag(1), KVR_NO_UPLOAD);
    cr_assert_eq(commit(), KVR_NO_UPLOAD);
}

Test(upload, whose_reserve_comes_twice_is_the_same_upload)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct record record;
    struct message m;
    uint64_t again;

    cr_assert_eq(reserve(VALUE), KVR_OK);
    begin(&m);
    message_reserve(&m, key, VALUE, FRAG, 0);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&again, record.body, sizeof(again));
    cr_assert_eq(again, handle);
    cr_assert_eq(counter(&rig.cores[0]->stats->uploads), 1);
}

Test(upload, that_its_client_gave_up_is_dropped_and_never_stored)
{
    const struct part_header *part = arena_part(&rig.arena, rig_partition(&rig, key));
    uint32_t given_up;
    uint8_t out[8];

    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = 0; i < NR_FRAGS; i++)
        cr_assert_eq(write_frag(i), KVR_OK);
    given_up = seq;
    cr_assert_eq(rig_put(&rig, key, "new", 3, NULL), KVR_OK); /* its floor is above the RESERVE */
    cr_assert_gt(rig.seqs[rig_partition(&rig, key)], given_up);
    cr_assert_eq(commit(), KVR_REPLAYED); /* the late COMMIT of the old value */
    cr_assert_eq(counter_read(&part->reserved), 0);
    cr_assert_eq(rig_get(&rig, key, out, sizeof(out)), 3);
    cr_assert_eq(memcmp(out, "new", 3), 0);
}

Test(upload, has_a_limit_and_ended_ones_do_not_count)
{
    low = 1;
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(reserve(FRAG), KVR_OK);
    cr_assert_eq(reserve(FRAG), KVR_LIMIT);
    for (unsigned i = 0; i < 50; i++) {
        cr_assert_eq(write_at(0, FRAG), KVR_OK);
        cr_assert_eq(commit_as(crc32c(0, value, FRAG), FRAG, NULL, NULL), KVR_OK);
        cr_assert_eq(reserve(FRAG), KVR_OK);
    }
    cr_assert_eq(reserve(FRAG), KVR_LIMIT);
}

Test(upload, of_no_bytes_or_too_many)
{
    cr_assert_eq(reserve(0), KVR_OK);
    cr_assert_eq(commit_as(0, 0, NULL, NULL), KVR_OK);
    cr_assert_eq(reserve(KVR_VALUE_MAX + 1), KVR_TOO_LARGE);
    cr_assert_eq(reserve(32u << 20), KVR_TOO_LARGE); /* larger than the partition */
}

Test(upload, open_at_the_end_of_the_process_leaks_nothing)
{
    cr_assert_eq(reserve(VALUE), KVR_OK);
    cr_assert_eq(write_frag(5), KVR_OK);
    /* rig_close audits the partitions and AddressSanitizer the rest */
}

/* ---- Fragments whose CRC32C is kept ---- */

#define NR_UNITS (VALUE / KVR_FRAG_BEST) /* and a shorter fragment behind them */

TestSuite(upload_in_units, .init = open_units, .fini = close_rig);

/* COMMIT is answered OK, and so are the sums that are kept. */
static void stores_sums(void)
{
    unsigned number = rig_partition(&rig, key);
    const uint32_t *sums;
    struct kvr_put_rep rep;

    cr_assert_eq(commit_as(crc32c(0, value, VALUE), VALUE, &rep, NULL), KVR_OK);
    sums = partition_sums(rig.cores[0]->partitions[number],
                          (uint32_t)rep.ref - number * rig.arena.maps[number].nr_blocks);
    for (uint32_t i = 0; i < NR_UNITS; i++)
        cr_assert_eq(sums[i], crc32c(0, value + i * KVR_FRAG_BEST, KVR_FRAG_BEST));
}

Test(upload_in_units, is_stored_with_the_sums_of_its_fragments)
{
    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = 0; i <= NR_UNITS; i++)
        cr_assert_eq(write_frag(i), KVR_OK);
    stores_sums();
    stored_value_is_right();
}

Test(upload_in_units, in_any_order_is_stored_so_too)
{
    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = NR_UNITS + 1; i-- > 0;)
        if (i != 4)
            cr_assert_eq(write_frag(i), KVR_OK);
    cr_assert_eq(commit(), KVR_INCOMPLETE);
    cr_assert_eq(write_frag(4), KVR_OK);
    stores_sums();
    stored_value_is_right();
}

Test(upload_in_units, keeps_the_sum_of_the_bytes_that_it_kept)
{
    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = 0; i <= NR_UNITS; i++) {
        cr_assert_eq(write_frag(i), KVR_OK);
        value[i * KVR_FRAG_BEST] ^= 1; /* a second copy, with other bytes, comes to nothing */
        cr_assert_eq(write_frag(i), KVR_OK);
        value[i * KVR_FRAG_BEST] ^= 1;
    }
    stores_sums();
    stored_value_is_right();
}

Test(upload_in_units, that_shares_its_datagrams_is_summed_all_the_same)
{
    struct replies replies;
    struct message m;

    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = 0; i <= NR_UNITS; i++) {
        uint32_t off = i * KVR_FRAG_BEST;
        uint32_t len = VALUE - off < KVR_FRAG_BEST ? VALUE - off : KVR_FRAG_BEST;

        begin(&m);
        message_write(&m, handle, off, value + off, len, KVR_WRITE_QUIET);
        message_write(&m, handle, 0, value, 8, KVR_WRITE_QUIET); /* no fragment: refused */
        rig_inject(&rig, &m);
        rig_settle(&rig);
    }
    rig_replies(&rig, &replies);
    replies_free(&replies);
    cr_assert_eq(commit(), KVR_OK);
    stored_value_is_right();
}

Test(upload_in_units, with_a_wrong_crc_is_not_stored)
{
    uint8_t out[16];

    cr_assert_eq(reserve(VALUE), KVR_OK);
    for (uint32_t i = 0; i <= NR_UNITS; i++)
        cr_assert_eq(write_frag(i), KVR_OK);
    cr_assert_eq(commit_as(crc32c(0, value, VALUE) ^ 1, VALUE, NULL, NULL), KVR_CORRUPT);
    cr_assert_eq(rig_get(&rig, key, out, sizeof(out)), -1);
}
