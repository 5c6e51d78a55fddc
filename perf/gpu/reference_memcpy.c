/* SPDX-License-Identifier: Apache-2.0 */
/* memcpy by this thread, for the host backend. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"

struct reference {
    size_t len;
    uint8_t *near, *device;
};

static void memcpy_close(struct reference *reference)
{
    free(reference->near);
    free(reference->device);
    free(reference);
}

static int memcpy_open(unsigned index, size_t len, struct reference **opened)
{
    struct reference *reference = calloc(1, sizeof(*reference));

    (void)index;
    if (!reference)
        return -ENOMEM;
    reference->len = len;
    reference->near = malloc(len);
    reference->device = malloc(len);
    if (!reference->near || !reference->device) {
        memcpy_close(reference);
        return -ENOMEM;
    }
    memset(reference->near, 1, len);
    memset(reference->device, 2, len);
    *opened = reference;
    return 0;
}

static int memcpy_copy(struct reference *reference, enum gpu_direction direction, size_t piece)
{
    const uint8_t *from = direction == GPU_STORE ? reference->device : reference->near;
    uint8_t *to = direction == GPU_STORE ? reference->near : reference->device;

    for (size_t at = 0; at + piece <= reference->len; at += piece)
        memcpy(to + at, from + at, piece);
    return 0;
}

const struct reference_kind reference_memcpy = {
    .name = "memcpy", .open = memcpy_open, .close = memcpy_close, .copy = memcpy_copy};
