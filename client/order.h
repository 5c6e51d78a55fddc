/* SPDX-License-Identifier: Apache-2.0 */
/* The sequence numbers of mutating datagrams towards one partition, and the floor below which all
 * are finished. The server refuses what arrives below the floor, so a write that was given up can
 * never happen after a later one. For reads it takes a fence: they wait until the server has
 * answered something that carried a floor above every number given up. Numbers wrap; 0 is none. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"

#define ORDER_OPEN_MAX (KVR_WINDOW - 16u)

struct order {
    uint32_t next;  /* number that the next one gets */
    uint32_t floor; /* lowest unfinished, or next */
    uint32_t known; /* highest floor that the server has answered to */
    uint32_t fence; /* floor that it has to know before reads may go */
    uint64_t open[KVR_WINDOW / 64];
};

void order_reset(struct order *order);

static inline bool order_full(const struct order *order)
{
    return order->next - order->floor >= ORDER_OPEN_MAX;
}

/* Whether reads have to wait. */
static inline bool order_fenced(const struct order *order)
{
    return (int32_t)(order->known - order->fence) < 0;
}

/* Not when order_full. */
uint32_t order_take(struct order *order);
/* seq was answered, or (given_up) will never be waited for again. Ignores numbers not open. */
void order_finish(struct order *order, uint32_t seq, bool given_up);
/* The server answered a mutating datagram that carried this floor. */
void order_heard(struct order *order, uint32_t floor);
