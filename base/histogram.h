/* SPDX-License-Identifier: Apache-2.0 */
/* Log-linear latency histogram: 16 linear steps per power of two, so a value is known to 6.25 %.
 * One writer; readers in any thread or process see counts that only grow. Holds no pointers, so it
 * may live in shared memory. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_SUB 16u
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * 41u) /* up to 2^44 ns, 4.9 hours */

struct histogram {
    uint64_t count, sum, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
    unsigned log2, bucket;

    if (value < HISTOGRAM_SUB)
        return (unsigned)value;
    log2 = 63u - (unsigned)__builtin_clzll(value);
    bucket =
        (log2 - 3u) * HISTOGRAM_SUB + (unsigned)((value >> (log2 - 4u)) & (HISTOGRAM_SUB - 1u));
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1u;
}

/* n times the same value. */
static inline void histogram_add_many(struct histogram *h, uint64_t value, uint64_t n)
{
    uint64_t *bucket = &h->buckets[histogram_bucket(value)];

    __atomic_store_n(bucket, *bucket + n, __ATOMIC_RELAXED);
    __atomic_store_n(&h->count, h->count + n, __ATOMIC_RELAXED);
    __atomic_store_n(&h->sum, h->sum + value * n, __ATOMIC_RELAXED);
    if (value > h->max)
        __atomic_store_n(&h->max, value, __ATOMIC_RELAXED);
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    histogram_add_many(h, value, 1);
}

/* Adds what src holds now to dst, which nobody else may use meanwhile. */
void histogram_merge(struct histogram *dst, const struct histogram *src);

/* The upper edge of the bucket in which the quantile (0..1) lies, never above max; 0 if empty. */
uint64_t histogram_quantile(const struct histogram *h, double quantile);
