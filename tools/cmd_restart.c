/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail restart`: another dataplane over the same cache, or over an empty one. One thread. */
#include <stdio.h>

#include "tools/cli.h"
#include "tools/ctl.h"
#include "tools/units.h"

#define TIMEOUT_MS 70000u /* longer than kvraild gives a dataplane to start */

enum { OPT_WARM = CLI_LONG, OPT_COLD };

static const struct cli_option options[] = {
    {OPT_WARM, "warm", NULL, "keep the cache; this is the default"},
    {OPT_COLD, "cold", NULL, "over a new and empty cache, with changed cache_size and partitions"},
    {0}};

static void show(const json_t *result)
{
    const json_t *recovery = json_object_get(result, "recovery");

    printf("restarted in %llu ms, dataplane %llu", (unsigned long long)ctl_number(result, "ms"),
           (unsigned long long)ctl_number(result, "pid"));
    if (json_is_object(recovery))
        printf("; kept %llu blocks, %s", (unsigned long long)ctl_number(recovery, "kept"),
               units_bytes(ctl_number(recovery, "kept_bytes")).s);
    putchar('\n');
}

static int run(struct cli *cli, int argc, char **argv)
{
    bool warm = false, cold = false;
    json_t *result = NULL;
    int id, code;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        warm |= id == OPT_WARM;
        cold |= id == OPT_COLD;
    }
    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many", argv[optind]);
    if (warm && cold)
        return cli_usage(cli, "either --warm or --cold");
    if (!cli->timeout_ms)
        cli->timeout_ms = TIMEOUT_MS;
    code = ctl_ask(cli, "restart", json_pack("{s:b}", "cold", cold), &result);
    if (code != CLI_OK)
        return code;
    if (cli->json)
        cli_print_json(json_incref(result));
    else if (!cli->quiet)
        show(result);
    json_decref(result);
    return CLI_OK;
}

const struct cli_command cmd_restart = {
    .name = "restart",
    .arguments = "",
    .summary = "another dataplane over the same cache",
    .options = options,
    .details =
        "The dataplane finishes what it has begun and ends; the next one takes over the cache,\n"
        "with the settings that were changed since. Returns when it serves. One that is down\n"
        "and waits to be started again is started at once. Clients wait for it within their\n"
        "deadlines. With --cold all clients on this host must attach again, which they do.\n",
    .run = run,
};
