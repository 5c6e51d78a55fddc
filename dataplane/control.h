/* SPDX-License-Identifier: Apache-2.0 */
/* The line to kvraild (settings.h says what is spoken) and the signals that end the process. Main
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "dataplane/local/local.h"

#define CONTROL_FDS_MAX 3u /* beside one line */

enum control_event {
    CONTROL_TICK,
    CONTROL_STOP,
    CONTROL_SET,
    CONTROL_CLIENT_ADD,
    CONTROL_CLIENT_DROP,
    CONTROL_REGION_ADD,
    CONTROL_REGION_DROP,
    CONTROL_POOL_EXPORT,
    CONTROL_ADOPT /* another kvraild listens now and knows nothing: adopt_tell */
};

struct control_command {
    char key[64], value[256]; /* of CONTROL_SET */
    /* of CONTROL_CLIENT_ADD, its descriptors are the taker's; of CONTROL_CLIENT_DROP: its id */
    struct local_spec client;
    /* of CONTROL_REGION_*: of client.id; the descriptor of an ADD is the taker's */
    unsigned region;
    struct gpu_handle handle;
    unsigned device, core; /* of CONTROL_POOL_EXPORT, for client.id */
};

/* Blocks SIGTERM and SIGINT, so before any thread is made. ctl_fd -1: only signals. adopt_fd: a
 * bound socket to listen on (adopt.h), or -1. The descriptors become control's. -errno. */
[[nodiscard]] int control_open(int ctl_fd, int adopt_fd);
void control_close(void);

/* One line to kvraild; lost if it does not read. Notes, the recovery's report and the ready line
 * are remembered for the next kvraild. */
void control_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with copies of nr descriptors beside it, CONTROL_FDS_MAX at most. */
void control_say_fds(const int *fds, unsigned nr, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Waits for the next event, timeout_ms at most; also_fd (-1: none) being readable is a tick. */
enum control_event control_wait(int timeout_ms, int also_fd, struct control_command *command);
