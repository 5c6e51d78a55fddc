/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of options, refused with the option's name where they are wrong. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* "kvrail-pcap make: --NAME TEXT: WHY". Returns false. */
bool option_wrong(const char *name, const char *text, const char *why);

/* False after option_wrong was called. */
bool option_count(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *value);
bool option_seconds(const char *name, const char *text, uint64_t *ns);
bool option_mac(const char *name, const char *text, uint8_t mac[6]);
/* An address without prefix, IPv4 mapped into ip. */
bool option_address(const char *name, const char *text, uint8_t ip[16], bool *ipv6);
