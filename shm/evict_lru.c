/* SPDX-License-Identifier: Apache-2.0 */
/* Least recently used: one list, an access moves its block to the end. 8 bytes a block. */
#include <errno.h>
#include <stdlib.h>

#include "shm/evict.h"
#include "shm/order.h"

struct policy {
    struct order order;
    uint32_t cursor; /* of the walk */
    struct order_link links[];
};

extern const struct policy_ops policy_lru;

static int create(const struct policy_env *env, struct policy **out)
{
    struct policy *policy = calloc(1, sizeof(*policy) + env->nr_blocks * sizeof(*policy->links));

    if (!policy)
        return -ENOMEM;
    order_clear(&policy->order);
    policy->cursor = BLOCK_NONE;
    *out = policy;
    return 0;
}

static void destroy(struct policy *policy)
{
    free(policy);
}

static void insert(struct policy *policy, uint32_t block)
{
    order_append(&policy->order, policy->links, block);
}

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

static void hint(struct policy *, uint32_t)
{
}

static void take_out(struct policy *policy, uint32_t block)
{
    order_remove(&policy->order, policy->links, block);
}

static void walk_start(struct policy *policy)
{
    policy->cursor = policy->order.head;
}

static uint32_t walk_next(struct policy *policy)
{
    uint32_t block = policy->cursor;

    if (block != BLOCK_NONE)
        policy->cursor = policy->links[block].next;
    return block;
}

const struct policy_ops policy_lru = {
    .name = "lru",
    .help = "least recently used goes first",
    .create = create,
    .destroy = destroy,
    .insert = insert,
    .hit = hit,
    .prefetch = prefetch,
    .hint = hint,
    .remove = take_out,
    .walk_start = walk_start,
    .walk_next = walk_next,
};
