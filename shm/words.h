/* SPDX-License-Identifier: Apache-2.0 */
/* Access to shared words that the owner core writes while others read. Loads acquire and stores
 * release: that orders a seqlock's data against its version without fences (which TSan cannot
 * follow), and on x86-64 both are plain moves. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cacheline.h"
#include "shm/layout.h"

#define shared_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define shared_store(p, value) __atomic_store_n((p), (value), __ATOMIC_RELEASE)

#define DESC_WORDS (sizeof(struct block_desc) / sizeof(uint64_t))

/* Reader's copy of all but the key; consistent only if the bucket's version says so. */
static inline void desc_copy_head(struct block_desc *copy, const struct block_desc *shared)
{
    const uint64_t *from = (const uint64_t *)(const void *)shared;
    uint64_t *to = (uint64_t *)(void *)copy;

    to[0] = shared_load(&from[0]);
    to[1] = shared_load(&from[1]);
    to[2] = shared_load(&from[2]);
    to[3] = shared_load(&from[3]);
}

/* Bits in which word i of the descriptor's inline key differs from the key's. */
static inline uint64_t key_word_differs(const struct block_desc *shared, const uint8_t *key,
                                        unsigned i)
{
    uint64_t word;

    memcpy(&word, key + (size_t)i * 8, sizeof(word));
    return shared_load(&shared->key_words[i]) ^ word;
}

/* Whether the descriptor's inline key is this one; len 1 .. KEY_INLINE. */
static inline bool desc_key_equal(const struct block_desc *shared, const uint8_t *key, uint32_t len)
{
    uint64_t tail = 0, differ = 0;
    uint32_t nr = len / 8, rest = len % 8;

    if (likely(len == 16)) /* hashes, mostly, whole or cut short */
        return !(key_word_differs(shared, key, 0) | key_word_differs(shared, key, 1));
    if (likely(len == KEY_INLINE))
        return !(key_word_differs(shared, key, 0) | key_word_differs(shared, key, 1) |
                 key_word_differs(shared, key, 2) | key_word_differs(shared, key, 3));
    for (unsigned i = 0; i < nr; i++)
        differ |= key_word_differs(shared, key, i);
    if (!rest)
        return !differ;
    if (nr) {
        memcpy(&tail, key + len - 8, sizeof(tail));
        tail >>= 64 - 8 * rest;
    } else {
        for (uint32_t byte = 0; byte < rest; byte++)
            tail |= (uint64_t)key[byte] << 8 * byte;
    }
    return !(differ | (shared_load(&shared->key_words[nr]) ^ tail) << (64 - 8 * rest));
}

/* Owner's write of a whole descriptor. The word with generation and state comes last: an owner that
 * dies before it leaves the state as it was, and the rest then means nothing; and who sees a sealed
 * block there sees all the rest of it, also without the bucket's version. */
static inline void desc_publish(struct block_desc *shared, const struct block_desc *fresh)
{
    const uint64_t *from = (const uint64_t *)(const void *)fresh;
    uint64_t *to = (uint64_t *)(void *)shared;

    for (size_t i = 1; i < DESC_WORDS; i++)
        shared_store(&to[i], from[i]);
    shared_store(&to[0], from[0]);
}

static inline bool expiry_passed(uint8_t flags, uint32_t expiry_ms, uint32_t now_ms)
{
    return (flags & DESC_EXPIRES) && (int32_t)(expiry_ms - now_ms) <= 0;
}

/* data: start of the data segment. */
static inline const void *desc_key(const struct block_desc *desc, const uint8_t *data)
{
    return desc->key_len > KEY_INLINE ? data + (uint64_t)desc->far_key.place * DATA_UNIT
                                      : desc->key;
}

/* DATA_UNITs that bytes take. */
static inline uint32_t units_of(uint32_t bytes)
{
    return (bytes + DATA_UNIT - 1) / DATA_UNIT;
}

/* What a block takes of its region: the value, then a long key. */
static inline uint32_t block_units(uint32_t value_len, uint32_t key_len)
{
    return units_of(value_len) + (key_len > KEY_INLINE ? units_of(key_len) : 0);
}

_Static_assert(KEY_INLINE == 32, "desc_key_equal reads four words");
