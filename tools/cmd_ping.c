/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail ping`: round trips to the server, as ping(8) shows them. One thread. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "tools/cli.h"
#include "tools/units.h"

static const struct cli_option options[] = {
    {'c', "count", "N", "stop after N pings; default: until ^C"},
    {'i', "interval", "TIME", "time between pings: seconds, or with a unit; default 1s"},
    {0}};

struct ping_sums {
    uint64_t sent, answered, min_ns, max_ns;
    double sum, squares;
};

static void ping_once(const struct cli *cli, struct kvr_client *client, struct ping_sums *sums)
{
    uint64_t rtt = 0;
    enum kvr_status status = kvr_ping(client, &rtt);

    sums->sent++;
    if (status == KVR_OK) {
        sums->answered++;
        sums->sum += (double)rtt;
        sums->squares += (double)rtt * (double)rtt;
        if (rtt < sums->min_ns || sums->answered == 1)
            sums->min_ns = rtt;
        if (rtt > sums->max_ns)
            sums->max_ns = rtt;
    }
    if (cli->quiet)
        return;
    if (cli->json)
        cli_print_json(status == KVR_OK ? json_pack("{s:I,s:f}", "seq", (json_int_t)sums->sent,
                                                    "rtt_us", (double)rtt / 1e3)
                                        : json_pack("{s:I,s:s}", "seq", (json_int_t)sums->sent,
                                                    "status", kvr_status_name(status)));
    else if (status == KVR_OK)
        printf("seq=%llu rtt=%s\n", (unsigned long long)sums->sent, units_duration(rtt).s);
    else
        printf("seq=%llu %s\n", (unsigned long long)sums->sent, kvr_status_text(status));
    fflush(stdout);
}

static void show_sums(const struct cli *cli, const char *url, const struct ping_sums *s)
{
    double n = s->answered ? (double)s->answered : 1, mean = s->sum / n;
    double variance = s->squares / n - mean * mean;
    double deviation = variance > 0 ? sqrt(variance) : 0;
    double lost = s->sent ? 100.0 * (double)(s->sent - s->answered) / (double)s->sent : 0;

    if (cli->json) {
        cli_print_json(json_pack("{s:o,s:I,s:I,s:f,s:f,s:f,s:f,s:f}", "server", cli_json_text(url),
                                 "sent", (json_int_t)s->sent, "answered", (json_int_t)s->answered,
                                 "lost_percent", lost, "rtt_min_us", (double)s->min_ns / 1e3,
                                 "rtt_avg_us", mean / 1e3, "rtt_max_us", (double)s->max_ns / 1e3,
                                 "rtt_stddev_us", deviation / 1e3));
        return;
    }
    printf("\n--- %s ---\n%llu sent, %llu answered, %.4g %% lost\n", url,
           (unsigned long long)s->sent, (unsigned long long)s->answered, lost);
    if (s->answered)
        printf("rtt min/avg/max/stddev = %s / %s / %s / %s\n", units_duration(s->min_ns).s,
               units_duration((uint64_t)mean).s, units_duration(s->max_ns).s,
               units_duration((uint64_t)deviation).s);
}

static int ping(struct cli *cli, uint64_t count, uint64_t interval_ns)
{
    struct ping_sums sums = {0};
    struct kvr_client *client;
    struct kvr_server_info info;
    uint64_t next = clock_ns();
    char url[512];
    int code = cli_open(cli, NULL, &client);

    if (code != CLI_OK)
        return code;
    cli_server(cli, url, sizeof(url));
    kvr_server_info(client, &info);
    if (!cli->json && !cli->quiet)
        printf("PING %s: protocol %u, %u partitions, datagrams to %u bytes\n", url, info.version,
               info.nr_partitions, info.max_datagram);
    cli_catch_interrupt();
    while (!cli_interrupted()) {
        ping_once(cli, client, &sums);
        if (count && sums.sent == count)
            break;
        next += interval_ns;
        if (clock_ns() > next)
            next = clock_ns();
        cli_sleep_until(next);
    }
    kvr_close(client);
    show_sums(cli, url, &sums);
    if (sums.answered == 0)
        return CLI_UNREACHABLE;
    return sums.answered < sums.sent ? CLI_DEGRADED : CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    uint64_t count = 0, interval_ns = NS_PER_S;
    int id;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        if (id == 'c' && !cli_number(cli, "count", optarg, 1, UINT32_MAX, &count))
            return CLI_USAGE;
        if (id == 'i' &&
            !cli_duration(cli, "interval", optarg, NS_PER_S, 0, 86400 * NS_PER_S, &interval_ns))
            return CLI_USAGE;
    }
    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many; --server names the server",
                         argv[optind]);
    return ping(cli, count, interval_ns);
}

const struct cli_command cmd_ping = {
    .name = "ping",
    .arguments = "",
    .summary = "round trips to the server",
    .options = options,
    .details = "Exit status 3 if some pings were not answered, 4 if none was.\n"
               "\nExample:\n  kvrail ping -c 5 -i 200ms --server udp://10.96.0.1\n",
    .run = run,
};
