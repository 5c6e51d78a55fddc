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

uint64_t chains_memory(const struct bench_settings *b)
{
    return b->keys * (b->key_len + sizeof(uint8_t)) + b->depth * b->chain * sizeof(uint32_t);
}

static void make_keys(struct chains *chains, const struct bench_settings *b,
                      const struct kvr_hello_rep *hello)
{
    for (uint64_t id = 0; id < b->keys; id++) {
        uint8_t *key = chains->keys + id * b->key_len;

        content_key(key, b->key_len, id, b->salt);
        chains->homes[id] =
            (uint8_t)hash_partition(hash_key(key, b->key_len, hello->seed), hello->nr_partitions);
    }
}

struct chains *chains_create(const struct bench_settings *b, const struct kvr_hello_rep *hello)
{
    struct chains *chains = malloc(sizeof(*chains));

    if (!chains)
        return NULL;
    *chains = (struct chains){.all = calloc(b->depth, sizeof(chains->all[0])),
                              .orders = malloc(b->depth * b->chain * sizeof(chains->orders[0])),
                              .keys = malloc(b->keys * b->key_len),
                              .homes = malloc(b->keys)};
    if (!chains->all || !chains->orders || !chains->keys || !chains->homes) {
        chains_destroy(chains);
        return NULL;
    }
    for (uint64_t i = 0; i < b->depth; i++) {
        chains->all[i].order = chains->orders + i * b->chain;
        chains->all[i].nr_keys = (uint32_t)b->chain;
    }
    make_keys(chains, b, hello);
    return chains;
}

void chains_destroy(struct chains *chains)
{
    if (!chains)
        return;
    free(chains->all);
    free(chains->orders);
    free(chains->keys);
    free(chains->homes);
    free(chains);
}

struct job *chain_at(struct chains *chains, uint32_t i)
{
    return &chains->all[i].job;
}

uint32_t chain_prefix(const struct job *job)
{
    return of_const(job)->prefix;
}

/* The id at a place of the chain: ids follow one another, round and round. */
static uint64_t id_at(const struct jobs *jobs, const struct chain *c, uint32_t place)
{
    uint64_t id = c->job.id + place, keys = jobs->settings->bench.keys;

    return id < keys ? id : id % keys;
}

/* Sorts the keys by partition. */
static void spread(const struct jobs *jobs, struct chain *c)
{
    uint32_t nr = jobs->hello->nr_partitions, at[KVR_PARTITIONS_MAX], sum = 0;
    const uint8_t *homes = jobs->chains->homes;

    memset(c->ends, 0, sizeof(c->ends));
    for (uint32_t i = 0; i < c->nr_keys; i++)
        c->ends[homes[id_at(jobs, c, i)]]++;
    for (uint32_t p = 0; p < nr; p++) {
        at[p] = sum;
        sum += c->ends[p];
        c->ends[p] = sum;
    }
    for (uint32_t i = 0; i < c->nr_keys; i++)
        c->order[at[homes[id_at(jobs, c, i)]]++] = i;
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
    struct writer writer;

    build_begin(&writer, bytes);
    req = build_match(&writer, 0, (uint16_t)(part->hi - part->lo), key_len, 0);
    for (uint32_t i = part->lo; i < part->hi; i++)
        build_match_key(&writer, req, jobs->chains->keys + id_at(jobs, c, c->order[i]) * key_len,
                        key_len);
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
        job_end(job, record->status != KVR_OK ? (enum kvr_status)record->status : KVR_PROTOCOL);
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
