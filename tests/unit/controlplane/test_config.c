/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/config.h"

static char path[64];
static struct config config;
static struct faults faults;
static char *const no_environment[] = {NULL};

static void setup(void)
{
    strcpy(path, "/tmp/kvrail-config-XXXXXX");
    close(mkstemp(path));
    faults = (struct faults){0};
}

static void teardown(void)
{
    unlink(path);
    faults_free(&faults);
}

TestSuite(config, .init = setup, .fini = teardown);

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");

    fputs(text, file);
    fclose(file);
}

static int read_file(const char *text)
{
    write_file(text);
    options_defaults(&config.options);
    faults_free(&faults);
    return options_read_file(path, &config.options, &faults);
}

static void refuses(const char *text, unsigned line, const char *fault)
{
    char want[512];

    cr_assert_lt(read_file(text), 0, "took: %s", text);
    snprintf(want, sizeof(want), "%s:%u: %s", path, line, fault);
    cr_assert_eq(faults.count, 1, "%u faults for: %s", faults.count, text);
    cr_assert_str_eq(faults.lines[0], want);
}

static const char *text_of(const char *key)
{
    return options_text(&config.options, (enum option_id)(option_find(key) - option_table));
}

Test(config, a_file_sets_what_it_names)
{
    cr_assert_eq(read_file("# comment\ncache_size: 2GiB\nverify_on_start: yes\n"
                           "device: \"net_tap0,iface=x\"\nidle: 'spin'\ncpus: 1-2\n"),
                 0);
    cr_assert_str_eq(text_of("cache_size"), "2GiB");
    cr_assert_str_eq(text_of("verify_on_start"), "on");
    cr_assert_str_eq(text_of("device"), "net_tap0,iface=x");
    cr_assert_str_eq(text_of("idle"), "spin");
    cr_assert_str_eq(text_of("cpus"), "1-2");
    cr_assert_eq(config.options.values[OPT_idle].source, SOURCE_FILE);
    cr_assert_eq(config.options.values[OPT_port].source, SOURCE_DEFAULT);
}

Test(config, an_empty_file_is_fine)
{
    cr_assert_eq(read_file(""), 0);
    cr_assert_eq(read_file("# only a comment\n"), 0);
    cr_assert_eq(read_file("---\n"), 0);
    cr_assert_eq(read_file("---\n...\n"), 0);
}

Test(config, nothing_after_a_key_means_empty)
{
    cr_assert_eq(read_file("ipv6:\nhost_ipv6: ~\n"), 0);
    cr_assert_str_eq(text_of("ipv6"), "");
    cr_assert_str_eq(text_of("host_ipv6"), "");
}

Test(config, faults_name_the_line)
{
    refuses("cache_size: 1GiB\nport: 70000\n", 2,
            "port: '70000' is too large; allowed: 1 to 65535");
    refuses("\n\ncash_size: 1GiB\n", 3, "cash_size: unknown key; did you mean cache_size?");
    refuses("port: 1\nmtu: 1500\nport: 2\n", 3, "port: set before, in line 1");
    refuses("port: [1, 2]\n", 1, "port: must be one value, not a list or mapping");
    refuses("port: {a: 1}\n", 1, "port: must be one value, not a list or mapping");
    refuses("network: {port: 1}\n", 1, "network: unknown key; `kvraild --help` lists all");
    refuses("[1, 2]: 3\n", 1, "a key must be a name");
    refuses("- port: 1\n", 1, "must hold lines such as 'cache_size: 4GiB'");
    refuses("just words\n", 1, "must hold lines such as 'cache_size: 4GiB'");
    refuses("device: \"a\\0b\"\n", 1, "device: holds a NUL character");
}

Test(config, all_faults_are_reported_not_only_the_first)
{
    cr_assert_lt(read_file("port: x\nworkers: 0\nidle: never\nmtu: [1, {a: [2]}]\npolicy: lru\n"),
                 0);
    cr_assert_eq(faults.count, 4);
    cr_assert_str_eq(text_of("policy"), "lru");
    cr_assert_eq(config.options.values[OPT_policy].source, SOURCE_FILE);
}

Test(config, what_is_not_yaml_is_refused_with_its_line)
{
    static const char *const bad[] = {
        "port: 1\n  mtu: 2\n", "port: [1\n", "a: \"b\n", "\tport: 1\n",
        "port: 1\n}\n",        "%\n",        "&\n",      "\xff\xfe\xff"};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_lt(read_file(bad[i]), 0, "took: %s", bad[i]);
        cr_assert_geq(faults.count, 1);
        cr_assert_eq(strncmp(faults.lines[0], path, strlen(path)), 0);
    }
}

Test(config, deep_nesting_and_aliases_end)
{
    char *deep = malloc(200001);

    memset(deep, '[', 200000);
    memcpy(deep, "mtu: ", 5);
    deep[200000] = '\0';
    cr_assert_lt(read_file(deep), 0);
    free(deep);
    cr_assert_str_eq(faults.lines[faults.count - 1] + strlen(path), ":1: nested too deep");
    cr_assert_lt(read_file("mtu: &a [*a, *a]\nport: *a\n"), 0);
    cr_assert_lt(read_file("? *a\n: 1\n"), 0);
}

Test(config, a_file_that_is_not_there_is_a_fault)
{
    unlink(path);
    options_defaults(&config.options);
    cr_assert_lt(options_read_file(path, &config.options, &faults), 0);
    cr_assert(strstr(faults.lines[0], ": cannot be read: No such file or directory"));
    cr_assert_lt(options_read_file("/tmp", &config.options, &faults), 0);
}

static int load(char *const *environment, const char *const *flags)
{
    char *argv[32] = {(char *)"kvraild"};
    int argc = 1;

    for (; flags && *flags; flags++)
        argv[argc++] = (char *)(uintptr_t)*flags;
    faults_free(&faults);
    return config_load(argc, argv, environment, &config, &faults);
}
#define FLAGS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

Test(config, flags_win_over_the_environment_the_environment_over_the_file)
{
    char *environment[] = {(char *)"KVRAIL_MTU=1600", (char *)"KVRAIL_PORT=1003", NULL};

    write_file("mtu: 1500\nport: 1002\nidle: spin\n");
    cr_assert_eq(load(environment, FLAGS("--config", path, "--mtu=1700")), 0);
    cr_assert_str_eq(text_of("mtu"), "1700");
    cr_assert_eq(config.options.values[OPT_mtu].source, SOURCE_FLAG);
    cr_assert_str_eq(text_of("port"), "1003");
    cr_assert_eq(config.options.values[OPT_port].source, SOURCE_ENVIRONMENT);
    cr_assert_str_eq(text_of("idle"), "spin");
    cr_assert_eq(config.options.values[OPT_idle].source, SOURCE_FILE);
    cr_assert_str_eq(text_of("policy"), "lru");
    cr_assert_eq(config.options.values[OPT_policy].source, SOURCE_DEFAULT);
    cr_assert_str_eq(config.file, path);
}

Test(config, a_flag_can_be_written_in_every_way)
{
    cr_assert_eq(load(no_environment, FLAGS("--rx-ring", "64", "--tx_ring=128", "--set", "mtu=1400",
                                            "--set=port=5", "--control", "/tmp/a.sock")),
                 0);
    cr_assert_str_eq(text_of("rx_ring"), "64");
    cr_assert_str_eq(text_of("tx_ring"), "128");
    cr_assert_str_eq(text_of("mtu"), "1400");
    cr_assert_str_eq(text_of("port"), "5");
    cr_assert_str_eq(text_of("control_socket"), "/tmp/a.sock");
}

Test(config, the_file_can_be_named_by_the_environment)
{
    char named[96];
    char *environment[] = {named, (char *)"KVRAIL_CONTROL=/tmp/b.sock", NULL};

    write_file("port: 7\n");
    snprintf(named, sizeof(named), "KVRAIL_CONFIG=%s", path);
    cr_assert_eq(load(environment, NULL), 0);
    cr_assert_str_eq(text_of("port"), "7");
    cr_assert_str_eq(text_of("control_socket"), "/tmp/b.sock");
}

Test(config, faults_of_all_sources_are_reported_together)
{
    char *environment[] = {(char *)"KVRAIL_MTU=1", NULL};

    write_file("idle: x\n");
    cr_assert_lt(load(environment, FLAGS("--config", path, "--port", "0", "--set", "workers",
                                         "word", "--help=1", "--policy")),
                 0);
    cr_assert_eq(faults.count, 7);
    cr_assert(strstr(faults.lines[0], ":1: idle: 'x' is not known"));
    cr_assert_str_eq(faults.lines[1],
                     "environment KVRAIL_MTU: mtu: '1' is too small; allowed: 1280 to 9000");
    cr_assert_str_eq(faults.lines[2], "flag: port: '0' is too small; allowed: 1 to 65535");
    cr_assert_str_eq(faults.lines[3], "--set: 'workers' is not KEY=VALUE");
    cr_assert_str_eq(faults.lines[4], "word: not a flag; `kvraild --help` lists all");
    cr_assert_str_eq(faults.lines[5], "--help: takes no value");
    cr_assert_str_eq(faults.lines[6], "--policy: needs a value");
}

Test(config, help_and_version_need_no_good_settings)
{
    cr_assert_eq(load(no_environment, FLAGS("--config", "/does/not/exist", "--help")), 0);
    cr_assert_eq(config.wish, WISH_HELP);
    cr_assert_eq(load(no_environment, FLAGS("-V")), 0);
    cr_assert_eq(config.wish, WISH_VERSION);
}
