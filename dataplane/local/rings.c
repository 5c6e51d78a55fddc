/* SPDX-License-Identifier: Apache-2.0 */
/* The rings of clients as a transport. Runs on the owner core of the partition. Invariant: a cell's
 * length is loaded once and its bytes are copied before anything looks at them; replies are built
 * where the client can see them, and nothing is decided by what is read back from there. */
#include <string.h>

#include "dataplane/local/client.h"
#include "shm/words.h"

#define TAKE_MAX 4u /* requests of one client in a turn */

static struct port *port_of(struct transport *transport)
{
    return (struct port *)transport;
}

/* A buffer of the client's own at this core, or NULL. */
static struct buffer *buffer_take(struct side *side)
{
    /* Pairs with the release in rings_release: its last user is done with it. */
    uint32_t free = __atomic_load_n(&side->free, __ATOMIC_ACQUIRE);

    if (free == 0)
        return NULL;
    __atomic_fetch_and(&side->free, ~(free & -free), __ATOMIC_RELAXED);
    return &side->buffers[__builtin_ctz(free)];
}

static void rings_release(struct transport *transport, struct request *request)
{
    struct buffer *buffer = request->frame;
    struct side *home = buffer->home;

    (void)transport;
    __atomic_fetch_or(&home->free, 1u << (buffer - home->buffers), __ATOMIC_RELEASE);
}

/* False: the cell's length is impossible; it is passed over. */
static bool copy_cell(const struct segment_cell *cell, struct buffer *buffer, uint64_t now_ns)
{
    struct request *request = &buffer->request;
    uint32_t len = __atomic_load_n(&cell->len, __ATOMIC_RELAXED);

    if (len > SEGMENT_MESSAGE_MAX)
        return false;
    memcpy(buffer->bytes, cell->bytes, len);
    request->next = NULL;
    request->len = len;
    request->arrived_ns = now_ns;
    return true;
}

static unsigned ring_take(struct port *port, struct side *side, struct ring *ring, unsigned number,
                          struct request **requests, unsigned max)
{
    struct core *core = port->core;
    struct segment_group *group = ring->at.group;
    uint32_t tail = shared_load(&group->request_tail); /* pairs with the client's release */
    unsigned n = 0;

    if (tail == ring->request_head)
        return 0;
    if (tail - ring->request_head > SEGMENT_CELLS) {
        counter_add(&core->stats->local_lost, 1);
        ring->request_head = tail;
    }
    while (ring->request_head != tail && n < max) {
        struct buffer *buffer = buffer_take(side);

        if (!buffer)
            break;
        if (copy_cell(&ring->at.requests[ring->request_head % SEGMENT_CELLS], buffer,
                      core->now_ns)) {
            buffer->request.peer.local_port = (uint16_t)number;
            requests[n++] = &buffer->request;
        } else {
            counter_add(&core->stats->drops[DROP_bad_length], 1);
            rings_release(&port->transport, &buffer->request);
        }
        ring->request_head++;
    }
    shared_store(&group->request_head, ring->request_head);
    return n;
}

/* Up to max requests of one client. */
static unsigned side_take(struct port *port, struct side *side, struct request **requests,
                          unsigned max)
{
    unsigned n = 0;

    for (unsigned i = 0; i < side->nr_rings && n < max; i++) {
        unsigned at = (side->turn + i) % side->nr_rings;

        n += ring_take(port, side, &side->rings[at], ring_partition(port->core, at), requests + n,
                       max - n);
    }
    side->turn++;
    return n;
}

/* A few of each client, from the one on whose turn it is. */
static unsigned rings_rx(struct transport *transport, uint64_t now_ns, struct request **requests,
                         unsigned max)
{
    struct port *port = port_of(transport);
    unsigned n = 0, slot = port->next;

    (void)now_ns;
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX && n < max; i++) {
        slot = (port->next + i) % LOCAL_CLIENTS_MAX;
        if (port->serving >> slot & 1)
            n += side_take(port, port->local->clients[slot]->sides[port->index], requests + n,
                           max - n < TAKE_MAX ? max - n : TAKE_MAX);
    }
    port->next = slot + 1;
    return n;
}

/* The completion ring of the request's partition, or of one that this core owns. */
static bool rings_reply_begin(struct transport *transport, const struct peer *peer,
                              struct reply *reply)
{
    struct port *port = port_of(transport);
    struct core *core = port->core;
    struct side *side = port->local->clients[peer->port]->sides[port->index];
    bool own = core->partitions[peer->local_port] != NULL;
    struct ring *ring = side_ring(core, side, own ? peer->local_port : port->index);
    uint32_t head = shared_load(&ring->at.group->completion_head), tail = ring->completion_tail;

    if (tail - head >= SEGMENT_CELLS) {
        counter_add(&core->stats->local_dropped, 1);
        return false;
    }
    *reply = (struct reply){.bytes = ring->at.completions[tail % SEGMENT_CELLS].bytes,
                            .room = SEGMENT_MESSAGE_MAX,
                            .frame = ring};
    return true;
}

static bool rings_reply_attach(struct transport *transport, struct reply *reply,
                               struct partition *partition, uint32_t block, const uint8_t *bytes,
                               uint32_t len)
{
    (void)transport, (void)reply, (void)partition, (void)block, (void)bytes, (void)len;
    return false;
}

static void rings_reply_send(struct transport *transport, const struct peer *peer,
                             struct reply *reply)
{
    struct ring *ring = reply->frame;
    struct segment_cell *cell = &ring->at.completions[ring->completion_tail % SEGMENT_CELLS];

    (void)transport, (void)peer;
    __atomic_store_n(&cell->len, reply->len, __ATOMIC_RELAXED);
    __atomic_store_n(&cell->zero, 0, __ATOMIC_RELAXED);
    /* Pairs with the client's acquire. */
    shared_store(&ring->at.group->completion_tail, ++ring->completion_tail);
}

/* Requests have no room, so their buffers never become replies. */
static void rings_turn_round(struct transport *transport, struct request *request, uint32_t len)
{
    (void)len;
    rings_release(transport, request);
}

static unsigned rings_flush(struct transport *transport)
{
    (void)transport;
    return 0;
}

const struct transport_ops rings_ops = {.name = "rings",
                                        .rx = rings_rx,
                                        .release = rings_release,
                                        .reply_begin = rings_reply_begin,
                                        .reply_attach = rings_reply_attach,
                                        .reply_send = rings_reply_send,
                                        .turn_round = rings_turn_round,
                                        .flush = rings_flush};
