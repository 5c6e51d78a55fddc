/* SPDX-License-Identifier: Apache-2.0 */
/* The record that answers a plain GET, written in as few steps as it can be done. Inline, for the
 * core that owns the block, which cannot go away meanwhile. */
#pragma once

#include <stddef.h>
#include <string.h>

#include "dataplane/core.h"
#include "dataplane/parse.h"
#include "shm/words.h"

/* Whether its value may be sent now. */
static inline bool plain_ready(const struct block_desc *desc, uint32_t now_ms)
{
    uint16_t state_flags;

    memcpy(&state_flags, &desc->state, sizeof(state_flags));
    if (likely(state_flags == BLOCK_SEALED)) /* and without expiry */
        return true;
    return desc->state == BLOCK_SEALED && !expiry_passed(desc->flags, desc->expiry_ms, now_ms);
}
_Static_assert(offsetof(struct block_desc, flags) == offsetof(struct block_desc, state) + 1,
               "plain_ready reads state and flags together");

/* len bytes of a value and zeroes up to the next multiple of 8. No byte is needed after it is
 * overwritten: value and reply never overlap. */
static inline void copy_padded(uint8_t *to, const uint8_t *bytes, uint32_t len)
{
    uint64_t zero = 0;

    if (len == 0)
        return;
    memcpy(to + align8(len) - sizeof(zero), &zero, sizeof(zero));
    if (len == CACHE_LINE) /* inline */
        memcpy(to, bytes, CACHE_LINE);
    else
        memcpy(to, bytes, len);
}

/* Values lie in slots of whole DATA_UNITs, so up to the end of the unit may be read. Bytes behind
 * len, up to the next multiple of 8, become zero; to has room for len rounded up to whole units. */
static inline void copy_units(uint8_t *to, const uint8_t *bytes, uint32_t len)
{
    uint64_t last;

    if (unlikely(len == 0))
        return;
    memcpy(to, bytes, DATA_UNIT);
    for (uint32_t at = DATA_UNIT; at < len; at += DATA_UNIT)
        memcpy(to + at, bytes + at, DATA_UNIT);
    if (unlikely(len % 8 != 0)) {
        memcpy(&last, to + len / 8 * 8, sizeof(last));
        last &= UINT64_MAX >> (64 - 8 * (len % 8));
        memcpy(to + len / 8 * 8, &last, sizeof(last));
    }
}

static inline void put_word(uint8_t *at, uint64_t word)
{
    memcpy(at, &word, sizeof(word));
}

/* As op_get would answer the i-th op, whose block desc is, with a value of len bytes, in one
 * record, written in words; an access for the policy. Returns the record's size. What is read twice
 * is read before something is written: the compiler has to take any word that is written for one
 * that is read. */
static inline uint32_t plain_record(const struct core *core, const struct request_op *op,
                                    const struct block_desc *desc, uint32_t len, unsigned i,
                                    uint8_t *at, bool spare_unit)
{
    const struct arena *arena = core->arena;
    uint32_t partition = op->partition, ttl_ms = 0;
    const struct part_map *map = &arena->maps[partition];
    const uint8_t *value = arena->data + (uint64_t)desc->place * DATA_UNIT;
    uint32_t block = (uint32_t)(desc - map->descs);
    uint32_t size = (uint32_t)sizeof(struct kvr_get_rep) + align8(len);
    uint64_t sizes;

    if (unlikely(desc->flags & DESC_EXPIRES))
        ttl_ms = desc->expiry_ms - core->now_ms;
    put_word(at + 16, block_ref(desc->generation, partition * map->nr_blocks + block));
    partition_hit(core->partitions[partition], block);
    put_word(at, KVR_GET | i << 8 | (uint64_t)size << 32);
    memcpy(&sizes, &desc->value_len, sizeof(sizes)); /* and value_crc */
    put_word(at + 8, sizes);
    put_word(at + 24, len);
    put_word(at + 32, len | (uint64_t)ttl_ms << 32);
    put_word(at + 40, desc->layout | KVR_TIER_HOST << 16);
    if (likely(spare_unit))
        copy_units(at + sizeof(struct kvr_get_rep), value, len);
    else
        copy_padded(at + sizeof(struct kvr_get_rep), value, len);
    return size;
}
_Static_assert(
    offsetof(struct kvr_get_rep, value_len) == 8 && offsetof(struct kvr_get_rep, value_crc) == 12 &&
        offsetof(struct block_desc, value_crc) == offsetof(struct block_desc, value_len) + 4 &&
        offsetof(struct kvr_get_rep, ref) == 16 && offsetof(struct kvr_get_rep, view_len) == 24 &&
        offsetof(struct kvr_get_rep, len) == 32 && offsetof(struct kvr_get_rep, layout) == 40,
    "plain_record writes the record in words");
