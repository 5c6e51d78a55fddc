/* SPDX-License-Identifier: Apache-2.0 */
/* Who has which part of the segment's staging room: first fit over a few ranges, in pages. What a
 * large value took goes back to the kernel. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define STAGING_PARTS 32u

struct staging_part {
    uint64_t off, len;
};

struct staging {
    uint64_t size;
    uint8_t *bytes; /* size */
    uint32_t nr;
    struct staging_part parts[STAGING_PARTS]; /* taken, by offset */
};

static inline void staging_setup(struct staging *staging, uint8_t *bytes, uint64_t size)
{
    *staging = (struct staging){.bytes = bytes, .size = size};
}

/* False: no room now (or, if len is more than size, ever). */
[[nodiscard]] bool staging_take(struct staging *staging, uint64_t len, uint64_t *off);
void staging_give(struct staging *staging, uint64_t off);
