/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/random.h"
#include "client/gaps.h"
#include "kvrail/proto.h"

#define BYTES 2000u

Test(gaps, a_value_that_arrives_at_once_leaves_none)
{
    struct gaps gaps;

    gaps_setup(&gaps);
    gaps_reset(&gaps, 100);
    cr_assert(gaps_fill(&gaps, 0, 100));
    cr_assert(gaps_none(&gaps));
    gaps_reset(&gaps, 0);
    cr_assert(gaps_none(&gaps));
    gaps_teardown(&gaps);
}

Test(gaps, names_the_missing_ranges_cut_to_what_was_asked)
{
    struct gaps gaps;
    struct range range;

    gaps_setup(&gaps);
    gaps_reset(&gaps, 100);
    cr_assert(gaps_fill(&gaps, 20, 30));
    cr_assert(gaps_fill(&gaps, 50, 60));
    cr_assert(gaps_next(&gaps, 25, 100, &range));
    cr_assert(range.lo == 30 && range.hi == 50);
    cr_assert(gaps_next(&gaps, 10, 15, &range));
    cr_assert(range.lo == 10 && range.hi == 15);
    cr_assert_not(gaps_next(&gaps, 20, 30, &range));
    cr_assert_not(gaps_next(&gaps, 52, 58, &range));
    cr_assert_not(gaps_next(&gaps, 100, 200, &range));
    gaps_teardown(&gaps);
}

/* Against a byte map, with ranges that overlap in every way. */
Test(gaps, agree_with_a_map_of_bytes_whatever_arrives)
{
    struct rng rng;

    rng_seed(&rng, 5);
    for (int round = 0; round < 200; round++) {
        uint8_t have[BYTES] = {0};
        struct gaps gaps;

        gaps_setup(&gaps);
        gaps_reset(&gaps, BYTES);
        for (int i = 0; i < 300; i++) {
            uint32_t lo = (uint32_t)rng_below(&rng, BYTES);
            uint32_t hi = lo + (uint32_t)rng_below(&rng, i % 10 == 0 ? 200 : 8);
            uint32_t from = (uint32_t)rng_below(&rng, BYTES), at = from;
            struct range range;

            hi = hi < BYTES ? hi : BYTES;
            cr_assert(gaps_fill(&gaps, lo, hi));
            memset(have + lo, 1, hi - lo);
            while (at < BYTES && have[at])
                at++;
            cr_assert_eq(gaps_next(&gaps, from, BYTES, &range), at < BYTES);
            if (at < BYTES) {
                cr_assert_eq(range.lo, at);
                while (at < BYTES && !have[at])
                    at++;
                cr_assert_eq(range.hi, at);
            }
        }
        cr_assert_eq(gaps_none(&gaps), memchr(have, 0, BYTES) == NULL);
        gaps_teardown(&gaps);
    }
}

Test(gaps, refuse_a_range_for_which_there_is_no_room_and_stay_as_they_were)
{
    struct gaps gaps;
    struct range range;
    uint32_t n = 0;

    gaps_setup(&gaps);
    gaps_reset(&gaps, 10 * GAPS_MAX);
    while (gaps_fill(&gaps, 4 * n + 2, 4 * n + 3) && n < 2 * GAPS_MAX)
        n++;
    cr_assert_eq(n, GAPS_MAX - 1);
    cr_assert(gaps_next(&gaps, 4 * n + 2, 4 * n + 3, &range), "the refused byte is still missing");
    cr_assert(gaps_fill(&gaps, 0, 4 * n), "what closes gaps is always taken");
    cr_assert(gaps_fill(&gaps, 4 * n + 2, 4 * n + 3));
    gaps_teardown(&gaps);
}

Test(gaps, append_joins_neighbours)
{
    struct gaps gaps;
    struct range range;

    gaps_setup(&gaps);
    gaps_reset(&gaps, 0);
    cr_assert(gaps_append(&gaps, 8, 16));
    cr_assert(gaps_append(&gaps, 16, 24));
    cr_assert(gaps_append(&gaps, 32, 32));
    cr_assert(gaps_append(&gaps, 40, 48));
    cr_assert_eq(gaps.nr, 2);
    cr_assert(gaps_next(&gaps, 0, 100, &range));
    cr_assert(range.lo == 8 && range.hi == 24);
    gaps_teardown(&gaps);
}

static void fragments(struct gaps *gaps, const struct kvr_range *ranges, uint32_t nr)
{
    gaps_reset(gaps, 5000);
    gaps_of_fragments(gaps, ranges, nr, 1000, 4500);
}

Test(gaps, what_a_server_misses_becomes_whole_fragments)
{
    const struct kvr_range named[] = {{0, 1}, {1999, 2}, {4000, 500}};
    const struct kvr_range disorder[] = {{2000, 1000}, {0, 1000}};
    const struct kvr_range outside[] = {{3000, 100}, {5000, 1}};
    const struct kvr_range far[] = {{4100, UINT32_MAX - 4100}, {4200, 1}};
    struct gaps gaps;
    struct range range;

    gaps_setup(&gaps);
    fragments(&gaps, named, 3);
    cr_assert_eq(gaps.nr, 2);
    cr_assert(gaps_next(&gaps, 0, 4500, &range));
    cr_assert(range.lo == 0 && range.hi == 3000, "neighbours are joined");
    fragments(&gaps, named + 1, 2);
    cr_assert(gaps_next(&gaps, 0, 4500, &range));
    cr_assert(range.lo == 1000 && range.hi == 3000);
    cr_assert(gaps_next(&gaps, 3000, 4500, &range));
    cr_assert(range.lo == 4000 && range.hi == 4500);
    fragments(&gaps, disorder, 2);
    cr_assert_eq(gaps.nr, 1);
    fragments(&gaps, outside, 2);
    cr_assert_eq(gaps.nr, 1);
    fragments(&gaps, far, 2);
    cr_assert(gaps_next(&gaps, 0, UINT32_MAX, &range));
    cr_assert(range.lo == 4000 && range.hi == 4500);
    gaps_teardown(&gaps);
}
