/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of kvrail/client.h: what they promise is written there. */
#include "client/local.h"
#include "client/poll.h"
#include "client/task.h"
#include "client/transfer.h"

#define LAYER_LOOK_NS (50 * NS_PER_US)

int kvr_fd(const struct kvr_client *client)
{
    client->wake->watched = true;
    return client->wake->epoll_fd;
}

enum kvr_status kvr_submit(struct kvr_client *client, struct kvr_call *call)
{
    enum kvr_status status;

    client->now_ns = clock_ns();
    status = task_start(client, call, NULL);
    client->wake->asked = true;
    poll_arm(client);
    return status;
}

void kvr_cancel(struct kvr_client *client, struct kvr_call *call)
{
    if (!call->private_state)
        return;
    client->now_ns = clock_ns();
    task_end(client, call->private_state, KVR_CANCELED);
    poll_arm(client);
}

static bool idle(const struct kvr_client *client)
{
    return TAILQ_EMPTY(&client->tasks) && TAILQ_EMPTY(&client->completed);
}

static bool any_ended(const struct kvr_client *client)
{
    return !TAILQ_EMPTY(&client->completed) || client->nr_ended > 0;
}

/* Devices ring no bell for a layer. */
static uint64_t next_look(struct kvr_client *client, uint64_t until_ns)
{
    uint64_t look_ns = client->now_ns + LAYER_LOOK_NS;

    if (client->nr_watching == 0)
        return until_ns;
    transfers_look(client);
    return look_ns < until_ns ? look_ns : until_ns;
}

int kvr_poll(struct kvr_client *client, int timeout_ms)
{
    uint64_t until_ns = NEVER;
    int ended;

    if (client->local && local_forked(client->local))
        return 0;
    poll_turn(client);
    if (timeout_ms >= 0)
        until_ns = client->now_ns + (uint64_t)timeout_ms * NS_PER_MS;
    /* Once even with nothing to wait for: what made kvr_fd readable must be taken. */
    do {
        bool now = any_ended(client) || idle(client);
        poll_wait(client, now ? 0 : next_look(client, until_ns));
    } while (!any_ended(client) && !idle(client) && client->now_ns < until_ns);
    ended = tasks_report(client);
    ended += transfers_report(client);
    poll_arm(client);
    return ended;
}

/* GET and MATCH over shm:// end here if nothing is in their way. False: let it be a task. */
static bool served(struct kvr_client *client, struct kvr_call *call)
{
    uint64_t started_ns = client->now_ns;

    if (!client->local || call->lease_ms > 0 ||
        (call->op != KVR_CALL_GET && call->op != KVR_CALL_MATCH) || !task_valid(call))
        return false;
    task_clear(call);
    call->status = local_usable(client);
    if (call->status == KVR_OK && local_call(client, call) == LOCAL_AGAIN)
        return false;
    if (call->status == KVR_CORRUPT)
        poll_turn(client); /* so that the server hears of it */
    call->latency_ns = clock_ns() - started_ns;
    return true;
}

enum kvr_status kvr_do_batch(struct kvr_client *client, struct kvr_call *calls, size_t n)
{
    uint32_t waited = 0, started = 0;

    client->now_ns = clock_ns();
    for (size_t i = 0; i < n; i++) {
        enum kvr_status status;

        if (served(client, &calls[i]))
            continue;
        waited++;
        status = task_start(client, &calls[i], &waited);
        started += status == KVR_OK;
        if (status != KVR_OK) {
            calls[i].status = status;
            waited--;
        }
    }
    if (started > 0)
        poll_until(client, &waited);
    for (size_t i = 0; i < n; i++)
        if (calls[i].status != KVR_OK)
            return calls[i].status;
    return KVR_OK;
}

enum kvr_status kvr_do(struct kvr_client *client, struct kvr_call *call)
{
    return kvr_do_batch(client, call, 1);
}

enum kvr_status kvr_get(struct kvr_client *client, const void *key, size_t key_len, void *buffer,
                        size_t buffer_len, size_t *len)
{
    struct kvr_call call = {.op = KVR_CALL_GET, .buffer = buffer, .buffer_len = buffer_len};
    enum kvr_status status;

    if (key_len > KVR_KEY_MAX)
        return KVR_INVALID;
    call.key = (struct kvr_key){key, (uint32_t)key_len};
    status = kvr_do(client, &call);
    if (len)
        *len = call.result_len;
    return status;
}

static enum kvr_status do_key(struct kvr_client *client, struct kvr_call *call, const void *key,
                              size_t key_len)
{
    if (key_len > KVR_KEY_MAX)
        return KVR_INVALID;
    call->key = (struct kvr_key){key, (uint32_t)key_len};
    return kvr_do(client, call);
}

enum kvr_status kvr_put(struct kvr_client *client, const void *key, size_t key_len,
                        const void *value, size_t value_len, uint32_t ttl_ms)
{
    struct kvr_call call = {
        .op = KVR_CALL_PUT, .value = value, .value_len = value_len, .ttl_ms = ttl_ms};

    return do_key(client, &call, key, key_len);
}

enum kvr_status kvr_del(struct kvr_client *client, const void *key, size_t key_len)
{
    struct kvr_call call = {.op = KVR_CALL_DEL};

    return do_key(client, &call, key, key_len);
}

enum kvr_status kvr_touch(struct kvr_client *client, const void *key, size_t key_len,
                          uint32_t ttl_ms)
{
    struct kvr_call call = {.op = KVR_CALL_TOUCH, .ttl_ms = ttl_ms};

    return do_key(client, &call, key, key_len);
}

enum kvr_status kvr_hint(struct kvr_client *client, const void *key, size_t key_len,
                         const struct kvr_hint *hint)
{
    struct kvr_call call = {.op = KVR_CALL_HINT, .hint = *hint};

    return do_key(client, &call, key, key_len);
}

enum kvr_status kvr_match(struct kvr_client *client, const struct kvr_key *keys, size_t nr_keys,
                          struct kvr_match *matches, uint32_t *prefix)
{
    struct kvr_call call = {.op = KVR_CALL_MATCH, .keys = keys, .matches = matches};
    enum kvr_status status;

    if (nr_keys > UINT32_MAX)
        return KVR_INVALID;
    call.nr_keys = (uint32_t)nr_keys;
    status = kvr_do(client, &call);
    if (prefix)
        *prefix = status == KVR_OK ? call.prefix : 0;
    return status;
}

enum kvr_status kvr_ping(struct kvr_client *client, uint64_t *rtt_ns)
{
    struct kvr_call call = {.op = KVR_CALL_PING};
    enum kvr_status status = kvr_do(client, &call);

    if (rtt_ns)
        *rtt_ns = call.latency_ns;
    return status;
}

enum kvr_status kvr_stat(struct kvr_client *client, struct kvr_stat_rep *stat)
{
    struct kvr_call call = {.op = KVR_CALL_STAT};
    enum kvr_status status = kvr_do(client, &call);

    *stat = call.stat;
    return status;
}
