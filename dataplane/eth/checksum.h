/* SPDX-License-Identifier: Apache-2.0 */
/* The Internet checksum (RFC 1071), summed in 64 bits and host order: the one's complement sum does
 * not depend on the byte order as long as words are loaded and stored the same way. */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One sum of two. */
static inline uint64_t checksum_join(uint64_t sum, uint64_t other)
{
    sum += other;
    return sum + (sum < other);
}

struct checksum_block {
    uint8_t bytes[32];
};

static inline uint64_t checksum_add_block(uint64_t sum, const uint8_t *bytes)
{
#if defined(__x86_64__)
    /* One chain of additions with carry; compilers do not find it by themselves. */
    __asm__("addq (%1), %0\n\t"
            "adcq 8(%1), %0\n\t"
            "adcq 16(%1), %0\n\t"
            "adcq 24(%1), %0\n\t"
            "adcq $0, %0"
            : "+r"(sum)
            : "r"(bytes), "m"(*(const struct checksum_block *)bytes)
            : "cc");
#else
    uint64_t word;

    for (int i = 0; i < 4; i++) {
        memcpy(&word, bytes + 8 * i, sizeof(word));
        sum = checksum_join(sum, word);
    }
#endif
    return sum;
}

/* Adds len bytes that start at an even offset of what is summed. */
static inline uint64_t checksum_add(uint64_t sum, const void *from, size_t len)
{
    const uint8_t *bytes = from;
    uint64_t word, rest = 0; /* rest: of less than 8 bytes */

    for (; len >= 32; len -= 32, bytes += 32)
        sum = checksum_add_block(sum, bytes);
    for (; len >= 8; len -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        sum = checksum_join(sum, word);
    }
    if (len & 4) {
        word = 0;
        memcpy(&word, bytes, 4);
        rest += word;
        bytes += 4;
    }
    if (len & 2) {
        word = 0;
        memcpy(&word, bytes, 2);
        rest += word;
        bytes += 2;
    }
    if (len & 1)
        rest += *bytes;
    return checksum_join(sum, rest);
}

/* What a big-endian field of 16 bits adds to a sum. */
static inline uint64_t checksum_field(uint16_t value)
{
    return htobe16(value);
}

/* What the pseudo header of UDP or ICMPv6 adds, but for its addresses. len below 64 KiB. */
static inline uint64_t checksum_pseudo(uint8_t protocol, uint32_t len)
{
    return checksum_field(protocol) + checksum_field((uint16_t)len);
}

/* The one's complement sum in 16 bits, not inverted. */
static inline uint16_t checksum_fold(uint64_t sum)
{
    uint32_t low = (uint32_t)sum, high = (uint32_t)(sum >> 32);
    uint16_t low16, high16;

    low += high;
    low += low < high;
    low16 = (uint16_t)low;
    high16 = (uint16_t)(low >> 16);
    low16 = (uint16_t)(low16 + high16);
    return (uint16_t)(low16 + (low16 < high16));
}

/* Like checksum_add for bytes that follow at an odd offset. */
static inline uint64_t checksum_add_odd(uint64_t sum, const void *from, size_t len)
{
    return checksum_join(sum, __builtin_bswap16(checksum_fold(checksum_add(0, from, len))));
}

struct checksum_head {
    uint8_t bytes[20];
};

/* Whether 20 bytes that are not all zero sum up to 0xffff, as a good IPv4 header does: a sum of
 * words of 64 bits folds to that if it is a multiple of 65535, and those are told by the inverse of
 * that odd number. */
static inline bool checksum_head_good(const uint8_t *bytes)
{
    const uint64_t inverse = 0xfffefffefffeffffull;
    uint64_t sum;
    uint32_t half;

    memcpy(&half, bytes + 16, sizeof(half));
    sum = half;
#if defined(__x86_64__)
    __asm__("addq (%1), %0\n\t"
            "adcq 8(%1), %0\n\t"
            "adcq $0, %0"
            : "+r"(sum)
            : "r"(bytes), "m"(*(const struct checksum_head *)bytes)
            : "cc");
#else
    uint64_t word;

    for (int i = 0; i < 2; i++) {
        memcpy(&word, bytes + 8 * i, sizeof(word));
        sum = checksum_join(sum, word);
    }
#endif
    return sum * inverse <= UINT64_MAX / 65535u;
}
