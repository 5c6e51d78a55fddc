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
 * NaN counts as 0, infinities as the largest finite value, -0 comes back as 0. Tiny groups need no
 * case of their own: the smallest bf16, 2^-133, by 127 is a subnormal float and not 0, so that x is
 * divided by 0 in no group, and |x / scale| < M + 1/2 in all. With an error of a division, a
 * product and two roundings, for every element:
 *
 *   |x - x'| <= scale * (1/2 + 2^-16) + half a unit in the last place of x', as an element
 *
 * unpack takes any bytes: integers below -M and scales that pack does not write (negative,
 * infinite, NaN) follow IEEE 754; what is too large becomes infinite, and every NaN 0x7fc0 (bf16)
 * or 0x7e00 (fp16). Rounding is to nearest and subnormals are kept, as in a thread that changed
 * neither.
 *
 * The same on every path, to the bit: scalar, AVX2, AVX-512 (chosen when first used) and GPU
 * kernels (quant_math.h). Any thread. Nothing need be aligned; elements and packed may not overlap.
 */
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
