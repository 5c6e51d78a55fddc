/* SPDX-License-Identifier: Apache-2.0 */
/* The socket towards one partition: connected, never blocking; sendmmsg with GSO for equal sizes,
 * recvmmsg. */
#pragma once

#include "client/handle.h"

/* Opens the socket to client->address, port + partition. 0 or -errno. */
[[nodiscard]] int link_open(struct kvr_client *client, uint16_t partition);
void link_close(struct kvr_client *client, uint16_t partition);

/* Queues a sealed datagram; link_flush or a full queue sends. */
void link_push(struct link *link, struct datagram *datagram);
void link_transmit(struct link *link);
/* Sends one datagram at once, errors ignored: it will be repeated or is not important. */
void link_send(struct link *link, const uint8_t *bytes, uint32_t len);
/* Whatever has arrived, handed on to session and datagrams. Returns how many datagrams. */
unsigned link_receive(struct link *link);
/* Asks the kernel for the path's MTU. */
void link_measure(struct link *link);
