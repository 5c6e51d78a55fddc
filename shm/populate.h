/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of the arena made present ahead of use, by a thread of its own that runs only where no
 * other wants the CPU: else the first write to each page is a fault on a poll core. */
#pragma once

#include "shm/arena.h"

struct populator;

/* Starts the thread (named kvrail-populate) over both segments of a writable arena, which must
 * stay mapped until populate_stop. It ends by itself when all is present, or when the kernel
 * cannot do it (before Linux 5.14) or has no memory left: then pages come at their first use.
 * 0, -ENOMEM, -errno. */
[[nodiscard]] int populate_start(const struct arena *arena, struct populator **out);
void populate_stop(struct populator *populator);
/* Whether the thread has come to its end. Any thread. */
bool populate_ended(const struct populator *populator);
