/* SPDX-License-Identifier: Apache-2.0 */
/* Where the fields of Ethernet, ARP, IP, UDP and ICMP lie, and big-endian access to them. For the
 * frame files only. */
#pragma once

#include <stdint.h>
#include <string.h>

enum {
    ETH_DST = 0,
    ETH_SRC = 6,
    ETH_TYPE = 12,
    TYPE_IP4 = 0x0800,
    TYPE_ARP = 0x0806,
    TYPE_VLAN = 0x8100,
    TYPE_IP6 = 0x86dd,
    VLAN_SIZE = 4,

    ARP_OP = 6,
    ARP_SENDER_MAC = 8,
    ARP_SENDER_IP = 14,
    ARP_TARGET_MAC = 18,
    ARP_TARGET_IP = 24,
    ARP_SIZE = 28,

    IP4_TOTAL = 2,
    IP4_ID = 4,
    IP4_FRAGMENT = 6,
    IP4_FRAGMENT_MASK = 0x3fff, /* more fragments, and the offset */
    IP4_DONT_FRAGMENT = 0x4000,
    IP4_TTL = 8,
    IP4_PROTO = 9,
    IP4_CHECKSUM = 10,
    IP4_SRC = 12,
    IP4_DST = 16,

    IP6_LEN = 4,
    IP6_NEXT = 6,
    IP6_HOPS = 7,
    IP6_SRC = 8,
    IP6_DST = 24,

    PROTO_HOP_OPTIONS = 0,
    PROTO_ICMP = 1,
    PROTO_UDP = 17,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_AUTH = 51,
    PROTO_ICMP6 = 58,
    PROTO_DST_OPTIONS = 60,

    UDP_SRC = 0,
    UDP_DST = 2,
    UDP_LEN = 4,
    UDP_CHECKSUM = 6,

    ICMP_CHECKSUM = 2,
    ICMP_SIZE = 8,
    ICMP_ECHO = 8,
    ICMP_ECHO_REPLY = 0,
    ICMP6_ECHO = 128,
    ICMP6_ECHO_REPLY = 129,
    ICMP6_SOLICITATION = 135,
    ICMP6_ADVERTISEMENT = 136,

    ND_FLAGS = 4,
    ND_TARGET = 8,
    ND_SIZE = 24,
    ND_SOURCE_MAC = 1,
    ND_TARGET_MAC = 2,
    ND_FLAG_SOLICITED = 0x40,
    ND_FLAG_OVERRIDE = 0x20,
};

static inline uint16_t get_be16(const uint8_t *from)
{
    uint16_t value;

    memcpy(&value, from, sizeof(value));
    return __builtin_bswap16(value);
}

static inline uint32_t get_be32(const uint8_t *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return __builtin_bswap32(value);
}

static inline void put_be16(uint8_t *to, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(to, &value, sizeof(value));
}

static inline void put_be32(uint8_t *to, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(to, &value, sizeof(value));
}
