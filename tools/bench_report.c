/* SPDX-License-Identifier: Apache-2.0 */
/* What `kvrail bench` measured, as a table and as JSON. */
#include <stdio.h>

#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/table.h"
#include "tools/units.h"

static const char *const dist_names[] = {"zipf", "uniform", "sequential"};

uint64_t bench_corrupt(const struct bench_result *r)
{
    uint64_t n = r->fills.corrupt + r->warm.corrupt;

    for (unsigned op = 0; op < BENCH_OPS; op++)
        n += r->tallies[op].corrupt;
    return n;
}

int bench_exit_code(const struct bench_result *r)
{
    uint64_t ops = 0, errors = 0, unanswered = 0;

    if (bench_corrupt(r))
        return CLI_ERROR;
    for (unsigned op = 0; op < BENCH_OPS; op++) {
        const struct tally *t = &r->tallies[op];

        ops += t->ops;
        errors += tally_errors(t);
        unanswered += t->ended[KVR_TIMEOUT] + t->ended[KVR_UNREACHABLE];
    }
    if (ops && unanswered == ops)
        return CLI_UNREACHABLE;
    return ops && errors == ops ? CLI_ERROR : CLI_OK;
}

double bench_hit_ratio(const struct bench_result *r)
{
    const struct tally *gets = &r->tallies[BENCH_GET];
    uint64_t answered = gets->ended[KVR_OK] + gets->ended[KVR_MISS];

    return answered ? (double)gets->ended[KVR_OK] / (double)answered : -1;
}

static void sum_up(const struct bench_result *r, struct tally *all)
{
    for (unsigned op = 0; op < BENCH_OPS; op++)
        tally_merge(all, &r->tallies[op]);
    tally_merge(all, &r->fills);
}

static json_t *params_json(const struct bench_settings *s)
{
    json_t *ops = json_object();

    for (unsigned op = 0; op < BENCH_OPS; op++)
        if (s->weights[op])
            json_object_set_new(ops, bench_op_names[op], json_integer((json_int_t)s->weights[op]));
    return json_pack("{s:o,s:I,s:I,s:s,s:f,s:s,s:f,s:I,s:I,s:I,s:I,s:s,s:I,s:s,s:f,s:I,s:I,s:i,s:b,"
                     "s:b,s:b,s:b,s:I}",
                     "ops", ops, "keys", (json_int_t)s->keys, "key_len", (json_int_t)s->key_len,
                     "size", s->sizes_text, "size_mean", sizes_mean(&s->sizes), "dist",
                     dist_names[s->dist], "exponent", s->dist == BENCH_ZIPF ? s->exponent : 0.0,
                     "batch", (json_int_t)s->batch, "depth", (json_int_t)s->depth, "threads",
                     (json_int_t)s->threads, "chain", (json_int_t)s->chain, "loop",
                     s->rate ? "open" : "closed", "rate", (json_int_t)s->rate, "arrival",
                     s->poisson ? "poisson" : "fixed", "run_s", (double)s->run_ns / 1e9, "count",
                     (json_int_t)s->count, "ttl_ms", (json_int_t)s->ttl_ms, "priority",
                     (int)s->priority, "warm", s->warm, "verify", s->verify, "fill", s->fill,
                     "view", s->view, "seed", (json_int_t)s->seed);
}

static json_t *client_json(const struct kvr_client_stats *c)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "tx_datagrams",
                     (json_int_t)c->tx_datagrams, "tx_bytes", (json_int_t)c->tx_bytes,
                     "rx_datagrams", (json_int_t)c->rx_datagrams, "rx_bytes",
                     (json_int_t)c->rx_bytes, "retransmits", (json_int_t)c->retransmits, "timeouts",
                     (json_int_t)c->timeouts, "busy", (json_int_t)c->busy, "rx_corrupt",
                     (json_int_t)c->rx_corrupt, "value_corrupt", (json_int_t)c->value_corrupt);
}

json_t *bench_json(const char *command, const struct bench_settings *s,
                   const struct bench_result *r, const char *url)
{
    double seconds = r->seconds > 0 ? r->seconds : 1e-9, hits = bench_hit_ratio(r);
    struct tally all = {0};
    json_t *object, *ops = json_object();

    sum_up(r, &all);
    for (unsigned op = 0; op < BENCH_OPS; op++)
        if (r->tallies[op].ops)
            json_object_set_new(ops, bench_op_names[op], tally_json(&r->tallies[op], seconds));
    if (r->fills.ops)
        json_object_set_new(ops, "fill", tally_json(&r->fills, seconds));
    object = json_pack(
        "{s:s,s:o,s:o,s:f,s:I,s:f,s:f,s:f,s:I,s:I,s:I,s:o,s:o,s:o}", "command", command, "server",
        cli_json_text(url), "params", params_json(s), "seconds", r->seconds, "ops",
        (json_int_t)all.ops, "ops_s", (double)all.ops / seconds, "get_bytes_s",
        (double)r->moved_in / seconds, "put_bytes_s", (double)r->moved_out / seconds, "corrupt",
        (json_int_t)bench_corrupt(r), "errors", (json_int_t)tally_errors(&all), "unstarted",
        (json_int_t)r->unstarted, "hit_ratio", hits >= 0 ? json_real(hits) : json_null(), "by_op",
        ops, "client", client_json(&r->client));
    if (r->warm.ops)
        json_object_set_new(object, "warm", tally_json(&r->warm, r->warm_seconds));
    json_object_set_new(object, "partitions", json_integer(r->server.nr_partitions));
    json_object_set_new(object, "max_datagram", json_integer(r->server.max_datagram));
    return object;
}

static void print_settings(const struct bench_settings *s, const char *url)
{
    printf("%s: %llu keys, values of %s, ", url, (unsigned long long)s->keys, s->sizes_text);
    if (s->dist == BENCH_ZIPF)
        printf("zipf %.3g", s->exponent);
    else
        fputs(dist_names[s->dist], stdout);
    printf(", batch %llu, depth %llu, %llu thread%s, ", (unsigned long long)s->batch,
           (unsigned long long)s->depth, (unsigned long long)s->threads, s->threads > 1 ? "s" : "");
    if (s->rate)
        printf("open loop at %s ops/s%s\n", units_count((double)s->rate).s,
               s->poisson ? " (Poisson)" : "");
    else
        puts("closed loop");
}

void bench_print(const struct bench_settings *s, const struct bench_result *r, const char *url)
{
    struct table *table = table_create(TALLY_COLUMNS);
    double seconds = r->seconds > 0 ? r->seconds : 1e-9;
    struct tally all = {0};
    char errors[512];

    print_settings(s, url);
    sum_up(r, &all);
    for (unsigned op = 0; op < BENCH_OPS; op++)
        tally_row(table, bench_op_names[op], &r->tallies[op], seconds);
    tally_row(table, "fill", &r->fills, seconds);
    tally_row(table, "all", &all, seconds);
    tally_row(table, "(warm)", &r->warm, r->warm_seconds);
    table_print(table, stdout);
    table_destroy(table);
    if (bench_hit_ratio(r) >= 0)
        printf("hit ratio %.4f, ", bench_hit_ratio(r));
    printf("%llu retransmits, corrupt %llu%s\n", (unsigned long long)r->client.retransmits,
           (unsigned long long)bench_corrupt(r), s->verify ? "" : " (not verified)");
    if (r->unstarted)
        printf("%llu ops were due but not started: the rate is more than depth %llu can carry\n",
               (unsigned long long)r->unstarted, (unsigned long long)s->depth);
    tally_error_text(&all, errors, sizeof(errors));
    if (errors[0])
        printf("errors: %s\n", errors);
}
