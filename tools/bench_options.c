/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `kvrail bench` and of what makes the same load by other means: what they allow,
 * what they mean. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/units.h"

const struct cli_option bench_options[] = {
    {BENCH_OPT_OPS, "ops", "LIST",
     "get, put, del, touch, match, ping, mix (default), or get:80,put:20"},
    {BENCH_OPT_READ, "read", "PERCENT", "share of GETs in a mix of get and put; default 95"},
    {BENCH_OPT_KEYS, "keys", "N", "different keys; default 10k"},
    {BENCH_OPT_KEY_SIZE, "key-size", "BYTES", "bytes of a key, 8 to 1024; default 16"},
    {BENCH_OPT_DIST, "dist", "DIST", "zipf:EXPONENT, uniform or sequential; default zipf:0.99"},
    {BENCH_OPT_RATE, "rate", "OPS/S",
     "open loop at this rate of all threads; default: closed loop"},
    {BENCH_OPT_ARRIVAL, "arrival", "KIND", "of an open loop: fixed (default) or poisson"},
    {BENCH_OPT_SECONDS, "seconds", "S", "how long to measure; default 5"},
    {BENCH_OPT_COUNT, "count", "N", "measure this many ops instead"},
    {BENCH_OPT_TTL, "ttl", "TIME", "time to live of what is stored; default: none"},
    {BENCH_OPT_WARM, "warm", NULL, "store every key once before measuring (default)"},
    {BENCH_OPT_NO_WARM, "no-warm", NULL, "do not"},
    {BENCH_OPT_KEYSPACE, "keyspace", "N", "number of a key space; others share no keys; default 0"},
    {BENCH_OPT_SEED, "seed", "N", "of the random choices; default 1"},
    {0}};

static bool parse_op(const struct cli *cli, char *text, struct bench_settings *s)
{
    char *colon = strchr(text, ':');
    uint64_t weight = 1;

    if (colon) {
        *colon = 0;
        if (!cli_number(cli, "ops", colon + 1, 1, 1000000, &weight))
            return false;
    }
    for (unsigned op = 0; op < BENCH_OPS; op++)
        if (strcmp(text, bench_op_names[op]) == 0) {
            s->weights[op] = weight;
            return true;
        }
    cli_usage(cli, "--ops %s: not one of get, put, del, touch, match, ping, mix", text);
    return false;
}

static bool parse_ops(const struct cli *cli, const char *text, struct bench_settings *s)
{
    char copy[256], *rest = copy, *op;

    memset(s->weights, 0, sizeof(s->weights));
    if (strcmp(text, "mix") == 0) {
        s->weights[BENCH_GET] = 95;
        s->weights[BENCH_PUT] = 5;
        return true;
    }
    snprintf(copy, sizeof(copy), "%s", text);
    while ((op = strsep(&rest, ",")))
        if (!parse_op(cli, op, s))
            return false;
    return true;
}

static bool parse_read(const struct cli *cli, const char *text, struct bench_settings *s)
{
    uint64_t percent;

    if (!cli_number(cli, "read", text, 0, 100, &percent))
        return false;
    memset(s->weights, 0, sizeof(s->weights));
    s->weights[BENCH_GET] = percent;
    s->weights[BENCH_PUT] = 100 - percent;
    return true;
}

static bool parse_dist(const struct cli *cli, const char *text, struct bench_settings *s)
{
    char *end;

    if (strcmp(text, "uniform") == 0) {
        s->dist = BENCH_UNIFORM;
        return true;
    }
    if (strcmp(text, "sequential") == 0) {
        s->dist = BENCH_SEQUENTIAL;
        return true;
    }
    s->dist = BENCH_ZIPF;
    if (strcmp(text, "zipf") == 0)
        return true;
    if (strncmp(text, "zipf:", 5) == 0) {
        s->exponent = strtod(text + 5, &end);
        if (end != text + 5 && *end == 0 && s->exponent > 0 && s->exponent <= 10)
            return true;
    }
    cli_usage(cli, "--dist %s: not zipf:EXPONENT (above 0, at most 10), uniform or sequential",
              text);
    return false;
}

static bool parse_arrival(const struct cli *cli, const char *text, struct bench_settings *s)
{
    s->poisson = strcmp(text, "poisson") == 0;
    if (s->poisson || strcmp(text, "fixed") == 0)
        return true;
    cli_usage(cli, "--arrival %s: not fixed or poisson", text);
    return false;
}

static bool parse_size(const struct cli *cli, const char *text, struct bench_settings *s)
{
    s->sizes_text = text;
    if (sizes_parse(text, &s->sizes) == 0)
        return true;
    cli_usage(cli, "--size %s: not BYTES (at most %s) or BYTES:WEIGHT,BYTES:WEIGHT..", text,
              units_bytes(KVR_VALUE_MAX).s);
    return false;
}

static bool parse_ttl(const struct cli *cli, const char *text, struct bench_settings *s)
{
    uint64_t ns;

    if (!cli_duration(cli, "ttl", text, 0, NS_PER_MS, KVR_TTL_MAX_MS * NS_PER_MS, &ns))
        return false;
    s->ttl_ms = ns / NS_PER_MS;
    return true;
}

bool bench_option(const struct cli *cli, int id, struct bench_settings *s)
{
    switch (id) {
    case BENCH_OPT_OPS:
        return parse_ops(cli, optarg, s);
    case BENCH_OPT_READ:
        return parse_read(cli, optarg, s);
    case BENCH_OPT_KEYS:
        return cli_number(cli, "keys", optarg, 1, 1ull << 40, &s->keys);
    case BENCH_OPT_KEY_SIZE:
        return cli_bytes(cli, "key-size", optarg, 8, KVR_KEY_MAX, &s->key_len);
    case BENCH_OPT_SIZE:
        return parse_size(cli, optarg, s);
    case BENCH_OPT_DIST:
        return parse_dist(cli, optarg, s);
    case BENCH_OPT_BATCH:
        return cli_number(cli, "batch", optarg, 1, 4096, &s->batch);
    case BENCH_OPT_DEPTH:
        return cli_number(cli, "depth", optarg, 1, 65536, &s->depth);
    case BENCH_OPT_THREADS:
        return cli_number(cli, "threads", optarg, 1, 256, &s->threads);
    case BENCH_OPT_CHAIN:
        return cli_number(cli, "chain", optarg, 1, 65536, &s->chain);
    case BENCH_OPT_RATE:
        return cli_number(cli, "rate", optarg, 1, 1000000000, &s->rate);
    case BENCH_OPT_ARRIVAL:
        return parse_arrival(cli, optarg, s);
    case BENCH_OPT_SECONDS:
        return cli_duration(cli, "seconds", optarg, NS_PER_S, NS_PER_MS, 86400 * NS_PER_S,
                            &s->run_ns);
    case BENCH_OPT_COUNT:
        return cli_number(cli, "count", optarg, 1, 1ull << 50, &s->count);
    case BENCH_OPT_TTL:
        return parse_ttl(cli, optarg, s);
    case BENCH_OPT_WARM:
    case BENCH_OPT_NO_WARM:
        s->warm = id == BENCH_OPT_WARM;
        return true;
    case BENCH_OPT_FILL:
        s->fill = true;
        return true;
    case BENCH_OPT_VIEW:
        s->view = true;
        return true;
    case BENCH_OPT_VERIFY:
    case BENCH_OPT_NO_VERIFY:
        s->verify = id == BENCH_OPT_VERIFY;
        return true;
    case BENCH_OPT_KEYSPACE:
        return cli_number(cli, "keyspace", optarg, 0, UINT32_MAX, &s->salt);
    case BENCH_OPT_SEED:
        return cli_number(cli, "seed", optarg, 0, UINT32_MAX, &s->seed);
    default:
        return true;
    }
}

void bench_option_defaults(struct bench_settings *s)
{
    *s = (struct bench_settings){.keys = 10000,
                                 .key_len = 16,
                                 .seed = 1,
                                 .exponent = 0.99,
                                 .batch = 1,
                                 .depth = 16,
                                 .threads = 1,
                                 .chain = 256,
                                 .run_ns = 5 * NS_PER_S,
                                 .warm = true,
                                 .verify = true,
                                 .weights = {[BENCH_GET] = 95, [BENCH_PUT] = 5},
                                 .sizes_text = "1KiB"};
    (void)sizes_parse(s->sizes_text, &s->sizes);
}

void bench_option_end(struct bench_settings *s)
{
    s->salt = hash_key(s->sizes_text, strlen(s->sizes_text), s->salt).lo;
}
