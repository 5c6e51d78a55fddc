/* SPDX-License-Identifier: Apache-2.0 */
/* Says hello, takes the descriptors that come with the offer, hangs up. */
#include "torture/observe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/counters.h"
#include "shm/attach.h"

static int offer_receive(int fd, int descriptors[2])
{
    struct attach_offer offer;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = &offer, .iov_len = sizeof(offer)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header;

    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(offer))
        return -EPROTO;
    if (offer.status)
        return -(int)offer.status;
    header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return -EPROTO;
    memcpy(descriptors, CMSG_DATA(header), 2 * sizeof(int));
    return 0;
}

int observe_open(const char *socket_path, struct arena *arena)
{
    struct attach_hello hello = {.magic = ATTACH_MAGIC,
                                 .version = ATTACH_VERSION,
                                 .arena_version = ARENA_VERSION,
                                 .wish = ATTACH_READ,
                                 .name = "observer"};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptors[2], rc = 0;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
        send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) != (ssize_t)sizeof(hello))
        rc = -errno;
    if (rc == 0)
        rc = offer_receive(fd, descriptors);
    close(fd);
    if (rc)
        return rc;
    rc = arena_attach(descriptors[0], descriptors[1], ARENA_READ, arena);
    if (rc) {
        close(descriptors[0]);
        close(descriptors[1]);
    }
    return rc;
}

void observe(const struct arena *arena, struct leftovers *found)
{
    const struct reclaim_stats *reclaim = &arena->sb->reclaim;

    *found = (struct leftovers){.held = counter_read(&reclaim->held),
                                .held_bytes = counter_read(&reclaim->held_bytes)};
    for (unsigned p = 0; p < arena->nr_partitions; p++)
        found->reserved += counter_read(&arena_part(arena, p)->reserved);
}
