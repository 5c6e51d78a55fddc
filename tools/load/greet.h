/* SPDX-License-Identifier: Apache-2.0 */
/* Before the threads run: waits for the link, finds the server's MAC, says HELLO once. Main thread.
 */
#pragma once

#include <stdint.h>

#include "dataplane/eth/frame.h"
#include "tools/load/port.h"
#include "tools/load/proof.h"

/* peer: ip, local_ip, local_mac, port and local_port are known, mac is found. 0, -ETIMEDOUT: nobody
 * answered within wait_ns, *step says what was waited for; -EPROTO: the server refuses, see
 * proof->refused; -EINTR. */
[[nodiscard]] int greet(const struct load_port *port, const struct frame_self *self,
                        struct peer *peer, uint64_t wait_ns, struct proof *proof,
                        const char **step);
