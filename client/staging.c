/* SPDX-License-Identifier: Apache-2.0 */
#include "client/staging.h"

#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull
#define KEEP (1ull << 20) /* pages of smaller values stay, they are soon used again */

bool staging_take(struct staging *staging, uint64_t len, uint64_t *off)
{
    uint64_t at = 0, pages = (len + PAGE - 1) & ~(PAGE - 1);
    uint32_t i;

    if (pages == 0)
        pages = PAGE;
    if (staging->nr == STAGING_PARTS || pages > staging->size)
        return false;
    for (i = 0; i < staging->nr && staging->parts[i].off - at < pages; i++)
        at = staging->parts[i].off + staging->parts[i].len;
    if (staging->size - at < pages)
        return false;
    memmove(&staging->parts[i + 1], &staging->parts[i],
            (staging->nr - i) * sizeof(staging->parts[0]));
    staging->parts[i] = (struct staging_part){at, pages};
    staging->nr++;
    *off = at;
    return true;
}

void staging_give(struct staging *staging, uint64_t off)
{
    for (uint32_t i = 0; i < staging->nr; i++) {
        struct staging_part part = staging->parts[i];

        if (part.off != off)
            continue;
        staging->nr--;
        memmove(&staging->parts[i], &staging->parts[i + 1],
                (staging->nr - i) * sizeof(staging->parts[0]));
        if (part.len >= KEEP)
            (void)madvise(staging->bytes + part.off, part.len, MADV_REMOVE);
        return;
    }
}
