/* SPDX-License-Identifier: Apache-2.0 */
/* Which CPU each poll core is pinned to. Pure functions, at start. */
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

struct cpu_plan {
    unsigned nr_workers;
    unsigned cpus[CPU_SETSIZE]; /* of worker i */
    bool shared;                /* some worker has no CPU of its own */
};

/* list: "1-2,5" in the order in which workers take them, "" = choose: the last allowed CPUs, so
 * that the first stays free for the main thread where there are enough. -EINVAL: not a list;
 * -ERANGE: names a CPU that is not in allowed, or too many. */
[[nodiscard]] int cpu_plan(const char *list, const cpu_set_t *allowed, unsigned nr_workers,
                           struct cpu_plan *plan);

/* "0-3,6" of a set. */
void cpu_set_text(const cpu_set_t *set, char *text, size_t size);
