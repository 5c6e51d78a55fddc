/* SPDX-License-Identifier: Apache-2.0 */
/* When the operations of an open loop are due: at a fixed rate, or as a Poisson process. Due times
 * never wait for answers, so a latency counted from them includes what a slow answer made the next
 * operations wait (no coordinated omission). One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"

struct schedule {
    uint64_t start_ns, nr; /* operations taken so far */
    double interval_ns, offset_ns;
    bool poisson;
    struct rng rng;
};

/* rate: operations a second, above 0. The first one is due at start_ns (Poisson: after a first
 * interval). */
void schedule_setup(struct schedule *s, uint64_t start_ns, double rate, bool poisson,
                    uint64_t seed);
/* When the next operation is due. */
uint64_t schedule_due(const struct schedule *s);
/* Takes it: the one after it is next. */
void schedule_advance(struct schedule *s);
