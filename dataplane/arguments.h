/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of kvrail-dataplane (settings.h). kvraild writes it, so mistakes are its bugs,
 * and are told plainly. */
#pragma once

#include "dataplane/local/local.h"
#include "dataplane/settings.h"

struct arguments {
    int index_fd, data_fd, ctl_fd; /* -1 = not given */
    int adopt_fd, roster_fd;
    struct local_spec clients[LOCAL_CLIENTS_MAX]; /* who were there before this process */
    unsigned nr_clients;
    struct settings settings;
};

/* 0, or -EINVAL with what is wrong on stderr. */
[[nodiscard]] int arguments_read(int argc, char **argv, struct arguments *arguments);

/* "ID PID UID WRITE PINNED_MAX" with this separator, which a client is told by; without its
 * descriptors, which are -1. 0 or -EINVAL. */
[[nodiscard]] int client_words(const char *text, char separator, struct local_spec *client);
