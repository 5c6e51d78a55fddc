/* SPDX-License-Identifier: Apache-2.0 */
/* Reads CPU lists and deals CPUs out to workers. */
#include "dataplane/eth/cpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int read_cpu(const char **text, unsigned *cpu)
{
    char *end;
    unsigned long value;

    if (**text < '0' || **text > '9')
        return -EINVAL;
    value = strtoul(*text, &end, 10);
    *text = end;
    if (value >= CPU_SETSIZE)
        return -ERANGE;
    *cpu = (unsigned)value;
    return 0;
}

static int read_list(const char *list, const cpu_set_t *allowed, unsigned *cpus, unsigned *nr)
{
    unsigned first, last;
    int rc;

    *nr = 0;
    for (;;) {
        rc = read_cpu(&list, &first);
        if (rc)
            return rc;
        last = first;
        if (*list == '-') {
            list++;
            rc = read_cpu(&list, &last);
            if (rc)
                return rc;
        }
        if (last < first)
            return -EINVAL;
        for (unsigned cpu = first; cpu <= last; cpu++) {
            if (!CPU_ISSET(cpu, allowed) || *nr == CPU_SETSIZE)
                return -ERANGE;
            cpus[(*nr)++] = cpu;
        }
        if (!*list)
            return 0;
        if (*list++ != ',')
            return -EINVAL;
    }
}

static unsigned choose(const cpu_set_t *allowed, unsigned nr_workers, unsigned *cpus)
{
    unsigned nr = (unsigned)CPU_COUNT(allowed), skip = nr > nr_workers ? nr - nr_workers : 0;
    unsigned taken = 0;

    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, allowed))
            continue;
        if (skip)
            skip--;
        else
            cpus[taken++] = cpu;
    }
    return taken;
}

int cpu_plan(const char *list, const cpu_set_t *allowed, unsigned nr_workers, struct cpu_plan *plan)
{
    unsigned cpus[CPU_SETSIZE], nr;
    int rc;

    if (!nr_workers || nr_workers > CPU_SETSIZE || !CPU_COUNT(allowed))
        return -ERANGE;
    if (*list) {
        rc = read_list(list, allowed, cpus, &nr);
        if (rc)
            return rc;
    } else {
        nr = choose(allowed, nr_workers, cpus);
    }
    plan->nr_workers = nr_workers;
    plan->shared = nr < nr_workers;
    for (unsigned i = 0; i < nr_workers; i++)
        plan->cpus[i] = cpus[i % nr];
    return 0;
}

void cpu_set_text(const cpu_set_t *set, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        unsigned last = cpu;

        if (!CPU_ISSET(cpu, set))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
            last++;
        used += (size_t)snprintf(text + used, size - used, last > cpu ? "%s%u-%u" : "%s%u",
                                 used ? "," : "", cpu, last);
        if (used >= size)
            return;
        cpu = last;
    }
}
