/* SPDX-License-Identifier: Apache-2.0 */
/* Connections in turn: wait for the answer of the oldest request, send the next one there. The peer
 * serves its connections in much the same order, so hardly a system call is in vain. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flow_clock.h"

#define SILENCE_NS NS_PER_S /* after which the peer is taken for dead */

struct connection {
    int fd;
    uint64_t sent_ns;
    size_t got;
    uint64_t ids[PEER_BATCH_MAX];
    char *reply;
};

static int ask(struct flow_clock *clock, struct connection *connection)
{
    const struct flow_spec *spec = clock->spec;
    char request[PEER_REQUEST_MAX];
    size_t len;

    flow_keys(clock, connection->ids);
    len = spec->protocol->get(request, connection->ids, spec->batch);
    connection->got = 0;
    connection->sent_ns = clock_ns();
    return flow_send_all(connection->fd, request, len);
}

/* Until the whole answer is there. */
static int take_answer(const struct flow_spec *spec, struct connection *connection)
{
    size_t want = spec->protocol->reply_len(spec->batch, spec->value_len);
    uint64_t until_ns = connection->sent_ns + SILENCE_NS;

    while (connection->got < want) {
        ssize_t n = recv(connection->fd, connection->reply + connection->got,
                         want - connection->got, MSG_DONTWAIT);

        if (n > 0)
            connection->got += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return n == 0 ? -ECONNRESET : -errno;
        else if (clock_ns() > until_ns)
            return -ETIMEDOUT;
    }
    return 0;
}

static int run(struct flow_clock *clock, struct connection *all, struct flow_result *result)
{
    const struct flow_spec *spec = clock->spec;
    int rc = 0;

    for (unsigned i = 0; i < spec->slots && !rc; i++)
        rc = ask(clock, &all[i]);
    for (unsigned i = 0; !rc; i = (i + 1) % spec->slots) {
        uint64_t now_ns;
        bool right;

        rc = take_answer(spec, &all[i]);
        if (rc)
            break;
        now_ns = clock_ns();
        right =
            protocol_right(spec->protocol, all[i].reply, all[i].ids, spec->batch, spec->value_len);
        flow_answered(clock, result, all[i].sent_ns, now_ns, right);
        if (now_ns > clock->end_ns)
            break;
        rc = ask(clock, &all[i]);
    }
    return rc;
}

int flow_run_tcp(const struct flow_spec *spec, struct flow_result *result)
{
    struct connection *all = calloc(spec->slots, sizeof(*all));
    struct flow_clock clock;
    unsigned open = 0;
    int rc = all ? 0 : -ENOMEM;

    memset(result, 0, sizeof(*result));
    for (; !rc && open < spec->slots; open++) {
        all[open].reply = malloc(PEER_REPLY_MAX);
        all[open].fd = flow_connect(spec, SOCK_STREAM);
        if (all[open].fd < 0)
            rc = all[open].fd;
        else if (!all[open].reply)
            rc = -ENOMEM;
    }
    flow_clock_start(&clock, spec);
    if (!rc)
        rc = run(&clock, all, result);
    result->ns = spec->run_ns;
    for (unsigned i = 0; i < open; i++) {
        if (all[i].fd >= 0)
            close(all[i].fd);
        free(all[i].reply);
    }
    free(all);
    return rc;
}
