/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/tools/fake_client.h"
#include "tests/unit/tools/run_cli.h"
#include "tools/workload.h"

#define SERVER "--server", "udp://fake", "--json", "-q"
#define WORKLOAD "conversations=60,turns=5,think=5,seed=3"

/* What tools/evsim.py in the project's papers does: LRU over block ids, one access for each block
 * of each request in chain order; hits are the blocks of the longest stored prefix. */
static double simulate_lru(const struct trace *trace, uint64_t capacity)
{
    static uint64_t used[1 << 16]; /* time of last use, 0 = absent */
    uint64_t clock = 0, stored = 0, hits = 0;

    memset(used, 0, sizeof(used));
    for (size_t i = 0; i < trace->nr; i++) {
        const struct trace_request *r = &trace->requests[i];
        uint32_t n = 0;

        while (n < r->nr_ids && used[r->ids[n]])
            n++;
        hits += n;
        for (uint32_t k = 0; k < r->nr_ids; k++) {
            uint64_t id = r->ids[k], victim = 0;

            if (!used[id] && stored == capacity) {
                for (uint64_t v = 0; v < 1 << 16; v++)
                    if (used[v] && (!used[victim] || used[v] < used[victim]))
                        victim = v;
                used[victim] = 0;
                stored--;
            }
            stored += used[id] == 0;
            used[id] = ++clock;
        }
    }
    return (double)hits / (double)trace->nr_blocks;
}

static struct trace workload(void)
{
    struct workload w;
    struct trace trace;
    const char *wrong;

    workload_defaults(&w);
    cr_assert_eq(workload_parse(WORKLOAD, &w, &wrong), 0);
    cr_assert_eq(workload_make(&w, &trace), 0);
    return trace;
}

static void compare(const char *depth, const char *beyond, uint64_t capacity, double tolerance)
{
    struct trace trace = workload();
    double expected = simulate_lru(&trace, capacity), got;
    struct cli_output o;
    json_t *json;

    fake = (struct fake){.capacity = capacity};
    o = run_cli("replay", "--generate", WORKLOAD, "--block-bytes", "96", "--depth", depth,
                "--beyond", beyond, SERVER, NULL);
    cr_assert_eq(o.code, 0);
    json = cli_output_json(&o);
    got = json_get_number(json, "hit_ratio");
    cr_assert_float_eq(got, expected, tolerance, "depth %s, %s, %llu blocks: %.4f for %.4f", depth,
                       beyond, (unsigned long long)capacity, got, expected);
    cr_assert_eq(json_get_number(json, "corrupt"), 0);
    cr_assert_eq(json_get_number(json, "blocks"), (double)trace.nr_blocks);
    cr_assert_eq(json_get_number(json, "requests"), (double)trace.nr);
    json_decref(json);
    cli_output_free(&o);
    trace_destroy(&trace);
    fake_clear();
}

Test(replay, hits_what_the_simulator_hits_when_blocks_go_one_by_one)
{
    static const uint64_t capacities[] = {40, 100, 200, 400, 100000};

    for (unsigned i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        compare("1", "touch", capacities[i], 1e-9);
        compare("1", "get", capacities[i], 1e-9);
    }
}

Test(replay, hits_within_a_point_of_it_with_blocks_in_flight)
{
    static const uint64_t capacities[] = {40, 100, 200, 400, 100000};

    for (unsigned i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        compare("8", "touch", capacities[i], 0.01);
        compare("32", "get", capacities[i], 0.01);
    }
}

Test(replay, finds_wrong_bytes_and_exits_with_1)
{
    struct cli_output o;
    json_t *json;

    fake = (struct fake){.flip_every = 50};
    o = run_cli("replay", "--generate", WORKLOAD, "--block-bytes", "4KiB", SERVER, NULL);
    cr_assert_eq(o.code, 1);
    json = cli_output_json(&o);
    cr_assert_geq(json_get_number(json, "corrupt"), 10);
    cr_assert_gt(json_get_number(json, "lost"), 0, "a corrupt block is no hit");
    json_decref(json);
    cli_output_free(&o);
    fake = (struct fake){.flip_every = 50};
    o = run_cli("replay", "--generate", WORKLOAD, "--no-verify", SERVER, NULL);
    cr_assert_eq(o.code, 0);
    cli_output_free(&o);
}

Test(replay, stores_again_what_vanishes_between_match_and_get)
{
    struct trace trace = workload();
    struct cli_output o;
    json_t *json;

    fake = (struct fake){.vanish_every = 20};
    o = run_cli("replay", "--generate", WORKLOAD, "--block-bytes", "100", SERVER, NULL);
    cr_assert_eq(o.code, 0);
    json = cli_output_json(&o);
    cr_assert_gt(json_get_number(json, "lost"), 0);
    cr_assert_eq(json_get_number(json, "errors"), 0);
    cr_assert_eq(fake.puts, trace_distinct(&trace) + fake.gets / 20,
                 "each block once, and again each time it vanished");
    cr_assert_eq(fake.matches, trace.nr);
    json_decref(json);
    cli_output_free(&o);
    trace_destroy(&trace);
}

Test(replay, names_each_blocks_parent)
{
    struct cli_output o;

    fake = (struct fake){0};
    o = run_cli("replay", "--generate", "conversations=1,turns=1,prompts=1,prompt-blocks=9",
                "--block-bytes", "8", SERVER, NULL);
    cr_assert_eq(o.code, 0);
    cr_assert_gt(fake.puts, 9);
    cr_assert_eq(fake.parents, fake.puts - 1);
    cli_output_free(&o);
    fake_clear();
    fake = (struct fake){0};
    o = run_cli("replay", "--generate", WORKLOAD, "--no-hints", SERVER, NULL);
    cr_assert_eq(fake.parents, 0);
    cli_output_free(&o);
}

Test(replay, counts_errors_by_status_and_says_unreachable_when_nothing_was_answered)
{
    struct cli_output o;
    json_t *json;

    fake = (struct fake){.timeout_every = 7};
    o = run_cli("replay", "--generate", WORKLOAD, SERVER, NULL);
    cr_assert_eq(o.code, 0);
    json = cli_output_json(&o);
    cr_assert_gt(json_get_number(json, "errors"), 0);
    cr_assert_gt(json_get_number(json_object_get(json_object_get(json, "put"), "ended"), "TIMEOUT"),
                 0);
    json_decref(json);
    cli_output_free(&o);
    fake = (struct fake){.timeout_every = 1};
    o = run_cli("replay", "--generate", "conversations=2", SERVER, NULL);
    cr_assert_eq(o.code, 4);
    cli_output_free(&o);
    fake = (struct fake){.unreachable = true};
    o = run_cli("replay", "--generate", "conversations=2", SERVER, NULL);
    cr_assert_eq(o.code, 4);
    cli_output_free(&o);
}

Test(replay, keeps_to_the_timestamps)
{
    struct cli_output o;
    json_t *json;

    fake = (struct fake){0};
    o = run_cli("replay", "--generate", "conversations=20,turns=2,seconds=10,think=1", "--speed",
                "50", "--block-bytes", "64", SERVER, NULL);
    cr_assert_eq(o.code, 0);
    json = cli_output_json(&o);
    cr_assert_geq(json_get_number(json, "seconds"), 0.1, "10 s, fifty times faster");
    json_decref(json);
    cli_output_free(&o);
}

Test(replay, with_threads_plays_every_request_once)
{
    struct trace trace = workload();
    struct cli_output o;
    json_t *json;

    fake = (struct fake){0};
    o = run_cli("replay", "--generate", WORKLOAD, "--threads", "4", "--block-bytes", "64", SERVER,
                NULL);
    cr_assert_eq(o.code, 0);
    json = cli_output_json(&o);
    cr_assert_eq(json_get_number(json, "requests"), (double)trace.nr);
    cr_assert_eq(json_get_number(json, "blocks"), (double)trace.nr_blocks);
    cr_assert_eq(json_get_number(json, "corrupt"), 0);
    json_decref(json);
    cli_output_free(&o);
    trace_destroy(&trace);
}

Test(replay, refuses_bad_traces_and_usage)
{
    char path[] = "/tmp/kvrail-trace-XXXXXX";
    int fd = mkstemp(path);
    struct cli_output o;

    cr_assert_eq(write(fd, "{\"hash_ids\":[1]}\n{\"hash_ids\":[-1]}\n", 36), 36);
    o = run_cli("replay", path, SERVER, NULL);
    cr_assert_eq(o.code, 1);
    cr_assert_not_null(strstr(o.out, ":2: "), "%s", o.out);
    cli_output_free(&o);
    o = run_cli("replay", path, "--limit", "1", SERVER, NULL);
    cr_assert_eq(o.code, 0);
    cli_output_free(&o);
    close(fd);
    unlink(path);
    static const char *const bad[][3] = {
        {"--generate", "turns=0", NULL}, {"/nonexistent", "second", NULL},
        {"x", "--speed", "-1"},          {"x", "--speed", "fast"},
        {"x", "--beyond", "ignore"},     {"x", "--depth", "0"},
        {"x", "--block-bytes", "65MiB"}, {"--nonsense", NULL, NULL},
        {"x", "--threads", "1000"},      {"x", "--depth", NULL},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        o = run_cli("replay", bad[i][0], bad[i][1], bad[i][2], NULL);
        cr_assert_eq(o.code, 2, "row %u", i);
        cli_output_free(&o);
    }
    o = run_cli("replay", "/nonexistent/trace", SERVER, NULL);
    cr_assert_eq(o.code, 1);
    cli_output_free(&o);
}
