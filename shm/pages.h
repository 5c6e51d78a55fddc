/* SPDX-License-Identifier: Apache-2.0 */
/* Private arrays with an entry for every block: large, and read at random. On huge pages, where the
 * kernel gives them for the asking, a look at one costs a cache miss less: that of its page's
 * translation. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGES_HUGE ((size_t)2 << 20)

/* As calloc; free() gives it back. */
static inline void *pages_calloc(size_t nr, size_t size)
{
    void *array = calloc(nr, size);
    uintptr_t at = ((uintptr_t)array + PAGES_HUGE - 1) & ~(PAGES_HUGE - 1);
    uintptr_t end = ((uintptr_t)array + nr * size) & ~(PAGES_HUGE - 1);

    /* Only a wish: without it, or where it is refused, these are ordinary pages. */
    if (array && end > at)
        (void)madvise((void *)at, end - at, MADV_HUGEPAGE);
    return array;
}
