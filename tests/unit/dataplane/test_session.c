/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "base/random.h"
#include "dataplane/session.h"

#define KEEP_MS 1000u

static struct session_table *table;
static struct session *session;

static void open_table(void)
{
    cr_assert_eq(session_table_create(4, &table), 0);
}

static void close_table(void)
{
    session_table_destroy(table);
}

TestSuite(session, .init = open_table, .fini = close_table);

static enum session_verdict admit(uint64_t id, uint16_t partition, uint32_t seq, uint32_t floor,
                                  uint32_t now_ms)
{
    struct kvr_hdr hdr = {.session = id, .partition = partition, .seq = seq, .floor = floor};

    return session_admit(table, &hdr, now_ms, KEEP_MS, &session);
}

static void run(uint64_t id, uint32_t seq, uint32_t floor, enum kvr_status status)
{
    cr_assert_eq(admit(id, 0, seq, floor, 0), SEQ_FRESH);
    session_record(session, seq, 0, status);
    session_finish(session, seq);
}

Test(session, executes_a_seq_once_and_remembers_what_it_answered)
{
    cr_assert_eq(admit(9, 0, 1, 1, 0), SEQ_FRESH);
    cr_assert_eq(admit(9, 0, 1, 1, 0), SEQ_RUNNING);
    session_record(session, 1, 0, KVR_OK);
    session_record(session, 1, 15, KVR_STALE);
    session_finish(session, 1);
    cr_assert_eq(admit(9, 0, 1, 1, 0), SEQ_DONE);
    cr_assert_eq(session_status(session, 1, 0), KVR_OK);
    cr_assert_eq(session_status(session, 1, 15), KVR_STALE);
}

Test(session, refuses_what_lies_below_the_floor_even_if_it_never_came)
{
    run(9, 5, 1, KVR_OK);
    run(9, 10, 8, KVR_OK);
    cr_assert_eq(admit(9, 0, 7, 1, 0), SEQ_OLD);
    cr_assert_eq(admit(9, 0, 5, 1, 0), SEQ_OLD);
    cr_assert_eq(admit(9, 0, 8, 1, 0), SEQ_FRESH);
    cr_assert_eq(admit(9, 0, 10, 10, 0), SEQ_DONE);
    cr_assert(session_passed(session, 9));
    cr_assert_not(session_passed(session, 10));
}

Test(session, refuses_what_is_older_than_the_window)
{
    run(9, 1, 1, KVR_OK);
    run(9, KVR_WINDOW, 1, KVR_OK);
    cr_assert_eq(admit(9, 0, 1, 1, 0), SEQ_DONE);
    run(9, KVR_WINDOW + 1, 1, KVR_OK);
    cr_assert_eq(admit(9, 0, 1, 1, 0), SEQ_OLD);
    cr_assert_eq(admit(9, 0, 2, 1, 0), SEQ_FRESH);
}

Test(session, refuses_a_floor_above_its_own_seq)
{
    cr_assert_eq(admit(9, 0, 3, 4, 0), SEQ_OLD);
    cr_assert_eq(session_count(table), 0);
    run(9, 3, 3, KVR_OK);
    cr_assert_eq(admit(9, 0, 4, 9, 0), SEQ_OLD);
}

Test(session, says_nothing_while_a_given_up_datagram_holds_the_place_in_the_window)
{
    struct session *holder;

    cr_assert_eq(admit(9, 0, 1, 1, 0), SEQ_FRESH);
    holder = session;
    cr_assert_eq(admit(9, 0, 1 + KVR_WINDOW, 2, 0), SEQ_RUNNING);
    cr_assert(session_passed(holder, 1));
    session_record(holder, 1, 0, KVR_REPLAYED);
    session_finish(holder, 1);
    cr_assert_eq(admit(9, 0, 1 + KVR_WINDOW, 2, 0), SEQ_FRESH);
}

Test(session, counts_per_session_and_partition)
{
    cr_assert_eq(admit(9, 0, 1, 1, 0), SEQ_FRESH);
    cr_assert_eq(admit(9, 1, 1, 1, 0), SEQ_FRESH);
    cr_assert_eq(admit(8, 0, 1, 1, 0), SEQ_FRESH);
    cr_assert_eq(session_count(table), 3);
    cr_assert_not_null(session_find(table, 9, 1));
    cr_assert_null(session_find(table, 8, 1));
}

Test(session, goes_on_when_the_seq_wraps_around)
{
    uint32_t seq = UINT32_MAX - 20;

    for (unsigned i = 0; i < 40; i++, seq++) {
        if (seq == 0)
            continue;
        cr_assert_eq(admit(9, 0, seq, seq, 0), SEQ_FRESH, "seq %u", seq);
        session_finish(session, seq);
        cr_assert_eq(admit(9, 0, seq, seq, 0), SEQ_DONE);
    }
    cr_assert_eq(admit(9, 0, UINT32_MAX, 1, 0), SEQ_OLD);
}

Test(session, gives_the_longest_unused_entry_to_another_only_when_it_has_been_idle)
{
    for (uint64_t id = 1; id <= 4; id++) {
        cr_assert_eq(admit(id, 0, 1, 1, (uint32_t)id), SEQ_FRESH);
        session_finish(session, 1);
    }
    cr_assert_eq(admit(5, 0, 1, 1, 500), SEQ_FULL);
    cr_assert_eq(admit(1, 0, 2, 2, 900), SEQ_FRESH); /* stays running, and is used last */
    cr_assert_eq(admit(5, 0, 1, 1, 2 + KEEP_MS), SEQ_FRESH);
    cr_assert_null(session_find(table, 2, 0));
    cr_assert_not_null(session_find(table, 1, 0));
    session_finish(session, 1);
}

Test(session, expires_idle_entries_but_never_running_ones)
{
    cr_assert_eq(admit(1, 0, 1, 1, 0), SEQ_FRESH);
    cr_assert_eq(admit(2, 0, 1, 1, 0), SEQ_FRESH);
    session_finish(session, 1);
    cr_assert_not(session_expire(table, KEEP_MS - 1, KEEP_MS));
    for (unsigned i = 0; i < 4; i++)
        (void)session_expire(table, KEEP_MS, KEEP_MS);
    cr_assert_eq(session_count(table), 1);
    cr_assert_not_null(session_find(table, 1, 0));
}

/* What an ideal server would say, with unlimited memory. */
struct model {
    uint32_t floor, newest;
    uint8_t seen[4096];
};

Test(session, agrees_with_a_model_under_reordering_and_duplicates)
{
    static struct model model;
    struct rng rng;

    rng_seed(&rng, 3);
    model.newest = 0;
    for (unsigned turn = 0; turn < 50000; turn++) {
        uint32_t low = model.newest > 300 ? model.newest - 300 : 1;
        uint32_t seq = low + (uint32_t)rng_below(&rng, model.newest + 20 - low + 1);
        uint32_t floor = seq > 200 ? seq - (uint32_t)rng_below(&rng, 200) : 1;
        enum session_verdict verdict, expected;

        if (seq >= 4095)
            break;
        if (floor > model.floor)
            model.floor = floor;
        if (seq < model.floor || (model.newest >= KVR_WINDOW && seq <= model.newest - KVR_WINDOW))
            expected = SEQ_OLD;
        else
            expected = model.seen[seq] ? SEQ_DONE : SEQ_FRESH;
        verdict = admit(9, 0, seq, floor, 0);
        cr_assert_eq(verdict, expected, "seq %u floor %u newest %u: %d not %d", seq, floor,
                     model.newest, verdict, expected);
        if (verdict == SEQ_FRESH) {
            cr_assert_not(model.seen[seq]);
            model.seen[seq] = 1;
            session_record(session, seq, 3, (enum kvr_status)(seq % 60));
            session_finish(session, seq);
        } else if (verdict == SEQ_DONE) {
            cr_assert_eq(session_status(session, seq, 3), seq % 60);
        }
        if (verdict != SEQ_OLD && seq > model.newest)
            model.newest = seq;
    }
    cr_assert_gt(model.newest, 1000);
}
