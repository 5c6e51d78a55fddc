/* SPDX-License-Identifier: Apache-2.0 */
/* The private state of a partition and what its files need of each other: block.c (one block's
 * steps), room.c (eviction), lease.c, expire.c, recover.c, audit.c, partition.c (the contract).
 * Owner core only, but for the pin counts. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cacheline.h"
#include "base/counters.h"
#include "shm/alloc.h"
#include "shm/evict.h"
#include "shm/index_write.h"
#include "shm/meta.h"
#include "shm/partition.h"
#include "shm/queue.h"
#include "shm/reclaim.h"
#include "shm/words.h"

/* Chunks that are being emptied for one class. */
struct drain {
    uint32_t chunk, count; /* count 0: none */
    uint32_t need;         /* chunks the request wants */
    uint32_t at, slot;     /* chunk and slot from which on blocks may be left in it */
    uint16_t class;
    uint32_t since_ms; /* begun, or ready */
    uint32_t refused;  /* requests of other classes turned away since it is ready */
    bool ready;        /* all chunks are held */
};

struct sweep {
    uint32_t word, since_ms;
};

/* Unlinked blocks whose grace period is over, but that somebody still reads. */
struct parking {
    struct queue queue;
    uint32_t nr, left; /* left: to be looked at yet, since something changed */
    uint32_t round_ms; /* when all were due last */
    uint64_t change;   /* what was counted then */
};

struct partition {
    struct hit_list hits; /* first: partition_hit */
    struct arena *arena;
    const struct part_map *map;
    struct part_header *header;
    const struct policy_ops *ops;
    struct policy *policy;
    struct reclaim_lane *lane;
    const struct reclaimer *reclaimer;
    void (*unlinked)(void *context, uint64_t ref); /* partition_watch */
    void *unlinked_context;
    unsigned number;
    uint32_t nr_blocks, nr_words; /* of the bitmaps */
    uint32_t now_ms;              /* of the last call that said it */
    uint32_t turn;                /* counts polls */

    struct index_writer index;
    struct alloc alloc;
    struct meta_table metas;
    /* Free descriptors: a stack of used ones, and all from blocks_used on. */
    uint32_t free_head, nr_recycled;
    struct queue waiting;       /* unlinked, not yet in the lane */
    uint32_t nr_grace;          /* unlinked, in waiting or in the lane */
    struct parking pinned_ones; /* parked: somebody here has a pin */
    struct parking held_ones;   /* parked: some client holds them */

    uint32_t nr_aside;

    uint64_t *expiring;    /* bit: sealed block with an expiry */
    uint64_t *leased;      /* bit: has a lease, perhaps over */
    uint64_t *aside;       /* bit: sealed, leased or held, and for that out of the policy */
    uint32_t *lease_until; /* ms */
    uint64_t leased_units, nr_leased;
    uint32_t leases_full_ms; /* when that was found last */
    struct sweep expiry_sweep, lease_sweep;
    struct drain drain;
    bool walk_cut;         /* the last search for a victim ended before the policy's order did */
    uint64_t passed_units; /* evicted although colder blocks of other classes were passed over */

    uint32_t *sums; /* CRC32C of the unit of KVR_FRAG_BEST bytes of a value that begins there; 0:
                     * not known. No two units begin within the bytes of one */

    uint32_t *pins;                  /* atomic */
    uint64_t pinned;                 /* owner */
    cache_aligned uint64_t unpinned; /* atomic, any thread */
};

static inline bool bit_test(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> i % 64 & 1;
}

static inline void bit_set(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= 1ull << i % 64;
}

static inline void bit_clear(uint64_t *bits, uint32_t i)
{
    bits[i / 64] &= ~(1ull << i % 64);
}

static inline struct block_desc *desc_of(const struct partition *partition, uint32_t block)
{
    return &partition->map->descs[block];
}

static inline uint32_t units_held(const struct block_desc *desc)
{
    return block_units(desc->value_len, desc->key_len);
}

/* NULL for a block without memory. */
static inline struct slab *slab_of(const struct partition *partition, const struct block_desc *desc)
{
    return units_held(desc) ? alloc_slab(&partition->alloc, desc->place) : NULL;
}

/* Whether any block could be pinned or held. */
static inline bool any_pinned(const struct partition *partition)
{
    return partition_pinned(partition) || reclaim_holds_any(partition->reclaimer);
}

/* Whether a client held it when the reclaimer looked last. */
static inline bool block_is_held(const struct partition *partition, uint32_t block)
{
    return reclaim_held(partition->reclaimer, partition->number * partition->nr_blocks + block);
}

static inline uint64_t block_reference(const struct partition *partition, uint32_t block)
{
    return block_ref(desc_of(partition, block)->generation,
                     partition->number * partition->nr_blocks + block);
}

static inline bool is_expired(const struct block_desc *desc, uint32_t now_ms)
{
    return expiry_passed(desc->flags, desc->expiry_ms, now_ms);
}

static inline uint32_t nr_free_blocks(const struct partition *partition)
{
    return partition->nr_recycled + partition->nr_blocks - partition->header->blocks_used;
}

static inline void aside_end(struct partition *partition, uint32_t block)
{
    bit_clear(partition->aside, block);
    partition->nr_aside--;
}

/* block.c */
enum unlink_cause { UNLINK_DELETED, UNLINK_REPLACED, UNLINK_EVICTED, UNLINK_EXPIRED };

struct key_hash block_hash(const struct partition *partition, const struct block_desc *desc);
/* The bucket of a sealed block. */
uint32_t block_head(const struct partition *partition, const struct block_desc *desc);
/* A free descriptor, or BLOCK_NONE. */
uint32_t block_take(struct partition *partition);
void block_put_back(struct partition *partition, uint32_t block);
/* A sealed block enters the policy and its bitmaps; index and descriptor are done. */
void block_enter(struct partition *partition, uint32_t block);
/* Out of the index, then as block_retire. */
void block_unlink(struct partition *partition, uint32_t block, enum unlink_cause cause);
/* A sealed block that is in no bucket any more becomes unlinked, and waits for its readers. */
void block_retire(struct partition *partition, uint32_t block, enum unlink_cause cause);
/* An unlinked block, of which nothing but its memory is known any more, waits for its readers. */
void block_await(struct partition *partition, uint32_t block);
/* A reserved block is given up: nobody can have seen it. */
void block_drop(struct partition *partition, uint32_t block);
/* Takes back what the reclaimer released, hands on what waits. Bounded. */
bool blocks_reclaim(struct partition *partition);
/* By somebody here, or held by a client. */
bool block_is_pinned(const struct partition *partition, uint32_t block);

/* room.c */
/* Makes room for a block of the class where there is none: BUSY (call again) or NO_SPACE. */
enum kvr_status room_make(struct partition *partition, uint16_t class, uint32_t units);
enum kvr_status room_make_descriptor(struct partition *partition);
/* Evicts ahead, after an allocation. CLASS_RUN: descriptors only. */
void room_keep(struct partition *partition, uint16_t class);
/* Goes on with a drain. */
bool room_poll(struct partition *partition);
/* Chunks that a drain made ready for the class become free. */
void room_claim(struct partition *partition, uint16_t class, uint32_t units);
/* The block of a full chain that should go. */
uint32_t room_in_chain(struct partition *partition, uint32_t head);

/* lease.c */
bool lease_holds(const struct partition *partition, uint32_t block);
void lease_end(struct partition *partition, uint32_t block);
void lease_set_aside(struct partition *partition, uint32_t block);
bool leases_poll(struct partition *partition);
/* Looks for leases that are over and for blocks that no client holds any more, once a millisecond;
 * whether there were any. */
bool leases_look(struct partition *partition);

/* expire.c */
void expiry_note(struct partition *partition, uint32_t block);
bool expiry_poll(struct partition *partition);
/* Words of a bitmap to look at now, so that all are seen within period_ms. */
uint32_t sweep_due(struct sweep *sweep, uint32_t nr_words, uint32_t period_ms, uint32_t now_ms);

/* recover.c */
/* Rebuilds all private state from the descriptors; everything is empty before. */
void recover(struct partition *partition, const struct partition_options *options,
             struct partition_recovery *recovery);
