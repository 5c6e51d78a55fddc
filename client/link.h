/* SPDX-License-Identifier: Apache-2.0 */
/* The way towards one partition, and the table of functions that its datagrams travel by. */
#pragma once

#include "client/handle.h"

/* Nothing here waits, and nothing fails but open: what does not leave counts as lost. */
struct wire {
    /* Towards link->partition of the client's server. Lowers client->mtu_payload to what one
     * datagram carries. 0 or -errno. */
    int (*open)(struct link *link);
    void (*close)(struct link *link);
    /* Sends what link->out holds, which is empty then. */
    void (*transmit)(struct link *link);
    void (*send)(struct link *link, const uint8_t *bytes, uint32_t len);
    /* Hands what has arrived to link_accept; IN_MAX: there may be more. */
    unsigned (*receive)(struct link *link);
};

extern const struct wire wire_udp;  /* sockets: connected, sendmmsg with GSO, recvmmsg */
extern const struct wire wire_ring; /* the rings of shared memory */

/* 0 or -errno. */
[[nodiscard]] int link_open(struct kvr_client *client, uint16_t partition);
void link_close(struct kvr_client *client, uint16_t partition);

/* Queues a sealed datagram; link_transmit or a full queue sends. */
void link_push(struct link *link, struct datagram *datagram);
/* A datagram came in: checks it and hands it on to session and datagrams. bytes: 8-byte aligned. */
void link_accept(struct link *link, const uint8_t *bytes, uint32_t len);

static inline void link_transmit(struct link *link)
{
    if (link->nr_out > 0)
        link->client->wire->transmit(link);
}

/* Sends one datagram at once, errors ignored: it will be repeated or is not important. */
static inline void link_send(struct link *link, const uint8_t *bytes, uint32_t len)
{
    link->client->wire->send(link, bytes, len);
}

/* Whatever has arrived. Returns how many datagrams. */
static inline unsigned link_receive(struct link *link)
{
    return link->client->wire->receive(link);
}

/* wire_ring.c: whether the server has yet to take the datagram's last send. */
bool ring_waits(const struct datagram *datagram);
/* Waits until something has come in on any link, and takes it, or until then; at times for nothing.
 */
void ring_wait(struct kvr_client *client, uint64_t until_ns);
