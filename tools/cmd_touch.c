/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail touch`: marks keys as used and sets their time to live. One thread. */
#include "base/clock.h"
#include "tools/cli.h"
#include "tools/each_key.h"

enum { OPT_HEX = CLI_LONG, OPT_TTL };

static const struct cli_option options[] = {
    {'f', "file", "FILE", "also the keys in FILE, one a line ('-' = standard input)"},
    {OPT_HEX, "hex", NULL, "keys are given in hexadecimal"},
    {OPT_TTL, "ttl", "TIME", "new time to live from now: 10s, 5m, 1h; default: none"},
    {0}};

static int run(struct cli *cli, int argc, char **argv)
{
    struct kvr_call call = {.op = KVR_CALL_TOUCH};
    const char *file = NULL;
    bool hex = false;
    uint64_t ns = 0;
    int id;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        if (id == 'f')
            file = optarg;
        else if (id == OPT_HEX)
            hex = true;
        else if (!cli_duration(cli, "ttl", optarg, 0, NS_PER_MS, KVR_TTL_MAX_MS * NS_PER_MS, &ns))
            return CLI_USAGE;
    }
    call.ttl_ms = (uint32_t)(ns / NS_PER_MS);
    return id == CLI_STOP ? cli->exit_code : each_key(cli, argv + optind, file, hex, &call);
}

const struct cli_command cmd_touch = {
    .name = "touch",
    .arguments = "KEY...",
    .summary = "mark keys as used and set their time to live",
    .options = options,
    .details =
        "Without --ttl the keys no longer expire. Exit status 1 if one of them is not stored.\n"
        "\nExample:\n  kvrail touch --ttl 1h greeting\n",
    .run = run,
};
