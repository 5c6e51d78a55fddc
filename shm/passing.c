/* SPDX-License-Identifier: Apache-2.0 */
/* The control messages of sendmsg(2) and recvmsg(2). No descriptor that comes is lost: it is
 * handed on or closed. */
#include "shm/passing.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

static void take(struct msghdr *msg, struct passed *came)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t bytes = cmsg->cmsg_len - CMSG_LEN(0);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + at, sizeof(fd));
            if (came->nr < PASSING_MAX) {
                came->fds[came->nr++] = fd;
                continue;
            }
            close(fd);
            came->cut = true;
        }
    }
}

ssize_t passing_receive(int fd, void *bytes, size_t size, struct passed *came)
{
    union control control;
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    came->nr = 0;
    came->cut = false;
    if (n < 0)
        return -errno;
    came->cut = msg.msg_flags & MSG_CTRUNC;
    take(&msg, came);
    return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

void passing_close(const int *fds, unsigned nr)
{
    while (nr-- > 0)
        close(fds[nr]);
}
