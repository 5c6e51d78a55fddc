/* SPDX-License-Identifier: Apache-2.0 */
/* One key in the mapped index, step by step: prefetch, look, pin. Inline, because a hit is all of
 * it and takes about as long as two misses of the CPU's caches. */
#pragma once

#include "client/local.h"
#include "client/order.h"
#include "client/pack.h"
#include "shm/index.h"

#define PIN_TRIES 8u

enum found {
    FOUND,
    FOUND_ABSENT,
    FOUND_UNSURE, /* a writer was in the way, or the arena is being recovered: look again */
    FOUND_FULL,   /* no slot left, or more bytes than may be held */
};

struct probe {
    const void *key;
    uint32_t key_len;
    unsigned partition;
    struct key_hash hash;
};

static inline void probe_setup(struct probe *probe, const struct mount *mount,
                               const struct kvr_key *key)
{
    probe->key = key->data;
    probe->key_len = key->len;
    probe->hash = hash_key(key->data, key->len, mount->seed);
    probe->partition = hash_partition(probe->hash, mount->arena.nr_partitions);
}

static inline void probe_prefetch(const struct mount *mount, const struct probe *probe)
{
    index_prefetch(&mount->arena, probe->partition, probe->hash);
}

static inline void probe_prefetch_block(const struct mount *mount, const struct probe *probe)
{
    index_prefetch_block(&mount->arena, probe->partition, probe->hash);
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
    uint64_t recovery = shared_load(&arena->sb->recovery);
    uint32_t now_ms = arena_ms(arena, now_ns);

    if (!index_find(arena, probe->partition, probe->hash, probe->key, probe->key_len, now_ms,
                    block))
        return (recovery & 1) || shared_load(&arena->sb->recovery) != recovery ? FOUND_UNSURE
                                                                               : FOUND_ABSENT;
    if (block->ttl_ms != 0) {
        uint32_t later_ms = arena_ms(arena, clock_ns()) - now_ms;

        if (block->ttl_ms <= later_ms)
            return FOUND_ABSENT;
        block->ttl_ms -= later_ms;
    }
    return FOUND;
}

/* FOUND: the slot holds the block. */
static inline enum found probe_pin(struct mount *mount, const struct probe *probe, uint64_t now_ns,
                                   struct block_view *block, uint32_t *slot)
{
    for (unsigned i = 0; i < PIN_TRIES; i++) {
        enum found found = probe_look(mount, probe, now_ns, block);

        if (found != FOUND)
            return found;
        *slot = hazard_publish(&mount->hazards, block->ref);
        if (*slot == HAZARD_NONE)
            return FOUND_FULL;
        hazard_fence(&mount->hazards);
        if (hazard_holds(&mount->arena, block->ref))
            return FOUND;
        hazard_release(&mount->hazards, *slot);
    }
    return FOUND_UNSURE;
}

/* Tells the owner of a hit, if it has time to listen. */
static inline void probe_record(struct mount *mount, const struct probe *probe, uint64_t ref)
{
    struct segment_rings *rings = &mount->rings[probe->partition];
    uint32_t tail = rings->group->access_tail;

    __atomic_store_n(&rings->accesses[tail % SEGMENT_ACCESSES], ref, __ATOMIC_RELAXED);
    shared_store(&rings->group->access_tail, tail + 1);
}
