/* SPDX-License-Identifier: Apache-2.0 */
/* DEL, TOUCH, HINT: one key, one status. */
#include <string.h>

#include "dataplane/ops.h"

int op_del(struct core *core, struct request *request, struct request_op *op, struct answer *answer)
{
    struct kvr_key_req req;

    (void)request;
    memcpy(&req, op->record, sizeof(req));
    return op_say(answer, op,
                  partition_del(core->partitions[op->partition], op->hash, op->key, op->key_len,
                                req.ref, core->now_ms));
}

int op_touch(struct core *core, struct request *request, struct request_op *op,
             struct answer *answer)
{
    struct kvr_key_req req;

    (void)request;
    memcpy(&req, op->record, sizeof(req));
    return op_say(answer, op,
                  partition_touch(core->partitions[op->partition], op->hash, op->key, op->key_len,
                                  req.ttl_ms, core->now_ms));
}

int op_hint(struct core *core, struct request *request, struct request_op *op,
            struct answer *answer)
{
    struct kvr_key_req req;

    (void)request;
    memcpy(&req, op->record, sizeof(req));
    return op_say(answer, op,
                  partition_hint(core->partitions[op->partition], op->hash, op->key, op->key_len,
                                 &req.hint, core->now_ms));
}
