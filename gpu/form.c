/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of forms. Any thread; nothing here trusts a field: sums and products are taken in 128
 * bits before they are compared. Steps have to nest (the smallest step spans a piece, the next one
 * all that the smaller ones make, and so on): that is what no overlap means here. */
#include "gpu/form.h"

#include <string.h>

#include "gpu/quant.h"
#include "kvrail/proto.h"

#define ALIGN_MASK 15u
#define DIMENSIONS 3u

struct dimension {
    uint64_t step;
    unsigned count;
};

static bool converts(const struct kvr_conversion *conversion)
{
    return conversion->bits != 0 && conversion->bits != 16;
}

static uint64_t packed_piece(const struct kvr_form *form, const struct kvr_conversion *conversion)
{
    return converts(conversion) ? quant_packed_len(conversion, form->piece_bytes / 2)
                                : form->piece_bytes;
}

/* Those with more than one step, smallest step first. */
static unsigned dimensions(const struct kvr_form *form, struct dimension *sorted)
{
    const struct dimension all[DIMENSIONS] = {{form->layer_step, form->nr_layers},
                                              {form->kind_step, form->nr_kinds},
                                              {form->piece_step, form->nr_pieces}};
    unsigned nr = 0;

    for (unsigned i = 0; i < DIMENSIONS; i++) {
        unsigned at = nr;

        if (all[i].count < 2)
            continue;
        for (; at > 0 && sorted[at - 1].step > all[i].step; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = all[i];
        nr++;
    }
    return nr;
}

static bool steps_nest(const struct kvr_form *form)
{
    struct dimension sorted[DIMENSIONS];
    unsigned nr = dimensions(form, sorted);
    unsigned __int128 extent = form->piece_bytes;

    for (unsigned i = 0; i < nr; i++) {
        if (sorted[i].step < extent)
            return false;
        extent += (unsigned __int128)sorted[i].step * (sorted[i].count - 1);
    }
    return true;
}

bool form_valid(const struct kvr_form *form, const struct kvr_conversion *conversion)
{
    if (form->nr_layers < 1 || form->nr_layers > KVR_LAYERS_MAX || form->nr_kinds < 1 ||
        form->nr_kinds > 2 || form->nr_pieces < 1 || form->nr_pieces > KVR_PIECES_MAX ||
        form->zero || form->zero2)
        return false;
    if (form->piece_bytes < 1 || form->piece_bytes > KVR_PIECE_MAX ||
        (form->piece_bytes | form->layer_step | form->kind_step | form->piece_step) & ALIGN_MASK)
        return false;
    if (converts(conversion) && !quant_valid(conversion, form->piece_bytes / 2))
        return false;
    return steps_nest(form);
}

uint32_t form_packed_len(const struct kvr_form *form, const struct kvr_conversion *conversion)
{
    uint64_t pieces = (uint64_t)form->nr_layers * form->nr_kinds * form->nr_pieces;
    unsigned __int128 len = (unsigned __int128)pieces * packed_piece(form, conversion);

    return len <= KVR_VALUE_MAX ? (uint32_t)len : 0;
}

uint64_t form_span(const struct kvr_form *form)
{
    unsigned __int128 span = form->piece_bytes;

    span += (unsigned __int128)form->layer_step * (form->nr_layers - 1u);
    span += (unsigned __int128)form->kind_step * (form->nr_kinds - 1u);
    span += (unsigned __int128)form->piece_step * (form->nr_pieces - 1u);
    return span <= 1ull << 63 ? (uint64_t)span : 0;
}

/* The form that a block has in the arena, as far as steps go. */
static struct kvr_form packed_steps(const struct kvr_form *form,
                                    const struct kvr_conversion *conversion)
{
    struct kvr_form packed = *form;

    packed.piece_step = packed_piece(form, conversion);
    packed.kind_step = packed.piece_step * form->nr_pieces;
    packed.layer_step = packed.kind_step * form->nr_kinds;
    return packed;
}

/* Neighbours that are neighbours on both sides are one piece. */
static void join_pieces(struct gpu_strip *strip)
{
    uint64_t bytes = (uint64_t)strip->piece_bytes * strip->nr_pieces;

    if (converts(&strip->conversion) || bytes > UINT32_MAX)
        return;
    if (strip->nr_pieces > 1 &&
        (strip->device_step != strip->piece_bytes || strip->near_step != strip->piece_bytes))
        return;
    strip->piece_bytes = (uint32_t)bytes;
    strip->nr_pieces = 1;
}

/* The second kind's pieces go on where the first kind's end, in steps of the same size. */
static bool join_kinds(struct gpu_strip *strip, uint64_t near_step, uint64_t device_step)
{
    if (strip->nr_pieces == 1) {
        strip->near_step = near_step;
        strip->device_step = device_step;
    } else if (strip->near_step * strip->nr_pieces != near_step ||
               strip->device_step * strip->nr_pieces != device_step) {
        return false;
    }
    strip->nr_pieces *= 2;
    join_pieces(strip);
    return true;
}

static unsigned strips_between(const struct kvr_form *near_form, const struct kvr_form *form,
                               const struct kvr_conversion *conversion, unsigned layer,
                               uint64_t near, uint64_t device, struct gpu_strip *strips)
{
    strips[0] = (struct gpu_strip){.near = near + layer * near_form->layer_step,
                                   .device = device + layer * form->layer_step,
                                   .near_step = near_form->piece_step,
                                   .device_step = form->piece_step,
                                   .piece_bytes = form->piece_bytes,
                                   .nr_pieces = form->nr_pieces,
                                   .conversion = *conversion};
    join_pieces(&strips[0]);
    if (form->nr_kinds == 1 || join_kinds(&strips[0], near_form->kind_step, form->kind_step))
        return 1;
    strips[1] = strips[0];
    strips[1].near += near_form->kind_step;
    strips[1].device += form->kind_step;
    return 2;
}

unsigned form_strips(const struct kvr_form *form, const struct kvr_conversion *conversion,
                     unsigned layer, uint64_t near, uint64_t device, struct gpu_strip *strips)
{
    struct kvr_form packed = packed_steps(form, conversion);

    return strips_between(&packed, form, conversion, layer, near, device, strips);
}

bool form_alike(const struct kvr_form *a, const struct kvr_form *b)
{
    return a->nr_layers == b->nr_layers && a->nr_kinds == b->nr_kinds &&
           a->nr_pieces == b->nr_pieces && a->piece_bytes == b->piece_bytes;
}

unsigned form_move_strips(const struct kvr_form *from_form, const struct kvr_form *form,
                          unsigned layer, uint64_t from, uint64_t device, struct gpu_strip *strips)
{
    const struct kvr_conversion none = {0};

    return strips_between(from_form, form, &none, layer, from, device, strips);
}
