/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of struct kvr_form, and copies between a block as it lies in a region and as it is
 * stored. Pure. The server has code of its own for it (gpu/form.h), which believes nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/region.h"

/* Whether all fields are in their ranges, pieces do not overlap, and a block fits a value. */
bool form_good(const struct kvr_form *form, const struct kvr_conversion *conversion);
/* Whether bytes are stored as they lie in the region. */
bool form_is_plain(const struct kvr_conversion *conversion);
/* Bytes of a layer, unconverted. */
uint32_t form_layer_bytes(const struct kvr_form *form);
/* Bytes from a block's offset to the end of its last piece; 0: above 2^63. */
uint64_t form_extent(const struct kvr_form *form);
/* The layers [first, first + nr) of the block at `block`, from or to packed bytes. */
void form_scatter(const struct kvr_form *form, unsigned first, unsigned nr, const uint8_t *packed,
                  uint8_t *block);
void form_gather(const struct kvr_form *form, unsigned first, unsigned nr, const uint8_t *block,
                 uint8_t *packed);
