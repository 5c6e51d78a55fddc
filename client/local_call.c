/* SPDX-License-Identifier: Apache-2.0 */
/* GET and MATCH out of the mapped arena, as calls: at once where nothing is in the way, else as
 * tasks that try again until their deadline. A GET copies while it holds the block. */
#include <string.h>

#include "base/crc32c.h"
#include "client/find.h"
#include "client/poll.h"
#include "client/task.h"

#define BATCH 32u

/* The bytes that a GET names: pieces of a value, stride apart. */
struct pieces {
    uint32_t piece, stride;
    uint64_t len; /* of all */
};

/* False: not all of it lies in the value. Like the server's (docs/protocol.md, GET). */
static bool cut(const struct kvr_call *call, uint32_t value_len, struct pieces *pieces)
{
    uint64_t count = call->count ? call->count : 1, last;

    if (call->off > value_len)
        return false;
    pieces->stride = call->stride;
    if (call->len == 0) {
        pieces->piece = value_len - call->off;
        pieces->len = pieces->piece;
        return true;
    }
    last = call->off + (count - 1) * call->stride;
    pieces->piece = call->len;
    pieces->len = count * call->len;
    return last + call->len <= value_len && pieces->len <= KVR_VALUE_MAX;
}

static void gather(uint8_t *to, const uint8_t *from, const struct pieces *pieces)
{
    if (pieces->piece == pieces->len || pieces->stride == pieces->piece) {
        memcpy(to, from, pieces->len);
        return;
    }
    for (uint64_t done = 0; done < pieces->len; done += pieces->piece, from += pieces->stride)
        memcpy(to + done, from, pieces->piece);
}

/* Whether the caller has all bytes of the value, in order. */
static bool whole(const struct kvr_call *call, const struct pieces *pieces)
{
    return call->off == 0 && pieces->len == call->stored_len &&
           (pieces->piece == pieces->len || pieces->stride == pieces->piece);
}

static void describe(struct kvr_call *call, const struct block_view *block)
{
    call->stored_len = block->value_len;
    call->stored_crc = block->value_crc;
    call->ttl_left_ms = block->ttl_ms;
    call->stored_layout = block->layout;
    call->tier = KVR_TIER_HOST;
    call->ref = block->ref;
}

/* The block is held. */
static enum kvr_status copy_out(const struct kvr_client *client, struct kvr_call *call,
                                const struct block_view *block)
{
    struct pieces pieces;

    if (!cut(call, block->value_len, &pieces))
        return KVR_BAD_RANGE;
    describe(call, block);
    if (call->meta_only)
        return KVR_OK;
    call->result_len = pieces.len;
    if (pieces.len > call->buffer_len)
        return KVR_BUFFER_TOO_SMALL;
    if (pieces.len == 0)
        return KVR_OK;
    gather(call->buffer, block->value + call->off, &pieces);
    if (!client->options.no_verify && whole(call, &pieces) &&
        crc32c(0, call->buffer, pieces.len) != call->stored_crc) {
        call->result_len = 0;
        return KVR_CORRUPT;
    }
    return KVR_OK;
}

void local_drop(struct kvr_client *client, const struct kvr_key *key, uint64_t ref)
{
    struct local *local = client->local;

    client->stats.value_corrupt++;
    if (local->drop.private_state)
        return; /* the next reader comes across it again */
    memcpy(local->drop_key, key->data, key->len);
    local->drop = (struct kvr_call){.op = KVR_CALL_DEL, .key = {local->drop_key, key->len}};
    local->drop.if_ref = ref;
    local->drop_waited = 1;
    (void)task_start(client, &local->drop, &local->drop_waited);
}

static enum local_outcome get(struct kvr_client *client, struct kvr_call *call, uint64_t only)
{
    struct mount *mount = client->local->mount;
    struct block_view block;
    struct probe probe;
    enum found found;

    probe_setup(&probe, mount, &call->key);
    if (probe_fenced(client, &probe))
        return LOCAL_AGAIN;
    found = probe_pin(mount, &probe, &call->key, &block);
    if (found == FOUND_UNSURE)
        return LOCAL_AGAIN;
    if (found != FOUND) {
        mount->segment.header->misses += found == FOUND_ABSENT;
        call->status = found == FOUND_ABSENT ? KVR_MISS : KVR_LIMIT;
        return LOCAL_DONE;
    }
    call->status = only && block.ref != only ? KVR_STALE : copy_out(client, call, &block);
    probe_let_go(mount, &probe);
    if (call->status == KVR_CORRUPT)
        local_drop(client, &call->key, block.ref);
    if (call->status != KVR_OK)
        return LOCAL_DONE;
    probe_record(mount, &probe, block.ref);
    mount->segment.header->hits++;
    mount->segment.header->hit_bytes += call->result_len;
    return LOCAL_DONE;
}

enum kvr_status local_copy_leased(struct kvr_client *client, struct kvr_call *call)
{
    return get(client, call, call->ref) == LOCAL_DONE ? call->status : KVR_STALE;
}

/* A key's answer. False: it has to be asked again. */
static bool answer(struct kvr_call *call, uint32_t i, enum found found,
                   const struct block_view *block)
{
    bool present = found == FOUND;

    if (found == FOUND_UNSURE)
        return false;
    if (call->matches)
        call->matches[i] = present ? (struct kvr_match){.ref = block->ref,
                                                        .value_len = block->value_len,
                                                        .tier = KVR_TIER_HOST,
                                                        .present = 1}
                                   : (struct kvr_match){0};
    call->nr_present += present;
    if (!present && i < call->prefix)
        call->prefix = i;
    return true;
}

/* Whether the key is stored. What the short way says of it was so at its second look at the block;
 * nothing is held. */
static enum found look(const struct mount *mount, struct probe *probe, const struct kvr_key *key,
                       uint64_t now_ns, struct block_view *block)
{
    struct glance *glance = &probe->glance;

    if (likely(glance_read(&mount->arena, glance, probe_map(mount, probe), glance->partition,
                           key->data, key->len, block) &&
               !glance_expires(glance) && glance_holds(glance)))
        return FOUND;
    return probe_look(mount, probe, key, now_ns, block);
}

static bool match_batch(struct kvr_client *client, struct kvr_call *call, uint32_t from, uint32_t n,
                        uint64_t now_ns)
{
    const struct mount *mount = client->local->mount;
    struct probe probes[BATCH];
    struct block_view block;

    for (uint32_t i = 0; i < n; i++) {
        probe_setup(&probes[i], mount, &call->keys[from + i]);
        prefetch_read(probes[i].glance.bucket);
    }
    for (uint32_t i = 0; i < n; i++)
        probe_guess(&probes[i], probe_map(mount, &probes[i]));
    for (uint32_t i = 0; i < n; i++)
        if (probe_fenced(client, &probes[i]) ||
            !answer(call, from + i, look(mount, &probes[i], &call->keys[from + i], now_ns, &block),
                    &block))
            return false;
    return true;
}

static enum local_outcome match(struct kvr_client *client, struct kvr_call *call)
{
    uint64_t now_ns = coarse_ns();

    call->prefix = call->nr_keys;
    call->nr_present = call->nr_pinned = 0;
    for (uint32_t at = 0; at < call->nr_keys; at += BATCH) {
        uint32_t n = call->nr_keys - at < BATCH ? call->nr_keys - at : BATCH;

        if (!match_batch(client, call, at, n, now_ns))
            return LOCAL_AGAIN;
    }
    client->local->mount->segment.header->matches++;
    call->status = KVR_OK;
    return LOCAL_DONE;
}

enum local_outcome local_call(struct kvr_client *client, struct kvr_call *call)
{
    return call->op == KVR_CALL_MATCH ? match(client, call) : get(client, call, call->if_ref);
}

static void raise_fences(struct kvr_client *client, const struct kvr_call *call)
{
    if (call->op == KVR_CALL_GET)
        probe_raise_fence(client, &call->key);
    for (uint32_t i = 0; call->op == KVR_CALL_MATCH && i < call->nr_keys; i++)
        probe_raise_fence(client, &call->keys[i]);
}

static enum prepared prepare(struct kvr_client *client, struct task *task)
{
    if (client->local->lost)
        return PREPARE_WAIT;
    if (local_call(client, task->call) == LOCAL_DONE)
        return PREPARE_DONE;
    raise_fences(client, task->call);
    return PREPARE_WAIT;
}

static void restart(struct kvr_client *client, struct task *task)
{
    task_unqueue(client, task);
    task->traffic = TRAFFIC_READ;
}

const struct task_kind local_get_kind = {.restart = restart, .prepare = prepare};
const struct task_kind local_match_kind = {.restart = restart, .prepare = prepare};

enum kvr_status kvr_get_copy(struct kvr_client *client, const void *key, size_t key_len,
                             void *buffer, size_t buffer_len, int check, size_t *len)
{
    struct kvr_call call = {.op = KVR_CALL_GET, .buffer = buffer, .buffer_len = buffer_len};
    uint8_t no_verify = client->options.no_verify;
    enum kvr_status status;

    if (key_len > KVR_KEY_MAX)
        return KVR_INVALID;
    call.key = (struct kvr_key){key, (uint32_t)key_len};
    /* For this call alone: others that end while it is waited for are none the worse for it. */
    client->options.no_verify = client->local ? !check : no_verify && !check;
    status = kvr_do(client, &call);
    client->options.no_verify = no_verify;
    if (len)
        *len = call.result_len;
    return status;
}
