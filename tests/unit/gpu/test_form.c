/* SPDX-License-Identifier: Apache-2.0 */
/* Forms: what is valid, what they span, and that strips name each piece once, where it belongs. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "gpu/form.h"
#include "gpu/quant.h"
#include "kvrail/proto.h"

static const struct kvr_conversion as_it_is = {0};

static struct kvr_form vllm(void)
{
    return (struct kvr_form){.nr_layers = 3,
                             .nr_kinds = 2,
                             .nr_pieces = 1,
                             .piece_bytes = 4096,
                             .layer_step = 2 * 10 * 4096,
                             .kind_step = 10 * 4096};
}

static bool valid_with(size_t field, size_t size, uint64_t value)
{
    struct kvr_form form = vllm();

    memcpy((uint8_t *)&form + field, &value, size);
    return form_valid(&form, &as_it_is);
}

#define VALID_WITH(field, value)                                                                   \
    valid_with(offsetof(struct kvr_form, field), sizeof(((struct kvr_form *)0)->field), (value))

Test(form, every_field_has_its_range)
{
    cr_assert(VALID_WITH(nr_layers, 1) && VALID_WITH(nr_layers, KVR_LAYERS_MAX));
    cr_assert(!VALID_WITH(nr_layers, 0) && !VALID_WITH(nr_layers, KVR_LAYERS_MAX + 1));
    cr_assert(VALID_WITH(nr_kinds, 1));
    cr_assert(!VALID_WITH(nr_kinds, 0) && !VALID_WITH(nr_kinds, 3));
    cr_assert(!VALID_WITH(nr_pieces, 0) && !VALID_WITH(nr_pieces, KVR_PIECES_MAX + 1));
    cr_assert(!VALID_WITH(zero, 1) && !VALID_WITH(zero2, 1));
    cr_assert(VALID_WITH(piece_bytes, 16) && VALID_WITH(piece_bytes, 40960));
    cr_assert(!VALID_WITH(piece_bytes, 0) && !VALID_WITH(piece_bytes, 24));
    cr_assert(!VALID_WITH(piece_bytes, KVR_PIECE_MAX + 16));
    cr_assert(!VALID_WITH(layer_step, 2 * 10 * 4096 + 8) && !VALID_WITH(kind_step, 40968));
    cr_assert(VALID_WITH(piece_step, 7 * 16) && !VALID_WITH(piece_step, 7 * 16 + 1));
}

Test(form, pieces_must_not_overlap)
{
    struct kvr_form form = vllm();

    cr_assert(!VALID_WITH(kind_step, 4080));
    cr_assert(!VALID_WITH(layer_step, 10 * 4096 + 4080));
    cr_assert(VALID_WITH(layer_step, 11 * 4096));
    cr_assert(!VALID_WITH(kind_step, 0) && !VALID_WITH(layer_step, 0));
    /* Layers inside of kinds. */
    form.layer_step = 4096;
    form.kind_step = 3 * 4096;
    cr_assert(form_valid(&form, &as_it_is));
    form.kind_step -= 16;
    cr_assert(!form_valid(&form, &as_it_is));
}

Test(form, steps_may_be_as_large_as_they_like_without_overflow)
{
    struct kvr_form form = {.nr_layers = 512,
                            .nr_kinds = 2,
                            .nr_pieces = 4096,
                            .piece_bytes = 16,
                            .layer_step = UINT64_MAX - 15,
                            .kind_step = UINT64_MAX - 15,
                            .piece_step = UINT64_MAX - 15};

    cr_assert(!form_valid(&form, &as_it_is));
    form.nr_pieces = 1;
    form.nr_kinds = 1;
    cr_assert(form_valid(&form, &as_it_is));
    cr_assert_eq(form_span(&form), 0);
    form.nr_layers = 2;
    cr_assert_eq(form_span(&form), 0);
    form.layer_step = (1ull << 63) - 16;
    cr_assert_eq(form_span(&form), 1ull << 63);
    form.layer_step += 16;
    cr_assert_eq(form_span(&form), 0);
}

Test(form, span_and_length_are_those_of_the_example)
{
    struct kvr_form form = vllm();

    cr_assert_eq(form_packed_len(&form, &as_it_is), 6 * 4096);
    cr_assert_eq(form_span(&form), 2 * 2 * 10 * 4096 + 10 * 4096 + 4096);
}

Test(form, a_block_is_at_most_a_value)
{
    struct kvr_form form = {.nr_layers = 4,
                            .nr_kinds = 1,
                            .nr_pieces = 1,
                            .piece_bytes = KVR_PIECE_MAX,
                            .layer_step = KVR_PIECE_MAX};
    const struct kvr_conversion int8 = {8, KVR_BF16, 64};

    cr_assert_eq(form_packed_len(&form, &as_it_is), KVR_VALUE_MAX);
    form.nr_layers = 5;
    cr_assert_eq(form_packed_len(&form, &as_it_is), 0);
    cr_assert_eq(form_packed_len(&form, &int8), 5 * quant_packed_len(&int8, KVR_PIECE_MAX / 2));
    form.nr_layers = KVR_LAYERS_MAX;
    form.nr_kinds = 2;
    form.nr_pieces = KVR_PIECES_MAX;
    cr_assert_eq(form_packed_len(&form, &as_it_is), 0);
}

Test(form, a_conversion_must_divide_the_piece)
{
    struct kvr_form form = vllm();
    struct kvr_conversion conversion = {8, KVR_FP16, 128};

    cr_assert(form_valid(&form, &conversion));
    form.piece_bytes = 128;
    cr_assert(!form_valid(&form, &conversion));
    conversion.group = 64;
    cr_assert(form_valid(&form, &conversion));
    conversion.bits = 5;
    cr_assert(!form_valid(&form, &conversion));
    conversion = (struct kvr_conversion){16, 99, 99};
    cr_assert(form_valid(&form, &conversion));
}

/* Every 16 bytes of the device's side say which 16 bytes of the packed side belong there. */
static void spread(const struct gpu_strip *strips, unsigned nr, uint32_t near_unit, uint32_t *map)
{
    for (unsigned s = 0; s < nr; s++) {
        for (uint32_t p = 0; p < strips[s].nr_pieces; p++) {
            for (uint32_t b = 0; b < strips[s].piece_bytes; b += 16) {
                uint64_t at = strips[s].device + p * strips[s].device_step + b;

                cr_assert_eq(map[at / 16], 0, "named twice");
                map[at / 16] =
                    1 + (uint32_t)(strips[s].near + p * strips[s].near_step) + (near_unit ? b : 0);
            }
        }
    }
}

static void expect(const struct kvr_form *form, uint32_t packed_piece, uint32_t near_unit,
                   uint32_t *map)
{
    uint32_t near = 0;

    for (unsigned l = 0; l < form->nr_layers; l++) {
        for (unsigned k = 0; k < form->nr_kinds; k++) {
            for (unsigned p = 0; p < form->nr_pieces; p++, near += packed_piece) {
                uint64_t at = l * form->layer_step + k * form->kind_step + p * form->piece_step;

                for (uint32_t b = 0; b < form->piece_bytes; b += 16)
                    map[(at + b) / 16] = 1 + near + (near_unit ? b : 0);
            }
        }
    }
}

static uint64_t step(struct rng *rng, uint64_t least)
{
    return rng_below(rng, 2) ? least : least + 16 * rng_below(rng, 5);
}

/* Dimensions in any order of size, with and without gaps. */
static struct kvr_form random_form(struct rng *rng)
{
    struct kvr_form form = {.nr_layers = 1 + rng_below(rng, 4),
                            .nr_kinds = 1 + rng_below(rng, 2),
                            .nr_pieces = 1 + rng_below(rng, 5),
                            .piece_bytes = 64 * (1 + rng_below(rng, 4))};
    uint64_t *const steps[] = {&form.layer_step, &form.kind_step, &form.piece_step};
    const unsigned counts[] = {form.nr_layers, form.nr_kinds, form.nr_pieces};
    unsigned first = rng_below(rng, 3), way = 1 + rng_below(rng, 2);
    uint64_t extent = form.piece_bytes;

    for (unsigned i = 0; i < 3; i++) {
        unsigned at = (first + i * way) % 3;

        *steps[at] = step(rng, extent);
        extent = *steps[at] * counts[at];
    }
    return form;
}

Test(form, strips_name_each_piece_once_and_where_it_belongs)
{
    const struct kvr_conversion int4 = {4, KVR_BF16, 32};
    struct rng rng;

    rng_seed(&rng, 3);
    for (unsigned round = 0; round < 3000; round++) {
        struct kvr_form form = random_form(&rng);
        bool convert = rng_below(&rng, 3) == 0;
        const struct kvr_conversion *conversion = convert ? &int4 : &as_it_is;
        uint32_t packed =
            convert ? (uint32_t)quant_packed_len(&int4, form.piece_bytes / 2) : form.piece_bytes;
        uint64_t cells = form_span(&form) / 16;
        uint32_t *map = calloc(cells, sizeof(*map)), *want = calloc(cells, sizeof(*map));

        cr_assert(form_valid(&form, conversion));
        for (unsigned l = 0; l < form.nr_layers; l++) {
            struct gpu_strip strips[2];
            unsigned nr = form_strips(&form, conversion, l, 0, 0, strips);

            cr_assert(nr == 1 || nr == 2);
            spread(strips, nr, !convert, map);
        }
        expect(&form, packed, !convert, want);
        cr_assert_arr_eq(map, want, cells * sizeof(*map));
        free(map);
        free(want);
    }
}

Test(form, neighbours_are_one_piece)
{
    struct kvr_form form = vllm();
    struct gpu_strip strips[2];

    cr_assert_eq(form_strips(&form, &as_it_is, 1, 0, 0, strips), 1);
    cr_assert_eq(strips[0].nr_pieces, 2);
    cr_assert_eq(strips[0].device_step, form.kind_step);
    form.nr_pieces = 8;
    form.piece_step = 4096;
    form.kind_step = 8 * 4096;
    cr_assert_eq(form_strips(&form, &as_it_is, 0, 0, 0, strips), 1);
    cr_assert_eq(strips[0].nr_pieces, 1);
    cr_assert_eq(strips[0].piece_bytes, 16 * 4096);
    form.kind_step += 4096;
    cr_assert_eq(form_strips(&form, &as_it_is, 0, 0, 0, strips), 1);
    cr_assert_eq(strips[0].nr_pieces, 2);
    form.piece_step += 16;
    form.kind_step += 4096;
    cr_assert_eq(form_strips(&form, &as_it_is, 0, 0, 0, strips), 2);
    cr_assert_eq(strips[1].nr_pieces, 8);
}

Test(form, moves_take_a_piece_from_where_it_lies_in_the_other_form)
{
    struct rng rng;

    rng_seed(&rng, 4);
    for (unsigned round = 0; round < 1000; round++) {
        struct kvr_form form = random_form(&rng), from = form;
        struct gpu_strip strips[2];

        from.piece_step = form.piece_bytes + 16 * rng_below(&rng, 2);
        from.kind_step = from.piece_step * form.nr_pieces;
        from.layer_step = from.kind_step * form.nr_kinds + 32;
        cr_assert(form_alike(&form, &from));
        for (unsigned l = 0; l < form.nr_layers; l++) {
            unsigned nr = form_move_strips(&from, &form, l, 1 << 20, 1 << 30, strips), seen = 0;

            for (unsigned s = 0; s < nr; s++) {
                uint64_t last = strips[s].nr_pieces - 1u, bytes = strips[s].piece_bytes;
                unsigned index = seen / form.piece_bytes, k = index / form.nr_pieces,
                         p = index % form.nr_pieces;

                cr_assert_eq(strips[s].near, (1 << 20) + l * from.layer_step + k * from.kind_step +
                                                 p * from.piece_step);
                cr_assert_eq(strips[s].device, (1 << 30) + l * form.layer_step +
                                                   k * form.kind_step + p * form.piece_step);
                seen += (unsigned)(bytes * (last + 1));
            }
            cr_assert_eq(seen, form.piece_bytes * form.nr_pieces * form.nr_kinds);
        }
    }
    struct kvr_form a = vllm(), b = vllm();

    b.piece_bytes -= 16;
    cr_assert(!form_alike(&a, &b));
}
