/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the keys within a partition is that of the chain, so the first one that is absent in
 * a datagram is the first of all its absent ones. */
#include "tools/load/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "client/build.h"
#include "tools/content.h"

static struct chain *of(struct job *job)
{
    return (struct chain *)(void *)job; /* its first member */
}

static const struct chain *of_const(const struct job *job)
{
    return (const struct chain *)(const void *)job;
}

struct chain *chains_create(uint32_t nr, uint32_t nr_keys)
{
    struct chain *chains = calloc(nr, sizeof(chains[0]));
    uint32_t *orders = malloc((size_t)nr * nr_keys * sizeof(orders[0]));

    if (!chains || !orders) {
        free(chains);
        free(orders);
        return NULL;
    }
    for (uint32_t i = 0; i < nr; i++) {
        chains[i].order = orders + (size_t)i * nr_keys;
        chains[i].nr_keys = nr_keys;
    }
    return chains;
}

void chains_destroy(struct chain *chains)
{
    if (chains)
        free(chains[0].order);
    free(chains);
}

struct job *chain_at(struct chain *chains, uint32_t i)
{
    return &chains[i].job;
}

uint32_t chain_prefix(const struct job *job)
{
    return of_const(job)->prefix;
}

static void make_key(const struct jobs *jobs, const struct chain *c, uint32_t i, uint8_t *key)
{
    const struct bench_settings *b = &jobs->settings->bench;

    content_key(key, b->key_len, (c->job.id + i) % b->keys, b->salt);
}

/* Sorts the keys by partition. */
static void spread(const struct jobs *jobs, struct chain *c)
{
    uint32_t nr = jobs->hello->nr_partitions, at[KVR_PARTITIONS_MAX], sum = 0;
    uint32_t key_len = (uint32_t)jobs->settings->bench.key_len;
    uint8_t homes[UINT16_MAX + 1], key[KVR_KEY_MAX];

    memset(c->ends, 0, sizeof(c->ends));
    for (uint32_t i = 0; i < c->nr_keys; i++) {
        make_key(jobs, c, i, key);
        homes[i] = (uint8_t)hash_partition(hash_key(key, key_len, jobs->hello->seed), nr);
        c->ends[homes[i]]++;
    }
    for (uint32_t p = 0; p < nr; p++) {
        at[p] = sum;
        sum += c->ends[p];
        c->ends[p] = sum;
    }
    for (uint32_t i = 0; i < c->nr_keys; i++)
        c->order[at[homes[i]]++] = i;
}

static enum job_wish wish(const struct jobs *, const struct job *job)
{
    return of_const(job)->cursor < of_const(job)->nr_keys ? JOB_SENDS : JOB_WAITS;
}

static void next(struct jobs *jobs, struct job *job, struct part *part)
{
    struct chain *c = of(job);
    uint16_t partition = 0;

    while (c->ends[partition] <= c->cursor)
        partition++;
    part->partition = partition;
    part->reads = true;
    part->lo = c->cursor;
    part->hi = c->ends[partition];
    if (part->hi - part->lo > jobs->limits->chain_max)
        part->hi = part->lo + jobs->limits->chain_max;
    c->cursor = part->hi;
}

static uint32_t write(struct jobs *jobs, struct job *job, const struct part *part, uint8_t *bytes)
{
    const struct chain *c = of_const(job);
    uint16_t key_len = (uint16_t)jobs->settings->bench.key_len;
    struct stamp stamp = {.id = part->id, .partition = part->partition};
    struct kvr_match_req *req;
    uint8_t key[KVR_KEY_MAX];
    struct writer writer;

    build_begin(&writer, bytes);
    req = build_match(&writer, 0, (uint16_t)(part->hi - part->lo), key_len, 0);
    for (uint32_t place = part->lo; place < part->hi; place++) {
        make_key(jobs, c, c->order[place], key);
        build_match_key(&writer, req, key, key_len);
    }
    build_match_end(&writer, req);
    return compose_end(jobs->composer, &writer, &stamp, 0);
}

static void fail(struct jobs *, struct job *job, enum kvr_status status)
{
    job_end(job, status);
}

static enum part_fate answer(struct jobs *, struct job *job, struct part *part,
                             const struct kvr_op *record)
{
    const struct kvr_match_rep *rep = (const void *)record;
    struct chain *c = of(job);

    if (record->op != KVR_MATCH)
        return PART_FOREIGN;
    if (record->status == KVR_BUSY || record->status == KVR_EXPIRED) {
        job->status = (enum kvr_status)record->status; /* its time to be sent again comes */
        return PART_STAYS;
    }
    if (record->status != KVR_OK || rep->nr_keys != part->hi - part->lo) {
        job_end(job,
                record->status != KVR_OK ? (enum kvr_status)record->status : KVR_PROTOCOL);
        return PART_ENDS;
    }
    if (rep->prefix < rep->nr_keys && c->order[part->lo + rep->prefix] < c->prefix)
        c->prefix = c->order[part->lo + rep->prefix];
    c->nr_answered += rep->nr_keys;
    if (c->nr_answered == c->nr_keys)
        job_end(job, KVR_OK);
    return PART_ENDS;
}

static void end(struct jobs *, struct job *)
{
}

static const struct job_kind chain_kind = {
    .wish = wish, .next = next, .write = write, .answer = answer, .fail = fail, .end = end};

void chain_begin(struct jobs *jobs, struct job *job)
{
    struct chain *c = of(job);

    job->kind = &chain_kind;
    c->cursor = c->nr_answered = 0;
    c->prefix = c->nr_keys;
    spread(jobs, c);
}
