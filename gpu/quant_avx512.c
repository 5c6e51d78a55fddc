/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion with AVX-512 (F, BW, VL), 32 elements a step: as quant_math.h does it, to the bit.
 * Nothing else of this program is compiled for these CPUs. Any thread. */
#include <immintrin.h>

#include "gpu/quant_math.h"
#include "gpu/quant_path.h"

#define QUANT_CPUS target("avx512f,avx512bw,avx512vl,avx2,f16c")
#define QUANT_INLINE static inline __attribute__((QUANT_CPUS, always_inline))

/* quant_finite of 32 elements. */
QUANT_INLINE __m512i cleaned(unsigned element, __m512i x)
{
    const short infinity = element == KVR_BF16 ? QUANT_BF16_INFINITY : QUANT_FP16_INFINITY;
    __m512i mask = _mm512_set1_epi16(QUANT_MAGNITUDE), magnitude = _mm512_and_si512(x, mask);
    __mmask32 number = _mm512_cmple_epu16_mask(magnitude, _mm512_set1_epi16(infinity));

    magnitude = _mm512_min_epu16(magnitude, _mm512_set1_epi16((short)(infinity - 1)));
    return _mm512_maskz_mov_epi16(number, _mm512_or_si512(magnitude, _mm512_andnot_si512(mask, x)));
}

/* Of the magnitudes of a group. */
QUANT_INLINE uint16_t largest_of(unsigned element, const uint8_t *elements, unsigned group)
{
    __m512i most = _mm512_setzero_si512();
    __m256i half;
    __m128i least;

    for (unsigned i = 0; i < group; i += 32) {
        __m512i x = cleaned(element, _mm512_loadu_si512(elements + 2 * i));

        most = _mm512_max_epu16(most, _mm512_and_si512(x, _mm512_set1_epi16(QUANT_MAGNITUDE)));
    }
    most = _mm512_xor_si512(most, _mm512_set1_epi16(-1));
    half = _mm256_min_epu16(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
    least = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return (uint16_t)~_mm_extract_epi16(_mm_minpos_epu16(least), 0);
}

QUANT_INLINE __m512 floats(unsigned element, __m256i x)
{
    if (element == KVR_FP16)
        return _mm512_cvtph_ps(x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

QUANT_INLINE __m128i divided(unsigned element, __m256i x, __m512 scale)
{
    return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_div_ps(floats(element, x), scale)));
}

/* 32 quotients as integers of 8 bits. */
QUANT_INLINE __m256i integers_of(unsigned element, const uint8_t *elements, float scale)
{
    __m512 divisor = _mm512_set1_ps(scale);
    __m512i x = cleaned(element, _mm512_loadu_si512(elements));

    return _mm256_set_m128i(divided(element, _mm512_extracti64x4_epi64(x, 1), divisor),
                            divided(element, _mm512_castsi512_si256(x), divisor));
}

QUANT_INLINE void store_halves(uint8_t *at, __m256i integers)
{
    __m256i low = _mm256_and_si256(integers, _mm256_set1_epi8(0xf));
    __m256i pairs = _mm256_maddubs_epi16(low, _mm256_set1_epi16(0x1001));

    _mm_storeu_si128((__m128i *)(void *)at, _mm256_cvtepi16_epi8(pairs));
}

/* quant_to_bf16 of what is no NaN. */
QUANT_INLINE __m256i rounded(__m512 values)
{
    __m512i bits = _mm512_castps_si512(values);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));

    bits = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16));
}

/* 16 elements. */
QUANT_INLINE __m256i elements_of(unsigned element, __m128i integers, float scale)
{
    __m512 factor = _mm512_set1_ps(scale);
    __m512 values = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(integers)), factor);

    if (element == KVR_FP16)
        return _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT);
    return rounded(values);
}

#include "gpu/quant_loops.h"

const struct quant_path quant_path_avx512 = {.name = "avx512", .pack = pack, .unpack = unpack};
