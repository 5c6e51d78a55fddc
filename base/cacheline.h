/* SPDX-License-Identifier: Apache-2.0 */
/* Cache line size and the few compiler hints of the hot path. */
#pragma once

#define CACHE_LINE 64
#define cache_aligned __attribute__((aligned(CACHE_LINE)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define prefetch_read(p) __builtin_prefetch((p), 0, 3)
#define prefetch_write(p) __builtin_prefetch((p), 1, 3)
