/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/tools/fake_client.h"
#include "tests/unit/tools/run_cli.h"

#define SERVER "--server", "udp://fake"

static int code_of(struct cli_output o)
{
    cli_output_free(&o);
    return o.code;
}

Test(commands, store_show_and_delete_a_value)
{
    struct cli_output o;

    cr_assert_eq(code_of(run_cli("put", "greeting", "--value", "hello", SERVER, NULL)), 0);
    o = run_cli("get", "greeting", SERVER, NULL);
    cr_assert_eq(o.code, 0);
    cr_assert_str_eq(o.out, "hello", "byte for byte, no newline");
    cli_output_free(&o);
    o = run_cli("get", "greeting", "--off", "1", "--len", "3", SERVER, NULL);
    cr_assert_str_eq(o.out, "ell");
    cli_output_free(&o);
    cr_assert_eq(code_of(run_cli("put", "greeting", "--value", "x", "--add", SERVER, NULL)), 1);
    cr_assert_eq(code_of(run_cli("touch", "greeting", "--ttl", "10s", SERVER, NULL)), 0);
    cr_assert_eq(code_of(run_cli("del", "greeting", SERVER, NULL)), 0);
    cr_assert_eq(code_of(run_cli("del", "greeting", SERVER, NULL)), 1);
    cr_assert_eq(code_of(run_cli("touch", "greeting", SERVER, NULL)), 1);
    cr_assert_eq(code_of(run_cli("get", "greeting", SERVER, NULL)), 1);
}

Test(commands, move_binary_values_through_files)
{
    char path[] = "/tmp/kvrail-value-XXXXXX", bytes[100000], back[sizeof(bytes)];
    int fd = mkstemp(path);

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7919 >> 3);
    cr_assert_eq(write(fd, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    cr_assert_eq(code_of(run_cli("put", "--hex", "00ff", path, SERVER, NULL)), 0);
    cr_assert_eq(ftruncate(fd, 0), 0);
    cr_assert_eq(code_of(run_cli("get", "--hex", "0x00FF", "-o", path, SERVER, NULL)), 0);
    cr_assert_eq(pread(fd, back, sizeof(back), 0), (ssize_t)sizeof(back));
    cr_assert_arr_eq(bytes, back, sizeof(bytes));
    close(fd);
    unlink(path);
}

Test(commands, fetch_values_larger_than_the_first_buffer)
{
    char path[] = "/tmp/kvrail-value-XXXXXX";
    int fd = mkstemp(path);
    struct cli_output o;

    cr_assert_eq(ftruncate(fd, 3 << 20), 0);
    cr_assert_eq(code_of(run_cli("put", "large", path, SERVER, NULL)), 0);
    o = run_cli("get", "large", SERVER, NULL);
    cr_assert_eq(o.code, 0);
    cr_assert_eq(o.len, 3 << 20);
    cli_output_free(&o);
    cr_assert_eq(ftruncate(fd, (64 << 20) + 1), 0);
    cr_assert_eq(code_of(run_cli("put", "larger", path, SERVER, NULL)), 1, "beyond 64 MiB");
    close(fd);
    unlink(path);
}

Test(commands, print_json)
{
    struct cli_output o;
    json_t *json;

    o = run_cli("put", "k", "--value", "h\u00e9", "--ttl", "5s", "--json", SERVER, NULL);
    json = cli_output_json(&o);
    cr_assert_eq(json_get_number(json, "value_len"), 3);
    json_decref(json);
    cli_output_free(&o);
    o = run_cli("get", "k", "--json", SERVER, NULL);
    json = cli_output_json(&o);
    cr_assert_str_eq(json_string_value(json_object_get(json, "value")), "h\u00e9");
    cr_assert_eq(json_get_number(json, "ttl_left_ms"), 5000);
    json_decref(json);
    cli_output_free(&o);
    o = run_cli("get", "k", "--json", "--len", "2", SERVER, NULL); /* half a character */
    json = cli_output_json(&o);
    cr_assert_str_eq(json_string_value(json_object_get(json, "value_hex")), "68c3");
    json_decref(json);
    cli_output_free(&o);
    o = run_cli("get", "nothing", "--json", SERVER, NULL);
    json = cli_output_json(&o);
    cr_assert_eq(o.code, 1);
    cr_assert_str_eq(json_string_value(json_object_get(json, "status")), "MISS");
    json_decref(json);
    cli_output_free(&o);
    o = run_cli("del", "k", "nothing", "--json", SERVER, NULL);
    cr_assert_eq(o.code, 1);
    cr_assert_str_eq(o.out, "{\"key\":\"k\",\"status\":\"OK\"}\n"
                            "{\"key\":\"nothing\",\"status\":\"MISS\"}\n");
    cli_output_free(&o);
}

Test(commands, match_chains_from_words_and_files)
{
    char path[] = "/tmp/kvrail-chain-XXXXXX";
    int fd = mkstemp(path);
    struct cli_output o;
    json_t *json;

    code_of(run_cli("put", "a", "--value", "1", SERVER, NULL));
    code_of(run_cli("put", "b", "--value", "22", SERVER, NULL));
    code_of(run_cli("put", "d", "--value", "333", SERVER, NULL));
    o = run_cli("match", "a", "b", "c", "d", "--json", SERVER, NULL);
    json = cli_output_json(&o);
    cr_assert_eq(json_get_number(json, "prefix"), 2);
    cr_assert_eq(json_get_number(json, "present"), 3);
    cr_assert_eq(json_get_number(json_array_get(json_object_get(json, "keys"), 3), "value_len"), 3);
    json_decref(json);
    cli_output_free(&o);
    cr_assert_eq(write(fd, "a\nb\nc\n", 6), 6);
    o = run_cli("match", "-f", path, SERVER, NULL);
    cr_assert_eq(o.code, 0);
    cr_assert_not_null(strstr(o.out, "prefix 2 of 3, present 2\n"), "%s", o.out);
    cli_output_free(&o);
    close(fd);
    unlink(path);
}

Test(commands, ping_as_often_as_asked_and_tell_losses_by_the_exit_code)
{
    struct cli_output o = run_cli("ping", "-c", "3", "-i", "1ms", "--json", SERVER, NULL);
    json_t *json = cli_output_json(&o);

    cr_assert_eq(o.code, 0);
    cr_assert_eq(json_get_number(json, "answered"), 3);
    cr_assert_eq(json_get_number(json, "rtt_avg_us"), 5);
    json_decref(json);
    cli_output_free(&o);
    fake = (struct fake){.timeout_every = 2};
    cr_assert_eq(code_of(run_cli("ping", "-c", "4", "-i", "1ms", SERVER, NULL)), 3);
    fake = (struct fake){.timeout_every = 1};
    cr_assert_eq(code_of(run_cli("ping", "-c", "2", "-i", "1ms", SERVER, NULL)), 4);
    fake = (struct fake){.unreachable = true};
    cr_assert_eq(code_of(run_cli("ping", "-c", "2", SERVER, NULL)), 4);
}

Test(commands, stat_prints_a_line_each_interval)
{
    struct cli_output o;
    json_t *json;

    code_of(run_cli("put", "a", "--value", "1", SERVER, NULL));
    o = run_cli("stat", "-c", "3", "-i", "10ms", "--json", SERVER, NULL);
    json = cli_output_json(&o);
    cr_assert_eq(o.code, 0);
    cr_assert_eq(json_get_number(json, "items"), 1);
    cr_assert(json_is_null(json_object_get(json, "hit_ratio")), "nothing was asked for");
    json_decref(json);
    cli_output_free(&o);
    o = run_cli("stat", "-c", "2", "-i", "10ms", SERVER, NULL);
    cr_assert_not_null(strstr(o.out, "hit %"));
    cli_output_free(&o);
}

Test(commands, find_the_server_by_option_then_environment_then_default)
{
    unsetenv("KVRAIL_SERVER");
    code_of(run_cli("touch", "a", "--control", "/nonexistent/socket", NULL));
    cr_assert_str_eq(fake.url, "udp://10.96.0.1:9690");
    setenv("KVRAIL_SERVER", "udp://environment", 1);
    code_of(run_cli("touch", "a", NULL));
    cr_assert_str_eq(fake.url, "udp://environment");
    code_of(run_cli("touch", "a", "--server", "udp://option", NULL));
    cr_assert_str_eq(fake.url, "udp://option");
    code_of(run_cli("--server", "udp://before", "touch", "a", NULL));
    cr_assert_str_eq(fake.url, "udp://before");
}

Test(commands, have_help_and_words_for_completion)
{
    static const char *const names[] = {"get",  "put",  "del",   "touch",  "match",
                                        "ping", "stat", "bench", "replay", "workload"};
    struct cli_output o = run_cli("--help", NULL);

    cr_assert_eq(o.code, 0);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct cli_output help = run_cli(names[i], "--help", NULL);
        struct cli_output words = run_cli("--words", names[i], NULL);

        cr_assert_not_null(strstr(o.out, names[i]));
        cr_assert_eq(help.code, 0);
        cr_assert_not_null(strstr(help.out, "Exit status"));
        cr_assert_not_null(strstr(help.out, "--json"));
        cr_assert_not_null(strstr(words.out, "--server=\n"));
        cli_output_free(&help);
        cli_output_free(&words);
    }
    cli_output_free(&o);
}

Test(commands, print_json_whatever_the_bytes_of_their_arguments)
{
    struct cli_output o = run_cli("put", "k", "/nonexistent/\xff\xfe", "--json", SERVER, NULL);
    json_t *json = cli_output_json(&o);

    cr_assert_eq(o.code, 1);
    cr_assert_not_null(strstr(json_string_value(json_object_get(json, "error")), "/\?\?: "));
    json_decref(json);
    cli_output_free(&o);
    o = run_cli("get", "\xff\"\n", "--json", SERVER, NULL);
    json = cli_output_json(&o);
    cr_assert_not_null(strstr(json_string_value(json_object_get(json, "error")), "0xff220a"));
    json_decref(json);
    cli_output_free(&o);
    o = run_cli("ping", "-c", "1", "--json", "--server", "udp://\x80", NULL);
    json = cli_output_json(&o);
    cr_assert_str_eq(json_string_value(json_object_get(json, "server")), "udp://?");
    json_decref(json);
    cli_output_free(&o);
}

Test(commands, refuse_bad_usage_with_2)
{
    static const char *const bad[][4] = {
        {"steal", NULL},
        {"--nonsense", NULL},
        {NULL},
        {"get", NULL},
        {"get", "a", "b", NULL},
        {"get", "--hex", "xyz", NULL},
        {"get", "a", "--off", "-1"},
        {"get", "a", "--count", "70000"},
        {"get", "a", "--count", "2"},
        {"get", "a", "--if-ref", "zero"},
        {"put", NULL},
        {"put", "a", "b", "c"},
        {"put", "a", "--ttl", "5"},
        {"put", "a", "--ttl", "60d"},
        {"put", "a", "--ttl", "21d"},
        {"touch", "a", "--ttl", "21d"},
        {"put", "", "--value", "x"},
        {"del", NULL},
        {"touch", NULL},
        {"match", NULL},
        {"match", "a", "--lease", "2m"},
        {"ping", "host", NULL},
        {"ping", "-c", "0", NULL},
        {"stat", "-i", "0", NULL},
        {"get", "a", "--timeout", "0"},
        {"get", "a", "--priority", "urgent"},
        {"workload", "turns=0", NULL},
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(code_of(run_cli(bad[i][0], bad[i][1], bad[i][2], bad[i][3], NULL)), 2,
                     "row %u", i);
    cr_assert_eq(code_of(run_cli("get", "a", "--server", "tcp://x", NULL)), 2);
    cr_assert_eq(code_of(run_cli("del", "-f", "/nonexistent/keys", SERVER, NULL)), 1);
    cr_assert_eq(code_of(run_cli("put", "a", "/nonexistent/file", SERVER, NULL)), 1);
    cr_assert_eq(code_of(run_cli("put", "a", "--value", "b", SERVER, NULL)), 0);
    cr_assert_eq(code_of(run_cli("get", "a", "-o", "/nonexistent/file", SERVER, NULL)), 1);
}
