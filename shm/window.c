/* SPDX-License-Identifier: Apache-2.0 */
/* A sliding window over slabs and free chunks. The cost of a window is what would be lost: bytes of
 * blocks that are not among the coldest (slab.cold), and a little for those that are. */
#include "shm/window.h"

#define BLOCKED UINT64_MAX
#define HOT_WEIGHT 16u

/* Length of what begins at a chunk, and its cost. */
static uint32_t extent(const struct alloc *alloc, uint32_t chunk, uint16_t except, uint64_t *cost)
{
    const struct slab *slab;
    uint64_t used;

    *cost = BLOCKED;
    if (alloc->chunks[chunk] == CHUNK_HELD)
        return 1;
    *cost = 0;
    if (alloc->chunks[chunk] == CHUNK_FREE)
        return 1;
    slab = &alloc->slabs[chunk];
    used = (uint64_t)slab->used * slab->slot_units;
    if (slab->reserved || slab->leased || slab->pinned || slab->draining || slab->class == except)
        *cost = BLOCKED;
    else
        *cost = (used - (slab->cold < used ? slab->cold : used)) * HOT_WEIGHT + used;
    return slab->nr_chunks;
}

bool window_choose(const struct alloc *alloc, uint32_t nr, uint16_t except, uint32_t *chunk,
                   uint32_t *count)
{
    uint64_t sum = 0, best = BLOCKED;
    uint32_t low = 0, high = 0;

    while (high < alloc->nr_chunks) {
        uint64_t cost;

        high += extent(alloc, high, except, &cost);
        if (cost == BLOCKED) {
            low = high;
            sum = 0;
            continue;
        }
        sum += cost;
        while (high - low >= nr) {
            uint32_t length = extent(alloc, low, except, &cost);

            if (sum < best) {
                best = sum;
                *chunk = low;
                *count = high - low;
            }
            sum -= cost;
            low += length;
        }
    }
    return best != BLOCKED;
}
