/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of option arguments. */
#include "perf/pktgen/options.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "dataplane/eth/address.h"
#include "tools/units.h"

bool option_wrong(const char *name, const char *text, const char *why)
{
    log_error("--%s %s: %s", name, text, why);
    return false;
}

bool option_count(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    char why[80];

    if (units_parse_count(text, value) == 0 && *value >= min && *value <= max)
        return true;
    snprintf(why, sizeof(why), "not a number from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    return option_wrong(name, text, why);
}

bool option_seconds(const char *name, const char *text, uint64_t *ns)
{
    if (units_parse_duration(text, 1000000000u, ns) == 0 && *ns > 0)
        return true;
    return option_wrong(name, text, "not a time");
}

bool option_mac(const char *name, const char *text, uint8_t mac[6])
{
    unsigned bytes[6];
    int end = 0;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
               &bytes[4], &bytes[5], &end) != 6 ||
        text[end] != 0 || bytes[0] & 1)
        return option_wrong(name, text, "not the MAC of one device, as 02:00:00:00:00:01");
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t)bytes[i];
    return true;
}

bool option_address(const char *name, const char *text, uint8_t ip[16], bool *ipv6)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    *ipv6 = strchr(text, ':') != NULL;
    if (*ipv6 && inet_pton(AF_INET6, text, ip) == 1 && address6_is_host(ip))
        return true;
    memcpy(ip, mapped, sizeof(mapped));
    if (!*ipv6 && inet_pton(AF_INET, text, ip + sizeof(mapped)) == 1 &&
        address4_is_host(ip + sizeof(mapped)))
        return true;
    return option_wrong(name, text, "not an address that a host may have");
}
