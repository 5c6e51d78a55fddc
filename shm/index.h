/* SPDX-License-Identifier: Apache-2.0 */
/* Lock-free lookup, for any thread or process that maps the index. A reader inside the dataplane
 * must be an online RCU reader (reclaim.h); the view it gets is valid until its next quiescent
 * state. A reader in another process must publish the reference it got and look again (hazard.h).
 * Lookups write nothing. A burst: index_prefetch for all, index_prefetch_block for all, index_find
 * for all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "shm/arena.h"

/* A consistent copy of a sealed block's descriptor. */
struct block_view {
    uint64_t ref;
    uint32_t block; /* index within the partition */
    uint32_t value_len, value_crc;
    uint32_t ttl_ms; /* left; 0 = no expiry */
    uint16_t tenant, layout;
    const uint8_t *value; /* in the mapped data segment */
};

/* The view of a descriptor's copy, or of the descriptor itself by its owner. */
static inline void view_set(const struct arena *arena, const struct part_map *map,
                            unsigned partition, uint32_t block, const struct block_desc *desc,
                            uint32_t now_ms, struct block_view *view)
{
    *view = (struct block_view){
        .ref = block_ref(desc->generation, partition * map->nr_blocks + block),
        .block = block,
        .value_len = desc->value_len,
        .value_crc = desc->value_crc,
        .ttl_ms = desc->flags & DESC_EXPIRES ? desc->expiry_ms - now_ms : 0,
        .tenant = desc->tenant,
        .layout = desc->layout,
        .value = arena->data + (uint64_t)desc->place * DATA_UNIT,
    };
}

void index_prefetch(const struct arena *arena, unsigned partition, struct key_hash hash);
void index_prefetch_block(const struct arena *arena, unsigned partition, struct key_hash hash);

/* UNDECIDED: the chain was in the middle of a change, or changed, at every look; perhaps its owner
 * is dead or has lost its core. Says nothing about the key: look again later. */
enum index_result { INDEX_MISS, INDEX_HIT, INDEX_UNDECIDED };

/* Finds the sealed, unexpired block of the key. now_ms: arena_ms(). key_len 1 .. KVR_KEY_MAX.
 * From another process, a miss counts only if superblock.recovery was the same even number before
 * and after (arena_recovery). */
[[nodiscard]] enum index_result index_look(const struct arena *arena, unsigned partition,
                                           struct key_hash hash, const void *key, uint32_t key_len,
                                           uint32_t now_ms, struct block_view *view);

/* index_look by the owner, for whom undecided is a miss. */
[[nodiscard]] bool index_find(const struct arena *arena, unsigned partition, struct key_hash hash,
                              const void *key, uint32_t key_len, uint32_t now_ms,
                              struct block_view *view);
