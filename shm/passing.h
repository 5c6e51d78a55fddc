/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on Unix sockets with descriptors beside them (SCM_RIGHTS): how segments get from one
 * process to another. Nothing here waits. Any thread; who is at the other end may be hostile. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PASSING_MAX 4u /* descriptors beside one message */

/* What came beside a message: the receiver's own, close-on-exec. */
struct passed {
    int fds[PASSING_MAX];
    unsigned nr;
    bool cut; /* there were more, or the process has no room for them: they are closed */
};

/* Sends bytes with copies of nr descriptors. As send(2), but -errno. */
[[nodiscard]] ssize_t passing_send(int fd, const void *bytes, size_t len, const int *fds,
                                   unsigned nr);
/* As recv(2), but -errno; -EMSGSIZE: a message that was longer than size. Whatever it answers, what
 * came is the caller's. */
[[nodiscard]] ssize_t passing_receive(int fd, void *bytes, size_t size, struct passed *came);
/* Closes them. */
void passing_close(const int *fds, unsigned nr);
