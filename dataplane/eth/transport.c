/* SPDX-License-Identifier: Apache-2.0 */
/* Bursts of frames in, requests out; replies in, bursts of frames out. Runs on its poll core; only
 * release and the end of a pin may come from any core. Nothing here calls the system, allocates or
 * locks, but for what the device's driver does. */
#include "dataplane/eth/transport.h"

#include <errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <stdlib.h>
#include <string.h>

#include "base/spsc.h"
#include "dataplane/core.h"
#include "dataplane/eth/checksum.h"
#include "dataplane/eth/pools.h"
#include "dataplane/eth/usual.h"

#define TX_BATCH BURST
/* Of a full device queue: some 100 us, in which a port of 10 Gbit/s sends 80 full frames. */
#define TX_TRIES 4096u
#define OUTBOX_SIZE 1024u
#define PREFETCH_AHEAD 4u

struct eth_transport {
    struct transport base;
    struct frame_usual usual; /* constant, as all up to stats */
    struct port *port;        /* but for announce */
    struct core_stats *stats;
    struct rte_mempool *tx_pool, *pin_pool;
    uint16_t port_id, queue;
    bool has_queue;
    bool sums_by_device;    /* port->tx_checksums */
    bool announces;         /* worker 0 */
    unsigned parse_checked; /* FRAME_PARTIAL_ALLOWED, or 0 */
    unsigned nr_tx, lost;
    struct rte_mbuf *tx[TX_BATCH];
    struct spsc outbox; /* without a queue: frames for core queue to send; this core pushes */
    struct spsc *inboxes[KVR_PARTITIONS_MAX]; /* outboxes of the cores that this one sends for */
    unsigned nr_inboxes;
};

static struct eth_transport *eth(struct transport *transport)
{
    return (struct eth_transport *)transport;
}

static void send_by_other_core(struct eth_transport *t)
{
    for (unsigned i = 0; i < t->nr_tx; i++) {
        if (!spsc_push(&t->outbox, (uintptr_t)t->tx[i])) {
            rte_pktmbuf_free(t->tx[i]);
            t->lost++;
        }
    }
    t->nr_tx = 0;
}

/* Frames that the device would refuse or send with wrong checksums are lost here. */
static unsigned prepare(struct eth_transport *t, struct rte_mbuf **frames, unsigned n)
{
    unsigned good = 0;

    if (!t->port->tx_checksums)
        return n;
    while (good < n) {
        good += rte_eth_tx_prepare(t->port_id, t->queue, frames + good, (uint16_t)(n - good));
        if (unlikely(good < n)) {
            rte_pktmbuf_free(frames[good]);
            t->lost++;
            n--;
            memmove(frames + good, frames + good + 1, (n - good) * sizeof(frames[0]));
        }
    }
    return n;
}

static void send_batch(struct eth_transport *t)
{
    unsigned n, sent = 0, tries = TX_TRIES;

    if (!t->has_queue) {
        send_by_other_core(t);
        return;
    }
    n = prepare(t, t->tx, t->nr_tx);
    for (;;) {
        sent += rte_eth_tx_burst(t->port_id, t->queue, t->tx + sent, (uint16_t)(n - sent));
        if (likely(sent == n) || !--tries)
            break;
        rte_pause();
    }
    if (unlikely(sent < n)) {
        rte_pktmbuf_free_bulk(t->tx + sent, n - sent);
        t->lost += n - sent;
    }
    t->nr_tx = 0;
}

static void send_frame(struct eth_transport *t, struct rte_mbuf *frame)
{
    t->tx[t->nr_tx++] = frame;
    if (t->nr_tx == TX_BATCH)
        send_batch(t);
}

/* GOOD, or NONE: no checksum in the frame, but the data is known to be good. */
static inline unsigned checked_by_device(const struct rte_mbuf *frame)
{
    return (unsigned)(frame->ol_flags / RTE_MBUF_F_RX_IP_CKSUM_GOOD) &
           (FRAME_IP_GOOD | FRAME_L4_GOOD);
}
_Static_assert(RTE_MBUF_F_RX_L4_CKSUM_GOOD / FRAME_L4_GOOD ==
                       RTE_MBUF_F_RX_IP_CKSUM_GOOD / FRAME_IP_GOOD &&
                   (RTE_MBUF_F_RX_IP_CKSUM_NONE & ~RTE_MBUF_F_RX_IP_CKSUM_BAD) ==
                       RTE_MBUF_F_RX_IP_CKSUM_GOOD &&
                   (RTE_MBUF_F_RX_L4_CKSUM_NONE & ~RTE_MBUF_F_RX_L4_CKSUM_BAD) ==
                       RTE_MBUF_F_RX_L4_CKSUM_GOOD &&
                   !(RTE_MBUF_F_RX_IP_CKSUM_BAD & RTE_MBUF_F_RX_IP_CKSUM_GOOD) &&
                   !(RTE_MBUF_F_RX_L4_CKSUM_BAD & RTE_MBUF_F_RX_L4_CKSUM_GOOD),
               "GOOD and NONE share a bit that BAD has not");

static void answer(struct eth_transport *t, struct rte_mbuf *frame, enum frame_kind kind,
                   const struct frame_view *view)
{
    uint32_t len = frame_answer(&t->port->self, kind, view, rte_pktmbuf_mtod(frame, uint8_t *));

    counter_add(kind == FRAME_ARP            ? &t->stats->arp_replies
                : kind == FRAME_SOLICITATION ? &t->stats->nd_replies
                                             : &t->stats->echo_replies,
                1);
    frame->data_len = (uint16_t)len;
    frame->pkt_len = len;
    frame->ol_flags = 0;
    send_frame(t, frame);
}

/* From off on. Buffers that belong to the device, or to somebody else too, are only read. */
static inline uint32_t room_in_place(const struct eth_transport *t, const struct rte_mbuf *frame,
                                     uint32_t off)
{
    uint32_t room = frame->buf_len - frame->data_off - off;

    return RTE_MBUF_DIRECT(frame) && rte_mbuf_refcnt_read(frame) == 1 &&
                   room >= t->base.max_datagram
               ? room
               : 0;
}

static inline struct request *fill(struct rte_mbuf *frame, const uint8_t *msg, uint32_t len,
                                   uint32_t room)
{
    struct request *request = rte_mbuf_to_priv(frame);

    request->frame = frame;
    request->msg = msg;
    request->len = len;
    request->room = room;
    request->local = 0;
    return request;
}

/* What is not usual. NULL: the frame was answered or dropped. */
static __attribute__((noinline)) struct request *read_unusual(struct eth_transport *t,
                                                              struct rte_mbuf *frame)
{
    struct request *request = rte_mbuf_to_priv(frame);
    struct frame_view view;
    enum frame_kind kind;

    if (unlikely(frame->nb_segs > 1) && rte_pktmbuf_linearize(frame)) {
        counter_add(&t->stats->drops[DROP_ip_truncated], 1);
        rte_pktmbuf_free(frame);
        return NULL;
    }
    kind = frame_parse(&t->port->self, rte_pktmbuf_mtod(frame, const uint8_t *), frame->data_len,
                       checked_by_device(frame) | t->parse_checked, &view, &request->peer);
    if (likely(kind == FRAME_DATAGRAM))
        return fill(frame, rte_pktmbuf_mtod_offset(frame, const uint8_t *, view.payload_off),
                    view.payload_len, room_in_place(t, frame, view.payload_off));
    if (kind == FRAME_DROP) {
        counter_add(&t->stats->drops[view.reason], 1);
        rte_pktmbuf_free(frame);
    } else {
        answer(t, frame, kind, &view);
    }
    return NULL;
}

/* A frame of one piece that is nobody else's: the numbers behind data_off, in one word. */
static inline bool one_piece(const struct rte_mbuf *frame)
{
    const uint32_t one = 1u | 1u << 16;
    uint32_t both;

    memcpy(&both, &frame->refcnt, sizeof(both));
    return both == one;
}
_Static_assert(offsetof(struct rte_mbuf, nb_segs) == offsetof(struct rte_mbuf, refcnt) + 2,
               "one_piece reads both together");

static inline struct request *read_frame(struct eth_transport *t, struct rte_mbuf *frame)
{
    struct request *request = rte_mbuf_to_priv(frame);
    const uint8_t *bytes = rte_pktmbuf_mtod(frame, const uint8_t *);
    uint32_t room = frame->buf_len - frame->data_off - FRAME_USUAL_SIZE;
    int32_t len;

    if (unlikely(!one_piece(frame)) || unlikely(!RTE_MBUF_DIRECT(frame)) ||
        unlikely(room < t->base.max_datagram))
        return read_unusual(t, frame);
    len = frame_usual_read(&t->usual, bytes, frame->data_len, checked_by_device(frame),
                           &request->peer);
    if (unlikely(len < 0))
        return read_unusual(t, frame);
    return fill(frame, bytes + FRAME_USUAL_SIZE, (uint32_t)len, room);
}

static unsigned eth_rx(struct transport *transport, uint64_t now_ns, struct request **requests,
                       unsigned max)
{
    struct eth_transport *t = eth(transport);
    struct rte_mbuf *frames[BURST + PREFETCH_AHEAD];
    struct request *request;
    unsigned n, nr = 0;

    if (!t->has_queue)
        return 0;
    n = rte_eth_rx_burst(t->port_id, t->queue, frames, (uint16_t)(max < BURST ? max : BURST));
    if (!n)
        return 0;
    counter_add(&t->stats->rx_bursts, 1);
    counter_add(&t->stats->rx_packets, n);
    for (unsigned i = 0; i < PREFETCH_AHEAD; i++) {
        frames[n + i] = frames[n - 1]; /* is fetched ahead several times, no harm done */
        prefetch_read(rte_pktmbuf_mtod(frames[i], const uint8_t *));
    }
    for (unsigned i = 0; i < n; i++) {
        prefetch_read(rte_pktmbuf_mtod(frames[i + PREFETCH_AHEAD], const uint8_t *));
        request = read_frame(t, frames[i]);
        if (unlikely(!request))
            continue;
        request->arrived_ns = now_ns;
        requests[nr++] = request;
    }
    return nr;
}

static void eth_release(struct transport *transport, struct request *request)
{
    (void)transport;
    rte_pktmbuf_free(request->frame);
}

static bool eth_reply_begin(struct transport *transport, const struct peer *peer,
                            struct reply *reply)
{
    struct rte_mbuf *head = rte_pktmbuf_alloc(eth(transport)->tx_pool);

    (void)peer;
    if (unlikely(!head))
        return false;
    reply->bytes = rte_pktmbuf_mtod(head, uint8_t *);
    reply->room = transport->max_datagram;
    reply->len = 0;
    reply->frame = head;
    return true;
}

/* The device has sent the bytes. Any core. */
static void unpin(void *bytes, void *opaque)
{
    struct pin *pin = opaque;

    (void)bytes;
    partition_unpin(pin->partition, pin->block);
}

static bool eth_reply_attach(struct transport *transport, struct reply *reply,
                             struct partition *partition, uint32_t block, const uint8_t *bytes,
                             uint32_t len)
{
    struct rte_mbuf *head = reply->frame, *tail;
    struct pin *pin;

    if (!eth(transport)->port->attach || head->next || reply->len + len > reply->room)
        return false;
    tail = rte_pktmbuf_alloc(eth(transport)->pin_pool);
    if (unlikely(!tail))
        return false;
    pin = rte_mbuf_to_priv(tail);
    pin->partition = partition;
    pin->block = block;
    pin->shared.free_cb = unpin;
    pin->shared.fcb_opaque = pin;
    rte_mbuf_ext_refcnt_set(&pin->shared, 1);
    partition_pin(partition, block);
    rte_pktmbuf_attach_extbuf(tail, (void *)(uintptr_t)bytes, (uintptr_t)bytes, (uint16_t)len,
                              &pin->shared);
    tail->data_len = (uint16_t)len;
    tail->pkt_len = len;
    head->next = tail;
    head->nb_segs = 2;
    return true;
}

static uint64_t payload_sum(const struct rte_mbuf *head, uint32_t len)
{
    const struct rte_mbuf *tail = head->next;
    uint64_t sum = checksum_add(0, rte_pktmbuf_mtod(head, const uint8_t *), len);

    if (!tail)
        return sum;
    return len % 2 ? checksum_add_odd(sum, rte_pktmbuf_mtod(tail, const uint8_t *), tail->data_len)
                   : checksum_add(sum, rte_pktmbuf_mtod(tail, const uint8_t *), tail->data_len);
}

static void eth_reply_send(struct transport *transport, const struct peer *peer,
                           struct reply *reply)
{
    struct eth_transport *t = eth(transport);
    struct rte_mbuf *head = reply->frame;
    uint32_t size = frame_head_size(peer), len = reply->len;
    enum frame_checksum checksum;
    uint64_t sum = 0;

    if (head->next)
        len += head->next->data_len;
    if (t->port->tx_checksums) {
        checksum = CHECKSUM_PSEUDO;
        head->ol_flags |=
            RTE_MBUF_F_TX_UDP_CKSUM |
            (peer->ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM);
        head->l2_len = FRAME_ETH_SIZE;
        head->l3_len = size - FRAME_ETH_SIZE - FRAME_UDP_SIZE;
    } else if (peer->ipv6) {
        checksum = CHECKSUM_SOFTWARE;
        sum = payload_sum(head, reply->len);
    } else {
        /* UDP over IPv4 may go without; every kvrail datagram carries its own CRC32C. */
        checksum = CHECKSUM_NONE;
    }
    head->data_off -= (uint16_t)size;
    head->data_len = (uint16_t)(size + reply->len);
    head->pkt_len = size + len;
    frame_write_head(rte_pktmbuf_mtod(head, uint8_t *), peer, len, checksum, sum);
    reply->frame = NULL;
    send_frame(t, head);
}

/* Any frame's head, or with sums for the device to make. */
static __attribute__((noinline)) void turn_any(struct eth_transport *t, struct request *request,
                                               uint32_t len)
{
    struct rte_mbuf *frame = request->frame;
    struct reply reply = {.len = len, .frame = frame};

    frame->data_off = (uint16_t)(request->msg - (const uint8_t *)frame->buf_addr);
    eth_reply_send(&t->base, &request->peer, &reply);
}

static void eth_turn_round(struct transport *transport, struct request *request, uint32_t len)
{
    struct eth_transport *t = eth(transport);
    struct rte_mbuf *frame = request->frame;

    frame->ol_flags = 0;
    if (unlikely(!request->peer.usual || t->sums_by_device)) {
        turn_any(t, request, len);
        return;
    }
    frame->data_len = (uint16_t)(FRAME_USUAL_SIZE + len);
    frame->pkt_len = FRAME_USUAL_SIZE + len;
    frame_usual_turn((uint8_t *)(uintptr_t)request->msg - FRAME_USUAL_SIZE, len);
    send_frame(t, frame);
}

static void send_for_others(struct eth_transport *t)
{
    uint64_t word;

    for (unsigned i = 0; i < t->nr_inboxes; i++)
        for (unsigned n = 0; n < OUTBOX_SIZE && spsc_pop(t->inboxes[i], &word); n++)
            send_frame(t, (struct rte_mbuf *)(uintptr_t)word);
}

static void announce(struct eth_transport *t)
{
    const struct frame_self *self = &t->port->self;
    struct rte_mbuf *frame;

    __atomic_store_n(&t->port->announce, false, __ATOMIC_RELAXED);
    for (int family = 4; family <= 6; family += 2) {
        if (!(family == 4 ? self->has_ip4 : self->has_ip6))
            continue;
        frame = rte_pktmbuf_alloc(t->tx_pool);
        if (!frame)
            return;
        frame->data_len = (uint16_t)(family == 4 ? frame_announce_ip4 : frame_announce_ip6)(
            self, rte_pktmbuf_mtod(frame, uint8_t *));
        frame->pkt_len = frame->data_len;
        send_frame(t, frame);
    }
}

static unsigned eth_flush(struct transport *transport)
{
    struct eth_transport *t = eth(transport);
    unsigned lost;

    if (unlikely(t->announces && __atomic_load_n(&t->port->announce, __ATOMIC_RELAXED)))
        announce(t);
    if (t->nr_inboxes)
        send_for_others(t);
    if (t->nr_tx)
        send_batch(t);
    lost = t->lost;
    t->lost = 0;
    return lost;
}

static const struct transport_ops eth_ops = {
    .name = "eth",
    .rx = eth_rx,
    .release = eth_release,
    .reply_begin = eth_reply_begin,
    .reply_attach = eth_reply_attach,
    .reply_send = eth_reply_send,
    .turn_round = eth_turn_round,
    .flush = eth_flush,
};

static uint32_t max_datagram(const struct port *port)
{
    uint32_t fits = port->mtu - FRAME_IP6_SIZE - FRAME_UDP_SIZE;

    return fits < KVR_DATAGRAM_MAX ? fits : KVR_DATAGRAM_MAX;
}

static void setup(struct eth_transport *t, struct port *port, const struct settings *settings,
                  struct core_stats *stats, unsigned worker)
{
    t->base.ops = &eth_ops;
    t->base.max_datagram = max_datagram(port);
    t->base.zero_copy_min =
        port->attach && settings->zero_copy_min ? (uint32_t)settings->zero_copy_min : UINT32_MAX;
    frame_usual_make(&port->self, &t->usual);
    t->port = port;
    t->stats = stats;
    t->tx_pool = port->tx_pool;
    t->pin_pool = port->pin_pool;
    t->port_id = port->id;
    t->queue = (uint16_t)(worker % port->nr_queues);
    t->has_queue = worker < port->nr_queues;
    t->sums_by_device = port->tx_checksums;
    t->announces = worker == 0;
    t->parse_checked = port->traits->partial_checksums ? FRAME_PARTIAL_ALLOWED : 0;
}

int eth_transports_create(struct port *port, const struct settings *settings,
                          struct core_stats *const *stats, struct transport **transports)
{
    unsigned nr = port->nr_workers, made = 0;
    struct eth_transport *t, *sender;

    for (; made < nr; made++) {
        if (posix_memalign((void **)&t, CACHE_LINE, sizeof(*t)))
            goto undo;
        memset(t, 0, sizeof(*t));
        setup(t, port, settings, stats[made], made);
        transports[made] = &t->base;
        if (t->has_queue)
            continue;
        if (spsc_create(&t->outbox, OUTBOX_SIZE)) {
            free(t);
            goto undo;
        }
        sender = eth(transports[t->queue]);
        sender->inboxes[sender->nr_inboxes++] = &t->outbox;
    }
    return 0;
undo:
    eth_transports_destroy(transports, made);
    return -ENOMEM;
}

void eth_transports_drain(struct transport **transports, unsigned nr)
{
    for (unsigned i = nr; i-- > 0;)
        eth_flush(transports[i]);
}

void eth_transports_destroy(struct transport **transports, unsigned nr)
{
    uint64_t word;

    for (unsigned i = nr; i-- > 0;) {
        struct eth_transport *t = eth(transports[i]);

        if (!t->has_queue) {
            while (spsc_pop(&t->outbox, &word))
                rte_pktmbuf_free((struct rte_mbuf *)(uintptr_t)word);
            spsc_destroy(&t->outbox);
        }
        free(t);
    }
}
