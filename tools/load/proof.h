/* SPDX-License-Identifier: Apache-2.0 */
/* A thread's acquaintance with the server: its session, the cookie, when to say HELLO again. Pure:
 * bytes in, bytes out. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/check.h"

struct proof {
    uint64_t id;       /* random, not 0 */
    uint64_t cookie;   /* 0: not known yet, or refused */
    uint64_t hello_id; /* of the last HELLO; 0: none is awaited */
    uint64_t sent_ns;  /* of it */
    uint64_t due_ns;   /* when to say HELLO (again) */
    uint64_t boots;    /* how often the server was another one than before */
    uint32_t hellos;   /* said since the last answer */
    uint16_t refused;  /* status of the last refusal */
    uint32_t max_datagram;
    struct kvr_hello_rep server;
};

#define PROOF_HELLO_BYTES (sizeof(struct kvr_hdr) + KVR_HELLO_SIZE)

/* max_datagram: UDP payload that can be received. */
void proof_setup(struct proof *s, uint32_t max_datagram);

static inline bool proof_due(const struct proof *s, uint64_t now_ns)
{
    return __builtin_expect(now_ns >= s->due_ns, 0);
}

/* Writes a HELLO of PROOF_HELLO_BYTES; id is its request id. */
void proof_hello(struct proof *s, uint8_t *bytes, uint64_t id, uint64_t now_ns);
/* A checked reply to a HELLO. True: the cookie is new. */
bool proof_answer(struct proof *s, const struct checked_reply *reply);
/* A request was refused for its cookie. */
void proof_refused(struct proof *s);
