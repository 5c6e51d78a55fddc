/* SPDX-License-Identifier: Apache-2.0 */
/* Which neighbouring chunks are cheapest to empty. Owner core only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/alloc.h"

/* A window of at least nr chunks, of whole slabs and free chunks, without reserved or leased
 * blocks, slabs marked as pinned, and without slabs of the class except (CLASS_NONE: of any). False
 * if there is none. */
[[nodiscard]] bool window_choose(const struct alloc *alloc, uint32_t nr, uint16_t except,
                                 uint32_t *chunk, uint32_t *count);
