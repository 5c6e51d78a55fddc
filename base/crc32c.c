/* SPDX-License-Identifier: Apache-2.0 */
/* Short inputs, as headers and small values are, by the CPU's own instruction, where isa-l's wide
 * multiplications cost more than they save (measured: up to some 256 bytes); the rest by isa-l,
 * whose function leaves the usual inversions to its caller and takes an int length. */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#define SHORT_MAX CRC32C_SHORT_MAX

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
#else
#define SHORT_MAX 0u
static const bool has_instruction = false;
static uint32_t crc32c_short(uint32_t crc, const uint8_t *at, size_t len)
{
    (void)at, (void)len;
    return crc;
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
