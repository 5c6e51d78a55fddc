/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a call: checked, started, queued, retried, ended exactly once. */
#pragma once

#include "client/handle.h"

extern const struct task_kind get_kind, put_kind, match_kind, match_chunk_kind;
extern const struct task_kind local_get_kind, local_match_kind, place_kind, store_kind;
extern const struct task_kind del_kind, touch_kind, hint_kind, ping_kind, stat_kind;

/* Starts a call. KVR_INVALID, KVR_NO_MEMORY: it is not started. waited: counter to lower at its
 * end, or NULL: call->done is called from kvr_poll. */
[[nodiscard]] enum kvr_status task_start(struct kvr_client *client, struct kvr_call *call,
                                         uint32_t *waited);
/* The same with another kind than the call's op has by itself, if kind is not NULL; then the call's
 * fields are the caller's to check. */
[[nodiscard]] enum kvr_status task_start_as(struct kvr_client *client, struct kvr_call *call,
                                            const struct task_kind *kind, uint32_t *waited);
/* Whether the fields make sense. */
[[nodiscard]] bool task_valid(const struct kvr_call *call);
/* Sets what a call brings back to nothing. */
void task_clear(struct kvr_call *call);
/* Whether a PUT fits one datagram. */
[[nodiscard]] bool put_is_small(const struct kvr_client *client, const struct kvr_call *call);
/* Into its link's ready queue, resp. the queue of those with more to send than one record. */
void task_ready(struct task *task);
void task_stream(struct task *task);
/* Out of whichever queue it is in. */
void task_unqueue(struct kvr_client *client, struct task *task);
/* Everything about the call ends. For a chunk: the whole MATCH. */
void task_end(struct kvr_client *client, struct task *task, enum kvr_status status);
/* Out of every queue and datagram; it may be queued again. */
void task_detach(struct kvr_client *client, struct task *task);
/* Deals with a status that only means: not now. False: it is the call's result. */
bool task_soft(struct kvr_client *client, struct task *task, enum kvr_status status);
/* Calls done of what ended. Returns how many. */
int tasks_report(struct kvr_client *client);
void tasks_destroy(struct kvr_client *client);

/* Ends what is past its deadline; moves on what was delayed. Sets the two next_ times. */
void tasks_expire(struct kvr_client *client);
/* The server lost its sessions, or has other partitions: all stop, and start again from nothing. */
void tasks_halt(struct kvr_client *client);
void tasks_resume(struct kvr_client *client);
/* Which partition serves the key. */
struct link *task_route(struct kvr_client *client, const void *key, uint32_t key_len);

/* MATCH: splits the keys by partition and datagram. NO_MEMORY, or OK. */
[[nodiscard]] enum kvr_status match_start(struct kvr_client *client, struct task *task);
void match_free(struct kvr_client *client, struct task *task);
/* The task of the call that this one is a chunk of, or itself. */
struct task *match_whole(struct task *task);
/* The first key of a chunk. */
const struct kvr_key *match_key(const struct task *chunk);
