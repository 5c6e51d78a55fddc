/* SPDX-License-Identifier: Apache-2.0 */
/* What TCP and UDP share: which keys come next, when the measured time begins and ends, and the
 * filling of the peer. */
#include "flow.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flow_clock.h"

#define STORE_BATCH 128u

int flow_connect(const struct flow_spec *spec, int type)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1, buffer = 8 << 20;

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&spec->peer, sizeof(spec->peer))) {
        int rc = -errno;

        close(fd);
        return rc;
    }
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    else
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    return fd;
}

int flow_send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int take_all(int fd, char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = recv(fd, bytes, len, 0);

        if (n == 0)
            return -EPROTO;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

int flow_store_all(const struct flow_spec *spec)
{
    const struct protocol *protocol = spec->protocol;
    char *out = malloc(STORE_BATCH * (spec->value_len + 256)), answers[STORE_BATCH * 16];
    int fd = flow_connect(spec, SOCK_STREAM), rc = fd < 0 ? fd : 0;
    struct timeval patience = {.tv_sec = 20};

    if (!out)
        rc = -ENOMEM;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    for (uint64_t id = 0; !rc && id < spec->keys;) {
        unsigned n = 0;
        size_t len = 0;

        for (; n < STORE_BATCH && id < spec->keys; n++)
            len += protocol->store(out + len, id++, spec->value_len);
        rc = flow_send_all(fd, out, len);
        if (!rc)
            rc = take_all(fd, answers, n * protocol->stored_len);
        if (!rc && memcmp(answers, protocol->stored_len == 8 ? "STORED" : "+OK", 3) != 0)
            rc = -EPROTO;
    }
    if (fd >= 0)
        close(fd);
    free(out);
    return rc;
}

void flow_clock_start(struct flow_clock *clock, const struct flow_spec *spec)
{
    memset(clock, 0, sizeof(*clock));
    clock->spec = spec;
    clock->begin_ns = clock_ns() + spec->warm_ns;
    clock->end_ns = clock->begin_ns + spec->run_ns;
    rng_seed(&clock->rng, 1);
    if (spec->exponent > 0)
        zipf_setup(&clock->zipf, spec->keys, spec->exponent);
}

void flow_keys(struct flow_clock *clock, uint64_t *ids)
{
    const struct flow_spec *spec = clock->spec;

    for (unsigned i = 0; i < spec->batch; i++)
        ids[i] = spec->exponent > 0 ? zipf_next(&clock->zipf, &clock->rng)
                                    : rng_below(&clock->rng, spec->keys);
}

void flow_answered(struct flow_clock *clock, struct flow_result *result, uint64_t sent_ns,
                   uint64_t now_ns, bool right)
{
    if (sent_ns < clock->begin_ns || now_ns > clock->end_ns)
        return;
    if (!right) {
        result->wrong++;
        return;
    }
    result->requests++;
    result->ops += clock->spec->batch;
    histogram_add(&result->latency, now_ns - sent_ns);
}
