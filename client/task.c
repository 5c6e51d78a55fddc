/* SPDX-License-Identifier: Apache-2.0 */
/* Calls from start to end. Every running call is in client->tasks, and ends by exactly one
 * task_end, whatever reached it first: answer, deadline, cancel, or the handle's own end. */
#include "client/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "client/datagram.h"
#include "client/local.h"

#define SPARE_MAX 1024u
#define RETRY_FIRST_NS (200 * NS_PER_US)
#define RETRY_DOUBLINGS 7u
#define WAIT_FIRST_NS (20 * NS_PER_US) /* for the arena, or for room of our own */
#define WAIT_MAX_NS (NS_PER_MS)

static const struct task_kind *const kinds[] = {
    [KVR_CALL_GET] = &get_kind,     [KVR_CALL_PUT] = &put_kind,   [KVR_CALL_DEL] = &del_kind,
    [KVR_CALL_TOUCH] = &touch_kind, [KVR_CALL_HINT] = &hint_kind, [KVR_CALL_MATCH] = &match_kind,
    [KVR_CALL_PING] = &ping_kind,   [KVR_CALL_STAT] = &stat_kind,
};

static bool key_valid(const struct kvr_key *key)
{
    return key->data && key->len >= 1 && key->len <= KVR_KEY_MAX;
}

static bool get_valid(const struct kvr_call *call)
{
    if (call->count > UINT16_MAX || (call->len == 0 && call->count > 1))
        return false;
    return call->buffer || call->buffer_len == 0;
}

static bool match_valid(const struct kvr_call *call)
{
    if (!call->keys || call->nr_keys == 0)
        return false;
    for (uint32_t i = 0; i < call->nr_keys; i++)
        if (!key_valid(&call->keys[i]))
            return false;
    return true;
}

bool task_valid(const struct kvr_call *call)
{
    if ((int)call->op < KVR_CALL_GET || (int)call->op > KVR_CALL_STAT || call->private_state ||
        (call->priority_set && call->priority >= KVR_PRIORITIES))
        return false;
    switch (call->op) {
    case KVR_CALL_PING:
    case KVR_CALL_STAT:
        return true;
    case KVR_CALL_MATCH:
        return match_valid(call);
    case KVR_CALL_GET:
        return key_valid(&call->key) && get_valid(call);
    case KVR_CALL_PUT:
        return key_valid(&call->key) && (call->value || call->value_len == 0);
    default:
        return key_valid(&call->key);
    }
}

struct link *task_route(struct kvr_client *client, const void *key, uint32_t key_len)
{
    if (client->nr_links == 1)
        return client->links[0];
    return client
        ->links[hash_partition(hash_key(key, key_len, client->hello.seed), client->nr_links)];
}

static struct task *new_task(struct kvr_client *client, struct kvr_call *call)
{
    struct task *task = TAILQ_FIRST(&client->spare_tasks);

    if (task) {
        TAILQ_REMOVE(&client->spare_tasks, task, all);
        client->nr_spare_tasks--;
    } else {
        task = malloc(sizeof(*task));
        if (!task)
            return NULL;
    }
    *task = (struct task){.call = call, .started_ns = client->now_ns};
    gaps_setup(&task->gaps);
    return task;
}

static void recycle(struct kvr_client *client, struct task *task)
{
    if (client->nr_spare_tasks == SPARE_MAX) {
        free(task);
        return;
    }
    TAILQ_INSERT_HEAD(&client->spare_tasks, task, all);
    client->nr_spare_tasks++;
}

static const struct task_kind *kind_of(const struct kvr_client *client, const struct kvr_call *call)
{
    if (client->local && call->lease_ms == 0 && call->op == KVR_CALL_GET)
        return &local_get_kind;
    if (client->local && call->lease_ms == 0 && call->op == KVR_CALL_MATCH)
        return &local_match_kind;
    if (client->local && call->op == KVR_CALL_PUT && !put_is_small(client, call))
        return client->local->mount->may_write ? &place_kind : &store_kind;
    return kinds[call->op];
}

static void wait_a_moment(struct kvr_client *client, struct task *task)
{
    uint64_t wait_ns = WAIT_FIRST_NS << (task->nr_waits < 6 ? task->nr_waits : 6);

    task->nr_waits++;
    task->not_before_ns = client->now_ns + (wait_ns < WAIT_MAX_NS ? wait_ns : WAIT_MAX_NS);
    task->place = PLACE_DELAYED;
    TAILQ_INSERT_TAIL(&client->delayed, task, queued);
    if (task->not_before_ns < client->next_delayed_ns)
        client->next_delayed_ns = task->not_before_ns;
}

/* Queues it, or has it wait; what needs no server ends here. */
static void proceed(struct kvr_client *client, struct task *task)
{
    switch (task->kind->prepare ? task->kind->prepare(client, task) : PREPARE_SEND) {
    case PREPARE_SEND:
        task_ready(task);
        break;
    case PREPARE_WAIT:
        wait_a_moment(client, task);
        break;
    case PREPARE_DONE:
        client->now_ns = clock_ns(); /* it may have copied a lot */
        task_end(client, task, task->call->status);
        break;
    }
}

static struct link *route(struct kvr_client *client, const struct task *task)
{
    if (task->kind->route)
        return task->kind->route(client, task);
    switch (task->call->op) {
    case KVR_CALL_PING:
    case KVR_CALL_STAT:
    case KVR_CALL_MATCH: /* a local one, that asks nobody */
        return client->links[0];
    default:
        return task_route(client, task->call->key.data, task->call->key.len);
    }
}

/* Sends it on its way, from the start or after the server forgot everything. */
static enum kvr_status begin(struct kvr_client *client, struct task *task)
{
    if (!task->special)
        task->kind = kind_of(client, task->call);
    task->kind->restart(client, task);
    if (task->kind == &match_kind)
        return match_start(client, task);
    task->link = route(client, task);
    if (!task->link)
        return KVR_UNREACHABLE;
    if (task->call->op == KVR_CALL_PUT && task->call->value_len > client->hello.max_value)
        return KVR_TOO_LARGE;
    proceed(client, task);
    return KVR_OK;
}

void task_clear(struct kvr_call *call)
{
    call->status = KVR_TIMEOUT;
    call->result_len = 0;
    call->stored_len = call->stored_crc = call->ttl_left_ms = 0;
    call->stored_layout = 0;
    call->tier = call->pinned = 0;
    call->ref = 0;
    call->prefix = call->nr_present = call->nr_pinned = call->nr_retransmits = 0;
}

enum kvr_status task_start(struct kvr_client *client, struct kvr_call *call, uint32_t *waited)
{
    return task_start_as(client, call, NULL, waited);
}

enum kvr_status task_start_as(struct kvr_client *client, struct kvr_call *call,
                              const struct task_kind *kind, uint32_t *waited)
{
    uint32_t timeout_ms = call->timeout_ms ? call->timeout_ms : client->options.timeout_ms;
    enum kvr_status status;
    struct task *task;

    if (client->closing || (!kind && !task_valid(call)))
        return KVR_INVALID;
    if (client->local && local_forked(client->local))
        return KVR_INVALID;
    task = new_task(client, call);
    if (!task)
        return KVR_NO_MEMORY;
    task_clear(call);
    task->kind = kind;
    task->special = kind != NULL;
    task->waited = waited;
    task->priority = call->priority_set ? call->priority : client->options.priority;
    task->deadline_ns = client->now_ns + timeout_ms * NS_PER_MS;
    if (task->deadline_ns < client->next_deadline_ns)
        client->next_deadline_ns = task->deadline_ns;
    call->private_state = task;
    TAILQ_INSERT_TAIL(&client->tasks, task, all);
    status = begin(client, task);
    if (status == KVR_NO_MEMORY) {
        TAILQ_REMOVE(&client->tasks, task, all);
        call->private_state = NULL;
        recycle(client, task);
        return status;
    }
    if (status != KVR_OK)
        task_end(client, task, status);
    return KVR_OK;
}

void task_ready(struct task *task)
{
    struct link *link = task->link;

    if (task->place != PLACE_NONE)
        return;
    task->place = PLACE_READY;
    TAILQ_INSERT_TAIL(&link->ready[task->priority][task->traffic], task, queued);
    link->nr_ready++;
    link_mark(link);
}

void task_stream(struct task *task)
{
    if (task->place != PLACE_NONE)
        return;
    task->place = PLACE_STREAM;
    TAILQ_INSERT_TAIL(&task->link->streams, task, queued);
    link_mark(task->link);
}

void task_unqueue(struct kvr_client *client, struct task *task)
{
    switch ((enum task_place)task->place) {
    case PLACE_NONE:
        return;
    case PLACE_READY:
        TAILQ_REMOVE(&task->link->ready[task->priority][task->traffic], task, queued);
        task->link->nr_ready--;
        break;
    case PLACE_STREAM:
        TAILQ_REMOVE(&task->link->streams, task, queued);
        break;
    case PLACE_DELAYED:
        TAILQ_REMOVE(&client->delayed, task, queued);
        break;
    }
    task->place = PLACE_NONE;
}

void task_detach(struct kvr_client *client, struct task *task)
{
    task_unqueue(client, task);
    datagram_abandon(client, task);
}

/* Doubling waits with jitter; the deadline ends them. */
static void delay(struct kvr_client *client, struct task *task)
{
    uint32_t doublings = task->nr_delays++;
    uint64_t wait_ns;

    if (doublings > RETRY_DOUBLINGS)
        doublings = RETRY_DOUBLINGS;
    wait_ns = RETRY_FIRST_NS << doublings;
    task->not_before_ns = client->now_ns + wait_ns / 2 + rng_below(&client->rng, wait_ns);
    task->place = PLACE_DELAYED;
    TAILQ_INSERT_TAIL(&client->delayed, task, queued);
    if (task->not_before_ns < client->next_delayed_ns)
        client->next_delayed_ns = task->not_before_ns;
}

/* Whether what has been reached counts for nothing after this refusal. Long values begin again as
 * well: which of their parts are still on their way is no longer known. */
static bool starts_over(const struct task *task, enum kvr_status status)
{
    bool refused_part = status == KVR_BUSY || status == KVR_EXPIRED || status == KVR_LIMIT;

    return !refused_part || task->traffic != TRAFFIC_FREE;
}

bool task_soft(struct kvr_client *client, struct task *task, enum kvr_status status)
{
    switch (status) {
    case KVR_BUSY:
        client->stats.busy++;
        break;
    case KVR_NO_UPLOAD:
    case KVR_CORRUPT:
    case KVR_EXPIRED:
    case KVR_LIMIT:
    case KVR_REPLAYED:
    case KVR_NO_REGION: /* the server is new, and about to be told */
        break;
    default:
        return false;
    }
    task_detach(client, task);
    if (starts_over(task, status))
        task->kind->restart(client, task);
    task->last_status = (uint8_t)status;
    delay(client, task);
    return true;
}

static void end_parts(struct kvr_client *client, struct task *task)
{
    if (task->plan)
        match_free(client, task);
    task_detach(client, task);
    gaps_teardown(&task->gaps);
}

void task_end(struct kvr_client *client, struct task *task, enum kvr_status status)
{
    struct kvr_call *call = task->call;

    task = match_whole(task);
    if (status != KVR_OK && task->kind->give_up)
        task->kind->give_up(client, task);
    if (task->seq != 0)
        order_finish(&task->link->order, task->seq, status != KVR_OK);
    end_parts(client, task);
    if (status == KVR_TIMEOUT)
        client->stats.timeouts++;
    call->status = status;
    call->latency_ns = client->now_ns - task->started_ns;
    call->nr_retransmits = task->nr_repeats;
    call->private_state = NULL;
    TAILQ_REMOVE(&client->tasks, task, all);
    if (task->waited) {
        --*task->waited;
        recycle(client, task);
    } else {
        TAILQ_INSERT_TAIL(&client->completed, task, all);
    }
}

int tasks_report(struct kvr_client *client)
{
    struct task *task;
    int n = 0;

    while ((task = TAILQ_FIRST(&client->completed))) {
        struct kvr_call *call = task->call;

        TAILQ_REMOVE(&client->completed, task, all);
        recycle(client, task);
        n++;
        if (call->done)
            call->done(call);
    }
    return n;
}

/* A refusal is the better reason, where the call surely did not happen after it. */
static enum kvr_status why_late(const struct kvr_client *client, const struct task *task)
{
    bool refused = task->last_status == KVR_LIMIT || task->last_status == KVR_BUSY ||
                   task->last_status == KVR_CORRUPT || task->last_status == KVR_NO_REGION;

    if (client->local && client->local->lost)
        return KVR_UNREACHABLE;
    return task->place == PLACE_DELAYED && refused ? (enum kvr_status)task->last_status
                                                   : KVR_TIMEOUT;
}

static void end_late(struct kvr_client *client)
{
    struct task *task, *next;

    client->next_deadline_ns = NEVER;
    for (task = TAILQ_FIRST(&client->tasks); task; task = next) {
        next = TAILQ_NEXT(task, all);
        if (task->deadline_ns <= client->now_ns)
            task_end(client, task, why_late(client, task));
        else if (task->deadline_ns < client->next_deadline_ns)
            client->next_deadline_ns = task->deadline_ns;
    }
}

static void end_delays(struct kvr_client *client)
{
    struct task *task, *next;

    client->next_delayed_ns = NEVER;
    for (task = TAILQ_FIRST(&client->delayed); task; task = next) {
        next = TAILQ_NEXT(task, queued);
        if (task->not_before_ns <= client->now_ns) {
            task_unqueue(client, task);
            proceed(client, task);
        } else if (task->not_before_ns < client->next_delayed_ns) {
            client->next_delayed_ns = task->not_before_ns;
        }
    }
}

void tasks_expire(struct kvr_client *client)
{
    if (client->now_ns >= client->next_deadline_ns)
        end_late(client);
    if (client->now_ns >= client->next_delayed_ns)
        end_delays(client);
}

void tasks_halt(struct kvr_client *client)
{
    struct task *task;

    datagrams_drop(client);
    for (task = TAILQ_FIRST(&client->tasks); task; task = TAILQ_NEXT(task, all)) {
        if (task->plan)
            match_free(client, task);
        task_unqueue(client, task);
        if (task->seq != 0)
            order_finish(&task->link->order, task->seq, true);
        task->seq = 0;
    }
}

void tasks_resume(struct kvr_client *client)
{
    struct task *task, *next;

    for (task = TAILQ_FIRST(&client->tasks); task; task = next) {
        enum kvr_status status;

        next = TAILQ_NEXT(task, all);
        status = begin(client, task);
        if (status != KVR_OK)
            task_end(client, task, status);
    }
}

void tasks_destroy(struct kvr_client *client)
{
    struct task *task;

    while ((task = TAILQ_FIRST(&client->tasks)))
        task_end(client, task, KVR_CANCELED);
    tasks_report(client);
    while ((task = TAILQ_FIRST(&client->spare_tasks))) {
        TAILQ_REMOVE(&client->spare_tasks, task, all);
        free(task);
    }
}
