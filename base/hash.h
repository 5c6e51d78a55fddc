/* SPDX-License-Identifier: Apache-2.0 */
/* The 128-bit key hash (XXH3) that server and clients share. */
#pragma once

#define XXH_INLINE_ALL
#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

struct key_hash {
    uint64_t lo, hi;
};

/* Lengths that most keys have: half a digest, and a whole one. */
#define HASH_SHORT 16u
#define HASH_LONG 32u

/* With a length that is known to the compiler it takes half the instructions, fewer in a loop. */
static inline __attribute__((always_inline)) struct key_hash hash_key_of(const void *key,
                                                                         size_t len, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(key, len, seed);

    return (struct key_hash){.lo = h.low64, .hi = h.high64};
}

static inline struct key_hash hash_key(const void *key, size_t len, uint64_t seed)
{
    return len == HASH_SHORT ? hash_key_of(key, HASH_SHORT, seed) : hash_key_of(key, len, seed);
}

/* The partition of a key; hi is used for nothing else, so that tags and buckets stay independent.
 */
static inline unsigned hash_partition(struct key_hash hash, unsigned nr_partitions)
{
    if (nr_partitions == 1)
        return 0;
    /* The same where it is a power of two, without a division. */
    if ((nr_partitions & (nr_partitions - 1)) == 0)
        return (unsigned)hash.hi & (nr_partitions - 1);
    return (unsigned)(hash.hi % nr_partitions);
}
