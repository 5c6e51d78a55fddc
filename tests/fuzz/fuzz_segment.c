/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile client on the engine's own host: an input is steps, each of which writes somewhere into
 * its segment, moves an index, posts a datagram (built right, then perhaps broken), tells of hits,
 * lets time pass, leaves or comes back; the engine takes turns in between. Beside it lives an
 * honest client on the same two cores. Claims: no byte outside the segment is touched; the honest
 * one is answered, and with the right bytes; whatever the other does, it can leave within a second,
 * and then nothing of it is left; now and then, the partitions are consistent. */
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "gpu/pool.h"
#include "guest.h"
#include "shm/words.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define AUDIT_EVERY 1024u
#define LEAVE_EVERY 8u
#define STEPS_MAX 48u
#define REGION_SIZE 131072u

enum step { WRITE, INDEX, POST, POST_AGAIN, ACCESS, TURN, LATER, TAKE, RETURN, REGION, NR_STEPS };

struct input {
    const uint8_t *at;
    size_t left;
};

static struct rig rig;
static struct guest hostile, honest;
static struct message last;
static uint64_t refs[8]; /* of places, as they were answered */
static uint64_t pins[8]; /* of looks */
static unsigned nr_inputs, nr_tries, nr_missed;
static uint8_t pattern[8192];
static int region_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void note_region(void *context, uint32_t id, unsigned region)
{
    (void)context, (void)id, (void)region;
}

static unsigned take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static uint32_t take4(struct input *input)
{
    uint32_t word = take(input);

    word |= take(input) << 8;
    word |= take(input) << 16;
    return word | (uint32_t)take(input) << 24;
}

/* Mostly numbers at which something may turn. */
static uint32_t take_number(struct input *input)
{
    static const uint32_t edges[] = {0,
                                     1,
                                     SEGMENT_CELLS,
                                     SEGMENT_CELLS + 1,
                                     SEGMENT_ACCESSES,
                                     SEGMENT_MESSAGE_MAX,
                                     SEGMENT_MESSAGE_MAX + 1,
                                     GUEST_STAGING,
                                     0x7fffffff,
                                     0x80000000,
                                     UINT32_MAX};
    unsigned kind = take(input);

    if (kind < 128)
        return edges[kind % (sizeof(edges) / sizeof(edges[0]))] + take(input) % 3 - 1;
    return kind < 192 ? take(input) : take4(input);
}

static const char *take_key(struct input *input)
{
    static const char *const keys[] = {
        "a", "bb", "a key of seventeen", "another key of some length",
        "a key that is longer than thirty-two bytes and so lies behind its value, in reach"};

    return keys[take(input) % (sizeof(keys) / sizeof(keys[0]))];
}

static uint64_t take_until(struct input *input)
{
    return take(input) % 4 == 0 ? rig.now_ns : rig.now_ns + 10000000000ull;
}

/* Another byte of form, conversion, layers or what else stands there. */
static void bend(uint8_t *record, struct input *input)
{
    unsigned n = take(input) % 4, at;

    while (n-- > 0) {
        at = take(input) % (sizeof(struct kvr_load_req) - sizeof(struct kvr_op));
        record[sizeof(struct kvr_op) + at] = (uint8_t)take(input);
    }
}

static void add_load(struct message *m, const char *key, struct input *input)
{
    uint8_t *record =
        message_load(m, key, take(input) % 4, take_number(input) * 16ull, take_until(input));
    uint16_t word = (uint16_t)take_number(input);

    memcpy(record + offsetof(struct kvr_load_req, word), &word, sizeof(word));
    bend(record, input);
}

/* Regions 0 and 1 are there most of the time; their memory has nothing behind it that could be
 * written without a fault. */
static void change_region(struct input *input)
{
    struct gpu_handle handle = {.kind = GPU_HANDLE_MEMFD, .fd = region_fd, .size = REGION_SIZE};
    unsigned region = take(input) & 1;

    if (take(input) & 1)
        (void)!local_region_drop(rig.local, hostile.id, region);
    else
        (void)!local_region_add(rig.local, hostile.id, region, &handle);
    local_regions_tick(rig.local, note_region, NULL);
}

static void add_op(struct message *m, struct input *input)
{
    const char *key = take_key(input);
    unsigned flags = take(input) & 1;
    uint32_t n;

    switch (take(input) % 14) {
    case 0:
        message_place(m, key, take4(input) % 300000u, take(input) % 65u, flags);
        break;
    case 1:
        message_end_place(m, KVR_SEAL, refs[take(input) % 8], take(input) % 65u, take(input));
        break;
    case 2:
        message_end_place(m, KVR_DROP, refs[take(input) % 8], take(input) % 65u, 0);
        break;
    case 3:
        n = take4(input) % 200000u;
        message_store(m, key, take_number(input), n, take4(input), flags);
        break;
    case 4:
        n = take(input) * 64u;
        message_store(m, key, 0, n, crc32c(0, hostile.segment.staging, n), flags);
        break;
    case 5:
        message_put(m, key, pattern, take(input), flags, take(input));
        break;
    case 6:
        message_key(m, take(input) % 2 ? KVR_DEL : KVR_TOUCH, key, 0, 0, NULL);
        break;
    case 7:
        message_hello(m);
        break;
    case 8:
        message_reserve(m, key, 5000, 1024, 0);
        break;
    case 9:
        add_load(m, key, input);
        break;
    case 10:
        bend(message_save(m, key, take(input) % 4, take_until(input), flags), input);
        break;
    case 11:
        message_look(m, key, take(input) % 65u, take(input) % 3u,
                     flags ? refs[take(input) % 8] : 0);
        break;
    case 12:
        message_end_place(m, KVR_RELEASE, pins[take(input) % 8], take(input) % 65u, 0);
        break;
    default:
        message_get(m, key, NULL, 0);
    }
}

static void post(struct input *input, bool again)
{
    unsigned partition;

    if (!again || last.len == 0) {
        guest_begin(&hostile, &last);
        last.hdr.session += take(input) % 3;
        last.hdr.seq = take(input);
        last.hdr.floor = take(input) % 3;
        last.hdr.partition = (uint16_t)(take(input) & 1);
        last.hdr.reply_max = (uint8_t)take(input);
        last.hdr.deadline_us = take(input) * 1000u;
        for (unsigned n = 1 + take(input) % 4; n > 0; n--)
            add_op(&last, input);
        message_seal(&last);
        for (unsigned n = take(input) & 3u; n > 0; n--) {
            last.bytes[take4(input) % last.len] = (uint8_t)take(input);
            message_fix_crc(&last);
        }
    }
    partition = take(input) % 8 ? last.hdr.partition & 1u : take(input) & 1u;
    if (last.len <= SEGMENT_MESSAGE_MAX)
        (void)guest_post_bytes(&hostile, partition, last.bytes, last.len);
}

static void write_somewhere(struct input *input)
{
    uint8_t *bytes = (uint8_t *)hostile.segment.header;
    size_t at = take4(input) % hostile.segment.size;

    for (unsigned n = 1 + take(input) % 8; n > 0 && at < hostile.segment.size; n--)
        bytes[at++] = (uint8_t)take(input);
    /* What says that it is done would end it: that is RETURN's. */
    shared_store(&hostile.segment.header->closed, 0);
}

static void move_index(struct input *input)
{
    struct segment_rings rings = segment_rings_of(&hostile.segment, take(input) & 1);
    struct segment_group *group = rings.group;
    uint32_t *const indexes[] = {&group->request_tail, &group->request_head,
                                 &group->completion_tail, &group->completion_head,
                                 &group->access_tail};
    unsigned which = take(input);
    uint32_t number = take_number(input);

    if (which >= 128) { /* a length, of a cell that comes next or any */
        struct segment_cell *cell = &rings.requests[(group->request_tail + which) % SEGMENT_CELLS];

        cell->len = number;
    } else if (which & 1) {
        shared_store(indexes[which / 2 % 5], number);
    } else {
        shared_store(indexes[which / 2 % 5], *indexes[which / 2 % 5] + number);
    }
}

/* Keeps the references of places and pins of looks, by any shape of answer. */
static void take_answers(void)
{
    for (unsigned partition = 0; partition < 2; partition++) {
        struct segment_rings rings = segment_rings_of(&hostile.segment, partition);

        for (unsigned i = 0; i < SEGMENT_CELLS; i++) {
            struct kvr_place_rep rep;
            struct kvr_look_rep look;

            memcpy(&rep, rings.completions[i].bytes + sizeof(struct kvr_hdr), sizeof(rep));
            if (rep.op.op == KVR_PLACE && rep.op.status == KVR_OK)
                refs[i % 8] = rep.ref;
            memcpy(&look, rings.completions[i].bytes + sizeof(struct kvr_hdr), sizeof(look));
            if (look.op.op == KVR_LOOK && look.op.status == KVR_OK)
                pins[i % 8] = look.pin;
        }
        shared_store(&rings.group->completion_head, shared_load(&rings.group->completion_tail));
    }
}

/* It leaves, and comes back with another segment. */
static void renew(void)
{
    CHECK(guest_leave(&hostile));
    guest_close(&hostile);
    guest_open(&hostile, &rig, hostile.id % 1000 + 2, true);
}

static void run_step(struct input *input)
{
    switch ((enum step)(take(input) % NR_STEPS)) {
    case WRITE:
        write_somewhere(input);
        break;
    case INDEX:
        move_index(input);
        break;
    case POST:
        post(input, false);
        break;
    case POST_AGAIN:
        post(input, true);
        break;
    case ACCESS:
        guest_access(&hostile, take(input) & 1, refs[take(input) % 8] + take(input) / 64);
        break;
    case TURN:
        rig_turn(&rig);
        break;
    case LATER:
        rig.now_ns += take(input) * 10000000ull;
        break;
    case TAKE:
        take_answers();
        break;
    case RETURN:
        if (take(input) % 8 == 0)
            renew();
        break;
    case REGION:
        change_region(input);
        break;
    case NR_STEPS:
        break;
    }
}

/* The other client's life goes on. */
static void live_honestly(void)
{
    uint8_t out[sizeof(pattern)];
    uint32_t len = 1 + nr_inputs % 1000u;
    const uint8_t *value = pattern + nr_inputs % 1000u;
    int status;

    nr_tries++;
    status = guest_put(&honest, "honest", value, len);
    CHECK(status == KVR_OK || status == KVR_NO_SPACE);
    if (status == KVR_OK) {
        int got = guest_get(&honest, "honest", out, sizeof(out));

        CHECK(got == -1 || (got > 0 && memcmp(out, value, (size_t)got) == 0));
        nr_missed += got == -1;
    }
    CHECK(nr_missed * 100 <= nr_tries + 1000);
    if (nr_inputs % 64 == 0) {
        memcpy(honest.segment.staging, value, len);
        status = guest_store(&honest, "stored", 0, len, crc32c(0, value, len));
        CHECK(status == KVR_OK || status == KVR_NO_SPACE);
    }
}

static uint64_t pool_pins(const struct core *core)
{
    struct pool_stats stats;

    CHECK(pool_stats(core->pool, 0, &stats) == 0);
    return stats.pins;
}

/* Nothing of the hostile client stays when it has left. */
static void look_through(void)
{
    uint64_t reserved = 0;

    renew();
    for (unsigned p = 0; p < rig.nr_partitions; p++)
        reserved += counter_read(&arena_part(&rig.arena, p)->reserved);
    CHECK(reserved == 0);
    for (unsigned i = 0; i < rig.nr_cores; i++)
        CHECK(pool_pins(rig.cores[i]) == 0);
    if (nr_inputs % AUDIT_EVERY == 0)
        for (unsigned p = 0; p < rig.nr_partitions; p++)
            CHECK(partition_audit(rig.cores[p % rig.nr_cores]->partitions[p]) == 0);
    for (unsigned i = 0; i < rig.nr_cores && nr_inputs % AUDIT_EVERY == 0; i++)
        CHECK(pool_audit(rig.cores[i]->pool) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct rig_options options;

    (void)argc, (void)argv;
    log_setup("fuzz_segment", LOG_LEVEL_ERROR); /* that a client has gone is no news here */
    for (unsigned i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 7 + i / 256);
    rig_defaults(&options);
    options.nr_cores = 2;
    options.local = options.gpu = true;
    options.pool_bytes = 4u << 20;
    options.pool_blocks = "4096,131072";
    options.pool_hits = 1;
    region_fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(region_fd >= 0 && ftruncate(region_fd, REGION_SIZE) == 0 &&
          fcntl(region_fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    rig_open(&rig, &options);
    guest_open(&honest, &rig, 1, false);
    guest_open(&hostile, &rig, 2, true);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input input = {bytes, len};

    nr_inputs++;
    for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++)
        run_step(&input);
    rig_turn(&rig);
    live_honestly();
    if (nr_inputs % LEAVE_EVERY == 0)
        look_through();
    return 0;
}
