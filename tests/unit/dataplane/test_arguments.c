/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <getopt.h>

#include "base/log.h"
#include "dataplane/arguments.h"

static struct arguments arguments;

static int read_args(int argc, const char *const *words)
{
    char *argv[16] = {(char *)(uintptr_t) "kvrail-dataplane"};

    for (int i = 0; i < argc; i++)
        argv[i + 1] = (char *)(uintptr_t)words[i];
    optind = 0;
    return arguments_read(argc + 1, argv, &arguments);
}

#define READ(...)                                                                                  \
    read_args((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                       \
              (const char *const[]){__VA_ARGS__})

Test(arguments, descriptors_and_settings_are_read)
{
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--ctl-fd", "7", "--set", "mtu=9000",
                      "--set", "device=net_memif0,role=client", "--set", "ipv4="),
                 0);
    cr_assert_eq(arguments.index_fd, 5);
    cr_assert_eq(arguments.data_fd, 6);
    cr_assert_eq(arguments.ctl_fd, 7);
    cr_assert_eq(arguments.settings.mtu, 9000);
    cr_assert_str_eq(arguments.settings.device, "net_memif0,role=client");
    cr_assert_str_eq(arguments.settings.ipv4, "");
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6"), 0);
    cr_assert_eq(arguments.ctl_fd, -1);
}

Test(arguments, mistakes_are_refused)
{
    log_setup("test", LOG_LEVEL_ERROR);
    cr_assert_eq(READ("--index-fd", "5"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "x", "--data-fd", "6"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "-1", "--data-fd", "6"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "extra"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--set", "color=red"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--set", "mtu=x"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--set", "mtu"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--unknown"), -EINVAL);
}
