/* SPDX-License-Identifier: Apache-2.0 */
/* RESERVE, WRITE, COMMIT, ABORT: a large value's memory is reserved once, its fragments come in any
 * order and any number of times, and COMMIT publishes it if its CRC32C is right. The CRC follows
 * the fragments while they are in the cache; what is left at COMMIT is done in pieces, a budget per
 * turn. */
#include <string.h>

#include "base/crc32c.h"
#include "dataplane/ops.h"
#include "dataplane/session.h"
#include "dataplane/upload.h"

#define RANGES_MAX 64u /* of an INCOMPLETE answer; the client asks again */

static void answer_handle(struct answer *answer, const struct request_op *op, uint64_t handle)
{
    struct kvr_put_rep rep = {.ref = handle};

    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
}

static void begin_upload(struct core *core, const struct request *request,
                         const struct request_op *op, const struct kvr_put_req *put, uint32_t block,
                         uint64_t *handle)
{
    struct upload *upload = upload_new(core->uploads, core->now_ms, op->partition, handle);

    upload->session = request->hdr.session;
    upload->seq = request->hdr.seq;
    upload->idx = (uint8_t)(op - request->ops);
    upload->partition = core->partitions[op->partition];
    upload->block = block;
    upload->value = partition_value(upload->partition, block);
    upload->value_len = put->value_len;
    upload->frag = put->frag;
    upload->add = put->op.flags & KVR_PUT_ADD;
    if (put->frag == KVR_FRAG_BEST) {
        upload->sums = partition_sums(upload->partition, block);
        upload->shift = core->unit_shift;
    }
    upload_begin(upload);
    counter_set(&core->stats->uploads, upload_count(core->uploads));
}

int op_reserve(struct core *core, struct request *request, struct request_op *op,
               struct answer *answer)
{
    struct kvr_put_req put;
    enum kvr_status status;
    uint64_t handle;
    uint32_t block;

    memcpy(&put, op->record, sizeof(put));
    if (put.value_len > KVR_VALUE_MAX)
        return op_say(answer, op, KVR_TOO_LARGE);
    if (upload_full(core->uploads))
        return op_say(answer, op, KVR_LIMIT);
    if ((put.op.flags & KVR_PUT_ADD) && is_stored(core, op))
        return op_say(answer, op, KVR_EXISTS);
    status = reserve_block(core, request, op, &put, &block);
    if (status == KVR_BUSY)
        return OP_PARK;
    if (status != KVR_OK)
        return op_say(answer, op, status);
    begin_upload(core, request, op, &put, block, &handle);
    answer_handle(answer, op, handle);
    return KVR_OK;
}

void reserve_repeat(struct core *core, struct request *request, const struct request_op *op,
                    struct answer *answer)
{
    uint64_t handle;

    if (upload_find_seq(core->uploads, request->hdr.session, op->partition, request->hdr.seq,
                        (uint8_t)(op - request->ops), &handle))
        answer_handle(answer, op, handle);
    else
        answer_bare(answer, op, KVR_NO_UPLOAD);
}

static void end_upload(struct core *core, struct upload *upload, enum kvr_status status,
                       uint64_t ref)
{
    upload_end(core->uploads, upload, status, ref, core->now_ms);
    counter_set(&core->stats->uploads, upload_count(core->uploads));
}

/* The upload of a handle. NULL: *status says why; one that its client gave up is dropped here. */
static struct upload *named(struct core *core, const struct request *request,
                            const struct request_op *op, uint64_t handle, enum kvr_status *status)
{
    struct upload *upload = upload_find(core->uploads, handle, request->hdr.session);
    struct session *session;

    *status = KVR_NO_UPLOAD;
    if (!upload)
        return NULL;
    session = session_find(core->sessions, request->hdr.session, op->partition);
    if (session && session_passed(session, upload->seq)) {
        if (upload->state == UPLOAD_OPEN)
            end_upload(core, upload, KVR_REPLAYED, 0);
        *status = KVR_REPLAYED;
        return NULL;
    }
    upload_touch(core->uploads, upload, core->now_ms);
    return upload;
}

/* The fragment's CRC32C follows from the datagram's, which parse has checked, and that of what lies
 * before it: no need to sum its bytes again. False: other records share the datagram. */
static bool fragment_crc(const struct core *core, const struct request *request,
                         const struct kvr_write_req *write, uint32_t *crc)
{
    uint32_t head = (uint32_t)(sizeof(request->hdr) + sizeof(*write));

    if (request->nr_ops != 1 || write->len != KVR_FRAG_BEST)
        return false;
    *crc = crc32c_join(crc32c_datagram(request->msg, head), request->hdr.crc, core->unit_shift);
    return true;
}

int op_write(struct core *core, struct request *request, struct request_op *op,
             struct answer *answer)
{
    struct kvr_write_req write;
    struct upload *upload;
    enum kvr_status status;
    uint32_t budget, crc;
    bool summed;

    memcpy(&write, op->record, sizeof(write));
    upload = named(core, request, op, write.upload, &status);
    if (!upload)
        return op_say(answer, op, status);
    if (upload->state == UPLOAD_OPEN) {
        summed = fragment_crc(core, request, &write, &crc);
        status = upload_write(upload, write.off, write.len,
                              (const uint8_t *)op->record + sizeof(write), summed ? &crc : NULL);
        if (status == KVR_OK)
            counter_add(&core->stats->value_bytes_in, write.len);
        budget = 2 * write.len; /* its own bytes, still in the cache, and as much of what waits */
        upload_advance(upload, &budget);
    } else { /* a late copy of a fragment that is stored, or of one that never will be */
        status = upload->status == KVR_OK || upload->status == KVR_EXISTS ? KVR_OK : KVR_NO_UPLOAD;
    }
    if (status == KVR_OK && (write.op.flags & KVR_WRITE_QUIET)) {
        answer_count(core, request, op, KVR_OK);
        return KVR_OK;
    }
    return op_say(answer, op, status);
}

static int incomplete(const struct upload *upload, struct request_op *op, struct answer *answer)
{
    struct {
        struct kvr_put_rep rep;
        struct kvr_range ranges[RANGES_MAX];
    } record = {0};
    uint32_t most = (answer_most(answer) - (uint32_t)sizeof(record.rep)) / 8u;

    record.rep.nr_ranges =
        upload_missing(upload, record.ranges, most < RANGES_MAX ? most : RANGES_MAX);
    answer_record(answer, op, KVR_INCOMPLETE, &record,
                  (uint32_t)(sizeof(record.rep) + record.rep.nr_ranges * sizeof(struct kvr_range)));
    return KVR_INCOMPLETE;
}

static int say_ended(const struct upload *upload, struct request_op *op, struct answer *answer)
{
    struct kvr_put_rep rep = {.ref = upload->ref};

    if (upload->status != KVR_OK)
        return op_say(answer, op, upload->status);
    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
    return KVR_OK;
}

int op_commit(struct core *core, struct request *request, struct request_op *op,
              struct answer *answer)
{
    struct kvr_commit_req commit;
    struct upload *upload;
    enum kvr_status status;
    uint64_t ref = 0;

    memcpy(&commit, op->record, sizeof(commit));
    upload = named(core, request, op, commit.upload, &status);
    if (!upload)
        return op_say(answer, op, status);
    if (upload->state == UPLOAD_ENDED)
        return say_ended(upload, op, answer);
    if (commit.value_len != upload->value_len)
        return op_say(answer, op, KVR_BAD_FIELD);
    if (upload->nr_received < upload->nr_frags)
        return incomplete(upload, op, answer);
    upload_advance(upload, &core->crc_budget);
    if (upload->crc_at < upload->value_len)
        return OP_PARK;
    status = KVR_CORRUPT;
    if (upload->crc == commit.value_crc)
        status = partition_seal(upload->partition, upload->block, upload->crc, upload->add,
                                core->now_ms, &ref);
    end_upload(core, upload, status, ref);
    return say_ended(upload, op, answer);
}

int op_abort(struct core *core, struct request *request, struct request_op *op,
             struct answer *answer)
{
    struct kvr_commit_req req;
    struct upload *upload;
    enum kvr_status status;

    memcpy(&req, op->record, sizeof(req));
    upload = named(core, request, op, req.upload, &status);
    if (!upload)
        return op_say(answer, op, status);
    if (upload->state == UPLOAD_OPEN)
        end_upload(core, upload, KVR_NO_UPLOAD, 0);
    return op_say(answer, op, upload->status == KVR_NO_UPLOAD ? KVR_OK : upload->status);
}
