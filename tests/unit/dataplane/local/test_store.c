/* SPDX-License-Identifier: Apache-2.0 */
/* STORE: values copied from a client's segment by the copy worker. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "guest.h"
#include "shm/index.h"

static struct rig rig;
static struct guest guest;

static void open_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    options.local = true;
    options.data_size = 32u << 20;
    rig_open(&rig, &options);
    guest_open(&guest, &rig, 7, false);
    for (unsigned i = 0; i < GUEST_STAGING; i++)
        guest.segment.staging[i] = (uint8_t)(i * 13 + i / 777);
}

static void close_rig(void)
{
    rig_close(&rig);
    guest_close(&guest);
}

TestSuite(store, .init = open_rig, .fini = close_rig);

static uint64_t reserved(void)
{
    return counter_read(&arena_part(&rig.arena, 0)->reserved) +
           counter_read(&arena_part(&rig.arena, 1)->reserved);
}

static uint32_t crc_at(uint64_t off, uint32_t len)
{
    return crc32c(0, guest.segment.staging + off, len);
}

/* Turns until no value is being copied, a second at the most. */
static void settle(void)
{
    struct timespec pause = {.tv_nsec = 100000};

    for (unsigned i = 0; i < 10000 && reserved() > 0; i++) {
        rig_turn(&rig);
        nanosleep(&pause, NULL);
    }
    cr_assert_eq(reserved(), 0);
}

static bool find(const char *key, struct block_view *view)
{
    struct key_hash hash = hash_key(key, strlen(key), rig.arena.sb->seed);

    return index_find(&rig.arena, rig_partition(&rig, key), hash, key, (uint32_t)strlen(key),
                      rig.cores[0]->now_ms, view);
}

Test(store, copies_a_value_of_any_size)
{
    static const uint32_t lengths[] = {0, 1, 64, 4097, 131072, 131073, 3000000};
    struct block_view view;
    char key[64];

    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        snprintf(key, sizeof(key), "key%u", i);
        cr_assert_eq(guest_store(&guest, key, 100 + i, lengths[i], crc_at(100 + i, lengths[i])),
                     KVR_OK, "%u bytes", lengths[i]);
        cr_assert(find(key, &view));
        cr_assert_eq(view.value_len, lengths[i]);
        cr_assert_eq(memcmp(view.value, guest.segment.staging + 100 + i, lengths[i]), 0);
    }
    cr_assert_eq(counter_read(&rig.arena.sb->copy.copies), 7);
    cr_assert_gt(counter_read(&rig.arena.sb->copy.bytes), 3000000);
    cr_assert_gt(counter_read(&rig.arena.sb->copy.heartbeat_ns), 0);
}

Test(store, keeps_nothing_whose_crc_is_wrong)
{
    struct block_view view;

    cr_assert_eq(guest_store(&guest, "key", 0, 5000, crc_at(0, 5000) ^ 1), KVR_CORRUPT);
    cr_assert(!find("key", &view));
    cr_assert_eq(reserved(), 0);
}

Test(store, reads_nothing_outside_the_staging)
{
    static const struct {
        uint64_t off;
        uint32_t len;
    } wrong[] = {{GUEST_STAGING, 1},    {GUEST_STAGING - 10, 11}, {GUEST_STAGING + 1, 0},
                 {UINT64_MAX, 1},       {UINT64_MAX - 9, 20},     {1ull << 63, 100},
                 {0, GUEST_STAGING + 1}};

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_assert_eq(guest_store(&guest, "key", wrong[i].off, wrong[i].len, 0), KVR_BAD_RANGE);
    cr_assert_eq(guest_store(&guest, "key", 0, KVR_VALUE_MAX + 1, 0), KVR_TOO_LARGE);
    cr_assert_eq(guest_store(&guest, "key", GUEST_STAGING, 0, 0), KVR_OK);
    cr_assert_eq(guest_store(&guest, "key", GUEST_STAGING - 10, 10, crc_at(GUEST_STAGING - 10, 10)),
                 KVR_OK);
}

static bool stop;

static void *scribble(void *arg)
{
    volatile uint8_t *bytes = arg;

    for (uint32_t i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++)
        bytes[i % 200000] = (uint8_t)(i / 7);
    return NULL;
}

Test(store, of_bytes_that_change_meanwhile_is_right_or_refused)
{
    unsigned nr[2] = {0};
    struct block_view view;
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, scribble, guest.segment.staging), 0);
    for (unsigned i = 0; i < 50; i++) {
        int status = guest_store(&guest, "key", 0, 300000, crc_at(0, 300000));

        cr_assert(status == KVR_OK || status == KVR_CORRUPT, "%d", status);
        nr[status == KVR_OK]++;
        if (find("key", &view))
            cr_assert_eq(crc32c(0, view.value, view.value_len), view.value_crc);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    cr_assert_gt(nr[0], 0);
    cr_assert_eq(reserved(), 0);
}

static void post_store(const char *key, uint32_t len, uint32_t deadline_us)
{
    struct message message;

    guest_begin_write(&guest, &message, key);
    message.hdr.floor = 1;
    message.hdr.deadline_us = deadline_us;
    message_store(&message, key, 0, len, crc_at(0, len), 0);
    cr_assert(guest_post(&guest, &message));
}

Test(store, takes_more_at_once_than_it_works_at)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    unsigned answered = 0;
    struct kvr_hdr hdr;
    char key[64];
    unsigned n = 0;

    for (unsigned i = 0; i < 30; i++) {
        rig_key(&rig, "key", 0, &n, key);
        post_store(key, 60000, 0);
    }
    for (uint64_t end_ns = clock_ns() + 5 * NS_PER_S; answered < 30 && clock_ns() < end_ns;) {
        rig_turn(&rig);
        while (guest_take(&guest, 0, bytes) > 0) {
            memcpy(&hdr, bytes, sizeof(hdr));
            cr_assert_eq(hdr.status, KVR_OK);
            cr_assert_eq(((struct kvr_op *)(void *)(bytes + sizeof(hdr)))->status, KVR_OK);
            answered++;
        }
    }
    cr_assert_eq(answered, 30);
    cr_assert_eq(reserved(), 0);
}

Test(store, that_passes_its_deadline_is_dropped_when_the_worker_lets_go)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    unsigned partition = rig_partition(&rig, "key");
    struct block_view view;
    struct kvr_op op;

    post_store("key", 2000000, 1000);
    rig_turn(&rig);
    cr_assert_eq(reserved(), 1);
    rig.now_ns += 2 * NS_PER_MS;
    rig_turn(&rig);
    cr_assert_gt(guest_take(&guest, partition, bytes), 0);
    memcpy(&op, bytes + sizeof(struct kvr_hdr), sizeof(op));
    cr_assert_eq(op.status, KVR_EXPIRED);
    settle();
    cr_assert(!find("key", &view));
    cr_assert_eq(guest_store(&guest, "key", 0, 2000000, crc_at(0, 2000000)), KVR_OK);
}

Test(store, under_way_keeps_a_client_that_leaves_until_the_worker_lets_go)
{
    struct block_view view;

    for (unsigned i = 0; i < 20; i++) {
        post_store("key", 600000, 0);
        post_store("key", 600000, 0);
        post_store("key", 600000, 0);
        post_store("key", 600000, 0);
        rig_turn(&rig);
        cr_assert_gt(reserved(), 0);
        cr_assert(guest_leave(&guest));
        cr_assert_eq(reserved(), 0);
        cr_assert(!find("key", &view));
        guest_close(&guest);
        guest_open(&guest, &rig, 100 + i, false);
    }
}

Test(store, larger_than_what_the_client_may_hold_is_taken_alone)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    unsigned partition = rig_partition(&rig, "key");
    struct kvr_op op;

    cr_assert_eq(guest_store(&guest, "key", 0, GUEST_PINNED + 1, crc_at(0, GUEST_PINNED + 1)),
                 KVR_OK);
    post_store("key", 1000000, 0);
    post_store("key", GUEST_PINNED - 100, 0);
    rig_turn(&rig);
    cr_assert_gt(guest_take(&guest, partition, bytes), 0);
    memcpy(&op, bytes + sizeof(struct kvr_hdr), sizeof(op));
    cr_assert_eq(op.status, KVR_LIMIT);
    settle();
}

Test(store, that_waits_bars_another_session_until_it_is_done)
{
    struct message message;

    post_store("key", 2000000, 0);
    rig_turn(&rig);
    guest.session++;
    guest_begin_write(&guest, &message, "key");
    message_put(&message, "key", "x", 1, 0, 0);
    if (reserved() > 0)
        cr_assert_eq(guest_status(&guest, &message, NULL, NULL), REFUSED(KVR_BUSY));
    guest.session--;
    settle();
}
