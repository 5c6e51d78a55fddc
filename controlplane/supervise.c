/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps a dataplane running over the arena: first start or no start at all; later a dead one is
 * started again, at once if it had served for a while, else after a pause that doubles while it
 * keeps dying. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "controlplane/kvraild.h"

#define START_MS 60000u
#define STOP_MS 5000u
#define TERM_MS 2000u
#define BACKOFF_MIN_MS 50u
#define HEALTHY_MS 10000u /* served so long: what went before is forgiven */
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
    struct local_spec clients[LOCAL_CLIENTS_MAX];
    struct child_spec spec = {.program = kvraild->program,
                              .index_fd = kvraild->arena.index_fd,
                              .data_fd = kvraild->arena.data_fd,
                              .adopt_fd = adopt_bind(kvraild),
                              .roster_fd = kvraild->clients.roster.fd,
                              .settings = settings,
                              .clients = clients,
                              .nr_clients = clients_specs(&kvraild->clients, clients),
                              .start_ms = START_MS,
                              .term_ms = TERM_MS};
    int rc;

    settings_fill(kvraild, text, settings);
    rc = child_start(&kvraild->child, &spec);
    if (spec.adopt_fd >= 0)
        close(spec.adopt_fd);
    if (rc < 0)
        log_error("dataplane %s cannot be started: %s", kvraild->program, strerror(-rc));
    return rc;
}

static void waiters_answer(struct kvraild *kvraild, const char *error)
{
    struct supervision *supervision = &kvraild->supervision;

    for (unsigned i = 0; i < supervision->nr_tokens; i++)
        if (error)
            ctl_refuse(&kvraild->ctl, supervision->tokens[i], "%s", error);
        else
            ctl_answer(&kvraild->ctl, supervision->tokens[i], restart_build(kvraild));
    supervision->nr_tokens = 0;
}

static void dataplane_ready(void *owner)
{
    struct kvraild *kvraild = owner;
    struct supervision *supervision = &kvraild->supervision;
    char urls[2][96] = {"", ""}, took[64] = "";

    status_urls(kvraild, urls);
    if (supervision->died_ns) {
        supervision->last_ms = (clock_ns() - supervision->died_ns) / NS_PER_MS;
        snprintf(took, sizeof(took), ", %llu ms after the one before",
                 (unsigned long long)supervision->last_ms);
    }
    supervision->died_ns = 0;
    supervision->was_ready = true;
    supervision->planned = supervision->cold = false;
    log_info("ready%s: %s on %s, workers %s, cache_size %s, control socket %s", took, urls[0],
             options_text(&kvraild->options, OPT_device),
             options_text(&kvraild->options, OPT_workers),
             options_text(&kvraild->options, OPT_cache_size), kvraild->socket_path);
    sd_notifyf(0, "READY=1\nSTATUS=serving %s", urls[0]);
    clients_dataplane_ready(&kvraild->clients);
    waiters_answer(kvraild, NULL);
}

static void client_gone(void *owner, uint32_t id, const char *why)
{
    struct kvraild *kvraild = owner;

    clients_gone(&kvraild->clients, id, why);
}

static void region_gone(void *owner, uint32_t id, unsigned region)
{
    struct kvraild *kvraild = owner;

    clients_region_gone(&kvraild->clients, id, region);
}

static void pool(void *owner, const struct child_pool *pool)
{
    struct kvraild *kvraild = owner;

    clients_pool(&kvraild->clients, pool);
}

/* ---- Again -------------------------------------------------------------------------------------
 */

static void restart_try(void *owner);

static void restart_after(struct kvraild *kvraild, unsigned wait_ms)
{
    struct supervision *supervision = &kvraild->supervision;

    supervision->next_ns = clock_ns() + wait_ms * NS_PER_MS;
    loop_arm(&kvraild->loop, &supervision->timer, wait_ms, restart_try, kvraild);
}

static void restart_later(struct kvraild *kvraild)
{
    struct supervision *supervision = &kvraild->supervision;
    unsigned max_ms = (unsigned)options_number(&kvraild->options, OPT_restart_pause_max);
    unsigned wait = supervision->backoff_ms < max_ms ? supervision->backoff_ms : max_ms;
    const char *what = kvraild->child.told ? "the dataplane failed" : supervision->last_exit;

    supervision->backoff_ms = wait ? wait * 2 : BACKOFF_MIN_MS;
    if (wait)
        log_error("%s; started again in %u ms", what, wait);
    else
        log_error("%s; started again", what);
    sd_notifyf(0, "STATUS=degraded: %s", supervision->last_exit);
    restart_after(kvraild, wait);
}

unsigned supervise_lately(const struct kvraild *kvraild, uint64_t *span_ns)
{
    const struct supervision *supervision = &kvraild->supervision;
    uint64_t now = clock_ns();
    unsigned n = 0;

    *span_ns = 0;
    for (unsigned i = 0; i < RESTARTS_KEPT && i < supervision->restarts; i++) {
        uint64_t age = now - supervision->recent_ns[i];

        if (age > RESTARTS_LATELY_NS)
            continue;
        n++;
        if (age > *span_ns)
            *span_ns = age;
    }
    return n;
}

/* What was changed in the sources meanwhile, as far as a new dataplane, or a new arena, can have
 * it. */
static void settings_renew(struct kvraild *kvraild, bool cold)
{
    for (unsigned id = 0; id < NR_OPTIONS; id++) {
        const struct option_value *fresh = &kvraild->config.options.values[id];
        bool of_arena = id == OPT_cache_size || id == OPT_partitions || id == OPT_blocks_max;

        if (option_table[id].live || !(option_table[id].dataplane || (cold && of_arena)) ||
            strcmp(fresh->text, kvraild->options.values[id].text) == 0)
            continue;
        if (id == OPT_workers && !cold && fresh->number > kvraild->arena.nr_cores)
            continue;
        log_info("%s: now %s", option_table[id].name, fresh->text);
        kvraild->options.values[id] = *fresh;
    }
}

static void restart_try(void *owner)
{
    struct kvraild *kvraild = owner;
    struct supervision *supervision = &kvraild->supervision;
    int rc;

    supervision->next_ns = 0;
    if (!supervision->planned)
        supervision->recent_ns[supervision->restarts++ % RESTARTS_KEPT] = clock_ns();
    settings_renew(kvraild, supervision->cold);
    if (supervision->cold && memory_renew(kvraild) < 0) {
        kvraild->exit_code = 1;
        kvraild->loop.stop = true;
        return;
    }
    rc = dataplane_start(kvraild);
    if (rc < 0) {
        snprintf(supervision->last_exit, sizeof(supervision->last_exit), "it cannot be started: %s",
                 strerror(-rc));
        restart_later(kvraild);
    }
}

static void dataplane_gone(void *owner, const char *reason)
{
    struct kvraild *kvraild = owner;
    struct supervision *supervision = &kvraild->supervision;
    const struct child *child = &kvraild->child;

    if (!supervision->died_ns)
        supervision->died_ns = clock_ns();
    clients_dataplane_gone(&kvraild->clients);
    if (kvraild->stopping) {
        kvraild->loop.stop = true;
    } else if (supervision->planned && child->was_ready) {
        log_info("the dataplane stopped; another is started");
        restart_try(kvraild);
    } else if (!supervision->was_ready) {
        snprintf(supervision->last_exit, sizeof(supervision->last_exit), "%s", reason);
        if (!child->told)
            log_error("%s", reason);
        kvraild->exit_code = 1;
        kvraild->loop.stop = true;
    } else {
        snprintf(supervision->last_exit, sizeof(supervision->last_exit), "%s", reason);
        waiters_answer(kvraild, reason);
        supervision->planned = false;
        if (child->was_ready && clock_ns() - child->ready_ns > HEALTHY_MS * NS_PER_MS)
            supervision->backoff_ms = 0;
        restart_later(kvraild);
    }
}

void supervise_kill(struct kvraild *kvraild, const char *reason)
{
    if (!kvraild->supervision.died_ns)
        kvraild->supervision.died_ns = clock_ns();
    child_kill(&kvraild->child, reason);
}

void supervise_restart(struct kvraild *kvraild, uint64_t token, bool cold)
{
    struct supervision *supervision = &kvraild->supervision;

    if (kvraild->stopping || !supervision->was_ready) {
        ctl_refuse(&kvraild->ctl, token, "kvraild is %s",
                   kvraild->stopping ? "stopping" : "starting");
        return;
    }
    if (supervision->nr_tokens == CTL_CLIENTS_MAX ||
        (cold && kvraild->child.state == CHILD_STARTING)) {
        ctl_refuse(&kvraild->ctl, token, "the dataplane is being started already; try again");
        return;
    }
    supervision->tokens[supervision->nr_tokens++] = token;
    if (cold && !supervision->cold)
        clients_drop_all(&kvraild->clients, "the cache is made new");
    supervision->cold |= cold;
    if (kvraild->child.state == CHILD_DOWN) {
        log_info("the dataplane is started again as asked for");
        restart_after(kvraild, 0);
    } else if (kvraild->child.state == CHILD_READY) {
        log_info("the dataplane is stopped to be started again%s", cold ? " over a new arena" : "");
        supervision->planned = true;
        supervision->died_ns = clock_ns();
        child_stop(&kvraild->child, STOP_MS);
    }
}

int supervise_start(struct kvraild *kvraild)
{
    child_init(&kvraild->child, &kvraild->loop, kvraild);
    kvraild->child.ready = dataplane_ready;
    kvraild->child.gone = dataplane_gone;
    kvraild->child.client_gone = client_gone;
    kvraild->child.region_gone = region_gone;
    kvraild->child.pool = pool;
    kvraild->supervision.last_ms = UINT64_MAX;
    stall_start(kvraild);
    return adopt_finish(kvraild) ? 0 : dataplane_start(kvraild);
}

void supervise_teardown(struct kvraild *kvraild)
{
    stall_stop(kvraild);
    loop_disarm(&kvraild->loop, &kvraild->supervision.timer);
    child_close(&kvraild->child);
    adopt_unbind(kvraild);
}

void supervise_stop(struct kvraild *kvraild)
{
    if (!kvraild->stopping) {
        kvraild->stopping = true;
        sd_notify(0, "STOPPING=1\nSTATUS=stopping");
        log_info("stopping");
    }
    loop_disarm(&kvraild->loop, &kvraild->supervision.timer);
    if (kvraild->child.state == CHILD_DOWN)
        kvraild->loop.stop = true;
    else
        child_stop(&kvraild->child, STOP_MS);
}
