/* SPDX-License-Identifier: Apache-2.0 */
/* Own addresses in text form, "10.96.0.1/24" and "fd96::1/64". Pure functions, any thread. */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* ADDRESS/PREFIX; the address must be one that a host may have. -EINVAL. */
[[nodiscard]] int address4_parse(const char *text, uint8_t ip[4], unsigned *prefix);
[[nodiscard]] int address6_parse(const char *text, uint8_t ip[16], unsigned *prefix);

/* Whether a host may send from the address: not zero, loopback, multicast, broadcast, reserved
 * (IPv6: nor IPv4-mapped, which stands for IPv4 in struct peer). */
static inline bool address4_is_host(const uint8_t ip[4])
{
    return ip[0] != 0 && ip[0] != 127 && ip[0] < 224;
}

static inline bool address6_is_host(const uint8_t ip[16])
{
    uint64_t high, low;

    memcpy(&high, ip, 8);
    memcpy(&low, ip + 8, 8);
    if (ip[0] == 0xff)
        return false;
    if (high)
        return true;
    /* Under ::/64: not :: and ::1, and not ::ffff:0:0/96. */
    return be64toh(low) > 1 && be64toh(low) >> 32 != 0xffff;
}
