/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion of 16-bit floats to small integers and back, by groups. A packed piece is first its
 * scales, one float (binary32, little-endian) for each group, then the integers of all groups:
 * int8, one a byte; int4, two a byte, the earlier element in the low half, two's complement. No
 * padding.
 *
 *   scale = largest |x| of the group / M, M = 127 (int8) or 7 (int4); 0 if all are 0
 *   q     = x / scale, rounded to nearest even, within -M .. M
 *   x'    = q * scale in binary32, rounded to nearest even to the element
 *
 * NaN counts as 0, infinities as the element's largest finite value. |x - x'| <= scale / 2 plus
 * half a unit in the last place of x' (and of the binary32 arithmetic, stated where it is tested).
 * The same on every path, to the bit: scalar, AVX2, AVX-512 (chosen when first used) and GPU
 * kernels. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kvrail/region.h"

/* Whether bits, element and group are known and nr_elements is a multiple of group. */
int quant_valid(const struct kvr_conversion *conversion, size_t nr_elements);
size_t quant_packed_len(const struct kvr_conversion *conversion, size_t nr_elements);
void quant_pack(const struct kvr_conversion *conversion, const void *elements, size_t nr_elements,
                uint8_t *packed);
void quant_unpack(const struct kvr_conversion *conversion, const uint8_t *packed,
                  size_t nr_elements, void *elements);

/* For tests and benchmarks: 0 scalar, 1 AVX2, 2 AVX-512. -ENOTSUP: not on this CPU. */
int quant_use(unsigned path);
