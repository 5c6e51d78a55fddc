/* SPDX-License-Identifier: Apache-2.0 */
/* One key in the mapped index, step by step. Inline: a hit is all of it and takes about as long as
 * two misses of the CPU's caches.
 *
 * The short way of a hit (shm/glance.h): the descriptor is read, its block named in a slot, then
 * its first word read once more, after a fence: if it is the same the block is held. All else,
 * misses too, goes by index_look. */
#pragma once

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
    glance_place(&probe->glance, mount->arena.maps, mount->arena.nr_partitions,
                 hash_key(key->data, key->len, mount->seed));
}

static inline void probe_guess(struct probe *probe)
{
    glance_bucket(&probe->glance);
    probe->slot = HAZARD_NONE;
}

/* Whether the guess is the key's block, sealed, and unexpired as far as that can be said. What is
 * read counts once probe_holds. */
static inline __attribute__((always_inline)) bool probe_read(const struct mount *mount,
                                                             struct probe *probe,
                                                             const struct kvr_key *key,
                                                             struct block_view *block)
{
    if (unlikely(!glance_read(&mount->arena, &probe->glance, key->data, key->len, block)))
        return false;
    if (likely(!glance_expires(&probe->glance)))
        return true;
    block->ttl_ms -= arena_ms(&mount->arena, clock_ns());
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
                                   const struct kvr_key *key, uint64_t now_ns,
                                   struct block_view *block)
{
    probe_guess(probe);
    if (likely(probe_read(mount, probe, key, block))) {
        probe->slot = hazard_publish(&mount->hazards, block->ref);
        hazard_fence(&mount->hazards);
        if (likely(probe->slot != HAZARD_NONE && probe_holds(probe)))
            return FOUND;
        probe_let_go(mount, probe);
    }
    return probe_pin_again(mount, probe, key, now_ns, block);
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
