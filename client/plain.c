/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that are one record there and one back: DEL, TOUCH, HINT, PING, STAT. */
#include "client/datagram.h"
#include "client/task.h"

static uint32_t key_size(const struct kvr_client *, const struct task *task)
{
    return build_key_size(task->call->key.len);
}

static uint32_t ping_size(const struct kvr_client *, const struct task *)
{
    return sizeof(struct kvr_ping);
}

static uint32_t stat_size(const struct kvr_client *, const struct task *)
{
    return sizeof(struct kvr_op);
}

static uint32_t no_weight(const struct kvr_client *, const struct task *)
{
    return 0;
}

static uint32_t stat_weight(const struct kvr_client *, const struct task *)
{
    return sizeof(struct kvr_stat_rep);
}

static void del_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                      struct writer *writer)
{
    const struct kvr_call *call = datagram->entries[entry].task->call;
    struct kvr_key_req req = {.ref = call->if_ref};

    build_key(writer, KVR_DEL, &req, call->key.data, call->key.len);
}

static void touch_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                        struct writer *writer)
{
    const struct kvr_call *call = datagram->entries[entry].task->call;
    struct kvr_key_req req = {.ttl_ms = call->ttl_ms};

    build_key(writer, KVR_TOUCH, &req, call->key.data, call->key.len);
}

static void hint_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                       struct writer *writer)
{
    const struct kvr_call *call = datagram->entries[entry].task->call;
    struct kvr_key_req req = {.hint = call->hint};

    build_key(writer, KVR_HINT, &req, call->key.data, call->key.len);
}

static void ping_write(struct kvr_client *, struct datagram *datagram, unsigned,
                       struct writer *writer)
{
    build_ping(writer, datagram->id_first);
}

static void stat_write(struct kvr_client *, struct datagram *, unsigned, struct writer *writer)
{
    build_stat(writer);
}

static void end(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                const struct kvr_op *record)
{
    struct task *task = datagram->entries[entry].task;

    datagram_close(datagram, entry);
    if (!task_soft(client, task, (enum kvr_status)record->status))
        task_end(client, task, (enum kvr_status)record->status);
}

static void expect(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                   const struct kvr_op *record, enum kvr_opcode op)
{
    if (record->op == op)
        end(client, datagram, entry, record);
    else
        client->stats.rx_unexpected++;
}

static void del_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                       const struct kvr_op *record)
{
    expect(client, datagram, entry, record, KVR_DEL);
}

static void touch_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                         const struct kvr_op *record)
{
    expect(client, datagram, entry, record, KVR_TOUCH);
}

static void hint_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                        const struct kvr_op *record)
{
    expect(client, datagram, entry, record, KVR_HINT);
}

static void ping_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                        const struct kvr_op *record)
{
    const struct kvr_ping *rep = (const void *)record;

    if (record->op == KVR_PING && record->status == KVR_OK && rep->token != datagram->id_first) {
        client->stats.rx_unexpected++;
        return;
    }
    expect(client, datagram, entry, record, KVR_PING);
}

static void stat_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                        const struct kvr_op *record)
{
    if (record->op == KVR_STAT && record->status == KVR_OK)
        datagram->entries[entry].task->call->stat =
            *(const struct kvr_stat_rep *)(const void *)record;
    expect(client, datagram, entry, record, KVR_STAT);
}

static void write_restart(struct kvr_client *, struct task *task)
{
    task->traffic = TRAFFIC_WRITE;
}

static void free_restart(struct kvr_client *, struct task *task)
{
    task->traffic = TRAFFIC_FREE;
}

#define KEY_KIND(name)                                                                             \
    const struct task_kind name##_kind = {.size = key_size,                                        \
                                          .weight = no_weight,                                     \
                                          .write = name##_write,                                   \
                                          .answer = name##_answer,                                 \
                                          .restart = write_restart}
KEY_KIND(del);
KEY_KIND(touch);
KEY_KIND(hint);

const struct task_kind ping_kind = {.size = ping_size,
                                    .weight = no_weight,
                                    .write = ping_write,
                                    .answer = ping_answer,
                                    .restart = free_restart};
const struct task_kind stat_kind = {.size = stat_size,
                                    .weight = stat_weight,
                                    .write = stat_write,
                                    .answer = stat_answer,
                                    .restart = free_restart};
