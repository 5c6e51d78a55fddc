/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail errors`: what was dropped or refused, how often, and the last of it. One thread. */
#include <stdio.h>
#include <time.h>

#include "tools/cli.h"
#include "tools/ctl.h"
#include "tools/table.h"

static const struct cli_option options[] = {
    {'n', "last", "N", "show the last N errors; default 20"},
    {'a', "all", NULL, "show the counters that are 0 as well"},
    {0}};

static void show_counters(const json_t *errors, bool all)
{
    struct table *table = table_create("reason|>count|what it means");
    const json_t *row;
    size_t i;

    json_array_foreach(json_object_get(errors, "counters"), i,
                       row) if (all || ctl_number(row, "count"))
        table_row(table, "%s\t%llu\t%s", ctl_text(row, "reason"),
                  (unsigned long long)ctl_number(row, "count"), ctl_text(row, "help"));
    table_print(table, stdout);
    table_destroy(table);
}

static void show_last(const json_t *last)
{
    struct table *table = table_create("time|reason|from|op|>bytes|>core");
    const json_t *row;
    size_t i;

    json_array_foreach(last, i, row)
    {
        uint64_t ms = ctl_number(row, "time_ms");
        time_t at = (time_t)(ms / 1000);
        struct tm tm;
        char text[32];

        localtime_r(&at, &tm);
        strftime(text, sizeof(text), "%F %T", &tm);
        table_row(table, "%s.%03u\t%s\t%s\t%s\t%llu\t%llu", text, (unsigned)(ms % 1000),
                  ctl_text(row, "reason"), ctl_text(row, "source"), ctl_text(row, "op"),
                  (unsigned long long)ctl_number(row, "bytes"),
                  (unsigned long long)ctl_number(row, "core"));
    }
    table_print(table, stdout);
    table_destroy(table);
}

static void show(const json_t *errors, bool all)
{
    const json_t *last = json_object_get(errors, "last");

    if (ctl_number(errors, "total") == 0 && !all) {
        puts("no errors");
        return;
    }
    show_counters(errors, all);
    if (json_array_size(last)) {
        putchar('\n');
        show_last(last);
    }
}

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *errors = NULL;
    uint64_t last = 20;
    bool all = false;
    int id, code;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        if (id == 'n' && !cli_number(cli, "last", optarg, 0, 100000, &last))
            return CLI_USAGE;
        all = all || id == 'a';
    }
    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many", argv[optind]);
    code = ctl_ask(cli, "errors", json_pack("{s:I}", "last", (json_int_t)last), &errors);
    if (code != CLI_OK)
        return code;
    if (cli->json)
        cli_print_json(json_incref(errors));
    else
        show(errors, all);
    json_decref(errors);
    return CLI_OK;
}

const struct cli_command cmd_errors = {
    .name = "errors",
    .arguments = "",
    .summary = "what was dropped or refused, and why",
    .options = options,
    .run = run,
};
