/* SPDX-License-Identifier: Apache-2.0 */
/* Reads "udp://HOST[:PORT]", HOST a name, an IPv4 address or an IPv6 address in brackets; and
 * "shm://PATH". */
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

/* What follows the scheme, or NULL if the text begins otherwise. */
static const char *behind(const char *text, const char *scheme)
{
    size_t len = strlen(scheme);

    return strncmp(text, scheme, len) == 0 ? text + len : NULL;
}

static int parse_path(const char *text, struct url *url)
{
    size_t len = strlen(text);

    if (len == 0 || len > URL_PATH_MAX)
        return -EINVAL;
    memcpy(url->path, text, len + 1);
    url->scheme = URL_SHM;
    return 0;
}

int url_parse(const char *text, struct url *url)
{
    const char *path = behind(text, "shm://");
    bool bracket;
    size_t len = 0;

    if (path)
        return parse_path(path, url);
    text = behind(text, "udp://");
    if (!text)
        return -EINVAL;
    url->scheme = URL_UDP;
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
