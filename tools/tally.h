/* SPDX-License-Identifier: Apache-2.0 */
/* What became of the operations of one kind: how many, how they ended, how long they took. One
 * writer; another thread may read counts meanwhile. */
#pragma once

#include <jansson.h>

#include <kvrail/status.h>

#include "base/counters.h"
#include "base/histogram.h"

#define TALLY_STATUSES 80u

struct tally {
    uint64_t ops;                   /* ended */
    uint64_t bytes;                 /* of values moved */
    uint64_t corrupt;               /* answered OK with wrong bytes */
    uint64_t ended[TALLY_STATUSES]; /* by enum kvr_status */
    struct histogram latency;       /* ns, of all that ended */
};

static inline void tally_add(struct tally *t, enum kvr_status status, uint64_t latency_ns,
                             uint64_t bytes)
{
    unsigned at = (unsigned)status < TALLY_STATUSES ? (unsigned)status : KVR_INTERNAL;

    counter_add(&t->ops, 1);
    counter_add(&t->bytes, bytes);
    counter_add(&t->ended[at], 1);
    histogram_add(&t->latency, latency_ns);
}

void tally_merge(struct tally *dst, const struct tally *src);
/* Ends that are neither OK nor an ordinary answer (MISS, EXISTS). */
uint64_t tally_errors(const struct tally *t);

/* {"count","mean_us","p50_us",...,"max_us"} */
json_t *tally_latency_json(const struct histogram *h);
/* ops, ops_s, bytes, bytes_s, latency, ended by status, corrupt */
json_t *tally_json(const struct tally *t, double seconds);

struct table;
#define TALLY_COLUMNS "op|>ops|>ops/s|>bytes/s|>p50|>p95|>p99|>p99.9|>max"
void tally_row(struct table *table, const char *name, const struct tally *t, double seconds);
/* "TIMEOUT 3, BUSY 1" of all that did not end OK, MISS or EXISTS; "" if none. */
void tally_error_text(const struct tally *t, char *text, size_t size);
