/* SPDX-License-Identifier: Apache-2.0 */
/* A look at a server's arena from outside, by the first half of what its local socket speaks
 * (shm/attach.h): maps it for reading, holds nothing, is no client. */
#pragma once

#include <stdint.h>

#include "shm/arena.h"

struct leftovers {
    uint64_t held, held_bytes; /* by the last scan of hazard slots */
    uint64_t reserved;         /* blocks */
};

/* 0 or -errno. */
[[nodiscard]] int observe_open(const char *socket_path, struct arena *arena);
void observe(const struct arena *arena, struct leftovers *found);
