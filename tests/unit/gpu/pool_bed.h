/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the pool stand on: a fleet of host devices, and an arena that is an array of blocks
 * whose bytes say which block and which generation they are. The calling thread is the owner. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gpu/pool.h"

#define BED_BLOCKS 256u
#define BED_BLOCK_MAX (64u << 10) /* bytes */
#define BED_PRODUCER 0u

struct bed_block {
    uint32_t generation, len;
    uint32_t pins;
    bool gone; /* deleted */
    uint8_t *bytes;
};

struct bed {
    struct gpu_fleet *fleet;
    struct pool *pool;
    unsigned nr_devices;
    struct bed_block blocks[BED_BLOCKS];
    uint64_t refused; /* pins: the block was not there any more */
};

/* options: fleet, producer, policy (unless set), pin, unpin and context are the bed's. Ends the
 * program if anything does not work. */
struct bed *bed_open(unsigned nr_devices, const struct pool_options *options);
struct bed *bed_open_slow(unsigned nr_devices, const struct pool_options *options,
                          uint64_t bytes_s);
void bed_close(struct bed *bed);

/* The block's next generation, of len bytes. Nobody may be reading it. */
void bed_write(struct bed *bed, uint32_t block, uint32_t len);
uint64_t bed_ref(const struct bed *bed, uint32_t block);
struct pool_block bed_block(const struct bed *bed, uint32_t block);
/* What byte words of a reference are: for what is no array of the bed's. */
uint64_t bed_word(uint64_t ref, uint64_t i);
bool bed_bytes_are(const void *bytes, uint64_t ref, uint32_t len);

/* Pops and takes until nothing is loading. */
void bed_settle(struct bed *bed);
/* Loads and settles: 0 or pool_load's error. */
int bed_load(struct bed *bed, uint32_t block, int device);
struct pool_stats bed_stats(const struct bed *bed, unsigned device);
/* A pin of holder 0 on a copy that must be there. */
void bed_pin(struct bed *bed, uint32_t block, struct pool_place *place);
/* Whether a copy of the block is there; it counts as a hit. */
bool bed_has(struct bed *bed, uint32_t block, int device);
/* Whether the slot holds the bytes of that reference: 0; -EBADMSG: others; -EIO: the device has
 * failed and nothing was read. */
int bed_place_read(struct bed *bed, const struct pool_place *place, uint64_t ref);
bool bed_place_holds(struct bed *bed, const struct pool_place *place, uint64_t ref);
/* Waits until the device was reset so many times in all. */
void bed_wait_resets(struct bed *bed, unsigned device, uint64_t nr);
