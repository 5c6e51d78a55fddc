/* SPDX-License-Identifier: Apache-2.0 */
/* The `kvrail` command: its table of subcommands. */
#include "tools/cli.h"

/* `kvrail --help` lists them in this order. */
extern const struct cli_command cmd_status, cmd_errors, cmd_config, cmd_latency;
extern const struct cli_command cmd_get, cmd_put, cmd_del, cmd_touch, cmd_match;
extern const struct cli_command cmd_ping, cmd_stat, cmd_bench, cmd_replay, cmd_workload;
extern const struct cli_command cmd_client, cmd_gpu, cmd_pins, cmd_restart;

static const struct cli_command *const commands[] = {
    &cmd_status, &cmd_stat,  &cmd_latency, &cmd_errors, &cmd_config, &cmd_client,
    &cmd_pins,   &cmd_gpu,   &cmd_restart, &cmd_get,    &cmd_put,    &cmd_del,
    &cmd_touch,  &cmd_match, &cmd_ping,    &cmd_bench,  &cmd_replay, &cmd_workload,
};

int main(int argc, char **argv)
{
    return cli_main(commands, sizeof(commands) / sizeof(commands[0]), argc, argv);
}
