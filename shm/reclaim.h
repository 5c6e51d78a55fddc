/* SPDX-License-Identifier: Apache-2.0 */
/* Grace periods on liburcu's QSBR flavour. Poll cores are readers: rcu_reader_online once, then
 * rcu_reader_quiescent every loop turn (that is the heartbeat too), rcu_reader_offline before they
 * sleep. A reclaimer thread takes what partitions unlinked, waits for a grace period, and gives it
 * back over a ring; a poll core never waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct reclaimer;
struct reclaim_lane; /* one per partition: its two rings */

/* Starts the thread (named kvrail-reclaim). -ENOMEM, -errno. */
[[nodiscard]] int reclaimer_create(struct reclaimer **out);
/* Ends the thread; lanes must be gone. */
void reclaimer_destroy(struct reclaimer *reclaimer);

/* capacity: most blocks on their way at once, rounded up to a power of two. Any thread. */
[[nodiscard]] int reclaim_lane_create(struct reclaimer *reclaimer, uint32_t capacity,
                                      struct reclaim_lane **out);
void reclaim_lane_destroy(struct reclaim_lane *lane);

/* Owner core: false if the lane is full, then keep the word and try again later. */
[[nodiscard]] bool reclaim_defer(struct reclaim_lane *lane, uint64_t word);
/* Owner core: a word whose grace period has passed. */
[[nodiscard]] bool reclaim_take(struct reclaim_lane *lane, uint64_t *word);

void rcu_reader_register(void); /* this thread, once; starts online */
void rcu_reader_unregister(void);
void rcu_reader_quiescent(void);
void rcu_reader_offline(void);
void rcu_reader_online(void);
/* Returns when every reader that is online now was quiescent or offline once. Not from an online
 * reader: it would wait for itself. */
void rcu_synchronize(void);
