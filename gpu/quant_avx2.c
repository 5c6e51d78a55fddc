/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion with AVX2 and F16C, 32 elements a step: as quant_math.h does it, to the bit. Nothing
 * else of this program is compiled for these CPUs. Any thread. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "gpu/quant_math.h"
#include "gpu/quant_path.h"

#define AVX2 __attribute__((target("avx2,f16c")))
#define AVX2_INLINE static inline __attribute__((target("avx2,f16c"), always_inline))
#define STEP 32u

AVX2_INLINE __m256i load(const uint8_t *bytes)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

AVX2_INLINE void store(uint8_t *bytes, __m256i value)
{
    _mm256_storeu_si256((__m256i *)(void *)bytes, value);
}

/* quant_finite of 16 elements. */
AVX2_INLINE __m256i cleaned(unsigned element, __m256i x)
{
    const short infinity = element == KVR_BF16 ? QUANT_BF16_INFINITY : QUANT_FP16_INFINITY;
    __m256i mask = _mm256_set1_epi16(QUANT_MAGNITUDE), magnitude = _mm256_and_si256(x, mask);
    __m256i nan = _mm256_cmpgt_epi16(magnitude, _mm256_set1_epi16(infinity));

    magnitude = _mm256_min_epu16(magnitude, _mm256_set1_epi16((short)(infinity - 1)));
    return _mm256_andnot_si256(nan, _mm256_or_si256(magnitude, _mm256_andnot_si256(mask, x)));
}

/* Of the magnitudes of a group. */
AVX2_INLINE uint16_t largest_of(unsigned element, const uint8_t *elements, unsigned group)
{
    __m256i most = _mm256_setzero_si256(), ones = _mm256_set1_epi16(-1);
    __m128i least;

    for (unsigned i = 0; i < group; i += STEP / 2)
        most = _mm256_max_epu16(most, _mm256_and_si256(cleaned(element, load(elements + 2 * i)),
                                                       _mm256_set1_epi16(QUANT_MAGNITUDE)));
    most = _mm256_xor_si256(most, ones);
    least = _mm_min_epu16(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    return (uint16_t)~_mm_extract_epi16(_mm_minpos_epu16(least), 0);
}

AVX2_INLINE __m256 floats(unsigned element, __m128i x)
{
    if (element == KVR_FP16)
        return _mm256_cvtph_ps(x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

/* 16 quotients as integers of 16 bits, in the order 0-3 8-11 4-7 12-15. */
AVX2_INLINE __m256i divided(unsigned element, const uint8_t *elements, __m256 scale)
{
    __m256i x = cleaned(element, load(elements));
    __m256 low = floats(element, _mm256_castsi256_si128(x));
    __m256 high = floats(element, _mm256_extracti128_si256(x, 1));

    return _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_div_ps(low, scale)),
                              _mm256_cvtps_epi32(_mm256_div_ps(high, scale)));
}

/* 32 quotients as integers of 8 bits. */
AVX2_INLINE __m256i integers_of(unsigned element, const uint8_t *elements, __m256 scale)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i low = divided(element, elements, scale);
    __m256i high = divided(element, elements + STEP, scale);

    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
}

AVX2_INLINE void store_halves(uint8_t *at, __m256i integers)
{
    __m256i low = _mm256_and_si256(integers, _mm256_set1_epi8(0xf));
    __m256i pairs = _mm256_maddubs_epi16(low, _mm256_set1_epi16(0x1001));
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0x08);

    _mm_storeu_si128((__m128i *)(void *)at, _mm256_castsi256_si128(bytes));
}

AVX2_INLINE void pack_as(unsigned element, unsigned bits, unsigned group, const uint8_t *elements,
                         size_t nr_groups, uint8_t *packed)
{
    uint8_t *integers = packed + nr_groups * sizeof(float);

    for (size_t g = 0; g < nr_groups; g++) {
        uint16_t largest = largest_of(element, elements, group);
        float scale = quant_scale(element, bits, largest);
        /* 0 by anything but 0 is what 0 by 0 shall be. */
        __m256 divisor = _mm256_set1_ps(largest ? scale : 1.0f);

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

AVX2 static void pack(const struct kvr_conversion *conversion, const uint8_t *elements,
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
AVX2_INLINE __m128i bytes_of(unsigned bits, const uint8_t *integers)
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

/* quant_to_bf16 of what is no NaN, in the low half of each lane. */
AVX2_INLINE __m256i rounded(__m256 values)
{
    __m256i bits = _mm256_castps_si256(values);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));

    bits = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    return _mm256_srli_epi32(bits, 16);
}

/* 16 elements. */
AVX2_INLINE __m256i elements_of(unsigned element, __m128i integers, __m256 scale)
{
    __m256i low = _mm256_cvtepi8_epi32(integers);
    __m256i high = _mm256_cvtepi8_epi32(_mm_srli_si128(integers, 8));
    __m256 a = _mm256_mul_ps(_mm256_cvtepi32_ps(low), scale);
    __m256 b = _mm256_mul_ps(_mm256_cvtepi32_ps(high), scale);

    if (element == KVR_FP16)
        return _mm256_set_m128i(_mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT),
                                _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded(a), rounded(b)), 0xd8);
}

AVX2_INLINE void unpack_as(unsigned element, const struct kvr_conversion *conversion, unsigned bits,
                           const uint8_t *packed, size_t nr_groups, uint8_t *elements)
{
    unsigned group = conversion->group;
    const uint8_t *integers = packed + nr_groups * sizeof(float);

    for (size_t g = 0; g < nr_groups; g++) {
        float scale;

        memcpy(&scale, packed + g * sizeof(scale), sizeof(scale));
        if (isfinite(scale)) {
            for (unsigned i = 0; i < group; i += STEP / 2)
                store(elements + 2 * i,
                      elements_of(element, bytes_of(bits, integers + i * bits / 8),
                                  _mm256_set1_ps(scale)));
        } else {
            quant_unpack_group(conversion, scale, integers, elements);
        }
        elements += 2 * group;
        integers += group * bits / 8;
    }
}

AVX2 static void unpack(const struct kvr_conversion *conversion, const uint8_t *packed,
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

const struct quant_path quant_path_avx2 = {.name = "avx2", .pack = pack, .unpack = unpack};
