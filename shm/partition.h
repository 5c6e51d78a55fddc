/* SPDX-License-Identifier: Apache-2.0 */
/* The writing side of one partition: the life of a block, free -> reserved -> sealed -> unlinked
 * -> free. One thread, the owner core, calls everything here unless marked otherwise. Private
 * state (allocator, policy, pins) is ordinary memory and is rebuilt from the descriptors by
 * partition_open, so a crash loses nothing that was sealed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "kvrail/proto.h"
#include "kvrail/status.h"
#include "shm/arena.h"
#include "shm/index.h"

struct partition;
struct reclaimer;

struct partition_options {
    const char *policy;          /* "lru", "lfu", "fifo" */
    struct reclaimer *reclaimer; /* must outlive the partition */
    bool verify;                 /* on open: check every value's CRC, drop what is damaged */
    /* On open: whether the reserved block with this mark (block_request) is still being written by
     * somebody who lives: then it stays reserved. NULL: none is. */
    bool (*keep_reserved)(void *context, uint32_t mark);
    void *context;
};

/* What partition_open found and did. */
struct partition_recovery {
    uint64_t kept, kept_bytes, kept_reserved, dropped_unsealed, dropped_damaged, dropped_expired;
};

/* Opens a fresh or a used partition. -EINVAL unknown policy, -ENOMEM. */
[[nodiscard]] int partition_open(struct arena *arena, unsigned number,
                                 const struct partition_options *options, struct partition **out,
                                 struct partition_recovery *recovery);
void partition_close(struct partition *partition);

struct block_request {
    const void *key;
    uint32_t key_len; /* 1 .. KVR_KEY_MAX */
    struct key_hash hash;
    uint32_t value_len; /* 0 .. KVR_VALUE_MAX */
    uint32_t ttl_ms;    /* 0 = none; at most PARTITION_TTL_MAX_MS */
    uint16_t tenant, layout;
    struct kvr_hint hint;
    uint32_t mark; /* who writes it, beyond a restart of this process; 0: nobody could */
};
#define PARTITION_TTL_MAX_MS KVR_TTL_MAX_MS

/* Takes memory for a value, evicting others where it must. The caller then fills
 * partition_value() and seals or aborts.
 * OK; TOO_LARGE: would not fit the empty partition; NO_SPACE: all that could make room is pinned,
 * leased or reserved; BUSY: blocks were unlinked to make room and wait for their readers, call
 * again after partition_poll (within some 100 us to a few ms). */
[[nodiscard]] enum kvr_status partition_reserve(struct partition *partition,
                                                const struct block_request *request,
                                                uint32_t now_ms, uint32_t *block);

/* Writable until sealed. */
uint8_t *partition_value(struct partition *partition, uint32_t block);

/* CRC32Cs of the parts of KVR_FRAG_BEST bytes that a value begins with, one each (what is left at
 * its end has none); 0: not known. For whoever reads or writes the bytes to use and to write down;
 * forgotten when the block is reserved, and with this process. */
uint32_t *partition_sums(const struct partition *partition, uint32_t block);

/* Publishes a reserved block under its key. An older block of the key is unlinked.
 * add: EXISTS (and the reservation is gone) if the key is stored and unexpired. OK gives ref. */
[[nodiscard]] enum kvr_status partition_seal(struct partition *partition, uint32_t block,
                                             uint32_t value_crc, bool add, uint32_t now_ms,
                                             uint64_t *ref);
void partition_abort(struct partition *partition, uint32_t block);
/* The first reserved block from *block on that has a mark; false: none. For a new owner, after
 * partition_open. */
[[nodiscard]] bool partition_next_reserved(const struct partition *partition, uint32_t *block,
                                           uint32_t *mark);

/* DEL. ref 0: whatever is stored; else STALE unless it is this one. MISS if nothing is. */
[[nodiscard]] enum kvr_status partition_del(struct partition *partition, struct key_hash hash,
                                            const void *key, uint32_t key_len, uint64_t ref,
                                            uint32_t now_ms);
/* TOUCH: new time to live from now (0 = none), and an access for the policy. OK or MISS. */
[[nodiscard]] enum kvr_status partition_touch(struct partition *partition, struct key_hash hash,
                                              const void *key, uint32_t key_len, uint32_t ttl_ms,
                                              uint32_t now_ms);
/* HINT: replaces the stored hint. OK or MISS. */
[[nodiscard]] enum kvr_status partition_hint(struct partition *partition, struct key_hash hash,
                                             const void *key, uint32_t key_len,
                                             const struct kvr_hint *hint, uint32_t now_ms);

/* Hits that the policy has not been told yet: a burst of them costs fewer cache misses. The first
 * thing in a struct partition, so that noting a hit costs next to nothing. */
#define HITS_MAX 32u /* POLICY_HITS_MAX */
struct hit_list {
    uint32_t nr, blocks[HITS_MAX];
};
/* Tells the policy of them; before anything else is asked or told of it. */
void hits_apply(struct partition *partition);

/* An access to a block just found with index_find in this partition. The policy learns of it in
 * bursts, before it is asked anything and at the latest in partition_poll. */
static inline void partition_hit(struct partition *partition, uint32_t block)
{
    struct hit_list *hits = (struct hit_list *)partition;

    hits->blocks[hits->nr++] = block;
    if (hits->nr == HITS_MAX)
        hits_apply(partition);
}

/* Keeps the block from eviction until now_ms + lease_ms (the longest lease counts). False, and
 * nothing changes, when leases already hold half of the partition's memory. A lease only stops
 * eviction: DEL and overwrite still unlink. */
[[nodiscard]] bool partition_lease(struct partition *partition, uint32_t block, uint32_t lease_ms,
                                   uint32_t now_ms);

/* Long readers (DMA, zero-copy TX): the value's memory is not reused while pins are held, whatever
 * happens to the block. pin: owner core, on a block just found. unpin: any thread. */
void partition_pin(struct partition *partition, uint32_t block);
void partition_unpin(struct partition *partition, uint32_t block);
uint64_t partition_pinned(const struct partition *partition); /* pins held now */

/* From now on unlinked is called, in the middle of what unlinks it, for each sealed block that
 * goes: overwritten, deleted, evicted or expired. It may pin and unpin, and call nothing else here.
 * NULL: nobody wants to know. */
void partition_watch(struct partition *partition, void (*unlinked)(void *context, uint64_t ref),
                     void *context);
/* The sealed block of that reference, pinned; false: it is not sealed any more. Owner core. */
[[nodiscard]] bool partition_pin_ref(struct partition *partition, uint64_t ref);

/* Background work of one loop turn, bounded: takes back what the reclaimer released, expires
 * blocks, evicts ahead. Returns whether anything was done. */
bool partition_poll(struct partition *partition, uint32_t now_ms);

/* Changes the policy live; blocks enter the new one in the order in which the old one would have
 * let them go. Takes time in proportion to what is stored. -EINVAL unknown, -ENOMEM. */
[[nodiscard]] int partition_set_policy(struct partition *partition, const char *policy,
                                       uint32_t now_ms);

/* Walks everything and checks that free, reserved, sealed and unlinked blocks, buckets, allocator
 * and counters agree. 0, or -EUCLEAN with the first contradiction logged. For tests and repair. */
[[nodiscard]] int partition_audit(const struct partition *partition);
