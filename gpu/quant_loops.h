/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of a path that converts 32 elements a step, over its primitives. A file includes this
 * after it has defined them, and QUANT_CPUS and QUANT_INLINE for the CPUs that it is for; what is
 * here is then compiled for these. Any thread.
 *
 *   largest_of(element, elements, group)     of a group's magnitudes, as bits
 *   integers_of(element, elements, scale)    32 elements by scale, a byte each
 *   store_halves(at, integers)               32 of them in 16 bytes
 *   elements_of(element, integers, scale)    16 integers of a byte each, times scale */
#pragma once

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "gpu/quant_math.h"
#include "gpu/quant_path.h"

#ifdef QUANT_CPUS

#define STEP 32u

QUANT_INLINE void store(uint8_t *bytes, __m256i value)
{
    _mm256_storeu_si256((__m256i *)(void *)bytes, value);
}

QUANT_INLINE void pack_as(unsigned element, unsigned bits, unsigned group, const uint8_t *elements,
                          size_t nr_groups, uint8_t *packed)
{
    uint8_t *integers = packed + nr_groups * sizeof(float);

    for (size_t g = 0; g < nr_groups; g++) {
        uint16_t largest = largest_of(element, elements, group);
        float scale = quant_scale(element, bits, largest);
        /* 0 by anything but 0 is what 0 by 0 shall be. */
        float divisor = largest ? scale : 1.0f;

        memcpy(packed + g * sizeof(scale), &scale, sizeof(scale));
        for (unsigned i = 0; i < group; i += STEP) {
            __m256i q = integers_of(element, elements + 2 * i, divisor);

            if (bits == 8)
                store(integers + i, q);
            else
                store_halves(integers + i / 2, q);
        }
        elements += 2 * group;
        integers += group * bits / 8;
    }
}

__attribute__((QUANT_CPUS)) static void pack(const struct kvr_conversion *conversion,
                                             const uint8_t *elements, size_t nr_elements,
                                             uint8_t *packed)
{
    unsigned group = conversion->group;
    size_t nr_groups = nr_elements / group;

    if (conversion->element == KVR_BF16 && conversion->bits == 8)
        pack_as(KVR_BF16, 8, group, elements, nr_groups, packed);
    else if (conversion->element == KVR_BF16)
        pack_as(KVR_BF16, 4, group, elements, nr_groups, packed);
    else if (conversion->bits == 8)
        pack_as(KVR_FP16, 8, group, elements, nr_groups, packed);
    else
        pack_as(KVR_FP16, 4, group, elements, nr_groups, packed);
}

/* 16 integers, a byte each. */
QUANT_INLINE __m128i bytes_of(unsigned bits, const uint8_t *integers)
{
    const __m128i mask = _mm_set1_epi8(0xf), sign = _mm_set1_epi8(8);
    __m128i both, halves;

    if (bits == 8)
        return _mm_loadu_si128((const __m128i *)(const void *)integers);
    both = _mm_loadl_epi64((const __m128i *)(const void *)integers);
    halves =
        _mm_unpacklo_epi8(_mm_and_si128(both, mask), _mm_and_si128(_mm_srli_epi16(both, 4), mask));
    return _mm_sub_epi8(_mm_xor_si128(halves, sign), sign);
}

QUANT_INLINE void unpack_as(unsigned element, const struct kvr_conversion *conversion,
                            unsigned bits, const uint8_t *packed, size_t nr_groups,
                            uint8_t *elements)
{
    unsigned group = conversion->group;
    const uint8_t *integers = packed + nr_groups * sizeof(float);

    for (size_t g = 0; g < nr_groups; g++) {
        float scale;

        memcpy(&scale, packed + g * sizeof(scale), sizeof(scale));
        if (isfinite(scale)) {
            for (unsigned i = 0; i < group; i += STEP / 2)
                store(elements + 2 * i,
                      elements_of(element, bytes_of(bits, integers + i * bits / 8), scale));
        } else {
            quant_unpack_group(conversion, scale, integers, elements);
        }
        elements += 2 * group;
        integers += group * bits / 8;
    }
}

__attribute__((QUANT_CPUS)) static void unpack(const struct kvr_conversion *conversion,
                                               const uint8_t *packed, size_t nr_elements,
                                               uint8_t *elements)
{
    size_t nr_groups = nr_elements / conversion->group;

    if (conversion->element == KVR_BF16 && conversion->bits == 8)
        unpack_as(KVR_BF16, conversion, 8, packed, nr_groups, elements);
    else if (conversion->element == KVR_BF16)
        unpack_as(KVR_BF16, conversion, 4, packed, nr_groups, elements);
    else if (conversion->bits == 8)
        unpack_as(KVR_FP16, conversion, 8, packed, nr_groups, elements);
    else
        unpack_as(KVR_FP16, conversion, 4, packed, nr_groups, elements);
}

#endif
