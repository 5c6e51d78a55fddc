/* SPDX-License-Identifier: Apache-2.0 */
/* Builds and sends reply datagrams, and counts what was answered. Runs on the core that executed
 * the ops. Invariant: a header is written last, when its length and CRC32C are known. */
#include "dataplane/reply.h"

#include <assert.h>
#include <string.h>

#include "base/crc32c.h"

#define ERRORS_PER_S 100u
#define HEADER ((uint32_t)sizeof(struct kvr_hdr))

/* Statuses that are somebody's mistake or misfortune, and their counter; others: NR_DROP_REASONS.
 */
static const uint8_t drop_of_status[KVR_STATUS_WIRE_MAX + 1] = {
    [KVR_OK] = NR_DROP_REASONS,         [KVR_MISS] = NR_DROP_REASONS,
    [KVR_EXISTS] = NR_DROP_REASONS,     [KVR_STALE] = NR_DROP_REASONS,
    [KVR_EXPIRED] = DROP_expired,       [KVR_BUSY] = DROP_busy,
    [KVR_NO_SPACE] = DROP_no_space,     [KVR_TOO_LARGE] = DROP_too_large,
    [KVR_INCOMPLETE] = NR_DROP_REASONS, [KVR_CORRUPT] = DROP_value_crc,
    [KVR_NO_UPLOAD] = DROP_no_upload,   [KVR_NEED_COOKIE] = DROP_no_cookie,
    [KVR_REPLAYED] = DROP_replayed,     [KVR_BAD_VERSION] = DROP_bad_version,
    [KVR_BAD_LENGTH] = DROP_bad_length, [KVR_BAD_OP] = DROP_bad_op,
    [KVR_BAD_KEY] = DROP_bad_key,       [KVR_BAD_RANGE] = DROP_bad_range,
    [KVR_BAD_FIELD] = DROP_bad_field,   [KVR_LIMIT] = DROP_limit,
    [KVR_INTERNAL] = NR_DROP_REASONS,
};

void note_drop(struct core *core, const struct request *request, enum drop_reason reason,
               unsigned opcode)
{
    uint32_t second = core->now_ms / 1000u;

    counter_add(&core->stats->drops[reason], 1);
    if (second != core->errors_second) {
        core->errors_second = second;
        core->errors_noted = 0;
    }
    if (core->errors_noted++ < ERRORS_PER_S)
        stats_note_error(core->stats, reason, request->peer.ip, request->peer.port,
                         (uint16_t)opcode, request->len);
}

/* Cores read the clock at different times: what another one received may seem to lie ahead. */
static uint64_t elapsed(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? to_ns - from_ns : 0;
}

void answer_count(struct core *core, const struct request *request, const struct request_op *op,
                  enum kvr_status status)
{
    counter_add(&core->stats->ops[op->opcode][status], 1);
    if (drop_of_status[status] != NR_DROP_REASONS)
        note_drop(core, request, drop_of_status[status], op->opcode);
    if (request->arrived_ns == core->burst_ns)
        core->answered[op->opcode]++;
    else
        histogram_add(&core->stats->latency[op->opcode],
                      elapsed(request->arrived_ns, core->now_ns));
}

void answer_latency(struct core *core, uint64_t now_ns)
{
    if (core->burst_ns == 0)
        return;
    for (unsigned op = 0; op < KVR_OPCODES; op++) {
        if (core->answered[op] == 0)
            continue;
        histogram_add_many(&core->stats->latency[op], elapsed(core->burst_ns, now_ns),
                           core->answered[op]);
        core->answered[op] = 0;
    }
    core->burst_ns = 0;
}

static bool open_datagram(struct answer *answer)
{
    struct core *core = answer->core;
    struct transport *transport = core->transport;
    struct request *request = answer->request;

    answer->in_place =
        answer->last && transport->ops->reply_in_place(transport, request, &answer->reply);
    if (!answer->in_place &&
        !transport->ops->reply_begin(transport, &request->peer, &answer->reply)) {
        note_drop(core, request, DROP_no_buffer, 0);
        return false;
    }
    answer->limit = answer_most(answer) + HEADER;
    if (answer->limit > answer->reply.room)
        answer->limit = answer->reply.room;
    answer->reply.len = HEADER;
    answer->nr_records = 0;
    answer->open = true;
    return true;
}

/* hdr.partition of the reply: one that this core owns. */
static uint16_t answering(const struct core *core, const struct request *request)
{
    bool own = core->partitions[request->hdr.partition] != NULL;

    return own ? request->hdr.partition : (uint16_t)core->index;
}

/* Writes the header of a datagram whose last tail_len bytes lie elsewhere. What is not set here is
 * echoed. */
static void seal(struct core *core, const struct request *request, struct reply *reply,
                 enum kvr_status status, uint8_t nr_records, uint32_t retry_us, const uint8_t *tail,
                 uint32_t tail_len)
{
    struct kvr_hdr hdr = request->hdr;
    uint32_t crc;

    hdr.version = KVR_VERSION;
    hdr.kind = KVR_REPLY;
    hdr.status = (uint8_t)status;
    hdr.len = (uint16_t)(reply->len + tail_len);
    hdr.nr_ops = nr_records;
    hdr.reply_max = 0;
    hdr.deadline_us = retry_us;
    hdr.partition = answering(core, request);
    memcpy(reply->bytes, &hdr, sizeof(hdr));
    crc = crc32c_datagram(reply->bytes, reply->len);
    if (unlikely(tail_len > 0))
        crc = crc32c(crc, tail, tail_len);
    memcpy(reply->bytes + offsetof(struct kvr_hdr, crc), &crc, sizeof(crc));
    counter_add(&core->stats->tx_datagrams, 1);
    counter_add(&core->stats->tx_bytes, reply->len + tail_len);
}

bool answer_end(struct answer *answer)
{
    struct core *core = answer->core;
    struct request *request = answer->request;

    if (!answer->open)
        return false;
    seal(core, request, &answer->reply, KVR_OK, answer->nr_records, 0, NULL, 0);
    core->transport->ops->reply_send(core->transport, &request->peer, &answer->reply);
    answer->open = false;
    return answer->in_place;
}

uint8_t *answer_room(struct answer *answer, uint32_t size)
{
    uint8_t *at;

    if (size > answer_most(answer))
        return NULL;
    if (answer->open && (size > answer_left(answer) || answer->nr_records == UINT8_MAX))
        answer_end(answer);
    if (!answer->open && !open_datagram(answer))
        return NULL;
    if (size > answer_left(answer))
        return NULL;
    at = answer->reply.bytes + answer->reply.len;
    answer->reply.len += size;
    answer->nr_records++;
    return at;
}

void answer_record(struct answer *answer, const struct request_op *op, enum kvr_status status,
                   void *record, uint32_t size)
{
    struct kvr_op head = answer_head(answer->request, op, status, size);
    uint8_t *at;

    answer->last = answer->request->nr_ops == 1;
    at = answer_room(answer, size);
    if (at) {
        memcpy(record, &head, sizeof(head));
        memcpy(at, record, size);
    }
    answer_count(answer->core, answer->request, op, status);
}

void answer_bare(struct answer *answer, const struct request_op *op, enum kvr_status status)
{
    struct kvr_op head;

    answer_record(answer, op, status, &head, sizeof(head));
}

void answer_tail(struct answer *answer, struct partition *partition, uint32_t block,
                 const uint8_t *tail, uint32_t len)
{
    struct core *core = answer->core;
    struct transport *transport = core->transport;

    assert(!answer->in_place);
    seal(core, answer->request, &answer->reply, KVR_OK, answer->nr_records, 0, tail, len);
    if (transport->ops->reply_attach(transport, &answer->reply, partition, block, tail, len)) {
        counter_add(&core->stats->tx_zero_copy, 1);
    } else {
        memcpy(answer->reply.bytes + answer->reply.len, tail, len);
        answer->reply.len += len;
    }
    transport->ops->reply_send(transport, &answer->request->peer, &answer->reply);
    answer->open = false;
}

void answer_header(struct core *core, const struct request *request, enum kvr_status status,
                   uint32_t retry_us)
{
    struct reply reply;

    if (!core->transport->ops->reply_begin(core->transport, &request->peer, &reply)) {
        note_drop(core, request, DROP_no_buffer, 0);
        return;
    }
    reply.len = HEADER;
    seal(core, request, &reply, status, 0, retry_us, NULL, 0);
    core->transport->ops->reply_send(core->transport, &request->peer, &reply);
}
