/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 826 and RFC 4861, the asking side. */
#include "tools/load/neighbour.h"

#include <string.h>

#include "dataplane/eth/checksum.h"
#include "dataplane/eth/wire.h"

#define MAPPED 12u /* of an IPv4 address in struct peer */

static const uint8_t arp_kind[6] = {0, 1, 8, 0, 6, 4}; /* Ethernet, IPv4 */

static uint32_t ask_arp(const struct peer *peer, uint8_t *frame)
{
    uint8_t *arp = frame + FRAME_ETH_SIZE;

    memset(frame + ETH_DST, 0xff, 6);
    memcpy(frame + ETH_SRC, peer->local_mac, 6);
    put_be16(frame + ETH_TYPE, TYPE_ARP);
    memcpy(arp, arp_kind, sizeof(arp_kind));
    put_be16(arp + ARP_OP, 1);
    memcpy(arp + ARP_SENDER_MAC, peer->local_mac, 6);
    memcpy(arp + ARP_SENDER_IP, peer->local_ip + MAPPED, 4);
    memset(arp + ARP_TARGET_MAC, 0, 6);
    memcpy(arp + ARP_TARGET_IP, peer->ip + MAPPED, 4);
    return FRAME_ETH_SIZE + ARP_SIZE;
}

static uint32_t solicit(const struct peer *peer, uint8_t *frame)
{
    static const uint8_t group[13] = {0xff, 2, [11] = 1, [12] = 0xff};
    uint8_t *ip = frame + FRAME_ETH_SIZE, *nd = ip + FRAME_IP6_SIZE;
    uint32_t size = ND_SIZE + 8;
    uint16_t checksum;
    uint64_t sum;

    memset(frame, 0, FRAME_ETH_SIZE + FRAME_IP6_SIZE + size);
    put_be16(frame + ETH_DST, 0x3333);
    frame[ETH_DST + 2] = 0xff;
    memcpy(frame + ETH_DST + 3, peer->ip + 13, 3);
    memcpy(frame + ETH_SRC, peer->local_mac, 6);
    put_be16(frame + ETH_TYPE, TYPE_IP6);
    put_be32(ip, 6u << 28);
    put_be16(ip + IP6_LEN, (uint16_t)size);
    ip[IP6_NEXT] = PROTO_ICMP6;
    ip[IP6_HOPS] = 255;
    memcpy(ip + IP6_SRC, peer->local_ip, 16);
    memcpy(ip + IP6_DST, group, sizeof(group));
    memcpy(ip + IP6_DST + sizeof(group), peer->ip + 13, 3);
    nd[0] = ICMP6_SOLICITATION;
    memcpy(nd + ND_TARGET, peer->ip, 16);
    nd[ND_SIZE] = ND_SOURCE_MAC;
    nd[ND_SIZE + 1] = 1;
    memcpy(nd + ND_SIZE + 2, peer->local_mac, 6);
    sum = checksum_add(checksum_pseudo(PROTO_ICMP6, size), ip + IP6_SRC, 32);
    checksum = (uint16_t)~checksum_fold(checksum_add(sum, nd, size));
    memcpy(nd + ICMP_CHECKSUM, &checksum, sizeof(checksum));
    return FRAME_ETH_SIZE + FRAME_IP6_SIZE + size;
}

uint32_t neighbour_ask(const struct peer *peer, uint8_t frame[NEIGHBOUR_FRAME_MAX])
{
    return peer->ipv6 ? solicit(peer, frame) : ask_arp(peer, frame);
}

static bool told_by_arp(struct peer *peer, const uint8_t *frame, uint32_t len)
{
    const uint8_t *arp = frame + FRAME_ETH_SIZE;

    if (len < FRAME_ETH_SIZE + ARP_SIZE || memcmp(arp, arp_kind, sizeof(arp_kind)) != 0 ||
        memcmp(arp + ARP_SENDER_IP, peer->ip + MAPPED, 4) != 0 || arp[ARP_SENDER_MAC] & 1)
        return false;
    memcpy(peer->mac, arp + ARP_SENDER_MAC, 6);
    return true;
}

static bool told_by_nd(struct peer *peer, const uint8_t *frame, uint32_t len)
{
    const uint8_t *ip = frame + FRAME_ETH_SIZE, *nd = ip + FRAME_IP6_SIZE;
    uint32_t size;
    uint64_t sum;

    if (len < FRAME_ETH_SIZE + FRAME_IP6_SIZE + ND_SIZE || ip[0] >> 4 != 6 ||
        ip[IP6_NEXT] != PROTO_ICMP6 || ip[IP6_HOPS] != 255 || nd[0] != ICMP6_ADVERTISEMENT)
        return false;
    size = get_be16(ip + IP6_LEN);
    if (size < ND_SIZE || size > len - FRAME_ETH_SIZE - FRAME_IP6_SIZE ||
        memcmp(nd + ND_TARGET, peer->ip, 16) != 0)
        return false;
    sum = checksum_add(checksum_pseudo(PROTO_ICMP6, size), ip + IP6_SRC, 32);
    if (checksum_fold(checksum_add(sum, nd, size)) != 0xffff)
        return false;
    /* An advertisement may leave its MAC to the Ethernet header. */
    if (size >= ND_SIZE + 8 && nd[ND_SIZE] == ND_TARGET_MAC && nd[ND_SIZE + 1] == 1)
        memcpy(peer->mac, nd + ND_SIZE + 2, 6);
    else
        memcpy(peer->mac, frame + ETH_SRC, 6);
    return !(peer->mac[0] & 1);
}

bool neighbour_told(struct peer *peer, const uint8_t *frame, uint32_t len)
{
    uint16_t type;

    if (len < FRAME_ETH_SIZE)
        return false;
    type = get_be16(frame + ETH_TYPE);
    if (peer->ipv6)
        return type == TYPE_IP6 && told_by_nd(peer, frame, len);
    return type == TYPE_ARP && told_by_arp(peer, frame, len);
}
