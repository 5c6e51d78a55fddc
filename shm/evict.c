/* SPDX-License-Identifier: Apache-2.0 */
/* The table of policies: the only place that knows them all. */
#include "shm/evict.h"

#include <stddef.h>
#include <string.h>

extern const struct policy_ops policy_lru, policy_lfu, policy_fifo;

const struct policy_ops *const policies[] = {&policy_lru, &policy_lfu, &policy_fifo, NULL};

const struct policy_ops *policy_find(const char *name)
{
    for (const struct policy_ops *const *at = policies; *at; at++)
        if (!strcmp((*at)->name, name))
            return *at;
    return NULL;
}
