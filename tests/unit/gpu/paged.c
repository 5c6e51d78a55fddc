/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's side of the tests: its cache, and where blocks lie in it. */
#include "paged.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/random.h"

void paged_open(struct paged *paged, unsigned nr_blocks, unsigned nr_layers, unsigned nr_kinds,
                uint32_t piece_bytes)
{
    uint64_t kind_step = (uint64_t)nr_blocks * piece_bytes;
    int fd = memfd_create("paged", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    *paged = (struct paged){.nr_blocks = nr_blocks, .size = kind_step * nr_kinds * nr_layers};
    paged->form = (struct kvr_form){.nr_layers = (uint16_t)nr_layers,
                                    .nr_kinds = (uint16_t)nr_kinds,
                                    .nr_pieces = 1,
                                    .piece_bytes = piece_bytes,
                                    .layer_step = kind_step * nr_kinds,
                                    .kind_step = kind_step};
    paged->packed_len = nr_layers * nr_kinds * piece_bytes;
    paged->handle = (struct gpu_handle){.kind = GPU_HANDLE_MEMFD, .fd = fd, .size = paged->size};
    if (fd < 0 || ftruncate(fd, (off_t)paged->size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        abort();
    paged->cache = mmap(NULL, paged->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    paged->arena = malloc(paged->size);
    if (paged->cache == MAP_FAILED || !paged->arena)
        abort();
}

void paged_close(struct paged *paged)
{
    munmap(paged->cache, paged->size);
    close(paged->handle.fd);
    free(paged->arena);
}

uint64_t paged_off(const struct paged *paged, unsigned block)
{
    return (uint64_t)block * paged->form.piece_bytes;
}

uint8_t *paged_near(const struct paged *paged, unsigned block)
{
    return paged->arena + (uint64_t)block * paged->packed_len;
}

struct gpu_job paged_job(const struct paged *paged, unsigned block)
{
    return (struct gpu_job){.direction = GPU_LOAD,
                            .priority = KVR_NORMAL,
                            .device = GPU_ANY,
                            .region = paged->region,
                            .region_off = paged_off(paged, block),
                            .near = paged_near(paged, block),
                            .near_len = paged->packed_len,
                            .form = paged->form};
}

static void fill(uint8_t *bytes, uint64_t len, uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, seed);
    for (uint64_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word = rng_next(&rng);

        memcpy(bytes + i, &word, 8);
    }
}

void paged_fill(struct paged *paged, uint64_t seed)
{
    fill(paged->cache, paged->size, seed);
    fill(paged->arena, paged->size, seed + 1);
}

bool paged_same(const struct paged *paged, unsigned block, unsigned first, unsigned nr)
{
    const struct kvr_form *form = &paged->form;
    const uint8_t *cache = paged->cache + paged_off(paged, block);

    for (unsigned layer = first; layer < first + nr; layer++) {
        for (unsigned kind = 0; kind < form->nr_kinds; kind++) {
            const uint8_t *near = paged_near(paged, block) +
                                  (layer * form->nr_kinds + kind) * (uint64_t)form->piece_bytes;

            if (memcmp(cache + layer * form->layer_step + kind * form->kind_step, near,
                       form->piece_bytes) != 0)
                return false;
        }
    }
    return true;
}
