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
