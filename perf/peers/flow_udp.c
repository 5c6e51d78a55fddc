/* SPDX-License-Identifier: Apache-2.0 */
/* memcached over UDP: many requests in flight on one socket, taken and sent in bursts of
 * datagrams. In front of each is a header of 8 bytes: request id, number, how many there are, zero;
 * big-endian. The answer to one key is one datagram. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flow_clock.h"

#define HEAD 8u
#define BURST 32u
#define DATAGRAM_MAX 1500u
#define REQUEST_MAX 64u
#define LOST_NS (100 * NS_PER_MS)

struct slot {
    uint64_t sent_ns;
    uint16_t id; /* slot number + slots * generation, so that a late answer is known */
    uint64_t key;
};

struct datagrams {
    int fd;
    struct flow_clock clock;
    struct flow_result *result;
    struct slot *slots;
    struct mmsghdr out[BURST], in[BURST];
    struct iovec out_vec[BURST], in_vec[BURST];
    unsigned nr_out;
    char requests[BURST][HEAD + REQUEST_MAX];
    char answers[BURST][DATAGRAM_MAX];
};

static int flush(struct datagrams *d)
{
    unsigned sent = 0;

    while (sent < d->nr_out) {
        int n = sendmmsg(d->fd, d->out + sent, d->nr_out - sent, 0);

        if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
            return -errno;
        if (n > 0)
            sent += (unsigned)n;
    }
    d->nr_out = 0;
    return 0;
}

static int ask(struct datagrams *d, struct slot *slot)
{
    const struct flow_spec *spec = d->clock.spec;
    unsigned i = d->nr_out++;
    uint16_t head[4] = {0, 0, htons(1), 0};

    slot->id = (uint16_t)(slot->id + spec->slots);
    if (slot->id % spec->slots != (unsigned)(slot - d->slots)) /* the id wrapped around */
        slot->id = (uint16_t)(slot - d->slots);
    head[0] = htons(slot->id);
    memcpy(d->requests[i], head, HEAD);
    flow_keys(&d->clock, &slot->key);
    d->out_vec[i].iov_base = d->requests[i];
    d->out_vec[i].iov_len = HEAD + spec->protocol->get(d->requests[i] + HEAD, &slot->key, 1);
    d->out[i].msg_hdr = (struct msghdr){.msg_iov = &d->out_vec[i], .msg_iovlen = 1};
    slot->sent_ns = clock_ns();
    return d->nr_out == BURST ? flush(d) : 0;
}

static int take(struct datagrams *d, const char *bytes, size_t len)
{
    const struct flow_spec *spec = d->clock.spec;
    uint16_t head[4];
    struct slot *slot;
    bool right;

    if (len < HEAD)
        return 0;
    memcpy(head, bytes, HEAD);
    slot = &d->slots[ntohs(head[0]) % spec->slots];
    if (slot->id != ntohs(head[0]))
        return 0; /* it was given up */
    right = len - HEAD == spec->protocol->reply_len(1, spec->value_len) &&
            protocol_right(spec->protocol, bytes + HEAD, &slot->key, 1, spec->value_len);
    flow_answered(&d->clock, d->result, slot->sent_ns, clock_ns(), right);
    return ask(d, slot);
}

/* Asks anew what was not answered. */
static int give_up_lost(struct datagrams *d, uint64_t now_ns)
{
    int rc = 0;

    for (unsigned i = 0; i < d->clock.spec->slots && !rc; i++) {
        if (now_ns - d->slots[i].sent_ns < LOST_NS)
            continue;
        d->result->lost++;
        rc = ask(d, &d->slots[i]);
    }
    return rc;
}

static int run(struct datagrams *d)
{
    uint64_t now_ns = clock_ns(), look_ns = now_ns + LOST_NS;
    int rc = 0;

    for (unsigned i = 0; i < d->clock.spec->slots && !rc; i++)
        rc = ask(d, &d->slots[i]);
    while (!rc && now_ns < d->clock.end_ns) {
        int n;

        if (d->nr_out > 0)
            rc = flush(d);
        n = recvmmsg(d->fd, d->in, BURST, MSG_DONTWAIT, NULL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            rc = -errno;
        for (int i = 0; i < n && !rc; i++)
            rc = take(d, d->answers[i], d->in[i].msg_len);
        now_ns = clock_ns();
        if (!rc && now_ns > look_ns) {
            rc = give_up_lost(d, now_ns);
            look_ns = now_ns + LOST_NS;
        }
    }
    return rc;
}

int flow_run_udp(const struct flow_spec *spec, struct flow_result *result)
{
    struct datagrams *d = calloc(1, sizeof(*d));
    int rc = -ENOMEM;

    memset(result, 0, sizeof(*result));
    if (!d)
        return rc;
    d->result = result;
    d->slots = calloc(spec->slots, sizeof(*d->slots));
    d->fd = flow_connect(spec, SOCK_DGRAM);
    if (d->fd < 0)
        rc = d->fd;
    if (!d->slots || d->fd < 0)
        goto free_all;
    for (unsigned i = 0; i < spec->slots; i++)
        d->slots[i].id = (uint16_t)i;
    for (unsigned i = 0; i < BURST; i++) {
        d->in_vec[i] = (struct iovec){.iov_base = d->answers[i], .iov_len = DATAGRAM_MAX};
        d->in[i].msg_hdr = (struct msghdr){.msg_iov = &d->in_vec[i], .msg_iovlen = 1};
    }
    flow_clock_start(&d->clock, spec);
    rc = run(d);
    result->ns = spec->run_ns;
    close(d->fd);
free_all:
    free(d->slots);
    free(d);
    return rc;
}
