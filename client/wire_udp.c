/* SPDX-License-Identifier: Apache-2.0 */
/* A link over a UDP socket. What the kernel refuses is never an error for the caller: the datagram
 * counts as lost and its timer repeats it. GSO is tried for trains of equal datagrams and given up
 * for good when the kernel refuses it or when nothing sent that way was ever answered (a receiver
 * that takes frames from a virtual device may see the unsegmented frame): until then only two at a
 * time. */
#include <errno.h>
#include <linux/udp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/datagram.h"
#include "client/link.h"

#define BUFFER_WISH (8 << 20)
#define GSO_SEGMENTS 40u
#define GSO_BYTES 60000u
#define IOVS_EACH 3u
#define NOTES_SIZE                                                                                 \
    (CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(int)))

static const uint8_t zeroes[8];

static void enlarge(int fd, int forced, int asked)
{
    int bytes = BUFFER_WISH;

    if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, asked, &bytes, sizeof(bytes));
}

/* They come with the datagrams: when each arrived, so that a round trip does not count the time in
 * which nobody read; how many found no room; and how several that the kernel took in as one (GRO)
 * come apart again. A kernel that has them not is no worse than that. */
static void ask_for_notes(int fd)
{
    int on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
}

static void measure(struct link *link)
{
    struct kvr_client *client = link->client;
    bool ipv6 = client->address.ss_family == AF_INET6;
    uint32_t headers = ipv6 ? 48 : 28, payload = KVR_DATAGRAM_MIN_MAX;
    int mtu = 0;
    socklen_t len = sizeof(mtu);

    if (getsockopt(link->fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_MTU : IP_MTU, &mtu,
                   &len) == 0 &&
        mtu > (int)(KVR_DATAGRAM_MIN_MAX + headers))
        payload = (uint32_t)mtu - headers;
    if (payload < client->mtu_payload)
        client->mtu_payload = payload;
}

static int connect_socket(const struct link *link)
{
    const struct kvr_client *client = link->client;
    struct sockaddr_storage address = client->address;
    uint16_t port = htons((uint16_t)(client->port + link->partition));

    if (address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address)->sin6_port = port;
    else
        ((struct sockaddr_in *)&address)->sin_port = port;
    return connect(link->fd, (struct sockaddr *)&address, client->address_len) == 0 ? 0 : -errno;
}

/* The kernel refused a datagram for its size. The path may have become narrower; or the device is
 * gone, another in its place, and the socket's route still that of before, which leads nowhere and
 * has an MTU of 68 (Linux 6.18, now and then): it is looked up again, the port stays. */
static void follow_path(struct link *link)
{
    (void)connect_socket(link);
    measure(link); /* session_follow sees the difference */
}

static int open_socket(struct link *link)
{
    int family = link->client->address.ss_family;
    bool ipv6 = family == AF_INET6;
    int discover = ipv6 ? IPV6_PMTUDISC_DO : IP_PMTUDISC_DO;

    link->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0)
        return -errno;
    enlarge(link->fd, SO_RCVBUFFORCE, SO_RCVBUF);
    enlarge(link->fd, SO_SNDBUFFORCE, SO_SNDBUF);
    ask_for_notes(link->fd);
    (void)setsockopt(link->fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
                     ipv6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &discover, sizeof(discover));
    return connect_socket(link);
}

static int udp_open(struct link *link)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = link->partition};
    int rc = open_socket(link);

    if (rc == 0 && epoll_ctl(link->client->wake->epoll_fd, EPOLL_CTL_ADD, link->fd, &event) != 0)
        rc = -errno;
    if (rc != 0) {
        if (link->fd >= 0)
            close(link->fd);
        return rc;
    }
    measure(link);
    return 0;
}

static void udp_close(struct link *link)
{
    close(link->fd);
}

/* What leaves in one system call. */
struct batch {
    struct mmsghdr messages[OUT_MAX];
    struct iovec iovs[OUT_MAX * IOVS_EACH];
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } controls[OUT_MAX];
    uint32_t first[OUT_MAX + 1]; /* message -> its first datagram of link->out */
    uint32_t nr_messages, nr_iovs;
};

static void add_iov(struct batch *batch, const void *bytes, uint32_t len)
{
    if (len > 0)
        batch->iovs[batch->nr_iovs++] = (struct iovec){(void *)(uintptr_t)bytes, len};
}

static void add_segment(struct batch *batch, const struct datagram *datagram)
{
    add_iov(batch, datagram->bytes, datagram->head_len);
    add_iov(batch, datagram->tail, datagram->tail_len);
    add_iov(batch, zeroes, pad8(datagram->tail_len) - datagram->tail_len);
}

static uint32_t most_segments(const struct link *link)
{
    if (link->gso_off)
        return 1;
    if (link->gso_acked > 0)
        return GSO_SEGMENTS;
    return link->client->now_ns >= link->gso_next_ns ? 2 : 1;
}

/* How many datagrams from this one on can be segments of one message. */
static uint32_t segments(const struct link *link, uint32_t at)
{
    uint32_t size = datagram_len(link->out[at]), bytes = size, n = 1, most = most_segments(link);

    if (link->out[at]->tail_len == 0)
        return 1;
    while (at + n < link->nr_out && n < most && link->out[at + n]->tail_len > 0) {
        uint32_t next = datagram_len(link->out[at + n]);
        if (next > size || bytes + next > GSO_BYTES)
            break;
        bytes += next;
        n++;
        if (next < size)
            break; /* only the last segment may be shorter */
    }
    return n;
}

static void add_message(struct batch *batch, struct link *link, uint32_t at, uint32_t n)
{
    struct msghdr *message = &batch->messages[batch->nr_messages].msg_hdr;
    uint32_t first_iov = batch->nr_iovs;

    memset(message, 0, sizeof(*message));
    for (uint32_t i = 0; i < n; i++) {
        add_segment(batch, link->out[at + i]);
        link->out[at + i]->by_gso = n > 1;
    }
    message->msg_iov = batch->iovs + first_iov;
    message->msg_iovlen = batch->nr_iovs - first_iov;
    if (n > 1) {
        struct cmsghdr *control = &batch->controls[batch->nr_messages].head;
        uint16_t size = (uint16_t)datagram_len(link->out[at]);

        link->gso_next_ns = link->client->now_ns + flow_rto_ns(&link->flow, 1);
        control->cmsg_level = IPPROTO_UDP;
        control->cmsg_type = UDP_SEGMENT;
        control->cmsg_len = CMSG_LEN(sizeof(size));
        memcpy(CMSG_DATA(control), &size, sizeof(size));
        message->msg_control = control;
        message->msg_controllen = sizeof(batch->controls[0].bytes);
    }
    batch->first[batch->nr_messages++] = at;
}

static void count_sent(struct link *link, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        link->client->stats.tx_datagrams++;
        link->client->stats.tx_bytes += datagram_len(link->out[i]);
    }
}

/* Sends link->out[from..]; returns where to go on, or nr_out when there is no use in trying. */
static uint32_t transmit_from(struct link *link, uint32_t from)
{
    struct batch batch = {.nr_messages = 0};
    int sent;

    for (uint32_t at = from; at < link->nr_out;) {
        uint32_t n = segments(link, at);
        add_message(&batch, link, at, n);
        at += n;
    }
    batch.first[batch.nr_messages] = link->nr_out;
    sent = sendmmsg(link->fd, batch.messages, batch.nr_messages, 0);
    if (sent > 0) {
        count_sent(link, from, batch.first[sent]);
        return batch.first[sent];
    }
    switch (errno) {
    case EIO:
    case EINVAL:
    case EOPNOTSUPP:
        if (!link->gso_off && batch.first[1] > from + 1) {
            link->gso_off = true;
            return from;
        }
        follow_path(link); /* IPv6 says so of such a route */
        return batch.first[1];
    case EMSGSIZE:
        follow_path(link);
        link->gso_off |= batch.first[1] > from + 1;
        return batch.first[1];
    case EAGAIN:
    case ENOBUFS:
        return link->nr_out;
    default: /* an ICMP error that waited for us, or no route: others may still leave */
        return batch.first[1];
    }
}

static void transmit(struct link *link)
{
    for (uint32_t at = 0; at < link->nr_out;)
        at = transmit_from(link, at);
    link->nr_out = 0;
}

static void send_one(struct link *link, const uint8_t *bytes, uint32_t len)
{
    /* Twice: the first may only fetch the ICMP error of an earlier one, or tell of a stale route.
     */
    for (int i = 0; i < 2; i++) {
        if (send(link->fd, bytes, len, 0) == (ssize_t)len) {
            link->client->stats.tx_datagrams++;
            link->client->stats.tx_bytes += len;
            return;
        }
        if (errno == EAGAIN)
            return;
        if (errno == EMSGSIZE || errno == EINVAL)
            follow_path(link);
    }
}

static uint64_t real_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* How long ago the kernel took it in; more than a second is a clock that was set. */
static uint64_t age_ns(const struct timespec *stamp, uint64_t real_now_ns)
{
    uint64_t age = real_now_ns - ((uint64_t)stamp->tv_sec * NS_PER_S + (uint64_t)stamp->tv_nsec);

    return age < NS_PER_S ? age : 0;
}

static void note_overflows(struct link *link, uint32_t overflows)
{
    if (overflows != link->overflows)
        flow_overflowed(&link->flow, link->client->now_ns);
    link->overflows = overflows;
}

/* What the kernel says of what it delivered. Returns the length of each datagram in it but the
 * last, 0 if it is one. */
static uint32_t read_notes(struct link *link, struct msghdr *message, uint64_t real_now_ns)
{
    struct kvr_client *client = link->client;
    struct timespec stamp;
    uint32_t overflows;
    int each = 0;

    client->arrived_ns = client->now_ns;
    for (struct cmsghdr *note = CMSG_FIRSTHDR(message); note; note = CMSG_NXTHDR(message, note)) {
        if (note->cmsg_level == IPPROTO_UDP && note->cmsg_type == UDP_GRO &&
            note->cmsg_len == CMSG_LEN(sizeof(each)))
            memcpy(&each, CMSG_DATA(note), sizeof(each));
        if (note->cmsg_level != SOL_SOCKET)
            continue;
        if (note->cmsg_type == SO_TIMESTAMPNS && note->cmsg_len == CMSG_LEN(sizeof(stamp))) {
            memcpy(&stamp, CMSG_DATA(note), sizeof(stamp));
            client->arrived_ns -= age_ns(&stamp, real_now_ns);
        } else if (note->cmsg_type == SO_RXQ_OVFL &&
                   note->cmsg_len == CMSG_LEN(sizeof(overflows))) {
            memcpy(&overflows, CMSG_DATA(note), sizeof(overflows));
            note_overflows(link, overflows);
        }
    }
    return each > 0 ? (uint32_t)each : 0;
}

/* bytes: aligned for check_reply; so are all datagrams behind the first, but for strange ones. */
static void accept_each(struct link *link, uint8_t *bytes, uint32_t len, uint32_t each)
{
    if (each == 0 || each > len)
        each = len;
    for (uint32_t at = 0; at < len; at += each) {
        uint32_t part = len - at < each ? len - at : each;

        if (at % 8 == 0) {
            link_accept(link, bytes + at, part);
            continue;
        }
        memmove(bytes, bytes + at, part); /* what lay there is done with */
        link_accept(link, bytes, part);
    }
    if (len == 0)
        link_accept(link, bytes, 0);
}

static unsigned receive(struct link *link)
{
    struct kvr_client *client = link->client;
    struct mmsghdr messages[IN_MAX];
    struct iovec iovs[IN_MAX];
    _Alignas(struct cmsghdr) uint8_t notes[IN_MAX][NOTES_SIZE];
    uint64_t real_now_ns;
    int n;

    memset(messages, 0, sizeof(messages));
    for (unsigned i = 0; i < IN_MAX; i++) {
        iovs[i] = (struct iovec){client->in_bytes + (size_t)i * client->in_size, client->in_size};
        messages[i].msg_hdr.msg_iov = &iovs[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_control = notes[i];
        messages[i].msg_hdr.msg_controllen = NOTES_SIZE;
    }
    n = recvmmsg(link->fd, messages, IN_MAX, MSG_DONTWAIT, NULL);
    if (n <= 0)
        return 0;
    client->now_ns = clock_ns();
    real_now_ns = real_ns();
    for (int i = 0; i < n; i++) {
        uint32_t each = read_notes(link, &messages[i].msg_hdr, real_now_ns);

        accept_each(link, iovs[i].iov_base, messages[i].msg_len, each);
    }
    return (unsigned)n;
}

const struct wire wire_udp = {
    .open = udp_open,
    .close = udp_close,
    .transmit = transmit,
    .send = send_one,
    .receive = receive,
};
