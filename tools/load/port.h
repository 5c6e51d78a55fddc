/* SPDX-License-Identifier: Apache-2.0 */
/* The DPDK port that the load comes from: device, packet buffers, queues. The main thread makes and
 * ends it; load threads only use what is constant while they run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/eth/fault.h"
#include "dataplane/eth/frame.h"
#include "tools/load/settings.h"

struct rte_mempool;

struct load_port {
    uint16_t id, nr_queues;
    struct rte_mempool *rx_pool, *tx_pool;
    uint8_t mac[6];
    uint32_t max_datagram; /* UDP payload that fits the MTU */
    char driver[32];
};

/* MiB of packet memory that the settings need. */
unsigned load_port_memory(const struct load_settings *s);
/* Probes the device and starts it. EAL runs. head: bytes of Ethernet, IP and UDP in front of an
 * answer's payload, which then is 8-byte aligned. -errno and the fault's text. */
[[nodiscard]] int load_port_open(const struct load_settings *s, uint32_t head,
                                 struct load_port *port, struct fault *fault);
void load_port_close(struct load_port *port);
/* Whether there is somebody at the other end. Connects anew where the driver does that. */
bool load_port_link(const struct load_port *port);
