/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks. Callers on the hot path read the time once per burst and hand it on. */
#pragma once

#include <stdint.h>
#include <time.h>

#undef NS_PER_S /* DPDK's is a floating point number */
#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

/* Monotonic nanoseconds; the same clock in every process of the host. */
static inline uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Wall clock in milliseconds since 1970, for what a person reads. */
static inline uint64_t clock_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}
