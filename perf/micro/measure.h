/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one benchmark several times and says what an operation took. */
#pragma once

#include <stdint.h>

#include "perf/micro/bench.h"

#define MEASURE_REPS_MAX 101u

struct spread {
    double min, median, max;
};

struct measurement {
    uint64_t ops; /* of each repetition */
    unsigned reps;
    struct spread ticks, ns; /* per operation */
};

struct measure_options {
    uint64_t count; /* operations of a repetition; 0 = as many as take time_ns */
    uint64_t time_ns;
    unsigned reps; /* 1 .. MEASURE_REPS_MAX */
};

/* Sorts values. nr > 0. */
struct spread spread_of(double *values, unsigned nr);

/* 0, -ENOMEM (setup failed), -EBADMSG (the operations did not do what they should). */
[[nodiscard]] int measure(const struct bench *bench, const struct measure_options *options,
                          struct measurement *result);
