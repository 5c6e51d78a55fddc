/* SPDX-License-Identifier: Apache-2.0 */
/* The packet buffers of a port. Main thread makes them; poll cores take and give back. */
#pragma once

#include <rte_mbuf.h>

#include "dataplane/eth/fault.h"
#include "dataplane/eth/port.h"

struct partition;

/* Private area of a buffer that stands for bytes of a value. */
struct pin {
    struct rte_mbuf_ext_shared_info shared;
    struct partition *partition;
    uint32_t block;
};

/* Needs port->mtu and nr_queues. */
[[nodiscard]] int pools_create(const struct settings *settings, struct port *port,
                               struct fault *fault);
void pools_destroy(struct port *port);
