/* SPDX-License-Identifier: Apache-2.0 */
/* The control messages of sendmsg(2) and recvmsg(2), and whom a socket leads to. */
#include "controlplane/passing.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(PASSING_MAX * sizeof(int))];
};

ssize_t passing_send(int fd, const void *bytes, size_t len, const int *fds, unsigned nr)
{
    union control control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (nr > PASSING_MAX)
        return -EINVAL;
    if (nr) {
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(nr * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, nr * sizeof(int));
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(nr * sizeof(int));
    }
    n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

static void take(struct msghdr *msg, int fds[PASSING_MAX], unsigned *nr)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t bytes = cmsg->cmsg_len - CMSG_LEN(0);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + at, sizeof(fd));
            if (*nr < PASSING_MAX)
                fds[(*nr)++] = fd;
            else
                close(fd);
        }
    }
}

ssize_t passing_receive(int fd, void *bytes, size_t size, int fds[PASSING_MAX], unsigned *nr)
{
    union control control;
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    *nr = 0;
    if (n < 0)
        return -errno;
    take(&msg, fds, nr);
    return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

void passing_close(const int *fds, unsigned nr)
{
    while (nr-- > 0)
        close(fds[nr]);
}

int peer_of(int fd, struct peer *peer)
{
    struct ucred cred;
    socklen_t len = sizeof(cred), fd_len = sizeof(peer->pidfd);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    peer->pid = cred.pid;
    peer->uid = cred.uid;
    /* Without it another process may have the number by now. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &peer->pidfd, &fd_len) == 0)
        return 0;
    if (cred.pid <= 0)
        return -ESRCH;
    peer->pidfd = pidfd_open(cred.pid, 0);
    return peer->pidfd < 0 ? -errno : 0;
}
