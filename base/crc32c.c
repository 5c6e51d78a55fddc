/* SPDX-License-Identifier: Apache-2.0 */
/* isa-l's function leaves the usual inversions to its caller and takes an int length. */
#include "base/crc32c.h"

#include <isa-l/crc.h>

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint32_t state = ~crc;

    while (len > 0) {
        size_t piece = len < (1u << 30) ? len : (1u << 30);
        state = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)piece, state);
        at += piece;
        len -= piece;
    }
    return ~state;
}
