/* SPDX-License-Identifier: Apache-2.0 */
/* Cache line size and the few compiler hints of the hot path. */
#pragma once

#define CACHE_LINE 64
#define cache_aligned __attribute__((aligned(CACHE_LINE)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define prefetch_read(p) __builtin_prefetch((p), 0, 3)
#define prefetch_write(p) __builtin_prefetch((p), 1, 3)

/* Between two looks of a loop that waits: the core's other thread has more of it meanwhile. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
