/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail pins`: which blocks clients on the server's host hold, and since when. One thread. */
#include <stdio.h>

#include "tools/cli.h"
#include "tools/ctl.h"
#include "tools/table.h"
#include "tools/units.h"

static const struct cli_option options[] = {
    {'n', "limit", "N", "show N blocks at most; default 100"},
    {'c', "client", "ID", "only what this client holds"},
    {0}};

static void show(const json_t *result)
{
    struct table *table = table_create(">client|>pid|>bytes|>held for|state|key");
    const json_t *pins = json_object_get(result, "pins"), *row;
    size_t i;

    json_array_foreach(pins, i, row)
    {
        const char *hex = ctl_text(row, "key_hex");
        bool stored = json_is_true(json_object_get(row, "stored"));

        table_row(table, "%llu\t%llu\t%llu\t%.1f s\t%s\t%s%s",
                  (unsigned long long)ctl_number(row, "client"),
                  (unsigned long long)ctl_number(row, "pid"),
                  (unsigned long long)ctl_number(row, "bytes"),
                  (double)ctl_number(row, "held_ms") / 1e3, stored ? "stored" : "replaced or gone",
                  *hex ? "0x" : "", *hex ? hex : ctl_text(row, "key"));
    }
    table_print(table, stdout);
    table_destroy(table);
    printf("%s%llu blocks held, %s\n", json_array_size(pins) ? "\n" : "",
           (unsigned long long)ctl_number(result, "held"),
           units_bytes(ctl_number(result, "held_bytes")).s);
}

static int run(struct cli *cli, int argc, char **argv)
{
    uint64_t limit = 100, client = 0;
    json_t *request;
    int id;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        if (id == 'n' && !cli_number(cli, "limit", optarg, 0, 10000, &limit))
            return CLI_USAGE;
        if (id == 'c' && !cli_number(cli, "client", optarg, 1, (1u << 24) - 1, &client))
            return CLI_USAGE;
    }
    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many", argv[optind]);
    request = json_pack("{s:I}", "limit", (json_int_t)limit);
    if (client)
        json_object_set_new(request, "client", json_integer((json_int_t)client));
    return ctl_show(cli, "pins", request, show);
}

const struct cli_command cmd_pins = {
    .name = "pins",
    .arguments = "",
    .summary = "blocks that clients on the server's host hold, and since when",
    .options = options,
    .run = run,
};
