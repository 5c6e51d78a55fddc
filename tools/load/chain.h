/* SPDX-License-Identifier: Apache-2.0 */
/* A MATCH whose keys do not fit a datagram: sorted by partition, in datagrams of keys of one
 * partition each, whose answers are put together to the prefix of the whole. Who has a chain has
 * its keys: they are made before the run. One thread. */
#pragma once

#include "tools/load/jobs.h"

struct chain {
    struct job job;
    uint32_t *order;                   /* place in the datagrams -> place in the chain */
    uint32_t ends[KVR_PARTITIONS_MAX]; /* of partitions, as places in the datagrams */
    uint32_t nr_keys, cursor, nr_answered;
    uint32_t prefix; /* first key that is known to be absent, or nr_keys */
};

struct chains {
    struct chain *all;
    uint32_t *orders; /* of all */
    uint8_t *keys;    /* of every id, one after the other */
    uint8_t *homes;   /* partition of every id */
};

/* One for each op in flight. NULL: out of memory. */
struct chains *chains_create(const struct bench_settings *b, const struct kvr_hello_rep *hello);
void chains_destroy(struct chains *chains);
struct job *chain_at(struct chains *chains, uint32_t i);
/* Bytes that a thread needs for them. */
uint64_t chains_memory(const struct bench_settings *b);

/* The job has its id: that of the first key. */
void chain_begin(struct jobs *jobs, struct job *job);
/* How many of the first keys are all stored; after it has ended with OK. */
uint32_t chain_prefix(const struct job *job);
