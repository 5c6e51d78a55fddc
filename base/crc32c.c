/* SPDX-License-Identifier: Apache-2.0 */
/* Short inputs, as headers and small values are, by the CPU's own instruction, where isa-l's wide
 * multiplications cost more than they save (measured: up to some 256 bytes); the rest by isa-l,
 * whose function leaves the usual inversions to its caller and takes an int length. */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#define SHORT_MAX 256u

static bool has_instruction;

__attribute__((constructor)) static void look_at_cpu(void)
{
    __builtin_cpu_init();
    has_instruction = __builtin_cpu_supports("sse4.2");
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

/* The whole of a short datagram in one run of words: the blank is half of one of them. */
__attribute__((target("sse4.2"))) static uint32_t blank_short(const uint8_t *from, size_t len,
                                                              size_t at)
{
    const uint8_t *end = from + len / sizeof(uint64_t) * sizeof(uint64_t);
    const uint8_t *middle = from + at / sizeof(uint64_t) * sizeof(uint64_t);
    uint64_t state = UINT32_MAX, word;
    uint32_t tail;

    for (; from < middle; from += sizeof(word)) {
        memcpy(&word, from, sizeof(word));
        state = __builtin_ia32_crc32di(state, word);
    }
    memcpy(&word, from, sizeof(word));
    word &= at % sizeof(word) ? UINT32_MAX : ~(uint64_t)UINT32_MAX;
    state = __builtin_ia32_crc32di(state, word);
    for (from += sizeof(word); from < end; from += sizeof(word)) {
        memcpy(&word, from, sizeof(word));
        state = __builtin_ia32_crc32di(state, word);
    }
    tail = (uint32_t)state;
    for (len %= sizeof(word); len > 0; len--)
        tail = __builtin_ia32_crc32qi(tail, *from++);
    return ~tail;
}
#else
#define SHORT_MAX 0u
static const bool has_instruction = false;
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

uint32_t crc32c_blank(const void *bytes, size_t len, size_t at)
{
    const uint8_t *from = bytes;
    size_t head = (at + 8) / 8 * 8; /* up to the end of the word that the blank lies in */
    uint32_t crc;

    if (has_instruction && len <= SHORT_MAX && head <= len)
        return blank_short(from, len, at);
    if (has_instruction && head <= SHORT_MAX && head <= len) {
        crc = blank_short(from, head, at);
        return crc32c(crc, from + head, len - head);
    }
    crc = crc32c(0, from, at);
    crc = crc32c(crc, "\0\0\0", 4);
    return crc32c(crc, from + at + 4, len - at - 4);
}
