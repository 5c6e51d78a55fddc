/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "tools/load/ticks.h"

Test(ticks, are_nanoseconds_of_the_clock)
{
    const uint64_t hz[] = {1000000000, 2445406000, 3999999999};

    for (unsigned i = 0; i < sizeof(hz) / sizeof(hz[0]); i++) {
        struct ticks t = ticks_make(123456, 5000, hz[i]);

        cr_assert_eq(ticks_ns(&t, 123456), 5000);
        for (uint64_t s = 1; s < 1000000; s *= 10)
            cr_assert_float_eq((double)ticks_ns(&t, 123456 + s * hz[i]) - 5000, (double)s * 1e9,
                               (double)s * 10, "%lu s", (unsigned long)s);
    }
}
