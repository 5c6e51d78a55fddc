/* SPDX-License-Identifier: Apache-2.0 */
/* Grace periods on liburcu's QSBR flavour. Poll cores are readers: rcu_reader_online once, then
 * rcu_reader_quiescent every loop turn (that is the heartbeat too), rcu_reader_offline before they
 * sleep. A reclaimer thread takes what partitions unlinked, waits for a grace period, and gives it
 * back over a ring; a poll core never waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

struct arena;
struct reclaimer;
struct reclaim_lane; /* one per partition: its two rings */

/* Starts the thread (named kvrail-reclaim). arena: whose blocks it takes back; its reclaim_stats
 * are the thread's to write; NULL: no clients can be added. -ENOMEM, -errno. */
[[nodiscard]] int reclaimer_create(const struct arena *arena, struct reclaimer **out);
/* Ends the thread; lanes must be gone. */
void reclaimer_destroy(struct reclaimer *reclaimer);

/* capacity: most blocks on their way at once, rounded up to a power of two. Any thread. */
[[nodiscard]] int reclaim_lane_create(struct reclaimer *reclaimer, uint32_t capacity,
                                      struct reclaim_lane **out);
void reclaim_lane_destroy(struct reclaim_lane *lane);

/* Owner core: false if the lane is full, then keep the block and try again later. ref: of an
 * unlinked block. */
[[nodiscard]] bool reclaim_defer(struct reclaim_lane *lane, uint64_t ref);
/* Owner core: a reference whose grace period has passed. Its block may be reused unless a client
 * holds it: then reclaim_held stays true until a later scan found it in no slot any more, and after
 * that it may. */
[[nodiscard]] bool reclaim_take(struct reclaim_lane *lane, uint64_t *ref);

/* Whether the last scan of the clients' hazard slots found the block, counted over all partitions.
 * Of a sealed block that is only a hint (for eviction); of one that came back by reclaim_take it is
 * certain. Any thread. */
bool reclaim_held(const struct reclaimer *reclaimer, uint32_t global_block);

/* Whether it found any at all. */
bool reclaim_holds_any(const struct reclaimer *reclaimer);
/* Changes whenever blocks that were held are not any more; then reclaim_held says so. */
uint64_t reclaim_releases(const struct reclaimer *reclaimer);

/* The hazard slots of a client are looked at from now on, before anything else is given back.
 * segment outlives its entry. -ENOMEM; -EOPNOTSUPP: its header says that the client leaves its
 * fences to us, but this process may not call membarrier. Main thread. */
[[nodiscard]] int reclaim_client_add(struct reclaimer *reclaimer, uint32_t id,
                                     const struct segment *segment);
/* No more; when it returns nobody reads the segment's slots. */
void reclaim_client_remove(struct reclaimer *reclaimer, uint32_t id);
/* What it held at the last scan. Main thread. False: no such client. */
[[nodiscard]] bool reclaim_client_held(struct reclaimer *reclaimer, uint32_t id, uint64_t *blocks,
                                       uint64_t *bytes);

void rcu_reader_register(void); /* this thread, once; starts online */
void rcu_reader_unregister(void);
void rcu_reader_quiescent(void);
void rcu_reader_offline(void);
void rcu_reader_online(void);
/* Returns when every reader that is online now was quiescent or offline once. Not from an online
 * reader: it would wait for itself. */
void rcu_synchronize(void);
