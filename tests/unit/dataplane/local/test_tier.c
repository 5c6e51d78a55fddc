/* SPDX-License-Identifier: Apache-2.0 */
/* LOADs and the pool in GPU memory: what is copied there, what is served from there, and that no
 * fault of a device makes other bytes of it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "gpu/form.h"
#include "gpu/pool.h"
#include "guest.h"

#define REGION (512u << 10) /* bytes: message_form spans 57,856 of them, large_form all */
#define UNTOUCHED 0xeeu
#define SLOW 100000u /* bytes a second: a block takes 40 ms */
#define PATIENCE_NS (20 * NS_PER_S)
#define FAILED (-1) /* a LOAD's tier: it was not OK */

/* Its layers are larger than what the device is given at once. */
static const struct kvr_form large_form = {.nr_layers = 4,
                                           .nr_kinds = 2,
                                           .nr_pieces = 1,
                                           .piece_bytes = 64 << 10,
                                           .layer_step = 128 << 10,
                                           .kind_step = 64 << 10};

static const struct kvr_form *form = &message_form;
static struct rig rig;
static struct rig_options options;
static struct guest guest;
static uint8_t *memory;
static int memfd;

static void make_region(void)
{
    struct gpu_handle handle = {.kind = GPU_HANDLE_MEMFD, .size = REGION};

    memfd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_geq(memfd, 0);
    cr_assert_eq(ftruncate(memfd, REGION), 0);
    cr_assert_eq(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    memory = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    cr_assert_neq(memory, MAP_FAILED);
    memset(memory, UNTOUCHED, REGION);
    handle.fd = memfd;
    cr_assert_eq(local_region_add(rig.local, guest.id, 3, &handle), 0);
}

static void open_with(uint64_t bytes_s, unsigned nr_cores)
{
    log_set_level(LOG_LEVEL_ERROR);
    rig_defaults(&options);
    options.nr_cores = nr_cores;
    options.local = options.gpu = true;
    options.gpu_bytes_s = bytes_s;
    options.pool_bytes = nr_cores * 2 * 8 * 4096;
    options.pool_blocks = "4096,8192"; /* each core: 8 and 4 slots */
    options.pool_hits = 2;
    if (form == &large_form) {
        options.pool_blocks = "524288";
        options.pool_bytes = 2 * REGION;
    }
    rig_open(&rig, &options);
    guest_open(&guest, &rig, 7, true);
    make_region();
}

static void open_fast(void)
{
    open_with(0, 1);
}

static void open_slow(void)
{
    open_with(SLOW, 1);
}

static void open_large(void)
{
    form = &large_form;
    open_with(50 * SLOW, 1); /* 26 ms a layer */
}

static void open_two(void)
{
    open_with(0, 2);
}

static struct pool *pool(void)
{
    return rig.cores[0]->pool;
}

static struct pool_stats stats(void)
{
    struct pool_stats stats;

    cr_assert_eq(pool_stats(pool(), 0, &stats), 0);
    return stats;
}

static uint64_t pinned(void)
{
    return partition_pinned(rig.cores[0]->partitions[0]) +
           partition_pinned(rig.cores[0]->partitions[1]);
}

static void close_rig(void)
{
    for (unsigned i = 0; i < rig.nr_cores; i++)
        cr_assert_eq(pool_audit(rig.cores[i]->pool), 0);
    rig_close(&rig);
    guest_close(&guest);
    munmap(memory, REGION);
    close(memfd);
}

TestSuite(tier, .init = open_fast, .fini = close_rig);
TestSuite(slow_tier, .init = open_slow, .fini = close_rig);
TestSuite(large_tier, .init = open_large, .fini = close_rig);
TestSuite(two_tiers, .init = open_two, .fini = close_rig);

static void turn_once(void)
{
    struct timespec pause = {.tv_nsec = 50000};

    rig_turn(&rig);
    nanosleep(&pause, NULL);
}

/* Until no copy is on its way any more. */
static void turn_until_loaded(void)
{
    uint64_t end_ns = clock_ns() + PATIENCE_NS;

    do
        turn_once();
    while (stats().loading > 0 && clock_ns() < end_ns);
    cr_assert_eq(stats().loading, 0);
}

static uint8_t byte_of(unsigned which, unsigned i)
{
    return (uint8_t)(i * 37 + i / 251 + which * 101);
}

/* Each value has its own bytes. */
static void put_len(const char *key, unsigned which, uint32_t len)
{
    struct message message;
    uint8_t *value;
    uint64_t ref;

    cr_assert_eq(guest_place(&guest, key, len, 1, &ref, &value), KVR_OK);
    for (unsigned i = 0; i < len; i++)
        value[i] = byte_of(which, i);
    guest_begin_write(&guest, &message, key);
    message_end_place(&message, KVR_SEAL, ref, 1, crc32c(0, value, len));
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
}

static void put(const char *key, unsigned which)
{
    put_len(key, which, MESSAGE_BLOCK);
}

/* Where byte i of the packed block lies in the region. */
static uint64_t place_of(unsigned i)
{
    unsigned piece = i / form->piece_bytes;

    return piece / 2 * form->layer_step + piece % 2 * form->kind_step + i % form->piece_bytes;
}

/* The packed bytes [from, to) are there, and nothing else was written. */
static void must_be_there(unsigned which, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        cr_assert_eq(memory[place_of(i)], byte_of(which, i), "byte %u", i);
        memory[place_of(i)] = UNTOUCHED;
    }
    cr_assert(memory[0] == UNTOUCHED && memcmp(memory, memory + 1, REGION - 1) == 0,
              "another byte of the region was written");
}

static void begin(struct message *message, const char *key, const struct kvr_load_req *like)
{
    struct kvr_load_req req;
    uint8_t *record;

    guest_begin_write(&guest, message, key);
    record = message_load(message, key, 3, 0, clock_ns() + PATIENCE_NS);
    memcpy(&req, record, sizeof(req));
    req.form = *form;
    req.first_layer = like->first_layer;
    req.nr_layers = like->nr_layers;
    req.conversion = like->conversion;
    req.word = like->word;
    req.token = like->token;
    memcpy(record, &req, sizeof(req));
    message->hdr.deadline_us = 10000000;
}

/* The tier that the first answer in the ring of the key's partition names. */
static int answer(const char *key)
{
    uint64_t end_ns = clock_ns() + PATIENCE_NS;
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    uint32_t len, at = sizeof(struct kvr_hdr);
    struct kvr_load_rep rep;
    struct record record;

    while ((len = guest_take(&guest, rig_partition(&rig, key), bytes)) == 0) {
        cr_assert_lt(clock_ns(), end_ns, "no answer");
        turn_once();
    }
    cr_assert(reply_next(bytes, len, &at, &record));
    if (record.op.status != KVR_OK)
        return FAILED;
    memcpy(&rep, record.bytes, sizeof(rep));
    return rep.tier;
}

static int load_like(const char *key, const struct kvr_load_req *like)
{
    struct message message;

    begin(&message, key, like);
    cr_assert(guest_post(&guest, &message));
    return answer(key);
}

static int load(const char *key)
{
    return load_like(key, &(struct kvr_load_req){.word = KVR_NO_WORD});
}

/* With a copy in the pool. */
static void put_hot(const char *key, unsigned which)
{
    put(key, which);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(load(key), KVR_TIER_HOST);
        must_be_there(which, 0, MESSAGE_BLOCK);
    }
    turn_until_loaded();
}

Test(tier, what_was_loaded_twice_is_served_from_the_device)
{
    put("key", 1);
    cr_assert_eq(load("key"), KVR_TIER_HOST);
    turn_until_loaded();
    cr_assert_eq(stats().ready, 0, "once is not often");
    cr_assert_eq(load("key"), KVR_TIER_HOST);
    turn_until_loaded();
    cr_assert_eq(stats().ready, 1);
    cr_assert_eq(stats().ready_bytes, MESSAGE_BLOCK);
    memset(memory, UNTOUCHED, REGION);
    for (unsigned i = 1; i < 4; i++) {
        cr_assert_eq(load("key"), KVR_TIER_GPU);
        must_be_there(1, 0, MESSAGE_BLOCK);
        cr_assert_eq(stats().hits, i);
        cr_assert_eq(counter_read(&rig.cores[0]->stats->pool_served), i);
    }
    cr_assert_eq(stats().pins, 0);
    cr_assert_eq(pinned(), 0);
}

Test(tier, some_layers_come_from_the_device_too)
{
    put_hot("key", 1);
    cr_assert_eq(
        load_like("key",
                  &(struct kvr_load_req){.first_layer = 1, .nr_layers = 2, .word = KVR_NO_WORD}),
        KVR_TIER_GPU);
    must_be_there(1, 1024, 3072);
}

Test(tier, an_overwritten_block_is_forgotten_there)
{
    put_hot("key", 1);
    put("key", 2);
    cr_assert_eq(stats().forgotten, 1);
    cr_assert_eq(stats().ready, 0);
    cr_assert_eq(load("key"), KVR_TIER_HOST);
    must_be_there(2, 0, MESSAGE_BLOCK);
}

Test(tier, a_deleted_block_is_forgotten_there)
{
    struct message message;

    put_hot("key", 1);
    guest_begin_write(&guest, &message, "key");
    message_key(&message, KVR_DEL, "key", 0, 0, NULL);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    cr_assert_eq(stats().forgotten, 1);
    cr_assert_eq(stats().ready, 0);
    cr_assert_eq(load("key"), FAILED);
}

Test(tier, a_block_whose_time_has_passed_is_forgotten_there)
{
    struct message message;

    put_hot("key", 1);
    guest_begin_write(&guest, &message, "key");
    message_key(&message, KVR_TOUCH, "key", 0, 1000, NULL);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    rig.now_ns += 60 * NS_PER_S;
    for (unsigned i = 0; i < 1000 && stats().ready > 0; i++) {
        rig.now_ns += 100 * NS_PER_MS;
        rig_turn(&rig);
    }
    cr_assert_eq(stats().forgotten, 1);
    cr_assert_eq(stats().ready, 0);
}

Test(tier, a_block_that_the_arena_evicts_is_forgotten_there)
{
    unsigned n = 0, partition = rig_partition(&rig, "key");
    char key[64];

    put_hot("key", 1);
    for (unsigned i = 0; i < 4000 && stats().ready > 0; i++) {
        rig_key(&rig, "filler", partition, &n, key);
        put(key, i);
    }
    cr_assert_eq(stats().forgotten, 1);
    cr_assert_eq(load("key"), FAILED);
}

Test(tier, colder_copies_make_way)
{
    char key[] = "key0";

    for (unsigned i = 0; i < 9; i++) {
        key[3] = (char)('0' + i);
        put_hot(key, i);
    }
    cr_assert_eq(stats().ready, 8);
    cr_assert_eq(stats().evictions, 1);
    cr_assert_eq(load("key0"), KVR_TIER_HOST, "the first one went");
    must_be_there(0, 0, MESSAGE_BLOCK);
    cr_assert_eq(load("key8"), KVR_TIER_GPU);
    must_be_there(8, 0, MESSAGE_BLOCK);
}

Test(tier, what_is_converted_on_its_way_is_not_copied_there)
{
    struct kvr_load_req like = {.conversion = {.bits = 8, .element = KVR_BF16, .group = 64},
                                .word = KVR_NO_WORD};

    put_len("key", 1, form_packed_len(&message_form, &like.conversion));
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(load_like("key", &like), KVR_TIER_HOST);
    turn_until_loaded();
    cr_assert_eq(stats().loads, 0);
}

Test(slow_tier, a_client_that_dies_leaves_no_pin_and_its_blocks_still_arrive_there)
{
    static const char *const keys[] = {"key", "key2", "key3"};
    struct kvr_load_req like = {.word = KVR_NO_WORD};
    struct message message;

    for (unsigned i = 0; i < 3; i++) {
        put(keys[i], i);
        cr_assert_eq(load(keys[i]), KVR_TIER_HOST);
    }
    for (unsigned i = 0; i < 3; i++) {
        begin(&message, keys[i], &like);
        message.hdr.floor = 1;
        cr_assert(guest_post(&guest, &message));
    }
    turn_once();
    cr_assert_eq(stats().loading, 3);
    cr_assert(guest_leave(&guest));
    turn_until_loaded();
    cr_assert_eq(stats().ready, 3);
    cr_assert_eq(pinned(), 0);
    guest_return(&guest);
}

Test(slow_tier, an_engine_that_stops_in_the_middle_waits_for_what_goes_there)
{
    struct message message;

    put("key", 1);
    cr_assert_eq(load("key"), KVR_TIER_HOST);
    begin(&message, "key", &(struct kvr_load_req){.word = KVR_NO_WORD});
    cr_assert(guest_post(&guest, &message));
    turn_once();
    cr_assert_eq(stats().loading, 1);
    /* close_rig: the pool goes only after its last job. */
}

Test(slow_tier, an_engine_that_stops_in_the_middle_waits_for_what_comes_from_there)
{
    struct message message;

    put_hot("key", 1);
    begin(&message, "key", &(struct kvr_load_req){.word = KVR_NO_WORD});
    cr_assert(guest_post(&guest, &message));
    turn_once();
    cr_assert_eq(stats().pins, 1);
}

/* Until it is answered; what it tells of its progress meanwhile is right and never goes back.
 * Returns how many layers it told of before the last that came at once. */
static uint32_t watch(const struct message *message, const struct kvr_load_req *like,
                      unsigned which, uint32_t layer_len)
{
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
    uint32_t len, at = sizeof(struct kvr_hdr), last = 0, most = 0;
    uint64_t end_ns = clock_ns() + PATIENCE_NS;
    struct record record;

    while ((len = guest_take(&guest, message->hdr.partition, bytes)) == 0) {
        uint64_t word = __atomic_load_n(&guest.segment.words[like->word], __ATOMIC_ACQUIRE);
        uint32_t layers = word >> 32 == like->token ? (uint32_t)word : 0;

        cr_assert_geq(layers, last, "progress never goes back");
        for (unsigned i = last * layer_len; i < layers * layer_len; i++)
            cr_assert_eq(memory[place_of(i)], byte_of(which, i), "layer %u", i / layer_len);
        most = layers > last && layers < message_form.nr_layers ? layers : most;
        last = layers;
        cr_assert_lt(clock_ns(), end_ns, "no answer");
        turn_once();
    }
    cr_assert(reply_next(bytes, len, &at, &record));
    cr_assert_eq(record.op.status, KVR_OK);
    return most;
}

/* A copy that is on its way out of the device when that fails. */
static void fail_in_the_middle(uint64_t pieces)
{
    uint64_t before = counter_read(&rig.cores[0]->stats->pool_redone);
    struct kvr_load_req like = {.word = 17, .token = 7 + (uint32_t)pieces};
    struct message message;

    put_hot("key", (unsigned)pieces);
    begin(&message, "key", &like);
    gpu_host_fail_after(gpu_fleet_device(rig.fleet, 0), pieces, 0);
    cr_assert(guest_post(&guest, &message));
    (void)watch(&message, &like, (unsigned)pieces, 1024);
    must_be_there((unsigned)pieces, 0, MESSAGE_BLOCK);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->pool_redone), before + 1);
    cr_assert_eq(stats().pins, 0);
    cr_assert_eq(pinned(), 0);
}

Test(tier, a_device_that_fails_in_the_middle_ends_in_the_right_bytes)
{
    for (uint64_t pieces = 0; pieces < 8; pieces += 3)
        fail_in_the_middle(pieces);
    cr_assert_eq(stats().forgotten, 2, "overwritten before they were looked for");
    cr_assert_eq(load("key"), KVR_TIER_HOST, "the copy was lost");
    must_be_there(6, 0, MESSAGE_BLOCK);
    cr_assert_eq(stats().lost, 1);
}

Test(large_tier, layers_told_of_before_a_device_fails_were_right)
{
    struct kvr_load_req like = {.word = 17, .token = 99};
    struct message message;

    put_len("key", 1, REGION);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(load("key"), KVR_TIER_HOST);
        must_be_there(1, 0, REGION);
    }
    turn_until_loaded();
    begin(&message, "key", &like);
    gpu_host_fail_after(gpu_fleet_device(rig.fleet, 0), 2, 0); /* a layer is one piece */
    cr_assert(guest_post(&guest, &message));
    cr_assert_gt(watch(&message, &like, 1, REGION / 4), 0, "it failed before it told of any");
    must_be_there(1, 0, REGION);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->pool_redone), 1);
    cr_assert_eq(stats().pins, 0);
}

/* Its job has ended well by then, but what it read may have been anything. */
Test(slow_tier, what_was_read_before_the_memory_was_lost_is_not_believed_after)
{
    struct kvr_load_req like = {.word = KVR_NO_WORD};
    unsigned n = 0, partition = rig_partition(&rig, "key");
    struct timespec pause = {.tv_nsec = 400000000};
    struct message message;
    char other[64];

    rig_key(&rig, "other", partition, &n, other);
    put(other, 2);
    put_hot("key", 1);
    begin(&message, "key", &like);
    cr_assert(guest_post(&guest, &message));
    begin(&message, other, &like);
    message.hdr.floor = message.hdr.seq - 1; /* the first one is not given up */
    cr_assert(guest_post(&guest, &message));
    gpu_host_fail_after(gpu_fleet_device(rig.fleet, 0), 12, 0);
    rig_turn(&rig);
    nanosleep(&pause, NULL); /* the second one has failed, and the device is back */
    cr_assert_eq(answer("key"), KVR_TIER_HOST);
    cr_assert_eq(answer("key"), KVR_TIER_HOST);
    cr_assert_eq(counter_read(&rig.cores[0]->stats->pool_redone), 1);
    cr_assert_eq(stats().pins, 0);
}

Test(slow_tier, a_device_that_fails_while_a_copy_is_made_has_none)
{
    struct gpu_device *device = gpu_fleet_device(rig.fleet, 0);
    struct message message;

    put("key", 1);
    cr_assert_eq(load("key"), KVR_TIER_HOST);
    must_be_there(1, 0, MESSAGE_BLOCK);
    begin(&message, "key", &(struct kvr_load_req){.word = KVR_NO_WORD});
    cr_assert(guest_post(&guest, &message));
    turn_once();
    cr_assert_eq(stats().loading, 1);
    gpu_host_fail_after(device, 0, 0);
    cr_assert_eq(answer("key"), KVR_TIER_HOST);
    must_be_there(1, 0, MESSAGE_BLOCK);
    turn_until_loaded();
    cr_assert_eq(load("key"), KVR_TIER_HOST);
    must_be_there(1, 0, MESSAGE_BLOCK);
    cr_assert_eq(stats().loads_failed + stats().lost, 1, "the worker may have had it all");
}

Test(two_tiers, each_core_has_the_copies_of_its_own_blocks)
{
    struct pool_stats one;
    unsigned n = 0;
    char key[64];

    for (unsigned partition = 0; partition < 2; partition++) {
        rig_key(&rig, "key", partition, &n, key);
        put(key, partition);
        for (unsigned i = 0; i < 2; i++)
            cr_assert_eq(load(key), KVR_TIER_HOST);
        for (unsigned i = 0; i < 1000; i++) {
            turn_once();
            cr_assert_eq(pool_stats(rig.cores[partition]->pool, 0, &one), 0);
            if (one.ready == 1)
                break;
        }
        memset(memory, UNTOUCHED, REGION);
        cr_assert_eq(load(key), KVR_TIER_GPU);
        must_be_there(partition, 0, MESSAGE_BLOCK);
        cr_assert_eq(pool_stats(rig.cores[partition]->pool, 0, &one), 0);
        cr_assert_eq(one.hits, 1);
    }
}
