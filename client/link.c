/* SPDX-License-Identifier: Apache-2.0 */
/* What all links have in common, however their datagrams travel (wire_udp.c, wire_ring.c): queues,
 * order, flow, and the check of whatever comes in. */
#include "client/link.h"

#include <errno.h>
#include <stdlib.h>

#include "client/datagram.h"
#include "client/session.h"

int link_open(struct kvr_client *client, uint16_t partition)
{
    struct link *link = calloc(1, sizeof(*link));
    int rc;

    if (!link)
        return -ENOMEM;
    link->client = client;
    link->partition = partition;
    link->state = LINK_HELLO;
    link->fd = -1;
    link->flying_max = UINT32_MAX;
    rc = client->wire->open(link);
    if (rc != 0) {
        free(link);
        return rc;
    }
    for (unsigned p = 0; p < KVR_PRIORITIES; p++)
        for (unsigned t = 0; t < TRAFFICS; t++)
            TAILQ_INIT(&link->ready[p][t]);
    TAILQ_INIT(&link->streams);
    TAILQ_INIT(&link->sent);
    order_reset(&link->order);
    flow_setup(&link->flow, client->options.window_bytes, client->mtu_payload, client->now_ns);
    if (partition > 0 && client->links[0]) /* a better guess than none */
        flow_guess(&link->flow, &client->links[0]->flow);
    client->links[partition] = link;
    return 0;
}

void link_close(struct kvr_client *client, uint16_t partition)
{
    struct link *link = client->links[partition];

    if (!link)
        return;
    client->links[partition] = NULL;
    client->busy_links &= ~(1ull << partition);
    client->wire->close(link);
    free(link->fence_key);
    free(link);
}

void link_push(struct link *link, struct datagram *datagram)
{
    if (link->nr_out == OUT_MAX)
        link_transmit(link);
    link->out[link->nr_out++] = datagram;
}

void link_accept(struct link *link, const uint8_t *bytes, uint32_t len)
{
    struct kvr_client *client = link->client;
    struct checked_reply reply;
    enum check_fault fault = check_reply(bytes, len, &reply);

    client->stats.rx_datagrams++;
    client->stats.rx_bytes += len;
    if (fault == CHECK_CRC || fault == CHECK_LENGTH) {
        client->stats.rx_corrupt++;
        link->damaged |= fault == CHECK_CRC;
    } else if (fault != CHECK_OK || reply.hdr.session != client->session) {
        client->stats.rx_unexpected++;
    } else if ((reply.hdr.id & SLOT_HELLO) == SLOT_HELLO) {
        session_answer(link, &reply);
    } else {
        datagram_answer(link, &reply);
    }
}
