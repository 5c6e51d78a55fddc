/* SPDX-License-Identifier: Apache-2.0 */
/* What the reading and the writing side of the index share: where a hash belongs and which slots
 * of a bucket carry a tag. Private to shm/. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/hash.h"
#include "shm/arena.h"
#include "shm/words.h"

/* Buckets in a chain beyond its head. A chain that would grow longer loses a block instead, so
 * keys made to collide cost their owner the cache and nobody the lookup time. */
#define CHAIN_OVERFLOW_MAX 8u

static inline uint16_t hash_tag(struct key_hash hash)
{
    uint16_t tag = (uint16_t)(hash.lo >> 48);

    return tag ? tag : 1;
}

static inline uint32_t hash_bucket(struct key_hash hash, uint32_t nr_buckets)
{
    return (uint32_t)((uint64_t)(uint32_t)hash.lo * nr_buckets >> 32);
}

/* Bit i: slot i carries the tag; of the first eight. The tags are read as the words they lie in, so
 * that every shared access is atomic. */
static inline uint32_t bucket_match_eight(const struct bucket *bucket, uint16_t tag)
{
    const uint64_t *words = (const uint64_t *)(const void *)bucket;
    uint64_t low = shared_load(&words[1]), high = shared_load(&words[2]);
    uint32_t hits = 0;

#ifdef __SSE2__
    __m128i tags = _mm_set_epi64x((long long)high, (long long)low);
    __m128i same = _mm_cmpeq_epi16(tags, _mm_set1_epi16((short)tag));

    hits |= (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(same, _mm_setzero_si128()));
#else
    for (unsigned i = 0; i < 4; i++) {
        hits |= (uint32_t)((uint16_t)(low >> 16 * i) == tag) << i;
        hits |= (uint32_t)((uint16_t)(high >> 16 * i) == tag) << (i + 4);
    }
#endif
    return hits;
}

/* The same of all slots. */
static inline uint32_t bucket_match(const struct bucket *bucket, uint16_t tag)
{
    return bucket_match_eight(bucket, tag) | (uint32_t)(shared_load(&bucket->tags[8]) == tag) << 8;
}

/* The block in the first slot that carries the tag, or BLOCK_NONE. */
static inline uint32_t bucket_first(const struct bucket *bucket, uint16_t tag)
{
    uint32_t hits = bucket_match_eight(bucket, tag);

    if (likely(hits != 0))
        return shared_load(&bucket->blocks[__builtin_ctz(hits)]);
    return shared_load(&bucket->tags[8]) == tag ? shared_load(&bucket->blocks[8]) : BLOCK_NONE;
}

/* bucket_first by the owner, against whom nobody writes. */
static inline uint32_t bucket_first_own(const struct bucket *bucket, uint16_t tag)
{
#ifdef __SSE2__
    __m128i tags = _mm_loadu_si128((const __m128i *)(const void *)bucket->tags);
    uint32_t bytes = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi16(tags, _mm_set1_epi16((short)tag)));

    if (likely(bytes != 0))
        return bucket->blocks[(uint32_t)__builtin_ctz(bytes) / sizeof(tag)];
    return bucket->tags[8] == tag ? bucket->blocks[8] : BLOCK_NONE;
#else
    return bucket_first(bucket, tag);
#endif
}

_Static_assert(BUCKET_SLOTS == 9 && offsetof(struct bucket, tags) == 8,
               "bucket_match_eight reads the tags as words 1 and 2");
