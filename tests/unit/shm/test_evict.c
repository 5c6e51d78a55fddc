/* SPDX-License-Identifier: Apache-2.0 */
/* One suite that every policy passes, and what each of them promises beyond it. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/random.h"
#include "shm/evict.h"

#define BLOCKS 500u

static const struct policy_env env = {.nr_blocks = BLOCKS};

static unsigned walk(const struct policy_ops *ops, struct policy *policy, uint32_t *order)
{
    unsigned nr = 0;
    uint32_t block;

    ops->walk_start(policy);
    while (nr < BLOCKS + 1 && (block = ops->walk_next(policy)) != BLOCK_NONE)
        order[nr++] = block;
    return nr;
}

Test(policies, are_found_by_name)
{
    cr_assert_eq(policy_find("nonesuch"), NULL);
    for (const struct policy_ops *const *at = policies; *at; at++) {
        cr_assert_eq(policy_find((*at)->name), *at);
        cr_assert(strlen((*at)->help) > 10);
    }
    for (unsigned i = 0; i < 3; i++)
        cr_assert(policy_find((const char *[]){"lru", "lfu", "fifo"}[i]));
}

/* Random calls; the walk names exactly the blocks that are in, each once, as often as asked. */
static void contract(const struct policy_ops *ops)
{
    bool in[BLOCKS] = {0};
    uint32_t order[BLOCKS + 1], again[BLOCKS + 1];
    struct policy *policy;
    struct rng rng;
    unsigned nr_in = 0;

    rng_seed(&rng, 4);
    cr_assert_eq(ops->create(&env, &policy), 0);
    cr_assert_eq(walk(ops, policy, order), 0);
    for (int i = 0; i < 40000; i++) {
        uint32_t block = (uint32_t)rng_below(&rng, BLOCKS);

        if (!in[block]) {
            ops->insert(policy, block);
            nr_in++;
        } else if (rng_below(&rng, 4) == 0) {
            ops->remove(policy, block);
            nr_in--;
        } else if (rng_below(&rng, 2)) {
            ops->hint(policy, block);
            continue;
        } else {
            ops->hits(policy, &block, 1);
            continue;
        }
        in[block] = !in[block];
        if (i % 100)
            continue;
        cr_assert_eq(walk(ops, policy, order), nr_in, "%s", ops->name);
        for (unsigned k = 0; k < nr_in; k++)
            cr_assert(in[order[k]], "%s", ops->name);
        cr_assert_eq(walk(ops, policy, again), nr_in);
        cr_assert_eq(memcmp(order, again, nr_in * sizeof(order[0])), 0, "looking changes nothing");
    }
    ops->destroy(policy);
}

Test(policies, each_names_exactly_what_is_in_it)
{
    for (const struct policy_ops *const *at = policies; *at; at++)
        contract(*at);
}

/* What stands in the walk after 0..3 went in and some of them were hit. */
static void order_is(const char *name, const uint32_t *hits, unsigned nr_hits,
                     const uint32_t expected[4])
{
    const struct policy_ops *ops = policy_find(name);
    uint32_t order[BLOCKS + 1];
    struct policy *policy;

    cr_assert_eq(ops->create(&env, &policy), 0);
    for (uint32_t block = 0; block < 4; block++)
        ops->insert(policy, block);
    for (unsigned i = 0; i < nr_hits; i++)
        ops->hits(policy, &hits[i], 1);
    cr_assert_eq(walk(ops, policy, order), 4);
    cr_assert_eq(memcmp(order, expected, 4 * sizeof(order[0])), 0, "%s: %u %u %u %u", name,
                 order[0], order[1], order[2], order[3]);
    ops->destroy(policy);
}

Test(policies, lru_lets_the_longest_unused_go_first)
{
    order_is("lru", (const uint32_t[]){0, 2, 0}, 3, (const uint32_t[]){1, 3, 2, 0});
}

Test(policies, fifo_lets_the_first_stored_go_first)
{
    order_is("fifo", (const uint32_t[]){0, 2, 0}, 3, (const uint32_t[]){0, 1, 2, 3});
}

Test(policies, lfu_lets_the_rarest_go_first_and_of_equals_the_longest_unused)
{
    order_is("lfu", (const uint32_t[]){0, 2, 0, 1}, 4, (const uint32_t[]){3, 2, 1, 0});
    order_is("lfu", (const uint32_t[]){3, 1, 0, 2}, 4, (const uint32_t[]){3, 1, 0, 2});
}

Test(policies, lfu_orders_by_recency_above_its_highest_frequency)
{
    const struct policy_ops *ops = policy_find("lfu");
    uint32_t order[BLOCKS + 1];
    struct policy *policy;

    cr_assert_eq(ops->create(&env, &policy), 0);
    ops->insert(policy, 1);
    ops->insert(policy, 2);
    for (int i = 0; i < 70000; i++)
        ops->hits(policy, &(uint32_t){1}, 1);
    for (int i = 0; i < 66000; i++)
        ops->hits(policy, &(uint32_t){2}, 1);
    cr_assert_eq(walk(ops, policy, order), 2);
    cr_assert_eq(order[0], 1);
    ops->hits(policy, &(uint32_t){1}, 1);
    cr_assert_eq(walk(ops, policy, order), 2);
    cr_assert_eq(order[0], 2);
    ops->destroy(policy);
}
