/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon: its parts, in the order in which boot.c starts them. One thread. */
#pragma once

#include <limits.h>

#include "controlplane/child.h"
#include "controlplane/config.h"
#include "controlplane/ctl.h"
#include "controlplane/loop.h"
#include "controlplane/rates.h"
#include "shm/arena.h"

struct kvraild {
    int argc;
    char *const *argv;
    struct config config;   /* as the sources said at the start or the last SIGHUP */
    struct options options; /* in force: config and what was changed live */
    uint64_t started_ns;

    struct loop loop;
    int signal_fd;
    char socket_path[OPTION_TEXT_MAX];
    struct ctl ctl;
    struct arena arena;        /* sb NULL: not yet */
    char note[CHILD_LINE_MAX]; /* what kvraild itself does without; empty: nothing */
    char pid_file[OPTION_TEXT_MAX];
    char program[PATH_MAX]; /* the dataplane's */
    struct child child;
    struct rates rates;

    bool stopping;
    int exit_code;
    bool was_ready; /* the dataplane was, at least once */
    unsigned restarts;
    unsigned backoff_ms;
    struct timer restart;
    char last_exit[CHILD_LINE_MAX]; /* why the last dataplane ended; empty: none did */
};

/* boot.c: starts everything, runs until told to stop, stops everything. The exit code. */
int boot_run(struct kvraild *kvraild);

/* supervise.c: keeps a dataplane running over the arena. */
[[nodiscard]] int supervise_start(struct kvraild *kvraild);
void supervise_teardown(struct kvraild *kvraild);
/* Stops the dataplane, then the loop. Called again, less patiently. */
void supervise_stop(struct kvraild *kvraild);

/* live.c: changes of settings while running. done may be NULL; it is called with NULL when the
 * value is in force, else with the reason why not. Any change is logged. */
void live_set(struct kvraild *kvraild, enum option_id id, const struct option_value *value,
              void (*done)(struct kvraild *kvraild, uint64_t token, enum option_id id,
                           const char *error),
              uint64_t token);
/* SIGHUP: reads the sources again and applies what may be changed and was. */
void live_reload(struct kvraild *kvraild);

/* commands.c: answers one request of the control socket. owner: struct kvraild. */
void commands_run(void *owner, uint64_t token, const json_t *request);

/* One file each: the answers. NULL: no memory. */
json_t *status_build(const struct kvraild *kvraild);
json_t *stat_build(const struct kvraild *kvraild);
json_t *errors_build(const struct kvraild *kvraild, unsigned last);
json_t *latency_build(const struct kvraild *kvraild);
json_t *config_build(const struct kvraild *kvraild);

/* status.c: the addresses that clients use, best first; returns how many. */
unsigned status_urls(const struct kvraild *kvraild, char urls[2][96]);
