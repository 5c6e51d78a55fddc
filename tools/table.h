/* SPDX-License-Identifier: Apache-2.0 */
/* A table of text whose columns are as wide as they must be. One thread. */
#pragma once

#include <stdio.h>

struct table;

/* columns: names separated by '|', '>' in front of those that align right: "key|>size|>hits".
 * NULL without memory; all functions accept a NULL table and do nothing. */
struct table *table_create(const char *columns);
/* One row: cells separated by tabs in the formatted text. Missing cells are empty. */
void table_row(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *table, FILE *out);
void table_destroy(struct table *table);
