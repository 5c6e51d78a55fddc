/* SPDX-License-Identifier: Apache-2.0 */
/* Cookies are bound to address, port and session, and only the running server can make them. So
 * each flow asks for its own, a window of them at a time. */
#include "perf/pktgen/flows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "client/build.h"
#include "client/check.h"
#include "dataplane/eth/checksum.h"
#include "dataplane/eth/frame.h"
#include "perf/pktgen/capture.h"

#define WINDOW 64u
#define RETRY_MS 100u
#define PATIENCE_NS (5 * NS_PER_S)

/* Adds n to the last bytes of an address, IPv4 mapped or IPv6. False: it would leave its network of
 * 65,536 addresses. */
static bool advance(uint8_t ip[16], unsigned n)
{
    unsigned low = ((unsigned)ip[14] << 8 | ip[15]) + n;

    ip[14] = (uint8_t)(low >> 8);
    ip[15] = (uint8_t)low;
    return low <= UINT16_MAX;
}

int flows_create(const struct flows_spec *spec, struct flows *flows)
{
    uint64_t sessions;

    *flows = (struct flows){
        .nr = spec->nr, .nr_addresses = spec->nr_addresses, .first_port = spec->first_port};
    if (spec->first_port + (spec->nr - 1) / spec->nr_addresses > UINT16_MAX) {
        log_error("--flows %u: with --addresses %u their ports pass 65535", spec->nr,
                  spec->nr_addresses);
        return -EINVAL;
    }
    flows->list = calloc(spec->nr, sizeof(*flows->list));
    if (!flows->list || getrandom(&sessions, sizeof(sessions), 0) != sizeof(sessions)) {
        log_error("flows: %s", strerror(ENOMEM));
        free(flows->list);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < spec->nr; i++) {
        struct flow *flow = &flows->list[i];

        flow->peer = spec->first;
        flow->peer.local_port = (uint16_t)(spec->first_port + i / spec->nr_addresses);
        /* Any number but 0; one apart, so that an answer's flow is found by subtraction. */
        flow->session = (sessions >> 1) + 1 + i;
        if (!advance(flow->peer.local_ip, i % spec->nr_addresses)) {
            log_error("--addresses %u: too many behind --client", spec->nr_addresses);
            flows_destroy(flows);
            return -EINVAL;
        }
    }
    return 0;
}

void flows_destroy(struct flows *flows)
{
    free(flows->list);
    flows->list = NULL;
}

uint32_t flow_frame(const struct flow *flow, uint16_t port, const uint8_t *datagram, uint32_t len,
                    uint8_t *frame)
{
    struct peer peer = flow->peer;
    uint32_t head;

    peer.port = port;
    head = frame_head_size(&peer);
    frame_write_head(frame, &peer, len, CHECKSUM_SOFTWARE, checksum_add(0, datagram, len));
    memcpy(frame + head, datagram, len);
    return head + len;
}

static int greet(const struct flow *flow, struct wire *wire)
{
    struct kvr_hdr hdr = {.priority = KVR_NORMAL, .id = 1, .session = flow->session};
    _Alignas(8) uint8_t datagram[sizeof(struct kvr_hdr) + KVR_HELLO_SIZE];
    uint8_t frame[sizeof(datagram) + FRAME_HEAD_MAX];
    struct writer writer;
    uint32_t len;

    build_begin(&writer, datagram);
    build_hello(&writer, KVR_DATAGRAM_MAX);
    len = build_finish(&writer, &hdr, NULL, 0);
    len = flow_frame(flow, flow->peer.port, datagram, len, frame);
    return wire_send(wire, frame, len);
}

/* The frame is for one of ours: whom would it be addressed to? */
static bool addressee(const struct flows *flows, const uint8_t *frame, uint32_t len,
                      struct frame_self *self)
{
    const struct peer *first = &flows->list[0].peer;
    uint32_t at = FRAME_ETH_SIZE + (first->ipv6 ? 24u : 16u), size = first->ipv6 ? 16 : 4;

    if (len < at + size)
        return false;
    *self = (struct frame_self){.first_port = flows->first_port,
                                .nr_ports = (uint16_t)((flows->nr - 1) / flows->nr_addresses + 1)};
    memcpy(self->mac, first->local_mac, 6);
    if (first->ipv6) {
        self->has_ip6 = true;
        memcpy(self->ip6, frame + at, size);
    } else {
        frame_self_set_ip4(self, frame + at, 16);
    }
    return true;
}

/* NULL: the frame has no cookie for anybody here that lacks one. */
static struct flow *recipient(struct flows *flows, const uint8_t *frame, uint32_t len)
{
    _Alignas(8) uint8_t datagram[CAPTURE_FRAME_MAX];
    struct checked_reply reply;
    struct frame_self self;
    struct frame_view view;
    struct flow *flow;
    struct peer from;
    uint64_t number;

    if (!addressee(flows, frame, len, &self) ||
        frame_parse(&self, frame, len, FRAME_PARTIAL_ALLOWED, &view, &from) != FRAME_DATAGRAM)
        return NULL;
    memcpy(datagram, frame + view.payload_off, view.payload_len);
    if (check_reply(datagram, view.payload_len, &reply) != CHECK_OK)
        return NULL;
    number = reply.hdr.session - flows->list[0].session;
    if (number >= flows->nr || reply.hdr.status != KVR_OK || reply.hdr.nr_ops != 1 ||
        reply.records[0]->op != KVR_HELLO || reply.records[0]->status != KVR_OK)
        return NULL;
    flow = &flows->list[number];
    if (flow->cookie != 0 || from.local_port != flow->peer.local_port ||
        memcmp(from.local_ip, flow->peer.local_ip, sizeof(from.local_ip)) != 0)
        return NULL;
    memcpy(&flows->hello, reply.records[0], sizeof(flows->hello));
    flow->cookie = reply.hdr.cookie;
    return flow;
}

/* Flows from *at on that have no cookie say HELLO, WINDOW of them at most; *at moves behind them.
 */
static int greet_some(struct flows *flows, struct wire *wire, unsigned *at, unsigned *waiting)
{
    for (*waiting = 0; *waiting < WINDOW && *at < flows->nr; ++*at) {
        int rc = flows->list[*at].cookie ? 0 : greet(&flows->list[*at], wire);

        if (rc)
            return rc;
        *waiting += flows->list[*at].cookie == 0;
    }
    return 0;
}

/* Answers until all that wait have theirs, or none came for RETRY_MS. How many came, or -errno. */
static int collect(struct flows *flows, struct wire *wire, unsigned waiting)
{
    uint64_t end_ns = clock_ns() + RETRY_MS * NS_PER_MS;
    uint8_t frame[CAPTURE_FRAME_MAX];
    unsigned came = 0;

    while (came < waiting && clock_ns() < end_ns) {
        int len = wire_receive(wire, frame, sizeof(frame), RETRY_MS);

        if (len < 0)
            return len;
        came += len > 0 && recipient(flows, frame, (uint32_t)len) != NULL;
    }
    return (int)came;
}

int flows_greet(struct flows *flows, struct wire *wire)
{
    uint64_t heard_ns = clock_ns();
    unsigned done = 0, at = 0;

    while (done < flows->nr) {
        unsigned waiting;
        int rc = greet_some(flows, wire, &at, &waiting);

        if (rc == 0)
            rc = collect(flows, wire, waiting);
        if (rc < 0)
            return rc;
        if (rc > 0)
            heard_ns = clock_ns();
        done += (unsigned)rc;
        if (at == flows->nr)
            at = 0; /* those whose answer was lost, once more */
        if (clock_ns() - heard_ns > PATIENCE_NS) {
            log_error("the server does not answer HELLO: %u of %u flows have a cookie", done,
                      flows->nr);
            return -ETIMEDOUT;
        }
    }
    return 0;
}
