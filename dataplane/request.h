/* SPDX-License-Identifier: Apache-2.0 */
/* A request: one datagram on its way through the dataplane. It lives in its receive buffer's
 * private area (transport.h) and has one owner at a time: the core that received it, or the core
 * it was handed to. Stages: transport rx -> parse -> dispatch -> op -> reply -> transport tx. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "kvrail/proto.h"
#include "kvrail/status.h"

struct block_desc;

/* Where a datagram came from, and so where its replies go. Ports in host byte order. */
struct peer {
    uint8_t ip[16];               /* IPv6, or IPv4 mapped */
    uint8_t local_ip[16];         /* that it was sent to: source of the reply */
    uint8_t local_mac[6], mac[6]; /* in the order of a frame's head */
    uint16_t local_port, port;
    bool ipv6;
    bool usual; /* the transport's: it found its shortest form of head */
};

enum op_state {
    OP_PENDING = 0, /* to be executed by its partition's owner */
    OP_WAITING,     /* parked: for memory (BUSY from reserve), the CRC of a COMMIT, a GET's turn */
    OP_DONE,        /* answered */
};

struct request_op {
    const struct kvr_op *record; /* in the datagram; parse checked every length in it */
    const uint8_t *key;          /* key_len bytes, or NULL */
    /* GET, while the burst it came in is in work: the key's block as a probe ahead of its turn
     * found it, or NULL if that has to be looked up. */
    const struct block_desc *found;
    struct key_hash hash;
    uint16_t key_len;
    uint8_t opcode;
    uint8_t state;      /* enum op_state */
    uint16_t partition; /* whose owner executes it; own partition where it does not matter */
    uint16_t mutation;  /* n-th mutating op of the datagram */
};

struct request {
    struct request *next;    /* lists: parked */
    void *frame;             /* the transport's buffer */
    const uint8_t *msg;      /* UDP payload, 8-byte aligned not guaranteed */
    uint32_t len;            /* bytes */
    uint32_t room;           /* from msg on for a reply in place, max_datagram or more; 0: none */
    uint8_t nr_ops, nr_open; /* ops; of them not OP_DONE */
    uint8_t nr_mutations;
    uint8_t verdict; /* enum session_verdict on its seq, given by the owner of hdr.partition */
    bool proven;     /* the cookie was valid */
    bool parked;     /* was, at least once */
    bool plain;      /* has nothing but GETs of whole values without flags */
    bool single;     /* and but one, of hdr.partition; from the network, with room for a reply */
    uint8_t local;   /* 0: from the network; else 1 + the client's slot (local/client.h) */
    uint32_t kinds;  /* bit per opcode that it has */
    struct session *session; /* while a fresh seq is being executed; owner of hdr.partition only */
    uint64_t arrived_ns, deadline_ns;
    struct kvr_hdr hdr; /* copy */
    struct peer peer;
    struct request_op ops[KVR_OPS_MAX];
};
