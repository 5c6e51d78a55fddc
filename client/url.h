/* SPDX-License-Identifier: Apache-2.0 */
/* The address of a server as people write it: "udp://HOST[:PORT]", or "shm://PATH" of a server on
 * the same host. Pure text, no resolver. */
#pragma once

#include <stdint.h>

#define URL_HOST_MAX 255
#define URL_PATH_MAX 107 /* what the address of a Unix socket takes */

enum url_scheme { URL_UDP, URL_SHM };

struct url {
    enum url_scheme scheme;
    char host[URL_HOST_MAX + 1]; /* without the brackets of an IPv6 address */
    uint16_t port;               /* of partition 0 */
    char path[URL_PATH_MAX + 1]; /* of the local socket */
};

/* 0, or -EINVAL: another scheme, no host or path, a path too long, a bad port, anything after it.
 */
[[nodiscard]] int url_parse(const char *text, struct url *url);
