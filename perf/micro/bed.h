/* SPDX-License-Identifier: Apache-2.0 */
/* What benchmarks of the engine lie on: an arena with one partition, one core, and a transport that
 * sends nothing. All on the calling thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core.h"
#include "shm/arena.h"
#include "shm/partition.h"

#define BED_KEY 16u /* bytes of a key */
#define BED_PORT 9690u
#define BED_FRAME 9216u
#define BED_FRAMES 32u /* reply buffers, used in turn */

struct bed {
    struct transport transport; /* first */
    struct arena arena;
    struct reclaimer *reclaimer;
    struct cookie_keys *cookies;
    struct core *core;
    struct peer peer; /* a client */
    uint64_t session, cookie;
    unsigned next_frame;
    uint64_t sent; /* datagrams */
    uint8_t *frames;
};

/* Room for nr_keys blocks of value_len bytes. transport: NULL = the bed's own. NULL: failed, the
 * reason is logged. */
struct bed *bed_open(uint64_t nr_keys, uint32_t value_len, struct transport *transport);
void bed_close(struct bed *bed);

/* Stores the values of ids 0 .. nr_keys - 1. */
bool bed_fill(struct bed *bed, uint64_t nr_keys, uint32_t value_len);
void bed_key(uint64_t id, uint8_t key[BED_KEY]);
struct key_hash bed_hash(const struct bed *bed, const uint8_t key[BED_KEY]);
/* Bytes that bed_open takes, about. */
uint64_t bed_memory(uint64_t nr_keys, uint32_t value_len);
