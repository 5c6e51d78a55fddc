/* SPDX-License-Identifier: Apache-2.0 */
/* A table of the virtual drivers of DPDK 22.11 that kvrail is tried with. Read at start only. */
#include "dataplane/eth/drivers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct driver_traits drivers[] = {
    {.driver = "net_tap", .copies = true, .software_checksums = true, .owns_interface = true},
    {.driver = "net_af_packet", .copies = true, .partial_checksums = true, .understates_mtu = true},
    {.driver = "net_af_xdp", .copies = true, .partial_checksums = true},
    {.driver = "net_memif",
     .copies = true,
     .late_link = true,
     .one_queue = true,
     .understates_mtu = true},
    {.driver = "net_vhost", .copies = true, .late_link = true, .one_queue = true},
    {.driver = "net_virtio_user", .one_queue = true},
    {.driver = "net_pcap", .copies = true},
    {.driver = "net_null", .copies = true},
    {.driver = "net_ring", .copies = true},
    {.driver = NULL},
};

const struct driver_traits *driver_find(const char *driver)
{
    const struct driver_traits *traits = drivers;

    while (traits->driver && strcmp(traits->driver, driver))
        traits++;
    return traits;
}

unsigned frame_room(unsigned mtu)
{
    unsigned frame = mtu + 14 + 4 + 4, ring_header = 80; /* of AF_PACKET */

    return (frame + ring_header + 1023) / 1024 * 1024;
}

static bool has(const char *device, const char *key)
{
    const char *at = device;
    size_t len = strlen(key);

    while ((at = strchr(at, ',')) != NULL) {
        at++;
        if (!strncmp(at, key, len) && at[len] == '=')
            return true;
    }
    return false;
}

static bool is(const char *device, const char *driver)
{
    return !strncmp(device, driver, strlen(driver));
}

static int append(char *out, size_t size, const char *format, unsigned number)
{
    size_t used = strlen(out);
    int len = snprintf(out + used, size - used, format, number);

    return (size_t)len < size - used ? 0 : -EINVAL;
}

int driver_device_args(const char *device, unsigned queues, unsigned mtu, char *out, size_t size)
{
    static const struct {
        const char *driver, *key, *format;
    } queue_args[] = {
        {"net_af_packet", "qpairs", ",qpairs=%u"},
        {"net_af_xdp", "queue_count", ",queue_count=%u"},
    };
    unsigned room = frame_room(mtu);
    int rc = 0;

    if ((size_t)snprintf(out, size, "%s", device) >= size)
        return -EINVAL;
    for (unsigned i = 0; queues > 1 && i < sizeof(queue_args) / sizeof(queue_args[0]); i++)
        if (is(device, queue_args[i].driver) && !has(device, queue_args[i].key))
            rc = append(out, size, queue_args[i].format, queues);
    /* One slot of the shared ring must hold a frame, and a packet buffer the slot; the default is
     * 2,048 bytes. A block of whole pages holds whole slots. */
    if (!rc && is(device, "net_af_packet") && room != 2048 && !has(device, "framesz")) {
        rc = append(out, size, ",framesz=%u", room);
        if (!rc)
            rc = append(out, size, ",blocksz=%u", 4 * room);
    }
    /* A frame that spans buffers of a memif ring may stop the ring for good when it is full. */
    if (!rc && is(device, "net_memif") && room != 2048 && !has(device, "bsize"))
        rc = append(out, size, ",bsize=%u", room);
    return rc;
}
