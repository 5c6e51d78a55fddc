/* SPDX-License-Identifier: Apache-2.0 */
/* Lookup as any thread or process may do it: a seqlock read of one chain. Writes nothing, follows
 * no number it has not checked, and ends after a bounded number of steps whatever the memory says.
 */
#include "shm/index.h"

#include <string.h>

#include "shm/bucket.h"

/* An owner that died or was descheduled in the middle of a change leaves an odd version behind;
 * after so many looks nothing is known of the key. */
#define INDEX_TRIES 2048u

void index_prefetch(const struct arena *arena, unsigned partition, struct key_hash hash)
{
    const struct part_map *map = &arena->maps[partition];

    prefetch_read(&map->buckets[hash_bucket(hash, map->nr_buckets)]);
}

void index_prefetch_block(const struct arena *arena, unsigned partition, struct key_hash hash)
{
    const struct part_map *map = &arena->maps[partition];
    const struct bucket *bucket = &map->buckets[hash_bucket(hash, map->nr_buckets)];
    uint32_t hits = bucket_match(bucket, hash_tag(hash));

    if (hits) {
        uint32_t block = shared_load(&bucket->blocks[__builtin_ctz(hits)]);

        if (block < map->nr_blocks)
            prefetch_read(&map->descs[block]);
    }
}

/* Whether [place, place + bytes) lies in the mapped data. */
static inline bool inside(const struct arena *arena, uint32_t place, uint32_t bytes)
{
    return (uint64_t)place * DATA_UNIT + bytes <= arena->data_size;
}

/* A reader in another process may meet the next owner of the memory here: as the loads acquire, it
 * sees the version changed afterwards. */
static inline bool far_key_equal(const uint8_t *stored, const uint8_t *key, uint32_t key_len)
{
    const uint64_t *words = (const uint64_t *)(const void *)stored;

    for (uint32_t at = 0; at < key_len; at += 8) {
        uint32_t len = key_len - at < 8 ? key_len - at : 8;
        uint64_t wanted = 0, word = shared_load(&words[at / 8]);

        memcpy(&wanted, key + at, len);
        if (memcmp(&wanted, &word, len) != 0)
            return false;
    }
    return true;
}

/* Whether it is the key's sealed block. Copies all but the key. */
static inline bool desc_match(const struct arena *arena, const struct block_desc *shared,
                              const void *key, uint32_t key_len, struct block_desc *copy)
{
    uint32_t place;

    desc_copy_head(copy, shared);
    if (copy->state != BLOCK_SEALED || copy->key_len != key_len)
        return false;
    if (key_len <= KEY_INLINE)
        return desc_key_equal(shared, key, key_len);
    place = shared_load(&shared->far_key.place);
    return inside(arena, place, key_len) &&
           far_key_equal(arena->data + (uint64_t)place * DATA_UNIT, key, key_len);
}

/* Walks the chain once. Finds the block's index and copies its descriptor but for the key, or
 * BLOCK_NONE; what it says counts only if the version is still the same afterwards. */
static uint32_t chain_search(const struct arena *arena, const struct part_map *map, uint32_t head,
                             uint16_t tag, const void *key, uint32_t key_len,
                             struct block_desc *desc)
{
    const struct bucket *bucket = &map->buckets[head];

    for (unsigned step = 0; step <= CHAIN_OVERFLOW_MAX; step++) {
        uint32_t hits = bucket_match(bucket, tag), next;

        for (; hits; hits &= hits - 1) {
            uint32_t block = shared_load(&bucket->blocks[__builtin_ctz(hits)]);

            if (block >= map->nr_blocks)
                continue;
            if (desc_match(arena, &map->descs[block], key, key_len, desc))
                return block;
        }
        next = shared_load(&bucket->next);
        if (!next || next > map->nr_overflow)
            break;
        bucket = &map->buckets[map->nr_buckets + next - 1];
    }
    return BLOCK_NONE;
}

enum index_result index_look(const struct arena *arena, unsigned partition, struct key_hash hash,
                             const void *key, uint32_t key_len, uint32_t now_ms,
                             struct block_view *view)
{
    const struct part_map *map = &arena->maps[partition];
    uint32_t head = hash_bucket(hash, map->nr_buckets);
    uint16_t tag = hash_tag(hash);

    for (unsigned tries = 0; tries < INDEX_TRIES; tries++, cpu_relax()) {
        uint32_t version = shared_load(&map->buckets[head].version), block;
        struct block_desc desc;

        if (version & 1)
            continue;
        block = chain_search(arena, map, head, tag, key, key_len, &desc);
        /* All loads above acquire, so this one comes after them. */
        if (__atomic_load_n(&map->buckets[head].version, __ATOMIC_RELAXED) != version)
            continue;
        if (block == BLOCK_NONE || expiry_passed(desc.flags, desc.expiry_ms, now_ms) ||
            !inside(arena, desc.place, desc.value_len))
            return INDEX_MISS;
        view_set(arena, map, partition, block, &desc, now_ms, view);
        return INDEX_HIT;
    }
    return INDEX_UNDECIDED;
}

bool index_find(const struct arena *arena, unsigned partition, struct key_hash hash,
                const void *key, uint32_t key_len, uint32_t now_ms, struct block_view *view)
{
    return index_look(arena, partition, hash, key, key_len, now_ms, view) == INDEX_HIT;
}
