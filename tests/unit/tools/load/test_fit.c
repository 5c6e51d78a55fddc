/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "tools/load/settings.h"

static struct load_settings s;
static struct kvr_hello_rep hello = {
    .nr_partitions = 2, .max_ops = 32, .max_value = KVR_VALUE_MAX, .train_max = 65536};
static char text[256];

static void defaults(void)
{
    s = (struct load_settings){.device = "net_null0", .ipv4 = "10.0.0.1"};
    bench_option_defaults(&s.bench);
    s.bench.chain = 64;
    cr_assert_eq(sizes_parse("64", &s.bench.sizes), 0);
}

TestSuite(fit, .init = defaults);

/* The setting is refused, and the words say which one it is. */
static void refused(const char *name)
{
    bool fits = settings_fit_each_other(&s, text, sizeof(text)) &&
                settings_fit_server(&s, &hello, 1472, text, sizeof(text));

    cr_assert_not(fits, "%s", name);
    cr_assert_not_null(strstr(text, name), "%s: %s", name, text);
    defaults();
}

static void accepted(void)
{
    cr_assert(settings_fit_each_other(&s, text, sizeof(text)), "%s", text);
    cr_assert(settings_fit_server(&s, &hello, 1472, text, sizeof(text)), "%s", text);
    defaults();
}

static void only(enum bench_op op)
{
    memset(s.bench.weights, 0, sizeof(s.bench.weights));
    s.bench.weights[op] = 1;
}

Test(fit, the_defaults_do)
{
    accepted();
}

Test(fit, what_cannot_be_is_refused_by_name)
{
    s.device = NULL;
    refused("--device");
    s.ipv4 = NULL;
    refused("--ipv4");
    s.bench.batch = 17;
    refused("--batch");
    only(BENCH_GET);
    s.bench.batch = 33;
    refused("--batch");
    s.mixed = true;
    refused("--mixed");
    s.bench.depth = LOAD_DEPTH_MAX + 1;
    refused("--depth");
    s.bench.threads = LOAD_THREADS_MAX + 1;
    refused("--threads");
    s.bench.keys = (1ull << 32) + 1;
    refused("--keys");
}

Test(fit, what_the_server_or_the_path_does_not_take_is_refused_by_name)
{
    only(BENCH_PUT);
    cr_assert_eq(sizes_parse("1000", &s.bench.sizes), 0);
    s.bench.batch = 2;
    refused("--batch");
    only(BENCH_GET);
    s.bench.warm = false;
    cr_assert_eq(sizes_parse("65537", &s.bench.sizes), 0);
    refused("--size");
    only(BENCH_GET);
    s.bench.batch = 26; /* 56 + 26 * 56 = 1,512 */
    refused("--batch");
    only(BENCH_GET);
    s.bench.batch = 25;
    accepted();
    only(BENCH_PUT);
    hello.max_value = 3000000;
    cr_assert_eq(sizes_parse("3000001", &s.bench.sizes), 0);
    refused("--size");
    hello.max_value = KVR_VALUE_MAX;
    s.hot = true;
    s.hot_partition = 2;
    refused("--hot-partition");
}

Test(fit, what_needs_several_datagrams_is_refused_only_where_it_must_share_one_on_time)
{
    only(BENCH_PUT);
    cr_assert_eq(sizes_parse("64:50,2MiB:50", &s.bench.sizes), 0);
    s.bench.batch = 8;
    accepted();
    only(BENCH_MATCH);
    s.bench.chain = 65536;
    s.bench.batch = 8;
    accepted();
    only(BENCH_PUT);
    cr_assert_eq(sizes_parse("64:50,2MiB:50", &s.bench.sizes), 0);
    s.bench.batch = 8;
    s.bench.rate = 1000;
    refused("--batch");
    only(BENCH_MATCH);
    s.bench.chain = 88; /* 56 + 16 + 88 * 16 = 1,480 */
    s.bench.batch = 2;
    s.bench.rate = 1000;
    refused("--batch");
    only(BENCH_MATCH);
    s.bench.chain = 65536;
    s.bench.depth = LOAD_DEPTH_MAX;
    refused("--chain");
}
