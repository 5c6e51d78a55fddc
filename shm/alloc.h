/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of one partition's region: chunks, slabs of equal slots made of them, and which blocks
 * lie in which slab. Owner core only; private memory but for the chunk entries (layout.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/arena.h"
#include "shm/classes.h"

#define SLAB_CHUNKS_MAX 32u /* or SLAB_SLOTS_LARGE slots that are larger than a chunk */
#define SLAB_SLOTS_LARGE 4u
#define CHUNK_FREE UINT32_MAX
#define CHUNK_HELD (UINT32_MAX - 1) /* emptied for one request, nobody else may take it */
#define SLAB_NONE UINT32_MAX

/* Kept at the index of its first chunk. */
struct slab {
    uint32_t slot_units, slots, used;
    uint32_t full_words; /* words of its bitmap before this one have no free slot */
    uint32_t prev, next; /* slabs of the class with a free slot */
    uint32_t reserved, leased, pending;
    uint32_t cold; /* scratch of the choice of a window: units of cold blocks, weighted */
    uint16_t nr_chunks, class;
    bool partial;  /* in the class's list */
    bool draining; /* being emptied: takes no new blocks */
    bool pinned;   /* scratch of the choice of a window: holds a pinned block */
};

struct alloc {
    struct class_table table;
    struct slab *slabs;         /* nr_chunks */
    uint32_t *chunks;           /* first chunk of the slab it belongs to, or CHUNK_* */
    uint64_t *taken;            /* bit per unit of the region; a slab's slots from its first on */
    uint32_t *owners;           /* block of each taken slot, counted like taken */
    struct chunk_entry *shared; /* nr_chunks */
    struct part_header *header;
    uint32_t nr_chunks, nr_free, chunk_units;
    uint32_t first_free; /* no free chunk before it */
    uint32_t base;       /* units from the start of the data segment to the region */
    bool any_slab;       /* the next slab may waste: there is nothing better */
};

/* Nothing allocated; the chunk entries are cleared only by alloc_adopt_end. 0 or -ENOMEM. */
[[nodiscard]] int alloc_open(struct alloc *alloc, const struct part_map *map);
void alloc_close(struct alloc *alloc);

/* Whether the empty region could hold it. */
bool alloc_fits(const struct alloc *alloc, uint32_t units);
/* A slot of the class for the block, which enters its slab as reserved. False: no slot and no
 * chunks. units: the block's own, for CLASS_RUN. */
[[nodiscard]] bool alloc_take(struct alloc *alloc, uint16_t class, uint32_t units, uint32_t block,
                              uint32_t *place);
/* The slot is free again. */
void alloc_give(struct alloc *alloc, uint32_t place);

struct slab *alloc_slab(const struct alloc *alloc, uint32_t place);
/* The block, in whatever state, of the first taken slot from *slot on, which *slot becomes; or
 * BLOCK_NONE. */
uint32_t slab_block(const struct alloc *alloc, const struct slab *slab, uint32_t *slot);
/* Blocks unlinked and on their way back. */
void slab_pending(struct alloc *alloc, struct slab *slab, int change);

/* Slots that could be had without evicting anything. */
uint32_t alloc_available(const struct alloc *alloc, uint16_t class, uint32_t units);
/* Chunks of the slab that the class would make next. */
uint32_t alloc_slab_chunks(const struct alloc *alloc, uint16_t class, uint32_t units,
                           uint32_t limit);
/* Chunks to empty for the class, for a slab that wastes little. */
uint32_t alloc_drain_chunks(const struct alloc *alloc, uint16_t class, uint32_t units);
uint32_t alloc_chunks_min(const struct alloc *alloc, uint32_t units);

/* A window of chunks to empty for a request. */
void alloc_hold(struct alloc *alloc, uint32_t chunk, uint32_t nr);   /* slabs drain, free: held */
void alloc_unhold(struct alloc *alloc, uint32_t chunk, uint32_t nr); /* back to normal */

/* Recovery. adopt: the slot at place as the chunk entries describe it, for a block of so many
 * units; false where they contradict themselves, the place or an earlier block. */
[[nodiscard]] bool alloc_adopt(struct alloc *alloc, uint32_t place, uint32_t units, uint32_t block);
void alloc_adopt_end(struct alloc *alloc);
