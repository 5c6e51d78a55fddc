/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "tools/schedule.h"

Test(schedule, fixed_rates_do_not_drift)
{
    struct schedule s;

    schedule_setup(&s, 1000, 3, false, 1);
    cr_assert_eq(schedule_due(&s), 1000);
    for (int i = 0; i < 3000000; i++)
        schedule_advance(&s);
    cr_assert_eq(schedule_due(&s), 1000 + 1000000ull * 1000000000ull);
}

Test(schedule, due_times_do_not_wait_for_whoever_is_late)
{
    struct schedule s;

    schedule_setup(&s, 0, 1000, false, 1);
    for (uint64_t i = 0; i < 100; i++) { /* nobody asks for the time in between */
        cr_assert_eq(schedule_due(&s), i * 1000000);
        cr_assert_eq(schedule_due(&s), i * 1000000, "looking does not take");
        schedule_advance(&s);
    }
}

Test(schedule, poisson_gaps_have_the_mean_and_the_spread_of_the_process)
{
    struct schedule s;
    double sum = 0, squares = 0;
    uint64_t last = 0;
    int n = 200000;

    schedule_setup(&s, 0, 10000, true, 42);
    for (int i = 0; i < n; i++) {
        uint64_t due = schedule_due(&s);
        double gap;

        cr_assert_geq(due, last);
        gap = (double)(due - last);
        sum += gap;
        squares += gap * gap;
        last = due;
        schedule_advance(&s);
    }
    double mean = sum / n, variance = squares / n - mean * mean;
    cr_assert(mean > 99000 && mean < 101000, "mean %.0f", mean);
    cr_assert(variance / (mean * mean) > 0.95 && variance / (mean * mean) < 1.05);
}

Test(schedule, poisson_is_the_same_for_the_same_seed_only)
{
    struct schedule a, b, c;
    bool differs = false;

    schedule_setup(&a, 0, 100, true, 1);
    schedule_setup(&b, 0, 100, true, 1);
    schedule_setup(&c, 0, 100, true, 2);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(schedule_due(&a), schedule_due(&b));
        differs |= schedule_due(&a) != schedule_due(&c);
        schedule_advance(&a);
        schedule_advance(&b);
        schedule_advance(&c);
    }
    cr_assert(differs);
}
