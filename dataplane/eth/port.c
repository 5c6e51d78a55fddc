/* SPDX-License-Identifier: Apache-2.0 */
/* From a device string to a running port: probe, pools, queues, offloads, link. Main thread. What
 * the device lacks is noted once and made up for in software. */
#include "dataplane/eth/port.h"

#include <errno.h>
#include <net/if.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/eth/address.h"
#include "dataplane/eth/eal_log.h"
#include "dataplane/eth/host_side.h"
#include "dataplane/eth/pools.h"
#include "dataplane/eth/steer.h"
#include "dataplane/note.h"

#define MTU_MIN 1280u /* of IPv6 */
#define MTU_MAX 9000u
#define LINK_WAIT_MS 50
#define CHECKSUMS_RX (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM)
#define CHECKSUMS_TX (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM)
#define RSS_UDP (RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP)

static int set_addresses(const struct settings *settings, unsigned nr_partitions,
                         struct frame_self *self, struct fault *fault)
{
    unsigned prefix;
    uint8_t ip4[4];

    if (*settings->ipv4) {
        if (address4_parse(settings->ipv4, ip4, &prefix))
            return fault_set(fault, -EINVAL, "ipv4: %s is no host address with prefix length",
                             settings->ipv4);
        frame_self_set_ip4(self, ip4, prefix);
    }
    if (*settings->ipv6) {
        if (address6_parse(settings->ipv6, self->ip6, &prefix))
            return fault_set(fault, -EINVAL, "ipv6: %s is no host address with prefix length",
                             settings->ipv6);
        self->has_ip6 = true;
    }
    if (settings->port < 1 || settings->port + nr_partitions > 65536)
        return fault_set(fault, -EINVAL, "port: %u and the %u after it do not fit below 65536",
                         (unsigned)settings->port, nr_partitions - 1);
    self->first_port = (uint16_t)settings->port;
    self->nr_ports = (uint16_t)nr_partitions;
    return 0;
}

/* The mending advice for what drivers say. */
static const char *advice(const char *errors, const char *device)
{
    if (strstr(errors, "Permission denied") || strstr(errors, "Operation not permitted") ||
        strstr(errors, "Could not open AF_PACKET")) /* whose driver does not say why */
        return "run as root, or inside `unshare -Urn`";
    if (strstr(errors, "/dev/net/tun") && access("/dev/net/tun", R_OK | W_OK) && errno == EACCES)
        return "run as root, or have root allow access to /dev/net/tun";
    if (strstr(errors, "/dev/net/tun"))
        return "this kernel has no TAP devices: load the module tun or choose another device";
    if (strstr(errors, "busy") || strstr(errors, "BUSY"))
        return "another program holds the interface: stop it or choose another name";
    if (strstr(errors, "No such device") || strstr(errors, "interface: "))
        return "check that the interface in the device string exists";
    if (!strncmp(device, "net_", 4))
        return "check the device string";
    return "bind the device to vfio-pci (dpdk-devbind.py) and check its address";
}

/* The kernel would let a second program share the packets of a TAP. */
static bool tap_is_free(const char *device)
{
    const char *iface = strstr(device, ",iface=");
    char name[IF_NAMESIZE];

    if (strncmp(device, "net_tap", 7) || !iface)
        return true;
    iface += strlen(",iface=");
    snprintf(name, sizeof(name), "%.*s", (int)(strchrnul(iface, ',') - iface), iface);
    return !tap_is_held(name);
}

static int probe(const char *device, uint16_t *id, struct fault *fault)
{
    char name[SETTING_TEXT_MAX];
    const char *errors;
    int rc;

    if (!tap_is_free(device))
        return fault_set(fault, -EBUSY,
                         "device %s: another program holds the interface: stop it or choose "
                         "another name",
                         device);
    memif_socket_clear(device);
    snprintf(name, sizeof(name), "%.*s", (int)(strchrnul(device, ',') - device), device);
    rc = rte_dev_probe(device);
    if (rc < 0 && rc != -EEXIST) {
        errors = eal_log_errors();
        return fault_set(fault, rc, "device %s does not start: %s: %s", device,
                         *errors ? errors : strerror(-rc), advice(errors, device));
    }
    eal_log_errors(); /* of things that are missing, but that it does without */
    if (rte_eth_dev_get_port_by_name(name, id) == 0)
        return 0;
    RTE_ETH_FOREACH_DEV(*id)
    return 0;
    return fault_set(fault, -ENODEV, "device %s is no Ethernet port: choose another", name);
}

/* wanted: 0 = one for each worker, or the first alone where the peer may have no more. */
static unsigned queue_count(const struct port *port, const struct rte_eth_dev_info *device,
                            unsigned wanted)
{
    unsigned queues = port->nr_workers;

    if (queues > device->max_rx_queues)
        queues = device->max_rx_queues;
    if (queues > device->max_tx_queues)
        queues = device->max_tx_queues;
    if (wanted == 0 && port->traits->one_queue)
        wanted = 1;
    if (wanted > 0 && wanted < queues)
        queues = wanted;
    return queues ? queues : 1;
}

/* Some drivers only say how long a frame may be. */
static unsigned mtu_max(const struct rte_eth_dev_info *device)
{
    unsigned overhead = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;

    if (device->max_mtu != UINT16_MAX || device->max_rx_pktlen > UINT16_MAX)
        return device->max_mtu;
    return device->max_rx_pktlen - overhead;
}

static int configure(struct port *port, const struct rte_eth_dev_info *device, struct fault *fault)
{
    struct rte_eth_conf conf = {.rxmode.mtu = port->mtu};
    int rc;

    if (port->traits->understates_mtu) {
        conf.rxmode.mtu = RTE_ETHER_MTU;
        rc = device->if_index ? interface_set_mtu(device->if_index, port->mtu) : 0;
        if (rc)
            return fault_set(fault, rc, "mtu: %u: the interface of %s refuses it: %s", port->mtu,
                             device->driver_name, strerror(-rc));
    } else if (port->mtu > mtu_max(device) || port->mtu < device->min_mtu) {
        return fault_set(fault, -EINVAL, "mtu: %u; the device %s takes %u to %u", port->mtu,
                         device->driver_name, device->min_mtu < MTU_MIN ? MTU_MIN : device->min_mtu,
                         mtu_max(device));
    }
    if (!port->traits->software_checksums) {
        conf.rxmode.offloads = device->rx_offload_capa & CHECKSUMS_RX;
        if ((device->tx_offload_capa & CHECKSUMS_TX) == CHECKSUMS_TX)
            conf.txmode.offloads = CHECKSUMS_TX;
    }
    port->tx_checksums = conf.txmode.offloads != 0;
    conf.txmode.offloads |= device->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    port->attach = conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    if (port->nr_queues > 1 && device->flow_type_rss_offloads & RSS_UDP) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = device->flow_type_rss_offloads & RSS_UDP;
    }
    rc = rte_eth_dev_configure(port->id, (uint16_t)port->nr_queues, (uint16_t)port->nr_queues,
                               &conf);
    if (rc)
        return fault_set(fault, rc, "device %s refuses %u queues with MTU %u: %s",
                         device->driver_name, port->nr_queues, port->mtu, eal_log_errors());
    if (port->traits->understates_mtu)
        return 0;
    rc = rte_eth_dev_set_mtu(port->id, (uint16_t)port->mtu);
    if (rc && rc != -ENOTSUP)
        return fault_set(fault, rc, "mtu: %u: the device %s refuses it: %s %s", port->mtu,
                         device->driver_name, strerror(-rc), eal_log_errors());
    return 0;
}

static int make_queues(struct port *port, const struct rte_eth_dev_info *device, uint16_t nr_tx,
                       struct fault *fault)
{
    struct rte_eth_txconf tx = device->default_txconf;
    struct rte_eth_rxconf rx = device->default_rxconf;
    uint16_t nr_rx = port->rx_ring;
    int rc;

    rc = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &nr_rx, &nr_tx);
    /* Buffers come from several pools and stand for the arena: no fast free. */
    tx.offloads = 0;
    rx.offloads = 0;
    for (uint16_t q = 0; !rc && q < port->nr_queues; q++) {
        rc = rte_eth_rx_queue_setup(port->id, q, nr_rx, SOCKET_ID_ANY, &rx, port->rx_pool);
        if (!rc)
            rc = rte_eth_tx_queue_setup(port->id, q, nr_tx, SOCKET_ID_ANY, &tx);
    }
    if (rc)
        return fault_set(fault, rc, "device %s gives no queues (%s): %s", device->driver_name,
                         strerror(-rc), eal_log_errors());
    return 0;
}

/* Whether the device reaches the values: drivers that copy do; hardware does once they are mapped.
 */
static bool reaches_values(const struct port *port, const struct rte_eth_dev_info *device,
                           const char *device_args, const struct arena *arena)
{
    uint8_t *data = arena->data;
    size_t size = arena->data_size;
    size_t page = ((uintptr_t)data | size) % (2u << 20) ? 4096 : 2u << 20;

    if (port->traits->copies)
        return !strstr(device_args, "zero-copy=yes");
    if (port->traits->driver || rte_eal_iova_mode() != RTE_IOVA_VA)
        return false;
    if (rte_extmem_register(data, size, NULL, 0, page))
        return false;
    if (rte_dev_dma_map(device->device, data, (uintptr_t)data, size) == 0)
        return true;
    rte_extmem_unregister(data, size);
    return false;
}

/* What kind of device it is, its MAC, its queues. */
static int read_device(struct port *port, unsigned queues, struct rte_eth_dev_info *device,
                       struct fault *fault)
{
    int rc = rte_eth_dev_info_get(port->id, device);

    if (!rc)
        rc = rte_eth_macaddr_get(port->id, (struct rte_ether_addr *)port->self.mac);
    if (rc)
        return fault_set(fault, rc, "device does not answer: %s", strerror(-rc));
    port->traits = driver_find(device->driver_name);
    /* The kernel's side of a TAP has the port's MAC: take a neighbouring one for ours. */
    if (port->traits->owns_interface)
        port->self.mac[5] ^= 1;
    port->nr_queues = queue_count(port, device, queues);
    if (port->nr_queues < port->nr_workers)
        note("device has %u queues for %u workers: requests and replies go by way of the workers "
             "that have one",
             port->nr_queues, port->nr_workers);
    return 0;
}

int port_create(const struct settings *settings, unsigned nr_workers, unsigned nr_partitions,
                const struct arena *arena, struct port *port, struct fault *fault)
{
    char device_args[2 * SETTING_TEXT_MAX];
    struct rte_eth_dev_info device;
    int rc;

    memset(port, 0, sizeof(*port));
    if (settings->mtu < MTU_MIN || settings->mtu > MTU_MAX)
        return fault_set(fault, -EINVAL, "mtu: %u is not within %u to %u", (unsigned)settings->mtu,
                         MTU_MIN, MTU_MAX);
    port->mtu = (unsigned)settings->mtu;
    port->nr_workers = nr_workers;
    rc = set_addresses(settings, nr_partitions, &port->self, fault);
    if (rc)
        return rc;
    rc = driver_device_args(settings->device, nr_workers, port->mtu, device_args,
                            sizeof(device_args));
    if (rc)
        return fault_set(fault, rc, "device: the string is too long");
    rc = probe(device_args, &port->id, fault);
    if (rc)
        return rc;
    if (strstr(device_args, ",bsize=") && strstr(device_args, "role=server"))
        note("memif: the client's bsize counts, it must be %u or more for MTU %u",
             frame_room(port->mtu), port->mtu);
    rc = read_device(port, (unsigned)settings->queues, &device, fault);
    if (!rc)
        rc = configure(port, &device, fault);
    if (!rc)
        rc = pools_create(settings, port, fault);
    if (!rc)
        rc = make_queues(port, &device, (uint16_t)settings->tx_ring, fault);
    if (rc)
        goto close;
    if (port->attach && !reaches_values(port, &device, device_args, arena)) {
        port->attach = false;
        note("device cannot read the arena: values are copied into packets");
    }
    log_info("port %s: %u queues, MTU %u, checksums by %s, large values %s", device.driver_name,
             port->nr_queues, port->mtu, port->tx_checksums ? "the device" : "software",
             port->attach ? "sent from where they lie" : "copied into packets");
    return 0;
close:
    rte_eth_dev_close(port->id);
    pools_destroy(port);
    return rc;
}

static bool link_is_up(const struct port *port)
{
    struct rte_eth_link link = {.link_status = RTE_ETH_LINK_UP};

    /* A device that cannot tell is taken as up. */
    if (rte_eth_link_get_nowait(port->id, &link))
        return true;
    return link.link_status == RTE_ETH_LINK_UP;
}

void port_watch(struct port *port)
{
    bool up = link_is_up(port);

    if (up != port->link_up)
        note("link is %s", up ? "up" : "down");
    if (up && !port->link_up)
        __atomic_store_n(&port->announce, true, __ATOMIC_RELAXED);
    port->link_up = up;
}

int port_start(struct port *port, const struct settings *settings, struct fault *fault)
{
    struct rte_eth_dev_info device;
    char interface[IF_NAMESIZE];
    int rc;

    rc = rte_eth_dev_start(port->id);
    if (rc)
        return fault_set(fault, rc, "device %s does not start (%s): %s", settings->device,
                         strerror(-rc), eal_log_errors());
    if (port->traits->owns_interface) {
        if (rte_eth_dev_info_get(port->id, &device) || !if_indextoname(device.if_index, interface))
            return fault_set(fault, -ENODEV, "device %s has lost its interface", settings->device);
        rc = host_side_setup(interface, settings->host_ipv4, settings->host_ipv6, fault);
        if (rc)
            return rc;
    } else if (rte_eth_allmulticast_enable(port->id) && rte_eth_promiscuous_enable(port->id)) {
        eal_log_errors(); /* neighbour solicitations may still come through */
    }
    if (port->nr_queues > 1)
        steer_by_port(port);
    for (unsigned i = 0; !(port->link_up = link_is_up(port)) && i < LINK_WAIT_MS; i++)
        rte_delay_us_sleep(1000);
    if (!port->link_up)
        note(port->traits->late_link ? "link is down: no peer has connected yet" : "link is down");
    port->announce = port->link_up;
    return 0;
}

void port_stop(struct port *port)
{
    rte_eth_dev_stop(port->id);
    rte_eth_dev_close(port->id);
}

void port_destroy(struct port *port)
{
    pools_destroy(port);
}
