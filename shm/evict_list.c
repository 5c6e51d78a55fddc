/* SPDX-License-Identifier: Apache-2.0 */
/* The list under lru and fifo. Owner core only. */
#include "shm/evict_list.h"

#include <errno.h>
#include <stdlib.h>

#include "shm/pages.h"

int list_create(const struct policy_env *env, struct policy **out)
{
    struct policy *policy =
        pages_calloc(1, sizeof(*policy) + env->nr_blocks * sizeof(*policy->links));

    if (!policy)
        return -ENOMEM;
    order_clear(&policy->order);
    policy->cursor = BLOCK_NONE;
    *out = policy;
    return 0;
}

void list_destroy(struct policy *policy)
{
    free(policy);
}

void list_insert(struct policy *policy, uint32_t block)
{
    order_append(&policy->order, policy->links, block);
}

void list_hint(struct policy *, uint32_t)
{
}

void list_remove(struct policy *policy, uint32_t block)
{
    order_remove(&policy->order, policy->links, block);
}

void list_walk_start(struct policy *policy)
{
    policy->cursor = policy->order.head;
}

uint32_t list_walk_next(struct policy *policy)
{
    uint32_t block = policy->cursor;

    if (block != BLOCK_NONE)
        policy->cursor = policy->links[block].next;
    return block;
}
