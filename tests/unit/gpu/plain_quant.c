/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of conversions as a plain program, for builds without Criterion. */
#include <stdio.h>

#include "quant_checks.h"

int main(void)
{
    uint64_t seed = quant_seed();
    unsigned failed = 0;

    for (const struct quant_check *check = quant_checks; check->name; check++) {
        bool right = check->right(seed);

        printf("%s %s\n", right ? "ok  " : "FAIL", check->name);
        failed += !right;
    }
    return failed ? 1 : 0;
}
