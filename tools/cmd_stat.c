/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail stat`: what the server does, a line for each second. One thread. */
#include <stdio.h>

#include "base/clock.h"
#include "tools/cli.h"
#include "tools/units.h"

#define HEADER_EVERY 20u

static const struct cli_option options[] = {
    {'c', "count", "N", "stop after N lines; default: until ^C"},
    {'i', "interval", "TIME", "time between lines: seconds, or with a unit; default 1s"},
    {0}};

/* Counters of a restarted server begin at 0 again. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
    return (double)(now >= before ? now - before : now) / seconds;
}

struct stat_rates {
    double gets, puts, dels, matches, rx_bytes, tx_bytes, evictions, errors, dropped;
    double hit_ratio; /* below 0: nothing was asked for */
};

static struct stat_rates rates_of(const struct kvr_stat_rep *a, const struct kvr_stat_rep *b,
                                  double s)
{
    double hits = rate(b->hits, a->hits, s), misses = rate(b->misses, a->misses, s);

    return (struct stat_rates){
        .gets = rate(b->gets, a->gets, s),
        .puts = rate(b->puts, a->puts, s),
        .dels = rate(b->dels, a->dels, s),
        .matches = rate(b->matches, a->matches, s),
        .rx_bytes = rate(b->rx_bytes, a->rx_bytes, s),
        .tx_bytes = rate(b->tx_bytes, a->tx_bytes, s),
        .evictions = rate(b->evictions, a->evictions, s),
        .errors = rate(b->errors, a->errors, s),
        .dropped = rate(b->dropped, a->dropped, s),
        .hit_ratio = hits + misses > 0 ? hits / (hits + misses) : -1,
    };
}

static void print_header(void)
{
    printf("%8s %8s %8s %8s %6s %10s %10s %8s %10s %6s %8s %7s %7s\n", "get/s", "put/s", "del/s",
           "match/s", "hit %", "in", "out", "items", "memory", "full", "evict/s", "error/s",
           "drop/s");
}

static void print_line(const struct stat_rates *r, const struct kvr_stat_rep *now)
{
    char hit[16] = "-";

    if (r->hit_ratio >= 0)
        snprintf(hit, sizeof(hit), "%.1f", 100 * r->hit_ratio);
    printf("%8s %8s %8s %8s %6s %10s %10s %8s %10s %4.0f %% %8s %7s %7s\n", units_count(r->gets).s,
           units_count(r->puts).s, units_count(r->dels).s, units_count(r->matches).s, hit,
           units_rate(r->rx_bytes).s, units_rate(r->tx_bytes).s, units_count((double)now->items).s,
           units_bytes(now->bytes).s,
           now->capacity ? 100.0 * (double)now->bytes / (double)now->capacity : 0.0,
           units_count(r->evictions).s, units_count(r->errors).s, units_count(r->dropped).s);
    fflush(stdout);
}

static json_t *stat_json(const struct stat_rates *r, const struct kvr_stat_rep *now)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:o,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "time_ms",
                     (json_int_t)clock_wall_ms(), "uptime_ms", (json_int_t)now->uptime_ms, "items",
                     (json_int_t)now->items, "bytes", (json_int_t)now->bytes, "capacity",
                     (json_int_t)now->capacity, "hit_ratio",
                     r->hit_ratio >= 0 ? json_real(r->hit_ratio) : json_null(), "gets_s", r->gets,
                     "puts_s", r->puts, "dels_s", r->dels, "matches_s", r->matches, "rx_bytes_s",
                     r->rx_bytes, "tx_bytes_s", r->tx_bytes, "evictions_s", r->evictions,
                     "errors_s", r->errors, "dropped_s", r->dropped);
}

static void show_silence(const struct cli *cli, enum kvr_status status)
{
    if (cli->json)
        cli_print_json(json_pack("{s:I,s:s}", "time_ms", (json_int_t)clock_wall_ms(), "status",
                                 kvr_status_name(status)));
    else
        printf("%s\n", kvr_status_text(status));
    fflush(stdout);
}

/* One line a turn; a server that does not answer is said so, and asked again. */
static int watch(struct cli *cli, struct kvr_client *client, uint64_t count, uint64_t interval_ns)
{
    struct kvr_stat_rep before, now;
    enum kvr_status status = kvr_stat(client, &before);
    uint64_t at = clock_ns(), next = at;

    if (status != KVR_OK)
        return cli_fail(cli, status, "stat");
    for (uint64_t line = 0; (!count || line < count) && !cli_interrupted(); line++) {
        uint64_t then = at;

        next += interval_ns;
        cli_sleep_until(next);
        if (cli_interrupted())
            break;
        status = kvr_stat(client, &now);
        at = clock_ns();
        if (status != KVR_OK) {
            show_silence(cli, status);
            at = then;
            continue;
        }
        struct stat_rates r = rates_of(&before, &now, (double)(at - then) / 1e9);
        if (!cli->json && line % HEADER_EVERY == 0 && !cli->quiet)
            print_header();
        if (cli->json)
            cli_print_json(stat_json(&r, &now));
        else
            print_line(&r, &now);
        before = now;
    }
    return cli_exit_code(status);
}

static int run(struct cli *cli, int argc, char **argv)
{
    uint64_t count = 0, interval_ns = NS_PER_S;
    struct kvr_client *client = NULL;
    int id, code;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        if (id == 'c' && !cli_number(cli, "count", optarg, 1, UINT32_MAX, &count))
            return CLI_USAGE;
        if (id == 'i' && !cli_duration(cli, "interval", optarg, NS_PER_S, NS_PER_MS,
                                       86400 * NS_PER_S, &interval_ns))
            return CLI_USAGE;
    }
    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many", argv[optind]);
    code = cli_open(cli, NULL, &client);
    if (code != CLI_OK)
        return code;
    cli_catch_interrupt();
    code = watch(cli, client, count, interval_ns);
    kvr_close(client);
    return code;
}

const struct cli_command cmd_stat = {
    .name = "stat",
    .arguments = "",
    .summary = "what the server does, a line each second",
    .options = options,
    .details =
        "in and out are bytes on the wire; memory is bytes of values, full its share of the\n"
        "data segment; hit % counts what was asked for in that second.\n"
        "\nExample:\n  kvrail stat -c 10 --json | jq .hit_ratio\n",
    .run = run,
};
