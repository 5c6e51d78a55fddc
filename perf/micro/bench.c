/* SPDX-License-Identifier: Apache-2.0 */
/* The list of benchmarks. */
#include "perf/micro/bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int bench_second_cpu = -1;

void bench_add(struct bench_list *list, const struct bench *bench)
{
    if (list->nr == list->room) {
        unsigned room = list->room ? 2 * list->room : 64;
        struct bench *benches = realloc(list->benches, room * sizeof(*benches));

        if (!benches)
            return;
        list->benches = benches;
        list->room = room;
    }
    list->benches[list->nr++] = *bench;
}

void bench_name(struct bench *bench, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(bench->name, sizeof(bench->name), format, args);
    va_end(args);
}

struct bench_size bench_size(uint64_t n)
{
    struct bench_size text;

    if (n >= 1u << 20 && n % (1u << 20) == 0)
        snprintf(text.s, sizeof(text.s), "%lluM", (unsigned long long)(n >> 20));
    else if (n >= 1u << 10 && n % (1u << 10) == 0)
        snprintf(text.s, sizeof(text.s), "%lluK", (unsigned long long)(n >> 10));
    else
        snprintf(text.s, sizeof(text.s), "%llu", (unsigned long long)n);
    return text;
}

void bench_pin_second(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(bench_second_cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}
