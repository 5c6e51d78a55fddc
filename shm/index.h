/* SPDX-License-Identifier: Apache-2.0 */
/* Lock-free lookup, for any thread or process that maps the index. A reader inside the dataplane
 * must be an online RCU reader (reclaim.h); the view it gets is valid until its next quiescent
 * state. Lookups write nothing. A burst: index_prefetch for all, index_prefetch_block for all,
 * index_find for all. */
#pragma once

#include <stdbool.h>
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

/* Finds the sealed, unexpired block of the key. now_ms: arena_ms(). key_len 1 .. KVR_KEY_MAX. */
[[nodiscard]] bool index_find(const struct arena *arena, unsigned partition, struct key_hash hash,
                              const void *key, uint32_t key_len, uint32_t now_ms,
                              struct block_view *view);
