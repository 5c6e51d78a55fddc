/* SPDX-License-Identifier: Apache-2.0 */
/* One key in the mapped index, step by step. Inline: a hit is all of it and takes about as long as
 * two misses of the CPU's caches.
 *
 * The short way of a hit reads the bucket without its version: whichever block the tag leads to is
 * held first, and only when it is held, so that its descriptor cannot change hands, is it asked
 * whether it is sealed and has the key. All else, misses too, goes by index_look. */
#pragma once

#include <string.h>

#include "client/local.h"
#include "client/order.h"
#include "client/pack.h"
#include "shm/bucket.h"
#include "shm/index.h"

#define PIN_TRIES 8u

enum found {
    FOUND,
    FOUND_ABSENT,
    FOUND_UNSURE, /* a writer was in the way, or the arena is being recovered: look again */
    FOUND_FULL,   /* no slot left, or more bytes than may be held */
};

struct probe {
    uint64_t lo; /* of the key's hash; apart, so that no compiler makes one store of both halves
                  * that come in two registers: the load after it would wait */
    const void *key;
    uint64_t hi;
    const struct part_map *map;
    const struct bucket *bucket;
    uint32_t key_len;
    uint32_t partition;
    uint32_t block, generation; /* where the tag led to; BLOCK_NONE = nowhere */
    uint32_t slot;              /* that names it; HAZARD_NONE = none */
};

static inline struct key_hash probe_hash(const struct probe *probe)
{
    return (struct key_hash){.lo = probe->lo, .hi = probe->hi};
}

static inline void probe_setup(struct probe *probe, const struct mount *mount,
                               const struct kvr_key *key)
{
    struct key_hash hash = hash_key(key->data, key->len, mount->seed);

    probe->lo = hash.lo;
    probe->hi = hash.hi;
    probe->key = key->data;
    probe->key_len = key->len;
    probe->partition = hash_partition(hash, mount->arena.nr_partitions);
    probe->map = &mount->arena.maps[probe->partition];
    probe->bucket = &probe->map->buckets[hash_bucket(hash, probe->map->nr_buckets)];
}

/* Where the tag leads to, and that descriptor's cache line on its way. */
static inline void probe_guess(struct probe *probe)
{
    uint32_t hits = bucket_match(probe->bucket, hash_tag(probe_hash(probe)));

    probe->block = BLOCK_NONE;
    probe->slot = HAZARD_NONE;
    if (hits == 0 || probe->key_len > KEY_INLINE)
        return;
    probe->block = shared_load(&probe->bucket->blocks[__builtin_ctz(hits)]);
    if (probe->block < probe->map->nr_blocks)
        prefetch_read(&probe->map->descs[probe->block]);
    else
        probe->block = BLOCK_NONE;
}

/* Names the block of the guess in a slot. False: there is none, it is not sealed, or no slot is
 * free. It is not held before hazard_fence and probe_verify. */
static inline bool probe_publish(struct hazards *hazards, struct probe *probe)
{
    const struct part_map *map = probe->map;
    uint64_t word;

    if (probe->block == BLOCK_NONE)
        return false;
    word = shared_load((const uint64_t *)(const void *)&map->descs[probe->block]);
    if ((uint8_t)(word >> 32) != BLOCK_SEALED || (uint16_t)(word >> 48) != probe->key_len)
        return false;
    probe->generation = (uint32_t)word;
    probe->slot = hazard_publish(
        hazards, block_ref(probe->generation, probe->partition * map->nr_blocks + probe->block));
    return probe->slot != HAZARD_NONE;
}

static inline uint64_t load_word(const void *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* Whether the words begin with the key's bytes. */
static inline bool words_are(const uint64_t *words, const uint8_t *key, uint32_t len)
{
    uint32_t i = 0, rest;
    uint64_t tail = 0, mask;

    for (; i + 8 <= len; i += 8)
        if (shared_load(&words[i / 8]) != load_word(key + i))
            return false;
    rest = len - i;
    if (rest == 0)
        return true;
    mask = (1ull << 8 * rest) - 1;
    if (len >= 8)
        tail = load_word(key + len - 8) >> 8 * (8 - rest);
    else
        memcpy(&tail, key, rest);
    return ((shared_load(&words[i / 8]) ^ tail) & mask) == 0;
}

/* After the fence: whether the slot holds the key's block, unexpired. Everything in the descriptor
 * but its state and its expiry stays as it is from here on. */
static inline __attribute__((always_inline)) bool
probe_verify(const struct mount *mount, const struct probe *probe, struct block_view *block)
{
    const struct part_map *map = probe->map;
    const struct block_desc *desc = &map->descs[probe->block];
    const uint64_t *words = (const uint64_t *)(const void *)desc;
    uint64_t word = shared_load(&words[0]);
    uint32_t place, expiry_ms, layout;

    if ((uint32_t)word != probe->generation || (uint8_t)(word >> 32) != BLOCK_SEALED ||
        !words_are(&words[4], probe->key, probe->key_len))
        return false;
    block->ref = block_ref(probe->generation, probe->partition * map->nr_blocks + probe->block);
    block->block = probe->block;
    block->value_len = (uint32_t)shared_load(&words[1]);
    block->value_crc = (uint32_t)(shared_load(&words[1]) >> 32);
    place = (uint32_t)shared_load(&words[2]);
    expiry_ms = (uint32_t)(shared_load(&words[2]) >> 32);
    layout = (uint32_t)shared_load(&words[3]);
    block->tenant = (uint16_t)layout;
    block->layout = (uint16_t)(layout >> 16);
    block->ttl_ms = 0;
    block->value = mount->arena.data + (uint64_t)place * DATA_UNIT;
    if ((uint64_t)place * DATA_UNIT + block->value_len > mount->arena.data_size)
        return false;
    if (__builtin_expect(!((word >> 40) & DESC_EXPIRES), 1))
        return true;
    /* The word is another's once the block is unlinked; an expired one is index_look's to judge. */
    block->ttl_ms = expiry_ms - arena_ms(&mount->arena, clock_ns());
    return (int32_t)block->ttl_ms > 0 && shared_load(&words[0]) == word;
}

static inline void probe_let_go(struct mount *mount, struct probe *probe)
{
    if (probe->slot != HAZARD_NONE)
        hazard_release(&mount->hazards, probe->slot);
    probe->slot = HAZARD_NONE;
}

/* Whether a write of this handle that was given up might still happen. */
static inline bool probe_fenced(const struct kvr_client *client, const struct probe *probe)
{
    const struct link *link = client->links[probe->partition];

    return link && order_fenced(&link->order);
}

/* Sees to it that this ends. */
static inline void probe_raise_fence(struct kvr_client *client, const struct kvr_key *key)
{
    struct probe probe;

    probe_setup(&probe, client->local->mount, key);
    if (probe_fenced(client, &probe))
        pack_fence(client->links[probe.partition], key, client->options.priority);
}

/* now_ns: coarse_ns(). Of what has a time to live the real time is asked. */
static inline enum found probe_look(const struct mount *mount, const struct probe *probe,
                                    uint64_t now_ns, struct block_view *block)
{
    const struct arena *arena = &mount->arena;
    uint64_t recovery = arena_recovery(arena);
    uint32_t now_ms = arena_ms(arena, now_ns);

    switch (index_look(arena, probe->partition, probe_hash(probe), probe->key, probe->key_len,
                       now_ms, block)) {
    case INDEX_HIT:
        break;
    case INDEX_MISS:
        return (recovery & 1) || arena_recovery(arena) != recovery ? FOUND_UNSURE : FOUND_ABSENT;
    default:
        return FOUND_UNSURE;
    }
    if (block->ttl_ms != 0) {
        uint32_t later_ms = arena_ms(arena, clock_ns()) - now_ms;

        if (block->ttl_ms <= later_ms)
            return FOUND_ABSENT;
        block->ttl_ms -= later_ms;
    }
    return FOUND;
}

/* FOUND: probe->slot holds the block. By index_look: whatever the short way could not decide. */
static inline enum found probe_pin_again(struct mount *mount, struct probe *probe, uint64_t now_ns,
                                         struct block_view *block)
{
    for (unsigned i = 0; i < PIN_TRIES; i++) {
        enum found found = probe_look(mount, probe, now_ns, block);

        if (found != FOUND)
            return found;
        probe->slot = hazard_publish(&mount->hazards, block->ref);
        if (probe->slot == HAZARD_NONE)
            return FOUND_FULL;
        hazard_fence(&mount->hazards);
        if (hazard_holds(&mount->arena, block->ref))
            return FOUND;
        probe_let_go(mount, probe);
    }
    return FOUND_UNSURE;
}

static inline enum found probe_pin(struct mount *mount, struct probe *probe, uint64_t now_ns,
                                   struct block_view *block)
{
    probe_guess(probe);
    if (probe_publish(&mount->hazards, probe)) {
        hazard_fence(&mount->hazards);
        if (probe_verify(mount, probe, block))
            return FOUND;
        probe_let_go(mount, probe);
    }
    return probe_pin_again(mount, probe, now_ns, block);
}

/* Tells the owner of a hit, if it has time to listen. */
static inline void probe_record(struct mount *mount, const struct probe *probe, uint64_t ref)
{
    struct segment_rings *rings = &mount->rings[probe->partition];
    uint32_t tail = rings->group->access_tail;

    __atomic_store_n(&rings->accesses[tail % SEGMENT_ACCESSES], ref, __ATOMIC_RELAXED);
    shared_store(&rings->group->access_tail, tail + 1);
}
