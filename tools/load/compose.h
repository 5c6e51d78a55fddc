/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the request datagram of chosen ops, with libkvrail's own build functions, and notes in its
 * flight what was asked. No DPDK. One thread. */
#pragma once

#include <stdint.h>

#include "client/build.h"
#include "client/order.h"
#include "tools/load/choose.h"
#include "tools/load/flights.h"
#include "tools/load/proof.h"

struct composer {
    const struct load_settings *settings;
    struct kvr_hdr hdr; /* what all datagrams have in common */
    struct kvr_get_req get;
    struct get_form form; /* of a full datagram of GETs */
    uint64_t version;     /* of the next value */
    uint8_t *value;       /* room for the largest */
};

/* What the header of a datagram has of its own. */
struct stamp {
    uint64_t id;
    uint32_t seq, floor; /* 0, or of what writes */
    uint16_t partition;
};

/* -ENOMEM. */
[[nodiscard]] int composer_create(struct composer *c, const struct load_settings *s,
                                  unsigned thread);
void composer_destroy(struct composer *c);

/* The session and its server as they are now. */
void composer_proof(struct composer *c, const struct proof *proof);

/* Of the next value: no two are alike, not of other threads or runs either. */
static inline uint64_t compose_version(struct composer *c)
{
    return c->version++;
}

/* Whether it has to wait for a number. */
static inline bool compose_blocked(const struct chosen *chosen, const struct order *orders)
{
    return chosen->writes && order_full(&orders[chosen->partition]);
}

/* bytes: room for a datagram. Returns its length. Not when compose_blocked. */
uint32_t compose(struct composer *c, const struct chosen *chosen, uint32_t stride,
                 struct order *orders, struct flight *flight, uint8_t *bytes);

/* Puts the header around what writer holds and the tail_len bytes behind it, which belong to its
 * last record; pads them. Returns the datagram's length. */
uint32_t compose_end(struct composer *c, struct writer *writer, const struct stamp *stamp,
                     uint32_t tail_len);

/* max_datagram: of the path, both ways. */
void compose_limits(const struct load_settings *s, uint32_t max_datagram, struct limits *limits);
/* Bytes of the largest datagram of ops ops, but for those that need several. */
uint64_t compose_size(const struct load_settings *s, const struct limits *limits, uint64_t ops);
/* How many PUTs fit a datagram, of the largest value that does: 1 to KVR_MUTATIONS_MAX. */
uint32_t compose_puts(const struct load_settings *s, const struct limits *limits);
