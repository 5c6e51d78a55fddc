/* SPDX-License-Identifier: Apache-2.0 */
/* MATCH: the chain is split by partition, each partition's keys by what fits a datagram each way,
 * and every chunk is a task of its own; all leave together. The call ends with the last chunk, or
 * with the first that fails. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "client/datagram.h"
#include "client/task.h"

#define LEASE_MAX_MS UINT16_MAX

struct match_plan {
    struct task *whole;
    struct task *chunks;
    uint32_t nr_chunks, nr_open;
    uint32_t *order;   /* place in the chunks -> place in the chain; NULL = the same */
    uint16_t key_size; /* of all keys; 0: they differ */
};

static uint32_t position(const struct match_plan *plan, uint32_t at)
{
    return plan->order ? plan->order[at] : at;
}

static const struct kvr_key *key_at(const struct match_plan *plan, uint32_t at)
{
    return &plan->whole->call->keys[position(plan, at)];
}

static uint16_t common_size(const struct kvr_call *call)
{
    for (uint32_t i = 1; i < call->nr_keys; i++)
        if (call->keys[i].len != call->keys[0].len)
            return 0;
    return (uint16_t)call->keys[0].len;
}

static uint32_t keys_size(const struct match_plan *plan, const struct kvr_key *key)
{
    return plan->key_size ? key->len : key->len + (uint32_t)sizeof(uint16_t);
}

static uint32_t reply_size(const struct kvr_call *call, uint32_t nr_keys)
{
    uint32_t refs = call->matches ? nr_keys * (uint32_t)sizeof(struct kvr_match_ref) : 0;

    return (uint32_t)sizeof(struct kvr_match_rep) + pad8((nr_keys + 7) / 8) + refs;
}

/* How many of the nr keys from place `at` on fit one datagram. */
static uint32_t fit(const struct kvr_client *client, const struct match_plan *plan, uint32_t at,
                    uint32_t nr, uint32_t *size)
{
    uint32_t room = client->max_datagram - (uint32_t)sizeof(struct kvr_hdr);
    uint32_t reply_room = client->max_datagram / 64 * 64 - (uint32_t)sizeof(struct kvr_hdr);
    uint32_t bytes = sizeof(struct kvr_match_req), n = 0;

    while (n < nr && n < UINT16_MAX) {
        uint32_t next = bytes + keys_size(plan, key_at(plan, at + n));
        if (pad8(next) > room || reply_size(plan->whole->call, n + 1) > reply_room)
            break;
        bytes = next;
        n++;
    }
    *size = pad8(bytes);
    return n;
}

static void add_chunk(struct match_plan *plan, struct link *link, uint32_t at, uint32_t nr,
                      uint32_t size)
{
    const struct task *whole = plan->whole;
    struct task *chunk = &plan->chunks[plan->nr_chunks];

    *chunk = (struct task){.kind = &match_chunk_kind,
                           .call = whole->call,
                           .link = link,
                           .plan = plan,
                           .started_ns = whole->started_ns,
                           .deadline_ns = whole->deadline_ns,
                           .priority = whole->priority,
                           .traffic = TRAFFIC_READ,
                           .cursor = at,
                           .total = nr,
                           .frag = size};
    gaps_setup(&chunk->gaps);
    plan->nr_chunks++;
    plan->nr_open++;
}

/* The keys of one partition, places [at, at + nr). With chunks NULL only counts. */
static uint32_t cut(const struct kvr_client *client, struct match_plan *plan, struct link *link,
                    uint32_t at, uint32_t nr)
{
    uint32_t chunks = 0;

    while (nr > 0) {
        uint32_t size, n = fit(client, plan, at, nr, &size);

        if (plan->chunks)
            add_chunk(plan, link, at, n, size);
        chunks++;
        at += n;
        nr -= n;
    }
    return chunks;
}

struct spread {
    uint32_t counts[KVR_PARTITIONS_MAX], starts[KVR_PARTITIONS_MAX];
};

/* Sorts the chain by partition, keeping the order within each. */
static void sort(const struct kvr_client *client, struct match_plan *plan, uint16_t *homes,
                 struct spread *spread)
{
    const struct kvr_call *call = plan->whole->call;
    uint32_t at[KVR_PARTITIONS_MAX], sum = 0;

    memset(spread, 0, sizeof(*spread));
    for (uint32_t i = 0; i < call->nr_keys; i++) {
        struct key_hash hash = hash_key(call->keys[i].data, call->keys[i].len, client->hello.seed);
        homes[i] = (uint16_t)hash_partition(hash, client->nr_links);
        spread->counts[homes[i]]++;
    }
    for (uint32_t p = 0; p < client->nr_links; p++) {
        spread->starts[p] = at[p] = sum;
        sum += spread->counts[p];
    }
    for (uint32_t i = 0; i < call->nr_keys; i++)
        plan->order[at[homes[i]]++] = i;
}

static uint32_t cut_all(struct kvr_client *client, struct match_plan *plan,
                        const struct spread *spread)
{
    uint32_t chunks = 0;

    for (uint32_t p = 0; p < client->nr_links; p++)
        chunks += cut(client, plan, client->links[p], spread->starts[p], spread->counts[p]);
    return chunks;
}

static bool spread_keys(struct kvr_client *client, struct match_plan *plan, struct spread *spread)
{
    uint32_t nr_keys = plan->whole->call->nr_keys;
    uint16_t *homes;

    if (client->nr_links == 1) {
        spread->starts[0] = 0;
        spread->counts[0] = nr_keys;
        return true;
    }
    plan->order = malloc(nr_keys * sizeof(*plan->order));
    homes = malloc(nr_keys * sizeof(*homes));
    if (plan->order && homes)
        sort(client, plan, homes, spread);
    free(homes);
    return plan->order && homes;
}

static bool reachable(const struct kvr_client *client, const struct spread *spread)
{
    for (uint32_t p = 0; p < client->nr_links; p++)
        if (spread->counts[p] > 0 && !client->links[p])
            return false;
    return true;
}

enum kvr_status match_start(struct kvr_client *client, struct task *task)
{
    struct match_plan *plan = calloc(1, sizeof(*plan));
    struct kvr_call *call = task->call;
    struct spread spread;

    if (!plan)
        return KVR_NO_MEMORY;
    task->plan = plan;
    plan->whole = task;
    plan->key_size = common_size(call);
    call->prefix = call->nr_keys;
    if (!spread_keys(client, plan, &spread))
        goto no_memory;
    if (!reachable(client, &spread))
        return KVR_UNREACHABLE;
    plan->chunks = calloc(cut_all(client, plan, &spread), sizeof(*plan->chunks));
    if (!plan->chunks)
        goto no_memory;
    cut_all(client, plan, &spread);
    for (uint32_t i = 0; i < plan->nr_chunks; i++)
        task_ready(&plan->chunks[i]);
    return KVR_OK;

no_memory:
    match_free(client, task);
    return KVR_NO_MEMORY;
}

void match_free(struct kvr_client *client, struct task *task)
{
    struct match_plan *plan = task->plan;

    for (uint32_t i = 0; i < plan->nr_chunks; i++) {
        task->nr_repeats += plan->chunks[i].nr_repeats;
        task_detach(client, &plan->chunks[i]);
    }
    free(plan->chunks);
    free(plan->order);
    free(plan);
    task->plan = NULL;
}

struct task *match_whole(struct task *task)
{
    return task->plan ? task->plan->whole : task;
}

const struct kvr_key *match_key(const struct task *chunk)
{
    return key_at(chunk->plan, chunk->cursor);
}

static uint32_t chunk_size(const struct kvr_client *, const struct task *chunk)
{
    return chunk->frag;
}

static uint32_t chunk_weight(const struct kvr_client *, const struct task *chunk)
{
    return reply_size(chunk->call, chunk->total);
}

static void chunk_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                        struct writer *writer)
{
    const struct task *chunk = datagram->entries[entry].task;
    const struct match_plan *plan = chunk->plan;
    const struct kvr_call *call = chunk->call;
    uint16_t lease_ms = (uint16_t)(call->lease_ms < LEASE_MAX_MS ? call->lease_ms : LEASE_MAX_MS);
    uint8_t flags = 0;
    struct kvr_match_req *req;

    if (call->matches)
        flags |= KVR_MATCH_REFS;
    if (lease_ms > 0)
        flags |= KVR_MATCH_PIN;
    req = build_match(writer, flags, (uint16_t)chunk->total, plan->key_size, lease_ms);
    for (uint32_t i = 0; i < chunk->total; i++) {
        const struct kvr_key *key = key_at(plan, chunk->cursor + i);
        build_match_key(writer, req, key->data, key->len);
    }
    build_match_end(writer, req);
}

/* The server pins the present ones in their order until it may pin no more. */
static void take_matches(const struct task *chunk, const struct kvr_match_rep *rep)
{
    const struct kvr_match_ref *refs = check_match_refs(rep);
    const uint8_t *bitmap = check_match_bitmap(rep);
    struct kvr_call *call = chunk->call;
    uint32_t pinned = rep->nr_pinned;

    for (uint32_t i = 0; i < rep->nr_keys; i++) {
        bool present = bitmap[i / 8] >> (i % 8) & 1;
        struct kvr_match match = {.present = present};

        call->nr_present += present;
        if (!call->matches)
            continue;
        if (present) {
            match.ref = refs[i].ref;
            match.value_len = refs[i].value_len;
            match.tier = refs[i].tier;
            match.pinned = pinned > 0;
            pinned -= pinned > 0;
        }
        call->matches[position(chunk->plan, chunk->cursor + i)] = match;
    }
}

static void chunk_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                         const struct kvr_op *record)
{
    struct task *chunk = datagram->entries[entry].task;
    const struct kvr_match_rep *rep = (const void *)record;
    struct kvr_call *call = chunk->call;

    if (record->op == KVR_MATCH && record->status != KVR_OK) {
        datagram_close(datagram, entry);
        if (!task_soft(client, chunk, (enum kvr_status)record->status))
            task_end(client, chunk, (enum kvr_status)record->status);
        return;
    }
    if (record->op != KVR_MATCH || rep->nr_keys != chunk->total ||
        (check_match_refs(rep) != NULL) != (call->matches != NULL)) {
        client->stats.rx_unexpected++;
        return;
    }
    datagram_close(datagram, entry);
    take_matches(chunk, rep);
    call->nr_pinned += rep->nr_pinned;
    if (rep->prefix < chunk->total) {
        uint32_t absent = position(chunk->plan, chunk->cursor + rep->prefix);
        if (absent < call->prefix)
            call->prefix = absent;
    }
    if (--chunk->plan->nr_open == 0)
        task_end(client, chunk, KVR_OK);
}

static void match_restart(struct kvr_client *, struct task *task)
{
    struct kvr_call *call = task->call;

    call->prefix = call->nr_present = call->nr_pinned = 0;
}

static void chunk_restart(struct kvr_client *, struct task *)
{
}

const struct task_kind match_kind = {.restart = match_restart};

const struct task_kind match_chunk_kind = {
    .size = chunk_size,
    .weight = chunk_weight,
    .write = chunk_write,
    .answer = chunk_answer,
    .restart = chunk_restart,
};
