/* SPDX-License-Identifier: Apache-2.0 */
/* Doubly linked lists of blocks by index, over one array of links that several lists share: a
 * block is in one of them at most. Owner core only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cacheline.h"
#include "shm/layout.h"

struct order_link {
    uint32_t prev, next;
};

struct order {
    uint32_t head, tail; /* BLOCK_NONE: empty */
};

/* For an order_remove to come: step 0 the block's link, step 1 its neighbours'. */
static inline void order_prefetch(const struct order_link *links, uint32_t block, unsigned step)
{
    if (step == 0) {
        prefetch_write(&links[block]);
        return;
    }
    if (links[block].prev != BLOCK_NONE)
        prefetch_write(&links[links[block].prev]);
    if (links[block].next != BLOCK_NONE)
        prefetch_write(&links[links[block].next]);
}

static inline void order_clear(struct order *order)
{
    order->head = order->tail = BLOCK_NONE;
}

static inline void order_append(struct order *order, struct order_link *links, uint32_t block)
{
    links[block] = (struct order_link){.prev = order->tail, .next = BLOCK_NONE};
    if (order->tail == BLOCK_NONE)
        order->head = block;
    else
        links[order->tail].next = block;
    order->tail = block;
}

static inline void order_remove(struct order *order, struct order_link *links, uint32_t block)
{
    struct order_link link = links[block];

    if (link.prev == BLOCK_NONE)
        order->head = link.next;
    else
        links[link.prev].next = link.next;
    if (link.next == BLOCK_NONE)
        order->tail = link.prev;
    else
        links[link.next].prev = link.prev;
}

static inline uint32_t order_pop(struct order *order, struct order_link *links)
{
    uint32_t block = order->head;

    if (block != BLOCK_NONE)
        order_remove(order, links, block);
    return block;
}
