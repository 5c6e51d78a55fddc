/* SPDX-License-Identifier: Apache-2.0 */
/* What a core knows of the sessions that write to its partitions: one entry per session and
 * partition, with a window over the seq of their mutating datagrams. It makes every write happen at
 * most once, and never after the client gave it up. Owner core only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"
#include "kvrail/status.h"

struct session;
struct session_table;

enum session_verdict {
    SEQ_NONE,    /* not asked yet */
    SEQ_FRESH,   /* execute; session_finish records the outcome */
    SEQ_DONE,    /* executed before: session_status says what was answered */
    SEQ_RUNNING, /* being executed, or its place in the window is: say nothing */
    SEQ_OLD,     /* below floor or window: REPLAYED */
    SEQ_FULL,    /* no room for another session: LIMIT */
};

/* max: live entries. -ENOMEM. */
[[nodiscard]] int session_table_create(uint32_t max, struct session_table **out);
void session_table_destroy(struct session_table *table);

/* The entry of (id, partition), or NULL. */
struct session *session_find(struct session_table *table, uint64_t id, uint16_t partition);

/* A mutating datagram arrived. *session: its entry, unless SEQ_FULL or SEQ_OLD for an unknown one.
 * Raises the entry's floor. SEQ_FRESH: the entry stays until session_finish.
 * keep_ms: entries idle for so long may be given to others. */
[[nodiscard]] enum session_verdict session_admit(struct session_table *table,
                                                 const struct kvr_hdr *hdr, uint32_t now_ms,
                                                 uint32_t keep_ms, struct session **session);

/* Forgets the entry, if there is one. False: some of its datagrams are still being executed. */
[[nodiscard]] bool session_end(struct session_table *table, uint64_t id, uint16_t partition);

/* A fresh seq: what its n-th mutating op was answered with, and that all of them were. */
void session_record(struct session *session, uint32_t seq, unsigned n, enum kvr_status status);
void session_finish(struct session *session, uint32_t seq);
/* SEQ_DONE: the recorded status. */
enum kvr_status session_status(const struct session *session, uint32_t seq, unsigned n);

/* A WRITE, COMMIT or ABORT told a floor: raises it, keeps the entry alive. session may be NULL. */
void session_refresh(struct session_table *table, struct session *session, uint32_t floor,
                     uint32_t now_ms);
/* Whether the client is finished with this seq. */
bool session_passed(const struct session *session, uint32_t seq);

/* Frees the entries that were idle for keep_ms, a few at a time. Whether there were any. */
bool session_expire(struct session_table *table, uint32_t now_ms, uint32_t keep_ms);
uint32_t session_count(const struct session_table *table);
