/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's interface under a port: its MTU; for a TAP also its addresses and that it comes up.
 * Main thread, at start. */
#pragma once

#include <stdbool.h>

#include "dataplane/eth/fault.h"

/* ipv4, ipv6: "ADDRESS/PREFIX" or "". IPv6 that this kernel does not have is noted. -errno. */
[[nodiscard]] int host_side_setup(const char *interface, const char *ipv4, const char *ipv6,
                                  struct fault *fault);

/* Raises the MTU of an interface that has a smaller one. -errno. */
[[nodiscard]] int interface_set_mtu(unsigned index, unsigned mtu);

/* Whether a program holds the TAP interface of this name. */
bool tap_is_held(const char *interface);

/* A memif server that was killed leaves its socket behind, and then no other starts: removes that
 * of this device string, if it is of one and nobody serves it any more. */
void memif_socket_clear(const char *device);
