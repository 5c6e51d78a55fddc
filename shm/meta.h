/* SPDX-License-Identifier: Apache-2.0 */
/* Which entries of a partition's table of hints are taken. Few small blocks carry a hint, so the
 * table is shorter than the descriptors are many; a descriptor names its entry by number, from 1.
 * Owner core only, private memory but for the entries (layout.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"
#include "shm/arena.h"

#define META_NONE 0u /* no hint */

struct meta_table {
    struct block_meta *metas;
    uint64_t *taken; /* bit per entry */
    uint32_t nr, nr_free, nr_words;
    uint32_t word; /* where the last free one was found */
};

/* Nothing taken. 0 or -ENOMEM. */
[[nodiscard]] int meta_open(struct meta_table *table, const struct part_map *map);
void meta_close(struct meta_table *table);

/* Whether it says anything. */
bool meta_needed(const struct kvr_hint *hint);
/* The number of an entry, or META_NONE where all are taken. */
[[nodiscard]] uint32_t meta_take(struct meta_table *table);
void meta_give(struct meta_table *table, uint32_t number);
void meta_write(struct meta_table *table, uint32_t number, const struct kvr_hint *hint);
/* Recovery: takes this one; false where there is no such entry or another block has it. */
[[nodiscard]] bool meta_adopt(struct meta_table *table, uint32_t number);
