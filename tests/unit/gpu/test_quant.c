/* SPDX-License-Identifier: Apache-2.0 */
/* The conversion's checks (quant_checks.h), under Criterion. */
#include <criterion/criterion.h>

#include "gpu/quant.h"
#include "quant_checks.h"

Test(quant, elements_are_decoded_exactly)
{
    cr_assert(elements_are_decoded_exactly(quant_seed()));
}

Test(quant, floats_are_rounded_to_nearest_even)
{
    cr_assert(floats_are_rounded_to_nearest_even(quant_seed()));
}

Test(quant, conversions_are_checked)
{
    cr_assert(conversions_are_checked(quant_seed()));
}

Test(quant, packed_bytes_lie_as_described)
{
    cr_assert(packed_bytes_lie_as_described(quant_seed()));
}

Test(quant, special_groups_have_defined_results)
{
    cr_assert(special_groups_have_defined_results(quant_seed()));
}

Test(quant, errors_stay_within_the_bound)
{
    cr_assert(errors_stay_within_the_bound(quant_seed()));
}

Test(quant, paths_agree_on_what_is_packed)
{
    cr_assert(paths_agree_on_what_is_packed(quant_seed()));
}

Test(quant, paths_agree_on_every_quotient)
{
    cr_assert(paths_agree_on_every_quotient(quant_seed()));
}

Test(quant, paths_agree_on_what_is_unpacked)
{
    cr_assert(paths_agree_on_what_is_unpacked(quant_seed()));
}

Test(quant, nothing_is_touched_beyond_the_buffers)
{
    cr_assert(nothing_is_touched_beyond_the_buffers(quant_seed()));
}

Test(quant, uses_avx2_where_it_is)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2"))
        cr_skip("no AVX2 here");
    cr_assert_eq(quant_use(1), 0);
#else
    cr_assert_neq(quant_use(1), 0);
#endif
}
