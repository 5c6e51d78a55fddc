/* SPDX-License-Identifier: Apache-2.0 */
/* The clients that a capture pretends to be: each an address, a port and a session, with the cookie
 * that the server gave to exactly these. One thread. */
#pragma once

#include <stdint.h>

#include "dataplane/request.h"
#include "perf/pktgen/wire.h"

#define FLOWS_MAX 65536u

struct flow {
    struct peer peer;         /* ip, mac, port: the server's; local_*: this client's */
    uint64_t session, cookie; /* cookie 0: none yet */
};

struct flows_spec {
    unsigned nr;           /* 1 .. FLOWS_MAX */
    unsigned nr_addresses; /* flow i has address first + i % nr_addresses .. */
    uint16_t first_port;   /* .. and port first_port + i / nr_addresses */
    struct peer first;     /* of flow 0, but for local_port */
};

struct flows {
    struct flow *list;
    unsigned nr, nr_addresses;
    uint16_t first_port;
    struct kvr_hello_rep hello; /* what the server said */
};

/* Sessions are random: no other capture has the same ones. 0, -EINVAL (ports or addresses run out),
 * -ENOMEM; logged. */
[[nodiscard]] int flows_create(const struct flows_spec *spec, struct flows *flows);
void flows_destroy(struct flows *flows);

/* Says HELLO from each of them until all have a cookie. 0, -ETIMEDOUT (no answer for 5 s), -errno;
 * logged. */
[[nodiscard]] int flows_greet(struct flows *flows, struct wire *wire);

/* A frame of that datagram from the flow to port; frame has room for FRAME_HEAD_MAX more. Returns
 * its length. */
uint32_t flow_frame(const struct flow *flow, uint16_t port, const uint8_t *datagram, uint32_t len,
                    uint8_t *frame);
