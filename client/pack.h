/* SPDX-License-Identifier: Apache-2.0 */
/* From queues to datagrams: which waiting records leave now, and together. */
#pragma once

#include "client/handle.h"

/* Sends what may be sent on every link that something waits for. */
void pack_all(struct kvr_client *client);
/* Reads must not see the key before the server knows that a write given up is over: sends a DEL
 * that can match no block, with the new floor. Its answer opens the way. */
void pack_fence(struct link *link, const struct kvr_key *key, uint8_t priority);
