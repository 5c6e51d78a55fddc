/* SPDX-License-Identifier: Apache-2.0 */
/* The time stamp counter as nanoseconds of clock_ns: read once a burst, it costs less than a clock.
 */
#pragma once

#include <stdint.h>

struct ticks {
    uint64_t tsc, ns;     /* at the same time */
    uint64_t ns_per_2_32; /* ns of 2^32 ticks */
};

static inline struct ticks ticks_make(uint64_t tsc, uint64_t ns, uint64_t hz)
{
    return (struct ticks){tsc, ns, (uint64_t)((double)(1ull << 32) * 1e9 / (double)hz)};
}

static inline uint64_t ticks_ns(const struct ticks *t, uint64_t tsc)
{
    return t->ns + (uint64_t)(((unsigned __int128)(tsc - t->tsc) * t->ns_per_2_32) >> 32);
}
