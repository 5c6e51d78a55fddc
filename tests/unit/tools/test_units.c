/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/units.h"

static uint64_t bytes(const char *text)
{
    uint64_t n = 0;

    cr_assert_eq(units_parse_bytes(text, &n), 0, "%s", text);
    return n;
}

static uint64_t ns(const char *text, uint64_t bare)
{
    uint64_t n = 0;

    cr_assert_eq(units_parse_duration(text, bare, &n), 0, "%s", text);
    return n;
}

Test(units, read_bytes_in_powers_of_two_and_ten)
{
    cr_assert_eq(bytes("0"), 0);
    cr_assert_eq(bytes("4096"), 4096);
    cr_assert_eq(bytes("64KiB"), 65536);
    cr_assert_eq(bytes("64k"), 65536);
    cr_assert_eq(bytes("64kb"), 64000);
    cr_assert_eq(bytes("1.5GiB"), 3ull << 29);
    cr_assert_eq(bytes("2M"), 2 << 20);
    cr_assert_eq(bytes("1TB"), 1000000000000ull);
    cr_assert_eq(bytes("17B"), 17);
    cr_assert_eq(bytes("18446744073709551615"), UINT64_MAX);
}

Test(units, refuse_what_is_no_number)
{
    static const char *const bad[] = {"",     " ",    "-1",    "+1",  "1 ",  " 1",  "KiB",
                                      "1KiX", "0x10", "1.KiB", ".5k", "1.5", "1e3", "1..5k"};
    uint64_t n;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(units_parse_bytes(bad[i], &n), -EINVAL, "'%s'", bad[i]);
        cr_assert_eq(units_parse_count(bad[i], &n), -EINVAL, "'%s'", bad[i]);
        cr_assert_neq(units_parse_duration(bad[i], 1, &n), 0, "'%s'", bad[i]);
    }
}

Test(units, refuse_what_does_not_fit_64_bits)
{
    uint64_t n;

    cr_assert_eq(units_parse_bytes("18446744073709551616", &n), -ERANGE);
    cr_assert_eq(units_parse_bytes("99999999999999999999999", &n), -ERANGE);
    cr_assert_eq(units_parse_bytes("16777216TiB", &n), -ERANGE);
    cr_assert_eq(units_parse_duration("18446744073710ms", 0, &n), -ERANGE);
}

Test(units, read_durations_and_want_a_unit_where_none_is_meant)
{
    uint64_t n;

    cr_assert_eq(ns("250ms", 0), 250000000);
    cr_assert_eq(ns("1.5s", 0), 1500000000);
    cr_assert_eq(ns("2m", 0), 120000000000ull);
    cr_assert_eq(ns("1d", 0), 86400000000000ull);
    cr_assert_eq(ns("7", 1000000), 7000000);
    cr_assert_eq(units_parse_duration("7", 0, &n), -EINVAL);
}

Test(units, write_what_people_read)
{
    cr_assert_str_eq(units_bytes(0).s, "0 B");
    cr_assert_str_eq(units_bytes(1000).s, "1000 B");
    cr_assert_str_eq(units_bytes(65536).s, "64 KiB");
    cr_assert_str_eq(units_bytes(1 << 20).s, "1 MiB");
    cr_assert_str_eq(units_bytes(1536).s, "1.50 KiB");
    cr_assert_str_eq(units_bytes(3ull << 29).s, "1.50 GiB");
    cr_assert_str_eq(units_bytes(1234567890).s, "1.15 GiB");
    cr_assert_str_eq(units_rate(1234567890).s, "1.23 GB/s");
    cr_assert_str_eq(units_count(999).s, "999");
    cr_assert_str_eq(units_count(12345).s, "12.3 k");
    cr_assert_str_eq(units_count(999999).s, "1.00 M");
    cr_assert_str_eq(units_duration(850).s, "850 ns");
    cr_assert_str_eq(units_duration(12345).s, "12.3 us");
    cr_assert_str_eq(units_duration(1200000000).s, "1.20 s");
    cr_assert_str_eq(units_duration(3600000000000ull).s, "3600 s");
}

Test(units, read_back_what_they_write_of_round_sizes)
{
    for (unsigned shift = 0; shift < 45; shift++) {
        char text[40], *space;
        uint64_t n = 1ull << shift;

        snprintf(text, sizeof(text), "%s", units_bytes(n).s);
        space = strchr(text, ' ');
        memmove(space, space + 1, strlen(space));
        cr_assert_eq(bytes(text), n, "%s", text);
    }
}
