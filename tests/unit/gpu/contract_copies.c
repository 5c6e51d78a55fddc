/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of submit and poll: which bytes are where afterwards, and in which order. Every
 * check compares whole buffers, so that a byte written beside a piece is found, too. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "contract.h"
#include "gpu/quant.h"

#define ROOM (8u << 20)
#define PUSHES_MAX 1000u /* twice what a backend may have in flight */

/* Three buffers of ROOM bytes: near, device, and what should be in one of them. Their first room
 * bytes are filled and compared. */
struct buffers {
    size_t room;
    uint8_t *near, *want, *got;
    struct gpu_memory memory;
};

static bool buffers_open(struct rig *rig, struct buffers *buffers)
{
    buffers->near = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buffers->room = ROOM;
    buffers->want = malloc(ROOM);
    buffers->got = malloc(ROOM);
    return buffers->near != MAP_FAILED && buffers->want && buffers->got &&
           rig->backend->alloc(rig->device, ROOM, &buffers->memory) == 0;
}

static bool buffers_close(struct rig *rig, struct buffers *buffers)
{
    rig->backend->free(rig->device, &buffers->memory);
    free(buffers->want);
    free(buffers->got);
    return munmap(buffers->near, ROOM) == 0;
}

/* Both sides hold other bytes than the pieces and than each other. */
static bool buffers_fill(struct rig *rig, struct buffers *buffers, uint64_t seed)
{
    contract_fill(buffers->near, buffers->room, seed);
    contract_fill(buffers->got, buffers->room, seed + 1);
    return rig->backend->write(rig->device, buffers->memory.address, buffers->got, buffers->room) ==
           0;
}

static struct gpu_strip strip_of(const struct buffers *buffers, uint32_t bytes, uint32_t nr,
                                 uint32_t near_gap, uint32_t device_gap)
{
    return (struct gpu_strip){.near = (uintptr_t)buffers->near + near_gap,
                              .device = buffers->memory.address + device_gap,
                              .near_step = bytes + near_gap,
                              .device_step = bytes + device_gap,
                              .piece_bytes = bytes,
                              .nr_pieces = nr};
}

static void paste(uint8_t *to, uint64_t to_step, const uint8_t *from, uint64_t from_step,
                  const struct gpu_strip *strip)
{
    for (uint32_t i = 0; i < strip->nr_pieces; i++)
        memcpy(to + i * to_step, from + i * from_step, strip->piece_bytes);
}

static bool load_and_compare(struct rig *rig, struct buffers *buffers,
                             const struct gpu_strip *strip)
{
    uint64_t near_off = strip->near - (uintptr_t)buffers->near;
    uint64_t device_off = strip->device - buffers->memory.address;

    CHECK(buffers_fill(rig, buffers, strip->piece_bytes));
    memcpy(buffers->want, buffers->got, buffers->room);
    paste(buffers->want + device_off, strip->device_step, buffers->near + near_off,
          strip->near_step, strip);
    CHECK(contract_copy(rig, 0, GPU_LOAD, strip, 1) == 0);
    CHECK(rig->backend->read(rig->device, buffers->memory.address, buffers->got, buffers->room) ==
          0);
    CHECK(memcmp(buffers->got, buffers->want, buffers->room) == 0);
    return true;
}

static bool store_and_compare(struct rig *rig, struct buffers *buffers,
                              const struct gpu_strip *strip)
{
    uint64_t near_off = strip->near - (uintptr_t)buffers->near;
    uint64_t device_off = strip->device - buffers->memory.address;

    CHECK(buffers_fill(rig, buffers, strip->piece_bytes));
    memcpy(buffers->want, buffers->near, buffers->room);
    paste(buffers->want + near_off, strip->near_step, buffers->got + device_off, strip->device_step,
          strip);
    CHECK(contract_copy(rig, 1, GPU_STORE, strip, 1) == 0);
    CHECK(memcmp(buffers->near, buffers->want, buffers->room) == 0);
    return true;
}

static bool all_sizes(struct rig *rig, struct buffers *buffers)
{
    static const uint32_t sizes[] = {16, 48, 256, 4096, 4112, 65536, (1 << 20) + 16, 3 << 20};
    static const uint32_t counts[] = {1, 2, 7, 300};
    static const uint32_t gaps[][2] = {{0, 0}, {0, 16}, {48, 0}, {16, 4096}};

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
                struct gpu_strip strip =
                    strip_of(buffers, sizes[s], counts[c], gaps[g][0], gaps[g][1]);

                buffers->room = counts[c] * ((size_t)sizes[s] + 4096) + 8192;
                if (buffers->room > ROOM)
                    continue;
                CHECK(load_and_compare(rig, buffers, &strip));
                CHECK(store_and_compare(rig, buffers, &strip));
            }
        }
    }
    return true;
}

static bool pieces_of_all_sizes_and_steps_are_exact_both_ways(struct rig *rig)
{
    struct buffers buffers;

    CHECK(buffers_open(rig, &buffers));
    CHECK(all_sizes(rig, &buffers));
    return buffers_close(rig, &buffers);
}

static bool registered_memory_is_copied_as_well(struct rig *rig)
{
    struct buffers buffers;

    CHECK(buffers_open(rig, &buffers));
    CHECK(rig->backend->host_register(rig->device, buffers.near, ROOM) == 0);
    CHECK(rig->backend->host_register(rig->device, buffers.near, ROOM) == -EEXIST);
    CHECK(all_sizes(rig, &buffers));
    rig->backend->host_unregister(rig->device, buffers.near, ROOM);
    CHECK(rig->backend->host_register(rig->device, buffers.near, ROOM / 2) == 0);
    /* Half of what a strip names is registered. */
    CHECK(all_sizes(rig, &buffers));
    rig->backend->host_unregister(rig->device, buffers.near, ROOM / 2);
    return buffers_close(rig, &buffers);
}

static bool steps_may_go_round_the_pieces_of_another_strip(struct rig *rig)
{
    struct gpu_strip strips[2];
    struct buffers buffers;

    CHECK(buffers_open(rig, &buffers));
    CHECK(buffers_fill(rig, &buffers, 5));
    memcpy(buffers.want, buffers.got, ROOM);
    strips[0] = strip_of(&buffers, 64, 1000, 64, 64);
    strips[1] = strips[0];
    strips[1].near -= 64;
    strips[1].device -= 64;
    memcpy(buffers.want, buffers.near, 128 * 1000);
    CHECK(contract_copy(rig, 0, GPU_LOAD, strips, 2) == 0);
    CHECK(rig->backend->read(rig->device, buffers.memory.address, buffers.got, ROOM) == 0);
    CHECK(memcmp(buffers.got, buffers.want, ROOM) == 0);
    return buffers_close(rig, &buffers);
}

static bool one_submit_takes_as_many_strips_as_it_says(struct rig *rig)
{
    static struct gpu_strip strips[GPU_STRIPS_MAX + 1];
    struct buffers buffers;
    uint64_t ticket;

    CHECK(buffers_open(rig, &buffers));
    CHECK(buffers_fill(rig, &buffers, 7));
    memcpy(buffers.want, buffers.got, ROOM);
    for (uint32_t i = 0; i < GPU_STRIPS_MAX; i++) {
        uint32_t off = i * 12288;

        /* Sizes that go by kernel and sizes that go by copy engine in one batch. */
        strips[i] = strip_of(&buffers, i % 3 ? 32 : 4096, 2, 0, 16);
        strips[i].near += off;
        strips[i].device += off;
        paste(buffers.want + off + 16, strips[i].device_step, buffers.near + off,
              strips[i].near_step, &strips[i]);
    }
    CHECK(contract_copy(rig, 0, GPU_LOAD, strips, GPU_STRIPS_MAX) == 0);
    CHECK(rig->backend->read(rig->device, buffers.memory.address, buffers.got, ROOM) == 0);
    CHECK(memcmp(buffers.got, buffers.want, ROOM) == 0);
    strips[GPU_STRIPS_MAX] = strips[0];
    CHECK(rig->backend->submit(rig->device, 0, GPU_LOAD, strips, GPU_STRIPS_MAX + 1, &ticket) ==
          -EINVAL);
    CHECK(rig->backend->submit(rig->device, 0, GPU_LOAD, strips, 0, &ticket) == -EINVAL);
    return buffers_close(rig, &buffers);
}

/* Loads into the first half while stores read the second. */
static bool both_lanes_work_at_once(struct rig *rig)
{
    const uint32_t len = 64 << 10, nr = ROOM / 2 / len;
    uint64_t tickets[GPU_LANES] = {0};
    struct buffers buffers;

    CHECK(buffers_open(rig, &buffers));
    CHECK(buffers_fill(rig, &buffers, 11));
    memcpy(buffers.want, buffers.near, ROOM / 2);
    memcpy(buffers.want + ROOM / 2, buffers.got + ROOM / 2, ROOM / 2);
    for (uint32_t i = 0; i < 2 * nr; i++) {
        unsigned lane = i % 2;
        uint64_t off = (i / 2 + (lane ? nr : 0)) * (uint64_t)len;
        struct gpu_strip strip = strip_of(&buffers, len, 1, 0, 0);
        int rc;

        strip.near += off;
        strip.device += off;
        while ((rc = rig->backend->submit(rig->device, lane, lane ? GPU_STORE : GPU_LOAD, &strip, 1,
                                          &tickets[lane])) == -EAGAIN)
            CHECK(rig->backend->poll(rig->device, lane, tickets[lane]) >= 0);
        CHECK(rc == 0 && tickets[lane] == i / 2 + 1);
    }
    for (unsigned lane = 0; lane < GPU_LANES; lane++)
        CHECK(contract_wait(rig, lane, tickets[lane]) == 0);
    CHECK(memcmp(buffers.near, buffers.want, ROOM) == 0);
    CHECK(rig->backend->read(rig->device, buffers.memory.address, buffers.got, ROOM) == 0);
    CHECK(memcmp(buffers.got, buffers.want, ROOM) == 0);
    return buffers_close(rig, &buffers);
}

static bool push(struct rig *rig, enum gpu_direction direction, const struct gpu_strip *strip,
                 uint64_t *ticket)
{
    int rc;

    while ((rc = rig->backend->submit(rig->device, 0, direction, strip, 1, ticket)) == -EAGAIN)
        CHECK(rig->backend->poll(rig->device, 0, *ticket) >= 0);
    CHECK(rc == 0);
    return true;
}

/* Each round loads over what the round before has left, moves it on, and stores that. */
static bool a_lane_keeps_the_order(struct rig *rig)
{
    const uint32_t len = 256 << 10, rounds = 10;
    uint64_t ticket = 0;
    struct buffers buffers;

    CHECK(buffers_open(rig, &buffers));
    CHECK(buffers_fill(rig, &buffers, 13));
    for (uint32_t i = 0; i < rounds; i++) {
        struct gpu_strip strip = strip_of(&buffers, len, 1, 0, 0);

        strip.near += (uint64_t)i * len;
        CHECK(push(rig, GPU_LOAD, &strip, &ticket));
        strip.near = buffers.memory.address;
        strip.device = buffers.memory.address + len;
        CHECK(push(rig, GPU_MOVE, &strip, &ticket));
        strip.near = (uintptr_t)buffers.near + (uint64_t)(rounds + i) * len;
        CHECK(push(rig, GPU_STORE, &strip, &ticket));
    }
    CHECK(contract_wait(rig, 0, ticket) == 0);
    for (uint64_t older = 1; older <= ticket; older++)
        CHECK(rig->backend->poll(rig->device, 0, older) == 1);
    CHECK(memcmp(buffers.near, buffers.near + rounds * len, rounds * len) == 0);
    return buffers_close(rig, &buffers);
}

static bool too_much_is_refused_until_some_is_done(struct rig *rig)
{
    struct buffers buffers;
    struct gpu_strip strip;
    uint64_t ticket = 0, newest = 0;
    int rc = 0;

    CHECK(buffers_open(rig, &buffers));
    strip = strip_of(&buffers, ROOM / 2, 1, 0, 0);
    for (unsigned i = 0; i < PUSHES_MAX && rc == 0; i++) {
        rc = rig->backend->submit(rig->device, 0, GPU_LOAD, &strip, 1, &ticket);
        newest = rc == 0 ? ticket : newest;
    }
    /* Or the copies wait for each other in submit, as CUDA's of memory that is not registered may:
     * then nothing heaps up. */
    CHECK(newest > 1);
    CHECK(rc == -EAGAIN || (rc == 0 && newest == PUSHES_MAX));
    CHECK(rc == -EAGAIN || rig->backend->poll(rig->device, 0, newest - PUSHES_MAX / 2) == 1);
    CHECK(contract_wait(rig, 0, newest) == 0);
    CHECK(rig->backend->submit(rig->device, 0, GPU_LOAD, &strip, 1, &ticket) == 0);
    CHECK(ticket == newest + 1);
    CHECK(contract_wait(rig, 0, ticket) == 0);
    return buffers_close(rig, &buffers);
}

static bool moves_go_from_one_step_to_another(struct rig *rig)
{
    static const uint32_t sizes[] = {16, 512, 8192};
    struct buffers buffers;

    CHECK(buffers_open(rig, &buffers));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct gpu_strip strip = strip_of(&buffers, sizes[i], 200, 0, 32);
        uint64_t from = ROOM / 2;

        CHECK(buffers_fill(rig, &buffers, 17 + i));
        memcpy(buffers.want, buffers.got, ROOM);
        paste(buffers.want + 32, strip.device_step, buffers.got + from, strip.near_step, &strip);
        strip.near = buffers.memory.address + from;
        CHECK(contract_copy(rig, 0, GPU_MOVE, &strip, 1) == 0);
        CHECK(rig->backend->read(rig->device, buffers.memory.address, buffers.got, ROOM) == 0);
        CHECK(memcmp(buffers.got, buffers.want, ROOM) == 0);
    }
    return buffers_close(rig, &buffers);
}

/* Elements of a group are of one order, so that every integer occurs, and quotients that are close
 * to a half; from group to group the order goes through all that there are. */
static bool fill_alike(struct rig *rig, struct buffers *buffers, unsigned element)
{
    const uint32_t shift = element == KVR_BF16 ? 7 : 10, orders = element == KVR_BF16 ? 255 : 31;

    for (uint32_t i = 0; i < buffers->room / 2; i++) {
        uint32_t order = i / 256 % orders, below;
        uint16_t x;

        memcpy(&x, buffers->got + 2 * i, sizeof(x));
        below = (x * 2654435761u) >> 30;
        order -= order < below ? order : below;
        x = (uint16_t)((x & 0x8000u) | order << shift | (x & ((1u << shift) - 1)));
        memcpy(buffers->got + 2 * i, &x, sizeof(x));
    }
    return rig->backend->write(rig->device, buffers->memory.address, buffers->got, buffers->room) ==
           0;
}

/* Any bit pattern is an element: infinities, NaN and subnormals are among them. */
static bool converted(struct rig *rig, struct buffers *buffers, struct kvr_conversion conversion,
                      uint32_t nr_elements, bool alike)
{
    uint32_t bytes = nr_elements * 2, nr = 20;
    uint32_t packed = (uint32_t)quant_packed_len(&conversion, nr_elements);
    struct gpu_strip strip = strip_of(buffers, bytes, nr, 0, 96);

    buffers->room = nr * ((size_t)bytes + 96) + 96;
    strip.conversion = conversion;
    strip.near_step = packed;
    CHECK(buffers_fill(rig, buffers, nr_elements));
    CHECK(!alike || fill_alike(rig, buffers, conversion.element));
    memcpy(buffers->want, buffers->near, buffers->room);
    for (uint32_t i = 0; i < nr; i++)
        quant_pack(&conversion, buffers->got + 96 + i * strip.device_step, nr_elements,
                   buffers->want + i * strip.near_step);
    CHECK(contract_copy(rig, 1, GPU_STORE, &strip, 1) == 0);
    CHECK(memcmp(buffers->near, buffers->want, buffers->room) == 0);
    for (uint32_t i = 0; i < nr; i++)
        quant_unpack(&conversion, buffers->near + i * strip.near_step, nr_elements,
                     buffers->got + 96 + i * strip.device_step);
    memcpy(buffers->want, buffers->got, buffers->room);
    CHECK(contract_copy(rig, 0, GPU_LOAD, &strip, 1) == 0);
    CHECK(rig->backend->read(rig->device, buffers->memory.address, buffers->got, buffers->room) ==
          0);
    CHECK(memcmp(buffers->got, buffers->want, buffers->room) == 0);
    return true;
}

/* -ENOTSUP before anything is begun, as backend.h allows where there are no kernels. */
static bool cannot_convert(struct rig *rig, const struct buffers *buffers)
{
    struct gpu_strip strip = strip_of(buffers, 4096, 1, 0, 0);
    uint64_t ticket;

    strip.conversion = (struct kvr_conversion){8, KVR_BF16, 32};
    return rig->backend != &gpu_backend_host &&
           rig->backend->submit(rig->device, 0, GPU_STORE, &strip, 1, &ticket) == -ENOTSUP;
}

static bool all_conversions(struct rig *rig, struct buffers *buffers)
{
    static const uint8_t bits[] = {8, 4}, elements[] = {KVR_BF16, KVR_FP16};

    for (unsigned i = 0; i < 4; i++) {
        for (uint16_t group = 32; group <= 256; group *= 2) {
            struct kvr_conversion conversion = {bits[i % 2], elements[i / 2], group};

            CHECK(converted(rig, buffers, conversion, group, false));
            CHECK(converted(rig, buffers, conversion, 3 * 256, true));
            CHECK(converted(rig, buffers, conversion, 4096, false));
            CHECK(converted(rig, buffers, conversion, 16384, true));
        }
    }
    return true;
}

static bool conversions_give_the_bits_of_quant_h(struct rig *rig)
{
    struct buffers buffers;

    CHECK(buffers_open(rig, &buffers));
    if (cannot_convert(rig, &buffers)) {
        printf("(built without kernels: no conversions)\n");
        return buffers_close(rig, &buffers);
    }
    CHECK(all_conversions(rig, &buffers));
    CHECK(rig->backend->host_register(rig->device, buffers.near, ROOM) == 0);
    CHECK(all_conversions(rig, &buffers));
    rig->backend->host_unregister(rig->device, buffers.near, ROOM);
    return buffers_close(rig, &buffers);
}

static bool a_move_with_a_conversion_is_refused(struct rig *rig)
{
    struct buffers buffers;
    struct gpu_strip strip;
    uint64_t ticket;

    CHECK(buffers_open(rig, &buffers));
    strip = strip_of(&buffers, 4096, 1, 0, 0);
    strip.near = buffers.memory.address + 8192;
    strip.conversion = (struct kvr_conversion){8, KVR_BF16, 32};
    CHECK(rig->backend->submit(rig->device, 0, GPU_MOVE, &strip, 1, &ticket) == -EINVAL);
    return buffers_close(rig, &buffers);
}

const struct contract_check contract_copies[] = {
    {"pieces of all sizes and steps are exact, both ways",
     pieces_of_all_sizes_and_steps_are_exact_both_ways},
    {"registered memory is copied as well", registered_memory_is_copied_as_well},
    {"steps may go round the pieces of another strip",
     steps_may_go_round_the_pieces_of_another_strip},
    {"one submit takes as many strips as it says", one_submit_takes_as_many_strips_as_it_says},
    {"both lanes work at once", both_lanes_work_at_once},
    {"a lane keeps the order", a_lane_keeps_the_order},
    {"too much is refused until some is done", too_much_is_refused_until_some_is_done},
    {"moves go from one step to another", moves_go_from_one_step_to_another},
    {"conversions give the bits of quant.h", conversions_give_the_bits_of_quant_h},
    {"a move with a conversion is refused", a_move_with_a_conversion_is_refused},
    {NULL, NULL},
};
