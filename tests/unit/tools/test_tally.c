/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <kvrail/client.h>

#include "tools/table.h"
#include "tools/tally.h"

static struct tally a, b;

Test(tally, counts_ends_by_status_and_knows_which_are_errors)
{
    char text[128];

    tally_add(&a, KVR_OK, 1000, 64);
    tally_add(&a, KVR_MISS, 1000, 0);
    tally_add(&a, KVR_EXISTS, 1000, 0);
    cr_assert_eq(tally_errors(&a), 0);
    tally_error_text(&a, text, sizeof(text));
    cr_assert_str_eq(text, "");
    tally_add(&a, KVR_TIMEOUT, 1000, 0);
    tally_add(&a, KVR_TIMEOUT, 1000, 0);
    tally_add(&a, KVR_BUSY, 1000, 0);
    cr_assert_eq(tally_errors(&a), 3);
    tally_error_text(&a, text, sizeof(text));
    cr_assert_str_eq(text, "BUSY 1, TIMEOUT 2");
    tally_error_text(&a, text, 8);
    cr_assert_str_eq(text, "BUSY 1,", "cut, never overrun");
}

Test(tally, takes_a_status_that_nobody_knows_as_an_internal_error)
{
    tally_add(&a, (enum kvr_status)255, 1000, 0);
    cr_assert_eq(a.ended[KVR_INTERNAL], 1);
}

Test(tally, merges_all_it_counts)
{
    tally_add(&a, KVR_OK, 1000, 64);
    tally_add(&b, KVR_OK, 3000000, 36);
    tally_add(&b, KVR_NO_SPACE, 5000, 0);
    b.corrupt = 2;
    tally_merge(&a, &b);
    cr_assert_eq(a.ops, 3);
    cr_assert_eq(a.bytes, 100);
    cr_assert_eq(a.corrupt, 2);
    cr_assert_eq(a.ended[KVR_NO_SPACE], 1);
    cr_assert_eq(a.latency.max, 3000000);
}

Test(tally, gives_rates_and_percentiles_as_json)
{
    json_t *json, *latency;

    for (int i = 0; i < 1000; i++)
        tally_add(&a, KVR_OK, i < 990 ? 1000 : 1000000, 10);
    json = tally_json(&a, 2);
    cr_assert_eq(json_integer_value(json_object_get(json, "ops")), 1000);
    cr_assert_eq(json_real_value(json_object_get(json, "ops_s")), 500);
    cr_assert_eq(json_real_value(json_object_get(json, "bytes_s")), 5000);
    latency = json_object_get(json, "latency");
    cr_assert_lt(json_real_value(json_object_get(latency, "p50_us")), 1.1);
    cr_assert_eq(json_real_value(json_object_get(latency, "p99_9_us")), 1000);
    cr_assert_eq(json_real_value(json_object_get(latency, "max_us")), 1000);
    json_decref(json);
    json = tally_json(&b, 0);
    cr_assert_eq(json_real_value(json_object_get(json, "ops_s")), 0, "no time, no rate");
    json_decref(json);
}

Test(tally, fills_a_row_with_a_cell_for_each_column)
{
    struct table *table = table_create(TALLY_COLUMNS);
    char *text, *row;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    tally_add(&a, KVR_OK, 1000, 0);
    tally_row(table, "get", &a, 1);
    tally_row(table, "nothing", &b, 1);
    table_print(table, out);
    fclose(out);
    row = strchr(text, '\n') + 1;
    cr_assert_eq(strncmp(row, "get", 3), 0);
    cr_assert_null(strstr(row, "nothing"), "what did not happen is not shown");
    cr_assert_str_eq(strrchr(row, 's'), "s\n", "the last column is a duration");
    free(text);
    table_destroy(table);
}
