/* SPDX-License-Identifier: Apache-2.0 */
/* The arena, and how blocks lie in it and at the device. */
#include "bed.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define LAYERS 32u
#define BLOCK_MAX (16u << 20)

int bed_create(struct bed *bed)
{
    bed->arena = mmap(NULL, bed->len, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (bed->arena == MAP_FAILED)
        return -errno;
    (void)madvise(bed->arena, bed->len, MADV_HUGEPAGE);
    memset(bed->arena, 0x3c, bed->len);
    return 0;
}

void bed_destroy(struct bed *bed)
{
    munmap(bed->arena, bed->len);
}

struct kvr_form bed_form(const struct bed *bed, uint32_t piece)
{
    uint32_t layers = BLOCK_MAX / (2 * piece);
    struct kvr_form form = {.nr_kinds = 2, .nr_pieces = 1, .piece_bytes = piece};

    form.nr_layers = (uint16_t)(layers < LAYERS ? layers : LAYERS);
    form.kind_step = (uint64_t)bed_blocks(bed, &form) * piece;
    form.layer_step = 2 * form.kind_step;
    form.piece_step = piece;
    return form;
}

unsigned bed_blocks(const struct bed *bed, const struct kvr_form *form)
{
    return (unsigned)(bed->len / ((uint64_t)form->nr_layers * 2 * form->piece_bytes));
}
