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
    [KVR_INTERNAL] = NR_DROP_REASONS,   [KVR_NO_REGION] = DROP_no_region,
    [KVR_MISFIT] = DROP_misfit,
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
    struct request *request = answer->request;
    struct transport *transport = request_transport(answer->core, request);

    answer->in_place = answer->last && request->room > 0;
    if (answer->in_place) {
        answer->reply.bytes = (uint8_t *)(uintptr_t)request->msg;
        answer->reply.room = request->room;
    } else if (!transport->ops->reply_begin(transport, &request->peer, &answer->reply)) {
        note_drop(answer->core, request, DROP_no_buffer, 0);
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
static inline uint16_t answering(const struct core *core, const struct request *request)
{
    uint16_t partition = request->hdr.partition; /* of a refused request: any number */
    bool own = partition < core->nr_partitions && core->partitions[partition] != NULL;

    return own ? partition : (uint16_t)core->index;
}

/* What a reply says beside its records. */
struct seal {
    enum kvr_status status;
    uint8_t nr_records;
    uint32_t retry_us;
    const struct tail *tail; /* the last bytes, which lie elsewhere; or NULL */
};

static inline uint32_t tail_crc(const struct core *core, uint32_t head, const struct tail *tail)
{
    if (tail->summed)
        return crc32c_join(head, tail->crc, core->unit_shift);
    return crc32c(head, tail->bytes, tail->len);
}

/* Writes the header, in words: a struct put together in memory and copied stalls. What a reply does
 * not say of itself is echoed. */
static inline __attribute__((always_inline)) void
seal(struct core *core, const struct request *request, const struct reply *reply, struct seal seal)
{
    const struct kvr_hdr *asked = &request->hdr;
    uint32_t len = reply->len + (seal.tail ? seal.tail->len : 0), crc;
    uint8_t *bytes = reply->bytes;
    uint64_t words[2] = {KVR_MAGIC | (uint64_t)KVR_VERSION << 32 | (uint64_t)KVR_REPLY << 40 |
                             (uint64_t)seal.status << 48 | (uint64_t)asked->priority << 56,
                         (uint16_t)len | (uint64_t)seal.nr_records << 16};

    memcpy(bytes, &words[0], 8);
    memcpy(bytes + 8, &words[1], 8);
    memcpy(bytes + offsetof(struct kvr_hdr, id), &asked->id, 24); /* session, cookie */
    words[0] = seal.retry_us | (uint64_t)asked->seq << 32;
    words[1] =
        asked->floor | (uint64_t)asked->tenant << 32 | (uint64_t)answering(core, request) << 48;
    memcpy(bytes + offsetof(struct kvr_hdr, deadline_us), &words[0], 8);
    memcpy(bytes + offsetof(struct kvr_hdr, floor), &words[1], 8);
    crc = crc32c_datagram(bytes, reply->len);
    if (seal.tail)
        crc = tail_crc(core, crc, seal.tail);
    memcpy(bytes + offsetof(struct kvr_hdr, crc), &crc, sizeof(crc));
    counter_add(&core->stats->tx_datagrams, 1);
    counter_add(&core->stats->tx_bytes, len);
}
_Static_assert(offsetof(struct kvr_hdr, cookie) == offsetof(struct kvr_hdr, id) + 16 &&
                   offsetof(struct kvr_hdr, seq) == offsetof(struct kvr_hdr, deadline_us) + 4 &&
                   offsetof(struct kvr_hdr, tenant) == offsetof(struct kvr_hdr, floor) + 4 &&
                   sizeof(struct kvr_hdr) == offsetof(struct kvr_hdr, floor) + 8,
               "seal writes the header in words");

void answer_in_place(struct core *core, struct request *request, uint32_t len, uint8_t nr_records)
{
    struct reply reply = {.bytes = (uint8_t *)(uintptr_t)request->msg, .len = len};

    seal(core, request, &reply, (struct seal){.status = KVR_OK, .nr_records = nr_records});
    core->transport->ops->turn_round(core->transport, request, len);
}

bool answer_end(struct answer *answer)
{
    struct core *core = answer->core;
    struct request *request = answer->request;
    struct transport *transport = request_transport(core, request);

    if (!answer->open)
        return false;
    answer->open = false;
    if (answer->in_place) {
        answer_in_place(core, request, answer->reply.len, answer->nr_records);
        return true;
    }
    seal(core, request, &answer->reply,
         (struct seal){.status = KVR_OK, .nr_records = answer->nr_records});
    transport->ops->reply_send(transport, &request->peer, &answer->reply);
    return false;
}

uint8_t *answer_fresh_room(struct answer *answer, uint32_t size)
{
    if (size > answer_most(answer))
        return NULL;
    answer_end(answer);
    if (!open_datagram(answer) || size > answer_left(answer))
        return NULL;
    answer->reply.len += size;
    answer->nr_records = 1;
    return answer->reply.bytes + HEADER;
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

void answer_tail(struct answer *answer, const struct tail *tail)
{
    struct core *core = answer->core;
    struct transport *transport = request_transport(core, answer->request);

    assert(!answer->in_place);
    seal(core, answer->request, &answer->reply,
         (struct seal){.status = KVR_OK, .nr_records = answer->nr_records, .tail = tail});
    if (tail->attach && transport->ops->reply_attach(transport, &answer->reply, tail->partition,
                                                     tail->block, tail->bytes, tail->len)) {
        counter_add(&core->stats->tx_zero_copy, 1);
    } else {
        memcpy(answer->reply.bytes + answer->reply.len, tail->bytes, tail->len);
        answer->reply.len += tail->len;
    }
    transport->ops->reply_send(transport, &answer->request->peer, &answer->reply);
    answer->open = false;
}

void answer_header(struct core *core, const struct request *request, enum kvr_status status,
                   uint32_t retry_us)
{
    struct transport *transport = request_transport(core, request);
    struct reply reply;

    if (!transport->ops->reply_begin(transport, &request->peer, &reply)) {
        note_drop(core, request, DROP_no_buffer, 0);
        return;
    }
    reply.len = HEADER;
    seal(core, request, &reply, (struct seal){.status = status, .retry_us = retry_us});
    transport->ops->reply_send(transport, &request->peer, &reply);
}
