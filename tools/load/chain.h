/* SPDX-License-Identifier: Apache-2.0 */
/* A MATCH whose keys do not fit a datagram: sorted by partition, in datagrams of keys of one
 * partition each, whose answers are put together to the prefix of the whole. One thread. */
#pragma once

#include "tools/load/jobs.h"

struct chain {
    struct job job;
    uint32_t *order; /* place in the datagrams -> place in the chain */
    uint32_t ends[KVR_PARTITIONS_MAX]; /* of partitions, as places in the datagrams */
    uint32_t nr_keys, cursor, nr_answered;
    uint32_t prefix; /* first key that is known to be absent, or nr_keys */
};

/* Chains of up to nr_keys keys. NULL: out of memory. */
struct chain *chains_create(uint32_t nr, uint32_t nr_keys);
void chains_destroy(struct chain *chains);
struct job *chain_at(struct chain *chains, uint32_t i);

/* The job has its id: that of the first key. */
void chain_begin(struct jobs *jobs, struct job *job);
/* How many of the first keys are all stored; after it has ended with OK. */
uint32_t chain_prefix(const struct job *job);
