/* SPDX-License-Identifier: Apache-2.0 */
/* PUT: one record where the value fits a datagram; else RESERVE, WRITEs of equal fragments in a
 * window, COMMIT. task->gaps is what the server has not acknowledged. The sequence number of the
 * RESERVE belongs to the task until the upload has ended. */
#include <string.h>

#include "base/crc32c.h"
#include "client/datagram.h"
#include "client/task.h"

enum put_phase { PUT_WHOLE, PUT_RESERVE, PUT_WRITE, PUT_COMMIT };

static uint32_t put_size(const struct kvr_client *, const struct task *task)
{
    const struct kvr_call *call = task->call;

    switch ((enum put_phase)task->phase) {
    case PUT_WHOLE:
        return build_put_size(call->key.len, (uint32_t)call->value_len);
    case PUT_RESERVE:
        return build_put_size(call->key.len, 0);
    default:
        return sizeof(struct kvr_commit_req);
    }
}

static uint32_t put_weight(const struct kvr_client *, const struct task *)
{
    return 0;
}

bool put_is_small(const struct kvr_client *client, const struct kvr_call *call)
{
    uint32_t room = client->max_datagram - (uint32_t)sizeof(struct kvr_hdr);

    return call->value_len <= room &&
           build_put_size(call->key.len, (uint32_t)call->value_len) <= room;
}

static void put_restart(struct kvr_client *client, struct task *task)
{
    const struct kvr_call *call = task->call;
    uint32_t room = client->max_datagram - (uint32_t)sizeof(struct kvr_hdr);
    bool small = put_is_small(client, call);

    datagram_abandon(client, task);
    task_unqueue(client, task);
    if (task->seq != 0)
        order_finish(&task->link->order, task->seq, true);
    task->seq = 0;
    task->phase = small ? PUT_WHOLE : PUT_RESERVE;
    task->traffic = TRAFFIC_WRITE;
    task->alone = !small;
    task->frag = (room - (uint32_t)sizeof(struct kvr_write_req)) & ~7u;
    if (task->frag > KVR_FRAG_BEST)
        task->frag = KVR_FRAG_BEST;
    task->cursor = 0;
    task->total = (uint32_t)call->value_len;
    task->ref = 0;
    task->crc = task->crc_len = 0;
    gaps_reset(&task->gaps, 0);
}

static uint32_t value_crc(struct task *task)
{
    const uint8_t *value = task->call->value;

    if (task->crc_len < task->total)
        task->crc = crc32c(task->crc, value + task->crc_len, task->total - task->crc_len);
    task->crc_len = task->total;
    return task->crc;
}

/* The fragment just sent was summed for its datagram; that of the value goes on by it. */
static void follow_crc(struct task *task, const struct datagram *datagram)
{
    uint32_t shift = datagram->link->client->frag_shift;

    if (datagram->entries[0].lo != task->crc_len || datagram->tail_len != KVR_FRAG_BEST)
        return;
    task->crc =
        crc32c_join(task->crc, build_tail_crc(datagram->bytes, datagram->head_len, shift), shift);
    task->crc_len += KVR_FRAG_BEST;
}

static void write_put(struct writer *writer, struct task *task)
{
    const struct kvr_call *call = task->call;
    bool small = task->phase == PUT_WHOLE;
    struct kvr_put_req req = {.op.flags = call->add ? KVR_PUT_ADD : 0,
                              .value_len = task->total,
                              .value_crc = small ? value_crc(task) : 0,
                              .ttl_ms = call->ttl_ms,
                              .layout = call->layout,
                              .frag = small ? 0 : task->frag,
                              .hint = call->hint};
    const void *value = call->value ? call->value : "";

    build_put(writer, &req, call->key.data, call->key.len, small ? value : NULL);
}

static void put_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                      struct writer *writer)
{
    const struct entry *at = &datagram->entries[entry];
    struct task *task = at->task;

    switch ((enum put_phase)task->phase) {
    case PUT_RESERVE:
        task->seq = order_take(&task->link->order);
        datagram->seq = task->seq;
        write_put(writer, task);
        break;
    case PUT_WHOLE:
        write_put(writer, task);
        break;
    case PUT_WRITE:
        datagram->seq = task->seq;
        datagram->tail = (const uint8_t *)task->call->value + at->lo;
        datagram->tail_len = at->hi - at->lo;
        build_write(writer, 0, task->ref, at->lo, at->hi - at->lo);
        break;
    case PUT_COMMIT:
        datagram->seq = task->seq;
        build_commit(writer, KVR_COMMIT, task->ref, value_crc(task), task->total);
        break;
    }
}

static void put_give_up(struct kvr_client *, struct task *task)
{
    _Alignas(8) uint8_t bytes[sizeof(struct kvr_hdr) + sizeof(struct kvr_commit_req)];
    struct writer writer;

    if (task->ref == 0 || task->link->state != LINK_READY)
        return;
    build_begin(&writer, bytes);
    build_commit(&writer, KVR_ABORT, task->ref, 0, task->total);
    datagram_stray(task->link, &writer, task->seq, task->priority);
}

/* The server's last word about the call. */
static void end(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                enum kvr_status status, uint64_t ref)
{
    struct task *task = datagram->entries[entry].task;

    datagram_close(datagram, entry);
    /* Corrupt again: the caller changes the value under our hands. */
    if ((status != KVR_CORRUPT || task->nr_restarts++ == 0) && task_soft(client, task, status))
        return;
    if (task->phase == PUT_WRITE)
        put_give_up(client, task);
    if (task->seq != 0)
        order_finish(&task->link->order, task->seq, false);
    task->seq = 0;
    task->ref = 0;
    task->call->ref = status == KVR_OK ? ref : 0;
    task_end(client, task, status);
}

static void reserved(struct datagram *datagram, unsigned entry, uint64_t upload)
{
    struct task *task = datagram->entries[entry].task;

    datagram_close(datagram, entry);
    task->ref = upload;
    task->phase = PUT_WRITE;
    gaps_reset(&task->gaps, task->total);
    task_stream(task);
}

static void written(struct datagram *datagram, unsigned entry)
{
    struct entry at = datagram->entries[entry];

    if (!gaps_fill(&at.task->gaps, at.lo, at.hi))
        return; /* sent again later, when there are fewer gaps */
    datagram_close(datagram, entry);
    if (!gaps_none(&at.task->gaps))
        return;
    task_unqueue(datagram->link->client, at.task);
    at.task->phase = PUT_COMMIT;
    at.task->traffic = TRAFFIC_FREE;
    task_ready(at.task);
}

/* The server misses fragments after all. */
static void incomplete(struct datagram *datagram, unsigned entry, const struct kvr_put_rep *rep)
{
    struct task *task = datagram->entries[entry].task;

    datagram_close(datagram, entry);
    gaps_of_fragments(&task->gaps, (const struct kvr_range *)(const void *)(rep + 1),
                      rep->nr_ranges, task->frag, task->total);
    task->phase = gaps_none(&task->gaps) ? PUT_COMMIT : PUT_WRITE;
    task->cursor = 0;
    if (task->phase == PUT_WRITE)
        task_stream(task);
    else
        task_ready(task);
}

static void put_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                       const struct kvr_op *record)
{
    static const uint8_t expected[] = {[PUT_WHOLE] = KVR_PUT,
                                       [PUT_RESERVE] = KVR_RESERVE,
                                       [PUT_WRITE] = KVR_WRITE,
                                       [PUT_COMMIT] = KVR_COMMIT};
    struct task *task = datagram->entries[entry].task;
    const struct kvr_put_rep *rep = (const void *)record;
    enum kvr_status status = (enum kvr_status)record->status;

    if (record->op != expected[task->phase]) {
        client->stats.rx_unexpected++;
        return;
    }
    if (status == KVR_OK && task->phase == PUT_RESERVE)
        reserved(datagram, entry, rep->ref);
    else if (status == KVR_OK && task->phase == PUT_WRITE)
        written(datagram, entry);
    else if (status == KVR_INCOMPLETE && task->phase == PUT_COMMIT)
        incomplete(datagram, entry, rep);
    else if (task->phase == PUT_WRITE && (status == KVR_BUSY || status == KVR_EXPIRED))
        client->stats.busy++; /* the fragment's own timer repeats it */
    else
        end(client, datagram, entry, status, status == KVR_OK ? rep->ref : 0);
}

static bool put_stream(struct kvr_client *, struct task *task)
{
    struct datagram *datagram;
    struct range gap;

    if (!gaps_next(&task->gaps, task->cursor, task->total, &gap))
        return false;
    datagram = datagram_take(task->link, TRAFFIC_FREE, task->priority);
    if (!datagram)
        return true;
    if (gap.hi - gap.lo > task->frag)
        gap.hi = gap.lo + task->frag;
    datagram_add(datagram, task, gap.lo, gap.hi);
    datagram_launch(datagram, 0);
    follow_crc(task, datagram);
    task->cursor = gap.hi;
    return task->cursor < task->total;
}

const struct task_kind put_kind = {
    .size = put_size,
    .weight = put_weight,
    .write = put_write,
    .answer = put_answer,
    .stream = put_stream,
    .restart = put_restart,
    .give_up = put_give_up,
};
