/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a Unix socket leads to. */
#pragma once

#include <sys/types.h>

/* Who is at the other end of a connected socket: who connected, or who listened. *pidfd: the
 * caller's. -ESRCH: its process has ended, or cannot be seen from here; -errno. */
struct peer {
    pid_t pid;
    uid_t uid;
    int pidfd;
};
[[nodiscard]] int peer_of(int fd, struct peer *peer);
