/* SPDX-License-Identifier: Apache-2.0 */
/* Making room. First choice is the policy's: the coldest block of the wanted class, as long as it
 * is among the coldest of all. Where other classes hold the colder blocks, a window of chunks is
 * emptied and changes hands. Unlinked memory comes back after its grace period, so a few slots are
 * kept free ahead of need. Owner core only. */
#include "shm/window.h"

#include "shm/partition_state.h"

#define WALK_NEAR 64u  /* candidates among which one of the class is preferred */
#define WALK_FAR 4096u /* where nothing else can make room */
#define ASIDE_BURST 32u
#define ASIDE_ROUNDS 16u
#define EMPTY_BURST 8u
#define SAMPLE 512u       /* coldest blocks that count when a window is chosen */
#define PINNED_TRIES 64u  /* windows looked at before pinned blocks mean that there is none */
#define DRAIN_BURST 128u  /* blocks unlinked in one call */
#define DRAIN_LOOKS 4096u /* slots looked at for them */
#define DRAIN_GIVE_UP_MS 500u
#define DRAIN_HELD_MS 20u /* where clients hold blocks, for as long as they like */
#define DRAIN_KEEP_MS 20u /* for the class that wanted it */
#define DRAIN_KEEP_REFUSED 16u
#define AHEAD_SLOTS_MIN 32u /* smaller classes keep nothing free */
#define AHEAD_MAX 64u
#define AHEAD_SHARE 128u

struct walk {
    uint32_t aside[ASIDE_BURST], empty[EMPTY_BURST];
    unsigned nr_aside, nr_empty;
    uint32_t passed; /* coldest block with memory of another class, or BLOCK_NONE */
};

/* One look along the policy's order; changes nothing. */
static uint32_t walk_victim(struct partition *partition, uint16_t class, uint32_t limit,
                            struct walk *walk)
{
    uint32_t looked = 0, block;

    walk->nr_aside = walk->nr_empty = 0;
    walk->passed = BLOCK_NONE;
    hits_apply(partition);
    partition->ops->walk_start(partition->policy);
    while (looked < limit && (block = partition->ops->walk_next(partition->policy)) != BLOCK_NONE) {
        const struct slab *slab;

        if (lease_holds(partition, block) || block_is_held(partition, block)) {
            if (walk->nr_aside == ASIDE_BURST)
                break;
            walk->aside[walk->nr_aside++] = block;
            continue;
        }
        slab = slab_of(partition, desc_of(partition, block));
        if (!slab && class != CLASS_NONE && walk->nr_empty < EMPTY_BURST) {
            walk->empty[walk->nr_empty++] = block;
            continue;
        }
        looked++;
        if (block_is_pinned(partition, block))
            continue;
        if (class == CLASS_NONE || (slab && slab->class == class && !slab->draining))
            return block;
        if (slab && !slab->draining && walk->passed == BLOCK_NONE)
            walk->passed = block;
    }
    return BLOCK_NONE;
}

/* The coldest block of the class (CLASS_NONE: of all) that may be evicted, if it is among the
 * coldest limit. Colder blocks without memory go on the way: nothing else would ever evict them. */
static uint32_t victim_pick(struct partition *partition, uint16_t class, uint32_t limit,
                            uint32_t *passed)
{
    struct walk walk;
    uint32_t block;

    for (unsigned round = 0; round < ASIDE_ROUNDS; round++) {
        block = walk_victim(partition, class, limit, &walk);
        for (unsigned i = 0; i < walk.nr_aside; i++)
            lease_set_aside(partition, walk.aside[i]);
        for (unsigned i = 0; i < walk.nr_empty; i++)
            block_unlink(partition, walk.empty[i], UNLINK_EVICTED);
        if (block != BLOCK_NONE || walk.nr_aside < ASIDE_BURST)
            break;
    }
    partition->walk_cut = block == BLOCK_NONE && walk.nr_aside == ASIDE_BURST;
    *passed = walk.passed;
    return block;
}

/* Draining. */

/* The coldest blocks count in full, the warmest of the sample hardly. */
static void cold_mark(struct partition *partition, uint32_t *touched, unsigned *nr)
{
    hits_apply(partition);
    partition->ops->walk_start(partition->policy);
    for (*nr = 0; *nr < SAMPLE; ++*nr) {
        touched[*nr] = partition->ops->walk_next(partition->policy);
        if (touched[*nr] == BLOCK_NONE)
            break;
    }
    for (unsigned rank = 0; rank < *nr; rank++) {
        struct slab *slab = slab_of(partition, desc_of(partition, touched[rank]));

        if (slab)
            slab->cold += (uint32_t)((uint64_t)slab->slot_units * (*nr - rank) / *nr);
    }
}

static void cold_unmark(struct partition *partition, const uint32_t *touched, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        struct slab *slab = slab_of(partition, desc_of(partition, touched[i]));

        if (slab)
            slab->cold = 0;
    }
}

/* Whether at least half of what the window holds is cold. */
static bool window_is_cold(const struct alloc *alloc, uint32_t chunk, uint32_t count)
{
    uint64_t used = 0, cold = 0;

    for (uint32_t i = chunk; i < chunk + count; i++) {
        const struct slab *slab = &alloc->slabs[i];

        if (alloc->chunks[i] == i) {
            used += (uint64_t)slab->used * slab->slot_units;
            cold += slab->cold;
        }
    }
    return cold * 2 >= used;
}

/* Marks the slabs of a window that hold pinned blocks; returns whether there are any. */
static bool window_mark_pinned(struct partition *partition, uint32_t chunk, uint32_t count)
{
    struct alloc *alloc = &partition->alloc;
    bool any = false;

    for (uint32_t i = chunk; i < chunk + count; i++) {
        struct slab *slab = &alloc->slabs[i];

        if (alloc->chunks[i] != i)
            continue;
        for (uint32_t slot = 0, block; !slab->pinned; slot++) {
            block = slab_block(alloc, slab, &slot);
            if (block == BLOCK_NONE)
                break;
            slab->pinned = block_is_pinned(partition, block);
        }
        any |= slab->pinned;
    }
    return any;
}

static bool window_find(struct partition *partition, uint32_t nr, uint16_t except, uint32_t *chunk,
                        uint32_t *count)
{
    struct alloc *alloc = &partition->alloc;
    bool found = window_choose(alloc, nr, except, chunk, count), marked = false;

    if (!found || !any_pinned(partition))
        return found;
    for (unsigned tries = 0; found && window_mark_pinned(partition, *chunk, *count); tries++) {
        marked = true;
        found = tries < PINNED_TRIES && window_choose(alloc, nr, except, chunk, count);
    }
    for (uint32_t i = 0; marked && i < alloc->nr_chunks; i++)
        alloc->slabs[i].pinned = false;
    return found;
}

/* Chooses a window and begins to empty it. only_cold: not at the cost of warm blocks. */
static bool drain_begin(struct partition *partition, uint16_t class, uint32_t units, uint32_t nr,
                        uint16_t except, bool only_cold)
{
    struct alloc *alloc = &partition->alloc;
    uint32_t touched[SAMPLE], chunk = 0, count = 0;
    unsigned nr_touched;
    bool found;

    cold_mark(partition, touched, &nr_touched);
    found = window_find(partition, nr, except, &chunk, &count);
    if (found && only_cold)
        found = window_is_cold(alloc, chunk, count);
    cold_unmark(partition, touched, nr_touched);
    if (!found)
        return false;
    alloc_hold(alloc, chunk, count);
    partition->drain = (struct drain){.chunk = chunk,
                                      .at = chunk,
                                      .count = count,
                                      .need = alloc_chunks_min(alloc, units),
                                      .class = class,
                                      .since_ms = partition->now_ms};
    room_poll(partition);
    return true;
}

static void drain_end(struct partition *partition)
{
    alloc_unhold(&partition->alloc, partition->drain.chunk, partition->drain.count);
    partition->drain.count = 0;
}

static bool drain_is_empty(const struct alloc *alloc, const struct drain *drain)
{
    for (uint32_t i = drain->chunk; i < drain->chunk + drain->count; i++)
        if (alloc->chunks[i] != CHUNK_HELD)
            return false;
    return true;
}

/* Unlinks the next blocks of the window. What it has passed stays empty of sealed blocks, as a
 * draining slab takes no new ones. */
static bool drain_step(struct partition *partition)
{
    struct drain *drain = &partition->drain;
    const struct alloc *alloc = &partition->alloc;
    unsigned unlinked = 0;

    for (unsigned looks = 0; looks < DRAIN_LOOKS && unlinked < DRAIN_BURST; looks++) {
        uint32_t block = BLOCK_NONE;

        if (drain->at == drain->chunk + drain->count)
            break;
        if (alloc->chunks[drain->at] == drain->at)
            block = slab_block(alloc, &alloc->slabs[drain->at], &drain->slot);
        if (block == BLOCK_NONE) {
            drain->at++;
            drain->slot = 0;
            continue;
        }
        drain->slot++;
        if (desc_of(partition, block)->state != BLOCK_SEALED)
            continue;
        block_unlink(partition, block, UNLINK_EVICTED);
        unlinked++;
    }
    return unlinked;
}

static uint32_t drain_patience_ms(const struct partition *partition)
{
    bool passed = partition->drain.at == partition->drain.chunk + partition->drain.count;

    return passed && !partition->nr_grace && partition->held_ones.nr ? DRAIN_HELD_MS
                                                                     : DRAIN_GIVE_UP_MS;
}

bool room_poll(struct partition *partition)
{
    struct drain *drain = &partition->drain;
    uint32_t age_ms = partition->now_ms - drain->since_ms;
    bool any = false;

    if (!drain->count)
        return false;
    if (drain->ready) {
        any = age_ms > DRAIN_KEEP_MS;
        if (any)
            drain_end(partition);
        return any;
    }
    any = drain_step(partition);
    if (drain_is_empty(&partition->alloc, drain)) {
        drain->ready = any = true;
        drain->since_ms = partition->now_ms;
    } else if (age_ms > drain_patience_ms(partition)) {
        drain_end(partition); /* somebody keeps a pin in it */
    }
    return any;
}

void room_claim(struct partition *partition, uint16_t class, uint32_t units)
{
    const struct drain *drain = &partition->drain;

    if (drain->count && drain->ready && drain->class == class &&
        alloc_chunks_min(&partition->alloc, units) <= drain->need)
        drain_end(partition);
}

/* Room for one request. */

static uint32_t ahead(uint32_t slots)
{
    if (slots < AHEAD_SLOTS_MIN)
        return 0;
    return 1 + slots / AHEAD_SHARE < AHEAD_MAX ? 1 + slots / AHEAD_SHARE : AHEAD_MAX;
}

/* Colder blocks of other classes were passed by. Once a slab's worth of warmer ones has gone in
 * their place, their memory changes hands. */
static void passed_note(struct partition *partition, uint16_t class, uint32_t passed)
{
    struct alloc *alloc = &partition->alloc;
    uint32_t units = alloc->table.classes[class].units;
    const struct slab *slab;

    if (passed == BLOCK_NONE) {
        partition->passed_units = 0;
        return;
    }
    slab = slab_of(partition, desc_of(partition, passed));
    partition->passed_units += units;
    if (partition->drain.count ||
        partition->passed_units < (uint64_t)slab->nr_chunks * alloc->chunk_units)
        return;
    partition->passed_units = 0;
    (void)drain_begin(partition, class, units, alloc_drain_chunks(alloc, class, units), class,
                      true);
}

static bool evict_of_class(struct partition *partition, uint16_t class, uint32_t limit)
{
    uint32_t passed, block = victim_pick(partition, class, limit, &passed);

    if (block == BLOCK_NONE)
        return false;
    block_unlink(partition, block, UNLINK_EVICTED);
    passed_note(partition, class, passed);
    return true;
}

static bool drain_for(struct partition *partition, uint16_t class, uint32_t units)
{
    uint32_t least = alloc_chunks_min(&partition->alloc, units);
    uint32_t nr = alloc_drain_chunks(&partition->alloc, class, units);
    uint16_t except = class == CLASS_RUN ? CLASS_NONE : class;

    if (drain_begin(partition, class, units, nr, except, false))
        return true;
    if (nr == least || !drain_begin(partition, class, units, least, except, false))
        return false;
    partition->alloc.any_slab = true;
    return true;
}

/* Where no victim was found: whether another look would see others. */
static bool more_to_find(struct partition *partition)
{
    return partition->walk_cut || (partition->nr_aside && leases_look(partition));
}

/* How many requests of the class are turned away in this turn, this one included. Each asks once a
 * turn, so this is how many blocks may be on their way back for them. */
static uint32_t asked(const struct partition *partition, struct size_class *kind)
{
    if (kind->asked_turn != partition->turn)
        kind->asked = 0;
    kind->asked_turn = partition->turn;
    return ++kind->asked;
}

enum kvr_status room_make(struct partition *partition, uint16_t class, uint32_t units)
{
    struct size_class *kind = &partition->alloc.table.classes[class];
    bool own = class != CLASS_RUN && kind->slots;

    partition->walk_cut = false;
    if (class != CLASS_RUN)
        units = kind->units;
    if (own) {
        if (kind->pending < ahead(kind->slots) + asked(partition, kind))
            (void)evict_of_class(partition, class, WALK_NEAR);
        if (kind->pending)
            return KVR_BUSY;
    }
    if (partition->drain.count) {
        room_poll(partition);
        if (partition->drain.ready && ++partition->drain.refused > DRAIN_KEEP_REFUSED)
            drain_end(partition);
        return KVR_BUSY;
    }
    if (drain_for(partition, class, units))
        return KVR_BUSY;
    if (own && evict_of_class(partition, class, WALK_FAR))
        return KVR_BUSY;
    if (drain_begin(partition, class, units, alloc_chunks_min(&partition->alloc, units), CLASS_NONE,
                    false))
        return KVR_BUSY;
    if (partition->nr_grace || more_to_find(partition))
        return KVR_BUSY;
    /* Then a gap that was left to grow has to do. */
    partition->alloc.any_slab = !partition->alloc.any_slab;
    return partition->alloc.any_slab ? KVR_BUSY : KVR_NO_SPACE;
}

enum kvr_status room_make_descriptor(struct partition *partition)
{
    uint32_t passed, block;

    partition->walk_cut = false;
    if (partition->nr_grace <= ahead(partition->nr_blocks)) {
        block = victim_pick(partition, CLASS_NONE, WALK_FAR, &passed);
        if (block != BLOCK_NONE)
            block_unlink(partition, block, UNLINK_EVICTED);
    }
    return partition->nr_grace || more_to_find(partition) ? KVR_BUSY : KVR_NO_SPACE;
}

void room_keep(struct partition *partition, uint16_t class)
{
    const struct size_class *kind = &partition->alloc.table.classes[class];
    uint32_t passed, block;

    if (nr_free_blocks(partition) + partition->nr_grace < ahead(partition->nr_blocks)) {
        block = victim_pick(partition, CLASS_NONE, WALK_NEAR, &passed);
        if (block != BLOCK_NONE)
            block_unlink(partition, block, UNLINK_EVICTED);
    }
    if (class == CLASS_RUN)
        return;
    /* Twice: a class that has just filled up gets its reserve within a few allocations. */
    for (unsigned i = 0; i < 2; i++)
        if (alloc_available(&partition->alloc, class, kind->units) + kind->pending <
            ahead(kind->slots))
            (void)evict_of_class(partition, class, WALK_NEAR);
}

struct chain_pick {
    const struct partition *partition;
    uint32_t block;
};

static bool chain_look(void *context, uint32_t block, uint16_t)
{
    struct chain_pick *pick = context;

    if (pick->block == BLOCK_NONE)
        pick->block = block;
    if (lease_holds(pick->partition, block) || block_is_pinned(pick->partition, block))
        return true;
    pick->block = block;
    return false;
}

uint32_t room_in_chain(struct partition *partition, uint32_t head)
{
    struct chain_pick pick = {.partition = partition, .block = BLOCK_NONE};

    index_visit(&partition->index, head, chain_look, &pick);
    return pick.block;
}
