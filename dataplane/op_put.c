/* SPDX-License-Identifier: Apache-2.0 */
/* PUT: a value that came in one datagram. Nothing is stored unless its CRC32C is right. */
#include <string.h>

#include "base/crc32c.h"
#include "dataplane/ops.h"
#include "dataplane/parse.h"

bool is_stored(const struct core *core, const struct request_op *op)
{
    struct block_view view;

    return index_find(core->arena, op->partition, op->hash, op->key, op->key_len, core->now_ms,
                      &view);
}

enum kvr_status reserve_block(const struct core *core, const struct request *request,
                              const struct request_op *op, const struct kvr_put_req *put,
                              uint32_t *block)
{
    struct block_request wanted = {.key = op->key,
                                   .key_len = op->key_len,
                                   .hash = op->hash,
                                   .value_len = put->value_len,
                                   .ttl_ms = put->ttl_ms,
                                   .tenant = request->hdr.tenant,
                                   .layout = put->layout,
                                   .hint = put->hint};

    return partition_reserve(core->partitions[op->partition], &wanted, core->now_ms, block);
}

int op_put(struct core *core, struct request *request, struct request_op *op, struct answer *answer)
{
    struct partition *partition = core->partitions[op->partition];
    const uint8_t *value;
    struct kvr_put_rep rep = {0};
    struct kvr_put_req put;
    enum kvr_status status;
    uint32_t block;
    bool add;

    memcpy(&put, op->record, sizeof(put));
    value = op->key + align8(op->key_len);
    add = put.op.flags & KVR_PUT_ADD;
    if (op->state == OP_PENDING && crc32c(0, value, put.value_len) != put.value_crc)
        return op_say(answer, op, KVR_CORRUPT);
    if (add && is_stored(core, op))
        return op_say(answer, op, KVR_EXISTS);
    status = reserve_block(core, request, op, &put, &block);
    if (status == KVR_BUSY)
        return OP_PARK;
    if (status != KVR_OK)
        return op_say(answer, op, status);
    memcpy(partition_value(partition, block), value, put.value_len);
    status = partition_seal(partition, block, put.value_crc, add, core->now_ms, &rep.ref);
    if (status != KVR_OK)
        return op_say(answer, op, status);
    counter_add(&core->stats->value_bytes_in, put.value_len);
    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
    return KVR_OK;
}
