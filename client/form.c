/* SPDX-License-Identifier: Apache-2.0 */
/* Forms as the library needs them: checked once, then a loop over pieces. */
#include "client/form.h"

#include <stddef.h>
#include <string.h>

#include "kvrail/proto.h"

#define ALIGNMENT 16u
#define STEP_MAX (1ull << 48)

/* One of the three directions in which pieces are repeated. */
struct axis {
    uint64_t step, nr;
};

static void sort(struct axis axes[3])
{
    for (unsigned i = 1; i < 3; i++)
        for (unsigned k = i; k > 0 && axes[k].step < axes[k - 1].step; k--) {
            struct axis swap = axes[k];

            axes[k] = axes[k - 1];
            axes[k - 1] = swap;
        }
}

static void axes_of(const struct kvr_form *form, struct axis axes[3])
{
    axes[0] = (struct axis){form->layer_step, form->nr_layers};
    axes[1] = (struct axis){form->kind_step, form->nr_kinds};
    axes[2] = (struct axis){form->piece_step, form->nr_pieces};
    for (unsigned i = 0; i < 3; i++)
        if (axes[i].nr == 1)
            axes[i].step = 0; /* counts for nothing */
    sort(axes);
}

/* The smaller steps' span fits the next one. */
static bool apart(const struct kvr_form *form)
{
    struct axis axes[3];
    uint64_t span = form->piece_bytes;

    axes_of(form, axes);
    for (unsigned i = 0; i < 3; i++) {
        if (axes[i].nr == 1)
            continue;
        if (axes[i].step < span || axes[i].step > STEP_MAX)
            return false;
        span += (axes[i].nr - 1) * axes[i].step;
    }
    return true;
}

bool form_is_plain(const struct kvr_conversion *conversion)
{
    return conversion->bits == 0 || conversion->bits == 16;
}

static bool conversion_good(const struct kvr_form *form, const struct kvr_conversion *conversion)
{
    if (form_is_plain(conversion))
        return true;
    return (conversion->bits == 8 || conversion->bits == 4) &&
           (conversion->element == KVR_BF16 || conversion->element == KVR_FP16) &&
           (conversion->group == 32 || conversion->group == 64 || conversion->group == 128 ||
            conversion->group == 256) &&
           form->piece_bytes / 2 % conversion->group == 0;
}

bool form_good(const struct kvr_form *form, const struct kvr_conversion *conversion)
{
    uint64_t bytes =
        (uint64_t)form->nr_layers * form->nr_kinds * form->nr_pieces * form->piece_bytes;

    return form->nr_layers >= 1 && form->nr_layers <= KVR_LAYERS_MAX && form->nr_kinds >= 1 &&
           form->nr_kinds <= 2 && form->nr_pieces >= 1 && form->nr_pieces <= KVR_PIECES_MAX &&
           form->zero == 0 && form->zero2 == 0 && form->piece_bytes >= ALIGNMENT &&
           form->piece_bytes <= KVR_PIECE_MAX &&
           ((form->piece_bytes | form->layer_step | form->kind_step | form->piece_step) %
            ALIGNMENT) == 0 &&
           bytes <= 4ull * KVR_VALUE_MAX &&
           (bytes <= KVR_VALUE_MAX || !form_is_plain(conversion)) && apart(form) &&
           conversion_good(form, conversion);
}

uint32_t form_layer_bytes(const struct kvr_form *form)
{
    return (uint32_t)form->nr_kinds * form->nr_pieces * form->piece_bytes;
}

uint64_t form_extent(const struct kvr_form *form)
{
    struct axis axes[3];
    uint64_t span = form->piece_bytes;

    axes_of(form, axes);
    for (unsigned i = 0; i < 3; i++)
        span += (axes[i].nr - 1) * axes[i].step;
    return span;
}

static uint64_t piece_at(const struct kvr_form *form, unsigned layer, unsigned kind, unsigned piece)
{
    return layer * form->layer_step + kind * form->kind_step + piece * form->piece_step;
}

void form_scatter(const struct kvr_form *form, unsigned first, unsigned nr, const uint8_t *packed,
                  uint8_t *block)
{
    for (unsigned l = first; l < first + nr; l++)
        for (unsigned k = 0; k < form->nr_kinds; k++)
            for (unsigned p = 0; p < form->nr_pieces; p++, packed += form->piece_bytes)
                memcpy(block + piece_at(form, l, k, p), packed, form->piece_bytes);
}

void form_gather(const struct kvr_form *form, unsigned first, unsigned nr, const uint8_t *block,
                 uint8_t *packed)
{
    for (unsigned l = first; l < first + nr; l++)
        for (unsigned k = 0; k < form->nr_kinds; k++)
            for (unsigned p = 0; p < form->nr_pieces; p++, packed += form->piece_bytes)
                memcpy(packed, block + piece_at(form, l, k, p), form->piece_bytes);
}
