/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver does not say of itself is in dataplane/eth/drivers.h, for both ends. */
#include "tools/load/port.h"

#include <errno.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/eth/drivers.h"
#include "dataplane/eth/eal_log.h"

#define CACHE 256u
#define IN_HAND (2u * CACHE + 512u) /* buffers that a thread holds: cache, bursts, hand-over */
#define OTHER_MEMORY 24u            /* MiB that EAL and drivers take */
#define DEVICE_TEXT_MAX 512

static uint32_t room(const struct load_settings *s)
{
    return RTE_PKTMBUF_HEADROOM + frame_room((unsigned)s->mtu) + 8; /* 8: see align */
}

/* Of each pool. */
static unsigned buffers(const struct load_settings *s)
{
    unsigned nr = (unsigned)(s->queues * s->ring + s->bench.threads * IN_HAND);

    return nr < 4095 ? 4095 : nr;
}

unsigned load_port_memory(const struct load_settings *s)
{
    uint64_t size = sizeof(struct rte_mbuf) + room(s) + 2 * RTE_CACHE_LINE_SIZE;

    /* Without huge pages no buffer crosses a page that it could avoid. */
    size = size > 4096 ? (size + 4095) / 4096 * 4096 : 4096 / (4096 / size);
    return (unsigned)(2 * buffers(s) * size >> 20) + OTHER_MEMORY;
}

/* Moves a buffer so that what follows the headers of a received frame is aligned. */
static void align(struct rte_mempool *pool, void *opaque, void *object, unsigned index)
{
    const uint32_t *head = opaque;
    struct rte_mbuf *frame = object;
    uint16_t by = (uint16_t)((8 - (RTE_PKTMBUF_HEADROOM + *head) % 8) % 8);

    (void)pool, (void)index;
    frame->buf_addr = (char *)frame->buf_addr + by;
    rte_mbuf_iova_set(frame, rte_mbuf_iova_get(frame) + by);
    frame->buf_len = (uint16_t)(frame->buf_len - 8);
}

static int make_pools(const struct load_settings *s, uint32_t head, struct load_port *port,
                      struct fault *fault)
{
    port->rx_pool =
        rte_pktmbuf_pool_create("load_rx", buffers(s), CACHE, 0, (uint16_t)room(s), SOCKET_ID_ANY);
    port->tx_pool =
        rte_pktmbuf_pool_create("load_tx", buffers(s), CACHE, 0, (uint16_t)room(s), SOCKET_ID_ANY);
    if (!port->rx_pool || !port->tx_pool)
        return fault_set(fault, -ENOMEM,
                         "no memory for %u packet buffers (%s): raise --packet-memory",
                         2 * buffers(s), strerror(rte_errno));
    rte_mempool_obj_iter(port->rx_pool, align, &head);
    return 0;
}

static int probe(const char *device, uint16_t *id, struct fault *fault)
{
    char name[DEVICE_TEXT_MAX];
    const char *errors;
    int rc;

    snprintf(name, sizeof(name), "%.*s", (int)(strchrnul(device, ',') - device), device);
    rc = rte_dev_probe(device);
    errors = eal_log_errors();
    if (rc < 0 && rc != -EEXIST)
        return fault_set(fault, rc, "--device %s: does not start: %s", device,
                         *errors ? errors : strerror(-rc));
    if (rte_eth_dev_get_port_by_name(name, id) == 0)
        return 0;
    RTE_ETH_FOREACH_DEV(*id)
    return 0;
    return fault_set(fault, -ENODEV, "--device %s: is no Ethernet port", name);
}

static int configure(const struct load_settings *s, struct load_port *port, struct fault *fault)
{
    struct rte_eth_conf conf = {.rxmode.mtu = (uint32_t)s->mtu};
    uint16_t nr_rx = (uint16_t)s->ring, nr_tx = (uint16_t)s->ring;
    const struct driver_traits *traits;
    struct rte_eth_dev_info device;
    int rc;

    rc = rte_eth_dev_info_get(port->id, &device);
    if (!rc)
        rc = rte_eth_macaddr_get(port->id, (struct rte_ether_addr *)port->mac);
    if (rc)
        return fault_set(fault, rc, "--device: does not answer: %s", strerror(-rc));
    snprintf(port->driver, sizeof(port->driver), "%s", device.driver_name);
    traits = driver_find(device.driver_name);
    if (traits->owns_interface) /* whose kernel side has the port's MAC */
        port->mac[5] ^= 1;
    if (traits->understates_mtu)
        conf.rxmode.mtu = RTE_ETHER_MTU;
    if (s->queues > device.max_rx_queues || s->queues > device.max_tx_queues)
        return fault_set(fault, -EINVAL, "--queues %u: the device has %u to receive, %u to send",
                         (unsigned)s->queues, device.max_rx_queues, device.max_tx_queues);
    rc = rte_eth_dev_configure(port->id, port->nr_queues, port->nr_queues, &conf);
    if (!rc)
        rc = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &nr_rx, &nr_tx);
    for (uint16_t q = 0; !rc && q < port->nr_queues; q++) {
        rc = rte_eth_rx_queue_setup(port->id, q, nr_rx, SOCKET_ID_ANY, NULL, port->rx_pool);
        if (!rc)
            rc = rte_eth_tx_queue_setup(port->id, q, nr_tx, SOCKET_ID_ANY, NULL);
    }
    if (!rc)
        rc = rte_eth_dev_start(port->id);
    if (rc)
        return fault_set(fault, rc, "--device %s: refuses %u queues with MTU %u (%s): %s",
                         s->device, port->nr_queues, (unsigned)s->mtu, strerror(-rc),
                         eal_log_errors());
    if (rte_eth_promiscuous_enable(port->id) && rte_eth_allmulticast_enable(port->id))
        eal_log_errors(); /* what is for this MAC comes anyway */
    return 0;
}

static void destroy_pools(struct load_port *port)
{
    rte_mempool_free(port->rx_pool);
    rte_mempool_free(port->tx_pool);
    port->rx_pool = port->tx_pool = NULL;
}

int load_port_open(const struct load_settings *s, uint32_t head, struct load_port *port,
                   struct fault *fault)
{
    char device[DEVICE_TEXT_MAX];
    int rc;

    memset(port, 0, sizeof(*port));
    port->nr_queues = (uint16_t)s->queues;
    port->max_datagram = ((uint32_t)s->mtu - head + FRAME_ETH_SIZE) & ~7u;
    if (port->max_datagram > KVR_DATAGRAM_MAX)
        port->max_datagram = KVR_DATAGRAM_MAX;
    rc = driver_device_args(s->device, (unsigned)s->queues, (unsigned)s->mtu, device,
                            sizeof(device));
    if (rc)
        return fault_set(fault, rc, "--device: the string is too long");
    rc = probe(device, &port->id, fault);
    if (rc)
        return rc;
    rc = make_pools(s, head, port, fault);
    if (!rc)
        rc = configure(s, port, fault);
    if (rc) {
        rte_eth_dev_close(port->id);
        destroy_pools(port);
    }
    return rc;
}

void load_port_close(struct load_port *port)
{
    rte_eth_dev_stop(port->id);
    rte_eth_dev_close(port->id);
    destroy_pools(port);
}

bool load_port_link(const struct load_port *port)
{
    struct rte_eth_link link = {.link_status = RTE_ETH_LINK_UP};

    /* A device that cannot tell is taken as up. */
    return rte_eth_link_get_nowait(port->id, &link) || link.link_status == RTE_ETH_LINK_UP;
}
