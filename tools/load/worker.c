/* SPDX-License-Identifier: Apache-2.0 */
/* A turn: receive, end what is overdue, write and send what there is room for. The clock is read
 * once a turn. Nothing here calls the system, allocates or logs, but for what the driver does. */
#include "tools/load/worker.h"

#include <errno.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cacheline.h"
#include "base/clock.h"
#include "base/counters.h"
#include "tools/cli.h"

#define PREFETCH_AHEAD 4u
#define INBOX 1024u
#define SILENCE_NS (5 * NS_PER_S)

int worker_create(struct worker *w, struct crew *crew, unsigned index,
                  const struct draw_table *table, const struct kvr_hello_rep *hello,
                  const struct peer *peer)
{
    struct peer mine = *peer;
    int rc;

    memset(w, 0, sizeof(*w));
    w->crew = crew;
    w->index = index;
    mine.local_port = (uint16_t)(crew->first_port + index);
    head_setup(&w->head, &mine);
    rc = asker_create(&w->asker, crew->settings, table, hello, crew->port->max_datagram, index);
    for (unsigned i = 0; !rc && crew->nr_workers > 1 && i < crew->nr_workers; i++)
        rc = spsc_create(&w->inboxes[i], INBOX);
    if (rc)
        worker_destroy(w);
    return rc;
}

static void free_frames(struct rte_mbuf **frames, unsigned nr)
{
    if (nr > 0)
        rte_pktmbuf_free_bulk(frames, nr);
}

void worker_destroy(struct worker *w)
{
    uint64_t word;

    for (unsigned q = 0; q < LOAD_QUEUES_MAX; q++)
        free_frames(w->outboxes[q].frames, w->outboxes[q].nr);
    free_frames(w->spare, w->nr_spare);
    for (unsigned i = 0; i < LOAD_THREADS_MAX; i++) {
        while (w->inboxes[i].slots && spsc_pop(&w->inboxes[i], &word))
            rte_pktmbuf_free((struct rte_mbuf *)(uintptr_t)word);
        spsc_destroy(&w->inboxes[i]);
    }
    asker_destroy(&w->asker);
}

/* ---- out ----------------------------------------------------------------------------------- */

static void lock(uint32_t *word)
{
    while (__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE))
        rte_pause();
}

static void unlock(uint32_t *word)
{
    __atomic_store_n(word, 0, __ATOMIC_RELEASE); /* pairs with the exchange in lock */
}

/* What the device does not take now stays for the next turn. */
static void send_outbox(struct worker *w, unsigned queue)
{
    struct outbox *out = &w->outboxes[queue];
    struct crew *crew = w->crew;
    unsigned sent;

    if (crew->nr_workers > 1)
        lock(&crew->tx_locks[queue]);
    sent = rte_eth_tx_burst(crew->port->id, (uint16_t)queue, out->frames, (uint16_t)out->nr);
    if (crew->nr_workers > 1)
        unlock(&crew->tx_locks[queue]);
    if (sent == 0)
        return;
    w->account.tx_bursts++;
    w->account.tx_frames += sent;
    out->nr -= sent;
    w->nr_waiting -= sent;
    if (out->nr > 0)
        memmove(out->frames, out->frames + sent, out->nr * sizeof(out->frames[0]));
}

static void send_all(struct worker *w)
{
    for (unsigned q = 0; q < w->crew->port->nr_queues && w->nr_waiting > 0; q++)
        if (w->outboxes[q].nr > 0)
            send_outbox(w, q);
}

static inline void put(struct worker *w, unsigned queue, struct rte_mbuf *frame)
{
    struct outbox *out = &w->outboxes[queue];

    if (unlikely(out->nr == 2 * WORKER_SEND)) {
        send_outbox(w, queue);
        if (out->nr == 2 * WORKER_SEND) {
            rte_pktmbuf_free(frame);
            return;
        }
    }
    out->frames[out->nr++] = frame;
    w->nr_waiting++;
}

/* An empty frame with an aligned place for the payload, or NULL. */
static inline struct rte_mbuf *take_frame(struct worker *w)
{
    if (unlikely(w->nr_spare == 0)) {
        if (rte_pktmbuf_alloc_bulk(w->crew->port->tx_pool, w->spare, WORKER_SEND))
            return NULL;
        w->nr_spare = WORKER_SEND;
    }
    return w->spare[--w->nr_spare];
}

static inline uint8_t *payload_of(struct rte_mbuf *frame)
{
    return (uint8_t *)frame->buf_addr + RTE_PKTMBUF_HEADROOM;
}

static inline void finish_frame(struct worker *w, struct rte_mbuf *frame, uint32_t len,
                                uint16_t partition)
{
    head_write(&w->head, payload_of(frame), len, (uint16_t)(w->crew->server_port + partition));
    frame->data_off = (uint16_t)(RTE_PKTMBUF_HEADROOM - w->head.size);
    frame->data_len = (uint16_t)(len + w->head.size);
    frame->pkt_len = frame->data_len;
}

static inline unsigned queue_of(const struct worker *w, uint16_t partition)
{
    unsigned nr = w->crew->port->nr_queues;

    return nr == 1 || w->crew->settings->steer_first ? 0 : partition % nr;
}

static void say_hello(struct worker *w, uint64_t now_ns)
{
    struct rte_mbuf *frame = take_frame(w);
    uint32_t len;

    if (!frame)
        return;
    len = asker_hello(&w->asker, now_ns, payload_of(frame));
    finish_frame(w, frame, len, 0);
    put(w, 0, frame);
}

/* An op's first datagram, or (more) a further one of an op that has begun. False: nothing more can
 * be sent now. */
static inline bool send_next(struct worker *w, bool more, uint64_t due_ns, uint64_t now_ns)
{
    struct rte_mbuf *frame = take_frame(w);
    uint16_t partition;
    uint32_t len;

    if (unlikely(!frame))
        return false;
    if (unlikely(more))
        len = asker_more(&w->asker, now_ns, payload_of(frame), &partition);
    else
        len = asker_next(&w->asker, due_ns, now_ns, payload_of(frame), &partition);
    if (unlikely(len == 0)) {
        w->spare[w->nr_spare++] = frame;
        return false;
    }
    finish_frame(w, frame, len, partition);
    put(w, queue_of(w, partition), frame);
    return true;
}

/* ---- in ------------------------------------------------------------------------------------ */

/* Somebody asks for our address, or it is nothing for us. True: the frame is the answer now. */
static bool answer_neighbour(struct worker *w, struct rte_mbuf *frame)
{
    uint8_t *bytes = rte_pktmbuf_mtod(frame, uint8_t *);
    struct frame_view view;
    struct peer peer;
    enum frame_kind kind = frame_parse(&w->crew->self, bytes, frame->data_len, 0, &view, &peer);

    if (kind == FRAME_DROP || kind == FRAME_DATAGRAM) {
        counter_add(&w->account.foreign, 1);
        return false;
    }
    frame->data_len = (uint16_t)frame_answer(&w->crew->self, kind, &view, bytes);
    frame->pkt_len = frame->data_len;
    frame->ol_flags = 0;
    put(w, 0, frame);
    return true;
}

/* True: the frame is somebody else's now. */
static bool pass_on(struct worker *w, struct rte_mbuf *frame, uint16_t to)
{
    return spsc_push(&w->crew->workers[to].inboxes[w->index], (uintptr_t)frame);
}

/* True: the frame may be freed. */
static inline bool take(struct worker *w, struct rte_mbuf *frame, uint64_t now_ns)
{
    const uint8_t *bytes = rte_pktmbuf_mtod(frame, const uint8_t *);
    const struct crew *crew = w->crew;
    uint32_t len;
    uint16_t to;

    if (unlikely(frame->nb_segs > 1) && rte_pktmbuf_linearize(frame)) {
        counter_add(&w->account.foreign, 1);
        return true;
    }
    if (unlikely(!head_matches(&w->head, bytes, frame->data_len, crew->first_port, crew->nr_workers,
                               &len, &to)))
        return !answer_neighbour(w, frame);
    if (unlikely(to != w->index))
        return !pass_on(w, frame, to);
    asker_take(&w->asker, bytes + w->head.size, len, now_ns);
    return true;
}

/* All of them are of the port's one pool, and nobody else has them. */
static inline void free_received(const struct worker *w, struct rte_mbuf **frames, unsigned nr)
{
    unsigned whole = 0;

    for (unsigned i = 0; i < nr; i++) {
        struct rte_mbuf *frame = frames[i];

        if (likely(frame->nb_segs == 1 && rte_mbuf_refcnt_read(frame) == 1 &&
                   frame->pool == w->crew->port->rx_pool))
            frames[whole++] = frame;
        else
            rte_pktmbuf_free(frame);
    }
    if (whole > 0)
        rte_mempool_put_bulk(w->crew->port->rx_pool, (void **)frames, whole);
}

static void take_burst(struct worker *w, struct rte_mbuf **frames, unsigned nr, uint64_t now_ns)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < nr && i < PREFETCH_AHEAD; i++)
        prefetch_read(rte_pktmbuf_mtod(frames[i], const uint8_t *));
    for (unsigned i = 0; i < nr; i++) {
        if (i + PREFETCH_AHEAD < nr)
            prefetch_read(rte_pktmbuf_mtod(frames[i + PREFETCH_AHEAD], const uint8_t *));
        if (likely(take(w, frames[i], now_ns)))
            frames[kept++] = frames[i];
    }
    free_received(w, frames, kept);
}

/* Queues that this thread reads: every nr_workers-th. */
static unsigned receive(struct worker *w, uint64_t now_ns)
{
    const struct load_port *port = w->crew->port;
    struct rte_mbuf *frames[WORKER_BURST];
    unsigned all = 0, nr;

    for (unsigned q = w->index; q < port->nr_queues; q += w->crew->nr_workers) {
        uint64_t before = rte_rdtsc();

        nr = rte_eth_rx_burst(port->id, (uint16_t)q, frames, WORKER_BURST);
        if (nr == 0)
            continue;
        w->account.device += rte_rdtsc() - before;
        w->account.rx_bursts++;
        w->account.rx_frames += nr;
        all += nr;
        take_burst(w, frames, nr, now_ns);
    }
    for (unsigned i = 0; w->crew->nr_workers > 1 && i < w->crew->nr_workers; i++) {
        uint64_t word;

        for (nr = 0; nr < WORKER_BURST && spsc_pop(&w->inboxes[i], &word); nr++)
            frames[nr] = (struct rte_mbuf *)(uintptr_t)word;
        take_burst(w, frames, nr, now_ns);
        all += nr;
    }
    return all;
}

/* ---- turns --------------------------------------------------------------------------------- */

/* Writes what goes on. */
static void go_on(struct worker *w, uint64_t now_ns)
{
    for (unsigned i = 0; i < WORKER_SEND && asker_has_more(&w->asker); i++)
        if (!send_next(w, true, 0, now_ns))
            return;
}

/* Writes what the loop may start now. */
static void start(struct worker *w, uint64_t now_ns)
{
    struct asker *a = &w->asker;
    bool open = w->crew->settings->bench.rate && w->phase == WORKER_MEASURE;
    uint64_t due_ns = now_ns;

    for (unsigned i = 0; i < WORKER_SEND && asker_has_room(a); i++) {
        if (open) {
            due_ns = schedule_due(&w->schedule);
            if (due_ns > now_ns)
                return;
        }
        if (!send_next(w, false, due_ns, now_ns))
            return;
        if (open)
            schedule_advance(&w->schedule);
    }
}

/* One turn, up to the clock's next reading; false: nothing was there to do. */
static bool turn(struct worker *w, uint64_t now_ns, bool may_start)
{
    bool worked = receive(w, now_ns) > 0;
    uint64_t before;

    asker_expire(&w->asker, now_ns);
    if (proof_due(&w->asker.proof, now_ns))
        say_hello(w, now_ns);
    if (w->nr_waiting < WORKER_SEND && asker_ready(&w->asker))
        go_on(w, now_ns);
    if (may_start && w->nr_waiting < WORKER_SEND && asker_ready(&w->asker))
        start(w, now_ns);
    if (w->nr_waiting > 0) {
        before = rte_rdtsc();
        send_all(w);
        w->account.device += rte_rdtsc() - before;
        worked = true;
    }
    return worked;
}

static bool ended(struct worker *w, uint64_t now_ns)
{
    const struct asker *a = &w->asker;

    if (__atomic_load_n(&w->crew->stop, __ATOMIC_RELAXED) || cli_interrupted() || w->failed)
        return true;
    switch (w->phase) {
    case WORKER_GREET:
        return asker_ready(a);
    case WORKER_WARM:
        return a->warm_failed || a->warm.ops >= w->quota;
    default:
        return now_ns >= w->end_ns || a->started >= w->quota;
    }
}

/* Open loop: what was due by the end and had no place. */
static void count_unstarted(struct worker *w)
{
    uint64_t batch = w->crew->settings->bench.batch;

    while (schedule_due(&w->schedule) < w->end_ns &&
           w->asker.started + w->account.unstarted < w->quota && !cli_interrupted()) {
        w->account.unstarted += batch;
        schedule_advance(&w->schedule);
    }
}

/* Before anything is measured, silence is the end of it. */
static void watch_silence(struct worker *w, uint64_t now_ns)
{
    uint64_t heard = w->asker.answered_ns > w->start_ns ? w->asker.answered_ns : w->start_ns;

    if (w->phase != WORKER_MEASURE && now_ns > heard + SILENCE_NS)
        w->failed = true;
}

static uint64_t preemptions(void)
{
    struct rusage usage = {0};

    getrusage(RUSAGE_THREAD, &usage);
    return (uint64_t)usage.ru_nivcsw;
}

/* What comes into the queues of this thread may be for others that still work. */
static void serve_others(struct worker *w)
{
    struct account account = w->account;

    while (__atomic_load_n(&w->crew->nr_working, __ATOMIC_RELAXED) > 0)
        turn(w, ticks_ns(&w->crew->ticks, rte_rdtsc()), false);
    w->account = account;
}

int worker_run(void *arg)
{
    struct worker *w = arg;
    const struct load_settings *s = w->crew->settings;
    uint64_t begin = rte_rdtsc(), tsc = begin, drained_ns = UINT64_MAX, now_ns, next, device;
    bool going = true;

    w->account = (struct account){0};
    w->account.preempted = preemptions();
    if (s->bench.rate)
        schedule_setup(&w->schedule, w->start_ns,
                       (double)s->bench.rate / (double)s->bench.threads / (double)s->bench.batch,
                       s->bench.poisson, s->bench.seed + w->index);
    while (going || asker_busy(&w->asker) > 0 || w->nr_waiting > 0) {
        now_ns = ticks_ns(&w->crew->ticks, tsc);
        if (going && ended(w, now_ns)) {
            going = false;
            drained_ns = now_ns + (JOB_TRIES + 2) * w->asker.flights.timeout_ns + NS_PER_S;
        }
        if (unlikely(now_ns > drained_ns))
            break; /* the device takes no frames any more */
        device = w->account.device;
        if (turn(w, now_ns, going && w->phase != WORKER_GREET)) {
            next = rte_rdtsc();
            w->account.busy += next - tsc;
        } else {
            next = rte_rdtsc();
            w->account.device = device;
            watch_silence(w, now_ns);
        }
        tsc = next;
    }
    asker_give_up(&w->asker, ticks_ns(&w->crew->ticks, tsc));
    w->account.cycles = tsc - begin;
    w->account.preempted = preemptions() - w->account.preempted;
    if (s->bench.rate && w->phase == WORKER_MEASURE)
        count_unstarted(w);
    __atomic_sub_fetch(&w->crew->nr_working, 1, __ATOMIC_RELAXED);
    serve_others(w);
    return 0;
}
