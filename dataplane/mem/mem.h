/* SPDX-License-Identifier: Apache-2.0 */
/* In-process transport: a test puts datagrams in and takes replies out. Attached tails stay where
 * they lie, pinned, until their reply is taken, as a NIC would read them late. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/transport.h"

/* One reply, complete; the caller's until mem_free. */
struct mem_reply {
    struct mem_reply *next;
    struct peer peer;
    struct partition *pinned; /* has the block of the tail, until taken */
    const uint8_t *tail;
    uint32_t block, head_len, len;
    uint8_t bytes[];
};

/* NULL: no memory. zero_copy_min UINT32_MAX: reply_attach always says no. */
struct transport *mem_create(uint32_t max_datagram, uint32_t zero_copy_min);
/* Everything received must have been released. */
void mem_destroy(struct transport *transport);

/* A datagram from peer for the next rx; the bytes are copied. False: no memory. */
bool mem_inject(struct transport *transport, const struct peer *peer, const void *bytes,
                uint32_t len);
/* The oldest reply not taken yet, its tail gathered and unpinned; NULL: none. */
struct mem_reply *mem_take(struct transport *transport);
void mem_free(struct mem_reply *reply);

/* The next n calls of reply_begin fail. */
void mem_starve(struct transport *transport, unsigned n);
/* Requests put in here and not released by anyone yet. */
unsigned mem_outstanding(const struct transport *transport);
/* Replies with an attached tail that were not taken yet. */
unsigned mem_attached(const struct transport *transport);
