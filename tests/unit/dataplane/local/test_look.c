/* SPDX-License-Identifier: Apache-2.0 */
/* LOOK and RELEASE: copies in the pool that clients read where they lie. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "gpu/pool.h"
#include "guest.h"

#define LEN 4096u
#define SLOTS 80u
#define PATIENCE_NS (20 * NS_PER_S)

static struct rig rig;
static struct rig_options options;
static struct guest guest;
static struct kvr_look_rep rep;
static uint8_t *memory; /* the pool's, as a client has it */
static uint64_t memory_size;
static uint32_t memory_lost;

static struct pool *pool(void)
{
    return rig.cores[0]->pool;
}

static void import(void)
{
    struct gpu_handle handle;

    cr_assert_eq(pool_export(pool(), 0, &handle, &memory_lost), 0);
    cr_assert_eq(handle.kind, GPU_HANDLE_MEMFD);
    memory_size = handle.size;
    memory = mmap(NULL, memory_size, PROT_READ, MAP_SHARED, handle.fd, 0);
    cr_assert_neq(memory, MAP_FAILED);
    close(handle.fd);
}

static void setup(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    rig_defaults(&options);
    options.local = options.gpu = true;
    options.pool_bytes = SLOTS * LEN;
    options.pool_blocks = "4096";
    options.pool_hits = 1;
    rig_open(&rig, &options);
    guest_open(&guest, &rig, 7, true);
    import();
}

static void teardown(void)
{
    cr_assert_eq(pool_audit(pool()), 0);
    munmap(memory, memory_size);
    rig_close(&rig);
    guest_close(&guest);
}

TestSuite(look, .init = setup, .fini = teardown, .timeout = 60);

static struct pool_stats stats(void)
{
    struct pool_stats stats;

    cr_assert_eq(pool_stats(pool(), 0, &stats), 0);
    return stats;
}

static int ask(struct guest *from, struct message *message)
{
    uint8_t bytes[KVR_DATAGRAM_MAX];
    struct record record;
    int status = guest_status(from, message, &record, bytes);

    if (status == KVR_OK && record.op.op == KVR_LOOK)
        memcpy(&rep, record.bytes, sizeof(rep));
    return status;
}

static int look_from(struct guest *from, const char *key, uint32_t ticket, unsigned device,
                     uint64_t ref)
{
    struct message message;

    guest_begin_write(from, &message, key);
    message_look(&message, key, ticket, device, ref);
    return ask(from, &message);
}

static int look(const char *key, uint32_t ticket)
{
    return look_from(&guest, key, ticket, 0, 0);
}

static int release_from(struct guest *from, const char *key, uint32_t ticket, uint64_t pin)
{
    struct message message;

    guest_begin_write(from, &message, key);
    message_end_place(&message, KVR_RELEASE, pin, ticket, 0);
    return ask(from, &message);
}

static int release(const char *key, uint32_t ticket, uint64_t pin)
{
    return release_from(&guest, key, ticket, pin);
}

static uint8_t byte_of(unsigned which, unsigned i)
{
    return (uint8_t)(i * 37 + i / 251 + which * 101);
}

static void put(const char *key, unsigned which)
{
    uint8_t value[LEN];

    for (unsigned i = 0; i < LEN; i++)
        value[i] = byte_of(which, i);
    memcpy(guest.segment.staging, value, LEN);
    cr_assert_eq(guest_store(&guest, key, 0, LEN, crc32c(0, value, LEN)), KVR_OK);
}

static void turn_until_loaded(void)
{
    struct timespec pause = {.tv_nsec = 50000};
    uint64_t end_ns = clock_ns() + PATIENCE_NS;

    do {
        rig_turn(&rig);
        nanosleep(&pause, NULL);
    } while (stats().loading > 0 && clock_ns() < end_ns);
    cr_assert_eq(stats().loading, 0);
}

static void put_hot(const char *key, unsigned which)
{
    put(key, which);
    cr_assert_eq(look(key, 0), KVR_MISS, "there is no copy yet");
    turn_until_loaded();
}

static void must_be_there(unsigned which)
{
    cr_assert_eq(rep.lost, memory_lost);
    cr_assert_leq(rep.offset, memory_size - LEN);
    for (unsigned i = 0; i < LEN; i++)
        cr_assert_eq(memory[rep.offset + i], byte_of(which, i), "byte %u", i);
}

Test(look, tells_where_the_copy_of_a_block_lies)
{
    put_hot("key", 1);
    cr_assert_eq(look("key", 5), KVR_OK);
    cr_assert_eq(rep.value_len, LEN);
    cr_assert_eq(rep.value_crc, crc32c(0, memory + rep.offset, LEN));
    cr_assert_eq(rep.core, 0);
    cr_assert_eq(rep.device, 0);
    must_be_there(1);
    cr_assert_eq(stats().pins, 1);
    cr_assert_eq(release("key", 5, rep.pin), KVR_OK);
    cr_assert_eq(stats().pins, 0);
}

Test(look, bytes_stay_as_they_are_until_release_whatever_becomes_of_the_key)
{
    struct kvr_look_rep first;
    char key[16];

    put_hot("key", 1);
    cr_assert_eq(look("key", 5), KVR_OK);
    first = rep;
    put("key", 2);
    for (unsigned i = 0; i < SLOTS + 10; i++) { /* every other slot is written again */
        snprintf(key, sizeof(key), "other%u", i);
        put_hot(key, 3);
    }
    must_be_there(1);
    cr_assert_eq(look("key", 6), KVR_MISS, "a new block has no copy yet");
    turn_until_loaded();
    cr_assert_eq(look("key", 6), KVR_OK);
    must_be_there(2);
    cr_assert_neq(rep.offset, first.offset);
    cr_assert_eq(release("key", 6, rep.pin), KVR_OK);
    rep = first;
    must_be_there(1);
    cr_assert_eq(release("key", 5, first.pin), KVR_OK);
    cr_assert_eq(stats().pins, 0);
}

Test(look, another_look_under_the_same_ticket_lets_go_of_the_first)
{
    uint64_t first;

    put_hot("key", 1);
    cr_assert_eq(look("key", 5), KVR_OK);
    first = rep.pin;
    cr_assert_eq(look("key", 5), KVR_OK);
    cr_assert_neq(rep.pin, first);
    cr_assert_eq(stats().pins, 1);
    cr_assert_eq(release("key", 5, first), KVR_NO_UPLOAD);
    cr_assert_eq(release("key", 5, rep.pin), KVR_OK);
}

Test(look, a_repeat_pins_nothing_and_says_the_same_again)
{
    struct message message;
    struct kvr_look_rep first;

    put_hot("key", 1);
    guest_begin_write(&guest, &message, "key");
    message_look(&message, "key", 5, 0, 0);
    cr_assert_eq(ask(&guest, &message), KVR_OK);
    first = rep;
    message.hdr.id++;
    cr_assert_eq(ask(&guest, &message), KVR_OK);
    cr_assert_eq(memcmp(&rep, &first, sizeof(rep)), 0);
    cr_assert_eq(stats().pins, 1);
}

Test(look, a_repeated_release_is_answered_as_the_first)
{
    struct message message;

    put_hot("key", 1);
    cr_assert_eq(look("key", 5), KVR_OK);
    guest_begin_write(&guest, &message, "key");
    message_end_place(&message, KVR_RELEASE, rep.pin, 5, 0);
    cr_assert_eq(ask(&guest, &message), KVR_OK);
    cr_assert_eq(ask(&guest, &message), KVR_OK);
    cr_assert_eq(release("key", 5, rep.pin), KVR_NO_UPLOAD, "as a new one it is refused");
}

Test(look, refuses_what_makes_no_sense)
{
    uint64_t pin;

    put_hot("key", 1);
    cr_assert_eq(look_from(&guest, "key", 5, 1, 0), KVR_BAD_FIELD, "there is one device");
    cr_assert_eq(look_from(&guest, "key", 5, UINT16_MAX, 0), KVR_BAD_FIELD);
    cr_assert_eq(look_from(&guest, "key", 5, 0, 1), KVR_STALE);
    cr_assert_eq(look_from(&guest, "nobody", 5, 0, 0), KVR_MISS);
    cr_assert_eq(release("key", 5, 1), KVR_NO_UPLOAD);
    cr_assert_eq(look_from(&guest, "key", 5, 0, 0), KVR_OK);
    pin = rep.pin;
    cr_assert_eq(look_from(&guest, "key", 4, 0, rep.ref), KVR_OK);
    cr_assert_eq(release("key", 4, pin), KVR_NO_UPLOAD, "the pin of another ticket");
    cr_assert_eq(release("key", 6, pin), KVR_NO_UPLOAD, "a ticket that is not in use");
    cr_assert_eq(release("key", 5, pin + 1), KVR_NO_UPLOAD);
    cr_assert_eq(release("key", 5, pin + (1ull << 32)), KVR_NO_UPLOAD);
    cr_assert_eq(stats().pins, 2);
}

Test(look, a_client_that_may_not_write_sees_nothing_of_it)
{
    struct guest reader;

    put_hot("key", 1);
    guest_open(&reader, &rig, 8, false);
    cr_assert_eq(look_from(&reader, "key", 5, 0, 0), KVR_BAD_OP);
    cr_assert_eq(stats().pins, 0);
    cr_assert(guest_leave(&reader));
    guest_close(&reader);
}

Test(look, a_client_cannot_let_go_of_what_another_holds_and_its_end_lets_go_of_its_own)
{
    struct guest other;
    uint64_t pin;

    put_hot("key", 1);
    cr_assert_eq(look("key", 5), KVR_OK);
    pin = rep.pin;
    guest_open(&other, &rig, 8, true);
    cr_assert_eq(release_from(&other, "key", 5, pin), KVR_NO_UPLOAD);
    for (uint32_t ticket = 0; ticket < 9; ticket++)
        cr_assert_eq(look_from(&other, "key", ticket, 0, 0), KVR_OK);
    cr_assert_eq(release_from(&other, "key", 5, pin), KVR_NO_UPLOAD);
    cr_assert_eq(stats().pins, 10);
    cr_assert(guest_leave(&other));
    guest_close(&other);
    cr_assert_eq(stats().pins, 1, "the first client's is left");
    must_be_there(1);
    cr_assert_eq(release("key", 5, pin), KVR_OK);
}

Test(look, a_client_holds_only_so_many_at_a_core)
{
    unsigned n = 0;
    char key[64];

    for (unsigned partition = 0; partition < 2; partition++) {
        rig_key(&rig, "key", partition, &n, key);
        put_hot(key, partition);
        for (uint32_t i = 0; i < LOCAL_LOOKS_MAX / 2; i++)
            cr_assert_eq(look(key, i), KVR_OK);
    }
    cr_assert_eq(look(key, KVR_TICKETS - 1), KVR_LIMIT);
    cr_assert_eq(look(key, 0), KVR_OK, "instead of another");
    cr_assert_eq(stats().pins, LOCAL_LOOKS_MAX);
    cr_assert_eq(release(key, 0, rep.pin), KVR_OK);
    cr_assert_eq(look(key, KVR_TICKETS - 1), KVR_OK);
}

Test(look, what_was_read_is_not_known_to_be_right_if_the_device_failed_meanwhile)
{
    struct timespec pause = {.tv_nsec = 1000000};
    uint64_t end_ns = clock_ns() + PATIENCE_NS;

    put_hot("key", 1);
    put("other", 2);
    cr_assert_eq(look("key", 5), KVR_OK);
    gpu_host_fail_after(gpu_fleet_device(rig.fleet, 0), 0, 0);
    while (look("other", 6) == KVR_MISS && stats().lost == 0 && clock_ns() < end_ns) {
        rig_turn(&rig);
        nanosleep(&pause, NULL);
    }
    cr_assert_eq(stats().lost, 1);
    cr_assert_eq(look("key", 7), KVR_MISS, "the copy is gone");
    cr_assert_eq(look("key", 5), KVR_MISS, "and the ticket is free");
}

Test(look, a_release_after_a_failure_says_so)
{
    struct timespec pause = {.tv_nsec = 1000000};
    uint64_t end_ns = clock_ns() + PATIENCE_NS, pin;

    put_hot("key", 1);
    put("other", 2);
    cr_assert_eq(look("key", 5), KVR_OK);
    pin = rep.pin;
    gpu_host_fail_after(gpu_fleet_device(rig.fleet, 0), 0, 0);
    while (stats().lost == 0 && clock_ns() < end_ns) {
        (void)look("other", 6);
        rig_turn(&rig);
        nanosleep(&pause, NULL);
    }
    cr_assert_eq(stats().lost, 1);
    cr_assert_eq(release("key", 5, pin), KVR_INTERNAL);
    cr_assert_eq(release("key", 5, pin), KVR_NO_UPLOAD);
    turn_until_loaded();
}
