/* SPDX-License-Identifier: Apache-2.0 */
/* GET: a window of a view of a value, in one record or a train of datagrams, at most train_max
 * bytes. The block cannot go away meanwhile: this core is its owner and an RCU reader. */
#include <string.h>

#include "base/crc32c.h"
#include "dataplane/ops.h"
#include "dataplane/parse.h"
#include "dataplane/record.h"
#include "dataplane/view.h"
#include "shm/probe.h"

#define HEADER ((uint32_t)sizeof(struct kvr_hdr))
#define RECORD ((uint32_t)sizeof(struct kvr_get_rep))
#define UNIT KVR_FRAG_BEST
#define CROWD 512u /* do not squeeze less than this beside other records if more is to come */

/* What one GET sends. */
struct train {
    struct answer *answer;
    const struct request_op *op;
    const struct block_view *block;
    const struct value_view *view;
    struct kvr_get_rep rep; /* pos, len and size change from record to record */
};

/* Bytes of a value that fit a datagram of their own. */
static uint32_t record_most(const struct answer *answer)
{
    return (answer_most(answer) - RECORD) & ~7u;
}

/* Whether the value's bytes from pos of the view on begin with a unit, whose CRC32C is kept. */
static bool at_unit(const struct train *train, uint32_t pos)
{
    return train->view->piece == train->view->len && (train->view->off + pos) % UNIT == 0;
}

/* len bytes from pos on, or fewer, so that the next record begins with a unit. */
static uint32_t to_unit(const struct train *train, uint32_t pos, uint32_t len)
{
    uint32_t end = (train->view->off + pos + len) % UNIT;

    return train->view->piece == train->view->len && end < len ? len - end : len;
}

/* How many of the left bytes the next record carries: what fits the open datagram, or a new one. */
static uint32_t next_len(const struct train *train, uint32_t pos, uint32_t left)
{
    uint32_t most = record_most(train->answer);
    uint32_t open = answer_left(train->answer);
    uint32_t fits = open > RECORD ? (open - RECORD) & ~7u : 0;
    uint32_t len = fits >= CROWD ? fits : most;

    if (left <= most)
        return left;
    if (most < UNIT)
        return len;
    return at_unit(train, pos) ? UNIT : to_unit(train, pos, len);
}

/* The CRC32C of a unit: kept, or from now on. */
static uint32_t unit_crc(const struct train *train, const struct partition *partition,
                         const uint8_t *bytes)
{
    uint32_t *sum = partition_sums(partition, train->block->block) +
                    (uint32_t)(bytes - train->block->value) / UNIT;

    if (*sum == 0)
        *sum = crc32c(0, bytes, UNIT);
    return *sum;
}

/* Ends the datagram with len bytes of the value, whose room was taken with their record's. */
static void send_tail(struct train *train, const uint8_t *bytes, uint32_t len, bool unit)
{
    struct answer *answer = train->answer;
    struct tail tail = {.partition = answer->core->partitions[train->op->partition],
                        .block = train->block->block,
                        .bytes = bytes,
                        .len = len,
                        .attach = len > answer->core->copy_max,
                        .summed = unit};

    if (unit)
        tail.crc = unit_crc(train, tail.partition, bytes);
    answer->reply.len -= len;
    answer_tail(answer, &tail);
}

/* Sends the record with len bytes from pos on. False: no buffer. */
static bool send_record(struct train *train, uint32_t pos, uint32_t len)
{
    const uint8_t *bytes = view_contiguous(train->view, train->block->value, pos, len);
    bool unit = bytes && len == UNIT && (uint32_t)(bytes - train->block->value) % UNIT == 0;
    bool tail = unit || (bytes && len > train->answer->core->copy_max && len % 8 == 0);
    uint32_t size = RECORD + align8(len);
    uint8_t *at;

    train->answer->last &= !tail;
    at = answer_room(train->answer, size);
    if (!at)
        return false;
    train->rep.op = answer_head(train->answer->request, train->op, KVR_OK, size);
    train->rep.pos = pos;
    train->rep.len = len;
    memcpy(at, &train->rep, RECORD);
    if (tail) {
        send_tail(train, bytes, len, unit);
        return true;
    }
    if (likely(bytes != NULL)) {
        copy_padded(at + RECORD, bytes, len);
        return true;
    }
    memset(at + size - 8, 0, len > 0 ? 8 : 0);
    view_copy(train->view, train->block->value, pos, len, at + RECORD);
    return true;
}

static void send_train(struct train *train, uint32_t pos, uint32_t end)
{
    do {
        uint32_t len = next_len(train, pos, end - pos);

        if (!send_record(train, pos, len))
            return;
        pos += len;
    } while (pos < end);
}

static int miss(struct core *core, const struct request *request, const struct request_op *op,
                struct answer *answer, bool quiet)
{
    counter_add(&core->stats->misses, 1);
    if (!quiet)
        return op_say(answer, op, KVR_MISS);
    answer_count(core, request, op, KVR_MISS);
    return KVR_MISS;
}

static bool lease(struct core *core, const struct request_op *op, uint32_t block, uint32_t lease_ms)
{
    if (lease_ms > core->now->lease_max_ms)
        lease_ms = core->now->lease_max_ms;
    return partition_lease(core->partitions[op->partition], block, lease_ms, core->now_ms);
}

static bool find(const struct core *core, const struct request_op *op, struct block_view *block)
{
    if (likely(op->found != NULL) &&
        likely(probe_view(core->arena, op->partition, op->found, core->now_ms, block)))
        return true;
    return index_find(core->arena, op->partition, op->hash, op->key, op->key_len, core->now_ms,
                      block);
}

/* Whether what is kept of view[pos, end) still fits its bytes. A block that was damaged is dropped.
 */
static bool holds(struct core *core, const struct request_op *op, const struct block_view *block,
                  const struct value_view *view, uint32_t pos, uint32_t end)
{
    struct partition *partition = core->partitions[op->partition];
    const uint32_t *sums = partition_sums(partition, block->block);
    uint32_t unit = (view->off + pos) / UNIT, past = (view->off + end + UNIT - 1) / UNIT;

    if (view->piece != view->len)
        return true;
    if (past > block->value_len / UNIT)
        past = block->value_len / UNIT;
    for (; unit < past; unit++) {
        const uint8_t *bytes = block->value + (size_t)unit * UNIT;

        if (sums[unit] == 0 || crc32c(0, bytes, UNIT) == sums[unit])
            continue;
        (void)partition_del(partition, op->hash, op->key, op->key_len, block->ref, core->now_ms);
        return false;
    }
    return true;
}

int op_get(struct core *core, struct request *request, struct request_op *op, struct answer *answer)
{
    struct kvr_get_req get;
    struct block_view block;
    struct value_view view;
    uint32_t pos, end;

    /* New ones queue behind those that wait: clients take what was passed for lost. */
    if (core->train_budget == 0 || (core->nr_parked > 0 && !request->parked))
        return OP_PARK;
    memcpy(&get, op->record, sizeof(get));
    if (!find(core, op, &block))
        return miss(core, request, op, answer, get.op.flags & KVR_GET_QUIET);
    if (get.ref != 0 && get.ref != block.ref)
        return op_say(answer, op, KVR_STALE);
    if (!view_make(&view, block.value_len, &get) || get.skip > view.len)
        return op_say(answer, op, KVR_BAD_RANGE);
    pos = get.skip;
    end = view_window(&view, &get, core->train_max);
    if (unlikely(get.op.flags & KVR_GET_CHECK) && !holds(core, op, &block, &view, pos, end))
        return op_say(answer, op, KVR_CORRUPT);
    partition_hit(core->partitions[op->partition], block.block);
    counter_add(&core->stats->hits, 1);
    struct train train = {
        .answer = answer,
        .op = op,
        .block = &block,
        .view = &view,
        .rep = {.value_len = block.value_len,
                .value_crc = block.value_crc,
                .ref = block.ref,
                .view_len = view.len,
                .ttl_ms = block.ttl_ms,
                .layout = block.layout,
                .tier = KVR_TIER_HOST,
                .pinned =
                    (get.op.flags & KVR_GET_PIN) && lease(core, op, block.block, get.lease_ms)},
    };
    if (get.op.flags & KVR_GET_META)
        end = pos;
    core->train_budget -= end - pos < core->train_budget ? end - pos : core->train_budget;
    answer->last = request->nr_ops == 1 && end - pos <= record_most(answer);
    send_train(&train, pos, end);
    counter_add(&core->stats->value_bytes_out, end - pos);
    answer_count(core, request, op, KVR_OK);
    return KVR_OK;
}

/* ---- The usual case: get_plain, in as few steps as it can be done (one op: single.h) ---- */

/* Bytes of value that all ops ask for together; UINT32_MAX: not all of it is at hand, or more than
 * a record and this turn may carry. */
static inline uint32_t plain_bytes(const struct core *core, const struct request *request,
                                   uint32_t len_max)
{
    const struct request_op *op = request->ops, *end = op + request->nr_ops;
    uint32_t bytes = 0;

    for (; op < end; op++) {
        const struct block_desc *desc = op->found;

        if (!desc || !plain_ready(desc, core->now_ms) || desc->value_len > len_max)
            return UINT32_MAX;
        bytes += desc->value_len;
    }
    return bytes;
}

static inline void count_plain(struct core *core, unsigned nr, uint32_t bytes)
{
    core->train_budget -= bytes;
    core->answered[KVR_GET] = (uint16_t)(core->answered[KVR_GET] + nr);
    counter_add(&core->stats->ops[KVR_GET][KVR_OK], nr);
    counter_add(&core->stats->hits, nr);
    counter_add(&core->stats->value_bytes_out, bytes);
}

/* The records of the ops from `from` on that fit one datagram. Returns the next op. */
static inline unsigned plain_datagram(struct answer *answer, unsigned from)
{
    const struct request_op *op = &answer->request->ops[from];
    unsigned to = from, nr = answer->request->nr_ops;
    uint32_t len = op->found->value_len, used = RECORD + align8(len), room;
    uint8_t *at = answer_fresh_room(answer, used);

    if (unlikely(!at))
        return nr;
    used += HEADER;
    room = answer->reply.room;
    for (;;) {
        at += plain_record(answer->core, op, op->found, len, to, at, room - used >= DATA_UNIT);
        if (++to == nr)
            break;
        len = (++op)->found->value_len;
        if (used + RECORD + align8(len) > answer->limit)
            break;
        used += RECORD + align8(len);
    }
    answer->reply.len = used;
    answer->nr_records = (uint8_t)(to - from);
    return to;
}

/* A datagram of one op, answered in place. */
static bool get_in_place(struct core *core, struct request *request, uint32_t len_max)
{
    const struct request_op *op = request->ops;
    const struct block_desc *desc = op->found;
    uint8_t *at = (uint8_t *)(uintptr_t)request->msg + sizeof(struct kvr_hdr);
    uint32_t len;

    if (!desc || !plain_ready(desc, core->now_ms) || desc->value_len > len_max)
        return false;
    len = desc->value_len;
    count_plain(core, 1, len);
    plain_record(core, op, desc, len, 0, at, request->room - core->max_datagram >= DATA_UNIT);
    answer_in_place(core, request, (uint32_t)sizeof(struct kvr_hdr) + RECORD + align8(len), 1);
    return true;
}

bool get_plain(struct core *core, struct request *request)
{
    unsigned nr = request->nr_ops;
    uint32_t len_max = (request_reply_max(core, request) - RECORD) & ~7u, bytes;
    struct answer answer;

    if (len_max > core->copy_max)
        len_max = core->copy_max;
    if (len_max > core->train_budget)
        return false;
    if (nr == 1 && request->room > 0)
        return get_in_place(core, request, len_max);
    bytes = plain_bytes(core, request, len_max);
    if (bytes > core->train_budget)
        return false;
    count_plain(core, nr, bytes);
    answer_begin(&answer, core, request);
    for (unsigned i = 0; i < nr;)
        i = plain_datagram(&answer, i);
    answer_end(&answer);
    core->transport->ops->release(core->transport, request);
    return true;
}
