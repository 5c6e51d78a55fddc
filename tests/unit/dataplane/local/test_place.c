/* SPDX-License-Identifier: Apache-2.0 */
/* PLACE, SEAL, DROP: values that a client writes where they lie. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "guest.h"

static struct rig rig;
static struct guest guest, other;
static struct rig_options options;
static uint8_t pattern[300000];

static void open_rig(void)
{
    for (unsigned i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 31 + i / 999);
    rig_defaults(&options);
    options.local = true;
    rig_open(&rig, &options);
    guest_open(&guest, &rig, 7, true);
    guest_open(&other, &rig, 8, true);
}

static void close_rig(void)
{
    rig_close(&rig);
    guest_close(&guest);
    guest_close(&other);
}

TestSuite(place, .init = open_rig, .fini = close_rig);

static uint64_t reserved(void)
{
    return counter_read(&arena_part(&rig.arena, 0)->reserved) +
           counter_read(&arena_part(&rig.arena, 1)->reserved);
}

static uint64_t nr_places(void)
{
    return counter_read(&rig.cores[0]->stats->local_places);
}

static void must_hold(const char *key, const void *value, uint32_t len)
{
    uint8_t out[4000];

    cr_assert_eq(guest_get(&guest, key, out, sizeof(out)), (int)len, "%s", key);
    cr_assert_eq(memcmp(out, value, len), 0, "%s", key);
}

Test(place, is_written_by_the_client_and_sealed)
{
    uint32_t crc = crc32c(0, pattern, 1000);
    struct message message;
    struct kvr_put_rep rep;
    struct record record;
    uint8_t *value, bytes[SEGMENT_MESSAGE_MAX];
    uint64_t ref;

    cr_assert_eq(guest_place(&guest, "key", 1000, 63, &ref, &value), KVR_OK);
    cr_assert_eq(reserved(), 1);
    cr_assert_eq(nr_places(), 1);
    memcpy(value, pattern, 1000);
    guest_begin_write(&guest, &message, "key");
    message_end_place(&message, KVR_SEAL, ref, 63, crc);
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    memcpy(&rep, record.bytes, sizeof(rep));
    cr_assert_eq(rep.ref, ref);
    must_hold("key", pattern, 1000);
    cr_assert_eq(reserved(), 0);
    cr_assert_eq(nr_places(), 0);
    /* Said again it is answered again, and does nothing. */
    cr_assert_eq(guest_put(&other, "key", "new", 3), KVR_OK);
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    memcpy(&rep, record.bytes, sizeof(rep));
    cr_assert_eq(rep.ref, ref);
    must_hold("key", "new", 3);
}

Test(place, is_named_again_when_its_place_is_repeated)
{
    struct kvr_place_rep first, again;
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;
    struct record record;

    guest_begin_write(&guest, &message, "key");
    message_place(&message, "key", 100, 1, 0);
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    memcpy(&first, record.bytes, sizeof(first));
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    memcpy(&again, record.bytes, sizeof(again));
    cr_assert_eq(first.ref, again.ref);
    cr_assert_eq(first.place, again.place);
    cr_assert_eq(guest_drop(&guest, "key", first.ref, 1), KVR_OK);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_NO_UPLOAD);
    cr_assert_eq(reserved(), 0);
}

Test(place, needs_the_write_right)
{
    struct guest reader;
    uint8_t *value;
    uint64_t ref;

    guest_open(&reader, &rig, 9, false);
    cr_assert_eq(guest_place(&reader, "key", 10, 1, &ref, &value), KVR_BAD_OP);
    cr_assert_eq(reserved(), 0);
    guest_close(&reader);
}

Test(place, is_given_up_for_the_next_one_under_its_ticket)
{
    uint64_t first, second;
    uint8_t *value;

    cr_assert_eq(guest_place(&guest, "key", 1000, 5, &first, &value), KVR_OK);
    cr_assert_eq(guest_place(&guest, "key", 3, 5, &second, &value), KVR_OK);
    cr_assert_eq(reserved(), 1);
    cr_assert_neq(first, second);
    cr_assert_eq(guest_seal(&guest, "key", first, 5, 0), KVR_NO_UPLOAD);
    memcpy(value, "abc", 3);
    cr_assert_eq(guest_seal(&guest, "key", second, 5, crc32c(0, "abc", 3)), KVR_OK);
    must_hold("key", "abc", 3);
}

Test(place, is_nobody_elses)
{
    uint8_t *value;
    uint64_t ref;

    cr_assert_eq(guest_place(&guest, "key", 3, 5, &ref, &value), KVR_OK);
    cr_assert_eq(guest_seal(&other, "key", ref, 5, 0), KVR_NO_UPLOAD);
    cr_assert_eq(guest_drop(&other, "key", ref, 5), KVR_NO_UPLOAD);
    for (uint32_t ticket = 0; ticket < KVR_TICKETS; ticket++)
        if (ticket != 5)
            cr_assert_eq(guest_seal(&guest, "key", ref, ticket, 0), KVR_NO_UPLOAD);
    cr_assert_eq(guest_seal(&guest, "key", ref + 1, 5, 0), KVR_NO_UPLOAD);
    cr_assert_eq(guest_seal(&guest, "key", ref | 1ull << 63, 5, 0), KVR_NO_UPLOAD);
    cr_assert_eq(guest_seal(&guest, "key", 0, 6, 0), KVR_NO_UPLOAD);
    cr_assert_eq(guest_seal(&guest, "key", UINT64_MAX, 6, 0), KVR_NO_UPLOAD);
    cr_assert_eq(reserved(), 1);
    memcpy(value, "abc", 3);
    cr_assert_eq(guest_seal(&guest, "key", ref, 5, crc32c(0, "abc", 3)), KVR_OK);
}

Test(place, may_take_as_many_bytes_as_its_client_may_hold)
{
    uint64_t refs[4], ref;
    uint8_t *value;

    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(guest_place(&guest, "key", GUEST_PINNED / 4, i, &refs[i], &value), KVR_OK);
    cr_assert_eq(guest_place(&guest, "key", 1, 4, &ref, &value), KVR_LIMIT);
    cr_assert_eq(guest_place(&guest, "absent", 1, 4, &ref, &value), KVR_LIMIT);
    cr_assert_eq(guest_place(&other, "key", 1, 4, &ref, &value), KVR_OK, "its own bytes count");
    cr_assert_eq(guest_drop(&guest, "key", refs[0], 0), KVR_OK);
    cr_assert_eq(guest_place(&guest, "key", 1, 4, &ref, &value), KVR_OK);
    cr_assert_eq(guest_place(&guest, "key", KVR_VALUE_MAX + 1, 5, &ref, &value), KVR_TOO_LARGE);
    cr_assert_eq(nr_places(), 5);
}

Test(place, stays_however_long_its_client_takes)
{
    uint8_t *value;
    uint64_t ref;

    cr_assert_eq(guest_place(&guest, "key", 3, 5, &ref, &value), KVR_OK);
    for (unsigned minute = 0; minute < 60; minute++) {
        rig.now_ns += 60 * NS_PER_S;
        rig_turn(&rig);
    }
    memcpy(value, "abc", 3);
    cr_assert_eq(guest_seal(&guest, "key", ref, 5, crc32c(0, "abc", 3)), KVR_OK);
    must_hold("key", "abc", 3);
}

Test(place, with_add_is_refused_when_the_key_is_there)
{
    struct kvr_place_rep rep;
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;
    struct record record;

    guest_begin_write(&guest, &message, "key");
    message_place(&message, "key", 100, 1, KVR_PUT_ADD);
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    memcpy(&rep, record.bytes, sizeof(rep));
    cr_assert_eq(guest_put(&other, "key", "mine", 4), KVR_OK);
    cr_assert_eq(guest_seal(&guest, "key", rep.ref, 1, 0), KVR_EXISTS);
    cr_assert_eq(reserved(), 0);
    guest_begin_write(&guest, &message, "key");
    message_place(&message, "key", 100, 1, KVR_PUT_ADD);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_EXISTS);
    must_hold("key", "mine", 4);
}

Test(place, with_its_long_key_overwritten_is_not_sealed)
{
    char key[101];
    uint8_t *value;
    uint64_t ref;

    memset(key, 'k', 100);
    key[100] = '\0';
    cr_assert_eq(guest_place(&guest, key, 64, 1, &ref, &value), KVR_OK);
    value[64] = 'x';
    cr_assert_eq(guest_seal(&guest, key, ref, 1, crc32c(0, value, 64)), KVR_CORRUPT);
    cr_assert_eq(reserved(), 0);
    cr_assert_eq(guest_place(&guest, key, 64, 1, &ref, &value), KVR_OK);
    memcpy(value, pattern, 64);
    cr_assert_eq(guest_seal(&guest, key, ref, 1, crc32c(0, value, 64)), KVR_OK);
    must_hold(key, pattern, 64);
}

Test(place, goes_with_its_client)
{
    uint8_t *value;
    uint64_t ref;
    char key[64];

    for (uint32_t i = 0; i < KVR_TICKETS; i++) {
        snprintf(key, sizeof(key), "key%u", i);
        cr_assert_eq(guest_place(&guest, key, 1000, i, &ref, &value), KVR_OK);
    }
    cr_assert_eq(guest_place(&other, "other", 1000, 1, &ref, &value), KVR_OK);
    cr_assert_eq(reserved(), KVR_TICKETS + 1);
    cr_assert(guest_leave(&guest));
    cr_assert_eq(reserved(), 1);
    cr_assert_eq(nr_places(), 1);
    cr_assert_eq(guest_seal(&other, "other", ref, 1, crc32c(0, value, 1000)), KVR_OK);
}

static void both_return(struct rig *restarted)
{
    (void)restarted;
    guest_return(&guest);
    guest_return(&other);
}

static void other_returns(struct rig *restarted)
{
    (void)restarted;
    guest_return(&other);
}

static void new_session(struct guest *of)
{
    of->session ^= 0xffff;
    memset(of->seqs, 0, sizeof(of->seqs));
}

Test(place, outlives_the_engine_but_not_its_client)
{
    uint64_t refs[3], ref;
    uint8_t *values[3], *value;
    struct message message;
    struct record record;
    struct kvr_place_rep rep;
    uint8_t bytes[SEGMENT_MESSAGE_MAX];

    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(guest_place(&guest, "key", 1000 + i, 10 + i, &refs[i], &values[i]), KVR_OK);
    guest_begin_write(&guest, &message, "added");
    message_place(&message, "added", 10, 20, KVR_PUT_ADD);
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    memcpy(&rep, record.bytes, sizeof(rep));
    cr_assert_eq(guest_place(&other, "other", 500, 10, &ref, &value), KVR_OK);
    rig_restart(&rig, &options, both_return);
    cr_assert_eq(reserved(), 5);
    cr_assert_eq(nr_places(), 5);
    new_session(&guest);
    memcpy(values[1], pattern, 1001);
    cr_assert_eq(guest_seal(&guest, "key", refs[1], 11, crc32c(0, pattern, 1001)), KVR_OK);
    must_hold("key", pattern, 1001);
    cr_assert_eq(guest_put(&guest, "added", "x", 1), KVR_OK);
    cr_assert_eq(guest_seal(&guest, "added", rep.ref, 20, 0), KVR_EXISTS, "ADD is remembered");
    cr_assert_eq(guest_drop(&guest, "key", refs[0], 10), KVR_OK);
    cr_assert_eq(reserved(), 2);
    rig_restart(&rig, &options, other_returns);
    cr_assert_eq(reserved(), 1, "the place of a client that is gone goes");
    new_session(&other);
    memcpy(value, pattern, 500);
    cr_assert_eq(guest_seal(&other, "other", ref, 10, crc32c(0, pattern, 500)), KVR_OK);
    for (unsigned p = 0; p < 2; p++)
        cr_assert_eq(partition_audit(rig.cores[0]->partitions[p]), 0);
}

Test(place, sealed_just_before_a_restart_is_known_to_be_sealed)
{
    uint32_t crc = crc32c(0, pattern, 1000);
    uint8_t *value;
    uint64_t ref;

    cr_assert_eq(guest_place(&guest, "key", 1000, 1, &ref, &value), KVR_OK);
    memcpy(value, pattern, 1000);
    cr_assert_eq(guest_seal(&guest, "key", ref, 1, crc), KVR_OK);
    rig_restart(&rig, &options, both_return);
    new_session(&guest);
    cr_assert_eq(guest_seal(&guest, "key", ref, 1, crc), KVR_OK);
    cr_assert_eq(guest_seal(&guest, "key", ref, 1, crc + 1), KVR_NO_UPLOAD);
    cr_assert_eq(guest_put(&guest, "key", "new", 3), KVR_OK);
    cr_assert_eq(guest_seal(&guest, "key", ref, 1, crc), KVR_NO_UPLOAD);
}

Test(place, waits_for_memory_and_goes_with_its_client_then_too)
{
    unsigned n = 0, posted = 0;
    struct message message;
    uint8_t *value;
    uint64_t ref;
    char key[64];

    /* All memory of partition 0 in places: nothing can be evicted. */
    for (uint32_t ticket = 0; ticket < KVR_TICKETS; ticket++) {
        rig_key(&rig, "k", 0, &n, key);
        if (guest_place(ticket % 2 ? &guest : &other, key, 120000, ticket, &ref, &value) != KVR_OK)
            break;
    }
    for (; posted < 10; posted++) {
        rig_key(&rig, "w", 0, &n, key);
        guest_begin_write(&guest, &message, key);
        message_place(&message, key, 200, posted, 0);
        cr_assert(guest_post(&guest, &message));
    }
    rig_turn(&rig);
    cr_assert(guest_leave(&guest));
    cr_assert(guest_leave(&other));
    cr_assert_eq(reserved(), 0);
    cr_assert_eq(nr_places(), 0);
}
