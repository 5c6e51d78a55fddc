/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct child engine_child;
char engine_url[128], engine_path[100];

void engine_start(char *partitions, char *size, char *port)
{
    char *argv[11] = {
        getenv("KVRAIL_SOCKSERVER"), "--partitions", partitions, "--size", size, "--port", port};
    const char *over = getenv("KVRAIL_OVER");

    if (!argv[0])
        cr_skip("sockserver is not built");
    if (over) {
        snprintf(engine_path, sizeof(engine_path), "/tmp/kvrail-server-%d.sock", (int)getpid());
        argv[7] = "--local";
        argv[8] = engine_path;
        argv[9] = strcmp(over, "staged") == 0 ? "--local-read-only" : NULL;
    }
    cr_assert_eq(child_start(&engine_child, argv), 0);
}

void engine_stop(void)
{
    if (engine_child.pid > 0)
        cr_assert_eq(child_stop(&engine_child, 0), 0, "the server's audit");
}

struct kvr_client *engine_open(const char *host)
{
    struct kvr_client *client = NULL;
    struct kvr_options options;

    kvr_options_init(&options);
    options.timeout_ms = options.connect_ms = ENGINE_TIMEOUT_MS;
    if (engine_path[0])
        snprintf(engine_url, sizeof(engine_url), "shm://%s", engine_path);
    else
        snprintf(engine_url, sizeof(engine_url), "udp://%s:%u", host, engine_child.port);
    cr_assert_eq(kvr_open(engine_url, &options, &client), KVR_OK);
    return client;
}
