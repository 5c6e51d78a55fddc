/* SPDX-License-Identifier: Apache-2.0 */
/* Fixed rates are multiples of the interval, not sums, so that they do not drift. */
#include "tools/schedule.h"

#include <math.h>

static double poisson_gap(struct schedule *s)
{
    return -log(1 - rng_unit(&s->rng)) * s->interval_ns;
}

void schedule_setup(struct schedule *s, uint64_t start_ns, double rate, bool poisson, uint64_t seed)
{
    *s = (struct schedule){.start_ns = start_ns, .interval_ns = 1e9 / rate, .poisson = poisson};
    rng_seed(&s->rng, seed);
    if (poisson)
        s->offset_ns = poisson_gap(s);
}

uint64_t schedule_due(const struct schedule *s)
{
    return s->start_ns + (uint64_t)s->offset_ns;
}

void schedule_advance(struct schedule *s)
{
    s->nr++;
    if (s->poisson)
        s->offset_ns += poisson_gap(s);
    else
        s->offset_ns = (double)s->nr * s->interval_ns;
}
