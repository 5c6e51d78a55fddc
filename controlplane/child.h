/* SPDX-License-Identifier: Apache-2.0 */
/* One dataplane process: started, listened to, told things, stopped. Says what happened through
 * callbacks from the loop; whoever owns it decides what to do then. Main thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "controlplane/loop.h"

#define CHILD_LINE_MAX 1024u
#define CHILD_NOTES_MAX 32u
#define CHILD_COMMANDS_MAX 16u

enum child_state { CHILD_DOWN, CHILD_STARTING, CHILD_READY, CHILD_STOPPING };

struct child_spec {
    const char *program;
    int index_fd, data_fd;
    char *const *settings;     /* "KEY=VALUE", NULL at the end; used only inside child_start */
    unsigned start_ms;         /* not ready by then: killed */
    unsigned stop_ms, term_ms; /* after "stop": SIGTERM; after that: SIGKILL */
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
    void *owner;

    enum child_state state;
    bool was_ready; /* since the last start */
    pid_t pid;
    int pidfd, ctl_fd;
    unsigned term_ms;
    uint64_t started_ns;
    bool told;                   /* the dataplane said why it ends, and logged it */
    char failed[CHILD_LINE_MAX]; /* text of "failed", or what kvraild itself did to it */
    char ready_fields[CHILD_LINE_MAX];
    char notes[CHILD_NOTES_MAX][CHILD_LINE_MAX];
    unsigned nr_notes;
    char line[CHILD_LINE_MAX];
    unsigned line_len;
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

/* "stop", then SIGTERM, then SIGKILL; gone follows. Once more: SIGKILL at once. */
void child_stop(struct child *child, unsigned stop_ms);

/* Sends a line; done is called when it is answered, or later not at all possible. 0, -EAGAIN (too
 * many unanswered), -ENOTCONN. */
[[nodiscard]] int child_send(struct child *child, const char *line,
                             const struct child_command *command);

/* The value of NAME=VALUE in the ready line; false if it is not there. */
bool child_field(const struct child *child, const char *name, char *value, size_t size);

/* Kills what still runs and lets go of everything; gone is not called, open commands are answered.
 */
void child_close(struct child *child);
