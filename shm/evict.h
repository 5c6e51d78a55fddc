/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of eviction policies: one file each, evict_NAME.c, each passing the same suite.
 * A policy orders the sealed blocks of one partition; it owns no block. Owner core only, private
 * memory only. It may read the block's hint through the arrays it is given. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/layout.h"

#define POLICY_HITS_MAX 32u

struct policy; /* private state of one policy over one partition */

struct policy_env {
    uint32_t nr_blocks;
    const struct block_desc *descs;
    const struct block_meta *metas; /* a block's: number descs[block].meta, from 1; 0 = no hint */
};

struct policy_ops {
    const char *name, *help;
    int (*create)(const struct policy_env *env, struct policy **out); /* 0, -ENOMEM */
    void (*destroy)(struct policy *policy);
    void (*insert)(struct policy *policy, uint32_t block); /* just sealed */
    /* Accessed, in this order, one block perhaps several times: in bursts, so that a policy can
     * fetch what it will touch of all of them first. nr <= POLICY_HITS_MAX. */
    void (*hits)(struct policy *policy, const uint32_t *blocks, uint32_t nr);
    void (*hint)(struct policy *policy, uint32_t block);   /* its block_meta changed */
    void (*remove)(struct policy *policy, uint32_t block); /* unlinked, for whatever reason */
    /* Blocks in the order in which they should go: the first call after start is the best victim,
     * each further call the next one; BLOCK_NONE at the end. Nothing is changed by looking; insert,
     * hit, hint and remove end the walk. */
    void (*walk_start)(struct policy *policy);
    uint32_t (*walk_next)(struct policy *policy);
};

/* NULL if unknown. */
const struct policy_ops *policy_find(const char *name);
/* All policies, NULL at the end. */
extern const struct policy_ops *const policies[];
