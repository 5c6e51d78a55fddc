/* SPDX-License-Identifier: Apache-2.0 */
/* Single-producer single-consumer ring of 64-bit words (Lamport 1983, with each side's cached view
 * of the other's index). Capacity is a power of two. One thread pushes, one thread pops.
 * The release store of tail pairs with the acquire load in pop, that of head with the one in push.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cacheline.h"

struct spsc {
    uint64_t *slots;
    uint32_t mask;
    cache_aligned uint32_t tail; /* producer writes */
    uint32_t head_seen;          /* producer only */
    cache_aligned uint32_t head; /* consumer writes */
    uint32_t tail_seen;          /* consumer only */
};

/* capacity: a power of two, 2 to 2^31. 0 or -ENOMEM. */
[[nodiscard]] int spsc_create(struct spsc *ring, uint32_t capacity);
void spsc_destroy(struct spsc *ring);

static inline bool spsc_push(struct spsc *ring, uint64_t word)
{
    uint32_t tail = ring->tail;

    if (tail - ring->head_seen > ring->mask) {
        ring->head_seen = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
        if (tail - ring->head_seen > ring->mask)
            return false;
    }
    ring->slots[tail & ring->mask] = word;
    __atomic_store_n(&ring->tail, tail + 1, __ATOMIC_RELEASE);
    return true;
}

static inline bool spsc_pop(struct spsc *ring, uint64_t *word)
{
    uint32_t head = ring->head;

    if (head == ring->tail_seen) {
        ring->tail_seen = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
        if (head == ring->tail_seen)
            return false;
    }
    *word = ring->slots[head & ring->mask];
    __atomic_store_n(&ring->head, head + 1, __ATOMIC_RELEASE);
    return true;
}
