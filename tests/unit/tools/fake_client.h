/* SPDX-License-Identifier: Apache-2.0 */
/* libkvrail without a server: an exact LRU cache in this process, behind the public header. Calls
 * are executed in the order in which they were submitted, a few with each kvr_poll. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct fake {
    uint64_t capacity;      /* blocks; 0 = no limit */
    uint64_t flip_every;    /* every n-th GET that hits returns one wrong bit; 0 = none */
    uint64_t timeout_every; /* every n-th call ends as TIMEOUT */
    uint64_t vanish_every;  /* every n-th GET misses what MATCH found */
    uint64_t delay_us;      /* of each kvr_poll that ends a call */
    bool unreachable;       /* kvr_open fails */
    /* written by the fake */
    char url[128];                                  /* of the last kvr_open */
    uint64_t gets, puts, touches, matches, parents; /* parents: PUTs with a hint of one */
    uint64_t views;                                 /* held now */
};
extern struct fake fake;

/* Forgets all blocks. */
void fake_clear(void);
