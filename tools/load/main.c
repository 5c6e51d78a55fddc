/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail-load`: its options, and what the outcome means. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/load/load.h"

enum {
    OPT_DEVICE = BENCH_OPT_OTHERS,
    OPT_IPV4,
    OPT_IPV6,
    OPT_CPUS,
    OPT_QUEUES,
    OPT_STEER,
    OPT_HUGEPAGES,
    OPT_PACKET_MEMORY,
    OPT_MTU,
    OPT_RING,
    OPT_EAL,
    OPT_MIXED,
    OPT_HOT,
    OPT_VERSION
};

#define TIMEOUT_NS (20 * NS_PER_MS)

static const struct cli_option options[] = {
    {OPT_DEVICE, "device", "DEVICE",
     "DPDK device: net_memif0,role=client,socket=PATH, or a PCI address"},
    {OPT_IPV4, "ipv4", "ADDRESS", "own address, beside the server's"},
    {OPT_IPV6, "ipv6", "ADDRESS", "own address, for a server at an IPv6 address"},
    {OPT_CPUS, "cpus", "LIST", "CPUs of the threads: 1-2,5; default: the last ones"},
    {OPT_QUEUES, "queues", "N", "queues of the device, each way; default 1"},
    {OPT_STEER, "steer", "HOW",
     "owner (default): a queue for each of the server's cores; first: all by one"},
    {OPT_HUGEPAGES, "hugepages", "CHOICE", "auto (default): where enough are free; off, require"},
    {OPT_PACKET_MEMORY, "packet-memory", "MIB", "memory for packets; default: what is needed"},
    {OPT_MTU, "mtu", "BYTES", "largest IP packet, 1280 to 9000; default 1500"},
    {OPT_RING, "ring", "N", "descriptors of a queue, where the device asks; default 1024"},
    {OPT_EAL, "eal", "ARGUMENTS", "more arguments for DPDK, split at spaces"},
    {BENCH_OPT_SIZE, "size", "BYTES", "bytes of a value, or a mix: 64:50,1KiB:50; default 64"},
    {BENCH_OPT_BATCH, "batch", "N", "ops of a datagram, all of one partition; default 1"},
    {OPT_MIXED, "mixed", NULL, "a datagram may hold reads of several partitions"},
    {BENCH_OPT_DEPTH, "depth", "N",
     "datagrams in flight, each thread; what needs several counts as one; default 256"},
    {BENCH_OPT_THREADS, "threads", "N",
     "threads, each with a CPU, a session and a UDP port; default 1"},
    {BENCH_OPT_CHAIN, "chain", "N", "keys of a MATCH; default 64"},
    {OPT_HOT, "hot-partition", "P:SHARE", "so many percent of the ops are for partition P: 0:80"},
    {BENCH_OPT_VERIFY, "verify", NULL,
     "check every byte of every hit; read back what took several datagrams to store"},
    {BENCH_OPT_NO_VERIFY, "no-verify", NULL, "check the datagrams only (default)"},
    {OPT_VERSION, "version", NULL, "show the version"},
    {'t', "timeout", "MS", "a datagram without an answer for so long is lost; default 20 ms"},
    {0}};

static bool parse_steer(const struct cli *cli, const char *text, struct load_settings *s)
{
    s->steer_first = strcmp(text, "first") == 0;
    if (s->steer_first || strcmp(text, "owner") == 0)
        return true;
    cli_usage(cli, "--steer %s: not owner or first", text);
    return false;
}

static bool parse_pages(const struct cli *cli, const char *text, struct load_settings *s)
{
    static const char *const names[] = {
        [LOAD_PAGES_AUTO] = "auto", [LOAD_PAGES_OFF] = "off", [LOAD_PAGES_REQUIRE] = "require"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(text, names[i]) == 0) {
            s->pages = (enum load_pages)i;
            return true;
        }
    cli_usage(cli, "--hugepages %s: not auto, off or require", text);
    return false;
}

static bool parse_hot(const struct cli *cli, const char *text, struct load_settings *s)
{
    char *end;
    double percent;

    errno = 0;
    s->hot_partition = strtoul(text, &end, 10);
    if (errno == 0 && *end == ':' && text[0] >= '0' && text[0] <= '9' &&
        s->hot_partition < KVR_PARTITIONS_MAX) {
        const char *share = end + 1;

        percent = strtod(share, &end);
        if (end != share && *end == 0 && percent >= 0 && percent <= 100) {
            s->hot = true;
            s->hot_share = percent / 100;
            return true;
        }
    }
    cli_usage(cli, "--hot-partition %s: not PARTITION:PERCENT, such as 0:80", text);
    return false;
}

static bool parse_option(struct cli *cli, int id, struct load_settings *s)
{
    switch (id) {
    case OPT_DEVICE:
        s->device = optarg;
        return true;
    case OPT_IPV4:
        s->ipv4 = optarg;
        return true;
    case OPT_IPV6:
        s->ipv6 = optarg;
        return true;
    case OPT_CPUS:
        s->cpus = optarg;
        return true;
    case OPT_QUEUES:
        return cli_number(cli, "queues", optarg, 1, LOAD_QUEUES_MAX, &s->queues);
    case OPT_STEER:
        return parse_steer(cli, optarg, s);
    case OPT_HUGEPAGES:
        return parse_pages(cli, optarg, s);
    case OPT_PACKET_MEMORY:
        return cli_number(cli, "packet-memory", optarg, 16, 65536, &s->packet_memory);
    case OPT_MTU:
        return cli_number(cli, "mtu", optarg, 1280, 9000, &s->mtu);
    case OPT_RING:
        return cli_number(cli, "ring", optarg, 32, 32768, &s->ring);
    case OPT_EAL:
        s->eal = optarg;
        return true;
    case OPT_MIXED:
        s->mixed = true;
        return true;
    case OPT_HOT:
        return parse_hot(cli, optarg, s);
    default:
        return bench_option(cli, id, &s->bench);
    }
}

static bool plan_cpus(const struct cli *cli, struct load_settings *s)
{
    cpu_set_t allowed;
    int rc;

    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        CPU_ZERO(&allowed);
    rc = cpu_plan(s->cpus, &allowed, (unsigned)s->bench.threads, &s->plan);
    if (rc == 0)
        return true;
    cli_usage(cli,
              rc == -ERANGE ? "--cpus %s: names a CPU that may not be used here"
                            : "--cpus %s: not a list such as 1-2,5",
              s->cpus);
    return false;
}

/* -1: go on; else the exit code. */
static int parse(struct cli *cli, int argc, char **argv, struct load_settings *s)
{
    char text[256];
    int id;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        if (id == OPT_VERSION) {
            printf("kvrail-load %s\n", kvr_version());
            return CLI_OK;
        }
        if (!parse_option(cli, id, s))
            return CLI_USAGE;
    }
    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many", argv[optind]);
    s->bench.priority = cli->priority;
    if (cli->timeout_ms)
        s->timeout_ns = cli->timeout_ms * NS_PER_MS;
    bench_option_end(&s->bench);
    if (!settings_fit_each_other(s, text, sizeof(text)))
        return cli_usage(cli, "%s", text);
    return plan_cpus(cli, s) ? -1 : CLI_USAGE;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static struct load_result result; /* too large for a stack */
    struct load_settings s = {
        .cpus = "", .eal = "", .queues = 1, .mtu = 1500, .ring = 1024, .timeout_ns = TIMEOUT_NS};
    char url[512];
    int code;

    bench_option_defaults(&s.bench);
    s.bench.depth = 256;
    s.bench.chain = 64;
    s.bench.verify = false;
    s.bench.sizes_text = "64";
    (void)sizes_parse(s.bench.sizes_text, &s.bench.sizes);
    code = parse(cli, argc, argv, &s);
    if (code >= 0)
        return code;
    cli_server(cli, url, sizeof(url));
    cli_catch_interrupt();
    code = load_run(cli, &s, url, &result);
    if (code)
        return code;
    load_report(cli, &s, &result, url);
    return bench_exit_code(&result.bench);
}

static const struct cli_command load = {
    .name = "kvrail-load",
    .alone = true,
    .arguments = "",
    .summary = "Loads a kvrail server from a DPDK port of its own, and measures.",
    .options = options,
    .shared = bench_options,
    .details =
        "Latency counts from when a datagram is written (closed loop) or from when it was due\n"
        "(--rate: open loop, free of coordinated omission) until its answer was received. A\n"
        "datagram that is not answered within --timeout is lost and counted; it is not sent "
        "again,\n"
        "but in the warm-up, and where an op needs several: values and chains that do not fit "
        "one.\n"
        "Exit status 1 if a single byte was wrong.\n"
        "\n"
        "Examples:\n"
        "  kvrail-load --device net_memif0,role=client,socket=/run/kvrail.memif,socket-abstract=no "
        "\\\n"
        "      --ipv4 10.96.0.9 --server udp://10.96.0.1 --keys 1M --size 64 --cpus 1\n"
        "  kvrail-load ... --ops get --batch 16 --seconds 10 --json\n"
        "  kvrail-load ... --read 95 --rate 2M --arrival poisson --verify\n",
    .run = run,
};

int main(int argc, char **argv)
{
    return cli_alone(&load, argc, argv);
}
