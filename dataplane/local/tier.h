/* SPDX-License-Identifier: Apache-2.0 */
/* LOADs and the core's pool in GPU memory (gpu/pool.h): what of them is served from there, and what
 * is copied there. On the core; or on the main thread while no core runs. */
#pragma once

#include "dataplane/local/client.h"

struct block_view;

/* Before a LOAD's job is pushed for the first time; the core has a pool. Makes it a job that copies
 * from the pool, if a copy is on a device that reaches the region; else counts a hit, from which on
 * a copy may begin to be made. */
void tier_begin(struct port *port, struct move *move, const struct block_view *view);
/* A job that the fleet gave back: true, it was the pool's own. */
[[nodiscard]] bool tier_take(struct port *port, struct gpu_job *job);
/* A LOAD's job from the pool came back. False: its bytes may be wrong, and the move is ready to be
 * done again from the arena, whose block it has pinned all the time. */
[[nodiscard]] bool tier_end(struct port *port, struct move *move);
/* A move ends that the fleet does not have: gives back what pin it has. */
void tier_leave(struct port *port, struct move *move);
/* Whether the layers that a LOAD's job says it has done are right ones: look after that. */
[[nodiscard]] bool tier_holds(const struct move *move);
