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

/* -ENOMEM. */
[[nodiscard]] int composer_create(struct composer *c, const struct load_settings *s,
                                  unsigned thread);
void composer_destroy(struct composer *c);

/* The session and its server as they are now. */
void composer_proof(struct composer *c, const struct proof *proof);

/* Whether it has to wait for a number. */
static inline bool compose_blocked(const struct chosen *chosen, const struct order *orders)
{
    return chosen->writes && order_full(&orders[chosen->partition]);
}

/* bytes: room for a datagram. Returns its length. Not when compose_blocked. */
uint32_t compose(struct composer *c, const struct chosen *chosen, uint32_t stride,
                 struct order *orders, struct flight *flight, uint8_t *bytes);

/* Bytes of the largest datagram of ops ops. */
uint64_t compose_size(const struct load_settings *s, uint64_t ops);
/* How many PUTs of the largest value fit max_datagram: 0 to KVR_MUTATIONS_MAX. */
uint32_t compose_puts(const struct load_settings *s, uint32_t max_datagram);
