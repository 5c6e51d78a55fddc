/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's paged cache in a memfd, as a fleet imports it, and an arena with as many blocks. The
 * test maps the memfd, too, and so sees every byte that a device writes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gpu/fleet.h"

struct paged {
    struct kvr_form form; /* of a block; layers one after the other, blocks inside, as in vLLM */
    unsigned nr_blocks;
    uint64_t size;       /* of the cache */
    uint32_t packed_len; /* of a block in the arena, as it is */
    uint8_t *cache, *arena;
    struct gpu_handle handle;
    struct gpu_region *region;
};

/* Aborts if there is no memory: nothing that a test could look into. */
void paged_open(struct paged *paged, unsigned nr_blocks, unsigned nr_layers, unsigned nr_kinds,
                uint32_t piece_bytes);
void paged_close(struct paged *paged);
uint64_t paged_off(const struct paged *paged, unsigned block);
uint8_t *paged_near(const struct paged *paged, unsigned block);
/* A load of the block, NORMAL, any device, no deadline. */
struct gpu_job paged_job(const struct paged *paged, unsigned block);
/* Both sides get other bytes. */
void paged_fill(struct paged *paged, uint64_t seed);
/* Whether layers [first, first + nr) of a block are the same on both sides. */
bool paged_same(const struct paged *paged, unsigned block, unsigned first, unsigned nr);
