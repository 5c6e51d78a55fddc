/* SPDX-License-Identifier: Apache-2.0 */
/* One DPDK port with its queues and packet buffers, whatever the device. The main thread makes and
 * ends it; poll cores only use what is constant while they run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/eth/drivers.h"
#include "dataplane/eth/fault.h"
#include "dataplane/eth/frame.h"
#include "dataplane/settings.h"
#include "shm/arena.h"

struct rte_mempool;

struct port {
    uint16_t id;
    const struct driver_traits *traits;
    struct frame_self self;
    unsigned mtu;
    unsigned nr_workers;
    unsigned nr_queues; /* of each kind, at most nr_workers; queue q is worker q's */
    uint16_t rx_ring;   /* descriptors */
    bool tx_checksums;  /* the device computes IPv4 and UDP checksums */
    bool attach;        /* may send values from where they lie */
    bool link_up;       /* as last seen by port_watch */
    bool announce;      /* atomic: the main thread asks, worker 0 announces and clears it */
    struct rte_mempool *rx_pool;  /* private area: struct request */
    struct rte_mempool *tx_pool;  /* heads of replies, or whole ones */
    struct rte_mempool *pin_pool; /* no room of their own: stand for bytes of the arena */
};

/* Probes the device, makes pools and queues; the port does not run yet. arena: for DMA from values.
 * EAL runs. -errno and the fault's text. */
[[nodiscard]] int port_create(const struct settings *settings, unsigned nr_workers,
                              unsigned nr_partitions, const struct arena *arena, struct port *port,
                              struct fault *fault);
/* Packets flow from here on. */
[[nodiscard]] int port_start(struct port *port, const struct settings *settings,
                             struct fault *fault);
/* Notes when the link came or went; has the addresses announced when it came. */
void port_watch(struct port *port);
/* Ends the device (a TAP vanishes); buffers stay until port_destroy. Poll cores have ended. */
void port_stop(struct port *port);
void port_destroy(struct port *port);
