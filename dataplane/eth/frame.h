/* SPDX-License-Identifier: Apache-2.0 */
/* Ethernet frames as bytes: reads what arrived, answers ARP, neighbour solicitations and ping in
 * place, writes the headers of reply datagrams. Pure functions on hostile input, no DPDK, any
 * thread; no answer is longer than the frame that asked. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/request.h"
#include "shm/stats.h"

/* Who we are on the wire. */
struct frame_self {
    uint8_t mac[6]; /* read as a word together with the next two */
    bool has_ip4, has_ip6;
    uint8_t ip4[4], broadcast4[4]; /* broadcast4: of the own subnet */
    uint8_t ip6[16];
    uint8_t mapped4[16];           /* ip4 as struct peer writes it */
    uint16_t first_port, nr_ports; /* UDP */
};

/* prefix: of the own subnet, 1 .. 32. */
void frame_self_set_ip4(struct frame_self *self, const uint8_t ip4[4], unsigned prefix);

enum frame_kind {
    FRAME_DROP,     /* view.reason */
    FRAME_DATAGRAM, /* view.payload, and peer is filled */
    FRAME_ARP,      /* these are answered with frame_answer */
    FRAME_SOLICITATION,
    FRAME_ECHO,
};

/* What the device already found out about a frame. */
#define FRAME_IP_GOOD 0x01u         /* IPv4 header checksum */
#define FRAME_L4_GOOD 0x02u         /* UDP checksum, or the data never left this host */
#define FRAME_PARTIAL_ALLOWED 0x04u /* the sender may have left the checksum to absent hardware */

struct frame_view {
    enum drop_reason reason;
    uint32_t l3;                       /* offset of the IP or ARP header */
    uint32_t payload_off, payload_len; /* of the UDP datagram */
    bool ipv6;                         /* FRAME_ECHO */
    bool with_target;                  /* FRAME_SOLICITATION: the answer carries our MAC */
};

/* checked: FRAME_* bits. peer is written for FRAME_DATAGRAM only. */
enum frame_kind frame_parse(const struct frame_self *self, const uint8_t *frame, uint32_t len,
                            unsigned checked, struct frame_view *view, struct peer *peer);

/* Turns a frame of kind ARP, SOLICITATION or ECHO into its answer; returns the answer's length. */
uint32_t frame_answer(const struct frame_self *self, enum frame_kind kind,
                      const struct frame_view *view, uint8_t *frame);

/* Unasked announcements of the own addresses, for switches and neighbours; both return the length.
 */
#define FRAME_ANNOUNCE_MAX 86u
uint32_t frame_announce_ip4(const struct frame_self *self, uint8_t frame[FRAME_ANNOUNCE_MAX]);
uint32_t frame_announce_ip6(const struct frame_self *self, uint8_t frame[FRAME_ANNOUNCE_MAX]);

/* Headers of a datagram to a peer. */
#define FRAME_ETH_SIZE 14u
#define FRAME_IP4_SIZE 20u
#define FRAME_IP6_SIZE 40u
#define FRAME_UDP_SIZE 8u
#define FRAME_HEAD_MAX (FRAME_ETH_SIZE + FRAME_IP6_SIZE + FRAME_UDP_SIZE)

enum frame_checksum {
    CHECKSUM_NONE,     /* IPv4: zero, which UDP allows there. Not for IPv6 */
    CHECKSUM_PSEUDO,   /* the device sums the rest, and the IPv4 header */
    CHECKSUM_SOFTWARE, /* here, from the payload's sum */
};

/* Of a frame whose payload starts here the head has no surprises: IPv4 without tag or options. */
#define FRAME_USUAL_SIZE (FRAME_ETH_SIZE + FRAME_IP4_SIZE + FRAME_UDP_SIZE)

static inline uint32_t frame_head_size(const struct peer *peer)
{
    return FRAME_ETH_SIZE + FRAME_UDP_SIZE + (peer->ipv6 ? FRAME_IP6_SIZE : FRAME_IP4_SIZE);
}

/* Writes frame_head_size(peer) bytes for a payload of len bytes; payload_sum: its checksum_add sum,
 * for CHECKSUM_SOFTWARE. */
void frame_write_head(uint8_t *head, const struct peer *peer, uint32_t len,
                      enum frame_checksum checksum, uint64_t payload_sum);
