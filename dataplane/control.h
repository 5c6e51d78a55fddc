/* SPDX-License-Identifier: Apache-2.0 */
/* The line to kvraild (settings.h says what is spoken) and the signals that end the process. Main
 * thread. */
#pragma once

#include <stdbool.h>

enum control_event { CONTROL_TICK, CONTROL_STOP, CONTROL_SET };

struct control_command { /* of CONTROL_SET */
    char key[64], value[256];
};

/* Blocks SIGTERM and SIGINT, so before any thread is made. ctl_fd -1: only signals. -errno. */
[[nodiscard]] int control_open(int ctl_fd);
void control_close(void);

/* One line to kvraild; lost if it does not read. */
void control_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Waits for the next event, timeout_ms at most. */
enum control_event control_wait(int timeout_ms, struct control_command *command);
