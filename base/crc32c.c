/* SPDX-License-Identifier: Apache-2.0 */
/* Short inputs, as headers and small values are, by the CPU's own instruction, where isa-l's wide
 * multiplications cost more than they save (measured: up to some 256 bytes); the rest by isa-l,
 * whose function leaves the usual inversions to its caller and takes an int length.
 * Joining: len zero bytes behind A multiply its CRC, a polynomial over GF(2) with the highest power
 * in bit 0, by x^(8 len) modulo that of CRC32C; the inversions of A, B and both cancel out. */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <stdbool.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__x86_64__)
#define SHORT_MAX CRC32C_SHORT_MAX

static bool has_instruction, has_product;

__attribute__((constructor)) static void look_at_cpu(void)
{
    __builtin_cpu_init();
    has_instruction = __builtin_cpu_supports("sse4.2");
    has_product = has_instruction && __builtin_cpu_supports("pclmul");
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_short(uint32_t crc, const uint8_t *at,
                                                               size_t len)
{
    uint64_t state = (uint32_t)~crc, word;
    uint32_t tail;

    for (; len >= sizeof(word); len -= sizeof(word), at += sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        state = __builtin_ia32_crc32di(state, word);
    }
    for (tail = (uint32_t)state; len > 0; len--)
        tail = __builtin_ia32_crc32qi(tail, *at++);
    return ~tail;
}

/* a * shift * x^SPARE: the product of two such numbers is one of 64 bits times x, and the
 * instruction takes it modulo the polynomial after a multiplication by x^32. */
__attribute__((target("sse4.2,pclmul"))) static uint32_t product_short(uint32_t a, uint32_t shift)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)a), _mm_cvtsi32_si128((int)shift), 0);

    return (uint32_t)__builtin_ia32_crc32di(0, (uint64_t)_mm_cvtsi128_si64(product));
}

typedef uint64_t word __attribute__((aligned(1), may_alias));

/* The whole of a short datagram in one run of words: the blank is half of one of them. */
__attribute__((target("sse4.2"))) static uint32_t blank_short(const uint8_t *from, size_t len,
                                                              size_t at)
{
    const word *words = (const word *)from, *end = words + len / sizeof(word);
    const word *middle = words + at / sizeof(word);
    uint64_t state = UINT32_MAX;
    uint32_t tail;

    for (; words < middle; words++)
        state = __builtin_ia32_crc32di(state, *words);
    state = __builtin_ia32_crc32di(
        state, *words++ & (at % sizeof(word) ? UINT32_MAX : ~(uint64_t)UINT32_MAX));
    for (; end - words >= 4; words += 4) { /* as fast as the instruction's latency allows */
        state = __builtin_ia32_crc32di(state, words[0]);
        state = __builtin_ia32_crc32di(state, words[1]);
        state = __builtin_ia32_crc32di(state, words[2]);
        state = __builtin_ia32_crc32di(state, words[3]);
    }
    for (; words < end; words++)
        state = __builtin_ia32_crc32di(state, *words);
    tail = (uint32_t)state;
    from = (const uint8_t *)words;
    for (len %= sizeof(word); len > 0; len--)
        tail = __builtin_ia32_crc32qi(tail, *from++);
    return ~tail;
}
#else
#define SHORT_MAX 0u
static const bool has_instruction = false, has_product = false;
static uint32_t product_short(uint32_t a, uint32_t shift)
{
    return a ^ shift;
}
static uint32_t crc32c_short(uint32_t crc, const uint8_t *at, size_t len)
{
    (void)at, (void)len;
    return crc;
}
static uint32_t blank_short(const uint8_t *from, size_t len, size_t at)
{
    (void)from, (void)len;
    return (uint32_t)at;
}
#endif

static uint32_t crc32c_long(uint32_t crc, const uint8_t *at, size_t len)
{
    uint32_t state = ~crc;

    while (len > 0) {
        size_t piece = len < (1u << 30) ? len : (1u << 30);

        state = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)piece, state);
        at += piece;
        len -= piece;
    }
    return ~state;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    return len <= SHORT_MAX && has_instruction ? crc32c_short(crc, bytes, len)
                                               : crc32c_long(crc, bytes, len);
}

__attribute__((noinline)) static uint32_t blank_long(const uint8_t *from, size_t len, size_t at)
{
    size_t head = (at + 8) & ~(size_t)7; /* up to the end of the word that the blank lies in */
    uint32_t crc;

    if (has_instruction && head <= len && head <= SHORT_MAX) {
        crc = blank_short(from, head, at);
        return crc32c(crc, from + head, len - head);
    }
    crc = crc32c(0, from, at);
    crc = crc32c(crc, "\0\0\0", 4);
    return crc32c(crc, from + at + 4, len - at - 4);
}

uint32_t crc32c_blank(const void *bytes, size_t len, size_t at)
{
    if (has_instruction && len <= SHORT_MAX && at + 8 <= len)
        return blank_short(bytes, len, at);
    return blank_long(bytes, len, at);
}

#define POLYNOMIAL 0x82f63b78u /* of CRC32C, without x^32 */
#define ONE (1u << 31)
#define ORDER 0x7fffffffu /* x^ORDER == 1 */
#define SPARE 33u         /* a shift is x^(8 len - SPARE) */

static uint32_t times_x(uint32_t a)
{
    return a >> 1 ^ (a & 1 ? POLYNOMIAL : 0);
}

static uint32_t times(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (uint32_t bit = ONE; bit; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = times_x(b);
    }
    return product;
}

uint32_t crc32c_shift(size_t len)
{
    uint64_t power = (8 * (uint64_t)len + ORDER - SPARE) % ORDER;
    uint32_t square = ONE >> 1, shift = ONE;

    for (; power; power >>= 1) {
        if (power & 1)
            shift = times(shift, square);
        square = times(square, square);
    }
    return shift;
}

uint32_t crc32c_join(uint32_t a, uint32_t b, uint32_t shift)
{
    uint32_t product;

    if (has_product)
        return product_short(a, shift) ^ b;
    product = times(a, shift);
    for (unsigned i = 0; i < SPARE; i++)
        product = times_x(product);
    return product ^ b;
}
