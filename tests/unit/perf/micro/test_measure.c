/* SPDX-License-Identifier: Apache-2.0 */
/* What the clock around the micro benchmarks promises to them. */
#include <criterion/criterion.h>
#include <errno.h>

#include "perf/micro/measure.h"

static struct {
    uint64_t prepared, runs, ops, least, most;
    bool right;
} seen;

static void *setup(const struct bench *bench)
{
    return bench->arg ? NULL : &seen;
}

static void prepare(void *state)
{
    (void)state;
    cr_assert_eq(seen.prepared, seen.runs);
    seen.prepared++;
}

static void run(void *state, uint64_t nr)
{
    (void)state;
    seen.runs++;
    seen.ops += nr;
    seen.most = nr > seen.most ? nr : seen.most;
    seen.least = seen.least == 0 || nr < seen.least ? nr : seen.least;
}

static bool teardown(void *state)
{
    (void)state;
    return seen.right;
}

static const struct bench plain = {.step = 32, .setup = setup, .run = run, .teardown = teardown};

Test(measure, a_count_is_run_as_often_as_asked_and_rounded_up_to_whole_steps)
{
    struct measure_options options = {.count = 33, .reps = 3};
    struct measurement m;

    seen.right = true;
    cr_assert_eq(measure(&plain, &options, &m), 0);
    cr_assert_eq(m.ops, 64);
    cr_assert_eq(seen.ops, 3 * 64);
    cr_assert_leq(m.ns.min, m.ns.median);
    cr_assert_leq(m.ns.median, m.ns.max);
}

Test(measure, a_repetition_is_prepared_and_never_longer_than_one_prepare_is_good_for)
{
    struct measure_options options = {.time_ns = 1000000, .reps = 5};
    struct bench bench = plain;
    struct measurement m;

    seen.right = true;
    bench.prepare = prepare;
    bench.most = 96;
    cr_assert_eq(measure(&bench, &options, &m), 0);
    cr_assert_eq(seen.most, 96);
    cr_assert_eq(seen.prepared, seen.runs);
    cr_assert_eq(seen.least % 32, 0);
}

Test(measure, a_benchmark_that_did_not_do_its_work_has_no_result)
{
    struct measure_options options = {.count = 1, .reps = 1};
    struct bench bench = plain;
    struct measurement m;

    cr_assert_eq(measure(&plain, &options, &m), -EBADMSG);
    bench.arg = 1;
    cr_assert_eq(measure(&bench, &options, &m), -ENOMEM);
}

Test(spread, is_minimum_middle_and_maximum)
{
    double odd[] = {5, 1, 3}, even[] = {4, 1, 2, 9};
    struct spread a = spread_of(odd, 3), b = spread_of(even, 4);

    cr_assert_eq(a.min, 1);
    cr_assert_eq(a.median, 3);
    cr_assert_eq(a.max, 5);
    cr_assert_eq(b.median, 3);
    cr_assert_eq(b.max, 9);
}

Test(sizes, are_written_in_powers_of_1024)
{
    cr_assert_str_eq(bench_size(64).s, "64");
    cr_assert_str_eq(bench_size(1448).s, "1448");
    cr_assert_str_eq(bench_size(64 << 10).s, "64K");
    cr_assert_str_eq(bench_size(16 << 20).s, "16M");
}
