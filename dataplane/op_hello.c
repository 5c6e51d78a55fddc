/* SPDX-License-Identifier: Apache-2.0 */
/* HELLO: the only op, with PING, that needs no cookie. Any core answers it. Its reply is never
 * larger than its request: the record it answers is padded to KVR_HELLO_SIZE. */
#include <string.h>

#include "dataplane/cookie.h"
#include "dataplane/ops.h"

_Static_assert(sizeof(struct kvr_hello_rep) <= KVR_HELLO_SIZE, "HELLO must not amplify");

int op_hello(struct core *core, struct request *request, struct request_op *op,
             struct answer *answer)
{
    const struct superblock *sb = core->arena->sb;
    struct kvr_hello_req req;
    struct kvr_hello_rep rep = {
        .version = KVR_VERSION,
        .nr_partitions = (uint16_t)core->nr_partitions,
        .base_port = core->base_port,
        .max_ops = KVR_OPS_MAX,
        .max_value = KVR_VALUE_MAX,
        .train_max = core->now->train_max,
        .cookie_ms = core->now->cookie_ms,
        .seed = sb->seed,
        .boot = core->boot_id,
        .arena = sb->arena_id,
        .upload_idle_ms = core->now->upload_idle_ms,
        .lease_max_ms = core->now->lease_max_ms,
    };

    memcpy(&req, op->record, sizeof(req));
    if (req.version_min > KVR_VERSION || req.version_max < KVR_VERSION)
        return op_say(answer, op, KVR_BAD_VERSION);
    if (req.max_datagram < KVR_DATAGRAM_MIN_MAX)
        return op_say(answer, op, KVR_BAD_FIELD);
    rep.max_datagram = core->max_datagram;
    if (request->local && rep.max_datagram > core->local->max_datagram)
        rep.max_datagram = core->local->max_datagram;
    if (rep.max_datagram > req.max_datagram)
        rep.max_datagram = req.max_datagram;
    request->hdr.cookie = request->local ? core->boot_id /* see local_admit */
                                         : cookie_make(core->cookies, &request->peer,
                                                       request->hdr.session, core->epoch);
    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
    return KVR_OK;
}
