/* SPDX-License-Identifier: Apache-2.0 */
/* The backend without fleet and worker: strips of block after block, a batch in each submit, two in
 * flight. */
#include <errno.h>

#include "base/cacheline.h"
#include "base/clock.h"
#include "bed.h"
#include "gpu/form.h"

struct bare {
    struct bed *bed;
    struct gpu_device *device;
    struct gpu_memory memory;
    enum gpu_direction direction;
    unsigned lane;
    struct kvr_form form;
    unsigned block, layer; /* next */
    uint64_t newest;       /* ticket */
    uint64_t bytes;
};

/* The next layers, as many as a batch holds. */
static unsigned next_strips(struct bare *bare, struct gpu_strip *strips)
{
    static const struct kvr_conversion as_it_is = {0};
    uint32_t block_bytes = form_packed_len(&bare->form, &as_it_is);
    uint32_t layer_bytes = block_bytes / bare->form.nr_layers, bytes = 0;
    unsigned nr = 0;

    while (bytes < BATCH_BYTES / 2 && nr + 2 <= GPU_STRIPS_MAX) {
        nr += form_strips(&bare->form, &as_it_is, bare->layer,
                          (uintptr_t)bare->bed->arena + (uint64_t)bare->block * block_bytes,
                          bare->memory.address + (uint64_t)bare->block * bare->form.piece_bytes,
                          strips + nr);
        bytes += layer_bytes;
        if (++bare->layer < bare->form.nr_layers)
            continue;
        bare->layer = 0;
        bare->block = (bare->block + 1) % bed_blocks(bare->bed, &bare->form);
    }
    bare->bytes += bytes;
    return nr;
}

static int wait_for(struct bare *bare, uint64_t ticket)
{
    int rc = 0;

    while (ticket > 0 && (rc = bare->bed->backend->poll(bare->device, bare->lane, ticket)) == 0)
        cpu_relax();
    return rc < 0 ? rc : 0;
}

static int submit_next(struct bare *bare)
{
    struct gpu_strip strips[GPU_STRIPS_MAX];
    unsigned nr = next_strips(bare, strips);
    int rc;

    do {
        rc = bare->bed->backend->submit(bare->device, bare->lane, bare->direction, strips, nr,
                                        &bare->newest);
    } while (rc == -EAGAIN);
    return rc;
}

static int copy_for(struct bare *bare, uint64_t ns, double *bytes_s)
{
    uint64_t began = clock_ns(), took = 0;
    int rc = 0;

    bare->bytes = 0;
    while (took < ns && !rc) {
        rc = submit_next(bare);
        if (!rc)
            rc = wait_for(bare, bare->newest - 1); /* one more stays in flight */
        took = clock_ns() - began;
    }
    if (!rc)
        rc = wait_for(bare, bare->newest);
    *bytes_s = (double)bare->bytes * (double)NS_PER_S / (double)(clock_ns() - began);
    return rc;
}

int bare_run(struct bed *bed, enum gpu_direction direction, uint32_t piece, double *bytes_s)
{
    const struct gpu_device_options options = {.model_memory = bed->len + (16u << 20)};
    struct bare bare = {.bed = bed,
                        .direction = direction,
                        .lane = direction == GPU_STORE,
                        .form = bed_form(bed, piece)};
    int rc = bed->backend->open(bed->index, &options, &bare.device);

    if (rc)
        return rc;
    rc = bed->backend->alloc(bare.device, bed->len, &bare.memory);
    if (!rc)
        rc = bed->backend->host_register(bare.device, bed->arena, bed->len);
    if (!rc)
        rc = copy_for(&bare, bed->run_ns / 10, bytes_s); /* warms up */
    if (!rc)
        rc = copy_for(&bare, bed->run_ns, bytes_s);
    bed->backend->close(bare.device);
    return rc;
}
