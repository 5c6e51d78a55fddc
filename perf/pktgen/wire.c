/* SPDX-License-Identifier: Apache-2.0 */
/* The packet socket. Frames that the kernel itself sends are not ours to read. */
#include "perf/pktgen/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "perf/pktgen/capture.h"

#define BURST_MAX 64u
#define SOCKET_BYTES (4 << 20)

static int fail(const char *interface, const char *what)
{
    int rc = -errno;

    log_error("interface %s: %s: %s", interface, what, strerror(-rc));
    return rc;
}

static int look_up(struct wire *wire, const char *interface, int *index)
{
    struct ifreq request;

    if (strlen(interface) >= sizeof(request.ifr_name)) {
        errno = ENAMETOOLONG;
        return fail("", interface);
    }
    memset(&request, 0, sizeof(request));
    memcpy(request.ifr_name, interface, strlen(interface));
    if (ioctl(wire->fd, SIOCGIFINDEX, &request))
        return fail(interface, "cannot be found");
    *index = request.ifr_ifindex;
    if (ioctl(wire->fd, SIOCGIFHWADDR, &request))
        return fail(interface, "has no hardware address");
    memcpy(wire->mac, request.ifr_hwaddr.sa_data, sizeof(wire->mac));
    if (ioctl(wire->fd, SIOCGIFMTU, &request))
        return fail(interface, "has no MTU");
    wire->mtu = (unsigned)request.ifr_mtu;
    return 0;
}

int wire_open(struct wire *wire, const char *interface)
{
    struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int one = 1, bytes = SOCKET_BYTES, rc;

    wire->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    if (wire->fd < 0)
        return fail(interface, "a packet socket needs CAP_NET_RAW");
    rc = look_up(wire, interface, &here.sll_ifindex);
    if (rc)
        goto close;
    if (bind(wire->fd, (struct sockaddr *)&here, sizeof(here))) {
        rc = fail(interface, "cannot be used");
        goto close;
    }
    /* Neither is needed: replies are asked for again, and the queue only costs time. */
    (void)setsockopt(wire->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    (void)setsockopt(wire->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
    return 0;
close:
    close(wire->fd);
    return rc;
}

void wire_close(struct wire *wire)
{
    close(wire->fd);
}

int wire_send_burst(struct wire *wire, const struct capture_frame *frames, unsigned nr)
{
    struct pollfd room = {.fd = wire->fd, .events = POLLOUT};
    struct mmsghdr messages[BURST_MAX];
    struct iovec parts[BURST_MAX];
    int sent;

    if (nr > BURST_MAX)
        nr = BURST_MAX;
    memset(messages, 0, nr * sizeof(messages[0]));
    for (unsigned i = 0; i < nr; i++) {
        parts[i] = (struct iovec){.iov_base = (void *)(uintptr_t)frames[i].bytes,
                                  .iov_len = frames[i].len};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    while ((sent = sendmmsg(wire->fd, messages, nr, MSG_DONTWAIT)) <= 0) {
        if (sent < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR) {
            int rc = -errno;

            log_error("sending: %s", strerror(-rc));
            return rc;
        }
        (void)poll(&room, 1, 1);
    }
    return sent;
}

int wire_send(struct wire *wire, const uint8_t *frame, uint32_t len)
{
    struct capture_frame one = {.bytes = frame, .len = len};
    int sent = wire_send_burst(wire, &one, 1);

    return sent < 0 ? sent : 0;
}

int wire_receive(struct wire *wire, uint8_t *frame, uint32_t room, unsigned timeout_ms)
{
    struct pollfd ready = {.fd = wire->fd, .events = POLLIN};
    struct sockaddr_ll from;
    socklen_t from_len;
    ssize_t len;

    for (;;) {
        from_len = sizeof(from);
        len = recvfrom(wire->fd, frame, room, MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&from,
                       &from_len);
        if (len > 0 && len <= (ssize_t)room && from.sll_pkttype != PACKET_OUTGOING)
            return (int)len;
        if (len >= 0 || errno == EINTR)
            continue;
        if (errno != EAGAIN) {
            int rc = -errno;

            log_error("receiving: %s", strerror(-rc));
            return rc;
        }
        if (poll(&ready, 1, (int)timeout_ms) == 0)
            return 0;
    }
}
