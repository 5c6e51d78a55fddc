/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the device to put each datagram into the queue of the core that owns its partition. */
#pragma once

#include "dataplane/eth/port.h"

/* Rules UDP destination port -> queue. All or none; notes if the device cannot. */
void steer_by_port(const struct port *port);
