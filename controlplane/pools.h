/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that ask for the memory of a pool in GPU memory (shm/attach.h): what the dataplane says
 * of it goes on to them, descriptor and all. One question of a client at a time. Main thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct attach_region;
struct child_pool;
struct client;

/* What a client waits for. */
struct asked_pool {
    bool asked;
    uint32_t device, core;
};

/* A message whose op is ATTACH_POOL. False: it is nonsense. */
[[nodiscard]] bool pools_hear(struct client *client, const struct attach_region *message);
/* The dataplane's word; the descriptor stays the caller's. */
void pools_told(struct client *client, const struct child_pool *pool);
