/* SPDX-License-Identifier: Apache-2.0 */
/* What clients hold, as their own segments say it: for people. What counts for memory is the
 * reclaimer's scan (shm/reclaim.h). Main thread only. */
#pragma once

#include "controlplane/clients.h"
#include "shm/arena.h"

/* Looks at the slots of a client, and notes since when each holds what it holds. */
void pins_scan(struct client *client, const struct arena *arena, uint64_t now_ns);
