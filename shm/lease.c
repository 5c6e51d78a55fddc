/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: blocks that eviction passes by for a while. A bitmap says which blocks have one; a sweep
 * takes back those that are over. Leased blocks that eviction meets are set aside, out of the
 * policy, so that they are not met again and again; so are those that clients hold. Owner core
 * only. */
#include <assert.h>

#include "shm/partition_state.h"

#define SWEEP_PERIOD_MS 1000u
#define SWEEP_WORDS_FULL 4096u /* looked at when the leases are used up */

bool lease_holds(const struct partition *partition, uint32_t block)
{
    return bit_test(partition->leased, block) &&
           (int32_t)(partition->lease_until[block] - partition->now_ms) > 0;
}

/* Memory that the block keeps from others. */
static uint32_t lease_units(const struct partition *partition, uint32_t block)
{
    const struct slab *slab = slab_of(partition, desc_of(partition, block));

    return slab ? slab->slot_units : 0;
}

void lease_end(struct partition *partition, uint32_t block)
{
    struct slab *slab = slab_of(partition, desc_of(partition, block));

    if (!bit_test(partition->leased, block))
        return;
    bit_clear(partition->leased, block);
    partition->nr_leased--;
    partition->leased_units -= lease_units(partition, block);
    if (slab)
        slab->leased--;
}

void lease_set_aside(struct partition *partition, uint32_t block)
{
    partition->ops->remove(partition->policy, block);
    bit_set(partition->aside, block);
    partition->nr_aside++;
}

/* A block that is leased or aside: whether either has ended. */
static bool lease_over(struct partition *partition, uint32_t block)
{
    bool over = false;

    if (lease_holds(partition, block))
        return false;
    if (bit_test(partition->leased, block)) {
        lease_end(partition, block);
        over = true;
    }
    if (bit_test(partition->aside, block) && !block_is_held(partition, block)) {
        hits_apply(partition);
        aside_end(partition, block);
        partition->ops->insert(partition->policy, block);
        over = true;
    }
    return over;
}

static bool leases_sweep(struct partition *partition, uint32_t nr_words)
{
    bool any = false;

    for (uint32_t i = 0; i < nr_words; i++) {
        uint32_t word = partition->lease_sweep.word;

        for (uint64_t bits = partition->leased[word] | partition->aside[word]; bits;
             bits &= bits - 1)
            any |= lease_over(partition, word * 64 + (uint32_t)__builtin_ctzll(bits));
        partition->lease_sweep.word = word + 1 < partition->nr_words ? word + 1 : 0;
    }
    return any;
}

bool leases_poll(struct partition *partition)
{
    if (!partition->nr_leased && !partition->nr_aside)
        return false;
    return leases_sweep(partition, sweep_due(&partition->lease_sweep, partition->nr_words,
                                             SWEEP_PERIOD_MS, partition->now_ms));
}

bool leases_look(struct partition *partition)
{
    if (partition->leases_full_ms == partition->now_ms)
        return false;
    partition->leases_full_ms = partition->now_ms;
    return leases_sweep(partition, partition->nr_words < SWEEP_WORDS_FULL ? partition->nr_words
                                                                          : SWEEP_WORDS_FULL);
}

static bool lease_affordable(const struct partition *partition, uint32_t units)
{
    uint64_t region = (uint64_t)partition->alloc.nr_chunks * partition->alloc.chunk_units;

    return partition->leased_units + units <= region / 2 &&
           partition->nr_leased < partition->nr_blocks / 2;
}

bool partition_lease(struct partition *partition, uint32_t block, uint32_t lease_ms,
                     uint32_t now_ms)
{
    struct slab *slab = slab_of(partition, desc_of(partition, block));
    uint32_t units = lease_units(partition, block), until = now_ms + lease_ms;

    partition->now_ms = now_ms;
    assert(desc_of(partition, block)->state == BLOCK_SEALED);
    if (slab && slab->draining)
        return false;
    if (bit_test(partition->leased, block)) {
        if ((int32_t)(until - partition->lease_until[block]) > 0)
            partition->lease_until[block] = until;
        return true;
    }
    if (!lease_affordable(partition, units)) {
        /* A MATCH may ask for thousands: hence no more than one look in a millisecond. */
        if (!leases_look(partition) || !lease_affordable(partition, units))
            return false;
    }
    bit_set(partition->leased, block);
    partition->lease_until[block] = until;
    partition->nr_leased++;
    partition->leased_units += units;
    if (slab)
        slab->leased++;
    return true;
}
