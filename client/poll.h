/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where a handle waits. */
#pragma once

#include "client/handle.h"

[[nodiscard]] bool wake_create(struct kvr_client *client);
void wake_destroy(struct kvr_client *client);

/* Reads the clock, ends and repeats what is due, sends what may be sent. */
void poll_turn(struct kvr_client *client);
/* Waits until something arrives, is due, or until_ns; takes what arrived; then a turn. */
void poll_wait(struct kvr_client *client, uint64_t until_ns);
/* Sets the timer behind kvr_fd to the next time that something is due. */
void poll_arm(struct kvr_client *client);
/* One turn sends all; then until *waited calls have ended, which their deadlines make sure of. */
void poll_until(struct kvr_client *client, const uint32_t *waited);
/* A call from its start to its end, of another kind than its op's own if kind is not NULL. */
enum kvr_status poll_call(struct kvr_client *client, struct kvr_call *call,
                          const struct task_kind *kind);
