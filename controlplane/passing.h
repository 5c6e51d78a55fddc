/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on Unix sockets with descriptors beside them (SCM_RIGHTS). Nothing here waits. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#define PASSING_MAX 4u /* descriptors beside one message */

/* Sends bytes with copies of nr descriptors. As send(2), but -errno. */
[[nodiscard]] ssize_t passing_send(int fd, const void *bytes, size_t len, const int *fds,
                                   unsigned nr);
/* As recv(2), but -errno; -EMSGSIZE: a message that was longer than size. The descriptors that came
 * are the caller's, *nr of them, PASSING_MAX at most; what came beyond that is closed. */
[[nodiscard]] ssize_t passing_receive(int fd, void *bytes, size_t size, int fds[PASSING_MAX],
                                      unsigned *nr);
/* Closes them. */
void passing_close(const int *fds, unsigned nr);

/* Who is at the other end of a connected socket: who connected, or who listened. *pidfd: the
 * caller's. -ESRCH: its process has ended, or cannot be seen from here; -errno. */
struct peer {
    pid_t pid;
    uid_t uid;
    int pidfd;
};
[[nodiscard]] int peer_of(int fd, struct peer *peer);
