/* SPDX-License-Identifier: Apache-2.0 */
/* Least recently used: an access moves its block to the end of the list. */
#include "shm/evict_list.h"

extern const struct policy_ops policy_lru;

static void hit(struct policy *policy, uint32_t block)
{
    if (policy->order.tail == block)
        return;
    order_remove(&policy->order, policy->links, block);
    order_append(&policy->order, policy->links, block);
}

static void prefetch(const struct policy *policy, uint32_t block, unsigned step)
{
    order_prefetch(policy->links, block, step);
}

const struct policy_ops policy_lru = {
    .name = "lru",
    .help = "least recently used goes first",
    .create = list_create,
    .destroy = list_destroy,
    .insert = list_insert,
    .hit = hit,
    .prefetch = prefetch,
    .hint = list_hint,
    .remove = list_remove,
    .walk_start = list_walk_start,
    .walk_next = list_walk_next,
};
