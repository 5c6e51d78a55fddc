/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs and slots. A slab is written to the chunk entries before its first block is reserved and
 * cleared after its last one is free, so after a crash every sealed block lies in a known slot. */
#include "shm/alloc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/counters.h"
#include "shm/words.h"

#define SHARE_ONE 65536u
#define GAP_WASTE (SHARE_ONE / 16)
#define GAP_OWN 16u     /* a class with 1/16 of the memory, */
#define GAP_FOREIGN 8u  /* while others hold 1/8 */
#define DRAIN_CHUNKS 8u /* emptied for a slab that could be smaller, */
#define DRAIN_SHARE 32u /* or this part of the region */
#define TAIL_WASTE 128u /* of a slab, 1/128 is little enough */

/* Sparse: of each slab only the first entries are ever touched, so huge pages would waste it. */
static uint32_t *owners_open(size_t size)
{
    void *owners = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (owners == MAP_FAILED)
        return NULL;
    (void)madvise(owners, size, MADV_NOHUGEPAGE);
    return owners;
}

static size_t owners_size(const struct alloc *alloc)
{
    return (size_t)alloc->nr_chunks * alloc->chunk_units * sizeof(*alloc->owners);
}

int alloc_open(struct alloc *alloc, const struct part_map *map)
{
    memset(alloc, 0, sizeof(*alloc));
    alloc->nr_chunks = alloc->nr_free = map->nr_chunks;
    alloc->chunk_units = map->chunk_size / DATA_UNIT;
    alloc->base = (uint32_t)(map->region_off / DATA_UNIT);
    alloc->shared = map->chunks;
    alloc->header = map->header;
    alloc->slabs = calloc(alloc->nr_chunks, sizeof(*alloc->slabs));
    alloc->chunks = malloc(alloc->nr_chunks * sizeof(*alloc->chunks));
    alloc->taken = calloc((size_t)alloc->nr_chunks * alloc->chunk_units / 64, sizeof(uint64_t));
    alloc->owners = owners_open(owners_size(alloc));
    if (!alloc->slabs || !alloc->chunks || !alloc->taken || !alloc->owners) {
        alloc_close(alloc);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < alloc->nr_chunks; i++)
        alloc->chunks[i] = CHUNK_FREE;
    classes_setup(&alloc->table, alloc->chunk_units, alloc->nr_chunks);
    return 0;
}

void alloc_close(struct alloc *alloc)
{
    free(alloc->slabs);
    free(alloc->chunks);
    free(alloc->taken);
    if (alloc->owners)
        munmap(alloc->owners, owners_size(alloc));
    alloc->owners = NULL;
    alloc->slabs = NULL;
    alloc->chunks = NULL;
    alloc->taken = NULL;
}

bool alloc_fits(const struct alloc *alloc, uint32_t units)
{
    return units <= (uint64_t)alloc->nr_chunks * alloc->chunk_units;
}

uint32_t alloc_chunks_min(const struct alloc *alloc, uint32_t units)
{
    return (units + alloc->chunk_units - 1) / alloc->chunk_units;
}

static uint32_t slab_first(const struct alloc *alloc, const struct slab *slab)
{
    return (uint32_t)(slab - alloc->slabs);
}

struct slab *alloc_slab(const struct alloc *alloc, uint32_t place)
{
    return &alloc->slabs[alloc->chunks[(place - alloc->base) / alloc->chunk_units]];
}

/* The list of slabs with a free slot. */

static void partial_add(struct alloc *alloc, struct slab *slab)
{
    struct size_class *class = &alloc->table.classes[slab->class];
    uint32_t self = slab_first(alloc, slab);

    slab->prev = SLAB_NONE;
    slab->next = class->partial;
    if (class->partial != SLAB_NONE)
        alloc->slabs[class->partial].prev = self;
    class->partial = self;
    slab->partial = true;
}

static void partial_remove(struct alloc *alloc, struct slab *slab)
{
    struct size_class *class = &alloc->table.classes[slab->class];

    if (slab->prev == SLAB_NONE)
        class->partial = slab->next;
    else
        alloc->slabs[slab->prev].next = slab->next;
    if (slab->next != SLAB_NONE)
        alloc->slabs[slab->next].prev = slab->prev;
    slab->partial = false;
}

/* Chunks. */

/* The longest run of free chunks up to limit; *at is where it begins. */
static uint32_t free_run(struct alloc *alloc, uint32_t limit, uint32_t *at)
{
    uint32_t best = 0, run = 0;

    while (alloc->first_free < alloc->nr_chunks && alloc->chunks[alloc->first_free] != CHUNK_FREE)
        alloc->first_free++;
    for (uint32_t i = alloc->first_free; i < alloc->nr_chunks && best < limit; i++) {
        run = alloc->chunks[i] == CHUNK_FREE ? run + 1 : 0;
        if (run > best) {
            best = run;
            *at = i + 1 - run;
        }
    }
    return best;
}

/* A shorter run that is just long enough spares the long ones. */
static uint32_t best_fit(const struct alloc *alloc, uint32_t nr, uint32_t at)
{
    uint32_t run = 0, best_len = UINT32_MAX;

    for (uint32_t i = alloc->first_free; i <= alloc->nr_chunks; i++) {
        if (i < alloc->nr_chunks && alloc->chunks[i] == CHUNK_FREE) {
            run++;
            continue;
        }
        if (run == nr)
            return i - run;
        if (run > nr && run < best_len) {
            best_len = run;
            at = i - run;
        }
        run = 0;
    }
    return at;
}

/* What a slab's slots leave of it, in 1/SHARE_ONE. */
static uint32_t tail_share(const struct alloc *alloc, uint32_t units, uint32_t nr)
{
    uint64_t total = (uint64_t)nr * alloc->chunk_units;

    return (uint32_t)(total % units * SHARE_ONE / total);
}

uint32_t alloc_slab_chunks(const struct alloc *alloc, uint16_t class, uint32_t units,
                           uint32_t limit)
{
    const struct size_class *kind = &alloc->table.classes[class];
    uint32_t least = alloc_chunks_min(alloc, units), best = least;
    uint64_t most = 2ull * kind->slots * units / alloc->chunk_units, best_waste = UINT64_MAX;

    if (class == CLASS_RUN)
        return least;
    /* A class grows into large slabs; a size seen once or twice does not take 32 chunks. */
    if (most < alloc->nr_chunks / 64)
        most = alloc->nr_chunks / 64;
    if (most > SLAB_CHUNKS_MAX && most > SLAB_SLOTS_LARGE * least)
        most =
            SLAB_CHUNKS_MAX > SLAB_SLOTS_LARGE * least ? SLAB_CHUNKS_MAX : SLAB_SLOTS_LARGE * least;
    if (most > limit)
        most = limit;
    for (uint32_t nr = least; nr <= most; nr++) {
        uint64_t total = (uint64_t)nr * alloc->chunk_units, waste = total % units;

        if (waste * TAIL_WASTE <= total)
            return nr;
        if (tail_share(alloc, units, nr) + SHARE_ONE / 512 < best_waste) {
            best_waste = tail_share(alloc, units, nr);
            best = nr;
        }
    }
    return best;
}

static void entries_write(struct alloc *alloc, uint32_t first, uint32_t nr, uint32_t slot_units)
{
    for (uint32_t i = 0; i < nr; i++) {
        struct chunk_entry entry = {.slot_units = slot_units,
                                    .nr_chunks = (uint16_t)(slot_units ? nr : 0),
                                    .index = (uint16_t)(slot_units ? i : 0)};
        uint64_t word;

        memcpy(&word, &entry, sizeof(word));
        shared_store((uint64_t *)(void *)&alloc->shared[first + i], word);
    }
}

/* Chunks become a slab without blocks. */
static struct slab *slab_make(struct alloc *alloc, uint32_t first, uint32_t nr, uint16_t class,
                              uint32_t slot_units)
{
    struct slab *slab = &alloc->slabs[first];
    uint32_t slots = (uint32_t)((uint64_t)nr * alloc->chunk_units / slot_units);
    uint64_t bit = (uint64_t)first * alloc->chunk_units;

    *slab = (struct slab){
        .slot_units = slot_units, .slots = slots, .nr_chunks = (uint16_t)nr, .class = class};
    for (uint32_t i = 0; i < nr; i++)
        alloc->chunks[first + i] = first;
    memset(&alloc->taken[bit / 64], 0, ((size_t)slots + 63) / 64 * 8);
    /* Bits behind the last slot look taken. */
    if (slots % 64)
        alloc->taken[bit / 64 + slots / 64] = ~0ull << slots % 64;
    alloc->table.classes[class].slabs++;
    alloc->table.classes[class].slots += slots;
    counter_add(&alloc->header->used_bytes, (uint64_t)nr * alloc->chunk_units * DATA_UNIT);
    partial_add(alloc, slab);
    return slab;
}

static void slab_release(struct alloc *alloc, struct slab *slab)
{
    struct size_class *class = &alloc->table.classes[slab->class];
    uint32_t first = slab_first(alloc, slab);
    uint32_t state = slab->draining ? CHUNK_HELD : CHUNK_FREE;

    if (slab->partial)
        partial_remove(alloc, slab);
    class->slabs--;
    if (!slab->draining)
        class->slots -= slab->slots;
    entries_write(alloc, first, slab->nr_chunks, 0);
    for (uint32_t i = 0; i < slab->nr_chunks; i++)
        alloc->chunks[first + i] = state;
    if (state == CHUNK_FREE) {
        alloc->nr_free += slab->nr_chunks;
        if (first < alloc->first_free)
            alloc->first_free = first;
    }
    counter_set(&alloc->header->used_bytes, alloc->header->used_bytes - (uint64_t)slab->nr_chunks *
                                                                            alloc->chunk_units *
                                                                            DATA_UNIT);
}

uint32_t alloc_drain_chunks(const struct alloc *alloc, uint16_t class, uint32_t units)
{
    uint32_t least = alloc_chunks_min(alloc, units), limit = alloc->nr_chunks / DRAIN_SHARE;

    if (limit < DRAIN_CHUNKS)
        limit = DRAIN_CHUNKS;
    return alloc_slab_chunks(alloc, class, units, least > limit ? least : limit);
}

/* Whether a gap had better wait until a drain frees its neighbours than become a slab that wastes
 * much more than the drain's would: only for a class that has memory, while others do too. */
static bool gap_waits(const struct alloc *alloc, uint16_t class, uint32_t units, uint32_t nr)
{
    uint64_t own = (uint64_t)alloc->table.classes[class].slots * units;
    uint64_t held = (uint64_t)(alloc->nr_chunks - alloc->nr_free) * alloc->chunk_units;
    uint32_t good = alloc_drain_chunks(alloc, class, units);

    return own > held / GAP_OWN && held - own > held / GAP_FOREIGN &&
           tail_share(alloc, units, nr) > tail_share(alloc, units, good) + GAP_WASTE;
}

static struct slab *slab_grow(struct alloc *alloc, uint16_t class, uint32_t units)
{
    uint32_t least = alloc_chunks_min(alloc, units), at = 0, run, nr, want;
    uint32_t slot_units = alloc->table.classes[class].units;

    if (alloc->nr_free < least)
        return NULL;
    want = alloc_slab_chunks(alloc, class, units, alloc->nr_chunks);
    run = free_run(alloc, want, &at);
    if (run < least)
        return NULL;
    nr = run < want ? alloc_slab_chunks(alloc, class, units, run) : want;
    if (class != CLASS_RUN && run < want && !alloc->any_slab && gap_waits(alloc, class, units, nr))
        return NULL;
    if (nr > 1 && alloc->nr_free < alloc->nr_chunks / 4)
        at = best_fit(alloc, nr, at);
    if (class == CLASS_RUN)
        slot_units = nr * alloc->chunk_units;
    alloc->any_slab = false;
    entries_write(alloc, at, nr, slot_units);
    alloc->nr_free -= nr;
    return slab_make(alloc, at, nr, class, slot_units);
}

/* Slots. */

static uint64_t *slab_bits(const struct alloc *alloc, const struct slab *slab)
{
    return &alloc->taken[(uint64_t)slab_first(alloc, slab) * alloc->chunk_units / 64];
}

static uint32_t slot_take(struct alloc *alloc, struct slab *slab)
{
    uint64_t *bits = slab_bits(alloc, slab);
    uint32_t word = slab->full_words, bit;

    while (bits[word] == UINT64_MAX)
        word++;
    bit = (uint32_t)__builtin_ctzll(~bits[word]);
    bits[word] |= 1ull << bit;
    slab->full_words = word;
    return word * 64 + bit;
}

static void slot_enter(struct alloc *alloc, struct slab *slab, uint32_t slot, uint32_t block)
{
    slab->used++;
    alloc->table.classes[slab->class].used++;
    alloc->owners[(uint64_t)slab_first(alloc, slab) * alloc->chunk_units + slot] = block;
    if (slab->used == slab->slots && slab->partial)
        partial_remove(alloc, slab);
}

bool alloc_take(struct alloc *alloc, uint16_t class, uint32_t units, uint32_t block,
                uint32_t *place)
{
    struct size_class *kind = &alloc->table.classes[class];
    struct slab *slab;
    uint32_t slot;

    if (kind->partial == SLAB_NONE || class == CLASS_RUN)
        slab = slab_grow(alloc, class, class == CLASS_RUN ? units : kind->units);
    else
        slab = &alloc->slabs[kind->partial];
    if (!slab)
        return false;
    slot = slot_take(alloc, slab);
    slot_enter(alloc, slab, slot, block);
    slab->reserved++;
    *place = alloc->base + slab_first(alloc, slab) * alloc->chunk_units + slot * slab->slot_units;
    return true;
}

uint32_t slab_block(const struct alloc *alloc, const struct slab *slab, uint32_t *slot)
{
    const uint64_t *bits = slab_bits(alloc, slab);

    while (*slot < slab->slots) {
        uint64_t left = bits[*slot / 64] >> *slot % 64;

        if (!left) {
            *slot = (*slot / 64 + 1) * 64;
            continue;
        }
        *slot += (uint32_t)__builtin_ctzll(left);
        if (*slot >= slab->slots)
            break;
        return alloc->owners[(uint64_t)slab_first(alloc, slab) * alloc->chunk_units + *slot];
    }
    return BLOCK_NONE;
}

void slab_pending(struct alloc *alloc, struct slab *slab, int change)
{
    slab->pending += (uint32_t)change;
    if (!slab->draining)
        alloc->table.classes[slab->class].pending += (uint32_t)change;
}

void alloc_give(struct alloc *alloc, uint32_t place)
{
    struct slab *slab = alloc_slab(alloc, place);
    uint32_t offset = place - alloc->base - slab_first(alloc, slab) * alloc->chunk_units;
    uint32_t slot = offset / slab->slot_units;
    uint64_t *bits = slab_bits(alloc, slab);

    assert(bits[slot / 64] & 1ull << slot % 64);
    bits[slot / 64] &= ~(1ull << slot % 64);
    if (slot / 64 < slab->full_words)
        slab->full_words = slot / 64;
    slab->used--;
    if (!slab->draining)
        alloc->table.classes[slab->class].used--;
    if (!slab->used)
        slab_release(alloc, slab);
    else if (!slab->partial && !slab->draining)
        partial_add(alloc, slab);
}

uint32_t alloc_available(const struct alloc *alloc, uint16_t class, uint32_t units)
{
    const struct size_class *kind = &alloc->table.classes[class];
    uint32_t least = alloc_chunks_min(alloc, units);
    uint32_t fresh = alloc->nr_free / least;

    if (least == 1)
        fresh *= alloc->chunk_units / units;
    return fresh + (class == CLASS_RUN ? 0 : kind->slots - kind->used);
}

/* Windows. */

/* A slab leaves its class's figures while it drains, and comes back where that is given up. */
static void slab_drain(struct alloc *alloc, struct slab *slab)
{
    struct size_class *class = &alloc->table.classes[slab->class];

    if (slab->partial)
        partial_remove(alloc, slab);
    class->slots -= slab->slots;
    class->used -= slab->used;
    class->pending -= slab->pending;
    slab->draining = true;
}

static void slab_undrain(struct alloc *alloc, struct slab *slab)
{
    struct size_class *class = &alloc->table.classes[slab->class];

    slab->draining = false;
    class->slots += slab->slots;
    class->used += slab->used;
    class->pending += slab->pending;
    if (slab->used < slab->slots)
        partial_add(alloc, slab);
}

void alloc_hold(struct alloc *alloc, uint32_t chunk, uint32_t nr)
{
    for (uint32_t i = chunk; i < chunk + nr; i++) {
        struct slab *slab;

        if (alloc->chunks[i] == CHUNK_FREE) {
            alloc->chunks[i] = CHUNK_HELD;
            alloc->nr_free--;
            continue;
        }
        slab = &alloc->slabs[alloc->chunks[i]];
        if (!slab->draining)
            slab_drain(alloc, slab);
    }
}

void alloc_unhold(struct alloc *alloc, uint32_t chunk, uint32_t nr)
{
    for (uint32_t i = chunk; i < chunk + nr; i++) {
        struct slab *slab;

        if (alloc->chunks[i] == CHUNK_HELD) {
            alloc->chunks[i] = CHUNK_FREE;
            alloc->nr_free++;
            if (i < alloc->first_free)
                alloc->first_free = i;
            continue;
        }
        if (alloc->chunks[i] == CHUNK_FREE)
            continue;
        slab = &alloc->slabs[alloc->chunks[i]];
        if (slab->draining)
            slab_undrain(alloc, slab);
    }
}

/* Recovery. */

/* The slab that the entries of these chunks describe, or NULL. */
static struct slab *slab_adopt(struct alloc *alloc, uint32_t chunk)
{
    struct chunk_entry entry = alloc->shared[chunk];
    uint32_t first = chunk - entry.index;
    uint64_t units = (uint64_t)entry.nr_chunks * alloc->chunk_units;
    uint16_t class;

    if (!entry.slot_units || entry.index >= entry.nr_chunks || entry.index > chunk ||
        first + entry.nr_chunks > alloc->nr_chunks || entry.slot_units > units)
        return NULL;
    for (uint32_t i = 0; i < entry.nr_chunks; i++) {
        struct chunk_entry other = alloc->shared[first + i];

        if (other.slot_units != entry.slot_units || other.nr_chunks != entry.nr_chunks ||
            other.index != i || alloc->chunks[first + i] != CHUNK_FREE)
            return NULL;
    }
    if (entry.slot_units == units && entry.slot_units > alloc->chunk_units)
        class = CLASS_RUN;
    else
        class = class_exactly(&alloc->table, entry.slot_units);
    if (class == CLASS_NONE)
        return NULL;
    alloc->nr_free -= entry.nr_chunks;
    return slab_make(alloc, first, entry.nr_chunks, class, entry.slot_units);
}

bool alloc_adopt(struct alloc *alloc, uint32_t place, uint32_t units, uint32_t block)
{
    uint32_t offset = place - alloc->base, chunk = offset / alloc->chunk_units, slot;
    struct slab *slab;
    uint64_t *bits;

    if (place < alloc->base || chunk >= alloc->nr_chunks)
        return false;
    if (alloc->chunks[chunk] == CHUNK_FREE)
        slab = slab_adopt(alloc, chunk);
    else
        slab = &alloc->slabs[alloc->chunks[chunk]];
    if (!slab)
        return false;
    offset -= slab_first(alloc, slab) * alloc->chunk_units;
    slot = offset / slab->slot_units;
    bits = slab_bits(alloc, slab);
    if (offset % slab->slot_units || slot >= slab->slots || units > slab->slot_units ||
        bits[slot / 64] & 1ull << slot % 64)
        return false; /* an empty slab stays until alloc_adopt_end */
    bits[slot / 64] |= 1ull << slot % 64;
    slot_enter(alloc, slab, slot, block);
    return true;
}

void alloc_adopt_end(struct alloc *alloc)
{
    for (uint32_t i = 0; i < alloc->nr_chunks;) {
        struct slab *slab = &alloc->slabs[i];
        uint32_t nr = 1;

        if (alloc->chunks[i] == CHUNK_FREE) {
            entries_write(alloc, i, 1, 0);
        } else {
            nr = slab->nr_chunks;
            if (!slab->used)
                slab_release(alloc, slab);
        }
        i += nr;
    }
}
