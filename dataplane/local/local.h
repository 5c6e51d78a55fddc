/* SPDX-License-Identifier: Apache-2.0 */
/* Clients on the same host, as the dataplane sees them: their segments, who serves their rings, and
 * their end. The main thread calls everything here; each poll core serves the rings of its own
 * partitions by struct transport (rings.h). A client is known by the id that kvraild gave it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gpu/fleet.h"
#include "shm/arena.h"
#include "shm/reclaim.h"

#define LOCAL_CLIENTS_MAX 64u
#define LOCAL_LOOKS_MAX 64u /* copies in a core's pool that a client may hold at once */

struct core;
struct local;

struct local_spec {
    uint32_t id; /* 1 .. CLIENT_ID_MAX */
    int segment_fd, pidfd;
    uint32_t pid, uid;
    uint64_t pinned_max; /* bytes; twice as many for a second end the client */
    bool may_write;      /* has the data mapped for writing: PLACE is allowed */
};

/* Starts the copy worker (thread kvrail-copy). reclaimer: is told of every client. Before the
 * cores are made. -ENOMEM, -errno. */
[[nodiscard]] int local_create(struct arena *arena, struct reclaimer *reclaimer, unsigned nr_cores,
                               struct local **out);
/* After the poll cores have ended. Lets go of all segments. */
void local_destroy(struct local *local);

/* The descriptors become local's, also if it fails. Cores may run or not yet exist. 0, -EEXIST,
 * -ENOSPC (LOCAL_CLIENTS_MAX), what segment_attach says. */
[[nodiscard]] int local_add(struct local *local, const struct local_spec *spec);
/* Begins the client's end: its hazards, reservations, requests and session go. -ENOENT. Its entry
 * is there until local_tick says that it has gone. */
[[nodiscard]] int local_drop(struct local *local, uint32_t id);

/* For poll(2): readable when the process of one of the clients has died. */
int local_fd(const struct local *local);
/* Looks after all of it, at least every 100 ms and when local_fd is readable: who died, closed or
 * holds too much is dropped; whose last core has let go is forgotten. Calls gone once for each such
 * client, with why: one line. */
void local_tick(struct local *local, uint64_t now_ns,
                void (*gone)(void *context, uint32_t id, const char *why), void *context);

/* The i-th client that is not on its way out, in the order of adding; false: no more. The
 * descriptors stay local's. */
[[nodiscard]] bool local_client(const struct local *local, unsigned i, struct local_spec *spec);
/* The devices that serve clients' regions, a producer for each core. NULL: there are none any more;
 * waits for their jobs, then all regions are closed. While the cores exist, but do not run. */
void local_set_fleet(struct local *local, struct gpu_fleet *fleet);
/* Imports memory of a client under a number of its choice. Copies the handle's descriptor. -ENODEV
 * (no fleet), -ENOENT (no such client), -EINVAL, -EEXIST, what gpu_region_import says. */
[[nodiscard]] int local_region_add(struct local *local, uint32_t id, unsigned region,
                                   const struct gpu_handle *handle);
/* No job begins with it any more. -ENOENT. */
[[nodiscard]] int local_region_drop(struct local *local, uint32_t id, unsigned region);
/* Closes dropped regions after their last jobs; calls gone once for each. */
void local_regions_tick(struct local *local,
                        void (*gone)(void *context, uint32_t id, unsigned region), void *context);

/* For recovery (partition_options.keep_reserved): context is the struct local. */
bool local_keeps_reserved(void *local, uint32_t mark);
