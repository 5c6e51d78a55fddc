/* SPDX-License-Identifier: Apache-2.0 */
/* Small records first, most urgent class first, as many into a datagram as fit; then long values
 * in turn, a window each. Windows and the limit of datagrams decide when to stop. */
#include "client/pack.h"

#include <stdlib.h>
#include <string.h>

#include "client/datagram.h"
#include "client/link.h"
#include "client/session.h"
#include "client/task.h"

#define STREAM_SPARE 4u /* datagrams that long values leave to small ones */

static bool room(const struct link *link, uint32_t weight)
{
    const struct kvr_client *client = link->client;

    if (!flow_has_room(&link->flow, weight))
        return false;
    return client->flying_bytes == 0 ||
           client->flying_bytes + weight <= client->options.window_bytes;
}

static const struct kvr_key *key_of(const struct task *task)
{
    return task->plan ? match_key(task) : &task->call->key;
}

void pack_fence(struct link *link, const struct kvr_key *key, uint8_t priority)
{
    struct kvr_client *client = link->client;

    if (link->fence.private_state)
        return;
    if (!link->fence_key)
        link->fence_key = malloc(KVR_KEY_MAX);
    if (!link->fence_key)
        return;
    memcpy(link->fence_key, key->data, key->len);
    link->fence = (struct kvr_call){.op = KVR_CALL_DEL,
                                    .key = {link->fence_key, key->len},
                                    .if_ref = UINT64_MAX,
                                    .priority_set = 1,
                                    .priority = priority,
                                    .timeout_ms = client->options.timeout_ms};
    link->fence_waited = 1;
    (void)task_start(client, &link->fence, &link->fence_waited);
}

static bool gate_open(struct link *link, const struct task *task)
{
    if (task->traffic == TRAFFIC_WRITE)
        return !order_full(&link->order);
    if (task->traffic == TRAFFIC_FREE || !order_fenced(&link->order))
        return true;
    pack_fence(link, key_of(task), task->priority);
    return false;
}

struct load {
    struct datagram *datagram;
    uint32_t size, weight; /* so far */
    uint64_t deadline_ns;  /* of the first */
};

static bool fits(const struct load *load, const struct task *task, uint32_t size, uint32_t weight)
{
    const struct link *link = load->datagram->link;
    const struct kvr_client *client = link->client;
    uint32_t n = load->datagram->nr_entries;
    uint64_t apart;

    if (n == 0)
        return true;
    if (task->alone || n >= KVR_OPS_MAX || n >= client->hello.max_ops ||
        load->size + size > client->max_datagram ||
        !room(link, load->weight + weight + load->size + size))
        return false;
    if (task->traffic != TRAFFIC_WRITE)
        return true;
    apart = task->deadline_ns > load->deadline_ns ? task->deadline_ns - load->deadline_ns
                                                  : load->deadline_ns - task->deadline_ns;
    return n < KVR_MUTATIONS_MAX && apart <= MERGE_DEADLINES_NS;
}

static void fill(struct load *load, struct task_list *queue)
{
    struct kvr_client *client = load->datagram->link->client;
    bool alone = false;
    struct task *task;

    while (!alone && (task = TAILQ_FIRST(queue))) {
        uint32_t size = task->kind->size(client, task);
        uint32_t weight = task->kind->weight(client, task);

        if (!fits(load, task, size, weight))
            return;
        if (load->datagram->nr_entries == 0)
            load->deadline_ns = task->deadline_ns;
        alone = task->alone;
        load->size += size;
        load->weight += weight;
        task_unqueue(client, task);
        datagram_add(load->datagram, task, 0, weight);
    }
}

/* One datagram from the head of a queue. False: not now. */
static bool pack_one(struct link *link, struct task_list *queue)
{
    struct kvr_client *client = link->client;
    struct task *first = TAILQ_FIRST(queue);
    struct load load = {.size = sizeof(struct kvr_hdr)};

    if (!first || link->nr_flying >= link->flying_max || !gate_open(link, first))
        return false;
    if (!room(link, first->kind->weight(client, first) + first->kind->size(client, first)))
        return false;
    load.datagram = datagram_take(link, first->traffic, first->priority);
    if (!load.datagram)
        return false;
    fill(&load, queue);
    datagram_launch(load.datagram, load.weight);
    return true;
}

static void pack_ready(struct link *link)
{
    for (unsigned priority = 0; priority < KVR_PRIORITIES; priority++)
        for (unsigned traffic = 0; traffic < TRAFFICS; traffic++)
            while (pack_one(link, &link->ready[priority][traffic]))
                ;
}

static bool stream_room(const struct link *link)
{
    const struct kvr_client *client = link->client;

    return room(link, client->max_datagram) && link->nr_flying < link->flying_max &&
           client->nr_flying + STREAM_SPARE < client->nr_datagrams;
}

static void pack_streams(struct link *link)
{
    struct task *task;

    while ((task = TAILQ_FIRST(&link->streams)) && stream_room(link)) {
        uint32_t flying = link->client->nr_flying;
        bool more = task->kind->stream(link->client, task);

        task_unqueue(link->client, task);
        if (more)
            task_stream(task); /* to the end of the queue */
        if (more && flying == link->client->nr_flying)
            return;
    }
}

static void pack_link(struct link *link)
{
    bool idle = link->nr_ready == 0 && TAILQ_EMPTY(&link->streams);

    if (idle && link->nr_out == 0) {
        link->client->busy_links &= ~(1ull << link->partition);
        return;
    }
    if (!idle && session_ready(link)) {
        pack_ready(link);
        pack_streams(link);
    }
    link_transmit(link);
}

void pack_all(struct kvr_client *client)
{
    uint32_t first = client->first_packed++;

    client->wake->asked = false;
    /* Another link first every time: the window of the handle is one for all. */
    for (uint32_t i = 0; i < client->nr_links && client->busy_links; i++) {
        uint32_t p = (first + i) % client->nr_links;

        if (client->links[p] && (client->busy_links >> p & 1))
            pack_link(client->links[p]);
    }
}
