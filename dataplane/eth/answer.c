/* SPDX-License-Identifier: Apache-2.0 */
/* What the port says by itself: ARP replies, neighbour advertisements, echo replies, all written
 * over the frame that asked, and announcements. Only what frame_parse accepted comes here. */
#include <string.h>

#include "dataplane/eth/checksum.h"
#include "dataplane/eth/frame.h"
#include "dataplane/eth/wire.h"

static void turn_ethernet(const struct frame_self *self, uint8_t *frame)
{
    memcpy(frame + ETH_DST, frame + ETH_SRC, 6);
    memcpy(frame + ETH_SRC, self->mac, 6);
}

static uint32_t answer_arp(const struct frame_self *self, uint8_t *frame, uint8_t *arp)
{
    turn_ethernet(self, frame);
    put_be16(arp + ARP_OP, 2);
    memcpy(arp + ARP_TARGET_MAC, arp + ARP_SENDER_MAC, 6);
    memcpy(arp + ARP_TARGET_IP, arp + ARP_SENDER_IP, 4);
    memcpy(arp + ARP_SENDER_MAC, self->mac, 6);
    memcpy(arp + ARP_SENDER_IP, self->ip4, 4);
    return (uint32_t)(arp - frame) + ARP_SIZE;
}

static void sum_icmp6(uint8_t *ip, uint32_t size)
{
    uint8_t *icmp = ip + FRAME_IP6_SIZE;
    uint16_t checksum;
    uint64_t sum;

    memset(icmp + ICMP_CHECKSUM, 0, 2);
    sum = checksum_add(checksum_pseudo(PROTO_ICMP6, size), ip + IP6_SRC, 32);
    checksum = (uint16_t)~checksum_fold(checksum_add(sum, icmp, size));
    memcpy(icmp + ICMP_CHECKSUM, &checksum, sizeof(checksum));
}

static void write_ip6(uint8_t *ip, uint32_t size, uint8_t next, uint8_t hops)
{
    put_be32(ip, 6u << 28);
    put_be16(ip + IP6_LEN, (uint16_t)size);
    ip[IP6_NEXT] = next;
    ip[IP6_HOPS] = hops;
}

static void write_ip4(uint8_t *ip, uint32_t total, uint8_t proto)
{
    put_be16(ip, 0x4500);
    put_be16(ip + IP4_TOTAL, (uint16_t)total);
    put_be16(ip + IP4_ID, 0);
    put_be16(ip + IP4_FRAGMENT, IP4_DONT_FRAGMENT);
    ip[IP4_TTL] = 64;
    ip[IP4_PROTO] = proto;
    memset(ip + IP4_CHECKSUM, 0, 2);
}

static void sum_ip4(uint8_t *ip)
{
    uint16_t checksum = (uint16_t)~checksum_fold(checksum_add(0, ip, FRAME_IP4_SIZE));

    memcpy(ip + IP4_CHECKSUM, &checksum, sizeof(checksum));
}

static uint32_t answer_solicitation(const struct frame_self *self, const struct frame_view *view,
                                    uint8_t *frame, uint8_t *ip)
{
    uint8_t *nd = ip + FRAME_IP6_SIZE;
    uint32_t size = ND_SIZE + (view->with_target ? 8u : 0u);

    turn_ethernet(self, frame);
    write_ip6(ip, size, PROTO_ICMP6, 255);
    memcpy(ip + IP6_DST, ip + IP6_SRC, 16);
    memcpy(ip + IP6_SRC, self->ip6, 16);
    nd[0] = ICMP6_ADVERTISEMENT;
    put_be32(nd + ND_FLAGS, (uint32_t)(ND_FLAG_SOLICITED | ND_FLAG_OVERRIDE) << 24);
    if (view->with_target) {
        nd[ND_SIZE] = ND_TARGET_MAC;
        nd[ND_SIZE + 1] = 1;
        memcpy(nd + ND_SIZE + 2, self->mac, 6);
    }
    sum_icmp6(ip, size);
    return (uint32_t)(nd - frame) + size;
}

static uint32_t answer_echo4(const struct frame_self *self, uint8_t *frame, uint8_t *ip)
{
    uint8_t *icmp = ip + FRAME_IP4_SIZE;
    uint32_t total = get_be16(ip + IP4_TOTAL);
    uint16_t checksum;

    turn_ethernet(self, frame);
    write_ip4(ip, total, PROTO_ICMP);
    memcpy(ip + IP4_DST, ip + IP4_SRC, 4);
    memcpy(ip + IP4_SRC, self->ip4, 4);
    sum_ip4(ip);
    icmp[0] = ICMP_ECHO_REPLY;
    memset(icmp + ICMP_CHECKSUM, 0, 2);
    checksum = (uint16_t)~checksum_fold(checksum_add(0, icmp, total - FRAME_IP4_SIZE));
    memcpy(icmp + ICMP_CHECKSUM, &checksum, sizeof(checksum));
    return (uint32_t)(ip - frame) + total;
}

static uint32_t answer_echo6(const struct frame_self *self, uint8_t *frame, uint8_t *ip)
{
    uint32_t size = get_be16(ip + IP6_LEN);

    turn_ethernet(self, frame);
    write_ip6(ip, size, PROTO_ICMP6, 64);
    memcpy(ip + IP6_DST, ip + IP6_SRC, 16);
    memcpy(ip + IP6_SRC, self->ip6, 16);
    ip[FRAME_IP6_SIZE] = ICMP6_ECHO_REPLY;
    sum_icmp6(ip, size);
    return (uint32_t)(ip - frame) + FRAME_IP6_SIZE + size;
}

uint32_t frame_answer(const struct frame_self *self, enum frame_kind kind,
                      const struct frame_view *view, uint8_t *frame)
{
    uint8_t *l3 = frame + view->l3;

    if (kind == FRAME_ARP)
        return answer_arp(self, frame, l3);
    if (kind == FRAME_SOLICITATION)
        return answer_solicitation(self, view, frame, l3);
    return view->ipv6 ? answer_echo6(self, frame, l3) : answer_echo4(self, frame, l3);
}

uint32_t frame_announce_ip4(const struct frame_self *self, uint8_t frame[FRAME_ANNOUNCE_MAX])
{
    static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint8_t *arp = frame + FRAME_ETH_SIZE;

    memset(frame + ETH_DST, 0xff, 6);
    memcpy(frame + ETH_SRC, self->mac, 6);
    put_be16(frame + ETH_TYPE, TYPE_ARP);
    memcpy(arp, request, sizeof(request));
    memcpy(arp + ARP_SENDER_MAC, self->mac, 6);
    memcpy(arp + ARP_SENDER_IP, self->ip4, 4);
    memset(arp + ARP_TARGET_MAC, 0, 6);
    memcpy(arp + ARP_TARGET_IP, self->ip4, 4);
    return FRAME_ETH_SIZE + ARP_SIZE;
}

uint32_t frame_announce_ip6(const struct frame_self *self, uint8_t frame[FRAME_ANNOUNCE_MAX])
{
    static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
    static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
    uint8_t *ip = frame + FRAME_ETH_SIZE, *nd = ip + FRAME_IP6_SIZE;

    memcpy(frame + ETH_DST, all_nodes_mac, 6);
    memcpy(frame + ETH_SRC, self->mac, 6);
    put_be16(frame + ETH_TYPE, TYPE_IP6);
    write_ip6(ip, ND_SIZE + 8, PROTO_ICMP6, 255);
    memcpy(ip + IP6_SRC, self->ip6, 16);
    memcpy(ip + IP6_DST, all_nodes, 16);
    memset(nd, 0, ND_SIZE + 8);
    nd[0] = ICMP6_ADVERTISEMENT;
    nd[ND_FLAGS] = ND_FLAG_OVERRIDE;
    memcpy(nd + ND_TARGET, self->ip6, 16);
    nd[ND_SIZE] = ND_TARGET_MAC;
    nd[ND_SIZE + 1] = 1;
    memcpy(nd + ND_SIZE + 2, self->mac, 6);
    sum_icmp6(ip, ND_SIZE + 8);
    return FRAME_ETH_SIZE + FRAME_IP6_SIZE + ND_SIZE + 8;
}

/* addresses: their sum, without the rest of the pseudo header. Sums are made from the values, not
 * from the bytes: those were just written, and to load them at another width would stall. */
static void write_udp(uint8_t *udp, const struct peer *peer, uint32_t len,
                      enum frame_checksum checksum, uint64_t addresses, uint64_t payload_sum)
{
    uint16_t udp_len = (uint16_t)(len + FRAME_UDP_SIZE), sum = 0;
    uint64_t own =
        checksum_field(peer->local_port) + checksum_field(peer->port) + checksum_field(udp_len);
    uint64_t pseudo = checksum_join(addresses, checksum_pseudo(PROTO_UDP, udp_len));

    put_be16(udp + UDP_SRC, peer->local_port);
    put_be16(udp + UDP_DST, peer->port);
    put_be16(udp + UDP_LEN, udp_len);
    if (checksum == CHECKSUM_PSEUDO) {
        sum = checksum_fold(pseudo);
    } else if (checksum == CHECKSUM_SOFTWARE) {
        sum = (uint16_t)~checksum_fold(checksum_join(pseudo, checksum_join(payload_sum, own)));
        if (!sum)
            sum = 0xffff; /* zero would say that there is none */
    }
    memcpy(udp + UDP_CHECKSUM, &sum, sizeof(sum));
}

static void write_head4(uint8_t *ip, const struct peer *peer, uint32_t len,
                        enum frame_checksum checksum, uint64_t payload_sum)
{
    uint32_t total = FRAME_IP4_SIZE + FRAME_UDP_SIZE + len;
    uint64_t addresses = checksum_add(checksum_add(0, peer->local_ip + 12, 4), peer->ip + 12, 4);
    uint16_t sum;

    write_ip4(ip, total, PROTO_UDP);
    memcpy(ip + IP4_SRC, peer->local_ip + 12, 4);
    memcpy(ip + IP4_DST, peer->ip + 12, 4);
    if (checksum != CHECKSUM_PSEUDO) {
        sum = (uint16_t)~checksum_fold(
            addresses + checksum_field(0x4500) + checksum_field((uint16_t)total) +
            checksum_field(IP4_DONT_FRAGMENT) + checksum_field(64 << 8 | PROTO_UDP));
        memcpy(ip + IP4_CHECKSUM, &sum, sizeof(sum));
    }
    write_udp(ip + FRAME_IP4_SIZE, peer, len, checksum, addresses, payload_sum);
}

static void write_head6(uint8_t *ip, const struct peer *peer, uint32_t len,
                        enum frame_checksum checksum, uint64_t payload_sum)
{
    uint64_t addresses = checksum_add(checksum_add(0, peer->local_ip, 16), peer->ip, 16);

    write_ip6(ip, len + FRAME_UDP_SIZE, PROTO_UDP, 64);
    memcpy(ip + IP6_SRC, peer->local_ip, 16);
    memcpy(ip + IP6_DST, peer->ip, 16);
    write_udp(ip + FRAME_IP6_SIZE, peer, len, checksum, addresses, payload_sum);
}

void frame_write_head(uint8_t *head, const struct peer *peer, uint32_t len,
                      enum frame_checksum checksum, uint64_t payload_sum)
{
    memcpy(head + ETH_DST, peer->mac, 6);
    memcpy(head + ETH_SRC, peer->local_mac, 6);
    put_be16(head + ETH_TYPE, peer->ipv6 ? TYPE_IP6 : TYPE_IP4);
    (peer->ipv6 ? write_head6 : write_head4)(head + FRAME_ETH_SIZE, peer, len, checksum,
                                             payload_sum);
}
