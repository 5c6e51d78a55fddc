/* SPDX-License-Identifier: Apache-2.0 */
/* GET: a window of a view of a value, in one record or a train of datagrams, at most train_max
 * bytes. The block cannot go away meanwhile: this core is its owner and an RCU reader. */
#include <string.h>

#include "base/crc32c.h"
#include "dataplane/ops.h"
#include "dataplane/parse.h"
#include "dataplane/view.h"
#include "shm/probe.h"

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

/* len bytes of a value and zeroes up to the next multiple of 8. No byte is needed after it is
 * overwritten: value and reply never overlap. */
static inline void copy_padded(uint8_t *to, const uint8_t *bytes, uint32_t len)
{
    uint64_t zero = 0;

    if (len == 0)
        return;
    memcpy(to + align8(len) - sizeof(zero), &zero, sizeof(zero));
    if (len == CACHE_LINE) /* inline */
        memcpy(to, bytes, CACHE_LINE);
    else
        memcpy(to, bytes, len);
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

/* ---- The usual case: get_plain, in as few steps as it can be done ---- */

/* Values lie in slots of whole DATA_UNITs, so up to the end of the unit may be read. Bytes behind
 * len, up to the next multiple of 8, become zero; to has room for a unit more than len. */
static inline void copy_units(uint8_t *to, const uint8_t *bytes, uint32_t len)
{
    uint64_t last;

    for (uint32_t at = 0; at < len; at += DATA_UNIT)
        memcpy(to + at, bytes + at, DATA_UNIT);
    if (unlikely(len % 8 != 0)) {
        memcpy(&last, to + len / 8 * 8, sizeof(last));
        last &= UINT64_MAX >> (64 - 8 * (len % 8));
        memcpy(to + len / 8 * 8, &last, sizeof(last));
    }
}

static inline void put_word(uint8_t *at, uint32_t low, uint32_t high)
{
    uint64_t word = low | (uint64_t)high << 32;

    memcpy(at, &word, sizeof(word));
}

/* As op_get would answer the i-th op, in one record, written in words; an access for the policy.
 * Returns the record's end. */
static inline uint8_t *plain_record(const struct core *core, const struct request_op *op,
                                    unsigned i, uint8_t *at, bool spare_unit)
{
    const struct block_desc *desc = op->found;
    const struct part_map *map = &core->arena->maps[op->partition];
    const uint8_t *value = core->arena->data + (uint64_t)desc->place * DATA_UNIT;
    uint32_t block = (uint32_t)(desc - map->descs), len = desc->value_len;
    uint32_t size = RECORD + align8(len), ttl_ms = 0;

    partition_hit(core->partitions[op->partition], block);
    if (unlikely(desc->flags & DESC_EXPIRES))
        ttl_ms = desc->expiry_ms - core->now_ms;
    put_word(at, KVR_GET | i << 8, size);
    memcpy(at + 8, &desc->value_len, 8); /* and value_crc */
    put_word(at + 16, op->partition * map->nr_blocks + block, desc->generation);
    put_word(at + 24, len, 0);
    put_word(at + 32, len, ttl_ms);
    put_word(at + 40, desc->layout | KVR_TIER_HOST << 16, 0);
    if (likely(spare_unit))
        copy_units(at + RECORD, value, len);
    else
        copy_padded(at + RECORD, value, len);
    return at + size;
}
_Static_assert(
    offsetof(struct kvr_get_rep, value_len) == 8 && offsetof(struct kvr_get_rep, value_crc) == 12 &&
        offsetof(struct block_desc, value_crc) == offsetof(struct block_desc, value_len) + 4 &&
        offsetof(struct kvr_get_rep, ref) == 16 && offsetof(struct kvr_get_rep, view_len) == 24 &&
        offsetof(struct kvr_get_rep, len) == 32 && offsetof(struct kvr_get_rep, layout) == 40,
    "plain_record writes the record in words");

/* Bytes of value that all ops ask for together; UINT32_MAX: not all of it is at hand, or more than
 * a record and this turn may carry. */
static inline uint32_t plain_bytes(const struct core *core, const struct request *request,
                                   uint32_t len_max)
{
    const struct request_op *op = request->ops, *end = op + request->nr_ops;
    uint32_t bytes = 0;

    for (; op < end; op++) {
        const struct block_desc *desc = op->found;

        if (!desc || desc->state != BLOCK_SEALED || desc->value_len > len_max ||
            expiry_passed(desc->flags, desc->expiry_ms, core->now_ms))
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
    const struct request *request = answer->request;
    uint32_t most = answer_most(answer), size = 0;
    unsigned to = from;
    bool spare_unit;
    uint8_t *at;

    for (; to < request->nr_ops; to++) {
        uint32_t more = RECORD + align8(request->ops[to].found->value_len);

        if (size + more > most)
            break;
        size += more;
    }
    at = answer_fresh_room(answer, size);
    if (unlikely(!at))
        return to;
    answer->nr_records = (uint8_t)(to - from);
    spare_unit = answer->reply.room - answer->reply.len >= DATA_UNIT;
    for (unsigned i = from; i < to; i++)
        at = plain_record(answer->core, &request->ops[i], i, at, spare_unit);
    return to;
}

/* A datagram of one op, the most frequent of all, answered in place. */
static inline bool get_single(struct core *core, struct request *request, uint32_t len_max)
{
    const struct request_op *op = request->ops;
    const struct block_desc *desc = op->found;
    uint8_t *at = (uint8_t *)(uintptr_t)request->msg + sizeof(struct kvr_hdr);
    uint32_t len;

    if (!desc || desc->state != BLOCK_SEALED || desc->value_len > len_max ||
        expiry_passed(desc->flags, desc->expiry_ms, core->now_ms))
        return false;
    len = desc->value_len;
    count_plain(core, 1, len);
    plain_record(core, op, 0, at, request->room - core->max_datagram >= DATA_UNIT);
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
        return get_single(core, request, len_max);
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
