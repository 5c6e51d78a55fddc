/* SPDX-License-Identifier: Apache-2.0 */
/* One key in the mapped index, step by step. Inline: a hit is all of it and takes about as long as
 * two misses of the CPU's caches.
 *
 * The short way of a hit (shm/glance.h): the descriptor is read, its block named in a slot, then
 * its first word read once more, after a fence: if it is the same the block is held. All else,
 * misses too, goes by index_look. */
#pragma once

#include <string.h>

#include "client/local.h"
#include "client/order.h"
#include "client/pack.h"
#include "shm/glance.h"

#define PIN_TRIES 8u

enum found {
    FOUND,
    FOUND_ABSENT,
    FOUND_UNSURE, /* a writer was in the way, or the arena is being recovered: look again */
    FOUND_FULL,   /* no slot left, or more bytes than may be held */
};

struct probe {
    struct glance glance;
    uint32_t slot; /* that names the block; HAZARD_NONE = none */
};

static inline void probe_setup(struct probe *probe, const struct mount *mount,
                               const struct kvr_key *key)
{
    struct key_hash hash = hash_key(key->data, key->len, mount->seed);
    uint32_t partition = hash_partition(hash, mount->arena.nr_partitions);

    glance_place(&probe->glance, &mount->arena.maps[partition], partition, hash);
}

static inline const struct part_map *probe_map(const struct mount *mount, const struct probe *probe)
{
    return &mount->arena.maps[probe->glance.partition];
}

static inline void probe_guess(struct probe *probe, const struct part_map *map)
{
    glance_bucket(&probe->glance, map);
    probe->slot = HAZARD_NONE;
}

/* Whether the guess is the key's block, sealed, and unexpired as far as that can be said. What is
 * read counts once probe_holds. */
static inline __attribute__((always_inline)) bool
probe_read(const struct mount *mount, struct probe *probe, const struct part_map *map,
           uint32_t partition, const void *key, uint32_t key_len, struct block_view *block)
{
    if (unlikely(!glance_read(&mount->arena, &probe->glance, map, partition, key, key_len, block)))
        return false;
    if (likely(!glance_expires(&probe->glance)))
        return true;
    block->ttl_ms = glance_expiry_ms(&probe->glance) - arena_ms(&mount->arena, clock_ns());
    return (int32_t)block->ttl_ms > 0; /* an expired one is index_look's to judge */
}

/* After hazard_publish and hazard_fence: whether the slot holds the block that was read. */
static inline bool probe_holds(const struct probe *probe)
{
    return glance_holds(&probe->glance);
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
    const struct link *link = client->links[probe->glance.partition];

    return link && order_fenced(&link->order);
}

/* Sees to it that this ends. */
static inline void probe_raise_fence(struct kvr_client *client, const struct kvr_key *key)
{
    struct probe probe;

    probe_setup(&probe, client->local->mount, key);
    if (probe_fenced(client, &probe))
        pack_fence(client->links[probe.glance.partition], key, client->options.priority);
}

/* now_ns: coarse_ns(). Of what has a time to live the real time is asked. */
static inline enum found probe_look(const struct mount *mount, const struct probe *probe,
                                    const struct kvr_key *key, uint64_t now_ns,
                                    struct block_view *block)
{
    struct key_hash hash = {.lo = probe->glance.hash};
    const struct arena *arena = &mount->arena;
    uint64_t recovery = arena_recovery(arena);
    uint32_t now_ms = arena_ms(arena, now_ns);

    switch (index_look(arena, probe->glance.partition, hash, key->data, key->len, now_ms, block)) {
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
static inline enum found probe_pin_again(struct mount *mount, struct probe *probe,
                                         const struct kvr_key *key, uint64_t now_ns,
                                         struct block_view *block)
{
    for (unsigned i = 0; i < PIN_TRIES; i++) {
        enum found found = probe_look(mount, probe, key, now_ns, block);

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

static inline enum found probe_pin(struct mount *mount, struct probe *probe,
                                   const struct kvr_key *key, struct block_view *block)
{
    const struct part_map *map = probe_map(mount, probe);

    probe_guess(probe, map);
    if (likely(
            probe_read(mount, probe, map, probe->glance.partition, key->data, key->len, block))) {
        probe->slot = hazard_publish(&mount->hazards, block->ref);
        hazard_fence(&mount->hazards);
        if (likely(probe->slot != HAZARD_NONE && probe_holds(probe)))
            return FOUND;
        probe_let_go(mount, probe);
    }
    return probe_pin_again(mount, probe, key, coarse_ns(), block);
}

/* Tells owners of hits, if they have time to listen: those of one partition after the other in one
 * store of the ring's tail. */
struct recorder {
    struct segment_group *group; /* of the last hit's partition; NULL = none yet */
    uint64_t *accesses;
    uint32_t partition, tail;
};

static inline void record_end(const struct recorder *recorder)
{
    if (recorder->group)
        shared_store(&recorder->group->access_tail, recorder->tail);
}

static inline void record(struct recorder *recorder, const struct mount *mount, uint32_t partition,
                          uint64_t ref)
{
    if (unlikely(!recorder->group || recorder->partition != partition)) {
        const struct segment_rings *rings = &mount->rings[partition];

        record_end(recorder);
        *recorder =
            (struct recorder){rings->group, rings->accesses, partition, rings->group->access_tail};
    }
    __atomic_store_n(&recorder->accesses[recorder->tail++ % SEGMENT_ACCESSES], ref,
                     __ATOMIC_RELAXED);
}

static inline void probe_record(const struct mount *mount, const struct probe *probe, uint64_t ref)
{
    struct recorder recorder = {0};

    record(&recorder, mount, probe->glance.partition, ref);
    record_end(&recorder);
}

/* The view of a block that is held by this slot. */
static inline void view_describe(struct kvr_view *view, const struct block_view *block,
                                 uint32_t number, uint32_t slot)
{
    /* Words, each by itself: put together in memory and copied they would have to be waited for. */
    uint64_t sizes = block->value_len | (uint64_t)block->value_crc << 32;
    uint64_t kind = block->ttl_ms | (uint64_t)block->layout << 32 | (uint64_t)KVR_TIER_HOST << 48;
    uint64_t place = slot | (uint64_t)number << 32;

    view->data = block->value;
    view->ref = block->ref;
    memcpy(&view->len, &sizes, sizeof(sizes));
    memcpy(&view->ttl_ms, &kind, sizeof(kind));
    memcpy(&view->slot, &place, sizeof(place));
}
_Static_assert(sizeof(struct kvr_view) == 40 && offsetof(struct kvr_view, len) == 16 &&
                   offsetof(struct kvr_view, ttl_ms) == 24 &&
                   offsetof(struct kvr_view, layout) == 28 &&
                   offsetof(struct kvr_view, tier) == 30 && offsetof(struct kvr_view, slot) == 32,
               "view_describe writes a view in words");

/* Whether one more may be held, of so many bytes. */
static inline bool may_hold(const struct mount *mount, uint64_t bytes)
{
    return mount->nr_held < mount->held_max && mount->held_bytes + bytes <= mount->pinned_max;
}

static inline void hold(struct mount *mount, uint32_t nr, uint64_t bytes)
{
    mount->nr_held += nr;
    mount->held_bytes += bytes;
    mount->segment.header->hits += nr;
    mount->segment.header->hit_bytes += bytes;
}
