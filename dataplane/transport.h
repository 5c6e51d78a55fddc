/* SPDX-License-Identifier: Apache-2.0 */
/* The contract between the engine and what carries datagrams: eth/ (DPDK ports), local/ (rings of
 * clients on this host), mem/ (in-process, for tests), later rdma/. One struct transport per poll
 * core, used by that core only; release may get a request that another core's transport of the same
 * kind received. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/request.h"

struct partition;
struct transport;

/* One outgoing datagram under construction. */
struct reply {
    uint8_t *bytes; /* UDP payload, room bytes */
    uint32_t room;  /* at least KVR_DATAGRAM_MIN_MAX */
    uint32_t len;   /* the engine's: bytes written */
    void *frame;    /* the transport's */
};

struct transport_ops {
    const char *name;
    /* Up to max datagrams that arrived for a partition's port, addresses checked and filled in:
     * frame, msg, len, room, local, peer, arrived_ns = now_ns. Answers ARP, ND, ping itself. */
    unsigned (*rx)(struct transport *transport, uint64_t now_ns, struct request **requests,
                   unsigned max);
    /* The engine is done with the request and its bytes. */
    void (*release)(struct transport *transport, struct request *request);
    /* A buffer for a datagram to peer. False: none left (the engine counts it). */
    bool (*reply_begin)(struct transport *transport, const struct peer *peer, struct reply *reply);
    /* Ends the datagram with bytes of a sealed value, sent from where they lie: pins the block
     * until the device is done. False: cannot (the engine copies them instead). Nothing may be
     * written to the reply after it. Only for tails of at least zero_copy_min bytes. */
    bool (*reply_attach)(struct transport *transport, struct reply *reply,
                         struct partition *partition, uint32_t block, const uint8_t *bytes,
                         uint32_t len);
    /* Takes the datagram; reply->len bytes (and what was attached) go to peer. */
    void (*reply_send)(struct transport *transport, const struct peer *peer, struct reply *reply);
    /* The request's own buffer becomes its reply: len bytes from msg on, at most request->room, go
     * back to its peer. Request and buffer are gone then, as if released. */
    void (*turn_round)(struct transport *transport, struct request *request, uint32_t len);
    /* End of a loop turn: everything sent must leave now. Returns datagrams that were lost. */
    unsigned (*flush)(struct transport *transport);
};

struct transport {
    const struct transport_ops *ops;
    uint32_t max_datagram;  /* UDP payload that fits the device's MTU over IPv6 */
    uint32_t zero_copy_min; /* bytes; UINT32_MAX = never */
};
