/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stddef.h>
#include <string.h>

#include "shm/stats.h"

Test(stats, every_counter_has_a_name_and_a_help_text_in_the_order_of_the_fields)
{
    cr_assert_eq(nr_stats_names * sizeof(uint64_t), offsetof(struct core_stats, drops));
    cr_assert_str_eq(stats_names[0].name, "rx_datagrams");
    cr_assert_str_eq(stats_names[offsetof(struct core_stats, hits) / 8].name, "hits");
    for (unsigned i = 0; i < nr_stats_names; i++)
        cr_assert(strlen(stats_names[i].help) > 5, "%s", stats_names[i].name);
    cr_assert_str_eq(drop_names[DROP_no_cookie].name, "no_cookie");
    for (unsigned i = 0; i < NR_DROP_REASONS; i++)
        for (unsigned j = 0; j < i; j++)
            cr_assert_str_neq(drop_names[i].name, drop_names[j].name);
}

Test(stats, operations_have_names)
{
    cr_assert_str_eq(opcode_name(KVR_GET), "GET");
    cr_assert_str_eq(opcode_name(KVR_STAT), "STAT");
    cr_assert_str_eq(opcode_name(0), "?");
    cr_assert_str_eq(opcode_name(KVR_OPCODES), "?");
}

Test(stats, the_last_errors_are_kept_and_older_ones_overwritten)
{
    static struct core_stats stats;
    const uint8_t source[16] = {1, 2, 3};

    for (uint32_t i = 0; i < ERRORS_KEPT + 10; i++)
        stats_note_error(&stats, DROP_bad_key, source, (uint16_t)i, KVR_GET, i);
    cr_assert_eq(stats.errors_total, ERRORS_KEPT + 10);
    cr_assert_eq(stats.errors[9].len, ERRORS_KEPT + 9);
    cr_assert_eq(stats.errors[10].len, 10);
    for (uint32_t i = 0; i < ERRORS_KEPT; i++) {
        cr_assert_eq(stats.errors[i].seq % 2, 0, "no entry is half written");
        cr_assert_eq(stats.errors[i].reason, DROP_bad_key);
        cr_assert_eq(memcmp(stats.errors[i].source, source, 16), 0);
        cr_assert_neq(stats.errors[i].wall_ms, 0);
    }
}
