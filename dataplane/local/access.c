/* SPDX-License-Identifier: Apache-2.0 */
/* What clients hit by themselves, so that the policy learns of it. Runs on the owner core, which
 * alone changes descriptors: a reference that fits one names that very block. The rings are lossy:
 * a client never waits, and nobody misses an entry that was overwritten. */
#include "dataplane/local/client.h"
#include "shm/words.h"

#define DRAIN_MAX 256u /* entries of one ring in a turn */

static bool names_block(const struct core *core, unsigned number, uint64_t ref, uint32_t *block)
{
    const struct part_map *map = &core->arena->maps[number];
    uint32_t index = (uint32_t)ref;

    if (index / map->nr_blocks != number)
        return false;
    *block = index % map->nr_blocks;
    return map->descs[*block].state == BLOCK_SEALED &&
           map->descs[*block].generation == (uint32_t)(ref >> 32);
}

static void ring_drain(struct core *core, struct ring *ring, unsigned number)
{
    uint32_t tail = shared_load(&ring->at.group->access_tail); /* pairs with the client's release */
    uint32_t waiting = tail - ring->access_head, block;

    if (waiting == 0)
        return;
    if (waiting > SEGMENT_ACCESSES) {
        counter_add(&core->stats->local_accesses_lost, waiting - SEGMENT_ACCESSES);
        waiting = SEGMENT_ACCESSES;
        ring->access_head = tail - waiting;
    }
    if (waiting > DRAIN_MAX)
        waiting = DRAIN_MAX;
    counter_add(&core->stats->local_accesses, waiting);
    for (; waiting > 0; waiting--, ring->access_head++) {
        uint64_t ref = __atomic_load_n(&ring->at.accesses[ring->access_head % SEGMENT_ACCESSES],
                                       __ATOMIC_RELAXED);

        if (names_block(core, number, ref, &block))
            partition_hit(core->partitions[number], block);
        else
            counter_add(&core->stats->local_accesses_lost, 1);
    }
}

void accesses_drain(struct port *port, struct side *side)
{
    for (unsigned i = 0; i < side->nr_rings; i++)
        ring_drain(port->core, &side->rings[i], ring_partition(port->core, i));
}
