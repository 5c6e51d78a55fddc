/* SPDX-License-Identifier: Apache-2.0 */
/* Where the server and the control socket are, and the way to the server. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/options.h"
#include "tools/cli.h"
#include "tools/ctl.h"

#define DEFAULT_SERVER "udp://10.96.0.1:9690"
#define SYSTEM_CONTROL "/run/kvrail.sock"
#define ASK_MS 500u

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

const char *cli_control(const struct cli *cli)
{
    const char *path = cli->control ? cli->control : from_environment("KVRAIL_CONTROL");
    static char built_in[256];

    if (path)
        return path;
    control_socket_default(built_in, sizeof(built_in));
    /* Without a kvraild of one's own, that of the system. */
    if (access(built_in, F_OK) < 0 && access(SYSTEM_CONTROL, F_OK) == 0)
        return SYSTEM_CONTROL;
    return built_in;
}

/* What kvraild on this host says its address is; false if there is none. */
static bool ask_kvraild(const struct cli *cli, char *url, size_t size)
{
    json_t *request = json_pack("{s:s}", "command", "status"), *answer = NULL;
    const json_t *urls;
    const char *first;

    if (ctl_exchange(cli_control(cli), ASK_MS, request, &answer) < 0)
        return false;
    urls = json_object_get(json_object_get(answer, "result"), "urls");
    first = json_string_value(json_array_get(urls, 0));
    if (first)
        snprintf(url, size, "%s", first);
    json_decref(answer);
    return first != NULL;
}

const char *cli_server(const struct cli *cli, char *url, size_t size)
{
    const char *given = cli->server ? cli->server : from_environment("KVRAIL_SERVER");

    if (given || !ask_kvraild(cli, url, size))
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
