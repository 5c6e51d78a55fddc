/* SPDX-License-Identifier: Apache-2.0 */
/* What must be known of a DPDK driver and is not in its rte_eth_dev_info. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct driver_traits {
    const char *driver;      /* NULL: any other, taken as hardware that does DMA */
    bool copies;             /* frames are copied when sent: any memory will do for them */
    bool software_checksums; /* its checksum offloads are loops in the driver: ours are as good */
    bool partial_checksums;  /* may receive frames whose checksum the sender left to hardware */
    bool owns_interface;     /* has a kernel interface of its own with the port's MAC (TAP) */
    bool late_link;          /* has a link only once its peer connects */
    bool understates_mtu;    /* reports 1,500, carries what its interface or peer does */
    bool one_queue;          /* the peer decides how many queues really work: use the first */
};

const struct driver_traits *driver_find(const char *driver);

/* Bytes of a packet buffer that holds one whole frame, with what drivers put in front of it or want
 * it rounded up to. */
unsigned frame_room(unsigned mtu);

/* Device string with what the driver needs for this many queues and MTU and the string does not
 * say. -EINVAL: too long. */
[[nodiscard]] int driver_device_args(const char *device, unsigned queues, unsigned mtu, char *out,
                                     size_t size);
