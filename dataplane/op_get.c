/* SPDX-License-Identifier: Apache-2.0 */
/* GET: a window of a view of a value, in one record or a train of datagrams, at most train_max
 * bytes. The block cannot go away meanwhile: this core is its owner and an RCU reader. */
#include <string.h>

#include "dataplane/ops.h"
#include "dataplane/parse.h"
#include "dataplane/view.h"

#define RECORD ((uint32_t)sizeof(struct kvr_get_rep))
#define CROWD 512u /* do not squeeze less than this beside other records if more is to come */

/* What one GET sends. */
struct train {
    struct answer *answer;
    const struct request_op *op;
    const struct block_view *block;
    const struct value_view *view;
    uint32_t zero_copy_min;
    struct kvr_get_rep rep; /* pos, len and size change from record to record */
};

static uint32_t zero_copy_min(const struct core *core)
{
    uint32_t least = core->transport->zero_copy_min;

    if (core->now->zero_copy_min == 0)
        return UINT32_MAX;
    return core->now->zero_copy_min > least ? core->now->zero_copy_min : least;
}

/* How many of the left bytes the next record carries: what fits the open datagram, or a new one. */
static uint32_t next_len(const struct train *train, uint32_t left)
{
    uint32_t most = (answer_most(train->answer) - RECORD) & ~7u;
    uint32_t open = answer_left(train->answer);
    uint32_t fits = open > RECORD ? (open - RECORD) & ~7u : 0;

    if (left <= fits)
        return left;
    if (fits >= CROWD && left > most)
        return fits;
    return left < most ? left : most;
}

/* Sends the record with len bytes from pos on. False: no buffer. */
static bool send_record(struct train *train, uint32_t pos, uint32_t len)
{
    const uint8_t *bytes = view_contiguous(train->view, train->block->value, pos, len);
    bool tail = bytes && len >= train->zero_copy_min && len % 8 == 0;
    uint32_t size = RECORD + align8(len);
    uint8_t *at;

    /* A tail is bytes of the datagram, so its room is taken with the record's and given back. */
    at = answer_room(train->answer, size);
    if (!at)
        return false;
    train->rep.op = answer_head(train->answer->request, train->op, KVR_OK, size);
    train->rep.pos = pos;
    train->rep.len = len;
    memcpy(at, &train->rep, RECORD);
    if (tail) {
        train->answer->reply.len -= len;
        answer_tail(train->answer, train->answer->core->partitions[train->op->partition],
                    train->block->block, bytes, len);
        return true;
    }
    memset(at + size - 8, 0, len > 0 ? 8 : 0);
    if (bytes)
        memcpy(at + RECORD, bytes, len);
    else
        view_copy(train->view, train->block->value, pos, len, at + RECORD);
    return true;
}

static void send_train(struct train *train, uint32_t pos, uint32_t end)
{
    do {
        uint32_t len = next_len(train, end - pos);

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

int op_get(struct core *core, struct request *request, struct request_op *op, struct answer *answer)
{
    struct kvr_get_req get;
    struct block_view block;
    struct value_view view;
    uint32_t pos, end;

    /* New ones (burst_ns) queue behind those that wait: clients take what was passed for lost. */
    if (core->train_budget == 0 || (core->nr_parked > 0 && core->burst_ns != 0))
        return OP_PARK;
    memcpy(&get, op->record, sizeof(get));
    if (!index_find(core->arena, op->partition, op->hash, op->key, op->key_len, core->now_ms,
                    &block))
        return miss(core, request, op, answer, get.op.flags & KVR_GET_QUIET);
    if (get.ref != 0 && get.ref != block.ref)
        return op_say(answer, op, KVR_STALE);
    if (!view_make(&view, block.value_len, &get) || get.skip > view.len)
        return op_say(answer, op, KVR_BAD_RANGE);
    pos = get.skip;
    end = view_window(&view, &get, core->train_max);
    partition_hit(core->partitions[op->partition], block.block);
    counter_add(&core->stats->hits, 1);
    struct train train = {
        .answer = answer,
        .op = op,
        .block = &block,
        .view = &view,
        .zero_copy_min = zero_copy_min(core),
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
    send_train(&train, pos, end);
    counter_add(&core->stats->value_bytes_out, end - pos);
    answer_count(core, request, op, KVR_OK);
    return KVR_OK;
}
