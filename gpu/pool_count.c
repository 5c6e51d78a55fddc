/* SPDX-License-Identifier: Apache-2.0 */
/* How often blocks without a copy were hit, of the blocks hit last, as many as there is room for:
 * in sets of COUNT_WAYS, the one that was hit last first. Owner only. */
#include <string.h>

#include "gpu/pool_state.h"

static struct count *set_of(struct pool *pool, uint64_t ref)
{
    uint64_t x = ref * 0x9e3779b97f4a7c15ull;

    return &pool->counts[(x >> 32 & pool->counts_mask) * COUNT_WAYS];
}

/* COUNT_WAYS: it is not there. */
static unsigned find(const struct count *set, uint64_t ref)
{
    unsigned at = 0;

    while (at < COUNT_WAYS && set[at].ref != ref)
        at++;
    return at;
}

uint32_t count_hit(struct pool *pool, uint64_t ref)
{
    struct count *set = set_of(pool, ref), count = {.ref = ref, .hits = 1};
    unsigned at = find(set, ref);

    if (at < COUNT_WAYS)
        count.hits += set[at].hits;
    else
        at = COUNT_WAYS - 1;
    memmove(&set[1], &set[0], at * sizeof(set[0]));
    set[0] = count;
    return count.hits;
}

void count_clear(struct pool *pool, uint64_t ref)
{
    struct count *set = set_of(pool, ref);
    unsigned at = find(set, ref);

    if (at < COUNT_WAYS)
        set[at] = (struct count){0};
}
