/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "dataplane/eth/cpus.h"

static cpu_set_t allow(const char *list)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (; *list; list++)
        CPU_SET((unsigned)(*list - '0'), &set);
    return set;
}

Test(cpus, a_list_is_taken_in_its_order)
{
    cpu_set_t allowed = allow("012345");
    struct cpu_plan plan;

    cr_assert_eq(cpu_plan("5,1-2", &allowed, 3, &plan), 0);
    cr_assert_eq(plan.cpus[0], 5);
    cr_assert_eq(plan.cpus[1], 1);
    cr_assert_eq(plan.cpus[2], 2);
    cr_assert_not(plan.shared);
}

Test(cpus, without_a_list_the_first_cpu_is_left_to_the_main_thread)
{
    cpu_set_t allowed = allow("0134");
    struct cpu_plan plan;

    cr_assert_eq(cpu_plan("", &allowed, 2, &plan), 0);
    cr_assert_eq(plan.cpus[0], 3);
    cr_assert_eq(plan.cpus[1], 4);
    cr_assert_eq(cpu_plan("", &allowed, 4, &plan), 0);
    cr_assert_eq(plan.cpus[0], 0);
    cr_assert_not(plan.shared);
}

Test(cpus, more_workers_than_cpus_share_them)
{
    cpu_set_t allowed = allow("01");
    struct cpu_plan plan;

    cr_assert_eq(cpu_plan("", &allowed, 3, &plan), 0);
    cr_assert(plan.shared);
    cr_assert_eq(plan.cpus[2], 0);
    cr_assert_eq(cpu_plan("1", &allowed, 2, &plan), 0);
    cr_assert(plan.shared);
    cr_assert_eq(plan.cpus[1], 1);
}

Test(cpus, what_is_no_list_or_not_allowed_is_refused)
{
    static const char *const bad[] = {"a", "1,", ",1", "1-", "3-1", "1;2", " 1", "-1"};
    cpu_set_t allowed = allow("0123"), none = allow("");
    struct cpu_plan plan;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(cpu_plan(bad[i], &allowed, 1, &plan), -EINVAL, "%s", bad[i]);
    cr_assert_eq(cpu_plan("4", &allowed, 1, &plan), -ERANGE);
    cr_assert_eq(cpu_plan("0-4", &allowed, 1, &plan), -ERANGE);
    cr_assert_eq(cpu_plan("99999999999", &allowed, 1, &plan), -ERANGE);
    cr_assert_eq(cpu_plan("", &allowed, 0, &plan), -ERANGE);
    cr_assert_eq(cpu_plan("", &none, 1, &plan), -ERANGE);
}

Test(cpus, sets_are_written_as_ranges)
{
    cpu_set_t set = allow("01357");
    char text[32];

    cpu_set_text(&set, text, sizeof(text));
    cr_assert_str_eq(text, "0-1,3,5,7");
    cpu_set_text(&set, text, 5);
    cr_assert_str_eq(text, "0-1,");
}
