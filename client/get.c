/* SPDX-License-Identifier: Apache-2.0 */
/* GET: one question for the start of the view; its first answer says how long the view is, and the
 * rest streams in windows. Bytes go straight to the caller's buffer; task->gaps is what is missing.
 * All windows name the same block, so they never mix two values. */
#include <string.h>

#include "base/crc32c.h"
#include "client/datagram.h"
#include "client/local.h"
#include "client/loss.h"
#include "client/task.h"

#define RESTARTS_MAX 16u
#define LEASE_MAX_MS UINT16_MAX

/* Over shm:// only the lease is asked for: the bytes are at hand. */
static bool meta(const struct kvr_client *client, const struct kvr_call *call)
{
    return client->local || call->meta_only || call->buffer_len == 0;
}

static uint32_t views(const struct kvr_call *call)
{
    return call->count ? call->count : 1;
}

/* Bytes to ask for at once: trains that fill datagrams, several of them in a window. */
static uint32_t train(const struct link *link)
{
    const struct kvr_client *client = link->client;
    uint32_t payload =
        client->max_datagram - (uint32_t)(sizeof(struct kvr_hdr) + sizeof(struct kvr_get_rep));
    uint32_t most = link->flow.window / 4;

    if (most > client->hello.train_max)
        most = client->hello.train_max;
    if (payload > KVR_FRAG_BEST)
        payload = KVR_FRAG_BEST;
    return most < payload ? payload : most / payload * payload;
}

static uint32_t get_size(const struct kvr_client *, const struct task *task)
{
    return build_get_size(task->call->key.len);
}

static uint32_t get_weight(const struct kvr_client *, const struct task *task)
{
    const struct kvr_call *call = task->call;
    uint64_t most = train(task->link);

    if (meta(task->link->client, call))
        return 0;
    if (most > call->buffer_len)
        most = call->buffer_len;
    if (call->len > 0 && most > (uint64_t)call->len * views(call))
        most = (uint64_t)call->len * views(call);
    return (uint32_t)most;
}

static void ask(struct writer *writer, const struct task *task, uint32_t lo, uint32_t hi,
                uint8_t flags)
{
    const struct kvr_call *call = task->call;
    struct kvr_get_req req = {.op.flags = flags,
                              .off = call->off,
                              .len = call->len,
                              .stride = call->stride,
                              .count = (uint16_t)views(call),
                              .skip = lo,
                              .want = hi - lo,
                              .ref = task->known ? task->ref : call->if_ref};

    if (call->lease_ms > 0 && lo == 0) {
        req.op.flags |= KVR_GET_PIN;
        req.lease_ms = (uint16_t)(call->lease_ms < LEASE_MAX_MS ? call->lease_ms : LEASE_MAX_MS);
    }
    if (meta(task->link->client, call))
        req.op.flags |= KVR_GET_META;
    build_get(writer, &req, call->key.data, call->key.len);
}

/* Exactly the missing ranges if they fit the datagram; the last question takes what is left. */
static void get_write(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                      struct writer *writer)
{
    struct entry *at = &datagram->entries[entry];
    const struct task *task = at->task;
    uint32_t hi = at->hi < task->total ? at->hi : task->total;
    uint32_t size = build_get_size(task->call->key.len), lo = at->lo;
    bool doubtful = datagram->nr_sends > 0 && datagram->link->damaged;
    uint8_t flags = doubtful ? KVR_GET_CHECK : 0;
    struct range gap;

    if (!task->known) {
        ask(writer, task, at->lo, at->hi, flags);
        return;
    }
    at->end = at->lo;
    while (lo < hi && gaps_next(&task->gaps, lo, hi, &gap)) {
        bool last = datagram->nr_open > 1 || writer->nr_ops + 1u >= client->hello.max_ops ||
                    writer->nr_ops + 1u >= KVR_OPS_MAX ||
                    writer->len + 2 * size > client->max_datagram;
        at->end = last ? hi : gap.hi;
        ask(writer, task, gap.lo, at->end, flags);
        lo = at->end;
    }
}

static void get_restart(struct kvr_client *client, struct task *task)
{
    datagram_abandon(client, task);
    gaps_reset(&task->gaps, 0);
    task->known = false;
    task->cursor = task->total = 0;
    task->ref = 0;
    task->traffic = TRAFFIC_READ;
}

/* Whether the caller asked for all bytes of the value, in order. */
static bool whole(const struct kvr_call *call, uint32_t total)
{
    return call->off == 0 && total == call->stored_len &&
           (views(call) == 1 || call->stride == call->len);
}

static void get_finish(struct kvr_client *client, struct task *task)
{
    struct kvr_call *call = task->call;

    if (!client->options.no_verify && whole(call, task->total) &&
        crc32c(0, call->buffer, task->total) != call->stored_crc) {
        client->stats.value_corrupt++;
        if (task->nr_restarts++ >= RESTARTS_MAX || !task_soft(client, task, KVR_CORRUPT))
            task_end(client, task, KVR_CORRUPT);
        return;
    }
    call->result_len = task->total;
    task_end(client, task, KVR_OK);
}

static void describe(struct kvr_call *call, const struct kvr_get_rep *rep)
{
    call->stored_len = rep->value_len;
    call->stored_crc = rep->value_crc;
    call->ttl_left_ms = rep->ttl_ms;
    call->stored_layout = rep->layout;
    call->tier = rep->tier;
    call->pinned |= rep->pinned;
    call->ref = rep->ref;
}

static void copy_leased(struct kvr_client *client, struct task *task)
{
    enum kvr_status status = local_copy_leased(client, task->call);

    if (status == KVR_MISS)
        status = KVR_STALE;
    if (status == KVR_STALE && task->call->if_ref == 0 && task->nr_restarts++ < RESTARTS_MAX) {
        task_detach(client, task);
        get_restart(client, task);
        task_ready(task);
        return;
    }
    task_end(client, task, status);
}

/* The first answer. False: the call has ended, or begins anew. */
static bool learn(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                  const struct kvr_get_rep *rep)
{
    struct task *task = datagram->entries[entry].task;
    struct kvr_call *call = task->call;

    describe(call, rep);
    if (call->meta_only || rep->view_len > call->buffer_len || rep->view_len == 0) {
        bool small = !call->meta_only && rep->view_len > call->buffer_len;
        call->result_len = small ? rep->view_len : 0;
        datagram_close(datagram, entry);
        task_end(client, task, small ? KVR_BUFFER_TOO_SMALL : KVR_OK);
        return false;
    }
    if (client->local) {
        datagram_close(datagram, entry);
        copy_leased(client, task);
        return false;
    }
    task->known = true;
    task->ref = rep->ref;
    task->total = rep->view_len;
    task->cursor = datagram->entries[entry].hi;
    if (datagram->entries[entry].end > task->total)
        datagram->entries[entry].end = task->total;
    gaps_reset(&task->gaps, task->total);
    if (task->cursor < task->total)
        task_stream(task);
    return true;
}

/* Of the very block that the other windows come from, and nothing beyond what this one asked for;
 * what lies before it may be late, and is asked for by another meanwhile. */
static bool belongs(const struct task *task, const struct entry *at, const struct kvr_get_rep *rep)
{
    const struct kvr_call *call = task->call;

    if (!check_view(rep, call->off, call->len, call->stride, views(call)) ||
        (call->if_ref != 0 && rep->ref != call->if_ref) || rep->ref == 0)
        return false;
    if (task->known && (rep->ref != task->ref || rep->view_len != task->total ||
                        rep->value_len != call->stored_len || rep->value_crc != call->stored_crc))
        return false;
    if (meta(task->link->client, call))
        return rep->len == 0;
    return rep->pos + rep->len <= at->hi && (rep->len > 0 || rep->view_len == 0);
}

static void fail(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                 enum kvr_status status)
{
    struct task *task = datagram->entries[entry].task;

    datagram_close(datagram, entry);
    /* Another block has taken the place since the first window. */
    if (status == KVR_STALE && task->call->if_ref == 0 && task->nr_restarts++ < RESTARTS_MAX) {
        task_detach(client, task);
        get_restart(client, task);
        task_ready(task);
        return;
    }
    if (status == KVR_CORRUPT || !task_soft(client, task, status))
        task_end(client, task, status);
}

static void take_bytes(struct datagram *datagram, const struct entry *at,
                       const struct kvr_get_rep *rep)
{
    struct task *task = at->task;
    struct range gap;

    if (!gaps_next(&task->gaps, rep->pos, rep->pos + rep->len, &gap) ||
        !gaps_fill(&task->gaps, rep->pos, rep->pos + rep->len))
        return;
    memcpy((uint8_t *)task->call->buffer + rep->pos, rep + 1, rep->len);
    if (rep->pos >= at->lo)
        datagram_lighten(datagram, rep->len);
    else /* thought to be lost */
        flow_misjudged(&datagram->link->flow, false);
}

static void get_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                       const struct kvr_op *record)
{
    struct entry *at = &datagram->entries[entry];
    struct task *task = at->task;
    const struct kvr_get_rep *rep = (const void *)record;
    struct range gap;

    if (record->op == KVR_GET && record->status != KVR_OK) {
        fail(client, datagram, entry, (enum kvr_status)record->status);
        return;
    }
    if (record->op != KVR_GET || !belongs(task, at, rep)) {
        client->stats.rx_unexpected++;
        return;
    }
    if (!task->known && !learn(client, datagram, entry, rep))
        return;
    take_bytes(datagram, at, rep);
    if (!gaps_next(&task->gaps, at->lo, at->hi, &gap))
        datagram_close(datagram, entry);
    else if (datagram->current && datagram->nr_entries == 1)
        loss_behind(datagram, rep->pos, rep->pos + rep->len);
    if (gaps_none(&task->gaps))
        get_finish(client, task);
}

static bool get_stream(struct kvr_client *, struct task *task)
{
    struct datagram *datagram;
    struct range gap;
    uint32_t most = train(task->link);

    if (!gaps_next(&task->gaps, task->cursor, task->total, &gap))
        return false;
    datagram = datagram_take(task->link, TRAFFIC_READ, task->priority);
    if (!datagram)
        return true;
    if (gap.hi - gap.lo > most)
        gap.hi = gap.lo + most;
    datagram_add(datagram, task, gap.lo, gap.hi);
    datagram_launch(datagram, gap.hi - gap.lo);
    task->cursor = gap.hi;
    return task->cursor < task->total;
}

const struct task_kind get_kind = {
    .size = get_size,
    .weight = get_weight,
    .write = get_write,
    .answer = get_answer,
    .stream = get_stream,
    .restart = get_restart,
};
