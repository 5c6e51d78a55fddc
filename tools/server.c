/* SPDX-License-Identifier: Apache-2.0 */
/* Where the server and the control socket are, and the way to the server. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"

#define DEFAULT_SERVER "udp://10.96.0.1:9690"
#define DEFAULT_CONTROL "/run/kvrail/control.sock"

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

const char *cli_control(const struct cli *cli)
{
    const char *path = cli->control ? cli->control : from_environment("KVRAIL_CONTROL");

    return path ? path : DEFAULT_CONTROL;
}

const char *cli_server(const struct cli *cli, char *url, size_t size)
{
    const char *given = cli->server ? cli->server : from_environment("KVRAIL_SERVER");

    snprintf(url, size, "%s", given ? given : DEFAULT_SERVER);
    return url;
}

int cli_open(const struct cli *cli, const struct kvr_options *options, struct kvr_client **client)
{
    struct kvr_options mine;
    enum kvr_status status;
    char url[512];

    if (options)
        mine = *options;
    else
        kvr_options_init(&mine);
    mine.priority = cli->priority;
    if (cli->timeout_ms) {
        mine.timeout_ms = cli->timeout_ms;
        mine.connect_ms = cli->timeout_ms;
    }
    cli_server(cli, url, sizeof(url));
    status = kvr_open(url, &mine, client);
    return status == KVR_OK ? CLI_OK : cli_fail(cli, status, "%s", url);
}
