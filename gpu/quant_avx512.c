/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion with AVX-512 (F, BW, VL), 32 elements a step: as quant_math.h does it, to the bit.
 * Nothing else of this program is compiled for these CPUs. Any thread. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "gpu/quant_math.h"
#include "gpu/quant_path.h"

#define CPUS target("avx512f,avx512bw,avx512vl,avx2,f16c")
#define AVX512 __attribute__((CPUS))
#define AVX512_INLINE static inline __attribute__((CPUS, always_inline))
#define STEP 32u

/* quant_finite of 32 elements. */
AVX512_INLINE __m512i cleaned(unsigned element, __m512i x)
{
    const short infinity = element == KVR_BF16 ? QUANT_BF16_INFINITY : QUANT_FP16_INFINITY;
    __m512i mask = _mm512_set1_epi16(QUANT_MAGNITUDE), magnitude = _mm512_and_si512(x, mask);
    __mmask32 number = _mm512_cmple_epu16_mask(magnitude, _mm512_set1_epi16(infinity));

    magnitude = _mm512_min_epu16(magnitude, _mm512_set1_epi16((short)(infinity - 1)));
    return _mm512_maskz_mov_epi16(number, _mm512_or_si512(magnitude, _mm512_andnot_si512(mask, x)));
}

/* Of the magnitudes of a group. */
AVX512_INLINE uint16_t largest_of(unsigned element, const uint8_t *elements, unsigned group)
{
    __m512i most = _mm512_setzero_si512();
    __m256i half;
    __m128i least;

    for (unsigned i = 0; i < group; i += STEP) {
        __m512i x = cleaned(element, _mm512_loadu_si512(elements + 2 * i));

        most = _mm512_max_epu16(most, _mm512_and_si512(x, _mm512_set1_epi16(QUANT_MAGNITUDE)));
    }
    most = _mm512_xor_si512(most, _mm512_set1_epi16(-1));
    half = _mm256_min_epu16(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
    least = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return (uint16_t)~_mm_extract_epi16(_mm_minpos_epu16(least), 0);
}

AVX512_INLINE __m512 floats(unsigned element, __m256i x)
{
    if (element == KVR_FP16)
        return _mm512_cvtph_ps(x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

AVX512_INLINE __m128i divided(unsigned element, __m256i x, __m512 scale)
{
    return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_div_ps(floats(element, x), scale)));
}

/* 32 quotients as integers of 8 bits. */
AVX512_INLINE __m256i integers_of(unsigned element, const uint8_t *elements, __m512 scale)
{
    __m512i x = cleaned(element, _mm512_loadu_si512(elements));

    return _mm256_set_m128i(divided(element, _mm512_extracti64x4_epi64(x, 1), scale),
                            divided(element, _mm512_castsi512_si256(x), scale));
}

AVX512_INLINE void store_halves(uint8_t *at, __m256i integers)
{
    __m256i low = _mm256_and_si256(integers, _mm256_set1_epi8(0xf));
    __m256i pairs = _mm256_maddubs_epi16(low, _mm256_set1_epi16(0x1001));

    _mm_storeu_si128((__m128i *)(void *)at, _mm256_cvtepi16_epi8(pairs));
}

AVX512_INLINE void pack_as(unsigned element, unsigned bits, unsigned group, const uint8_t *elements,
                           size_t nr_groups, uint8_t *packed)
{
    uint8_t *integers = packed + nr_groups * sizeof(float);

    for (size_t g = 0; g < nr_groups; g++) {
        uint16_t largest = largest_of(element, elements, group);
        float scale = quant_scale(element, bits, largest);
        /* 0 by anything but 0 is what 0 by 0 shall be. */
        __m512 divisor = _mm512_set1_ps(largest ? scale : 1.0f);

        memcpy(packed + g * sizeof(scale), &scale, sizeof(scale));
        for (unsigned i = 0; i < group; i += STEP) {
            __m256i q = integers_of(element, elements + 2 * i, divisor);

            if (bits == 8)
                _mm256_storeu_si256((__m256i *)(void *)(integers + i), q);
            else
                store_halves(integers + i / 2, q);
        }
        elements += 2 * group;
        integers += group * bits / 8;
    }
}

AVX512 static void pack(const struct kvr_conversion *conversion, const uint8_t *elements,
                        size_t nr_elements, uint8_t *packed)
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
AVX512_INLINE __m128i bytes_of(unsigned bits, const uint8_t *integers)
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

/* quant_to_bf16 of what is no NaN. */
AVX512_INLINE __m256i rounded(__m512 values)
{
    __m512i bits = _mm512_castps_si512(values);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));

    bits = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16));
}

/* 16 elements. */
AVX512_INLINE __m256i elements_of(unsigned element, __m128i integers, __m512 scale)
{
    __m512 values = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(integers)), scale);

    if (element == KVR_FP16)
        return _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT);
    return rounded(values);
}

AVX512_INLINE void unpack_as(unsigned element, const struct kvr_conversion *conversion,
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
                _mm256_storeu_si256((__m256i *)(void *)(elements + 2 * i),
                                    elements_of(element, bytes_of(bits, integers + i * bits / 8),
                                                _mm512_set1_ps(scale)));
        } else {
            quant_unpack_group(conversion, scale, integers, elements);
        }
        elements += 2 * group;
        integers += group * bits / 8;
    }
}

AVX512 static void unpack(const struct kvr_conversion *conversion, const uint8_t *packed,
                          size_t nr_elements, uint8_t *elements)
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

const struct quant_path quant_path_avx512 = {.name = "avx512", .pack = pack, .unpack = unpack};
