/* SPDX-License-Identifier: Apache-2.0 */
/* Reading side of the histograms. */
#include "base/histogram.h"

#include <math.h>

void histogram_merge(struct histogram *dst, const struct histogram *src)
{
    uint64_t max = __atomic_load_n(&src->max, __ATOMIC_RELAXED);

    dst->count += __atomic_load_n(&src->count, __ATOMIC_RELAXED);
    dst->sum += __atomic_load_n(&src->sum, __ATOMIC_RELAXED);
    if (max > dst->max)
        dst->max = max;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        dst->buckets[i] += __atomic_load_n(&src->buckets[i], __ATOMIC_RELAXED);
}

static uint64_t bucket_upper(unsigned bucket)
{
    unsigned log2 = bucket / HISTOGRAM_SUB + 3u;
    uint64_t sub = bucket % HISTOGRAM_SUB;

    if (bucket < HISTOGRAM_SUB)
        return bucket;
    return ((HISTOGRAM_SUB + sub + 1u) << (log2 - 4u)) - 1u;
}

uint64_t histogram_quantile(const struct histogram *h, double quantile)
{
    uint64_t total = 0, seen = 0, rank;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h->buckets[i];
    if (total == 0)
        return 0;
    rank = (uint64_t)ceil(quantile * (double)total);
    if (rank == 0)
        rank = 1;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            uint64_t upper = bucket_upper(i);
            return upper < h->max ? upper : h->max;
        }
    }
    return h->max;
}
