/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon: its parts, in the order in which boot.c starts them. One thread. */
#pragma once

#include <limits.h>

#include "base/clock.h"
#include "controlplane/adopt.h"
#include "controlplane/attach.h"
#include "controlplane/child.h"
#include "controlplane/clients.h"
#include "controlplane/config.h"
#include "controlplane/ctl.h"
#include "controlplane/loop.h"
#include "controlplane/rates.h"
#include "shm/arena.h"

#define KVRAILD_NOTES_MAX 16u
#define RESTARTS_KEPT 64u
#define RESTARTS_LATELY_NS (600 * NS_PER_S)

/* What became of the dataplanes. supervise.c */
struct supervision {
    bool was_ready; /* one was, at least once */
    bool planned;   /* the dataplane is being stopped to be started again */
    bool cold;      /* over a new arena */
    unsigned restarts;
    unsigned backoff_ms; /* the pause before the next one */
    struct timer timer;
    uint64_t next_ns;                  /* when the next one is tried; 0: none waits */
    uint64_t died_ns;                  /* 0: not since the last one was ready */
    uint64_t last_ms;                  /* from death to ready; UINT64_MAX: never yet */
    uint64_t recent_ns[RESTARTS_KEPT]; /* when the last ones were, a ring by restarts */
    char last_exit[CHILD_LINE_MAX];    /* why the last dataplane ended; empty: none did */
    uint64_t tokens[CTL_CLIENTS_MAX];  /* who wait for the planned restart */
    unsigned nr_tokens;
};

/* stall.c */
struct stall {
    struct timer timer;
    uint64_t looked_ns, awake_ns; /* last look; when kvraild last had got no CPU for long */
    /* The thread whose heartbeat is the oldest, while it is old. */
    char thread[16];
    uint64_t beat_ns;
    uint64_t sampled_ns, run_ns; /* it was runnable then, and had got so much CPU time; 0: not */
    uint64_t waited_ns;          /* for a CPU, since that heartbeat */
    bool told;                   /* that it waits, since that heartbeat */
};

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
    struct arena arena;                            /* sb NULL: not yet */
    char notes[KVRAILD_NOTES_MAX][CHILD_LINE_MAX]; /* what kvraild itself does without */
    unsigned nr_notes;
    char pid_file[OPTION_TEXT_MAX];
    char program[PATH_MAX]; /* the dataplane's */
    char adopt_path[SOCKET_PATH_MAX + 1];
    struct adoption *adoption; /* found at the start and not finished; NULL: none */
    struct child child;
    struct clients clients;
    char local_path[OPTION_TEXT_MAX]; /* of the local socket; empty: there is none */
    struct attach attach;
    struct supervision supervision;
    struct stall stall;
    struct rates rates;

    bool stopping;
    int exit_code;
};

/* boot.c: starts everything, runs until told to stop, stops everything. The exit code. */
int boot_run(struct kvraild *kvraild);

/* boot.c: logs what kvraild does without, or has lost, and keeps it for status. */
void kvraild_note(struct kvraild *kvraild, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* memory.c: the arena. An adopted one is left as it is; renew: an empty one takes its place, while
 * there is no dataplane and no client. A failure has been logged. */
[[nodiscard]] int memory_setup(struct kvraild *kvraild);
[[nodiscard]] int memory_renew(struct kvraild *kvraild);
void memory_teardown(struct kvraild *kvraild);
/* Bytes of values that one client may hold. */
uint64_t memory_pinned_max(const struct kvraild *kvraild);

/* supervise.c: keeps a dataplane running over the arena. */
[[nodiscard]] int supervise_start(struct kvraild *kvraild);
void supervise_teardown(struct kvraild *kvraild);
/* Stops the dataplane, then the loop. Called again, less patiently. */
void supervise_stop(struct kvraild *kvraild);
/* Ends a dataplane that is no good any more; another follows. */
void supervise_kill(struct kvraild *kvraild, const char *reason);
/* Another dataplane over the same arena, or with cold over a new one; one that is due anyway comes
 * at once. The request is answered when it serves. */
void supervise_restart(struct kvraild *kvraild, uint64_t token, bool cold);
/* How many restarts there were in the last ten minutes; *span_ns: since the first of them. */
unsigned supervise_lately(const struct kvraild *kvraild, uint64_t *span_ns);

/* stall.c: kills a dataplane that does not turn for stall_ms. */
void stall_start(struct kvraild *kvraild);
void stall_stop(struct kvraild *kvraild);
/* Poll cores that the dataplane uses, and how long ago a heartbeat of it was. */
unsigned heartbeat_cores(const struct kvraild *kvraild);
uint64_t heartbeat_age_ms(const struct kvraild *kvraild, uint64_t beat_ns);

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
json_t *restart_build(const struct kvraild *kvraild);
json_t *stat_build(const struct kvraild *kvraild);
json_t *errors_build(const struct kvraild *kvraild, unsigned last);
json_t *gpus_build(const struct kvraild *kvraild);
json_t *latency_build(const struct kvraild *kvraild);
json_t *config_build(const struct kvraild *kvraild);

/* status.c: the addresses that clients use, best first; returns how many. */
unsigned status_urls(const struct kvraild *kvraild, char urls[2][96]);
