/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "base/histogram.h"

static struct histogram h, sum;

Test(histogram, is_empty_at_first)
{
    cr_assert_eq(histogram_quantile(&h, 0.5), 0);
}

Test(histogram, knows_quantiles_to_a_sixteenth)
{
    for (uint64_t v = 1; v <= 100000; v++)
        histogram_add(&h, v);
    for (double q = 0.01; q < 1; q += 0.07) {
        double got = (double)histogram_quantile(&h, q), want = q * 100000;
        cr_assert(got >= want && got <= want * 1.07, "q %.2f: %.0f for %.0f", q, got, want);
    }
    cr_assert_eq(histogram_quantile(&h, 1), 100000);
    cr_assert_eq(h.count, 100000);
    cr_assert_eq(h.sum, 100000ull * 100001 / 2);
}

Test(histogram, is_exact_for_small_values_and_holds_the_largest)
{
    for (uint64_t v = 0; v < 16; v++)
        cr_assert_eq(histogram_bucket(v), v);
    histogram_add(&h, UINT64_MAX);
    cr_assert_eq(h.max, UINT64_MAX);
    cr_assert_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

Test(histogram, buckets_never_go_down_as_values_go_up)
{
    unsigned last = 0;

    for (uint64_t v = 0; v < 1u << 20; v++) {
        unsigned b = histogram_bucket(v);
        cr_assert(b == last || b == last + 1);
        last = b;
    }
}

Test(histogram, merges)
{
    histogram_add(&h, 10);
    histogram_add(&sum, 1000);
    histogram_merge(&sum, &h);
    cr_assert_eq(sum.count, 2);
    cr_assert_eq(sum.sum, 1010);
    cr_assert_eq(sum.max, 1000);
    cr_assert_eq(histogram_quantile(&sum, 0.5), 10);
}
