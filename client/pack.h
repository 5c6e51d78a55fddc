/* SPDX-License-Identifier: Apache-2.0 */
/* From queues to datagrams: which waiting records leave now, and together. */
#pragma once

#include "client/handle.h"

/* Sends what may be sent on every link that something waits for. */
void pack_all(struct kvr_client *client);
