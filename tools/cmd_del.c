/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail del`: deletes keys. One thread. */
#include "tools/cli.h"
#include "tools/each_key.h"

enum { OPT_HEX = CLI_LONG, OPT_REF };

static const struct cli_option options[] = {
    {'f', "file", "FILE", "also the keys in FILE, one a line ('-' = standard input)"},
    {OPT_HEX, "hex", NULL, "keys are given in hexadecimal"},
    {OPT_REF, "if-ref", "REF", "only if the block is this very one (see get --meta)"},
    {0}};

static int run(struct cli *cli, int argc, char **argv)
{
    struct kvr_call call = {.op = KVR_CALL_DEL};
    const char *file = NULL;
    bool hex = false;
    int id;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        if (id == 'f')
            file = optarg;
        else if (id == OPT_HEX)
            hex = true;
        else if (!cli_reference(cli, "if-ref", optarg, &call.if_ref))
            return CLI_USAGE;
    }
    return id == CLI_STOP ? cli->exit_code : each_key(cli, argv + optind, file, hex, &call);
}

const struct cli_command cmd_del = {
    .name = "del",
    .arguments = "KEY...",
    .summary = "delete keys",
    .options = options,
    .details =
        "Exit status 1 if one of the keys was not stored; the others are deleted all the same.\n"
        "With --json one line for each key.\n"
        "\nExample:\n  kvrail del greeting block-7\n",
    .run = run,
};
