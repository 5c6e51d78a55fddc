/* SPDX-License-Identifier: Apache-2.0 */
/* Three steps, each asked again until it is answered; what others ask meanwhile is answered. */
#include "tools/load/greet.h"

#include <errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <string.h>

#include "base/clock.h"
#include "tools/cli.h"
#include "tools/load/head.h"
#include "tools/load/neighbour.h"

#define AGAIN_NS (100 * NS_PER_MS)
#define LOOK_NS (NS_PER_MS / 5)
#define BURST 32u

struct greeting {
    const struct load_port *port;
    const struct frame_self *self;
    struct peer *peer;
    struct proof *proof;
    struct head head;
    uint64_t serial;
    bool found, done;
};

static void send_frame(const struct greeting *g, const void *bytes, uint32_t len)
{
    struct rte_mbuf *frame = rte_pktmbuf_alloc(g->port->tx_pool);

    if (!frame)
        return;
    memcpy(rte_pktmbuf_append(frame, (uint16_t)len), bytes, len);
    if (rte_eth_tx_burst(g->port->id, 0, &frame, 1) == 0)
        rte_pktmbuf_free(frame);
}

static void ask_mac(const struct greeting *g)
{
    uint8_t frame[NEIGHBOUR_FRAME_MAX];

    send_frame(g, frame, neighbour_ask(g->peer, frame));
}

static void say_hello(struct greeting *g, uint64_t now_ns)
{
    _Alignas(8) uint8_t bytes[HEAD_WORDS * 8 + PROOF_HELLO_BYTES];
    uint8_t *payload = bytes + HEAD_WORDS * 8;

    proof_hello(g->proof, payload, ++g->serial, now_ns);
    head_write(&g->head, payload, PROOF_HELLO_BYTES, g->peer->port);
    send_frame(g, payload - g->head.size, g->head.size + PROOF_HELLO_BYTES);
}

static void take_datagram(struct greeting *g, const uint8_t *payload, uint32_t len)
{
    struct checked_reply reply;

    if (check_reply(payload, len, &reply) == CHECK_OK)
        g->done |= proof_answer(g->proof, &reply);
}

static void take(struct greeting *g, struct rte_mbuf *frame)
{
    uint8_t *bytes = rte_pktmbuf_mtod(frame, uint8_t *);
    struct frame_view view;
    enum frame_kind kind;
    struct peer from;
    uint32_t len;
    uint16_t port;

    if (rte_pktmbuf_linearize(frame))
        return;
    if (!g->found && neighbour_told(g->peer, bytes, frame->data_len)) {
        head_setup(&g->head, g->peer);
        g->found = true;
    }
    if (g->found &&
        head_matches(&g->head, bytes, frame->data_len, g->peer->local_port, 1, &len, &port)) {
        take_datagram(g, bytes + g->head.size, len);
        return;
    }
    kind = frame_parse(g->self, bytes, frame->data_len, 0, &view, &from);
    if (kind == FRAME_DROP || kind == FRAME_DATAGRAM)
        return;
    len = frame_answer(g->self, kind, &view, bytes);
    send_frame(g, bytes, len);
}

static void look(struct greeting *g)
{
    struct rte_mbuf *frames[BURST];

    for (uint16_t q = 0; q < g->port->nr_queues; q++) {
        unsigned nr = rte_eth_rx_burst(g->port->id, q, frames, BURST);

        for (unsigned i = 0; i < nr; i++)
            take(g, frames[i]);
        if (nr > 0)
            rte_pktmbuf_free_bulk(frames, nr);
    }
}

/* Asks for what is missing; returns its name. */
static const char *ask(struct greeting *g, uint64_t now_ns)
{
    if (!g->found && !load_port_link(g->port))
        return "the link to come up";
    if (!g->found) {
        ask_mac(g);
        return "its MAC address";
    }
    say_hello(g, now_ns);
    return "the answer to HELLO";
}

int greet(const struct load_port *port, const struct frame_self *self, struct peer *peer,
          uint64_t wait_ns, struct proof *proof, const char **step)
{
    struct greeting g = {.port = port, .self = self, .peer = peer, .proof = proof};
    uint64_t now_ns = clock_ns(), end_ns = now_ns + wait_ns, again_ns = 0;
    bool found = false;

    *step = "the link";
    for (; !g.done; now_ns = clock_ns()) {
        if (now_ns >= end_ns)
            return -ETIMEDOUT;
        if (cli_interrupted())
            return -EINTR;
        if (now_ns >= again_ns || found != g.found) {
            *step = ask(&g, now_ns);
            again_ns = now_ns + AGAIN_NS;
            found = g.found;
        }
        look(&g);
        if (proof->refused)
            return -EPROTO;
        cli_sleep_until(now_ns + LOOK_NS);
    }
    return 0;
}
