/* SPDX-License-Identifier: Apache-2.0 */
/* The last stage: records of answered ops, packed into reply datagrams, sealed and sent. One struct
 * answer collects what one core has to say to one request in one visit. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core.h"

struct answer {
    struct core *core;
    struct request *request;
    struct reply reply;
    uint32_t limit; /* bytes of the open datagram */
    uint8_t nr_records;
    bool open;
    bool last;     /* of the request's bytes nothing is needed any more: the reply may take them */
    bool in_place; /* and it did */
};

static inline void answer_begin(struct answer *answer, struct core *core, struct request *request)
{
    answer->core = core;
    answer->request = request;
    answer->nr_records = 0;
    answer->open = answer->last = answer->in_place = false;
}

/* Sends what is open. True: the request went with it, as if released. */
bool answer_end(struct answer *answer);

/* Bytes that a record may have in the open datagram, 0 if none is open; and in a fresh one. */
static inline uint32_t answer_left(const struct answer *answer)
{
    return answer->open ? answer->limit - answer->reply.len : 0;
}

static inline uint32_t request_reply_max(const struct core *core, const struct request *request)
{
    uint32_t wanted = request->hdr.reply_max * 64u;

    if (wanted == 0)
        wanted = KVR_DATAGRAM_MIN_MAX;
    if (wanted > core->max_datagram)
        wanted = core->max_datagram;
    return wanted - (uint32_t)sizeof(struct kvr_hdr);
}

static inline uint32_t answer_most(const struct answer *answer)
{
    return request_reply_max(answer->core, answer->request);
}

/* See answer_room: in a fresh datagram; what was open is sent. */
[[nodiscard]] uint8_t *answer_fresh_room(struct answer *answer, uint32_t size);

/* Room for a record of size bytes (a multiple of 8), in the open datagram if it fits, else in a new
 * one. NULL: too large for any (nothing is sent) or no buffer (counted). The caller writes all of
 * it; the head comes from answer_head. */
[[nodiscard]] static inline uint8_t *answer_room(struct answer *answer, uint32_t size)
{
    uint8_t *at;

    if (size > answer_left(answer) || answer->nr_records == UINT8_MAX)
        return answer_fresh_room(answer, size);
    at = answer->reply.bytes + answer->reply.len;
    answer->reply.len += size;
    answer->nr_records++;
    return at;
}

/* The head of an op's reply record. */
static inline struct kvr_op answer_head(const struct request *request, const struct request_op *op,
                                        enum kvr_status status, uint32_t size)
{
    return (struct kvr_op){.op = op->opcode,
                           .idx = (uint8_t)(op - request->ops),
                           .status = (uint8_t)status,
                           .size = (uint16_t)size};
}

/* A record that is a fixed struct, the last thing that the op says; its head is filled in here. */
void answer_record(struct answer *answer, const struct request_op *op, enum kvr_status status,
                   void *record, uint32_t size);
/* A record that is the head alone. */
void answer_bare(struct answer *answer, const struct request_op *op, enum kvr_status status);

/* Bytes of a sealed block, a multiple of 8. */
struct tail {
    struct partition *partition;
    const uint8_t *bytes;
    uint32_t block, len;
    uint32_t crc; /* CRC32C of KVR_FRAG_BEST bytes, if summed */
    bool summed;
    bool attach; /* where the transport can; else copied */
};

/* The open datagram ends with the tail, behind the last bytes written. Sends it. */
void answer_tail(struct answer *answer, const struct tail *tail);

/* The whole answer is a header. retry_us: with BUSY. */
void answer_header(struct core *core, const struct request *request, enum kvr_status status,
                   uint32_t retry_us);

/* Seals and sends the reply of len bytes that was written over the request, header excepted: its
 * nr_records records answer all of it. The request is gone then. */
void answer_in_place(struct core *core, struct request *request, uint32_t len, uint8_t nr_records);

/* Counts an op that is done: by status, latency, and as an error where it is one. */
void answer_count(struct core *core, const struct request *request, const struct request_op *op,
                  enum kvr_status status);
/* Counts a drop or refusal; some a second are kept with their source. */
void note_drop(struct core *core, const struct request *request, enum drop_reason reason,
               unsigned opcode);
/* Histogram entries of the ops answered from one burst: all took from its arrival until now_ns. */
void answer_latency(struct core *core, uint64_t now_ns);
