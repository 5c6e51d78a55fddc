/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps every cell until the widths are known. Widths count code points, not bytes. */
#include "tools/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 24u

struct table {
    unsigned nr_columns;
    int width[COLUMNS_MAX];
    bool right[COLUMNS_MAX];
    char **cells; /* nr_rows times nr_columns, the first row are the names */
    size_t nr_rows, room;
};

static int text_width(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0u) != 0x80u;
    return n;
}

/* Adds a row of the cells that text holds between separators. */
static void add_row(struct table *t, char *text, const char *separator)
{
    if (t->nr_rows == t->room) {
        size_t room = t->room ? t->room * 2 : 16;
        char **cells = realloc(t->cells, room * t->nr_columns * sizeof(*cells));
        if (!cells)
            return;
        t->cells = cells;
        t->room = room;
    }
    for (unsigned i = 0; i < t->nr_columns; i++) {
        char *cell = text ? strsep(&text, separator) : NULL;
        char *copy = strdup(cell ? cell : "");
        int width = copy ? text_width(copy) : 0;

        t->cells[t->nr_rows * t->nr_columns + i] = copy;
        if (width > t->width[i])
            t->width[i] = width;
    }
    t->nr_rows++;
}

struct table *table_create(const char *columns)
{
    struct table *t = calloc(1, sizeof(*t));
    char *names = strdup(columns), *to = names;

    if (!t || !names) {
        free(t);
        free(names);
        return NULL;
    }
    t->nr_columns = 1;
    for (const char *from = columns; *from; from++) {
        if (*from == '>' && (from == columns || from[-1] == '|')) {
            t->right[t->nr_columns - 1] = true;
            continue;
        }
        if (*from == '|' && t->nr_columns < COLUMNS_MAX)
            t->nr_columns++;
        *to++ = *from;
    }
    *to = 0;
    add_row(t, names, "|");
    free(names);
    return t;
}

void table_row(struct table *table, const char *format, ...)
{
    va_list args;
    char *text;
    int len;

    if (!table)
        return;
    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        return;
    add_row(table, text, "\t");
    free(text);
}

static void print_cell(const struct table *t, unsigned column, const char *text, FILE *out)
{
    int pad = t->width[column] - text_width(text);
    bool last = column + 1 == t->nr_columns;

    if (t->right[column])
        fprintf(out, "%*s%s", pad, "", text);
    else
        fprintf(out, "%s%*s", text, last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", out);
}

void table_print(const struct table *table, FILE *out)
{
    if (!table)
        return;
    for (size_t row = 0; row < table->nr_rows; row++)
        for (unsigned i = 0; i < table->nr_columns; i++) {
            const char *cell = table->cells[row * table->nr_columns + i];
            print_cell(table, i, cell ? cell : "", out);
        }
}

void table_destroy(struct table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->nr_rows * table->nr_columns; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}
