/* SPDX-License-Identifier: Apache-2.0 */
/* A bit per number of the window: 1 = unfinished. */
#include "client/order.h"

#include <string.h>

static uint64_t bit(uint32_t seq)
{
    return 1ull << (seq % 64);
}

static uint64_t *word(struct order *order, uint32_t seq)
{
    return &order->open[seq % KVR_WINDOW / 64];
}

static bool before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

void order_reset(struct order *order)
{
    memset(order, 0, sizeof(*order));
    order->next = order->floor = order->known = order->fence = 1;
}

uint32_t order_take(struct order *order)
{
    uint32_t seq = order->next++;

    if (order->next == 0)
        order->next = 1;
    *word(order, seq) |= bit(seq);
    return seq;
}

void order_finish(struct order *order, uint32_t seq, bool given_up)
{
    if (before(seq, order->floor) || !before(seq, order->next) || !(*word(order, seq) & bit(seq)))
        return;
    *word(order, seq) &= ~bit(seq);
    while (order->floor != order->next && !(*word(order, order->floor) & bit(order->floor)))
        order->floor++;
    if (given_up && before(order->fence, seq + 1))
        order->fence = seq + 1;
}

void order_heard(struct order *order, uint32_t floor)
{
    if (before(order->known, floor) && !before(order->next, floor))
        order->known = floor;
}
