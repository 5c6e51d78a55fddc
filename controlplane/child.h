/* SPDX-License-Identifier: Apache-2.0 */
/* One dataplane process: started or adopted, listened to, told things, stopped. Says what happened
 * through callbacks from the loop; whoever owns it decides what to do then. Main thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "controlplane/loop.h"
#include "dataplane/local/local.h"
#include "shm/passing.h"

#define CHILD_LINE_MAX 1024u
#define CHILD_NOTES_MAX 32u
#define CHILD_COMMANDS_MAX 128u /* one for each client of either socket, and some */

enum child_state { CHILD_DOWN, CHILD_STARTING, CHILD_READY, CHILD_STOPPING };

struct child_spec {
    const char *program;
    int index_fd, data_fd;
    int adopt_fd, roster_fd; /* -1: none */
    char *const *settings;   /* "KEY=VALUE", NULL at the end */
    /* The local clients that live. All of the spec is used only inside child_start. */
    const struct local_spec *clients;
    unsigned nr_clients;
    unsigned start_ms; /* not ready by then: killed */
    unsigned term_ms;  /* after SIGTERM: SIGKILL */
};

/* The memory of a pool, as the dataplane tells of it for a client. */
struct child_pool {
    unsigned client, device, core, kind; /* enum kvr_region_kind */
    uint64_t size;
    unsigned lost;
    char hex[132]; /* of its handle; "-": none */
    int fd;        /* -1: none; the taker's */
};

/* error: NULL = "ok"; else the dataplane's text, or why there is no answer. */
struct child_command {
    void (*done)(void *owner, uint64_t token, const char *error);
    void *owner;
    uint64_t token;
};

struct child {
    struct loop *loop;
    void (*ready)(void *owner);
    /* The process is gone, state is CHILD_DOWN. reason: one line. */
    void (*gone)(void *owner, const char *reason);
    /* The dataplane let go of a local client, of one of its regions. May be NULL. */
    void (*client_gone)(void *owner, uint32_t id, const char *why);
    void (*region_gone)(void *owner, uint32_t id, unsigned region);
    /* A command that asked for a pool's memory is about to be answered. May be NULL. */
    void (*pool)(void *owner, const struct child_pool *pool);
    void *owner;

    enum child_state state;
    bool was_ready; /* since the last start */
    bool adopted;   /* another kvraild's child */
    pid_t pid;
    int pidfd, ctl_fd;
    unsigned term_ms;
    uint64_t started_ns, ready_ns;
    bool told;                   /* the dataplane said why it ends, and logged it */
    char failed[CHILD_LINE_MAX]; /* text of "failed", or what kvraild itself did to it */
    char ready_fields[CHILD_LINE_MAX];
    char recovered_fields[CHILD_LINE_MAX]; /* empty: it did not say */
    char notes[CHILD_NOTES_MAX][CHILD_LINE_MAX];
    unsigned nr_notes;
    char line[CHILD_LINE_MAX];
    unsigned line_len;
    int came[PASSING_MAX]; /* descriptors that no line has taken yet, oldest first */
    unsigned nr_came;
    struct child_command commands[CHILD_COMMANDS_MAX]; /* sent, not answered; oldest first */
    unsigned nr_commands;
    unsigned nr_overdue;   /* answers still to come that nobody waits for any more */
    struct timer deadline; /* of the start or the stop */
    struct timer answer_deadline;
};

/* Zeroes it and takes over loop, callbacks and owner from the arguments. */
void child_init(struct child *child, struct loop *loop, void *owner);

/* 0: ready, or gone, is called later. -errno: nothing was started. */
[[nodiscard]] int child_start(struct child *child, const struct child_spec *spec);

/* A process that another kvraild has started. The descriptors become the child's. */
struct child_found {
    pid_t pid;
    int pidfd, ctl_fd;
    uint64_t started_ns;
    unsigned start_ms, term_ms;
};
/* The same for a process that runs already; it is starting until child_take was given the line
 * "ready ..". -errno: the descriptors are still the caller's. */
[[nodiscard]] int child_adopt(struct child *child, const struct child_found *found);
/* A line that it said to others. */
void child_take(struct child *child, const char *line);

/* "stop", then SIGTERM, then SIGKILL; gone follows. Once more: SIGKILL at once. */
void child_stop(struct child *child, unsigned stop_ms);
/* SIGKILL; gone follows with this reason. */
void child_kill(struct child *child, const char *reason);

/* Sends a line; done is called when it is answered, or later not at all possible. 0, -EAGAIN (too
 * many unanswered), -ENOTCONN. */
[[nodiscard]] int child_send(struct child *child, const char *line,
                             const struct child_command *command);
/* The same with copies of nr descriptors beside it, PASSING_MAX at most. */
[[nodiscard]] int child_send_fds(struct child *child, const char *line, const int *fds, unsigned nr,
                                 const struct child_command *command);

/* The value of NAME=VALUE in the ready line; false if it is not there. */
bool child_field(const struct child *child, const char *name, char *value, size_t size);
/* The same of the recovery's report, a number; 0 if it is not there. */
uint64_t child_recovered(const struct child *child, const char *name);

/* Kills what still runs and lets go of everything; gone is not called, open commands are answered.
 */
void child_close(struct child *child);

/* spawn.c: the new process, which does not inherit anything but what spec and ctl_fd name. -errno.
 */
[[nodiscard]] pid_t child_spawn(const struct child_spec *spec, int ctl_fd);
