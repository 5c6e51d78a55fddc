/* SPDX-License-Identifier: Apache-2.0 */
/* What policies of one list share: new blocks at the end, victims from the front. 8 bytes a block.
 * Each function has the meaning of the field of struct policy_ops of the same name. */
#pragma once

#include "shm/evict.h"
#include "shm/order.h"

struct policy {
    struct order order;
    uint32_t cursor; /* of the walk */
    struct order_link links[];
};

[[nodiscard]] int list_create(const struct policy_env *env, struct policy **out);
void list_destroy(struct policy *policy);
void list_insert(struct policy *policy, uint32_t block);
void list_hint(struct policy *policy, uint32_t block); /* a list asks for none */
void list_remove(struct policy *policy, uint32_t block);
void list_walk_start(struct policy *policy);
uint32_t list_walk_next(struct policy *policy);
