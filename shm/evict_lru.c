/* SPDX-License-Identifier: Apache-2.0 */
/* Least recently used: an access moves its block to the end of the list. */
#include "shm/evict_list.h"

extern const struct policy_ops policy_lru;

static inline void hit(struct policy *policy, uint32_t block)
{
    if (policy->order.tail == block)
        return;
    order_remove(&policy->order, policy->links, block);
    order_append(&policy->order, policy->links, block);
}

static void hits(struct policy *policy, const uint32_t *blocks, uint32_t nr)
{
    for (unsigned step = 0; nr > 1 && step < 2; step++)
        for (uint32_t i = 0; i < nr; i++)
            order_prefetch(policy->links, blocks[i], step);
    for (uint32_t i = 0; i < nr; i++)
        hit(policy, blocks[i]);
}

const struct policy_ops policy_lru = {
    .name = "lru",
    .help = "least recently used goes first",
    .create = list_create,
    .destroy = list_destroy,
    .insert = list_insert,
    .hits = hits,
    .hint = list_hint,
    .remove = list_remove,
    .walk_start = list_walk_start,
    .walk_next = list_walk_next,
};
