/* SPDX-License-Identifier: Apache-2.0 */
/* kvrail-micro: picks benchmarks, pins itself to a CPU, prints what was measured. One thread, but
 * for the benchmarks that need two. */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "perf/micro/measure.h"
#include "tools/units.h"

struct choice {
    const char *filter, *only;
    struct measure_options measure;
    uint64_t memory;
    int cpu;
    bool json, list;
};

static void usage(FILE *out)
{
    fprintf(out,
            "usage: %s [--filter WORD | --only NAME] [OPTION...]\n"
            "  --filter WORD   benchmarks whose name has WORD in it, or fits the pattern\n"
            "  --only NAME     that one\n"
            "  --list          names, and what an operation is\n"
            "  --json          one object a line\n"
            "  --count N       operations of a repetition; default: as many as take --time\n"
            "  --time TIME     1us to 10s, default 20ms\n"
            "  --reps N        1 to %u, default 11\n"
            "  --cpu N         default: the first that is allowed\n"
            "  --memory BYTES  skip what needs more; default half of what is available\n",
            program_invocation_short_name, MEASURE_REPS_MAX);
}

static int wrong(const char *option, const char *text, const char *allowed)
{
    fprintf(stderr, "%s: --%s %s: %s\n", program_invocation_short_name, option, text, allowed);
    return -EINVAL;
}

static int read_option(int id, const char *text, struct choice *choice)
{
    uint64_t n;

    switch (id) {
    case 'f':
        choice->filter = text;
        return 0;
    case 'o':
        choice->only = text;
        return 0;
    case 'n':
        if (units_parse_count(text, &n) || n == 0 || n > 1000000000000ull)
            return wrong("count", text, "not a number from 1 to 1000G");
        choice->measure.count = n;
        return 0;
    case 't':
        if (units_parse_duration(text, 0, &n) || n < NS_PER_US || n > 10 * NS_PER_S)
            return wrong("time", text, "not a time from 1us to 10s");
        choice->measure.time_ns = n;
        return 0;
    case 'r':
        if (units_parse_count(text, &n) || n == 0 || n > MEASURE_REPS_MAX)
            return wrong("reps", text, "not a number from 1 to 101");
        choice->measure.reps = (unsigned)n;
        return 0;
    case 'c':
        if (units_parse_count(text, &n) || n >= CPU_SETSIZE)
            return wrong("cpu", text, "not a number of a CPU");
        choice->cpu = (int)n;
        return 0;
    default:
        if (units_parse_bytes(text, &n))
            return wrong("memory", text, "not a size");
        choice->memory = n;
        return 0;
    }
}

static int read_options(int argc, char **argv, struct choice *choice)
{
    static const struct option options[] = {{"filter", required_argument, NULL, 'f'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"count", required_argument, NULL, 'n'},
                                            {"time", required_argument, NULL, 't'},
                                            {"reps", required_argument, NULL, 'r'},
                                            {"cpu", required_argument, NULL, 'c'},
                                            {"memory", required_argument, NULL, 'm'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"list", no_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int id;

    while ((id = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
        if (id == 'j') {
            choice->json = true;
        } else if (id == 'l') {
            choice->list = true;
        } else if (id == 'h') {
            usage(stdout);
            return 1;
        } else if (id == '?') {
            return -EINVAL;
        } else if (read_option(id, optarg, choice)) {
            return -EINVAL;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: %s: not an option\n", program_invocation_short_name, argv[optind]);
        return -EINVAL;
    }
    return 0;
}

/* This thread to choice->cpu, or the first allowed one; the next allowed one is the second. */
static int pin(struct choice *choice)
{
    cpu_set_t allowed, one;

    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        return -errno;
    for (int cpu = 0; cpu < CPU_SETSIZE && choice->cpu < 0; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            choice->cpu = cpu;
    if (!CPU_ISSET(choice->cpu, &allowed)) {
        fprintf(stderr, "%s: --cpu %d: may not be used by this process\n",
                program_invocation_short_name, choice->cpu);
        return -EINVAL;
    }
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
        if (CPU_ISSET(cpu, &allowed) && cpu != choice->cpu)
            bench_second_cpu = cpu;
    CPU_ZERO(&one);
    CPU_SET(choice->cpu, &one);
    return sched_setaffinity(0, sizeof(one), &one) ? -errno : 0;
}

static bool chosen(const struct choice *choice, const struct bench *bench)
{
    if (choice->only)
        return strcmp(bench->name, choice->only) == 0;
    return !choice->filter || strstr(bench->name, choice->filter) ||
           fnmatch(choice->filter, bench->name, 0) == 0;
}

static void print(const struct choice *choice, const struct bench *bench,
                  const struct measurement *m)
{
    char rate[48] = "";

    if (bench->bytes)
        snprintf(rate, sizeof(rate), choice->json ? ", \"gb_s\": %.3f" : ": %.2f GB/s",
                 (double)bench->bytes / m->ns.median);
    if (choice->json)
        printf("{\"name\": \"%s\", \"what\": \"%s\", \"cpu\": %d, \"ops\": %llu, \"reps\": %u, "
               "\"tsc\": {\"median\": %.2f, \"min\": %.2f, \"max\": %.2f}, "
               "\"ns\": {\"median\": %.3f, \"min\": %.3f, \"max\": %.3f}%s}\n",
               bench->name, bench->what, choice->cpu, (unsigned long long)m->ops, m->reps,
               m->ticks.median, m->ticks.min, m->ticks.max, m->ns.median, m->ns.min, m->ns.max,
               rate);
    else
        printf("%-32s %10.1f %10.1f %10.1f %10.2f  %s%s\n", bench->name, m->ticks.median,
               m->ticks.min, m->ticks.max, m->ns.median, bench->what, rate);
    fflush(stdout);
}

static void print_skipped(const struct choice *choice, const struct bench *bench, const char *why)
{
    if (choice->json)
        printf("{\"name\": \"%s\", \"skipped\": \"%s\"}\n", bench->name, why);
    else
        printf("%-32s skipped: %s\n", bench->name, why);
}

/* Whether it did what it should. */
static bool run_one(const struct choice *choice, const struct bench *bench)
{
    struct measurement result;
    int rc;

    if (choice->list) {
        printf("%-32s %s\n", bench->name, bench->what);
        return true;
    }
    if (bench->two_cpus && bench_second_cpu < 0) {
        print_skipped(choice, bench, "there is only one CPU");
        return true;
    }
    if (bench->memory > choice->memory) {
        print_skipped(choice, bench, "needs more than --memory");
        return true;
    }
    rc = measure(bench, &choice->measure, &result);
    if (rc == 0)
        print(choice, bench, &result);
    else
        fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, bench->name,
                rc == -ENOMEM ? "cannot be set up" : "did not do what it should");
    return rc == 0;
}

int main(int argc, char **argv)
{
    struct choice choice = {.cpu = -1,
                            .memory = (uint64_t)sysconf(_SC_AVPHYS_PAGES) *
                                      (uint64_t)sysconf(_SC_PAGESIZE) / 2,
                            .measure = {.time_ns = 20 * NS_PER_MS, .reps = 11}};
    struct bench_list list = {0};
    unsigned nr = 0;
    bool good = true;
    int rc;

    log_setup(program_invocation_short_name, LOG_LEVEL_WARNING);
    rc = read_options(argc, argv, &choice);
    if (rc != 0)
        return rc < 0 ? 2 : 0;
    if (pin(&choice))
        return 1;
    for (bench_stage *const *stage = bench_stages; *stage; stage++)
        (*stage)(&list);
    if (!choice.json && !choice.list)
        printf("%-32s %10s %10s %10s %10s  %s\n", "per operation", "TSC median", "min", "max",
               "ns median", "operation");
    for (unsigned i = 0; i < list.nr; i++) {
        if (!chosen(&choice, &list.benches[i]))
            continue;
        nr++;
        good &= run_one(&choice, &list.benches[i]);
    }
    free(list.benches);
    if (nr == 0) {
        fprintf(stderr, "%s: no benchmark has that name; --list shows all\n",
                program_invocation_short_name);
        return 2;
    }
    return good ? 0 : 1;
}
