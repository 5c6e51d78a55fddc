/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as people write and read them: bytes, counts, durations, rates. Any thread. */
#pragma once

#include <stdint.h>

/* All parsers: 0, -EINVAL, or -ERANGE beyond 64 bits. No sign, no blanks at the ends; a fraction is
 * allowed before a unit ("1.5GiB"). */
/* "4096", "64KiB", "64k" (1024), "1MB" (10^6); b or B at the end may be left out. */
[[nodiscard]] int units_parse_bytes(const char *text, uint64_t *bytes);
/* "1000", "10k", "1M", "2G": powers of 1000. */
[[nodiscard]] int units_parse_count(const char *text, uint64_t *count);
/* "10s", "250ms", "5us", "100ns", "2m", "1h", "1d". bare_ns: the unit of a number without one; 0 =
 * a unit is needed. */
[[nodiscard]] int units_parse_duration(const char *text, uint64_t bare_ns, uint64_t *ns);

/* Texts are returned by value: printf("%s", units_bytes(n).s). */
struct units_text {
    char s[32];
};
struct units_text units_bytes(uint64_t bytes); /* "64 KiB", "1.5 GiB" */
struct units_text units_count(double n);       /* "950", "12.3 k", "4.56 M" */
struct units_text units_rate(double per_s);    /* bytes a second, decimal: "1.23 GB/s" */
struct units_text units_duration(uint64_t ns); /* "850 ns", "12.3 us", "1.20 s" */
