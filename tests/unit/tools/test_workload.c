/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "tools/workload.h"

static struct trace make(const char *text)
{
    struct workload w;
    struct trace trace;
    const char *wrong;

    workload_defaults(&w);
    cr_assert_eq(workload_parse(text, &w, &wrong), 0, "%s", wrong);
    cr_assert_eq(workload_make(&w, &trace), 0);
    return trace;
}

/* What an infinite cache hits: the share of blocks in stored prefixes. */
static double hit_ratio(const struct trace *trace)
{
    static bool seen[1 << 20];
    uint64_t hits = 0;

    for (size_t i = 0; i < trace->nr; i++) {
        const struct trace_request *r = &trace->requests[i];
        uint32_t k = 0;

        while (k < r->nr_ids && seen[r->ids[k]])
            k++;
        hits += k;
        for (; k < r->nr_ids; k++) {
            cr_assert_lt(r->ids[k], sizeof(seen));
            seen[r->ids[k]] = true;
        }
    }
    return (double)hits / (double)trace->nr_blocks;
}

Test(workload, makes_turns_that_grow_from_shared_prompts)
{
    struct trace trace = make("conversations=100,turns=5,prompts=3,prompt-blocks=4");
    double ratio;

    cr_assert_eq(trace.nr, 500);
    for (size_t i = 0; i < trace.nr; i++) {
        const struct trace_request *r = &trace.requests[i];

        cr_assert_geq(r->nr_ids, 5);
        cr_assert_lt(r->ids[0], 12, "every prompt begins with a system prompt");
        cr_assert_eq(r->ids[0] % 4, 0);
        cr_assert_eq(r->ids[3], r->ids[0] + 3);
        cr_assert(i == 0 || r->timestamp_ms >= trace.requests[i - 1].timestamp_ms);
    }
    ratio = hit_ratio(&trace);
    cr_assert(ratio > 0.5 && ratio < 0.95, "%.3f", ratio);
    trace_destroy(&trace);
}

Test(workload, is_the_same_for_the_same_seed)
{
    struct trace a = make("conversations=20,seed=5"), b = make("conversations=20,seed=5");
    struct trace c = make("conversations=20,seed=6");

    cr_assert_eq(a.nr_blocks, b.nr_blocks);
    for (size_t i = 0; i < a.nr; i++) {
        cr_assert_eq(a.requests[i].timestamp_ms, b.requests[i].timestamp_ms);
        cr_assert_eq(a.requests[i].nr_ids, b.requests[i].nr_ids);
    }
    cr_assert_neq(a.nr_blocks, c.nr_blocks);
    trace_destroy(&a);
    trace_destroy(&b);
    trace_destroy(&c);
}

Test(workload, keeps_requests_within_what_a_trace_may_hold)
{
    struct trace trace = make("conversations=1,turns=100,question-blocks=1000,prompt-blocks=10000");

    for (size_t i = 0; i < trace.nr; i++)
        cr_assert_leq(trace.requests[i].nr_ids, TRACE_IDS_MAX);
    trace_destroy(&trace);
}

Test(workload, refuses_unknown_settings_and_values_outside_their_range)
{
    static const char *const bad[] = {"x=1",     "turns",        "turns=",      "turns=0", "=5",
                                      "turns=a", "turns=100000", "turns=5,x=1", "turns=-1"};
    struct workload w;
    const char *wrong;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        workload_defaults(&w);
        cr_assert_eq(workload_parse(bad[i], &w, &wrong), -EINVAL, "%s", bad[i]);
    }
}
