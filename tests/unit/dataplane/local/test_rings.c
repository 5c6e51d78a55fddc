/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of clients on this host through the rings of their segments. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/parse.h"
#include "guest.h"
#include "shm/words.h"

static struct rig rig;
static struct guest guest;
static struct rig_options options;

static void open_rig(void)
{
    rig_defaults(&options);
    options.local = true;
    options.nr_cores = 2;
    rig_open(&rig, &options);
    guest_open(&guest, &rig, 7, true);
}

static void close_rig(void)
{
    rig_close(&rig);
    guest_close(&guest);
}

TestSuite(rings, .init = open_rig, .fini = close_rig);

static uint64_t drops(enum drop_reason reason)
{
    return counter_read(&rig.cores[0]->stats->drops[reason]) +
           counter_read(&rig.cores[1]->stats->drops[reason]);
}

static void key_in(unsigned partition, char key[static 64])
{
    unsigned n = 0;

    rig_key(&rig, "key", partition, &n, key);
}

static void ping(struct message *message, unsigned partition, uint64_t id)
{
    guest_begin(&guest, message);
    message->hdr.partition = (uint16_t)partition;
    message->hdr.id = id;
    message_ping(message, id);
}

Test(rings, serve_a_client)
{
    uint8_t out[16];

    for (unsigned partition = 0; partition < 2; partition++) {
        char key[64];

        key_in(partition, key);
        cr_assert_eq(guest_put(&guest, key, "value", 5), KVR_OK);
        cr_assert_eq(guest_get(&guest, key, out, sizeof(out)), 5);
        cr_assert_eq(memcmp(out, "value", 5), 0);
    }
    cr_assert_eq(guest_get(&guest, "absent", out, sizeof(out)), -1);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->local_clients), 1);
    cr_assert_gt(counter_read(&rig.cores[0]->stats->local_requests), 1);
    cr_assert_gt(counter_read(&rig.cores[1]->stats->local_requests), 1);
}

/* As a write that its client gave up, and that lay in the ring while one dataplane followed
 * another. */
Test(rings, do_no_write_that_was_meant_for_another_boot)
{
    struct message message;
    uint8_t out[16];

    guest_begin_write(&guest, &message, "key");
    message.hdr.cookie ^= 1;
    message_put(&message, "key", "late", 4, 0, 0);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), REFUSED(KVR_NEED_COOKIE));
    cr_assert_eq(drops(DROP_no_cookie), 1);
    cr_assert_eq(guest_get(&guest, "key", out, sizeof(out)), -1);
    cr_assert_eq(guest_put(&guest, "key", "now", 3), KVR_OK);
    cr_assert_eq(guest_get(&guest, "key", out, sizeof(out)), 3);
}

Test(rings, answer_hello_with_datagrams_that_fit_a_cell)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct kvr_hello_rep rep;
    struct message message;
    struct record record;

    guest_begin(&guest, &message);
    message_hello(&message);
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    memcpy(&rep, record.bytes, sizeof(rep));
    cr_assert_leq(rep.max_datagram, SEGMENT_MESSAGE_MAX);
    cr_assert_eq(rep.arena, rig.arena.sb->arena_id);
}

Test(rings, take_no_uploads_in_fragments)
{
    struct message message;

    for (unsigned opcode = KVR_RESERVE; opcode <= KVR_ABORT; opcode++) {
        guest_begin_write(&guest, &message, "key");
        if (opcode == KVR_RESERVE)
            message_reserve(&message, "key", 5000, 1024, 0);
        else if (opcode == KVR_WRITE)
            message_write(&message, 1, 0, "12345678", 8, 0);
        else if (opcode == KVR_COMMIT)
            message_commit(&message, 1, 0, 0);
        else
            message_abort(&message, 1);
        cr_assert_eq(guest_status(&guest, &message, NULL, NULL), REFUSED(KVR_BAD_OP));
    }
    cr_assert_eq(drops(DROP_bad_op), 4);
}

Test(rings, refuse_a_datagram_that_belongs_to_another_partition)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;
    struct kvr_hdr hdr;

    ping(&message, 1, 3);
    message_seal(&message);
    cr_assert(guest_post_bytes(&guest, 0, message.bytes, message.len));
    rig_turn(&rig);
    cr_assert_gt(guest_take(&guest, 0, bytes), 0);
    memcpy(&hdr, bytes, sizeof(hdr));
    cr_assert_eq(hdr.status, KVR_BAD_FIELD);
    cr_assert_eq(guest_take(&guest, 1, bytes), 0);
}

Test(rings, bring_answers_of_another_core_where_their_header_says)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX], out[8];
    struct message message;
    struct kvr_hdr hdr;
    char key[64];

    key_in(1, key);
    cr_assert_eq(guest_put(&guest, key, "there", 5), KVR_OK);
    guest_begin(&guest, &message);
    message.hdr.id = 77;
    message_get(&message, key, NULL, 0);
    cr_assert(guest_post(&guest, &message));
    rig_turn(&rig);
    rig_turn(&rig);
    cr_assert_eq(guest_take(&guest, 0, bytes), 0);
    cr_assert_gt(guest_take(&guest, 1, bytes), 0);
    memcpy(&hdr, bytes, sizeof(hdr));
    cr_assert_eq(hdr.id, 77);
    cr_assert_eq(hdr.partition, 1);
    cr_assert_eq(guest_get(&guest, key, out, sizeof(out)), 5);
}

Test(rings, pass_over_cells_with_impossible_lengths)
{
    struct segment_rings at = segment_rings_of(&guest.segment, 0);
    static const uint32_t lengths[] = {SEGMENT_MESSAGE_MAX + 1, 0x80000000u, UINT32_MAX};
    struct message message;

    for (unsigned i = 0; i < 3; i++) {
        at.requests[at.group->request_tail % SEGMENT_CELLS].len = lengths[i];
        shared_store(&at.group->request_tail, at.group->request_tail + 1);
    }
    ping(&message, 0, 1);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    cr_assert_eq(drops(DROP_bad_length), 3);
    /* Short ones are no datagrams. */
    for (uint32_t len = 0; len < 3; len++)
        cr_assert(guest_post_bytes(&guest, 0, "abc", len));
    rig_turn(&rig);
    cr_assert_eq(drops(DROP_short_header), 3);
}

Test(rings, go_on_after_an_index_that_jumped)
{
    struct segment_rings at = segment_rings_of(&guest.segment, 0);
    struct message message;
    static const uint32_t jumps[] = {SEGMENT_CELLS + 1, 1u << 31, UINT32_MAX - 5};

    for (unsigned i = 0; i < 3; i++) {
        shared_store(&at.group->request_tail, at.group->request_tail + jumps[i]);
        rig_turn(&rig);
        cr_assert_eq(shared_load(&at.group->request_head), at.group->request_tail);
        ping(&message, 0, i + 1);
        cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    }
    cr_assert_eq(counter_read(&rig.cores[0]->stats->local_lost), 3);
    /* What the server writes for the client is never read back. */
    shared_store(&at.group->request_head, 12345);
    shared_store(&at.group->completion_tail, at.group->completion_head);
    message_begin(&message, 1);
    message_ping(&message, 1);
    message_seal(&message);
    at.requests[at.group->request_tail % SEGMENT_CELLS].len = message.len;
    memcpy(at.requests[at.group->request_tail % SEGMENT_CELLS].bytes, message.bytes, message.len);
    shared_store(&at.group->request_tail, at.group->request_tail + 1);
    rig_turn(&rig);
    cr_assert_eq(shared_load(&at.group->request_head), at.group->request_tail);
}

Test(rings, drop_and_count_replies_that_nobody_takes)
{
    struct segment_rings at = segment_rings_of(&guest.segment, 0);
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;
    unsigned taken = 0;

    for (unsigned i = 0; i < 100; i++) {
        ping(&message, 0, i + 1);
        while (!guest_post(&guest, &message))
            rig_turn(&rig);
    }
    for (unsigned i = 0; i < 20; i++)
        rig_turn(&rig);
    while (guest_take(&guest, 0, bytes) > 0)
        taken++;
    cr_assert_eq(taken, SEGMENT_CELLS);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->local_dropped), 100 - SEGMENT_CELLS);
    cr_assert_eq(drops(DROP_no_buffer), 100 - SEGMENT_CELLS);
    ping(&message, 0, 200);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    /* A head that lies makes the ring full, whatever it says. */
    at.group->completion_head += 1000;
    ping(&message, 0, 201);
    cr_assert(guest_post(&guest, &message));
    rig_turn(&rig);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->local_dropped), 101 - SEGMENT_CELLS);
}

Test(rings, of_one_client_do_not_keep_another_waiting)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;
    struct guest other;

    guest_open(&other, &rig, 8, false);
    for (unsigned turn = 0; turn < 50; turn++) {
        uint64_t before = counter_read(&rig.cores[0]->stats->local_requests);

        ping(&message, 0, 1);
        while (guest_post(&guest, &message))
            ;
        guest_begin(&other, &message);
        message_ping(&message, 5);
        cr_assert(guest_post(&other, &message));
        rig_turn(&rig);
        cr_assert_gt(guest_take(&other, 0, bytes), 0, "turn %u", turn);
        cr_assert_leq(counter_read(&rig.cores[0]->stats->local_requests) - before, 5);
    }
    guest_close(&other);
}

Test(rings, carry_long_answers_in_datagrams_that_fit_a_cell)
{
    uint8_t value[3000], bytes[SEGMENT_MESSAGE_MAX];
    struct message message;
    uint32_t sum = 0, len;
    unsigned nr = 0;

    memset(value, 'x', sizeof(value));
    cr_assert_eq(guest_put(&guest, "key", value, sizeof(value)), KVR_OK);
    guest_begin(&guest, &message);
    message.hdr.partition = (uint16_t)rig_partition(&rig, "key");
    message.hdr.reply_max = 255;
    message_get(&message, "key", NULL, 0);
    cr_assert(guest_post(&guest, &message));
    rig_turn(&rig);
    while ((len = guest_take(&guest, message.hdr.partition, bytes)) > 0) {
        sum += len;
        nr++;
    }
    cr_assert_geq(sum, sizeof(value));
    cr_assert_eq(nr, 3, "of %u bytes each at most, as the network's: %u", options.max_datagram, nr);
}

Test(rings, answer_a_repeated_write_as_the_first_time)
{
    struct message message;
    uint8_t out[8];

    guest_begin_write(&guest, &message, "key");
    message_put(&message, "key", "first", 5, 0, 0);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    rig_hello(&rig);
    cr_assert_eq(rig_put(&rig, "key", "other", 5, NULL), KVR_OK);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    cr_assert_eq(guest_get(&guest, "key", out, sizeof(out)), 5);
    cr_assert_eq(memcmp(out, "other", 5), 0);
}

Test(rings, know_one_session_for_each_partition)
{
    struct message message;

    cr_assert_eq(guest_put(&guest, "key", "first", 5), KVR_OK);
    /* More sessions than a core's table for the network has. */
    for (unsigned i = 0; i < 50; i++) {
        guest.session++;
        memset(guest.seqs, 0, sizeof(guest.seqs));
        cr_assert_eq(guest_put(&guest, "key", "other", 5), KVR_OK, "session %u", i);
    }
    /* The one before has been forgotten: its seq counts as new. */
    guest.session--;
    guest.seqs[rig_partition(&rig, "key")] = 0;
    guest_begin_write(&guest, &message, "key");
    message_put(&message, "key", "third", 5, 0, 0);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->sessions) +
                     counter_read(&rig.cores[1]->stats->sessions),
                 0, "and none of them is the network's");
}

static void come_back(struct rig *restarted)
{
    (void)restarted;
    guest_return(&guest);
}

Test(rings, go_on_where_they_were_after_a_restart)
{
    struct segment_rings at = segment_rings_of(&guest.segment, 0);
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;

    for (unsigned i = 0; i < 5; i++) {
        ping(&message, 0, i + 1);
        cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    }
    /* One answered and not taken, one not even looked at. */
    ping(&message, 0, 6);
    cr_assert(guest_post(&guest, &message));
    rig_turn(&rig);
    ping(&message, 0, 7);
    cr_assert(guest_post(&guest, &message));
    rig_restart(&rig, &options, come_back);
    rig_turn(&rig);
    for (uint64_t id = 6; id <= 7; id++) {
        struct kvr_hdr hdr;

        cr_assert_gt(guest_take(&guest, 0, bytes), 0);
        memcpy(&hdr, bytes, sizeof(hdr));
        cr_assert_eq(hdr.id, id);
    }
    cr_assert_eq(shared_load(&at.group->request_head), 7);
    /* Indexes of nonsense are taken up as well. */
    at.group->request_head = 4000000000u;
    at.group->completion_tail = 17;
    at.group->completion_head = 17;
    rig_restart(&rig, &options, come_back);
    rig_turn(&rig);
    ping(&message, 0, 8);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
}
