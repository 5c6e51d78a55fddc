/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a received frame: Ethernet, one priority tag, ARP, IPv4, IPv6, UDP, echo and neighbour
 * solicitation. Every length is checked against the frame before it is used; what is not exactly as
 * a well-behaved neighbour sends it gets a drop reason. */
#include "dataplane/eth/frame.h"

#include <string.h>

#include "base/cacheline.h"
#include "dataplane/eth/address.h"
#include "dataplane/eth/checksum.h"
#include "dataplane/eth/usual.h"
#include "dataplane/eth/wire.h"

struct reader {
    const struct frame_self *self;
    const uint8_t *frame, *l3;
    uint32_t left; /* bytes from l3 on */
    unsigned checked;
    struct frame_view *view;
    struct peer *peer;
};

static enum frame_kind drop(struct reader *r, enum drop_reason reason)
{
    r->view->reason = reason;
    return FRAME_DROP;
}

void frame_self_set_ip4(struct frame_self *self, const uint8_t ip4[4], unsigned prefix)
{
    uint32_t host_bits = prefix >= 32 ? 0 : 0xffffffffu >> prefix;
    uint32_t broadcast = get_be32(ip4) | host_bits;

    self->has_ip4 = true;
    memcpy(self->ip4, ip4, 4);
    /* Subnets of one or two addresses have no broadcast address. */
    put_be32(self->broadcast4, prefix < 31 ? broadcast : 0xffffffffu);
    memset(self->mapped4, 0, 10);
    memset(self->mapped4 + 10, 0xff, 2);
    memcpy(self->mapped4 + 12, ip4, 4);
}

static bool same_ip6(const uint8_t *a, const uint8_t *b)
{
    uint64_t x[2], y[2];

    memcpy(x, a, sizeof(x));
    memcpy(y, b, sizeof(y));
    return !((x[0] ^ y[0]) | (x[1] ^ y[1]));
}

static bool to_our_mac(const struct reader *r)
{
    return !memcmp(r->frame + ETH_DST, r->self->mac, 6);
}

static bool source_mac_valid(const struct reader *r)
{
    static const uint8_t zero[6];
    const uint8_t *mac = r->frame + ETH_SRC;

    return !(mac[0] & 1) && memcmp(mac, zero, 6) && memcmp(mac, r->self->mac, 6);
}

static bool source4_valid(const struct reader *r, const uint8_t *ip)
{
    return address4_is_host(ip) && memcmp(ip, r->self->ip4, 4) &&
           memcmp(ip, r->self->broadcast4, 4);
}

static bool source6_valid(const struct reader *r, const uint8_t *ip)
{
    return address6_is_host(ip) && !same_ip6(ip, r->self->ip6);
}

static enum frame_kind read_arp(struct reader *r)
{
    static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1}; /* Ethernet, IPv4, who-has */
    const uint8_t *arp = r->l3;

    if (r->left < ARP_SIZE)
        return drop(r, DROP_ip_truncated);
    if (memcmp(arp, request, sizeof(request)) || !r->self->has_ip4 ||
        memcmp(arp + ARP_TARGET_IP, r->self->ip4, 4))
        return drop(r, DROP_not_ours);
    if (!to_our_mac(r) && !(r->frame[ETH_DST] & 1))
        return drop(r, DROP_not_ours);
    if (memcmp(arp + ARP_SENDER_MAC, r->frame + ETH_SRC, 6) ||
        !source4_valid(r, arp + ARP_SENDER_IP))
        return drop(r, DROP_bad_source);
    return FRAME_ARP;
}

static uint64_t pseudo_sum(const uint8_t *addresses, uint32_t size, uint8_t protocol, uint32_t len)
{
    return checksum_add(checksum_pseudo(protocol, len), addresses, size);
}

/* Whether the UDP checksum is right, or known to be, or rightly absent. */
static inline __attribute__((always_inline)) bool
udp_checksum_good(const struct reader *r, const uint8_t *udp, uint32_t len, bool ipv6)
{
    uint64_t pseudo;
    uint16_t sent;

    memcpy(&sent, udp + UDP_CHECKSUM, sizeof(sent));
    if (!sent)
        return !ipv6;
    if (r->checked & FRAME_L4_GOOD)
        return true;
    pseudo = ipv6 ? pseudo_sum(r->l3 + IP6_SRC, 32, PROTO_UDP, len)
                  : pseudo_sum(r->l3 + IP4_SRC, 8, PROTO_UDP, len);
    if (likely(checksum_fold(checksum_add(pseudo, udp, len)) == 0xffff))
        return true;
    return r->checked & FRAME_PARTIAL_ALLOWED && sent == checksum_fold(pseudo);
}

static inline __attribute__((always_inline)) enum frame_kind
read_udp(struct reader *r, uint32_t head, uint32_t size, bool ipv6)
{
    const uint8_t *udp = r->l3 + head;
    uint32_t len;
    uint16_t port;

    if (size < FRAME_UDP_SIZE)
        return drop(r, DROP_udp_truncated);
    len = get_be16(udp + UDP_LEN);
    if (len < FRAME_UDP_SIZE || len > size)
        return drop(r, DROP_udp_truncated);
    port = get_be16(udp + UDP_DST);
    if ((uint16_t)(port - r->self->first_port) >= r->self->nr_ports)
        return drop(r, DROP_udp_port);
    if (!udp_checksum_good(r, udp, len, ipv6))
        return drop(r, DROP_udp_checksum);
    if (!get_be16(udp + UDP_SRC))
        return drop(r, DROP_bad_source);
    r->view->payload_off = (uint32_t)(udp - r->frame) + FRAME_UDP_SIZE;
    r->view->payload_len = len - FRAME_UDP_SIZE;
    r->peer->port = get_be16(udp + UDP_SRC);
    r->peer->local_port = port;
    r->peer->ipv6 = ipv6;
    r->peer->usual = false;
    memcpy(r->peer->mac, r->frame + ETH_SRC, 6);
    memcpy(r->peer->local_mac, r->self->mac, 6);
    return FRAME_DATAGRAM;
}

static enum frame_kind read_echo(struct reader *r, uint32_t head, uint32_t size, uint64_t pseudo,
                                 uint8_t type, bool ipv6)
{
    const uint8_t *icmp = r->l3 + head;

    if (size < ICMP_SIZE)
        return drop(r, DROP_ip_truncated);
    if (icmp[0] != type || icmp[1] != 0)
        return drop(r, DROP_not_udp);
    if (checksum_fold(checksum_add(pseudo, icmp, size)) != 0xffff)
        return drop(r, DROP_udp_checksum);
    r->view->ipv6 = ipv6;
    return FRAME_ECHO;
}

static inline __attribute__((always_inline)) enum frame_kind read_ip4(struct reader *r)
{
    const uint8_t *ip = r->l3;
    uint32_t total;

    if (r->left < FRAME_IP4_SIZE)
        return drop(r, DROP_ip_truncated);
    if (unlikely(ip[0] != 0x45))
        return drop(r, ip[0] >> 4 != 4    ? DROP_not_ip
                       : (ip[0] & 15) < 5 ? DROP_ip_truncated
                                          : DROP_ip_options);
    total = get_be16(ip + IP4_TOTAL);
    if (total < FRAME_IP4_SIZE || total > r->left)
        return drop(r, DROP_ip_truncated);
    if (!(r->checked & FRAME_IP_GOOD) &&
        checksum_fold(checksum_add(0, ip, FRAME_IP4_SIZE)) != 0xffff)
        return drop(r, DROP_ip_checksum);
    if (!to_our_mac(r) || !r->self->has_ip4 || memcmp(ip + IP4_DST, r->self->ip4, 4))
        return drop(r, DROP_not_ours);
    if (get_be16(ip + IP4_FRAGMENT) & IP4_FRAGMENT_MASK)
        return drop(r, DROP_ip_fragment);
    if (!source4_valid(r, ip + IP4_SRC))
        return drop(r, DROP_bad_source);
    if (unlikely(ip[IP4_PROTO] != PROTO_UDP))
        return ip[IP4_PROTO] == PROTO_ICMP
                   ? read_echo(r, FRAME_IP4_SIZE, total - FRAME_IP4_SIZE, 0, ICMP_ECHO, false)
                   : drop(r, DROP_not_udp);
    memset(r->peer->ip, 0, 10);
    memset(r->peer->ip + 10, 0xff, 2);
    memcpy(r->peer->ip + 12, ip + IP4_SRC, 4);
    memcpy(r->peer->local_ip, r->self->mapped4, 16);
    return read_udp(r, FRAME_IP4_SIZE, total - FRAME_IP4_SIZE, false);
}

/* Whether the options are well-formed; mac: the source link-layer address among them, or NULL. */
static bool read_nd_options(const uint8_t *option, uint32_t left, const uint8_t **mac)
{
    *mac = NULL;
    while (left) {
        uint32_t size = left < 8 ? 0 : option[1] * 8u;

        if (!size || size > left)
            return false;
        if (option[0] == ND_SOURCE_MAC && size == 8)
            *mac = option + 2;
        option += size;
        left -= size;
    }
    return true;
}

/* RFC 4861, 7.1.1; solicitations of hosts that have no address yet are left to them. */
static enum frame_kind read_solicitation(struct reader *r, uint32_t size, uint64_t pseudo,
                                         bool multicast)
{
    const uint8_t *nd = r->l3 + FRAME_IP6_SIZE, *mac;

    if (size < ND_SIZE || nd[1] != 0 || r->l3[IP6_HOPS] != 255 ||
        !read_nd_options(nd + ND_SIZE, size - ND_SIZE, &mac))
        return drop(r, DROP_ip_truncated);
    if (checksum_fold(checksum_add(pseudo, nd, size)) != 0xffff)
        return drop(r, DROP_udp_checksum);
    if (!same_ip6(nd + ND_TARGET, r->self->ip6))
        return drop(r, DROP_not_ours);
    if (mac ? memcmp(mac, r->frame + ETH_SRC, 6) != 0 : multicast)
        return drop(r, DROP_bad_source);
    r->view->with_target = mac != NULL;
    return FRAME_SOLICITATION;
}

static enum frame_kind read_icmp6(struct reader *r, uint32_t size, bool multicast)
{
    const uint8_t *icmp = r->l3 + FRAME_IP6_SIZE;
    uint64_t pseudo = pseudo_sum(r->l3 + IP6_SRC, 32, PROTO_ICMP6, size);

    if (size < ICMP_SIZE)
        return drop(r, DROP_ip_truncated);
    if (icmp[0] == ICMP6_SOLICITATION)
        return read_solicitation(r, size, pseudo, multicast);
    if (multicast)
        return drop(r, DROP_not_ours);
    return read_echo(r, FRAME_IP6_SIZE, size, pseudo, ICMP6_ECHO, true);
}

static bool to_our_solicited_node(const struct reader *r)
{
    static const uint8_t prefix[13] = {0xff, 2, [11] = 1, [12] = 0xff};
    const uint8_t *dst = r->l3 + IP6_DST, *mac = r->frame + ETH_DST;

    return !memcmp(dst, prefix, 13) && !memcmp(dst + 13, r->self->ip6 + 13, 3) &&
           (to_our_mac(r) || (mac[0] == 0x33 && mac[1] == 0x33 && !memcmp(mac + 2, dst + 12, 4)));
}

static enum frame_kind read_ip6(struct reader *r)
{
    const uint8_t *ip = r->l3;
    bool multicast = false;
    uint32_t size;

    if (r->left < FRAME_IP6_SIZE)
        return drop(r, DROP_ip_truncated);
    if (ip[0] >> 4 != 6)
        return drop(r, DROP_not_ip);
    size = get_be16(ip + IP6_LEN);
    if (size > r->left - FRAME_IP6_SIZE)
        return drop(r, DROP_ip_truncated);
    if (!r->self->has_ip6)
        return drop(r, DROP_not_ours);
    if (!to_our_mac(r) || !same_ip6(ip + IP6_DST, r->self->ip6)) {
        multicast = to_our_solicited_node(r);
        if (!multicast)
            return drop(r, DROP_not_ours);
    }
    if (!source6_valid(r, ip + IP6_SRC))
        return drop(r, DROP_bad_source);
    switch (ip[IP6_NEXT]) {
    case PROTO_ICMP6:
        return read_icmp6(r, size, multicast);
    case PROTO_UDP:
        if (multicast)
            return drop(r, DROP_not_ours);
        memcpy(r->peer->ip, ip + IP6_SRC, 16);
        memcpy(r->peer->local_ip, r->self->ip6, 16);
        return read_udp(r, FRAME_IP6_SIZE, size, true);
    case PROTO_FRAGMENT:
        return drop(r, DROP_ip_fragment);
    case PROTO_HOP_OPTIONS:
    case PROTO_ROUTING:
    case PROTO_AUTH:
    case PROTO_DST_OPTIONS:
        return drop(r, DROP_ip_options);
    default:
        return drop(r, DROP_not_udp);
    }
}

/* The bits of byte `at` of a head that count in a frame_usual, and what they have to be. */
static void usual_demand(struct frame_usual *usual, unsigned at, uint8_t mask, uint8_t want)
{
    unsigned vector = at >= USUAL_SECOND;

    at -= vector ? USUAL_SECOND : 0;
    ((uint8_t *)&usual->mask[vector])[at] = mask;
    ((uint8_t *)&usual->want[vector])[at] = want & mask;
}

void frame_usual_make(const struct frame_self *self, struct frame_usual *usual)
{
    const unsigned ip = FRAME_ETH_SIZE;

    *usual = (struct frame_usual){
        .mac = usual_mac(self->mac),
        .ip = usual_half(self->ip4),
        .broadcast = usual_half(self->broadcast4),
        .first_port = self->first_port,
        .nr_ports = self->has_ip4 ? self->nr_ports : 0,
    };
    memcpy(usual->mapped4, self->mapped4, sizeof(usual->mapped4));
    for (unsigned i = 0; i < 6; i++)
        usual_demand(usual, ETH_DST + i, 0xff, self->mac[i]);
    usual_demand(usual, ETH_SRC, 1, 0); /* no group */
    usual_demand(usual, ETH_TYPE, 0xff, TYPE_IP4 >> 8);
    usual_demand(usual, ETH_TYPE + 1, 0xff, TYPE_IP4 & 0xff);
    usual_demand(usual, ip, 0xff, 0x45);
    usual_demand(usual, ip + IP4_FRAGMENT, IP4_FRAGMENT_MASK >> 8, 0);
    usual_demand(usual, ip + IP4_FRAGMENT + 1, IP4_FRAGMENT_MASK & 0xff, 0);
    usual_demand(usual, ip + IP4_PROTO, 0xff, PROTO_UDP);
    for (unsigned i = 0; i < 4; i++)
        usual_demand(usual, ip + IP4_DST + i, 0xff, self->ip4[i]);
}
_Static_assert(FRAME_ETH_SIZE + IP4_FRAGMENT == USUAL_SECOND &&
                   FRAME_ETH_SIZE + IP4_DST + 4 <= USUAL_SECOND + sizeof(frame_bytes) &&
                   offsetof(struct frame_self, mac) + 8 <= sizeof(struct frame_self),
               "what counts lies in the two vectors, and a MAC is read as a word");

enum frame_kind frame_parse(const struct frame_self *self, const uint8_t *frame, uint32_t len,
                            unsigned checked, struct frame_view *view, struct peer *peer)
{
    struct reader r = {
        .self = self, .frame = frame, .checked = checked, .view = view, .peer = peer};
    uint16_t type;

    if (unlikely(len < FRAME_ETH_SIZE))
        return drop(&r, DROP_not_ip);
    view->l3 = FRAME_ETH_SIZE;
    type = get_be16(frame + ETH_TYPE);
    if (unlikely(type == TYPE_VLAN)) {
        /* A tag that only carries a priority belongs to no VLAN. */
        if (len < FRAME_ETH_SIZE + VLAN_SIZE || get_be16(frame + FRAME_ETH_SIZE) & 0x0fff)
            return drop(&r, DROP_not_ours);
        type = get_be16(frame + ETH_TYPE + VLAN_SIZE);
        view->l3 += VLAN_SIZE;
    }
    r.l3 = frame + view->l3;
    r.left = len - view->l3;
    if (unlikely(!source_mac_valid(&r)))
        return drop(&r, DROP_bad_source);
    if (likely(type == TYPE_IP4))
        return read_ip4(&r);
    if (type == TYPE_IP6)
        return read_ip6(&r);
    return type == TYPE_ARP ? read_arp(&r) : drop(&r, DROP_not_ip);
}
