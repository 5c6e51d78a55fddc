/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/tools/fake_client.h"
#include "tests/unit/tools/run_cli.h"

#define SERVER "--server", "udp://fake", "--json", "-q"

static double op_number(const json_t *json, const char *op, const char *name)
{
    return json_get_number(json_object_get(json_object_get(json, "by_op"), op), name);
}

Test(bench, runs_the_ops_in_their_shares_and_verifies_all_hits)
{
    struct cli_output o =
        run_cli("bench", "--ops", "get:80,put:15,touch:5", "--count", "20000", "--size",
                "0:10,7:20,100:30,4KiB:40", "--keys", "500", SERVER, NULL);
    json_t *json = cli_output_json(&o);

    cr_assert_eq(o.code, 0);
    cr_assert_eq(json_get_number(json, "ops"), 20000);
    cr_assert_eq(json_get_number(json, "corrupt"), 0);
    cr_assert_eq(json_get_number(json, "hit_ratio"), 1);
    cr_assert(op_number(json, "get", "ops") > 15500 && op_number(json, "get", "ops") < 16500);
    cr_assert(op_number(json, "put", "ops") > 2700 && op_number(json, "put", "ops") < 3300);
    cr_assert_eq(json_get_number(json_object_get(json, "warm"), "ops"), 500);
    json_decref(json);
    cli_output_free(&o);
}

Test(bench, finds_every_wrong_value_and_exits_with_1)
{
    struct cli_output o;
    json_t *json;

    fake = (struct fake){.flip_every = 100};
    o = run_cli("bench", "--ops", "get", "--count", "5000", "--size", "64", "--keys", "100", SERVER,
                NULL);
    json = cli_output_json(&o);
    cr_assert_eq(o.code, 1);
    cr_assert_eq(json_get_number(json, "corrupt"), 50);
    json_decref(json);
    cli_output_free(&o);
    o = run_cli("bench", "--ops", "get", "--count", "5000", "--keys", "100", "--no-verify", SERVER,
                NULL);
    cr_assert_eq(o.code, 0);
    cli_output_free(&o);
}

Test(bench, looks_at_hits_in_place_and_lets_go_of_all)
{
    struct cli_output o;
    json_t *json;

    fake = (struct fake){0};
    o = run_cli("bench", "--ops", "get:3,match:1", "--view", "--count", "4000", "--keys", "100",
                "--size", "64", "--chain", "16", "--server", "shm:///run/here", "--json", "--quiet",
                NULL);
    json = cli_output_json(&o);
    cr_assert_eq(o.code, 0);
    cr_assert_str_eq(fake.url, "shm:///run/here");
    cr_assert_eq(fake.views, 0);
    cr_assert_gt(op_number(json, "get", "ops"), 2000);
    cr_assert_gt(op_number(json, "match", "ops"), 500);
    cr_assert_eq(json_get_number(json, "corrupt"), 0);
    json_decref(json);
    cli_output_free(&o);
    fake.flip_every = 100;
    o = run_cli("bench", "--ops", "get", "--view", "--count", "2000", "--keys", "100", "--server",
                "shm:///run/here", "--json", "--quiet", NULL);
    cr_assert_eq(o.code, 1, "a wrong byte is found there too");
    cli_output_free(&o);
}

Test(bench, fills_what_it_misses)
{
    struct cli_output o = run_cli("bench", "--ops", "get", "--count", "10000", "--keys", "200",
                                  "--dist", "uniform", "--no-warm", "--fill", SERVER, NULL);
    json_t *json = cli_output_json(&o);

    cr_assert_eq(o.code, 0);
    cr_assert(op_number(json, "fill", "ops") >= 190, "nearly every key is missed once");
    cr_assert_gt(json_get_number(json, "hit_ratio"), 0.9);
    json_decref(json);
    cli_output_free(&o);
}

Test(bench, batches_threads_and_sequences)
{
    struct cli_output o =
        run_cli("bench", "--ops", "get", "--count", "1000", "--keys", "1000", "--dist",
                "sequential", "--batch", "16", "--depth", "64", "--threads", "3", SERVER, NULL);
    json_t *json = cli_output_json(&o);

    cr_assert_eq(o.code, 0);
    cr_assert_eq(json_get_number(json, "ops"), 1000);
    cr_assert_eq(json_get_number(json, "hit_ratio"), 1);
    json_decref(json);
    cli_output_free(&o);
}

Test(bench, in_an_open_loop_counts_what_slow_answers_make_others_wait)
{
    struct cli_output o;
    json_t *json;

    /* 3 answers each 3 ms are 1,000 a second; 2,000 are due: the last ones wait half the time. */
    fake = (struct fake){.delay_us = 3000};
    o = run_cli("bench", "--ops", "ping", "--rate", "2000", "--seconds", "0.5", "--depth", "3",
                "--no-warm", SERVER, NULL);
    json = cli_output_json(&o);
    cr_assert_eq(o.code, 0);
    cr_assert_gt(
        json_get_number(
            json_object_get(json_object_get(json_object_get(json, "by_op"), "ping"), "latency"),
            "max_us"),
        100000);
    cr_assert_gt(json_get_number(json, "unstarted"), 100);
    json_decref(json);
    cli_output_free(&o);
}

Test(bench, in_an_open_loop_keeps_the_rate)
{
    struct cli_output o = run_cli("bench", "--ops", "ping", "--rate", "2k", "--seconds", "500ms",
                                  "--arrival", "poisson", "--no-warm", SERVER, NULL);
    json_t *json = cli_output_json(&o);

    cr_assert_eq(o.code, 0);
    cr_assert(json_get_number(json, "ops") > 700 && json_get_number(json, "ops") < 1300);
    json_decref(json);
    cli_output_free(&o);
}

Test(bench, measures_match_del_and_ping_too)
{
    struct cli_output o = run_cli("bench", "--ops", "match,del,ping,put", "--chain", "32",
                                  "--count", "2000", "--keys", "100", SERVER, NULL);
    json_t *json = cli_output_json(&o);

    cr_assert_eq(o.code, 0);
    cr_assert_gt(op_number(json, "match", "ops"), 400);
    cr_assert_gt(op_number(json, "del", "ops"), 400);
    cr_assert_eq(json_get_number(json, "errors"), 0, "a DEL that misses is no error");
    json_decref(json);
    cli_output_free(&o);
}

Test(bench, repeats_all_parameters_in_its_json)
{
    struct cli_output o =
        run_cli("bench", "--count", "10", "--keys", "10", "--size", "64:50,4KiB:50", "--dist",
                "zipf:1.2", "--seed", "9", SERVER, NULL);
    json_t *json = cli_output_json(&o), *params = json_object_get(json, "params");

    cr_assert_str_eq(json_string_value(json_object_get(params, "size")), "64:50,4KiB:50");
    cr_assert_float_eq(json_get_number(params, "exponent"), 1.2, 1e-9);
    cr_assert_eq(json_get_number(params, "seed"), 9);
    cr_assert_eq(json_get_number(json_object_get(params, "ops"), "get"), 95);
    cr_assert_str_eq(json_string_value(json_object_get(params, "loop")), "closed");
    json_decref(json);
    cli_output_free(&o);
}

Test(bench, says_unreachable_and_refuses_bad_usage)
{
    static const char *const bad[][2] = {
        {"--ops", "steal"},    {"--read", "101"},    {"--size", "x"},     {"--dist", "zipf:0"},
        {"--dist", "normal"},  {"--keys", "0"},      {"--batch", "0"},    {"--rate", "-1"},
        {"--arrival", "late"}, {"--seconds", "0"},   {"--count", "1e9"},  {"--key-size", "7"},
        {"--ttl", "5"},        {"--threads", "257"}, {"--priority", "x"}, {"extra", NULL},
    };
    struct cli_output o;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        o = run_cli("bench", bad[i][0], bad[i][1], NULL);
        cr_assert_eq(o.code, 2, "%s %s", bad[i][0], bad[i][1]);
        cli_output_free(&o);
    }
    o = run_cli("bench", "--size", "64MiB", "--depth", "1000", NULL);
    cr_assert_eq(o.code, 2, "buffers beyond the limit");
    cli_output_free(&o);
    fake = (struct fake){.timeout_every = 1};
    o = run_cli("bench", "--ops", "ping", "--count", "50", "--no-warm", SERVER, NULL);
    cr_assert_eq(o.code, 4);
    cli_output_free(&o);
    fake = (struct fake){.unreachable = true};
    o = run_cli("bench", SERVER, NULL);
    cr_assert_eq(o.code, 4);
    cr_assert_not_null(strstr(o.out, "UNREACHABLE"));
    cli_output_free(&o);
}
