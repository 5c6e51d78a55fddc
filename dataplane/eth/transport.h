/* SPDX-License-Identifier: Apache-2.0 */
/* struct transport over the queues of a port, one per poll core. A core without a queue sends its
 * frames by way of a core that has one; requests reach it by the engine's hand-over. */
#pragma once

#include "dataplane/eth/port.h"
#include "dataplane/transport.h"
#include "shm/stats.h"

/* Makes the transports of all workers over a port that was created; stats[i]: of core i, written by
 * that core. transports: room for port->nr_workers. -ENOMEM. */
[[nodiscard]] int eth_transports_create(struct port *port, const struct settings *settings,
                                        struct core_stats *const *stats,
                                        struct transport **transports);
/* After the cores have ended: sends what is left, for a short time. */
void eth_transports_drain(struct transport **transports, unsigned nr);
/* After port_stop. */
void eth_transports_destroy(struct transport **transports, unsigned nr);
