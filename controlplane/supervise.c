/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps a dataplane running over the arena: first start or no start at all; later a dead one is
 * started again, after a pause that doubles while it keeps dying. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/log.h"
#include "controlplane/kvraild.h"

#define START_MS 60000u
#define STOP_MS 5000u
#define TERM_MS 2000u
#define BACKOFF_MIN_MS 50u
#define BACKOFF_MAX_MS 30000u
#define HEALTHY_MS 60000u /* up so long: what went before is forgiven */
#define SETTING_MAX (OPTION_TEXT_MAX + 40u)

static uint64_t number_in(const char *path)
{
    FILE *file = fopen(path, "re");
    unsigned long long n = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%llu", &n) != 1)
        n = 0;
    fclose(file);
    return n;
}

/* The arena has taken its pages by now; are there enough left for packets? */
static bool packets_use_hugepages(const struct kvraild *kvraild)
{
    static const char dir[] = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    const char *wish = options_text(&kvraild->options, OPT_hugepages);
    uint64_t left;
    char path[128];

    if (strcmp(wish, "off") == 0)
        return false;
    if (strcmp(wish, "require") == 0)
        return true;
    snprintf(path, sizeof(path), "%s/free_hugepages", dir);
    left = number_in(path);
    snprintf(path, sizeof(path), "%s/resv_hugepages", dir);
    left -= number_in(path);
    return (int64_t)left > 0 && left * 2 >= options_number(&kvraild->options, OPT_packet_memory);
}

/* "KEY=VALUE" for every setting that the dataplane has; text keeps the strings. */
static void settings_fill(const struct kvraild *kvraild, char text[NR_OPTIONS][SETTING_MAX],
                          char *settings[NR_OPTIONS + 1])
{
    char value[OPTION_TEXT_MAX];
    unsigned n = 0;

    for (unsigned id = 0; id < NR_OPTIONS; id++) {
        const struct option_row *option = &option_table[id];

        if (!option->dataplane)
            continue;
        option_wire(option, &kvraild->options.values[id], value, sizeof(value));
        if (id == OPT_hugepages)
            snprintf(value, sizeof(value), "%d", packets_use_hugepages(kvraild));
        snprintf(text[n], SETTING_MAX, "%s=%s", option->name, value);
        settings[n] = text[n];
        n++;
    }
    settings[n] = NULL;
}

static int dataplane_start(struct kvraild *kvraild)
{
    char text[NR_OPTIONS][SETTING_MAX];
    char *settings[NR_OPTIONS + 1];
    struct child_spec spec = {.program = kvraild->program,
                              .index_fd = kvraild->arena.index_fd,
                              .data_fd = kvraild->arena.data_fd,
                              .settings = settings,
                              .start_ms = START_MS,
                              .term_ms = TERM_MS};
    int rc;

    settings_fill(kvraild, text, settings);
    rc = child_start(&kvraild->child, &spec);
    if (rc < 0)
        log_error("dataplane %s cannot be started: %s", kvraild->program, strerror(-rc));
    return rc;
}

static void dataplane_ready(void *owner)
{
    struct kvraild *kvraild = owner;
    char urls[2][96] = {"", ""};

    status_urls(kvraild, urls);
    kvraild->was_ready = true;
    log_info("ready: %s on %s, workers %s, cache_size %s, control socket %s", urls[0],
             options_text(&kvraild->options, OPT_device),
             options_text(&kvraild->options, OPT_workers),
             options_text(&kvraild->options, OPT_cache_size), kvraild->socket_path);
    sd_notifyf(0, "READY=1\nSTATUS=serving %s", urls[0]);
}

static void restart_try(void *owner);

static void restart_later(struct kvraild *kvraild)
{
    unsigned wait = kvraild->backoff_ms ? kvraild->backoff_ms : BACKOFF_MIN_MS;

    kvraild->backoff_ms = wait * 2 < BACKOFF_MAX_MS ? wait * 2 : BACKOFF_MAX_MS;
    log_error("%s; started again in %u ms",
              kvraild->child.told ? "the dataplane failed" : kvraild->last_exit, wait);
    sd_notifyf(0, "STATUS=degraded: %s", kvraild->last_exit);
    loop_arm(&kvraild->loop, &kvraild->restart, wait, restart_try, kvraild);
}

static void restart_try(void *owner)
{
    struct kvraild *kvraild = owner;
    int rc;

    kvraild->restarts++;
    rc = dataplane_start(kvraild);
    if (rc < 0) {
        snprintf(kvraild->last_exit, sizeof(kvraild->last_exit), "it cannot be started: %s",
                 strerror(-rc));
        restart_later(kvraild);
    }
}

static void dataplane_gone(void *owner, const char *reason)
{
    struct kvraild *kvraild = owner;

    snprintf(kvraild->last_exit, sizeof(kvraild->last_exit), "%s", reason);
    if (kvraild->stopping) {
        kvraild->loop.stop = true;
    } else if (!kvraild->was_ready) {
        if (!kvraild->child.told)
            log_error("%s", reason);
        kvraild->exit_code = 1;
        kvraild->loop.stop = true;
    } else {
        if (clock_ns() - kvraild->child.started_ns > HEALTHY_MS * NS_PER_MS)
            kvraild->backoff_ms = 0;
        restart_later(kvraild);
    }
}

int supervise_start(struct kvraild *kvraild)
{
    child_init(&kvraild->child, &kvraild->loop, kvraild);
    kvraild->child.ready = dataplane_ready;
    kvraild->child.gone = dataplane_gone;
    return dataplane_start(kvraild);
}

void supervise_teardown(struct kvraild *kvraild)
{
    loop_disarm(&kvraild->loop, &kvraild->restart);
    child_close(&kvraild->child);
}

void supervise_stop(struct kvraild *kvraild)
{
    if (!kvraild->stopping) {
        kvraild->stopping = true;
        sd_notify(0, "STOPPING=1\nSTATUS=stopping");
        log_info("stopping");
    }
    loop_disarm(&kvraild->loop, &kvraild->restart);
    if (kvraild->child.state == CHILD_DOWN)
        kvraild->loop.stop = true;
    else
        child_stop(&kvraild->child, STOP_MS);
}
