/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C (Castagnoli, as in iSCSI, RFC 3720) of values and datagrams; isa-l does the work, but for
 * short inputs in code that is compiled for CPUs with the instruction: there it is inline. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Measured: up to here the instruction alone beats isa-l's wide multiplications. */
#define CRC32C_SHORT_MAX 256u

/* crc32c(0, "123456789", 9) == 0xe3069283. Continue with the previous result as crc. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

/* The same of len bytes at once, of which the 4 at `at` (a multiple of 4) count as 0: a datagram
 * that holds its own CRC. */
uint32_t crc32c_blank(const void *bytes, size_t len, size_t at);

/* The CRC32C of A followed by B, from those of both; shift: crc32c_shift(length of B). */
uint32_t crc32c_join(uint32_t a, uint32_t b, uint32_t shift);
uint32_t crc32c_shift(size_t len);

#if defined(__SSE4_2__)
static inline uint64_t crc32c_word(uint64_t state, const uint8_t *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return __builtin_ia32_crc32di(state, word);
}

#define CRC32C_WORD(n)                                                                             \
    case n:                                                                                        \
        state = crc32c_word(state, end - 8 * (n));                                                 \
        __attribute__((fallthrough));
#define CRC32C_FOUR(n) CRC32C_WORD(n) CRC32C_WORD(n - 1) CRC32C_WORD(n - 2) CRC32C_WORD(n - 3)

/* state: the inverted CRC. len: a multiple of 8, less than CRC32C_SHORT_MAX. One jump into a run of
 * words that has no loop: of short inputs half the instructions would be the loop's. */
static inline uint64_t crc32c_words(uint64_t state, const uint8_t *at, size_t len)
{
    const uint8_t *end = at + len;

    switch (len / 8 % 32) {
        CRC32C_WORD(31)
        CRC32C_WORD(30)
        CRC32C_WORD(29)
        CRC32C_FOUR(28)
        CRC32C_FOUR(24)
        CRC32C_FOUR(20)
        CRC32C_FOUR(16)
        CRC32C_FOUR(12)
        CRC32C_FOUR(8)
        CRC32C_FOUR(4)
    case 0:
        break;
    }
    return state;
}
#undef CRC32C_FOUR
#undef CRC32C_WORD
_Static_assert(CRC32C_SHORT_MAX == 8 * 32, "crc32c_words has a case for each length");
#endif

/* Of a datagram of 16 bytes or more, whose header holds its CRC at 12. */
static inline uint32_t crc32c_datagram(const uint8_t *bytes, size_t len)
{
#if defined(__SSE4_2__)
    uint64_t state;
    uint32_t half;

    if (len <= CRC32C_SHORT_MAX && len % 8 == 0) {
        memcpy(&half, bytes + 8, sizeof(half));
        state = __builtin_ia32_crc32di(crc32c_word(UINT32_MAX, bytes), half);
        return ~(uint32_t)crc32c_words(state, bytes + 16, len - 16);
    }
#endif
    return crc32c_blank(bytes, len, 12);
}
