/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel knows of the other end of a Unix socket. Main thread. */
#include "controlplane/peer.h"

#include <errno.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

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
