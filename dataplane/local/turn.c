/* SPDX-License-Identifier: Apache-2.0 */
/* A poll core's turn for its clients on this host. Invariant: what a client may cost in a turn is
 * bounded, its requests wait at itself and never in the core's own queue, and of a client that
 * leaves nothing is touched any more once its side is gone. */
#include "dataplane/local/turn.h"

#include "dataplane/dispatch.h"
#include "dataplane/local/client.h"
#include "dataplane/parse.h"
#include "dataplane/session.h"
#include "shm/words.h"

#define RETRY_MAX 2u /* waiting requests of a client looked at in a turn */
#define ALL_FREE ((1u << SIDE_BUFFERS) - 1)

static struct port *port_of(const struct core *core)
{
    return (struct port *)core->local;
}

void local_bind(struct local *local, struct core *core)
{
    struct port *port = local->ports[core->index];

    port->core = core;
    core->local = &port->transport;
    counter_set(&core->stats->local_places, 0);
    counter_set(&core->stats->local_clients, 0);
    places_rebuild(port);
}

static struct request *waiting_pop(struct side *side)
{
    struct request *request = side->waiting;

    side->waiting = request->next;
    if (!side->waiting)
        side->waiting_tail = &side->waiting;
    side->nr_waiting--;
    return request;
}

static void release_waiting(struct core *core, struct side *side)
{
    while (side->nr_waiting > 0) {
        struct request *request = waiting_pop(side);

        local_settle(core, request);
        core->local->ops->release(core->local, request);
    }
}

void local_unbind(struct core *core)
{
    struct port *port = port_of(core);

    if (!port)
        return;
    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++)
        if (port->local->clients[slot])
            release_waiting(core, port->local->clients[slot]->sides[port->index]);
    port->core = NULL;
}

void local_park(struct core *core, struct request *request)
{
    struct side *side = request_side(core, request);

    if (side->ending) {
        local_settle(core, request);
        core->local->ops->release(core->local, request);
        return;
    }
    if (!request->parked)
        counter_add(&core->stats->parked, 1);
    request->parked = true;
    request->next = NULL;
    *side->waiting_tail = request;
    side->waiting_tail = &request->next;
    side->nr_waiting++;
}

struct session_table *local_sessions(const struct core *core, const struct request *request)
{
    return request_side(core, request)->sessions;
}

/* A client writes under one session for each partition. False: the last one is not finished. */
static bool session_change(struct core *core, struct request *request)
{
    struct side *side = request_side(core, request);
    struct ring *ring = side_ring(core, side, request->hdr.partition);

    if (ring->session == request->hdr.session)
        return true;
    if (!session_end(side->sessions, ring->session, request->hdr.partition))
        return false;
    ring->session = request->hdr.session;
    return true;
}

enum kvr_status local_admit(struct core *core, struct request *request)
{
    if (request->kinds & OPS_REMOTE)
        return KVR_BAD_OP;
    if (request->hdr.partition != request->peer.local_port)
        return KVR_BAD_FIELD;
    if (request->hdr.reply_max > REPLY_MAX_64)
        request->hdr.reply_max = REPLY_MAX_64;
    /* Left in the ring for a dataplane that died: its client may have given the write up, and has
     * seen since that it did not happen. */
    if (request->nr_mutations > 0 && request->hdr.cookie != core->boot_id)
        return KVR_NEED_COOKIE;
    if (request->nr_mutations > 0 && !session_change(core, request))
        return KVR_BUSY;
    return KVR_OK;
}

/* Everything of a client that leaves, as far as it can go now. */
static void end_side(struct core *core, struct side *side)
{
    if (side->gone)
        return;
    if (!side->ending) {
        side->ending = true;
        release_waiting(core, side);
        places_drop(core, side);
        looks_drop(core, side);
    }
    if (side->nr_stores > 0)
        stores_poll(core, side);
    if (side->nr_moves > 0)
        moves_poll(core, side);
    /* Pairs with the release of its last buffer, perhaps by another core. */
    if (side->nr_stores == 0 && side->nr_moves == 0 &&
        __atomic_load_n(&side->free, __ATOMIC_ACQUIRE) == ALL_FREE)
        shared_store(&side->gone, true);
}

static void retry_waiting(struct core *core, struct side *side)
{
    for (unsigned n = side->nr_waiting < RETRY_MAX ? side->nr_waiting : RETRY_MAX; n > 0; n--)
        dispatch_run(core, waiting_pop(side));
}

/* What does not come from the rings of requests. */
static void tend(struct port *port)
{
    struct core *core = port->core;

    for (uint64_t left = port->present; left != 0; left &= left - 1) {
        unsigned slot = (unsigned)__builtin_ctzll(left);
        struct side *side = port->local->clients[slot]->sides[port->index];

        if (!(port->serving >> slot & 1)) {
            end_side(core, side);
            continue;
        }
        if (side->nr_waiting > 0) {
            core->local_ns = core->now_ns;
            retry_waiting(core, side);
        }
        if (side->nr_stores > 0)
            stores_poll(core, side);
        if (side->nr_moves > 0)
            moves_poll(core, side);
    }
}

/* One client's a turn: they are many lines to look at, and lossy. */
static void drain(struct port *port)
{
    unsigned slot = port->next_access++ % LOCAL_CLIENTS_MAX;
    uint64_t from = port->serving >> slot;

    if (port->serving == 0)
        return;
    slot = from ? slot + (unsigned)__builtin_ctzll(from) : (unsigned)__builtin_ctzll(port->serving);
    port->next_access = slot + 1;
    accesses_drain(port, port->local->clients[slot]->sides[port->index]);
}

static void see(struct port *port)
{
    struct local *local = port->local;
    uint64_t present = shared_load(&local->present);

    port->serving = present & ~shared_load(&local->leaving);
    if (present == port->present)
        return;
    port->present = present;
    if (port->index == 0)
        counter_set(&port->core->stats->local_clients, (uint64_t)__builtin_popcountll(present));
    shared_store(&port->seen, present); /* of the one before nothing is in use any more */
}

bool local_turn(struct core *core)
{
    struct port *port = port_of(core);
    struct request *requests[BURST];
    unsigned n;

    see(port);
    /* Also without a client: a block is still on its way to the pool. */
    if (unlikely(port->nr_jobs > 0))
        moves_take(port);
    if (likely(port->present == 0))
        return false;
    tend(port);
    n = rings_ops.rx(&port->transport, core->now_ns, requests, BURST);
    if (n > 0) {
        core->local_ns = core->now_ns;
        counter_add(&core->stats->local_requests, n);
        engine_burst(core, requests, n);
    }
    drain(port);
    return n > 0;
}
