/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion with AVX2 and F16C, 32 elements a step: as quant_math.h does it, to the bit. Nothing
 * else of this program is compiled for these CPUs. Any thread. */
#include <immintrin.h>

#include "gpu/quant_math.h"
#include "gpu/quant_path.h"

#define QUANT_CPUS target("avx2,f16c")
#define QUANT_INLINE static inline __attribute__((QUANT_CPUS, always_inline))

QUANT_INLINE __m256i load(const uint8_t *bytes)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

/* quant_finite of 16 elements. */
QUANT_INLINE __m256i cleaned(unsigned element, __m256i x)
{
    const short infinity = element == KVR_BF16 ? QUANT_BF16_INFINITY : QUANT_FP16_INFINITY;
    __m256i mask = _mm256_set1_epi16(QUANT_MAGNITUDE), magnitude = _mm256_and_si256(x, mask);
    __m256i nan = _mm256_cmpgt_epi16(magnitude, _mm256_set1_epi16(infinity));

    magnitude = _mm256_min_epu16(magnitude, _mm256_set1_epi16((short)(infinity - 1)));
    return _mm256_andnot_si256(nan, _mm256_or_si256(magnitude, _mm256_andnot_si256(mask, x)));
}

/* Of the magnitudes of a group. */
QUANT_INLINE uint16_t largest_of(unsigned element, const uint8_t *elements, unsigned group)
{
    __m256i most = _mm256_setzero_si256(), ones = _mm256_set1_epi16(-1);
    __m128i least;

    for (unsigned i = 0; i < group; i += 16)
        most = _mm256_max_epu16(most, _mm256_and_si256(cleaned(element, load(elements + 2 * i)),
                                                       _mm256_set1_epi16(QUANT_MAGNITUDE)));
    most = _mm256_xor_si256(most, ones);
    least = _mm_min_epu16(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    return (uint16_t)~_mm_extract_epi16(_mm_minpos_epu16(least), 0);
}

QUANT_INLINE __m256 floats(unsigned element, __m128i x)
{
    if (element == KVR_FP16)
        return _mm256_cvtph_ps(x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

/* 16 quotients as integers of 16 bits, in the order 0-3 8-11 4-7 12-15. */
QUANT_INLINE __m256i divided(unsigned element, const uint8_t *elements, __m256 scale)
{
    __m256i x = cleaned(element, load(elements));
    __m256 low = floats(element, _mm256_castsi256_si128(x));
    __m256 high = floats(element, _mm256_extracti128_si256(x, 1));

    return _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_div_ps(low, scale)),
                              _mm256_cvtps_epi32(_mm256_div_ps(high, scale)));
}

/* 32 quotients as integers of 8 bits. */
QUANT_INLINE __m256i integers_of(unsigned element, const uint8_t *elements, float scale)
{
    __m256 divisor = _mm256_set1_ps(scale);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i low = divided(element, elements, divisor);
    __m256i high = divided(element, elements + 32, divisor);

    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
}

QUANT_INLINE void store_halves(uint8_t *at, __m256i integers)
{
    __m256i low = _mm256_and_si256(integers, _mm256_set1_epi8(0xf));
    __m256i pairs = _mm256_maddubs_epi16(low, _mm256_set1_epi16(0x1001));
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0x08);

    _mm_storeu_si128((__m128i *)(void *)at, _mm256_castsi256_si128(bytes));
}

/* quant_to_bf16 of what is no NaN, in the low half of each lane. */
QUANT_INLINE __m256i rounded(__m256 values)
{
    __m256i bits = _mm256_castps_si256(values);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));

    bits = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    return _mm256_srli_epi32(bits, 16);
}

/* 16 elements. */
QUANT_INLINE __m256i elements_of(unsigned element, __m128i integers, float scale)
{
    __m256i low = _mm256_cvtepi8_epi32(integers);
    __m256i high = _mm256_cvtepi8_epi32(_mm_srli_si128(integers, 8));
    __m256 a = _mm256_mul_ps(_mm256_cvtepi32_ps(low), _mm256_set1_ps(scale));
    __m256 b = _mm256_mul_ps(_mm256_cvtepi32_ps(high), _mm256_set1_ps(scale));

    if (element == KVR_FP16)
        return _mm256_set_m128i(_mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT),
                                _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded(a), rounded(b)), 0xd8);
}

#include "gpu/quant_loops.h"

const struct quant_path quant_path_avx2 = {.name = "avx2", .pack = pack, .unpack = unpack};
