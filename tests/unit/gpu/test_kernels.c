/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels' source on the host against memcpy and quant.h, to the bit and with nothing touched
 * beside. A plain program: it runs where there is neither a device nor Criterion. What it cannot
 * see: the compiler for devices, its intrinsics, and timing. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "gpu/quant.h"
#include "kernels_on_host.h"
#include "quant_checks.h"
#include "quant_data.h"

#define ROOM (1u << 20)
#define UNTOUCHED 0xa5

/* What a launch reads, writes, and should have written. */
static _Alignas(64) uint8_t source[ROOM], target[ROOM], expected[ROOM];

/* One strip to be: where its pieces are in source and target. */
struct place {
    uint32_t nr_pieces, piece; /* bytes, or elements if it is converted */
    uint32_t from, from_step, to, to_step;
};

static void launch_add(struct kernel_args *args, const struct place *place, uint32_t tile)
{
    struct kernel_strip *strip = &args->strips[args->nr_strips++];

    *strip = (struct kernel_strip){.from = (uintptr_t)(source + place->from),
                                   .to = (uintptr_t)(target + place->to),
                                   .from_step = place->from_step,
                                   .to_step = place->to_step,
                                   .piece = place->piece,
                                   .first_tile = args->nr_tiles,
                                   .piece_tiles = (place->piece + tile - 1) / tile};
    args->nr_tiles += strip->piece_tiles * place->nr_pieces;
}

static void begin(struct rng *rng)
{
    for (size_t i = 0; i < ROOM; i++)
        source[i] = (uint8_t)rng_next(rng);
    memset(target, UNTOUCHED, ROOM);
    memset(expected, UNTOUCHED, ROOM);
}

static bool is_expected(const char *what, const struct place *place)
{
    for (size_t i = 0; i < ROOM; i++) {
        if (target[i] == expected[i])
            continue;
        printf("%s: %u pieces of %u, from %u + %u, to %u + %u: byte %zu is %02x, not %02x\n", what,
               place->nr_pieces, place->piece, place->from, place->from_step, place->to,
               place->to_step, i, target[i], expected[i]);
        return false;
    }
    return true;
}

static bool moves(struct rng *rng, const struct place *place, unsigned blocks)
{
    struct kernel_args args = {0};

    begin(rng);
    launch_add(&args, place, KERNEL_TILE_BYTES);
    for (uint32_t i = 0; i < place->nr_pieces; i++)
        memcpy(expected + place->to + i * place->to_step,
               source + place->from + i * place->from_step, place->piece);
    kernels_on_host_run(KERNEL_MOVE, blocks, &args);
    return is_expected("move", place);
}

static bool pieces_of_any_size_and_place_are_moved(uint64_t seed)
{
    static const struct place places[] = {
        {1, 16, 0, 16, 0, 16},           {1, 1, 3, 1, 5, 1},
        {7, 2048, 0, 2048, 64, 4096},    {3, 16384, 16, 16384, 32, 20000},
        {5, 4100, 4, 4100, 8, 5000},     {5, 2047, 1, 2047, 2, 2049},
        {2, 65536, 0, 65536, 0, 131072}, {300, 48, 0, 48, 16, 96},
    };
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        for (unsigned blocks = 1; blocks <= 3; blocks += 2)
            if (!moves(&rng, &places[i], blocks))
                return false;
    for (unsigned i = 0; i < 40; i++) {
        uint32_t piece = 1 + (uint32_t)rng_below(&rng, 9000);
        struct place place = {.nr_pieces = 1 + (uint32_t)rng_below(&rng, 20),
                              .piece = piece,
                              .from = (uint32_t)rng_below(&rng, 64),
                              .from_step = piece + (uint32_t)rng_below(&rng, 40),
                              .to = (uint32_t)rng_below(&rng, 64),
                              .to_step = piece + (uint32_t)rng_below(&rng, 40)};

        if (!moves(&rng, &place, 1))
            return false;
    }
    return true;
}

/* As many as fit into one launch, of different sizes; each piece takes its own way. */
static bool strips_of_one_launch_keep_apart(uint64_t seed)
{
    struct kernel_args args = {0};
    struct place place = {0};
    struct rng rng;

    rng_seed(&rng, seed);
    begin(&rng);
    for (unsigned i = 0; i < KERNEL_STRIPS_MAX; i++) {
        place = (struct place){.nr_pieces = 1 + i % 3,
                               .piece = 16 * (1 + (uint32_t)rng_below(&rng, 200)),
                               .from = i * 12288,
                               .from_step = 4096,
                               .to = (KERNEL_STRIPS_MAX - 1 - i) * 12288,
                               .to_step = 4096};
        launch_add(&args, &place, KERNEL_TILE_BYTES);
        for (uint32_t j = 0; j < place.nr_pieces; j++)
            memcpy(expected + place.to + j * 4096, source + place.from + j * 4096, place.piece);
    }
    kernels_on_host_run(KERNEL_MOVE, 2, &args);
    return is_expected("strips", &place);
}

static unsigned kernel_of(unsigned first, const struct kvr_conversion *conversion)
{
    return first + 2 * (conversion->element == KVR_FP16) + (conversion->bits == 4);
}

static bool packs(const struct kvr_conversion *conversion, const struct place *place)
{
    struct kernel_args args = {.group = conversion->group};

    memset(target, UNTOUCHED, ROOM);
    memset(expected, UNTOUCHED, ROOM);
    launch_add(&args, place, KERNEL_TILE_ELEMENTS);
    for (uint32_t i = 0; i < place->nr_pieces; i++)
        quant_pack(conversion, source + place->from + i * place->from_step, place->piece,
                   expected + place->to + i * place->to_step);
    kernels_on_host_run(kernel_of(KERNEL_PACK, conversion), 1, &args);
    return is_expected(conversion_name(conversion), place);
}

static bool unpacks(const struct kvr_conversion *conversion, const struct place *place)
{
    struct kernel_args args = {.group = conversion->group};

    memset(target, UNTOUCHED, ROOM);
    memset(expected, UNTOUCHED, ROOM);
    launch_add(&args, place, KERNEL_TILE_ELEMENTS);
    for (uint32_t i = 0; i < place->nr_pieces; i++)
        quant_unpack(conversion, source + place->from + i * place->from_step, place->piece,
                     expected + place->to + i * place->to_step);
    kernels_on_host_run(kernel_of(KERNEL_UNPACK, conversion), 1, &args);
    return is_expected(conversion_name(conversion), place);
}

/* Elements of every distribution, next to each other; or any bytes for scales and integers. */
static void fill_elements(struct rng *rng, unsigned element)
{
    static uint16_t elements[ROOM / 2];
    size_t nr = 0, each = 4096;

    for (const struct distribution *d = distributions; d->name && nr + each <= ROOM / 2; d++) {
        distribution_fill(d, rng, element, elements + nr, each);
        nr += each;
    }
    for (; nr < ROOM / 2; nr++)
        elements[nr] = (uint16_t)rng_next(rng);
    memcpy(source, elements, ROOM);
}

/* Odd numbers of groups, so that integers lie at odd words; ends within a tile and behind it. */
static bool conversions_give_the_hosts_bits(uint64_t seed)
{
    static const uint32_t groups[] = {1, 3, 8, 9, 65};
    struct rng rng;

    rng_seed(&rng, seed);
    quant_use(0);
    for (unsigned i = 0; i < CONVERSIONS; i++) {
        struct kvr_conversion conversion = conversion_of(i);

        fill_elements(&rng, conversion.element);
        for (size_t j = 0; j < sizeof(groups) / sizeof(groups[0]); j++) {
            uint32_t nr = groups[j] * conversion.group, skew = 2 * (uint32_t)(j % 2);
            uint32_t packed = (uint32_t)quant_packed_len(&conversion, nr);
            struct place pack = {3, nr, skew, 2 * nr + 16, 64 + skew, packed + (uint32_t)j};
            struct place unpack = {3, nr, skew, packed + (uint32_t)j, 64 + skew, 2 * nr + 16};

            if (!packs(&conversion, &pack) || !unpacks(&conversion, &unpack))
                return false;
        }
    }
    return true;
}

int main(void)
{
    static const struct quant_check checks[] = {
        {"pieces of any size and place are moved", pieces_of_any_size_and_place_are_moved},
        {"strips of one launch keep apart", strips_of_one_launch_keep_apart},
        {"conversions give the host's bits", conversions_give_the_hosts_bits},
    };
    uint64_t seed = quant_seed();
    int failed = 0;

    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        bool right = checks[i].right(seed);

        printf("%s %s\n", right ? "ok  " : "FAIL", checks[i].name);
        failed |= !right;
    }
    return failed;
}
