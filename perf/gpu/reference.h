/* SPDX-License-Identifier: Apache-2.0 */
/* What kvrail is compared with, done without it: pinned memory and one copy call for each piece, in
 * a context of its own; the whole length in one call is the peak. For the host backend memcpy. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "gpu/backend.h"

struct reference;

struct reference_kind {
    const char *name; /* of the call */
    /* len bytes at both sides. -errno. */
    int (*open)(unsigned index, size_t len, struct reference **reference);
    void (*close)(struct reference *reference);
    /* Copies all of it, in pieces, and waits. -errno. */
    int (*copy)(struct reference *reference, enum gpu_direction direction, size_t piece);
};

extern const struct reference_kind reference_memcpy;
/* open is NULL: built without CUDA. */
extern const struct reference_kind reference_cuda;
