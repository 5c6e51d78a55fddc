/* SPDX-License-Identifier: Apache-2.0 */
/* Ops of several datagrams, against a small server over a good and a bad wire. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "small_server.h"

#define DATAGRAM 1472u

static struct load_settings settings;
static struct small_server server;
static struct draw_table no_table;
static struct asker asker;
static uint64_t now_ns;

static void settings_setup(void)
{
    settings = (struct load_settings){.timeout_ns = 20 * NS_PER_MS};
    bench_option_defaults(&settings.bench);
    settings.bench.keys = SMALL_KEYS;
    settings.bench.dist = BENCH_UNIFORM;
    settings.bench.depth = 8;
    settings.bench.verify = false;
    cr_assert_eq(sizes_parse("200000", &settings.bench.sizes), 0);
    memset(settings.bench.weights, 0, sizeof(settings.bench.weights));
    settings.bench.weights[BENCH_PUT] = 1;
    small_server_setup(&server, &settings);
    now_ns = 1000;
}

static void teardown(void)
{
    asker_destroy(&asker);
    small_server_teardown(&server);
}

TestSuite(jobs, .init = settings_setup, .fini = teardown, .timeout = 120);

static void turn(bool starts)
{
    now_ns += NS_PER_MS;
    small_server_turn(&server, &asker, starts, now_ns);
}

static void create(void)
{
    cr_assert_eq(asker_create(&asker, &settings, &no_table, &server.hello, DATAGRAM, 0), 0);
    while (!asker_ready(&asker))
        turn(false);
}

static void drain(void)
{
    for (unsigned i = 0; asker_busy(&asker) > 0; i++) {
        cr_assert_lt(i, 20000, "it ends");
        turn(false);
    }
}

/* nr ops, to the end. */
static void run(uint64_t nr)
{
    asker_measure(&asker, nr);
    for (unsigned i = 0; asker.started < nr; i++) {
        cr_assert_lt(i, 100000, "it goes on");
        turn(true);
    }
    drain();
}

static const struct tally *puts_of(void)
{
    return &asker.tallies[BENCH_PUT];
}

Test(jobs, a_large_value_is_stored_by_fragments_of_which_few_are_answered)
{
    create();
    run(50);
    cr_assert_eq(puts_of()->ops, 50);
    cr_assert_eq(puts_of()->ended[KVR_OK], 50);
    cr_assert_eq(asker.moved_out, 50 * 200000);
    cr_assert_eq(puts_of()->bytes, 50 * 200000);
    cr_assert_eq(server.commits, 50);
    cr_assert_eq(server.incompletes, 0);
    /* 200,000 bytes in fragments of 1,392. */
    cr_assert_eq(server.writes, 50 * 144);
    cr_assert_gt(server.quiet, server.writes * 8 / 10);
    cr_assert_eq(asker.tx_datagrams, 50 * (144 + 2));
    cr_assert_eq(asker.rx_datagrams, server.writes - server.quiet + 100);
    cr_assert_eq(asker.jobs.lost + asker.jobs.repeats + asker.late, 0);
    cr_assert_eq(asker.jobs.parts.nr_free, asker.jobs.parts.nr);
    cr_assert_eq(asker.jobs.nr_fragments, 0);
    cr_assert_eq(asker.orders[0].floor, asker.orders[0].next);
}

Test(jobs, latency_is_that_of_the_whole_put)
{
    settings.bench.depth = 1;
    create();
    run(3);
    /* RESERVE, then windows of 64 fragments: 144 need three, and COMMIT comes with the last. */
    cr_assert_geq(histogram_quantile(&puts_of()->latency, 0.5), 3 * NS_PER_MS);
    cr_assert_leq(histogram_quantile(&puts_of()->latency, 0.5), 5 * NS_PER_MS);
}

Test(jobs, what_was_put_is_read_back_and_proven)
{
    settings.bench.verify = true;
    settings.bench.dist = BENCH_SEQUENTIAL;
    create();
    run(100);
    cr_assert_eq(puts_of()->ended[KVR_OK], 100);
    cr_assert_eq(asker.proven, 100);
    cr_assert_eq(asker.overtaken + asker.unread, 0);
    cr_assert_eq(server.gets, 100 * 4, "train_max is a third of the value");
    cr_assert_eq(puts_of()->corrupt, 0);
    for (uint64_t id = 0; id < 100; id++)
        cr_assert(small_server_holds(&server, id));
}

Test(jobs, a_single_wrong_byte_that_is_read_back_is_noticed)
{
    settings.bench.verify = true;
    server.lies = true;
    create();
    run(10);
    cr_assert_eq(puts_of()->ended[KVR_OK], 10);
    cr_assert_eq(puts_of()->corrupt + asker.overtaken, 10);
    cr_assert_gt(puts_of()->corrupt, 0);
    cr_assert_eq(asker.proven, 0);
}

Test(jobs, a_value_that_another_put_replaced_is_overtaken_and_not_wrong)
{
    settings.bench.verify = true;
    settings.bench.keys = 1;
    create();
    run(50);
    cr_assert_eq(puts_of()->corrupt, 0);
    cr_assert_gt(asker.overtaken, 0);
    cr_assert_gt(asker.proven, 0);
    cr_assert_eq(asker.overtaken + asker.proven, 50);
}

Test(jobs, loss_disorder_and_doubles_cost_repeats_but_no_byte)
{
    settings.bench.verify = true;
    settings.bench.dist = BENCH_SEQUENTIAL;
    server.loss = 50;
    server.doubles = 50;
    server.reorders = true;
    create();
    run(SMALL_KEYS);
    cr_assert_eq(puts_of()->ended[KVR_OK], SMALL_KEYS);
    cr_assert_eq(puts_of()->corrupt, 0);
    cr_assert_gt(server.incompletes, 0);
    cr_assert_gt(asker.jobs.lost, 1000);
    cr_assert_gt(asker.jobs.repeats, 1000);
    cr_assert_eq(asker.proven, SMALL_KEYS);
    for (uint64_t id = 0; id < SMALL_KEYS; id++)
        cr_assert(small_server_holds(&server, id));
    cr_assert_eq(small_server_open(&server), 0);
    cr_assert_eq(asker.jobs.nr_fragments, 0);
}

Test(jobs, many_at_once_share_the_window_and_none_starves)
{
    settings.bench.depth = 100;
    cr_assert_eq(sizes_parse("15000:50,16000:50", &settings.bench.sizes), 0);
    create();
    run(2000);
    cr_assert_eq(puts_of()->ended[KVR_OK], 2000);
    cr_assert_eq(asker.jobs.lost, 0);
}

Test(jobs, nothing_counts_as_stored_that_was_not_confirmed)
{
    create();
    asker_measure(&asker, 4);
    turn(true);
    server.mute = true;
    for (unsigned i = 0; i < 100; i++)
        turn(true);
    cr_assert_eq(puts_of()->ops, 0, "it still tries");
    server.mute = false;
    drain();
    cr_assert_eq(puts_of()->ended[KVR_OK], 4);
    cr_assert_eq(server.commits, 4);
    server.mute = true;
    asker_measure(&asker, 4);
    for (unsigned i = 0; i < 300; i++)
        turn(true);
    cr_assert_eq(puts_of()->ended[KVR_TIMEOUT], 4);
    cr_assert_eq(puts_of()->ended[KVR_OK], 4);
    cr_assert_eq(asker.moved_out, 0);
    cr_assert_eq(asker_busy(&asker), 0);
}

Test(jobs, what_is_given_up_is_aborted)
{
    create();
    asker_measure(&asker, 4);
    turn(true);
    turn(true);
    cr_assert_eq(small_server_open(&server), 4);
    server.loss = 1000;
    for (unsigned i = 0; i < 190; i++) /* the last of ten tries is 180 ms after the first */
        turn(true);
    cr_assert_eq(puts_of()->ops, 0);
    server.loss = 0;
    drain();
    cr_assert_eq(puts_of()->ended[KVR_TIMEOUT], 4);
    cr_assert_eq(server.aborts, 4);
    cr_assert_eq(small_server_open(&server), 0);
}

Test(jobs, an_upload_that_the_server_dropped_ends_with_its_word)
{
    server.forgets = true;
    create();
    run(5);
    cr_assert_eq(puts_of()->ended[KVR_NO_UPLOAD], 5);
    cr_assert_eq(asker.moved_out, 0);
}

Test(jobs, a_server_that_misses_it_does_not_say_what_gets_an_abort)
{
    settings.bench.depth = 1;
    server.names_nothing = true;
    create();
    asker_measure(&asker, 1);
    turn(true);
    server.loss = 1000;
    turn(true);
    server.loss = 0;
    drain();
    cr_assert_eq(puts_of()->ended[KVR_PROTOCOL], 1);
    cr_assert_eq(server.aborts, 1);
    cr_assert_eq(asker.moved_out, 0);
}

Test(jobs, busy_is_waited_for)
{
    create();
    server.busy = KVR_BUSY;
    server.nr_busy = 7;
    run(5);
    cr_assert_eq(puts_of()->ended[KVR_OK], 5);
    server.nr_busy = UINT32_MAX;
    run(5);
    cr_assert_eq(puts_of()->ended[KVR_BUSY], 5);
}

Test(jobs, a_refused_cookie_is_renewed_on_the_way)
{
    create();
    asker_measure(&asker, 8);
    turn(true);
    turn(true);
    server.cookie++;
    for (unsigned i = 0; i < 50; i++)
        turn(true);
    cr_assert_eq(puts_of()->ended[KVR_OK], 8);
}

Test(jobs, a_restarted_server_ends_all_that_was_under_way)
{
    settings.bench.verify = true;
    create();
    asker_measure(&asker, 8);
    turn(true);
    turn(true);
    server.hello.boot = 2;
    server.cookie++;
    server.mute = true;
    now_ns += 3600 * NS_PER_S;
    turn(true);
    server.mute = false;
    cr_assert_eq(puts_of()->ended[KVR_TIMEOUT], 8);
    cr_assert_eq(asker_busy(&asker), 0);
    for (unsigned i = 0; i < 10 && !asker_ready(&asker); i++)
        turn(false);
    run(3);
    cr_assert_eq(puts_of()->ended[KVR_OK], 3);
}

Test(jobs, small_and_large_values_of_several_kinds_mix)
{
    settings.bench.verify = true;
    settings.bench.batch = 4;
    settings.bench.chain = 180;
    settings.bench.weights[BENCH_GET] = 3;
    settings.bench.weights[BENCH_MATCH] = 1;
    cr_assert_eq(sizes_parse("0:10,64:40,50000:50", &settings.bench.sizes), 0);
    server.present = SMALL_KEYS;
    create();
    asker_warm(&asker);
    while (asker.warm.ops < SMALL_KEYS)
        turn(true);
    drain();
    for (uint64_t id = 0; id < SMALL_KEYS; id++)
        cr_assert(small_server_holds(&server, id));
    run(2000);
    cr_assert_eq(asker.started, 2000);
    cr_assert_eq(puts_of()->ops + asker.tallies[BENCH_GET].ops + asker.tallies[BENCH_MATCH].ops,
                 2000);
    cr_assert_eq(asker.tallies[BENCH_GET].ended[KVR_OK], asker.tallies[BENCH_GET].ops);
    cr_assert_eq(asker.tallies[BENCH_GET].corrupt + puts_of()->corrupt, 0);
    cr_assert_eq(puts_of()->ended[KVR_OK], puts_of()->ops);
    cr_assert_eq(asker.match_found, asker.match_keys);
    cr_assert_eq(asker.match_keys, 180 * asker.tallies[BENCH_MATCH].ops);
}

Test(jobs, the_warm_up_stores_every_large_value_over_a_bad_wire)
{
    server.loss = 100;
    create();
    asker_warm(&asker);
    for (unsigned i = 0; asker.warm.ops < SMALL_KEYS; i++) {
        cr_assert_lt(i, 100000);
        turn(true);
    }
    for (uint64_t id = 0; id < SMALL_KEYS; id++)
        cr_assert(small_server_holds(&server, id));
    cr_assert_eq(asker.warm_failed, 0);
}

static void only_matches(uint64_t chain)
{
    settings.bench.weights[BENCH_PUT] = 0;
    settings.bench.weights[BENCH_MATCH] = 1;
    settings.bench.chain = chain;
    settings.bench.keys = SMALL_KEYS;
    settings.bench.dist = BENCH_SEQUENTIAL;
}

Test(jobs, a_long_chain_is_split_by_partition_and_its_prefix_put_together)
{
    only_matches(150);
    server.present = 120;
    create();
    run(1); /* ids 0 to 149 */
    cr_assert_eq(asker.tallies[BENCH_MATCH].ended[KVR_OK], 1);
    cr_assert_eq(asker.match_keys, 150);
    cr_assert_eq(asker.match_found, 120);
    cr_assert_eq(server.matches, 3, "150 keys are about 50 for each of 3 partitions");
    cr_assert_eq(asker.tx_datagrams, 3);
}

Test(jobs, keys_that_do_not_fit_one_datagram_of_their_partition_take_more)
{
    only_matches(1000);
    server.present = SMALL_KEYS;
    server.hello.nr_partitions = 1;
    create();
    run(10);
    cr_assert_eq(asker.tallies[BENCH_MATCH].ended[KVR_OK], 10);
    cr_assert_eq(server.matches, 10 * 12, "87 keys fit one");
    cr_assert_eq(asker.match_found, 10 * 1000);
}

Test(jobs, every_prefix_is_found_over_a_bad_wire)
{
    only_matches(200);
    server.present = 77;
    server.loss = 100;
    server.doubles = 100;
    server.reorders = true;
    create();
    run(SMALL_KEYS);
    cr_assert_eq(asker.tallies[BENCH_MATCH].ended[KVR_OK], SMALL_KEYS);
    cr_assert_eq(asker.match_keys, 200 * SMALL_KEYS);
    /* Beginning at id i, 77 - i are stored; none from 77 on. */
    cr_assert_eq(asker.match_found, 77 * 78 / 2);
    cr_assert_gt(asker.jobs.repeats, 0);
}

Test(jobs, a_chain_that_is_not_answered_is_given_up)
{
    only_matches(200);
    create();
    server.mute = true;
    run(2);
    cr_assert_eq(asker.tallies[BENCH_MATCH].ended[KVR_TIMEOUT], 2);
    cr_assert_eq(asker.match_keys, 0);
}
