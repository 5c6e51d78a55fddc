/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail status`: is all well, and what is there. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/ctl.h"
#include "tools/units.h"

#define BAR_WIDTH 24u

static struct units_text uptime(uint64_t ms)
{
    unsigned long long s = ms / 1000;
    struct units_text t;

    if (s >= 86400)
        snprintf(t.s, sizeof(t.s), "%llu d %llu h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        snprintf(t.s, sizeof(t.s), "%llu h %llu min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(t.s, sizeof(t.s), "%llu min %llu s", s / 60, s % 60);
    else
        snprintf(t.s, sizeof(t.s), "%llu s", s);
    return t;
}

static bool colours(void)
{
    return isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
}

static void show_state(const json_t *status)
{
    const char *state = ctl_text(status, "state");
    const char *colour = strcmp(state, "ok") == 0         ? "\033[1;32m"
                         : strcmp(state, "degraded") == 0 ? "\033[1;31m"
                                                          : "\033[1;33m";
    const json_t *dataplane = json_object_get(status, "dataplane");

    printf("kvrail %s  %s%s%s  up %s  pid %llu", ctl_text(status, "version"),
           colours() ? colour : "", state, colours() ? "\033[0m" : "",
           uptime(ctl_number(status, "uptime_ms")).s,
           (unsigned long long)ctl_number(status, "pid"));
    if (ctl_number(dataplane, "pid"))
        printf(", dataplane %llu", (unsigned long long)ctl_number(dataplane, "pid"));
    if (ctl_number(dataplane, "restarts"))
        printf(", restarted %llu times", (unsigned long long)ctl_number(dataplane, "restarts"));
    if (json_is_integer(json_object_get(dataplane, "last_restart_ms")))
        printf(", the last time in %llu ms",
               (unsigned long long)ctl_number(dataplane, "last_restart_ms"));
    putchar('\n');
}

/* What the dataplane found in the arena when it started; nothing of a new arena. */
static void show_recovery(const json_t *recovery)
{
    unsigned long long unsealed = ctl_number(recovery, "dropped_unsealed");
    unsigned long long damaged = ctl_number(recovery, "dropped_damaged");
    unsigned long long expired = ctl_number(recovery, "dropped_expired");

    if (ctl_number(recovery, "kept") + unsealed + damaged + expired == 0)
        return;
    printf("  %-9s kept %s blocks, %s; dropped %llu unfinished, %llu damaged, %llu expired\n",
           "recovered", units_count(ctl_real(recovery, "kept")).s,
           units_bytes(ctl_number(recovery, "kept_bytes")).s, unsealed, damaged, expired);
}

static void show_local(const json_t *local)
{
    printf("  %-9s %llu clients on this host, which hold %s blocks, %s", "local",
           (unsigned long long)ctl_number(local, "clients"),
           units_count(ctl_real(local, "held_blocks")).s,
           units_bytes(ctl_number(local, "held_bytes")).s);
    if (ctl_number(local, "scans"))
        printf("; a scan for them takes %.1f us", ctl_real(local, "scan_us"));
    putchar('\n');
}

static void show_gpu(const json_t *gpu)
{
    uint64_t nr = ctl_number(gpu, "devices");

    if (nr == 0)
        printf("  %-9s none (gpu: %s): no regions of clients are served\n", "devices",
               ctl_text(gpu, "setting"));
    else
        printf("  %-9s %llu of %llu %s devices up\n", "devices",
               (unsigned long long)ctl_number(gpu, "up"), (unsigned long long)nr,
               ctl_text(gpu, "backend"));
}

static void show_texts(const char *label, const json_t *array)
{
    const json_t *text;
    size_t i;

    json_array_foreach(array, i, text) printf("  %-9s %s\n", label, json_string_value(text));
}

static void show_device(const json_t *device)
{
    printf("  %-9s %s", "device", ctl_text(device, "name"));
    if (*ctl_text(device, "mac"))
        printf("  mac %s", ctl_text(device, "mac"));
    if (ctl_number(device, "mtu"))
        printf("  mtu %llu", (unsigned long long)ctl_number(device, "mtu"));
    if (*ctl_text(device, "cpus"))
        printf("  CPUs %s", ctl_text(device, "cpus"));
    putchar('\n');
}

static void show_memory(const json_t *arena)
{
    uint64_t used = ctl_number(arena, "used_bytes"), all = ctl_number(arena, "data_bytes");
    double share = all ? (double)used / (double)all : 0;
    char bar[BAR_WIDTH + 1];

    for (unsigned i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < share * BAR_WIDTH ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    printf("  %-9s %s %.1f %%  %s of %s, index %s, %s\n", "memory", bar, 100 * share,
           units_bytes(used).s, units_bytes(all).s, units_bytes(ctl_number(arena, "index_bytes")).s,
           json_is_true(json_object_get(arena, "hugepages")) ? "huge pages" : "ordinary pages");
}

static void show_traffic(const json_t *traffic)
{
    const json_t *ratio = json_object_get(traffic, "hit_ratio");

    printf("  %-9s %s blocks, %s of values; %s evicted, %s expired\n", "stored",
           units_count(ctl_real(traffic, "items")).s,
           units_bytes(ctl_number(traffic, "value_bytes")).s,
           units_count(ctl_real(traffic, "evictions")).s,
           units_count(ctl_real(traffic, "expired")).s);
    if (json_is_real(ratio))
        printf("  %-9s %.1f %%  (%s hits, %s misses)\n", "hit ratio", 100 * json_real_value(ratio),
               units_count(ctl_real(traffic, "hits")).s,
               units_count(ctl_real(traffic, "misses")).s);
    else
        printf("  %-9s nothing was asked for yet\n", "hit ratio");
    printf("  %-9s %s get/s, %s put/s; %s in, %s out\n", "now",
           units_count(ctl_real(traffic, "gets_s")).s, units_count(ctl_real(traffic, "puts_s")).s,
           units_rate(ctl_real(traffic, "rx_bytes_s")).s,
           units_rate(ctl_real(traffic, "tx_bytes_s")).s);
}

static void show_cores(const json_t *cores)
{
    const json_t *core;
    size_t i;

    json_array_foreach(cores, i, core) printf(
        "  core %-4zu %.1f %% busy, last turn %llu ms ago\n", i, 100 * ctl_real(core, "busy"),
        (unsigned long long)ctl_number(core, "heartbeat_age_ms"));
}

static void show_status(const json_t *status)
{
    show_state(status);
    show_texts("problem", json_object_get(status, "reasons"));
    show_texts("address", json_object_get(status, "urls"));
    show_device(json_object_get(status, "device"));
    show_memory(json_object_get(status, "arena"));
    show_traffic(json_object_get(status, "traffic"));
    show_local(json_object_get(status, "local"));
    show_gpu(json_object_get(status, "gpu"));
    show_cores(json_object_get(status, "cores"));
    show_recovery(json_object_get(json_object_get(status, "dataplane"), "recovery"));
    show_texts("note", json_object_get(status, "notes"));
}

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *status = NULL;
    int id = cli_getopt(cli, argc, argv), code;

    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many", argv[optind]);
    code = ctl_ask(cli, "status", NULL, &status);
    if (code != CLI_OK)
        return code;
    code = strcmp(ctl_text(status, "state"), "ok") == 0 ? CLI_OK : CLI_DEGRADED;
    if (cli->json)
        cli_print_json(json_incref(status));
    else if (cli->quiet)
        puts(ctl_text(status, "state"));
    else
        show_status(status);
    json_decref(status);
    return code;
}

const struct cli_command cmd_status = {
    .name = "status",
    .arguments = "",
    .summary = "is all well, and what is there",
    .details = "Exit status 3 if kvrail is degraded, starting or stopping; the reasons are shown.\n"
               "With --quiet only the state: ok, degraded, starting or stopping.\n",
    .run = run,
};
