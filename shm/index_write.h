/* SPDX-License-Identifier: Apache-2.0 */
/* The writing side of one partition's buckets. Owner core only. Every change of a chain, and of a
 * descriptor that readers reach through it, lies between chain_begin and chain_end of its head. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "shm/arena.h"

struct index_writer {
    const struct part_map *map;
    uint32_t *spare; /* stack of unused overflow buckets */
    uint32_t nr_spare;
};

/* Where an entry is. */
struct index_place {
    uint32_t head;
    struct bucket *bucket;
    unsigned slot;
};

/* Empties all buckets; fresh ones are empty. 0 or -ENOMEM. */
[[nodiscard]] int index_writer_open(struct index_writer *index, const struct part_map *map,
                                    bool fresh);
void index_writer_close(struct index_writer *index);

/* The sealed block of a key, expired or not, or BLOCK_NONE. data: start of the data segment. */
uint32_t index_locate(const struct index_writer *index, const uint8_t *data, struct key_hash hash,
                      const void *key, uint32_t key_len, struct index_place *place);
/* The entry of a block in the chain of head. */
bool index_locate_block(const struct index_writer *index, uint32_t head, uint32_t block,
                        struct index_place *place);

void chain_begin(const struct index_writer *index, uint32_t head);
void chain_end(const struct index_writer *index, uint32_t head);

/* Between begin and end. index_insert: false if the chain may not grow. */
[[nodiscard]] bool index_insert(struct index_writer *index, uint32_t head, uint16_t tag,
                                uint32_t block);
void index_remove(struct index_writer *index, const struct index_place *place);

/* Calls visit for each block in the chain of head until it returns false. */
void index_visit(const struct index_writer *index, uint32_t head,
                 bool (*visit)(void *context, uint32_t block, uint16_t tag), void *context);
