/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tools/table.h"

static char *printed(const struct table *table)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    table_print(table, out);
    fclose(out);
    return text;
}

Test(table, aligns_columns_by_their_widest_cell)
{
    struct table *t = table_create("key|>size|tier");
    char *text;

    table_row(t, "%s\t%d\t%s", "a", 5, "host");
    table_row(t, "longer\t12345\tdisk");
    text = printed(t);
    cr_assert_str_eq(text, "key      size  tier\n"
                           "a           5  host\n"
                           "longer  12345  disk\n");
    free(text);
    table_destroy(t);
}

Test(table, counts_code_points_and_leaves_missing_cells_empty)
{
    struct table *t = table_create(">a|b");
    char *text;

    table_row(t, "\u00b5s\tx\tdropped");
    table_row(t, "only");
    text = printed(t);
    cr_assert_str_eq(text, "   a  b\n  \u00b5s  x\nonly  \n");
    free(text);
    table_destroy(t);
}

Test(table, of_nothing_is_nothing)
{
    table_row(NULL, "x");
    table_print(NULL, stdout);
    table_destroy(NULL);
}
