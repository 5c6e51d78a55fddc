/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail config`: the settings of a running kvraild, and of none: check FILE and keys need no
 * server. One thread. */
#include <stdio.h>
#include <string.h>

#include "controlplane/options.h"
#include "tools/cli.h"
#include "tools/ctl.h"
#include "tools/table.h"

static int ask(const struct cli *cli, json_t **config)
{
    return ctl_ask(cli, "config", NULL, config);
}

static int list(const struct cli *cli, int argc, char **argv)
{
    struct table *table;
    json_t *config = NULL;
    const json_t *row;
    int code = ask(cli, &config);
    size_t i;

    (void)argc, (void)argv;
    if (code != CLI_OK)
        return code;
    if (cli->json) {
        cli_print_json(config);
        return CLI_OK;
    }
    table = table_create("key|value|from|default|live");
    json_array_foreach(json_object_get(config, "options"), i, row)
        table_row(table, "%s\t%s\t%s\t%s\t%s", ctl_text(row, "key"), ctl_text(row, "value"),
                  ctl_text(row, "source"), ctl_text(row, "default"),
                  json_is_true(json_object_get(row, "live")) ? "live" : "");
    table_print(table, stdout);
    table_destroy(table);
    if (*ctl_text(config, "file") && !cli->quiet)
        printf("\nfile: %s\n", ctl_text(config, "file"));
    json_decref(config);
    return CLI_OK;
}

static int unknown_key(const struct cli *cli, const char *key)
{
    const char *near = option_nearest(key);

    if (near)
        return cli_usage(cli, "no key '%s'; did you mean %s?", key, near);
    return cli_usage(cli, "no key '%s'; 'kvrail config keys' lists them", key);
}

static int get(const struct cli *cli, int argc, char **argv)
{
    const struct option_row *option = option_find(argv[0]);
    json_t *config = NULL;
    const json_t *row;
    size_t i;
    int code;

    (void)argc;
    if (!option)
        return unknown_key(cli, argv[0]);
    code = ask(cli, &config);
    if (code != CLI_OK)
        return code;
    json_array_foreach(json_object_get(config, "options"), i, row)
    {
        if (strcmp(ctl_text(row, "key"), option->name) != 0)
            continue;
        if (cli->json)
            cli_print_json(json_deep_copy(row));
        else
            puts(ctl_text(row, "value"));
    }
    json_decref(config);
    return CLI_OK;
}

static int set(const struct cli *cli, int argc, char **argv)
{
    json_t *row = NULL;
    int code =
        ctl_ask(cli, "config-set", json_pack("{s:s, s:s}", "key", argv[0], "value", argv[1]), &row);

    (void)argc;
    if (code != CLI_OK)
        return code;
    if (cli->json)
        cli_print_json(json_incref(row));
    else if (!cli->quiet)
        printf("%s: now %s (until kvraild restarts)\n", ctl_text(row, "key"),
               ctl_text(row, "value"));
    json_decref(row);
    return CLI_OK;
}

static int check(const struct cli *cli, int argc, char **argv)
{
    struct options options;
    struct faults faults = {0};
    json_t *lines = json_array();
    int code = CLI_OK;

    (void)argc;
    options_defaults(&options);
    if (options_read_file(argv[0], &options, &faults) == 0)
        options_check(&options, &faults);
    for (unsigned i = 0; i < faults.count; i++) {
        if (!cli->json)
            fprintf(stderr, "kvrail config: %s\n", faults.lines[i]);
        json_array_append_new(lines, json_string(faults.lines[i]));
        code = CLI_ERROR;
    }
    faults_free(&faults);
    if (cli->json)
        cli_print_json(
            json_pack("{s:s, s:b, s:O}", "file", argv[0], "ok", code == CLI_OK, "faults", lines));
    else if (code == CLI_OK && !cli->quiet)
        printf("%s: ok\n", argv[0]);
    json_decref(lines);
    return code;
}

static json_t *key_build(const struct option_row *option, const char *allowed)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:s}", "key", option->name, "type",
                     option_type_name(option->type), "allowed", allowed, "default", option->init,
                     "live", option->live, "group", option->group, "help", option->help);
}

static int keys(const struct cli *cli, int argc, char **argv)
{
    struct table *table = table_create("key|type|default|live|allowed");
    json_t *array = json_array();
    char allowed[256];

    (void)argc, (void)argv;
    for (unsigned id = 0; id < NR_OPTIONS; id++) {
        const struct option_row *option = &option_table[id];

        option_allowed(option, allowed, sizeof(allowed));
        json_array_append_new(array, key_build(option, allowed));
        table_row(table, "%s\t%s\t%s\t%s\t%s", option->name, option_type_name(option->type),
                  option->init, option->live ? "live" : "", allowed);
    }
    if (cli->json)
        cli_print_json(json_pack("{s:O}", "keys", array));
    else
        table_print(table, stdout);
    json_decref(array);
    table_destroy(table);
    return CLI_OK;
}

static const struct action {
    const char *name;
    int nr_arguments;
    int (*run)(const struct cli *cli, int argc, char **argv);
} actions[] = {
    {"list", 0, list}, {"get", 1, get}, {"set", 2, set}, {"check", 1, check}, {"keys", 0, keys}};

static int run(struct cli *cli, int argc, char **argv)
{
    int id = cli_getopt(cli, argc, argv);
    const char *name;

    if (id == CLI_STOP)
        return cli->exit_code;
    argc -= optind;
    argv += optind;
    name = argc > 0 ? argv[0] : "list";
    for (unsigned i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(actions[i].name, name) != 0)
            continue;
        if (argc > 0 && argc - 1 != actions[i].nr_arguments)
            return cli_usage(cli, "%s takes %d arguments, not %d", name, actions[i].nr_arguments,
                             argc - 1);
        return actions[i].run(cli, argc - 1, argv + 1);
    }
    return cli_usage(cli, "'%s' is none of list, get, set, check, keys", name);
}

const struct cli_command cmd_config = {
    .name = "config",
    .arguments = "[list | get KEY | set KEY VALUE | check FILE | keys]",
    .summary = "see, change and check settings",
    .details = "  list            settings of the running kvraild, and where each comes from\n"
               "  get KEY         one value\n"
               "  set KEY VALUE   change a live setting until kvraild restarts\n"
               "  check FILE      find what is wrong in a configuration file; needs no kvraild\n"
               "  keys            all settings with range and default; needs no kvraild\n",
    .run = run,
};
