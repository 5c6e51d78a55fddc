/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "tools/load/draw.h"

#define LEAST 4096u

static struct bench_settings settings(enum bench_dist dist, uint64_t keys)
{
    return (struct bench_settings){
        .dist = dist, .keys = keys, .exponent = 0.99, .seed = 3, .threads = 2};
}

Test(draw, zipf_ranks_come_as_often_as_they_should)
{
    struct bench_settings s = settings(BENCH_ZIPF, 100);
    uint64_t seen[100] = {0};
    struct draw_table table;
    struct draw draw;

    cr_assert_eq(draw_table_create(&table, &s, 1u << 16), 0);
    draw_setup(&draw, &table, &s, 0);
    for (int i = 0; i < 1 << 16; i++) {
        uint64_t id = draw_next(&draw);

        cr_assert_lt(id, 100);
        seen[id]++;
    }
    /* The sum of 1 / k^0.99 to 100 is 5.29. */
    cr_assert_float_eq((double)seen[0] / (1 << 16), 1 / 5.29, 0.01);
    cr_assert_float_eq((double)seen[1] / (double)seen[0], 0.5035, 0.03);
    for (int i = 0; i < 100; i++)
        cr_assert_gt(seen[i], 0);
    draw_table_destroy(&table);
}

Test(draw, the_table_is_large_enough_for_the_rare_keys)
{
    struct bench_settings s = settings(BENCH_ZIPF, 5000);
    struct draw_table table;

    cr_assert_eq(draw_table_create(&table, &s, LEAST), 0);
    cr_assert_eq(table.mask + 1, 32768, "a power of two from four times the keys on");
    draw_table_destroy(&table);
    s.keys = 10;
    cr_assert_eq(draw_table_create(&table, &s, LEAST), 0);
    cr_assert_eq(table.mask + 1, LEAST);
    draw_table_destroy(&table);
}

Test(draw, threads_read_the_table_from_places_of_their_own)
{
    struct bench_settings s = settings(BENCH_ZIPF, 1000);
    struct draw first, second;
    struct draw_table table;

    cr_assert_eq(draw_table_create(&table, &s, LEAST), 0);
    draw_setup(&first, &table, &s, 0);
    draw_setup(&second, &table, &s, 1);
    cr_assert_eq(second.at - first.at, (table.mask + 1) / 2);
    for (uint64_t i = 0; i < 2 * (table.mask + 1); i++)
        cr_assert_eq(draw_next(&first), table.ids[i & table.mask], "it goes round");
    draw_table_destroy(&table);
}

Test(draw, the_same_seed_draws_the_same_keys)
{
    struct bench_settings s = settings(BENCH_ZIPF, 1000);
    struct draw_table a, b;

    cr_assert_eq(draw_table_create(&a, &s, LEAST), 0);
    cr_assert_eq(draw_table_create(&b, &s, LEAST), 0);
    cr_assert_arr_eq(a.ids, b.ids, LEAST * sizeof(a.ids[0]));
    draw_table_destroy(&b);
    s.seed++;
    cr_assert_eq(draw_table_create(&b, &s, LEAST), 0);
    cr_assert_neq(memcmp(a.ids, b.ids, LEAST * sizeof(a.ids[0])), 0);
    draw_table_destroy(&a);
    draw_table_destroy(&b);
}

Test(draw, uniform_keys_come_equally_often_without_a_table)
{
    struct bench_settings s = settings(BENCH_UNIFORM, 10);
    struct draw_table table;
    uint64_t seen[10] = {0};
    struct draw draw;

    cr_assert_eq(draw_table_create(&table, &s, LEAST), 0);
    cr_assert_null(table.ids);
    draw_setup(&draw, &table, &s, 1);
    for (int i = 0; i < 100000; i++)
        seen[draw_next(&draw)]++;
    for (int i = 0; i < 10; i++)
        cr_assert_float_eq((double)seen[i], 10000, 500);
}

Test(draw, sequential_threads_share_the_keys)
{
    struct bench_settings s = settings(BENCH_SEQUENTIAL, 7);
    static const uint64_t expected[2][5] = {{0, 2, 4, 6, 1}, {1, 3, 5, 0, 2}};
    struct draw_table table;
    struct draw draw;

    cr_assert_eq(draw_table_create(&table, &s, LEAST), 0);
    for (unsigned thread = 0; thread < 2; thread++) {
        draw_setup(&draw, &table, &s, thread);
        for (int i = 0; i < 5; i++)
            cr_assert_eq(draw_next(&draw), expected[thread][i]);
    }
}
