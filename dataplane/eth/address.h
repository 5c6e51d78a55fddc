/* SPDX-License-Identifier: Apache-2.0 */
/* Own addresses in text form, "10.96.0.1/24" and "fd96::1/64". Pure functions, any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* ADDRESS/PREFIX; the address must be one that a host may have. -EINVAL. */
[[nodiscard]] int address4_parse(const char *text, uint8_t ip[4], unsigned *prefix);
[[nodiscard]] int address6_parse(const char *text, uint8_t ip[16], unsigned *prefix);

/* Whether a host may send from the address: not zero, loopback, multicast, broadcast, reserved
 * (IPv6: nor IPv4-mapped, which stands for IPv4 in struct peer). */
bool address4_is_host(const uint8_t ip[4]);
bool address6_is_host(const uint8_t ip[16]);
