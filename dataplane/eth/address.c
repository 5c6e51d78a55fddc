/* SPDX-License-Identifier: Apache-2.0 */
/* Parses ADDRESS/PREFIX. */
#include "dataplane/eth/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

static int parse(int family, const char *text, uint8_t *ip, unsigned prefix_max, unsigned *prefix)
{
    const char *slash = strchr(text, '/');
    char address[INET6_ADDRSTRLEN];
    unsigned bits = 0;

    if (!slash || (size_t)(slash - text) >= sizeof(address) || !slash[1] || strlen(slash + 1) > 3)
        return -EINVAL;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    for (const char *digit = slash + 1; *digit; digit++) {
        if (*digit < '0' || *digit > '9')
            return -EINVAL;
        bits = bits * 10u + (unsigned)(*digit - '0');
    }
    if (bits < 1 || bits > prefix_max || inet_pton(family, address, ip) != 1)
        return -EINVAL;
    *prefix = bits;
    return 0;
}

int address4_parse(const char *text, uint8_t ip[4], unsigned *prefix)
{
    int rc = parse(AF_INET, text, ip, 32, prefix);

    return rc ? rc : address4_is_host(ip) ? 0 : -EINVAL;
}

int address6_parse(const char *text, uint8_t ip[16], unsigned *prefix)
{
    int rc = parse(AF_INET6, text, ip, 128, prefix);

    return rc ? rc : address6_is_host(ip) ? 0 : -EINVAL;
}
