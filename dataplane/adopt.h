/* SPDX-License-Identifier: Apache-2.0 */
/* The dataplane's side of its adoption: kvraild has died, the next one connects to the socket that
 * the one before has bound, and is told all that it must know (settings.h has the lines). Main
 * thread. */
#pragma once

#include <stdbool.h>

#include "dataplane/local/local.h"
#include "dataplane/settings.h"

/* Listens on a bound socket: who connects sees this process as its peer. -1: nobody will come.
 * -errno; the descriptor is still the caller's then. */
[[nodiscard]] int adopt_open(int fd);
void adopt_close(void);
/* For poll(2); -1: there is none. */
int adopt_fd(void);
/* The socket of a kvraild that waits, or -1. Only root's and this process's own user's are let in.
 */
int adopt_accept(void);

/* A line for kvraild goes by: those that the next one must know are kept. */
void adopt_remember(const char *line);

struct adopt_told {
    int index_fd, data_fd, roster_fd;
    const struct settings *settings; /* as they are in force */
    /* The i-th local client; false beyond the last. */
    bool (*client)(void *context, unsigned i, struct local_spec *client);
    void *context;
};
/* All of it, over control_say. */
void adopt_tell(const struct adopt_told *told);
