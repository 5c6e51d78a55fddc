/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "tools/sizes.h"

Test(sizes, take_one_size)
{
    struct sizes s;

    cr_assert_eq(sizes_parse("4KiB", &s), 0);
    for (uint64_t id = 0; id < 100; id++)
        cr_assert_eq(sizes_of(&s, id), 4096);
    cr_assert_eq(s.largest, 4096);
    cr_assert_eq(sizes_parse("0", &s), 0, "a value may be empty");
    cr_assert_eq(sizes_of(&s, 1), 0);
}

Test(sizes, mix_by_weight_and_stay_the_same_for_an_id)
{
    struct sizes s;
    unsigned small = 0, middle = 0, large = 0;

    cr_assert_eq(sizes_parse("64:50,4KiB:30,64KiB:20", &s), 0);
    for (uint64_t id = 0; id < 100000; id++) {
        uint32_t size = sizes_of(&s, id);

        small += size == 64;
        middle += size == 4096;
        large += size == 65536;
        cr_assert_eq(size, sizes_of(&s, id));
    }
    cr_assert_eq(small + middle + large, 100000);
    cr_assert(small > 49000 && small < 51000, "%u", small);
    cr_assert(middle > 29000 && middle < 31000, "%u", middle);
    cr_assert_eq(s.largest, 65536);
    cr_assert_float_eq(sizes_mean(&s), 64 * 0.5 + 4096 * 0.3 + 65536 * 0.2, 1e-6);
}

Test(sizes, refuse_nonsense)
{
    static const char *const bad[] = {
        "",          ",",    "64,",
        "64:",       "64:0", ":5",
        "64:x",      "x:1",  "64:50;4096:50",
        "65MiB",     "-1",   "1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1",
        "64:1000001"};
    struct sizes s;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(sizes_parse(bad[i], &s), -EINVAL, "'%s'", bad[i]);
}
