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

Test(arguments, clients_that_lived_before_are_read)
{
    struct local_spec client;

    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--adopt-fd", "8", "--roster-fd", "9",
                      "--client", "1:100:0:1:4096:10:11", "--client",
                      "16777215:4294967295:1000:0:18446744073709551615:12:13"),
                 0);
    cr_assert_eq(arguments.adopt_fd, 8);
    cr_assert_eq(arguments.roster_fd, 9);
    cr_assert_eq(arguments.nr_clients, 2);
    cr_assert_eq(arguments.clients[0].segment_fd, 10);
    cr_assert_eq(arguments.clients[0].pidfd, 11);
    cr_assert(arguments.clients[0].may_write);
    cr_assert_eq(arguments.clients[1].id, 16777215);
    cr_assert_eq(arguments.clients[1].pinned_max, UINT64_MAX);
    cr_assert_not(arguments.clients[1].may_write);
    cr_assert_eq(client_words("1 2 3 1 5", ' ', &client), 0);
    cr_assert_eq(client.pinned_max, 5);
    cr_assert_eq(client.segment_fd, -1);
}

Test(arguments, mistakes_are_refused)
{
    static const char *const clients[] = {
        "",
        "0:1:1:1:1:3:4",        /* no id */
        "16777216:1:1:1:1:3:4", /* nor this */
        "1:1:1:2:1:3:4",
        "1:1:1:1:1:3",
        "1:1:1:1:1:3:4:5",
        "1:1:1:1:1:3:-4",
        "1:1:1:1:1:3:2147483648",
        "1:4294967296:1:1:1:3:4",
        "1:1:1:1:18446744073709551616:3:4",
    };
    struct local_spec client;

    log_setup("test", LOG_LEVEL_ERROR);
    for (unsigned i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
        cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--client", clients[i]), -EINVAL,
                     "%s", clients[i]);
    cr_assert_eq(client_words("1 2 3 1 5 ", ' ', &client), -EINVAL);
    cr_assert_eq(client_words("1 2 3 1", ' ', &client), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "x", "--data-fd", "6"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "-1", "--data-fd", "6"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "extra"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--set", "color=red"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--set", "mtu=x"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--set", "mtu"), -EINVAL);
    cr_assert_eq(READ("--index-fd", "5", "--data-fd", "6", "--unknown"), -EINVAL);
}
