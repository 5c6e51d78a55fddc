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

#if defined(__SSE4_2__)
/* state: the inverted CRC. */
static inline uint32_t crc32c_step(uint32_t state, const uint8_t *at, size_t len)
{
    uint64_t wide = state, word[4];

    for (; len >= sizeof(word); len -= sizeof(word), at += sizeof(word)) {
        memcpy(word, at, sizeof(word));
        wide = __builtin_ia32_crc32di(wide, word[0]);
        wide = __builtin_ia32_crc32di(wide, word[1]);
        wide = __builtin_ia32_crc32di(wide, word[2]);
        wide = __builtin_ia32_crc32di(wide, word[3]);
    }
    for (; len >= 8; len -= 8, at += 8) {
        memcpy(word, at, 8);
        wide = __builtin_ia32_crc32di(wide, word[0]);
    }
    for (state = (uint32_t)wide; len > 0; len--)
        state = __builtin_ia32_crc32qi(state, *at++);
    return state;
}
#endif

/* Of a datagram of 16 bytes or more as its own header carries it: the four bytes at 12 count as
 * zero. */
static inline uint32_t crc32c_datagram(const uint8_t *bytes, size_t len)
{
    uint32_t crc;
    uint64_t word[2];

    memcpy(word, bytes, sizeof(word));
    word[1] &= UINT32_MAX; /* little-endian, as the protocol */
#if defined(__SSE4_2__)
    crc = (uint32_t)__builtin_ia32_crc32di(__builtin_ia32_crc32di(UINT32_MAX, word[0]), word[1]);
    if (len <= CRC32C_SHORT_MAX)
        return ~crc32c_step(crc, bytes + sizeof(word), len - sizeof(word));
    crc = ~crc;
#else
    crc = crc32c(0, word, sizeof(word));
#endif
    return crc32c(crc, bytes + sizeof(word), len - sizeof(word));
}
