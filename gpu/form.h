/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of struct kvr_form: what it spans, what a block of it takes, which strips it makes.
 * Forms come from clients: everything is checked here, with no overflow, before it is used. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gpu/backend.h"
#include "kvrail/region.h"

/* Whether all fields are in their ranges and pieces do not overlap: the smallest step is no smaller
 * than a piece, the next one no smaller than all that the smaller ones span. */
bool form_valid(const struct kvr_form *form, const struct kvr_conversion *conversion);
/* Bytes of a block packed, as in the arena. Of a valid form; at most KVR_VALUE_MAX, else 0. */
uint32_t form_packed_len(const struct kvr_form *form, const struct kvr_conversion *conversion);
/* Bytes from the block's offset to the end of its last piece. Of a valid form; 0: more than 2^63.
 */
uint64_t form_span(const struct kvr_form *form);
/* The strips of one layer, at most 2; neighbours are joined. near, device: of the block. */
unsigned form_strips(const struct kvr_form *form, const struct kvr_conversion *conversion,
                     unsigned layer, uint64_t near, uint64_t device, struct gpu_strip *strips);

/* For GPU_MOVE: whether blocks of both forms have the same pieces, only at other places. */
bool form_alike(const struct kvr_form *a, const struct kvr_form *b);
/* As form_strips; from: the address of the block that is copied, which lies in from_form. */
unsigned form_move_strips(const struct kvr_form *from_form, const struct kvr_form *form,
                          unsigned layer, uint64_t from, uint64_t device, struct gpu_strip *strips);
