/* SPDX-License-Identifier: Apache-2.0 */
/* How a process that may write nothing else keeps a block from being reused: it publishes the
 * block's reference in a slot of its own segment, fences, and looks once more whether the block is
 * still sealed (hazard pointers: M. Michael, 2004). The reclaimer unlinks, fences, then looks at
 * the slots. One of the two sees the other. docs/memory-model.md has the argument, tests/model the
 * proof by enumeration.
 *
 * A reference is never carried over from one slot to another, as a scan could miss it in both: a
 * second hold on a block is a second hit.
 *
 * One thread owns a struct hazards. Nothing here makes a system call. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/arena.h"
#include "shm/segment.h"
#include "shm/words.h"

#define HAZARD_NONE UINT32_MAX

/* The free slots of a segment, private to the client. */
struct hazards {
    uint64_t *slots;      /* shared */
    uint32_t *slots_used; /* shared: segment_header.slots_used */
    uint32_t *free;       /* stack of slot numbers */
    uint32_t nr_free, nr_slots;
    uint32_t used;   /* as *slots_used says */
    bool asymmetric; /* the reclaimer's membarrier fences for us */
};

/* 0 or -ENOMEM. asymmetric: this process is registered for the reclaimer's membarrier. */
[[nodiscard]] int hazards_open(struct hazards *hazards, const struct segment *segment,
                               bool asymmetric);
void hazards_close(struct hazards *hazards);
/* Whether the kernel has MEMBARRIER_CMD_GLOBAL_EXPEDITED and lets this process use it. */
bool hazards_supported(void);
/* Registers the process for it; false where the kernel has it not. */
bool hazards_register(void);

/* A slot that names the block, or HAZARD_NONE: none is free. It protects nothing yet. */
static inline uint32_t hazard_publish(struct hazards *hazards, uint64_t ref)
{
    uint32_t slot;

    if (hazards->nr_free == 0)
        return HAZARD_NONE;
    slot = hazards->free[--hazards->nr_free];
    if (slot >= hazards->used) {
        hazards->used = slot + 1;
        shared_store(hazards->slots_used, hazards->used);
    }
    shared_store(&hazards->slots[slot], ref);
    return slot;
}

/* Between the publishing of one or many slots and the looks at their blocks. Pairs with the fence
 * of the reclaimer between the unlinking of a block and its look at the slots. */
static inline void hazard_fence(const struct hazards *hazards)
{
    if (hazards->asymmetric)
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    else
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Whether the block, counted within its partition, is still sealed under this generation: then the
 * published slot holds it. */
static inline bool hazard_holds_block(const struct part_map *map, uint32_t block,
                                      uint32_t generation)
{
    uint64_t word = shared_load((const uint64_t *)(const void *)&map->descs[block]);

    return (uint32_t)word == generation && (uint8_t)(word >> 32) == BLOCK_SEALED;
}

/* The same for a reference that index_find gave. */
static inline bool hazard_holds(const struct arena *arena, uint64_t ref)
{
    uint32_t block = (uint32_t)ref, nr_blocks = arena->maps[0].nr_blocks;

    return hazard_holds_block(&arena->maps[block / nr_blocks], block % nr_blocks,
                              (uint32_t)(ref >> 32));
}

/* What was read before is read before this: the reclaimer acquires it. */
static inline void hazard_release(struct hazards *hazards, uint32_t slot)
{
    shared_store(&hazards->slots[slot], (uint64_t)0);
    hazards->free[hazards->nr_free++] = slot;
}
