/* SPDX-License-Identifier: Apache-2.0 */
/* The processor's constant-rate counter: TSC on x86-64, the virtual counter on Arm. It does not
 * follow the core's frequency. */
#pragma once

#include <stdint.h>

/* Everything before it has happened, nothing behind it has begun. */
static inline uint64_t ticks_now(void)
{
#if defined(__x86_64__)
    uint64_t ticks;

    __builtin_ia32_lfence();
    ticks = __builtin_ia32_rdtsc();
    __builtin_ia32_lfence();
    return ticks;
#else
    uint64_t ticks;

    __asm__ volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(ticks)::"memory");
    return ticks;
#endif
}
