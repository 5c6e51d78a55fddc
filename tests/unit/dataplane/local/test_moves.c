/* SPDX-License-Identifier: Apache-2.0 */
/* LOAD and SAVE: blocks between the arena and a client's region, by a device of the host's. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "guest.h"
#include "shm/index.h"

#define REGION 65536u /* bytes: message_form spans 57,856 of them from an offset on */
#define UNTOUCHED 0xeeu
#define SLOW 100000u /* bytes a second: a block takes 40 ms */

static struct rig rig;
static struct rig_options options;
static struct guest guest;
static uint8_t *memory, pattern[MESSAGE_BLOCK];
static int memfd;

static uint8_t *make_memory(size_t size, int *fd)
{
    uint8_t *at;

    *fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_geq(*fd, 0);
    cr_assert_eq(ftruncate(*fd, (off_t)size), 0);
    cr_assert_eq(fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    cr_assert_neq(at, MAP_FAILED);
    memset(at, UNTOUCHED, size);
    return at;
}

static int add_region(unsigned number)
{
    struct gpu_handle handle = {.kind = GPU_HANDLE_MEMFD, .fd = memfd, .size = REGION};

    return local_region_add(rig.local, guest.id, number, &handle);
}

static void open_with(uint64_t bytes_s)
{
    for (unsigned i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 37 + i / 251);
    rig_defaults(&options);
    options.local = options.gpu = true;
    options.gpu_bytes_s = bytes_s;
    rig_open(&rig, &options);
    guest_open(&guest, &rig, 7, true);
    memory = make_memory(REGION, &memfd);
    cr_assert_eq(add_region(3), 0);
}

static void open_fast(void)
{
    open_with(0);
}

static void open_slow(void)
{
    open_with(SLOW);
}

static void close_rig(void)
{
    rig_close(&rig);
    guest_close(&guest);
    munmap(memory, REGION);
    close(memfd);
}

TestSuite(moves, .init = open_fast, .fini = close_rig);
TestSuite(slow_moves, .init = open_slow, .fini = close_rig);

/* Where byte i of the packed block lies in the region, for a block at off. */
static uint64_t place_of(unsigned i, uint64_t off)
{
    unsigned piece = i / message_form.piece_bytes, at = i % message_form.piece_bytes;

    return off + piece / 2 * message_form.layer_step + piece % 2 * message_form.kind_step + at;
}

static void fill_region(uint64_t off)
{
    for (unsigned i = 0; i < MESSAGE_BLOCK; i++)
        memory[place_of(i, off)] = pattern[i];
}

/* The packed bytes [from, to) are there, and nothing else was written. */
static void must_be_there(uint64_t off, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        cr_assert_eq(memory[place_of(i, off)], pattern[i], "byte %u", i);
        memory[place_of(i, off)] = UNTOUCHED;
    }
    for (unsigned i = 0; i < REGION; i++)
        cr_assert_eq(memory[i], UNTOUCHED, "byte %u of the region", i);
}

static void nothing_moved(void)
{
    must_be_there(0, 0, 0);
}

static uint64_t reserved(void)
{
    return counter_read(&arena_part(&rig.arena, 0)->reserved) +
           counter_read(&arena_part(&rig.arena, 1)->reserved);
}

static uint64_t pinned(void)
{
    return partition_pinned(rig.cores[0]->partitions[0]) +
           partition_pinned(rig.cores[0]->partitions[1]);
}

static void turn_for(uint64_t ms)
{
    struct timespec pause = {.tv_nsec = 100000};
    uint64_t end_ns = clock_ns() + ms * NS_PER_MS;

    while (clock_ns() < end_ns) {
        rig_turn(&rig);
        nanosleep(&pause, NULL);
    }
}

static uint64_t soon(void)
{
    return clock_ns() + 10 * NS_PER_S;
}

/* A LOAD of "key" with one field of its record made another. */
static int load_with(unsigned at, const void *field, size_t len)
{
    struct message message;
    uint8_t *record;

    guest_begin_write(&guest, &message, "key");
    record = message_load(&message, "key", 3, 0, soon());
    memcpy(record + at, field, len);
    return guest_status(&guest, &message, NULL, NULL);
}

static int load_form(struct kvr_form form)
{
    return load_with(offsetof(struct kvr_load_req, form), &form, sizeof(form));
}

static void put_short(void)
{
    cr_assert_eq(guest_put(&guest, "key", pattern, 8), KVR_OK);
}

/* Larger than a datagram of the network: over the rings. */
static void put_pattern(void)
{
    struct message message;
    uint8_t *value;
    uint64_t ref;

    cr_assert_eq(guest_place(&guest, "key", MESSAGE_BLOCK, 1, &ref, &value), KVR_OK);
    memcpy(value, pattern, MESSAGE_BLOCK);
    guest_begin_write(&guest, &message, "key");
    message_end_place(&message, KVR_SEAL, ref, 1, crc32c(0, pattern, MESSAGE_BLOCK));
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
}

Test(moves, load_brings_each_piece_to_its_place_and_nothing_else)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct kvr_load_rep rep;
    struct message message;
    struct record record;

    put_pattern();
    guest_begin_write(&guest, &message, "key");
    message_load(&message, "key", 3, 512, soon());
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    memcpy(&rep, record.bytes, sizeof(rep));
    cr_assert_eq(rep.value_len, MESSAGE_BLOCK);
    cr_assert_eq(rep.value_crc, crc32c(0, pattern, MESSAGE_BLOCK));
    cr_assert_neq(rep.ref, 0);
    must_be_there(512, 0, MESSAGE_BLOCK);
    cr_assert_eq(pinned(), 0);
    /* Said again it is answered again, and nothing moves. */
    cr_assert_eq(guest_status(&guest, &message, &record, bytes), KVR_OK);
    nothing_moved();
}

Test(moves, load_of_some_layers_moves_those)
{
    uint16_t layers[2] = {1, 2};

    put_pattern();
    cr_assert_eq(load_with(offsetof(struct kvr_load_req, first_layer), layers, sizeof(layers)),
                 KVR_OK);
    must_be_there(0, 1024, 3072);
}

Test(moves, load_tells_its_progress_under_its_token)
{
    struct message message;
    struct kvr_load_req req;
    uint8_t *record;

    put_pattern();
    guest_begin_write(&guest, &message, "key");
    record = message_load(&message, "key", 3, 0, soon());
    memcpy(&req, record, sizeof(req));
    req.word = 17;
    req.token = 0xabcd;
    memcpy(record, &req, sizeof(req));
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    /* It may be answered before the last is told; what is told is of this LOAD. */
    if (guest.segment.words[17] != 0) {
        cr_assert_eq(guest.segment.words[17] >> 32, 0xabcd);
        cr_assert_leq((uint32_t)guest.segment.words[17], 4);
    }
    for (unsigned i = 0; i < SEGMENT_WORDS; i++)
        cr_assert(i == 17 || guest.segment.words[i] == 0);
}

Test(moves, save_stores_the_pieces_with_their_crc)
{
    struct block_view view;
    struct key_hash hash = hash_key("key", 3, rig.arena.sb->seed);
    struct message message;

    fill_region(0);
    guest_begin_write(&guest, &message, "key");
    message_save(&message, "key", 3, soon(), 0);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    cr_assert(index_find(&rig.arena, rig_partition(&rig, "key"), hash, "key", 3,
                         rig.cores[0]->now_ms, &view));
    cr_assert_eq(view.value_len, MESSAGE_BLOCK);
    cr_assert_eq(view.value_crc, crc32c(0, pattern, MESSAGE_BLOCK));
    cr_assert_eq(memcmp(view.value, pattern, MESSAGE_BLOCK), 0);
    cr_assert_eq(reserved(), 0);
    guest_begin_write(&guest, &message, "key");
    message_save(&message, "key", 3, soon(), KVR_PUT_ADD);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_EXISTS);
}

Test(moves, what_names_memory_outside_its_region_is_refused_before_a_byte_moves)
{
    uint64_t off = REGION - 57856 + 16, far = UINT64_MAX - 15, odd = 8;
    struct kvr_form form = message_form;
    struct message message;

    put_pattern();
    cr_assert_eq(load_with(offsetof(struct kvr_load_req, off), &off, 8), KVR_BAD_RANGE);
    cr_assert_eq(load_with(offsetof(struct kvr_load_req, off), &far, 8), KVR_BAD_RANGE);
    cr_assert_eq(load_with(offsetof(struct kvr_load_req, off), &odd, 8), KVR_BAD_RANGE);
    form.layer_step = 1ull << 40;
    cr_assert_eq(load_form(form), KVR_BAD_RANGE);
    guest_begin_write(&guest, &message, "key2");
    memcpy(message_save(&message, "key2", 3, soon(), 0) + offsetof(struct kvr_save_req, off), &off,
           8);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_BAD_RANGE);
    nothing_moved();
    cr_assert_eq(pinned(), 0);
    cr_assert_eq(reserved(), 0);
}

Test(moves, a_form_that_makes_no_sense_or_does_not_fit_is_refused_before_a_byte_moves)
{
    struct kvr_form form = message_form;
    uint16_t layers[2] = {2, 3};

    put_pattern();
    form.kind_step = 256;
    cr_assert_eq(load_form(form), KVR_BAD_FIELD, "pieces that overlap");
    form = message_form;
    form.piece_bytes = 100;
    cr_assert_eq(load_form(form), KVR_BAD_FIELD);
    form = message_form;
    form.nr_layers = 3;
    cr_assert_eq(load_form(form), KVR_MISFIT, "another length than the value has");
    cr_assert_eq(load_with(offsetof(struct kvr_load_req, first_layer), layers, 4), KVR_BAD_FIELD);
    put_short();
    cr_assert_eq(load_form(message_form), KVR_MISFIT);
    nothing_moved();
    cr_assert_eq(pinned(), 0);
}

Test(moves, another_block_and_none_are_told_apart)
{
    uint64_t ref = 0x100000000ull;

    cr_assert_eq(load_form(message_form), KVR_MISS);
    put_pattern();
    put_pattern();
    cr_assert_eq(load_with(offsetof(struct kvr_load_req, ref), &ref, sizeof(ref)), KVR_STALE);
    nothing_moved();
}

Test(moves, a_region_that_is_not_there_is_said)
{
    uint16_t other = 4;

    put_pattern();
    cr_assert_eq(load_with(offsetof(struct kvr_load_req, region), &other, 2), KVR_NO_REGION);
    cr_assert_eq(local_region_drop(rig.local, guest.id, 3), 0);
    cr_assert_eq(load_form(message_form), KVR_NO_REGION, "on its way out");
    nothing_moved();
}

Test(moves, past_its_time_nothing_begins)
{
    uint64_t past = rig.now_ns - 1;
    struct message message;

    put_pattern();
    cr_assert_eq(load_with(offsetof(struct kvr_load_req, until_ns), &past, 8), KVR_EXPIRED);
    guest_begin_write(&guest, &message, "key2");
    message_save(&message, "key2", 3, past, 0);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_EXPIRED);
    nothing_moved();
    cr_assert_eq(reserved(), 0);
}

static unsigned nr_gone;

static void note_gone(void *context, uint32_t id, unsigned region)
{
    (void)context;
    cr_assert_eq(id, guest.id);
    cr_assert_eq(region, 3);
    nr_gone++;
}

Test(moves, regions_are_numbers_of_their_client_and_must_be_what_they_say)
{
    struct gpu_handle handle = {.kind = GPU_HANDLE_MEMFD, .fd = memfd, .size = REGION + 4096};

    cr_assert_eq(add_region(3), -EEXIST);
    cr_assert_eq(add_region(KVR_REGIONS_MAX), -EINVAL);
    cr_assert_lt(local_region_add(rig.local, guest.id, 5, &handle), 0, "more than the file has");
    handle.size = REGION;
    cr_assert_eq(local_region_add(rig.local, 99, 5, &handle), -ENOENT);
    handle.kind = GPU_HANDLE_CUDA_IPC;
    cr_assert_eq(local_region_add(rig.local, guest.id, 5, &handle), -ENOTSUP);
    cr_assert_eq(local_region_drop(rig.local, guest.id, 5), -ENOENT);
    cr_assert_eq(local_region_drop(rig.local, guest.id, 3), 0);
    cr_assert_eq(local_region_drop(rig.local, guest.id, 3), -ENOENT);
    cr_assert_eq(add_region(3), -EEXIST, "until it has gone");
    local_regions_tick(rig.local, note_gone, NULL);
    cr_assert_eq(nr_gone, 1);
    cr_assert_eq(add_region(3), 0);
}

/* Posts a LOAD of "key"; it takes 40 ms. */
static void begin_load(struct message *message)
{
    put_pattern();
    guest_begin_write(&guest, message, "key");
    message_load(message, "key", 3, 0, soon());
    cr_assert(guest_post(&guest, message));
    turn_for(5);
    cr_assert_eq(pinned(), 1);
}

Test(slow_moves, a_region_goes_only_after_its_last_job)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;
    unsigned partition = rig_partition(&rig, "key");

    begin_load(&message);
    cr_assert_eq(local_region_drop(rig.local, guest.id, 3), 0);
    local_regions_tick(rig.local, note_gone, NULL);
    cr_assert_eq(nr_gone, 0);
    while (guest_take(&guest, partition, bytes) == 0)
        turn_for(1);
    local_regions_tick(rig.local, note_gone, NULL);
    cr_assert_eq(nr_gone, 1);
    must_be_there(0, 0, MESSAGE_BLOCK);
}

Test(slow_moves, a_block_that_is_overwritten_or_deleted_meanwhile_still_arrives)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message, del;
    unsigned partition = rig_partition(&rig, "key");

    begin_load(&message);
    guest_begin_write(&guest, &del, "key");
    del.hdr.floor = message.hdr.seq; /* the LOAD is not given up */
    message_key(&del, KVR_DEL, "key", 0, 0, NULL);
    cr_assert_eq(guest_status(&guest, &del, NULL, NULL), KVR_OK);
    while (guest_take(&guest, partition, bytes) == 0)
        turn_for(1);
    must_be_there(0, 0, MESSAGE_BLOCK);
    cr_assert_eq(pinned(), 0);
}

Test(slow_moves, a_load_that_is_given_up_keeps_its_block_until_the_device_is_done)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;

    begin_load(&message);
    cr_assert_eq(guest_put(&guest, "key", "new", 3),
                 KVR_OK); /* with a floor above the LOAD's seq */
    turn_for(1);
    cr_assert_eq(pinned(), 1);
    turn_for(60);
    cr_assert_eq(pinned(), 0);
    cr_assert_eq(guest_get(&guest, "key", bytes, sizeof(bytes)), 3);
}

Test(slow_moves, a_client_that_dies_in_the_middle_leaves_nothing)
{
    struct message message;

    begin_load(&message);
    guest_begin_write(&guest, &message, "key2");
    message.hdr.floor = 1; /* the LOAD is not given up */
    message_save(&message, "key2", 3, soon(), 0);
    cr_assert(guest_post(&guest, &message));
    turn_for(5);
    cr_assert_eq(pinned(), 1);
    cr_assert_eq(reserved(), 1);
    cr_assert(guest_leave(&guest));
    cr_assert_eq(pinned(), 0);
    cr_assert_eq(reserved(), 0);
    guest_return(&guest);
    cr_assert_eq(add_region(3), 0);
}

Test(slow_moves, what_was_begun_in_time_is_answered_when_it_is_over)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    struct message message;
    struct kvr_hdr hdr;
    unsigned partition = rig_partition(&rig, "key");
    uint32_t len;

    begin_load(&message);
    rig.now_ns += 20 * NS_PER_S; /* the core's clock: long past the request's deadline */
    cr_assert_eq(guest_take(&guest, partition, bytes), 0, "not before the device is done");
    while ((len = guest_take(&guest, partition, bytes)) == 0)
        turn_for(1);
    cr_assert(reply_ok(bytes, len, &hdr));
    must_be_there(0, 0, MESSAGE_BLOCK);
}

Test(slow_moves, a_save_that_ends_past_its_time_stores_nothing)
{
    struct message message;
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    unsigned partition = rig_partition(&rig, "key");

    fill_region(0);
    guest_begin_write(&guest, &message, "key");
    rig.now_ns =
        clock_ns(); /* or the core's clock lags behind that of devices, on a busy machine */
    message_save(&message, "key", 3, rig.now_ns + 10 * NS_PER_MS, 0);
    cr_assert(guest_post(&guest, &message));
    turn_for(2);
    rig.now_ns += 20 * NS_PER_MS; /* as far as the core knows it is too late by then */
    while (guest_take(&guest, partition, bytes) == 0)
        turn_for(1);
    cr_assert_eq(guest_get(&guest, "key", bytes, sizeof(bytes)), -1);
    cr_assert_eq(reserved(), 0);
}

Test(slow_moves, an_engine_that_stops_in_the_middle_waits_for_its_devices)
{
    struct message message;

    begin_load(&message);
    /* close_rig: the arena goes only after the last byte was moved. */
}
