/* SPDX-License-Identifier: Apache-2.0 */
/* First in, first out: the list stays in the order of storing. */
#include "shm/evict_list.h"

extern const struct policy_ops policy_fifo;

static void hits(struct policy *, const uint32_t *, uint32_t)
{
}

const struct policy_ops policy_fifo = {
    .name = "fifo",
    .help = "first stored goes first",
    .create = list_create,
    .destroy = list_destroy,
    .insert = list_insert,
    .hits = hits,
    .hint = list_hint,
    .remove = list_remove,
    .walk_start = list_walk_start,
    .walk_next = list_walk_next,
};
