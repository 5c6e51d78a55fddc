/* SPDX-License-Identifier: Apache-2.0 */
/* rte_flow rules by UDP port. Where a device refuses them, RSS or the kernel spreads the datagrams
 * and the cores hand over what is not theirs. Main thread, at start. */
#include "dataplane/eth/steer.h"

#include <rte_flow.h>

#include "dataplane/eth/eal_log.h"
#include "dataplane/note.h"

static struct rte_flow *add_rule(const struct port *port, enum rte_flow_item_type ip,
                                 uint16_t udp_port, uint16_t queue)
{
    const struct rte_flow_attr attr = {.ingress = 1};
    const struct rte_flow_item_udp udp = {.hdr.dst_port = rte_cpu_to_be_16(udp_port)};
    const struct rte_flow_item_udp mask = {.hdr.dst_port = 0xffff};
    const struct rte_flow_action_queue target = {.index = queue};
    const struct rte_flow_item pattern[] = {
        {.type = RTE_FLOW_ITEM_TYPE_ETH},
        {.type = ip},
        {.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &udp, .mask = &mask},
        {.type = RTE_FLOW_ITEM_TYPE_END},
    };
    const struct rte_flow_action actions[] = {
        {.type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &target},
        {.type = RTE_FLOW_ACTION_TYPE_END},
    };
    struct rte_flow_error error;

    if (rte_flow_validate(port->id, &attr, pattern, actions, &error))
        return NULL;
    return rte_flow_create(port->id, &attr, pattern, actions, &error);
}

void steer_by_port(const struct port *port)
{
    const struct frame_self *self = &port->self;
    struct rte_flow_error error;

    for (unsigned partition = 0; partition < self->nr_ports; partition++) {
        uint16_t udp_port = (uint16_t)(self->first_port + partition);
        /* As partition_owner and the transports pair them. */
        uint16_t queue = (uint16_t)(partition % port->nr_workers % port->nr_queues);

        if ((self->has_ip4 && !add_rule(port, RTE_FLOW_ITEM_TYPE_IPV4, udp_port, queue)) ||
            (self->has_ip6 && !add_rule(port, RTE_FLOW_ITEM_TYPE_IPV6, udp_port, queue))) {
            rte_flow_flush(port->id, &error);
            eal_log_errors();
            note("device has no rules by UDP port: cores hand requests over to each other");
            return;
        }
    }
}
