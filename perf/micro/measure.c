/* SPDX-License-Identifier: Apache-2.0 */
/* The clock around a benchmark. Nothing is subtracted: the loop around the operations counts. */
#include "perf/micro/measure.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "perf/micro/ticks.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct spread spread_of(double *values, unsigned nr)
{
    qsort(values, nr, sizeof(values[0]), compare);
    return (struct spread){.min = values[0],
                           .median =
                               nr % 2 ? values[nr / 2] : (values[nr / 2 - 1] + values[nr / 2]) / 2,
                           .max = values[nr - 1]};
}

/* A function of its own so that callgrind can be told to collect in here only. */
__attribute__((noinline)) void measured(const struct bench *bench, void *state, uint64_t nr);
void measured(const struct bench *bench, void *state, uint64_t nr)
{
    bench->run(state, nr);
}

static void once(const struct bench *bench, void *state, uint64_t nr, double *ticks, double *ns)
{
    uint64_t from_ns, from;

    if (bench->prepare)
        bench->prepare(state);
    from_ns = clock_ns();
    from = ticks_now();
    measured(bench, state, nr);
    *ticks = (double)(ticks_now() - from);
    *ns = (double)(clock_ns() - from_ns);
}

static uint64_t in_steps(const struct bench *bench, uint64_t nr)
{
    uint64_t step = bench->step ? bench->step : 1;

    nr = (nr + step - 1) / step * step;
    return bench->most && nr > bench->most ? bench->most : nr;
}

/* Doubles until a repetition is long enough to tell the rate, then as many as fill time_ns. */
static uint64_t calibrate(const struct bench *bench, void *state, uint64_t time_ns)
{
    uint64_t nr = in_steps(bench, 64), last = 0;
    double ticks, ns;

    for (;;) {
        once(bench, state, nr, &ticks, &ns);
        if (ns * 8 >= (double)time_ns || nr == last)
            break;
        last = nr;
        nr = in_steps(bench, 2 * nr);
    }
    return in_steps(bench, (uint64_t)((double)nr * (double)time_ns / (ns > 1 ? ns : 1)));
}

int measure(const struct bench *bench, const struct measure_options *options,
            struct measurement *result)
{
    double ticks[MEASURE_REPS_MAX], ns[MEASURE_REPS_MAX];
    void *state = bench->setup(bench);
    uint64_t nr;

    if (!state)
        return -ENOMEM;
    nr = options->count ? in_steps(bench, options->count)
                        : calibrate(bench, state, options->time_ns);
    for (unsigned i = 0; i < options->reps; i++) {
        once(bench, state, nr, &ticks[i], &ns[i]);
        ticks[i] /= (double)nr;
        ns[i] /= (double)nr;
    }
    *result = (struct measurement){.ops = nr,
                                   .reps = options->reps,
                                   .ticks = spread_of(ticks, options->reps),
                                   .ns = spread_of(ns, options->reps)};
    return bench->teardown(state) ? 0 : -EBADMSG;
}
