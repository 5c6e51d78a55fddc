/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks in a row, linked through a word of their descriptors that only sealed and reserved blocks
 * use otherwise: unlinked and free ones need no memory for it. Readers that still hold such a
 * descriptor's place find another version in its chain and look again. Owner core only. */
#pragma once

#include "shm/words.h"

struct queue {
    uint32_t head, tail; /* BLOCK_NONE: empty */
};

static inline void queue_clear(struct queue *queue)
{
    queue->head = queue->tail = BLOCK_NONE;
}

static inline void queue_append(struct queue *queue, struct block_desc *descs, uint32_t block)
{
    shared_store(&descs[block].next, BLOCK_NONE);
    if (queue->head == BLOCK_NONE)
        queue->head = block;
    else
        shared_store(&descs[queue->tail].next, block);
    queue->tail = block;
}

/* The first one, which leaves; BLOCK_NONE if there is none. */
static inline uint32_t queue_pop(struct queue *queue, const struct block_desc *descs)
{
    uint32_t block = queue->head;

    if (block != BLOCK_NONE)
        queue->head = descs[block].next;
    return block;
}
