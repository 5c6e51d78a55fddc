/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "base/random.h"

Test(random, below_stays_below_and_reaches_all)
{
    struct rng rng;
    unsigned seen[10] = {0};

    rng_seed(&rng, 1);
    for (int i = 0; i < 100000; i++)
        seen[rng_below(&rng, 10)]++;
    for (int i = 0; i < 10; i++)
        cr_assert(seen[i] > 9400 && seen[i] < 10600);
}

Test(random, zipf_has_the_frequencies_of_its_law)
{
    static unsigned seen[1000];
    const double exponents[] = {0.5, 0.99, 1.0, 1.5};
    const int draws = 1000000;

    for (int e = 0; e < 4; e++) {
        struct rng rng;
        struct zipf zipf;
        double norm = 0;

        rng_seed(&rng, 2);
        zipf_setup(&zipf, 1000, exponents[e]);
        for (int i = 0; i < 1000; i++) {
            norm += pow(i + 1, -exponents[e]);
            seen[i] = 0;
        }
        for (int i = 0; i < draws; i++)
            seen[zipf_next(&zipf, &rng)]++;
        for (int i = 0; i < 1000; i += 37) {
            double want = draws * pow(i + 1, -exponents[e]) / norm;
            cr_assert(fabs(seen[i] - want) < 5 * sqrt(want) + 5,
                      "exponent %.2f rank %d: %u for %.0f", exponents[e], i, seen[i], want);
        }
    }
}

Test(random, zipf_of_one_item_is_that_item)
{
    struct rng rng;
    struct zipf zipf;

    rng_seed(&rng, 3);
    zipf_setup(&zipf, 1, 0.99);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(zipf_next(&zipf, &rng), 0);
}
