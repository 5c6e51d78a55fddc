/* SPDX-License-Identifier: Apache-2.0 */
/* Lookups of a burst ahead of their turn, by the owner core: three passes, each over what the one
 * before it has fetched: probe_ahead, probe_bucket, probe_block. What the last one confirms is
 * the key's block for as long as it stays sealed and its reader is not quiescent. No seqlock:
 * nobody else changes what the owner reads. */
#pragma once

#include "shm/bucket.h"
#include "shm/index.h"

/* Fetches the bucket. */
static inline const struct bucket *probe_ahead(const struct part_map *map, struct key_hash hash)
{
    const struct bucket *bucket = &map->buckets[hash_bucket(hash, map->nr_buckets)];

    prefetch_read(bucket);
    return bucket;
}

/* Reads the bucket. The first descriptor with the key's tag, fetched ahead, or NULL. */
static inline const struct block_desc *
probe_bucket(const struct part_map *map, const struct bucket *bucket, struct key_hash hash)
{
    uint32_t block = bucket_first_own(bucket, hash_tag(hash));
    const struct block_desc *desc;

    if (unlikely(block == BLOCK_NONE))
        return NULL;
    desc = &map->descs[block];
    prefetch_read(desc);
    return desc;
}

static inline bool word_equal(const uint8_t *a, const uint8_t *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x == y;
}

/* len: at most KEY_INLINE. Words, of which the last ones may overlap. */
static inline bool short_key_equal(const uint8_t *key, const uint8_t *other, uint32_t len)
{
    if (likely(len == 16))
        return word_equal(key, other) && word_equal(key + 8, other + 8);
    if (len < 8)
        return memcmp(key, other, len) == 0;
    if (!word_equal(key, other) || !word_equal(key + len - 8, other + len - 8))
        return false;
    return len <= 16 ||
           (word_equal(key + 8, other + 8) && word_equal(key + len - 16, other + len - 16));
}

/* Reads the descriptor: whether it is the key's sealed block. If so, the value's first two lines
 * are fetched ahead. Keys longer than KEY_INLINE are left to index_find. */
static inline bool probe_block(const struct arena *arena, const struct block_desc *desc,
                               const uint8_t *key, uint32_t key_len)
{
    const uint8_t *value = arena->data + (uint64_t)desc->place * DATA_UNIT;

    if (desc->state != BLOCK_SEALED || desc->key_len != key_len || key_len > KEY_INLINE ||
        !short_key_equal(desc->key, key, key_len))
        return false;
    prefetch_read(value);
    if (desc->value_len > CACHE_LINE)
        prefetch_read(value + CACHE_LINE);
    return true;
}

/* What index_find would say of a block that probe_block confirmed. False: it went since, or its
 * time did. */
static inline bool probe_view(const struct arena *arena, unsigned partition,
                              const struct block_desc *desc, uint32_t now_ms,
                              struct block_view *view)
{
    const struct part_map *map = &arena->maps[partition];
    uint32_t block = (uint32_t)(desc - map->descs);

    if (desc->state != BLOCK_SEALED || expiry_passed(desc->flags, desc->expiry_ms, now_ms))
        return false;
    view_set(arena, map, partition, block, desc, now_ms, view);
    return true;
}
