/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of quant.h for one element, in C and in CUDA: every other path must give the bits
 * that these functions give. Elements are handled as their 16 bits. Of floating-point operations
 * there are one division, one product and one rounding, each rounded to nearest even and none
 * fused with another (-ffp-contract=off; in kernels the intrinsics that say so). */
#pragma once

#include <stdint.h>
#include <string.h>

#include "kvrail/region.h"

#if defined(__CUDACC__)
#define QUANT_FN static __host__ __device__ __forceinline__
#else
#define QUANT_FN static inline
#endif

#define QUANT_MAGNITUDE 0x7fffu /* an element without its sign */
#define QUANT_BF16_INFINITY 0x7f80u
#define QUANT_FP16_INFINITY 0x7c00u
#define QUANT_FLOAT_NAN 0x7fc00000u
#define QUANT_FLOAT_INFINITY 0x7f800000u

QUANT_FN uint32_t quant_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

QUANT_FN float quant_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* The three operations. */
QUANT_FN float quant_divide(float a, float b)
{
#if defined(__CUDA_ARCH__)
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

QUANT_FN float quant_multiply(float a, float b)
{
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

/* To the nearest integer, halves to the even one. |value| < 2^22: the sum's last place is 1. */
QUANT_FN int32_t quant_round(float value)
{
#if defined(__CUDA_ARCH__)
    return __float2int_rn(value);
#else
    const float shift = 12582912.0f; /* 1.5 * 2^23 */

    return (int32_t)(quant_bits(value + shift) - quant_bits(shift));
#endif
}

/* Elements as floats: exact. A NaN stays one, its bits shifted. */
QUANT_FN float quant_from_bf16(uint16_t x)
{
    return quant_float((uint32_t)x << 16);
}

QUANT_FN float quant_from_fp16(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000u) << 16, magnitude = x & QUANT_MAGNITUDE;

    if (magnitude >= QUANT_FP16_INFINITY)
        return quant_float(sign | QUANT_FLOAT_INFINITY | (magnitude & 0x3ffu) << 13);
    if (magnitude >= 0x400u)
        return quant_float(sign | ((magnitude << 13) + (112u << 23)));
    return quant_float(sign | quant_bits(quant_multiply((float)magnitude, 0x1p-24f)));
}

/* Rounds to nearest even; too large ones become infinite, every NaN the same one. */
QUANT_FN uint16_t quant_to_bf16(float value)
{
    uint32_t bits = quant_bits(value);

    if ((bits & 0x7fffffffu) > QUANT_FLOAT_INFINITY)
        return (uint16_t)(QUANT_FLOAT_NAN >> 16);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* The 24 bits of a float's significand, shifted right by 14 to 24 and rounded. */
QUANT_FN uint32_t quant_shift(uint32_t significand, uint32_t shift)
{
    uint32_t kept = significand >> shift, half = 1u << (shift - 1);
    uint32_t lost = significand & ((1u << shift) - 1);

    return kept + (lost > half || (lost == half && (kept & 1u)));
}

QUANT_FN uint16_t quant_to_fp16(float value)
{
    uint32_t bits = quant_bits(value), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);

    if (magnitude > QUANT_FLOAT_INFINITY)
        return 0x7e00u;
    if (magnitude >= 0x477ff000u) /* 65520, half way to 2^16 */
        return (uint16_t)(sign | QUANT_FP16_INFINITY);
    if (magnitude >= 0x38800000u) /* 2^-14, the smallest normal one */
        return (uint16_t)(sign |
                          (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
    if (magnitude < 0x33000000u) /* 2^-25, half of the smallest */
        return sign;
    return (uint16_t)(sign |
                      quant_shift((magnitude & 0x7fffffu) | 0x800000u, 126u - (magnitude >> 23)));
}

QUANT_FN float quant_from(unsigned element, uint16_t x)
{
    return element == KVR_BF16 ? quant_from_bf16(x) : quant_from_fp16(x);
}

QUANT_FN uint16_t quant_to(unsigned element, float value)
{
    return element == KVR_BF16 ? quant_to_bf16(value) : quant_to_fp16(value);
}

/* NaN as 0, infinities as the largest finite value. After it, |x| is in the order of the bits
 * without the sign: the largest of a group is found among integers. */
QUANT_FN uint16_t quant_finite(unsigned element, uint16_t x)
{
    uint16_t infinity = element == KVR_BF16 ? QUANT_BF16_INFINITY : QUANT_FP16_INFINITY;
    uint16_t magnitude = (uint16_t)(x & QUANT_MAGNITUDE);

    if (magnitude > infinity)
        return 0;
    return (uint16_t)(magnitude == infinity ? x - 1 : x);
}

/* bits: 8 or 4. */
QUANT_FN float quant_most(unsigned bits)
{
    return bits == 8 ? 127.0f : 7.0f;
}

/* largest: of a group, finite and without sign. */
QUANT_FN float quant_scale(unsigned element, unsigned bits, uint16_t largest)
{
    return quant_divide(quant_from(element, largest), quant_most(bits));
}

/* x: finite, its magnitude at most the largest of the group that scale was made for. Then the
 * quotient is at most M (1 + 2^-9), also where scale is subnormal, and needs no limit. */
QUANT_FN int32_t quant_integer(float x, float scale)
{
    return scale > 0.0f ? quant_round(quant_divide(x, scale)) : 0;
}

QUANT_FN uint16_t quant_element(unsigned element, int32_t integer, float scale)
{
    return quant_to(element, quant_multiply((float)integer, scale));
}
