/* SPDX-License-Identifier: Apache-2.0 */
/* The address of a server as people write it: "udp://HOST[:PORT]". Pure text, no resolver. */
#pragma once

#include <stdint.h>

#define URL_HOST_MAX 255

struct url {
    char host[URL_HOST_MAX + 1]; /* without the brackets of an IPv6 address */
    uint16_t port;               /* of partition 0 */
};

/* 0, or -EINVAL: another scheme, no host, a bad port, anything after it. */
[[nodiscard]] int url_parse(const char *text, struct url *url);
