/* SPDX-License-Identifier: Apache-2.0 */
/* The Internet checksum (RFC 1071), summed in host order: the one's complement sum does not depend
 * on the byte order as long as words are loaded and stored the same way. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t checksum_word(const uint8_t *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    return (word & 0xffffffffu) + (word >> 32);
}

/* Adds len bytes that start at an even offset of what is summed. Sums of up to 2^31 bytes. */
static inline uint64_t checksum_add(uint64_t sum, const void *from, size_t len)
{
    const uint8_t *bytes = from;
    uint64_t second = 0, third = 0, fourth = 0;
    uint16_t tail = 0;

    for (; len >= 32; len -= 32, bytes += 32) {
        sum += checksum_word(bytes);
        second += checksum_word(bytes + 8);
        third += checksum_word(bytes + 16);
        fourth += checksum_word(bytes + 24);
    }
    sum += second + third + fourth;
    for (; len >= 2; len -= 2, bytes += 2) {
        uint16_t word;

        memcpy(&word, bytes, sizeof(word));
        sum += word;
    }
    if (len) {
        memcpy(&tail, bytes, 1);
        sum += tail;
    }
    return sum;
}

/* The one's complement sum in 16 bits, not inverted. */
static inline uint16_t checksum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffu) + (sum >> 16);
    sum = (sum & 0xffffu) + (sum >> 16);
    return (uint16_t)sum;
}

/* Like checksum_add for bytes that follow at an odd offset. */
static inline uint64_t checksum_add_odd(uint64_t sum, const void *from, size_t len)
{
    return sum + __builtin_bswap16(checksum_fold(checksum_add(0, from, len)));
}
