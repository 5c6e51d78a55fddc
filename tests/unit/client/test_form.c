/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "client/form.h"
#include "kvrail/proto.h"

static const struct kvr_conversion plain, to_int8 = {.bits = 8, .element = KVR_BF16, .group = 64};

static const struct kvr_form small = {.nr_layers = 3,
                                      .nr_kinds = 2,
                                      .nr_pieces = 4,
                                      .piece_bytes = 256,
                                      .layer_step = 8192,
                                      .kind_step = 4096,
                                      .piece_step = 512};

Test(form, counts_what_a_block_takes_and_spans)
{
    cr_assert(form_good(&small, &plain));
    cr_assert_eq(form_layer_bytes(&small), 2048);
    cr_assert_eq(form_extent(&small), 2 * 8192 + 4096 + 3 * 512 + 256);
}

Test(form, steps_that_count_for_nothing_may_be_anything_aligned)
{
    struct kvr_form form = {
        .nr_layers = 1, .nr_kinds = 1, .nr_pieces = 1, .piece_bytes = 16, .layer_step = 1ull << 60};

    cr_assert(form_good(&form, &plain));
    cr_assert_eq(form_extent(&form), 16);
}

Test(form, refuses_what_overlaps_or_is_out_of_range)
{
#define BAD(field, value)                                                                          \
    do {                                                                                           \
        struct kvr_form form = small;                                                              \
        form.field = (value);                                                                      \
        cr_assert_not(form_good(&form, &plain), #field " " #value);                                \
    } while (0)
    BAD(nr_layers, 0);
    BAD(nr_layers, KVR_LAYERS_MAX + 1);
    BAD(nr_kinds, 3);
    BAD(nr_pieces, 0);
    BAD(nr_pieces, 5000);
    BAD(piece_bytes, 0);
    BAD(piece_bytes, 24);
    BAD(piece_bytes, KVR_PIECE_MAX + 16);
    BAD(piece_step, 128);
    BAD(kind_step, 1024);
    BAD(layer_step, 4096);
    BAD(layer_step, 8200);
    BAD(layer_step, 1ull << 60);
    BAD(zero, 1);
    BAD(zero2, 1);
#undef BAD
}

Test(form, refuses_conversions_whose_groups_do_not_divide_a_piece)
{
    struct kvr_conversion conversion = to_int8;

    cr_assert(form_good(&small, &conversion));
    cr_assert_not(form_is_plain(&conversion));
    conversion.group = 256;
    cr_assert_not(form_good(&small, &conversion), "a piece has 128 elements");
    conversion = to_int8;
    conversion.element = 0;
    cr_assert_not(form_good(&small, &conversion));
    conversion = to_int8;
    conversion.bits = 3;
    cr_assert_not(form_good(&small, &conversion));
    conversion.bits = 16;
    cr_assert(form_is_plain(&conversion));
}

Test(form, gathers_what_it_scattered_and_touches_nothing_else)
{
    static uint8_t packed[3 * 2048], again[3 * 2048], region[3 * 8192];
    unsigned touched = 0;
    struct rng rng;

    rng_seed(&rng, 3);
    for (unsigned i = 0; i < sizeof(packed); i++)
        packed[i] = (uint8_t)(1 + rng_below(&rng, 255));
    form_scatter(&small, 0, 3, packed, region);
    cr_assert_eq(memcmp(region + 8192 + 4096 + 512, packed + 2048 + 1024 + 256, 256), 0);
    for (unsigned i = 0; i < sizeof(region); i++)
        touched += region[i] != 0;
    cr_assert_eq(touched, sizeof(packed));
    form_gather(&small, 0, 3, region, again);
    cr_assert_eq(memcmp(packed, again, sizeof(packed)), 0);
    memset(region, 0, sizeof(region));
    form_scatter(&small, 1, 1, packed + 2048, region);
    form_gather(&small, 0, 3, region, again);
    for (unsigned i = 0; i < sizeof(again); i++)
        cr_assert_eq(again[i], i / 2048 == 1 ? packed[i] : 0);
}
