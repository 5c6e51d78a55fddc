/* SPDX-License-Identifier: Apache-2.0 */
/* A list in order of use and a hash table, one lock around all. */
#include "tests/unit/tools/fake_client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kvrail/client.h>

#include "base/hash.h"

#define SLOTS 65536u
#define CALLS_A_POLL 3u

struct block {
    struct block *newer, *older, *chain;
    uint64_t hash;
    char *value;
    size_t value_len;
    uint32_t key_len, ttl_ms;
    unsigned char key[];
};

struct queued {
    struct kvr_call *call;
    struct queued *next;
};

struct kvr_client {
    struct queued *first, **last;
};

struct fake fake;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *slots[SLOTS], *newest, *oldest;
static uint64_t nr_blocks, nr_bytes, nr_calls, nr_hits;

static struct block **find(const struct kvr_key *key, uint64_t *hash)
{
    struct block **at;

    *hash = hash_key(key->data, key->len, 0).lo;
    for (at = &slots[*hash % SLOTS]; *at; at = &(*at)->chain)
        if ((*at)->hash == *hash && (*at)->key_len == key->len &&
            memcmp((*at)->key, key->data, key->len) == 0)
            break;
    return at;
}

static void unlink_block(struct block *b)
{
    *(b->newer ? &b->newer->older : &newest) = b->older;
    *(b->older ? &b->older->newer : &oldest) = b->newer;
}

static void push_newest(struct block *b)
{
    b->newer = NULL;
    b->older = newest;
    *(newest ? &newest->newer : &oldest) = b;
    newest = b;
}

static void drop(struct block **at)
{
    struct block *b = *at;

    *at = b->chain;
    unlink_block(b);
    nr_blocks--;
    nr_bytes -= b->value_len;
    free(b->value);
    free(b);
}

static void evict_oldest(void)
{
    struct kvr_key key = {oldest->key, oldest->key_len};
    uint64_t hash;

    drop(find(&key, &hash));
}

static enum kvr_status put(struct kvr_call *call)
{
    uint64_t hash;
    struct block **at = find(&call->key, &hash), *b;

    fake.puts++;
    fake.parents += call->hint.parent != 0;
    if (*at && call->add)
        return KVR_EXISTS;
    if (*at)
        drop(at);
    while (fake.capacity && nr_blocks >= fake.capacity)
        evict_oldest();
    b = malloc(sizeof(*b) + call->key.len);
    b->hash = hash;
    b->key_len = call->key.len;
    memcpy(b->key, call->key.data, call->key.len);
    b->value = malloc(call->value_len + 1);
    memcpy(b->value, call->value, call->value_len);
    b->value_len = call->value_len;
    b->ttl_ms = call->ttl_ms;
    b->chain = slots[hash % SLOTS];
    slots[hash % SLOTS] = b;
    push_newest(b);
    nr_blocks++;
    nr_bytes += b->value_len;
    call->ref = hash | 1;
    return KVR_OK;
}

static enum kvr_status get(struct kvr_call *call)
{
    uint64_t hash;
    struct block *b = *find(&call->key, &hash);
    size_t off = call->off, len;

    fake.gets++;
    if (!b || (fake.vanish_every && fake.gets % fake.vanish_every == 0))
        return KVR_MISS;
    if (off > b->value_len || call->len > b->value_len - off)
        return KVR_BAD_RANGE;
    len = call->len ? call->len : b->value_len - off;
    nr_hits++;
    call->stored_len = (uint32_t)b->value_len;
    call->ttl_left_ms = b->ttl_ms;
    call->tier = KVR_TIER_HOST;
    call->ref = hash | 1;
    call->result_len = call->meta_only ? 0 : len;
    if (call->meta_only)
        return KVR_OK;
    if (len > call->buffer_len)
        return KVR_BUFFER_TOO_SMALL;
    memcpy(call->buffer, b->value + off, len);
    if (fake.flip_every && nr_hits % fake.flip_every == 0 && len)
        ((char *)call->buffer)[len / 2] ^= 4;
    unlink_block(b);
    push_newest(b);
    return KVR_OK;
}

static enum kvr_status match(struct kvr_call *call)
{
    fake.matches++;
    call->prefix = call->nr_present = 0;
    for (uint32_t i = 0; i < call->nr_keys; i++) {
        uint64_t hash;
        const struct block *b = *find(&call->keys[i], &hash);

        call->nr_present += b != NULL;
        if (b && call->prefix == i)
            call->prefix++;
        if (call->matches)
            call->matches[i] = (struct kvr_match){.present = b != NULL,
                                                  .ref = b ? hash | 1 : 0,
                                                  .tier = KVR_TIER_HOST,
                                                  .value_len = b ? (uint32_t)b->value_len : 0};
    }
    return KVR_OK;
}

static enum kvr_status touch_or_delete(struct kvr_call *call)
{
    uint64_t hash;
    struct block **at = find(&call->key, &hash), *b = *at;

    fake.touches += call->op == KVR_CALL_TOUCH;
    if (!b)
        return KVR_MISS;
    if (call->op == KVR_CALL_DEL) {
        drop(at);
        return KVR_OK;
    }
    b->ttl_ms = call->ttl_ms;
    unlink_block(b);
    push_newest(b);
    return KVR_OK;
}

static enum kvr_status execute(struct kvr_call *call)
{
    pthread_mutex_lock(&lock);
    nr_calls++;
    if (fake.timeout_every && nr_calls % fake.timeout_every == 0)
        call->status = KVR_TIMEOUT;
    else if (call->op == KVR_CALL_GET)
        call->status = get(call);
    else if (call->op == KVR_CALL_PUT)
        call->status = put(call);
    else if (call->op == KVR_CALL_MATCH)
        call->status = match(call);
    else if (call->op == KVR_CALL_DEL || call->op == KVR_CALL_TOUCH)
        call->status = touch_or_delete(call);
    else
        call->status = KVR_OK;
    call->latency_ns = 1000 + nr_calls % 1000;
    pthread_mutex_unlock(&lock);
    return call->status;
}

void fake_clear(void)
{
    while (oldest)
        evict_oldest();
}

void kvr_options_init(struct kvr_options *options)
{
    *options = (struct kvr_options){.size = sizeof(*options), .priority = KVR_NORMAL};
}

enum kvr_status kvr_open(const char *url, const struct kvr_options *options,
                         struct kvr_client **client)
{
    (void)options;
    *client = NULL;
    snprintf(fake.url, sizeof(fake.url), "%s", url);
    if (strncmp(url, "udp://", 6) != 0 && strncmp(url, "shm://", 6) != 0)
        return KVR_INVALID;
    if (fake.unreachable)
        return KVR_UNREACHABLE;
    *client = calloc(1, sizeof(**client));
    (*client)->last = &(*client)->first;
    return KVR_OK;
}

void kvr_close(struct kvr_client *client)
{
    free(client);
}

static const struct {
    enum kvr_status status;
    const char *name, *text;
} statuses[] = {
#define ROW(name, number, text) {KVR_##name, #name, text},
    KVR_STATUS_LIST(ROW)
#undef ROW
};

const char *kvr_status_name(enum kvr_status status)
{
    for (unsigned i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i].status == status)
            return statuses[i].name;
    return "?";
}

const char *kvr_status_text(enum kvr_status status)
{
    for (unsigned i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i].status == status)
            return statuses[i].text;
    return "?";
}

const char *kvr_version(void)
{
    return "fake";
}

void kvr_server_info(const struct kvr_client *client, struct kvr_server_info *info)
{
    (void)client;
    *info = (struct kvr_server_info){.version = 1, .nr_partitions = 1, .max_datagram = 1452};
}

enum kvr_status kvr_do(struct kvr_client *client, struct kvr_call *call)
{
    (void)client;
    return execute(call);
}

enum kvr_status kvr_do_batch(struct kvr_client *client, struct kvr_call *calls, size_t n)
{
    enum kvr_status first = KVR_OK;

    for (size_t i = 0; i < n; i++) {
        enum kvr_status status = kvr_do(client, &calls[i]);

        if (first == KVR_OK)
            first = status;
    }
    return first;
}

enum kvr_status kvr_submit(struct kvr_client *client, struct kvr_call *call)
{
    struct queued *q = malloc(sizeof(*q));

    *q = (struct queued){.call = call};
    *client->last = q;
    client->last = &q->next;
    return KVR_OK;
}

int kvr_poll(struct kvr_client *client, int timeout_ms)
{
    int n = 0;

    (void)timeout_ms;
    if (client->first && fake.delay_us)
        usleep((useconds_t)fake.delay_us);
    for (; client->first && n < (int)CALLS_A_POLL; n++) {
        struct queued *q = client->first;
        struct kvr_call *call = q->call;

        client->first = q->next;
        if (!client->first)
            client->last = &client->first;
        free(q);
        execute(call);
        call->latency_ns += fake.delay_us * 1000;
        call->done(call);
    }
    return n;
}

/* A copy stands for the value where it lies. */
enum kvr_status kvr_get_view(struct kvr_client *client, const void *key, size_t key_len,
                             struct kvr_view *view)
{
    struct kvr_call call = {.op = KVR_CALL_GET, .key = {key, (uint32_t)key_len}, .meta_only = 1};
    enum kvr_status status = kvr_do(client, &call);

    if (status != KVR_OK)
        return status;
    call.meta_only = 0;
    call.buffer_len = call.stored_len;
    call.buffer = malloc(call.buffer_len + 1);
    status = kvr_do(client, &call);
    if (status != KVR_OK) {
        free(call.buffer);
        return status;
    }
    fake.views++;
    *view = (struct kvr_view){
        .data = call.buffer, .ref = call.ref, .len = call.stored_len, .tier = call.tier};
    return KVR_OK;
}

enum kvr_status kvr_match_views(struct kvr_client *client, const struct kvr_key *keys,
                                size_t nr_keys, struct kvr_view *views, uint32_t *prefix)
{
    for (*prefix = 0; *prefix < nr_keys; ++*prefix)
        if (kvr_get_view(client, keys[*prefix].data, keys[*prefix].len, &views[*prefix]) != KVR_OK)
            break;
    return KVR_OK;
}

void kvr_release(struct kvr_client *client, const struct kvr_view *views, size_t n)
{
    (void)client;
    fake.views -= n;
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)views[i].data);
}

enum kvr_status kvr_ping(struct kvr_client *client, uint64_t *rtt_ns)
{
    struct kvr_call call = {.op = KVR_CALL_PING};

    *rtt_ns = 5000;
    return kvr_do(client, &call);
}

enum kvr_status kvr_stat(struct kvr_client *client, struct kvr_stat_rep *stat)
{
    (void)client;
    *stat = (struct kvr_stat_rep){.items = nr_blocks,
                                  .bytes = nr_bytes,
                                  .capacity = 1 << 30,
                                  .gets = fake.gets,
                                  .hits = nr_hits,
                                  .puts = fake.puts};
    return KVR_OK;
}

uint64_t kvr_key_id(const struct kvr_client *client, const void *key, size_t key_len)
{
    (void)client;
    return hash_key(key, key_len, 0).lo;
}

void kvr_client_stats(const struct kvr_client *client, struct kvr_client_stats *stats)
{
    (void)client;
    *stats = (struct kvr_client_stats){.retransmits = 1};
}
