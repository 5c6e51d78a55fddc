/* SPDX-License-Identifier: Apache-2.0 */
/* The short way of a hit, for any reader: the bucket is read without its version, and whichever
 * block the key's tag leads to is asked whether it is sealed and has the key. What is read of a
 * descriptor counts if its first word is still the same afterwards (docs/memory-model.md). Of a
 * miss this says nothing: index_look decides.
 *
 * Many at once: glance_place and a fetch of the bucket for all, glance_bucket for all, glance_read
 * for all. Inline, with map and partition apart: that is where a chain of keys spends its time, and
 * where there is but one partition both are the same for all of them. */
#pragma once

#include "shm/bucket.h"
#include "shm/index.h"

struct glance {
    uint64_t hash; /* struct key_hash.lo: the index needs no more */
    const struct bucket *bucket;
    const struct block_desc *desc; /* where the tag led to; NULL = nowhere */
    uint64_t word;                 /* its first, as it was when the rest was read */
    uint32_t partition;
};

/* map, here and below: the partition's. */
static inline void glance_place(struct glance *glance, const struct part_map *map,
                                uint32_t partition, struct key_hash hash)
{
    glance->hash = hash.lo;
    glance->partition = partition;
    glance->bucket = &map->buckets[hash_bucket(hash, map->nr_buckets)];
}

/* Where the tag leads to, and that descriptor's cache line on its way. */
static inline void glance_bucket(struct glance *glance, const struct part_map *map)
{
    uint32_t block = bucket_first(glance->bucket, hash_tag((struct key_hash){.lo = glance->hash}));
    const struct block_desc *desc = NULL;

    if (likely(block < map->nr_blocks)) { /* as BLOCK_NONE is not */
        desc = &map->descs[block];
        prefetch_read(desc);
    }
    glance->desc = desc;
}

static inline bool glance_expires(const struct glance *glance)
{
    return glance->word >> 40 & DESC_EXPIRES;
}

/* The moment, by arena_ms, if glance_expires. */
static inline uint32_t glance_expiry_ms(const struct glance *glance)
{
    return shared_load(&glance->desc->expiry_ms);
}

/* Whether that is the key's block, sealed; unexpired or not: ttl_ms becomes 0. */
static inline __attribute__((always_inline)) bool
glance_read(const struct arena *arena, struct glance *glance, const struct part_map *map,
            uint32_t partition, const void *key, uint32_t key_len, struct block_view *view)
{
    const struct block_desc *desc = glance->desc;
    const uint64_t *words = (const uint64_t *)(const void *)desc;
    uint64_t word, sizes, place;
    uint32_t layout;

    if (unlikely(!desc || key_len > KEY_INLINE))
        return false;
    word = shared_load(&words[0]);
    if (unlikely((word >> 32 & 0xffff00ffu) != (BLOCK_SEALED | key_len << 16)) ||
        unlikely(!desc_key_equal(desc, key, key_len)))
        return false;
    sizes = shared_load(&words[1]);
    layout = (uint32_t)shared_load(&words[3]);
    place = (uint64_t)shared_load(&desc->place) * DATA_UNIT;
    glance->word = word;
    view->block = (uint32_t)(desc - map->descs);
    view->ref = block_ref((uint32_t)word, partition * map->nr_blocks + view->block);
    view->value_len = (uint32_t)sizes;
    view->value_crc = (uint32_t)(sizes >> 32);
    view->tenant = (uint16_t)layout;
    view->layout = (uint16_t)(layout >> 16);
    view->ttl_ms = 0;
    view->value = arena->data + place;
    return likely(place + view->value_len <= arena->data_size);
}

/* Whether what was read is whole, and its block still sealed. Nothing of a descriptor changes while
 * it says that it is sealed, of this generation, but its expiry, and whether it has one. */
static inline bool glance_holds(const struct glance *glance)
{
    return shared_load((const uint64_t *)(const void *)glance->desc) == glance->word;
}

/* index_look's hit, for a reader that the block cannot vanish from or that does not mind. False:
 * not decided. */
static inline __attribute__((always_inline)) bool
glance_look(const struct arena *arena, struct glance *glance, const struct part_map *map,
            uint32_t partition, const void *key, uint32_t key_len, uint32_t now_ms,
            struct block_view *view)
{
    if (unlikely(!glance_read(arena, glance, map, partition, key, key_len, view)))
        return false;
    if (unlikely(glance_expires(glance))) {
        view->ttl_ms = glance_expiry_ms(glance) - now_ms;
        if ((int32_t)view->ttl_ms <= 0)
            return false;
    }
    return likely(glance_holds(glance));
}
