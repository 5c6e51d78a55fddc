/* SPDX-License-Identifier: Apache-2.0 */
/* A link over a pair of rings in the client's segment. A datagram that the server has not taken yet
 * is not put there once more; one that finds the ring full counts as lost. What comes back is
 * copied before it is checked. */
#include <sched.h>
#include <string.h>

#include "base/cacheline.h"
#include "client/datagram.h"
#include "client/link.h"
#include "client/local.h"
#include "client/poll.h"

#define CELLS_SPARE 4u /* for HELLO and what nobody waits for */
#define SPIN_NS (30 * NS_PER_US)
#define SPINS 32u
#define YIELDS 2u
#define SLEEP_FIRST_NS (10 * NS_PER_US)
#define SLEEP_MAX_NS (NS_PER_MS)

static struct segment_rings *rings_of(const struct link *link)
{
    return &link->client->local->mount->rings[link->partition];
}

static int ring_open(struct link *link)
{
    if (SEGMENT_MESSAGE_MAX < link->client->mtu_payload)
        link->client->mtu_payload = SEGMENT_MESSAGE_MAX;
    link->flying_max = SEGMENT_CELLS - CELLS_SPARE;
    return 0;
}

static void ring_close(struct link *link)
{
    (void)link;
}

/* The next free cell, or NULL. The server's index may say anything. */
static struct segment_cell *free_cell(const struct segment_rings *rings)
{
    uint32_t tail = rings->group->request_tail, head = shared_load(&rings->group->request_head);

    return tail - head < SEGMENT_CELLS ? &rings->requests[tail % SEGMENT_CELLS] : NULL;
}

static void publish(struct link *link, struct segment_cell *cell, uint32_t len)
{
    struct segment_group *group = rings_of(link)->group;

    cell->len = len;
    cell->zero = 0;
    shared_store(&group->request_tail, group->request_tail + 1);
    link->client->stats.tx_datagrams++;
    link->client->stats.tx_bytes += len;
}

/* Whether the server has yet to take what was put there as request number k. */
static bool waits(const struct segment_group *group, uint32_t k)
{
    uint32_t head = shared_load(&group->request_head);

    return k - head < group->request_tail - head;
}

bool ring_waits(const struct datagram *datagram)
{
    return datagram->in_ring && waits(rings_of(datagram->link)->group, datagram->cell);
}

static void ring_transmit(struct link *link)
{
    struct segment_rings *rings = rings_of(link);

    for (uint32_t i = 0; i < link->nr_out; i++) {
        struct datagram *datagram = link->out[i];
        struct segment_cell *cell;
        uint32_t pad = pad8(datagram->tail_len) - datagram->tail_len;
        uint8_t *at;

        if (ring_waits(datagram))
            continue;
        cell = free_cell(rings);
        datagram->in_ring = cell != NULL;
        if (!cell || datagram_len(datagram) > SEGMENT_MESSAGE_MAX)
            continue;
        datagram->cell = rings->group->request_tail;
        memcpy(cell->bytes, datagram->bytes, datagram->head_len);
        at = cell->bytes + datagram->head_len;
        if (datagram->tail_len > 0)
            memcpy(at, datagram->tail, datagram->tail_len);
        memset(at + datagram->tail_len, 0, pad);
        publish(link, cell, datagram_len(datagram));
    }
    link->nr_out = 0;
}

static void ring_send(struct link *link, const uint8_t *bytes, uint32_t len)
{
    struct segment_cell *cell = free_cell(rings_of(link));

    if (!cell || len > SEGMENT_MESSAGE_MAX)
        return;
    memcpy(cell->bytes, bytes, len);
    publish(link, cell, len);
}

static bool arrived(const struct link *link)
{
    const struct segment_group *group = rings_of(link)->group;

    return shared_load(&group->completion_tail) != group->completion_head;
}

static unsigned ring_receive(struct link *link)
{
    struct kvr_client *client = link->client;
    const struct mount *mount = client->local->mount;
    struct segment_rings *rings = rings_of(link);
    unsigned n = 0;

    if (!arrived(link))
        return 0;
    client->now_ns = client->arrived_ns = clock_ns();
    /* An answer may bring another mount about, or so many that a server gone mad promises. */
    while (n < IN_MAX && client->local->mount == mount && arrived(link)) {
        uint32_t head = rings->group->completion_head;
        const struct segment_cell *cell = &rings->completions[head % SEGMENT_CELLS];
        uint32_t len = __atomic_load_n(&cell->len, __ATOMIC_RELAXED);

        if (len <= SEGMENT_MESSAGE_MAX)
            memcpy(client->in_bytes, cell->bytes, len);
        shared_store(&rings->group->completion_head, head + 1);
        n++;
        if (len <= SEGMENT_MESSAGE_MAX)
            link_accept(link, client->in_bytes, len);
        else
            client->stats.rx_corrupt++;
    }
    return n;
}

static bool any_arrived(const struct kvr_client *client)
{
    for (uint32_t p = 0; p < client->nr_links; p++)
        if (client->links[p] && arrived(client->links[p]))
            return true;
    return false;
}

static bool take(struct kvr_client *client)
{
    bool any = false;

    for (uint32_t p = 0; p < client->nr_links; p++)
        if (client->links[p])
            any |= link_receive(client->links[p]) > 0;
    return any;
}

static bool expects(const struct kvr_client *client)
{
    for (uint32_t p = 0; p < client->nr_links; p++)
        if (client->links[p] &&
            (client->links[p]->nr_flying > 0 || client->links[p]->hello_id != 0))
            return true;
    return false;
}

/* False: nothing came, and it is time to let go of the CPU. */
static bool spin(struct kvr_client *client, uint64_t until_ns)
{
    uint64_t now_ns = clock_ns(), end_ns = now_ns + SPIN_NS;

    if (end_ns > until_ns)
        end_ns = until_ns;
    while (now_ns < end_ns) {
        for (unsigned i = 0; i < SPINS; i++) {
            if (any_arrived(client))
                return true;
            cpu_relax();
        }
        now_ns = clock_ns();
    }
    return false;
}

/* The server wakes nobody: it makes no system call for an answer. So first briefly on the CPU, then
 * in longer and longer naps; a server on the same CPU gets it with the first. */
void ring_wait(struct kvr_client *client, uint64_t until_ns)
{
    uint64_t nap_ns = SLEEP_FIRST_NS, now_ns;
    bool soon = expects(client);

    if (take(client) || client->now_ns >= until_ns ||
        (soon && spin(client, until_ns) && take(client)))
        return;
    for (unsigned i = 0; soon && i < YIELDS; i++) {
        sched_yield();
        if (take(client))
            return;
    }
    while ((now_ns = clock_ns()) < until_ns) {
        uint64_t left_ns = until_ns - now_ns;
        struct timespec nap = {0};

        nap_ns = nap_ns < left_ns ? nap_ns : left_ns;
        nap.tv_nsec = (long)nap_ns;
        nanosleep(&nap, NULL);
        if (take(client))
            return;
        nap_ns = nap_ns * 2 < SLEEP_MAX_NS ? nap_ns * 2 : SLEEP_MAX_NS;
        if (now_ns - client->now_ns > LOOK_NS / 2)
            return; /* for a look at the server */
    }
}

const struct wire wire_ring = {
    .open = ring_open,
    .close = ring_close,
    .transmit = ring_transmit,
    .send = ring_send,
    .receive = ring_receive,
};
