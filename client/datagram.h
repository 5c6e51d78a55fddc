/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams in flight: slots, packing, retransmission, answers. A read is asked again under a new
 * id with only what is still missing; a write repeats itself, id and seq included. */
#pragma once

#include "client/handle.h"

[[nodiscard]] bool datagrams_create(struct kvr_client *client);
void datagrams_destroy(struct kvr_client *client);

/* A slot, or NULL if the limit of datagrams is reached or there is no memory. */
struct datagram *datagram_take(struct link *link, enum traffic traffic, uint8_t priority);
/* One more task in it, about [lo, hi) of its value. */
void datagram_add(struct datagram *datagram, struct task *task, uint32_t lo, uint32_t hi);
/* Builds it from its entries and queues it to be sent. weight: bytes of values it brings back. */
void datagram_launch(struct datagram *datagram, uint32_t weight);
/* Sends it again before its timer says so. Not when datagram_exhausted. */
void datagram_again(struct datagram *datagram);
/* As often sent as the options allow: only its timer is left. */
bool datagram_exhausted(const struct datagram *datagram);
/* n of those bytes arrived. */
void datagram_lighten(struct datagram *datagram, uint32_t n);

/* The entry is answered; the last one frees the slot. */
void datagram_close(struct datagram *datagram, unsigned entry);
/* The task waits for none of its entries any longer. */
void datagram_abandon(struct kvr_client *client, struct task *task);
/* Frees every slot; their numbers are given up, their tasks in no datagram. */
void datagrams_drop(struct kvr_client *client);

/* A checked reply that came in on this link. */
void datagram_answer(struct link *link, const struct checked_reply *reply);
/* Sends again what is due. Sets client->next_due_ns, HELLOs not counted. */
void datagrams_expire(struct kvr_client *client);
/* The link has a new cookie: everything in flight there is sent again. */
void datagrams_hurry(struct link *link);

/* Bytes of the whole datagram. */
static inline uint32_t datagram_len(const struct datagram *datagram)
{
    return datagram->head_len + pad8(datagram->tail_len);
}

/* What every request header of this link says. */
void link_header(const struct link *link, struct kvr_hdr *hdr);
/* Sends a record that nobody waits an answer for. */
void datagram_stray(struct link *link, struct writer *writer, uint32_t seq, uint8_t priority);
