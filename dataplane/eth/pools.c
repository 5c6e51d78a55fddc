/* SPDX-License-Identifier: Apache-2.0 */
/* Three mempools: received frames with the request in their private area (it is touched together
 * with the frame, and travels with it to other cores), frames to send, and pins. Half of
 * packet_buffers each way; as many as fit packet_memory. */
#include "dataplane/eth/pools.h"

#include <errno.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mempool.h>
#include <string.h>

#include "dataplane/note.h"
#include "dataplane/request.h"

#define CACHE_MAX 256u
#define RING_MIN 64u
#define PAGE 4096u
#define OTHER_MEMORY (6u << 20) /* what EAL and drivers take of packet_memory */
#define ROUND_UP(n, to) (((n) + (to)-1) / (to) * (to))

/* Bytes that a buffer takes: without hugepages none crosses a page that it could avoid. */
static uint64_t buffer_size(size_t private_size, uint32_t room)
{
    uint32_t size = rte_mempool_calc_obj_size(
        (uint32_t)(sizeof(struct rte_mbuf) + private_size + room), 0, NULL);

    if (rte_eal_has_hugepages())
        return size;
    return size > PAGE ? ROUND_UP(size, PAGE) : PAGE / (PAGE / size);
}

/* A quarter of the buffers at most lies in the caches of the cores. */
static struct rte_mempool *pool(const char *name, uint64_t nr, unsigned nr_workers,
                                size_t private_size, uint32_t room)
{
    uint64_t cache = nr / 4 / nr_workers;

    return rte_pktmbuf_pool_create(name, (unsigned)nr,
                                   cache < CACHE_MAX ? (unsigned)cache : CACHE_MAX,
                                   (uint16_t)private_size, (uint16_t)room, SOCKET_ID_ANY);
}

/* Receive rings take half of the receive buffers at most: the rest is for requests in work. */
static void fit_rings(const struct settings *settings, struct port *port, uint64_t pairs)
{
    uint64_t share = pairs / 2 / port->nr_queues, ring = RING_MIN;

    port->rx_ring = (uint16_t)settings->rx_ring;
    if (port->rx_ring <= share)
        return;
    while (2 * ring <= share)
        ring *= 2;
    port->rx_ring = (uint16_t)ring;
    note("rx_ring: %u for each of %u queues is too much for %u packet_buffers: %u is used",
         (unsigned)settings->rx_ring, port->nr_queues, (unsigned)(2 * pairs), port->rx_ring);
}

int pools_create(const struct settings *settings, struct port *port, struct fault *fault)
{
    size_t request_size = ROUND_UP(sizeof(struct request), RTE_CACHE_LINE_SIZE);
    size_t pin_size = ROUND_UP(sizeof(struct pin), RTE_CACHE_LINE_SIZE);
    uint32_t room = RTE_PKTMBUF_HEADROOM + frame_room(port->mtu);
    uint64_t pair =
        buffer_size(request_size, room) + buffer_size(0, room) + buffer_size(pin_size, 0);
    uint64_t memory = settings->packet_memory << 20;
    uint64_t fit = memory > OTHER_MEMORY ? (memory - OTHER_MEMORY) / pair : 0;
    uint64_t pairs = settings->packet_buffers / 2;
    uint64_t least = 2 * RING_MIN * port->nr_workers;

    if (pairs > fit) {
        note("packet_buffers: %u at MTU %u do not fit packet_memory (%u MiB): %u are used",
             (unsigned)settings->packet_buffers, port->mtu, (unsigned)settings->packet_memory,
             (unsigned)(2 * fit));
        pairs = fit;
    }
    if (pairs < least)
        return fault_set(fault, -ENOMEM,
                         "no memory for packet buffers: packet_memory %u MiB and packet_buffers %u "
                         "allow %u, %u workers need %u: raise them",
                         (unsigned)settings->packet_memory, (unsigned)settings->packet_buffers,
                         (unsigned)(2 * pairs), port->nr_workers, (unsigned)(2 * least));
    fit_rings(settings, port, pairs);
    port->rx_pool = pool("rx", pairs, port->nr_workers, request_size, room);
    port->tx_pool = pool("tx", pairs, port->nr_workers, 0, room);
    port->pin_pool = pool("pins", pairs, port->nr_workers, pin_size, 0);
    if (port->rx_pool && port->tx_pool && port->pin_pool)
        return 0;
    return fault_set(fault, -ENOMEM,
                     "no memory for %u packet buffers (%s): raise packet_memory (%u MiB) or lower "
                     "packet_buffers",
                     (unsigned)(2 * pairs), strerror(rte_errno), (unsigned)settings->packet_memory);
}

void pools_destroy(struct port *port)
{
    rte_mempool_free(port->rx_pool);
    rte_mempool_free(port->tx_pool);
    rte_mempool_free(port->pin_pool);
    port->rx_pool = port->tx_pool = port->pin_pool = NULL;
}
