/* SPDX-License-Identifier: Apache-2.0 */
/* One value: text to checked value and back, by type. Any thread; no state. */
#pragma once

#include "controlplane/options.h"

/* Fills number and text of *value (source stays). -EINVAL: why says what is wrong with it, to be
 * read after the value: "is above the largest". */
[[nodiscard]] int option_parse(const struct option_row *option, const char *given,
                               struct option_value *value, char *why, size_t why_size);

/* "64KiB", "1500": the largest binary unit that divides it. */
void size_format(uint64_t bytes, char *text, size_t size);
/* "60s", "1500ms". */
void duration_format(uint64_t ms, char *text, size_t size);

/* A list such as "256KiB,2MiB", each more than the one before. How many, 0: it is no such list. */
#define SIZES_MAX 8u
[[nodiscard]] unsigned size_list_parse(const char *text, uint64_t sizes[SIZES_MAX]);

/* The CPUs of a list such as "1-2,5", each < max; set may be NULL. How many, or -EINVAL. */
int cpus_parse(const char *text, unsigned max, bool *set);
