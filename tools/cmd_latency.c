/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail latency`: how long the server took for each operation. One thread. */
#include <stdio.h>

#include "tools/cli.h"
#include "tools/ctl.h"
#include "tools/table.h"
#include "tools/units.h"

static void show(const json_t *ops)
{
    struct table *table = table_create("op|>count|>mean|>p50|>p95|>p99|>p99.9|>max");
    const json_t *row;
    size_t i;

    json_array_foreach(ops, i, row) table_row(
        table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", ctl_text(row, "op"),
        units_count(ctl_real(row, "count")).s, units_duration(ctl_number(row, "mean_ns")).s,
        units_duration(ctl_number(row, "p50_ns")).s, units_duration(ctl_number(row, "p95_ns")).s,
        units_duration(ctl_number(row, "p99_ns")).s, units_duration(ctl_number(row, "p999_ns")).s,
        units_duration(ctl_number(row, "max_ns")).s);
    if (json_array_size(ops))
        table_print(table, stdout);
    else
        puts("no operation was answered yet");
    table_destroy(table);
}

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *latency = NULL;
    int id = cli_getopt(cli, argc, argv), code;

    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many", argv[optind]);
    code = ctl_ask(cli, "latency", NULL, &latency);
    if (code != CLI_OK)
        return code;
    if (cli->json)
        cli_print_json(json_incref(latency));
    else
        show(json_object_get(latency, "ops"));
    json_decref(latency);
    return CLI_OK;
}

const struct cli_command cmd_latency = {
    .name = "latency",
    .arguments = "",
    .summary = "how long the server takes, by operation",
    .details = "From the arrival of the burst that held the request to its reply, all poll cores\n"
               "together, since the start of the dataplane.\n",
    .run = run,
};
