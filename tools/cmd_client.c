/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail client list` and `kvrail client drop ID`: who has the cache mapped on the server's host.
 * One thread. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/cli.h"
#include "tools/ctl.h"
#include "tools/table.h"
#include "tools/units.h"

static const struct cli_option options[] = {{0}};

static void show_rows(const json_t *clients)
{
    struct table *table = table_create(
        ">id|>pid|>uid|program|name|since|rights|>held|>held bytes|>hits|>misses|>puts|>regions|"
        ">region bytes");
    const json_t *row;
    size_t i;

    json_array_foreach(clients, i, row)
    {
        time_t since = (time_t)(ctl_number(row, "since_ms") / 1000);
        const char *rights = json_is_true(json_object_get(row, "may_write")) ? "write" : "read";
        char when[32];
        struct tm tm;

        localtime_r(&since, &tm);
        strftime(when, sizeof(when), "%F %T", &tm);
        table_row(table, "%llu\t%llu\t%llu\t%s\t%s\t%s\t%s%s\t%llu\t%s\t%llu\t%llu\t%llu\t%llu\t%s",
                  (unsigned long long)ctl_number(row, "id"),
                  (unsigned long long)ctl_number(row, "pid"),
                  (unsigned long long)ctl_number(row, "uid"), ctl_text(row, "program"),
                  ctl_text(row, "name"), when, rights,
                  strcmp(ctl_text(row, "state"), "leaving") == 0 ? ", leaving" : "",
                  (unsigned long long)ctl_number(row, "held"),
                  units_bytes(ctl_number(row, "held_bytes")).s,
                  (unsigned long long)ctl_number(row, "hits"),
                  (unsigned long long)ctl_number(row, "misses"),
                  (unsigned long long)ctl_number(row, "puts"),
                  (unsigned long long)ctl_number(row, "regions"),
                  units_bytes(ctl_number(row, "region_bytes")).s);
    }
    table_print(table, stdout);
    table_destroy(table);
}

static void show(const json_t *result)
{
    const json_t *clients = json_object_get(result, "clients");

    if (json_array_size(clients) == 0)
        puts("no clients on this host");
    else
        show_rows(clients);
}

static int drop(struct cli *cli, const char *text)
{
    json_t *result = NULL;
    uint64_t id;
    int code;

    if (!cli_number(cli, "ID", text, 1, (1u << 24) - 1, &id))
        return CLI_USAGE;
    code = ctl_ask(cli, "client-drop", json_pack("{s:I}", "client", (json_int_t)id), &result);
    if (code != CLI_OK)
        return code;
    if (cli->json)
        cli_print_json(json_incref(result));
    else if (!cli->quiet)
        printf("client %llu is being dropped\n", (unsigned long long)id);
    json_decref(result);
    return CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    int code = cli_no_options(cli, argc, argv);

    if (code >= 0)
        return code;
    if (cli_verb(argc, argv, "list", 0))
        return ctl_show(cli, "client-list", NULL, show);
    if (cli_verb(argc, argv, "drop", 1))
        return drop(cli, argv[optind + 1]);
    return cli_usage(cli, "say 'list', or 'drop' and the number of a client");
}

const struct cli_command cmd_client = {
    .name = "client",
    .arguments = "list | drop ID",
    .summary = "clients on the server's host that have the cache mapped",
    .options = options,
    .run = run,
};
