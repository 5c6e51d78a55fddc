/* SPDX-License-Identifier: Apache-2.0 */
/* Reads "udp://HOST[:PORT]"; HOST is a name, an IPv4 address, or an IPv6 address in brackets. */
#include "client/url.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "kvrail/proto.h"

static int parse_port(const char *text, uint16_t *port)
{
    unsigned number = 0;

    if (*text == '\0')
        return -EINVAL;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        number = number * 10 + (unsigned)(*text - '0');
        if (number > UINT16_MAX)
            return -EINVAL;
    }
    if (number == 0)
        return -EINVAL;
    *port = (uint16_t)number;
    return 0;
}

static bool host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

static bool ipv6_char(char c)
{
    return host_char(c) || c == ':' || c == '%';
}

int url_parse(const char *text, struct url *url)
{
    static const char scheme[] = "udp://";
    bool bracket;
    size_t len = 0;

    if (strncmp(text, scheme, sizeof(scheme) - 1) != 0)
        return -EINVAL;
    text += sizeof(scheme) - 1;
    bracket = *text == '[';
    text += bracket;
    while (bracket ? ipv6_char(text[len]) : host_char(text[len]))
        len++;
    if (len == 0 || len > URL_HOST_MAX)
        return -EINVAL;
    memcpy(url->host, text, len);
    url->host[len] = '\0';
    text += len;
    if (bracket && *text++ != ']')
        return -EINVAL;
    url->port = KVR_PORT;
    if (*text == '\0')
        return 0;
    return *text == ':' ? parse_port(text + 1, &url->port) : -EINVAL;
}
