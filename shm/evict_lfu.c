/* SPDX-License-Identifier: Apache-2.0 */
/* Least frequently used, and among equals the one whose last access is oldest. A list for each
 * frequency, in the order in which blocks reached it, which is the order of their last access; a
 * two-level bitmap finds the next list that is not empty. 10 bytes a block, every step O(1).
 * Frequencies end at FREQUENCY_MAX; above it, recency decides. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/evict.h"
#include "shm/order.h"
#include "shm/pages.h"

#define FREQUENCY_MAX 65535u
#define WORDS ((FREQUENCY_MAX + 1) / 64)

struct policy {
    struct order lists[FREQUENCY_MAX + 1]; /* by frequency; valid where its bit is set */
    uint64_t used[WORDS];                  /* lists that are not empty */
    uint64_t summary[WORDS / 64];          /* words of used that are not zero */
    uint32_t cursor;                       /* of the walk */
    struct order_link *links;
    uint16_t *frequency;
};

extern const struct policy_ops policy_lfu;

static int create(const struct policy_env *env, struct policy **out)
{
    struct policy *policy = calloc(1, sizeof(*policy));

    if (!policy)
        return -ENOMEM;
    policy->links = pages_calloc(env->nr_blocks, sizeof(*policy->links));
    policy->frequency = pages_calloc(env->nr_blocks, sizeof(*policy->frequency));
    if (!policy->links || !policy->frequency) {
        free(policy->links);
        free(policy->frequency);
        free(policy);
        return -ENOMEM;
    }
    policy->cursor = BLOCK_NONE;
    *out = policy;
    return 0;
}

static void destroy(struct policy *policy)
{
    free(policy->links);
    free(policy->frequency);
    free(policy);
}

static void enter(struct policy *policy, uint32_t block, uint32_t frequency)
{
    struct order *list = &policy->lists[frequency];
    uint64_t bit = 1ull << frequency % 64;

    if (!(policy->used[frequency / 64] & bit)) {
        order_clear(list);
        policy->used[frequency / 64] |= bit;
        policy->summary[frequency / 4096] |= 1ull << frequency / 64 % 64;
    }
    order_append(list, policy->links, block);
    policy->frequency[block] = (uint16_t)frequency;
}

static void leave(struct policy *policy, uint32_t block)
{
    uint32_t frequency = policy->frequency[block];
    struct order *list = &policy->lists[frequency];

    order_remove(list, policy->links, block);
    if (list->head != BLOCK_NONE)
        return;
    policy->used[frequency / 64] &= ~(1ull << frequency % 64);
    if (!policy->used[frequency / 64])
        policy->summary[frequency / 4096] &= ~(1ull << frequency / 64 % 64);
}

static void insert(struct policy *policy, uint32_t block)
{
    enter(policy, block, 1);
}

static void hit(struct policy *policy, uint32_t block)
{
    uint32_t frequency = policy->frequency[block];

    leave(policy, block);
    enter(policy, block, frequency < FREQUENCY_MAX ? frequency + 1 : frequency);
}

static void hits(struct policy *policy, const uint32_t *blocks, uint32_t nr)
{
    for (uint32_t i = 0; nr > 1 && i < nr; i++) {
        order_prefetch(policy->links, blocks[i], 0);
        prefetch_write(&policy->frequency[blocks[i]]);
    }
    for (uint32_t i = 0; nr > 1 && i < nr; i++) {
        order_prefetch(policy->links, blocks[i], 1);
        prefetch_write(&policy->lists[policy->frequency[blocks[i]]]);
    }
    for (uint32_t i = 0; i < nr; i++)
        hit(policy, blocks[i]);
}

static void hint(struct policy *, uint32_t)
{
}

/* The first used frequency from on upwards, or UINT32_MAX. */
static uint32_t frequency_from(const struct policy *policy, uint32_t from)
{
    uint32_t word = from / 64;
    uint64_t bits = word < WORDS ? policy->used[word] >> from % 64 << from % 64 : 0;

    if (bits)
        return word * 64 + (uint32_t)__builtin_ctzll(bits);
    for (word++; word < WORDS; word = (word / 64 + 1) * 64) {
        bits = policy->summary[word / 64] >> word % 64 << word % 64;
        if (bits) {
            word = word / 64 * 64 + (uint32_t)__builtin_ctzll(bits);
            return word * 64 + (uint32_t)__builtin_ctzll(policy->used[word]);
        }
    }
    return UINT32_MAX;
}

static uint32_t first_from(const struct policy *policy, uint32_t from)
{
    uint32_t frequency = frequency_from(policy, from);

    return frequency == UINT32_MAX ? BLOCK_NONE : policy->lists[frequency].head;
}

static void walk_start(struct policy *policy)
{
    policy->cursor = first_from(policy, 0);
}

static uint32_t walk_next(struct policy *policy)
{
    uint32_t block = policy->cursor;

    if (block == BLOCK_NONE)
        return BLOCK_NONE;
    policy->cursor = policy->links[block].next;
    if (policy->cursor == BLOCK_NONE)
        policy->cursor = first_from(policy, policy->frequency[block] + 1u);
    return block;
}

const struct policy_ops policy_lfu = {
    .name = "lfu",
    .help = "least frequently used goes first, of equals the least recently used",
    .create = create,
    .destroy = destroy,
    .insert = insert,
    .hits = hits,
    .hint = hint,
    .remove = leave,
    .walk_start = walk_start,
    .walk_next = walk_next,
};
