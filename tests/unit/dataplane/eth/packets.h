/* SPDX-License-Identifier: Apache-2.0 */
/* Builds and checks frames for the tests, byte by byte and with a checksum of its own. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/eth/frame.h"

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, their_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t our_ip4[4] = {10, 96, 0, 1}, their_ip4[4] = {10, 96, 0, 2};
static const uint8_t our_ip6[16] = {0xfd, 0x96, [13] = 0xab, [14] = 0xcd, [15] = 1};
static const uint8_t their_ip6[16] = {0xfd, 0x96, [15] = 2};
static const uint8_t their_mapped[16] = {[10] = 0xff, [11] = 0xff, 10, 96, 0, 2};
static const uint8_t our_mapped[16] = {[10] = 0xff, [11] = 0xff, 10, 96, 0, 1};

struct packet {
    uint8_t bytes[2048];
    uint32_t len;
};

static inline struct frame_self our_self(void)
{
    struct frame_self self = {.has_ip6 = true, .first_port = 9690, .nr_ports = 4};

    memcpy(self.mac, our_mac, 6);
    memcpy(self.ip6, our_ip6, 16);
    frame_self_set_ip4(&self, our_ip4, 24);
    return self;
}

static inline uint16_t packet_sum(const uint8_t *bytes, uint32_t len, uint32_t sum)
{
    for (uint32_t i = 0; i < len; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static inline void packet_put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline uint16_t packet_get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void packet_ethernet(struct packet *p, const uint8_t *dst, uint16_t type)
{
    memset(p, 0, sizeof(*p));
    memcpy(p->bytes, dst, 6);
    memcpy(p->bytes + 6, their_mac, 6);
    packet_put16(p->bytes + 12, type);
    p->len = 14;
}

/* Sets the IPv4 header's checksum, and the transport's at l4_checksum if that is not 0. */
static inline void packet_sum4(struct packet *p, uint32_t l4_checksum)
{
    uint8_t *ip = p->bytes + 14;
    uint32_t size = packet_get16(ip + 2) - 20u, start = 0;

    packet_put16(ip + 10, 0);
    packet_put16(ip + 10, (uint16_t)~packet_sum(ip, 20, 0));
    if (!l4_checksum)
        return;
    if (ip[9] == 17)
        start = packet_sum(ip + 12, 8, 17 + size);
    packet_put16(ip + 20 + l4_checksum, 0);
    packet_put16(ip + 20 + l4_checksum, (uint16_t)~packet_sum(ip + 20, size, start));
}

static inline void packet_sum6(struct packet *p, uint32_t l4_checksum)
{
    uint8_t *ip = p->bytes + 14;
    uint32_t size = packet_get16(ip + 4), start = packet_sum(ip + 8, 32, ip[6] + size);

    packet_put16(ip + 40 + l4_checksum, 0);
    packet_put16(ip + 40 + l4_checksum, (uint16_t)~packet_sum(ip + 40, size, start));
}

static inline void packet_ip4(struct packet *p, uint8_t proto, uint32_t size)
{
    uint8_t *ip = p->bytes + 14;

    packet_ethernet(p, our_mac, 0x0800);
    ip[0] = 0x45;
    packet_put16(ip + 2, 20 + size);
    packet_put16(ip + 4, 0x1234);
    ip[8] = 63;
    ip[9] = proto;
    memcpy(ip + 12, their_ip4, 4);
    memcpy(ip + 16, our_ip4, 4);
    p->len = 34 + size;
}

static inline void packet_ip6(struct packet *p, uint8_t next, uint32_t size)
{
    uint8_t *ip = p->bytes + 14;

    packet_ethernet(p, our_mac, 0x86dd);
    ip[0] = 0x60;
    packet_put16(ip + 4, size);
    ip[6] = next;
    ip[7] = next == 58 ? 255 : 63;
    memcpy(ip + 8, their_ip6, 16);
    memcpy(ip + 24, our_ip6, 16);
    p->len = 54 + size;
}

static inline void packet_fill(uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 + 1);
}

static inline void packet_udp4(struct packet *p, uint16_t port, uint32_t payload)
{
    uint8_t *udp = p->bytes + 34;

    packet_ip4(p, 17, 8 + payload);
    packet_put16(udp, 40000);
    packet_put16(udp + 2, port);
    packet_put16(udp + 4, 8 + payload);
    packet_fill(udp + 8, payload);
    packet_sum4(p, 6);
}

static inline void packet_udp6(struct packet *p, uint16_t port, uint32_t payload)
{
    uint8_t *udp = p->bytes + 54;

    packet_ip6(p, 17, 8 + payload);
    packet_put16(udp, 40000);
    packet_put16(udp + 2, port);
    packet_put16(udp + 4, 8 + payload);
    packet_fill(udp + 8, payload);
    packet_sum6(p, 6);
}

static inline void packet_echo4(struct packet *p, uint32_t payload)
{
    packet_ip4(p, 1, 8 + payload);
    p->bytes[34] = 8;
    packet_put16(p->bytes + 38, 0xbeef);
    packet_fill(p->bytes + 42, payload);
    packet_sum4(p, 2);
}

static inline void packet_echo6(struct packet *p, uint32_t payload)
{
    packet_ip6(p, 58, 8 + payload);
    p->bytes[54] = 128;
    packet_put16(p->bytes + 58, 0xbeef);
    packet_fill(p->bytes + 62, payload);
    packet_sum6(p, 2);
}

static inline void packet_arp(struct packet *p)
{
    static const uint8_t everyone[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint8_t *arp = p->bytes + 14;

    packet_ethernet(p, everyone, 0x0806);
    memcpy(arp, request, 8);
    memcpy(arp + 8, their_mac, 6);
    memcpy(arp + 14, their_ip4, 4);
    memcpy(arp + 24, our_ip4, 4);
    p->len = 60; /* padded, as on a real wire */
}

/* As a neighbour asks: to the solicited-node group, with its MAC. */
static inline void packet_solicitation(struct packet *p)
{
    static const uint8_t group_mac[6] = {0x33, 0x33, 0xff, 0xab, 0xcd, 1};
    static const uint8_t group[16] = {0xff, 2, [11] = 1, 0xff, 0xab, 0xcd, 1};
    uint8_t *ip = p->bytes + 14;

    packet_ip6(p, 58, 32);
    memcpy(p->bytes, group_mac, 6);
    memcpy(ip + 24, group, 16);
    ip[40] = 135;
    memcpy(ip + 48, our_ip6, 16);
    ip[64] = 1;
    ip[65] = 1;
    memcpy(ip + 66, their_mac, 6);
    packet_sum6(p, 2);
}
