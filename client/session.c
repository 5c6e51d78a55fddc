/* SPDX-License-Identifier: Apache-2.0 */
/* The handle's acquaintance with its server. A link says HELLO before its first request, again
 * before its cookie grows too old, and when the server asks for it. A changed boot id means that
 * the server forgot sessions and uploads: everything running starts again in a new session. */
#include "client/session.h"

#include <string.h>
#include <sys/random.h>

#include "client/datagram.h"
#include "client/link.h"
#include "client/local.h"
#include "client/task.h"

void session_begin(struct kvr_client *client)
{
    /* Reads of up to 256 bytes are neither cut short nor interrupted once the kernel has booted. */
    do {
        if (getrandom(&client->session, sizeof(client->session), 0) < 0)
            client->session = rng_next(&client->rng);
    } while (client->session == 0);
    for (uint32_t p = 0; p < client->nr_links; p++) {
        struct link *link = client->links[p];

        if (!link)
            continue;
        link->state = LINK_HELLO;
        link->cookie = 0;
        link->hello_id = link->hello_first = 0;
        order_reset(&link->order);
    }
}

static uint32_t receivable(const struct link *link)
{
    uint32_t most = link->client->options.max_datagram, path = link->client->mtu_payload;

    return most != 0 && most < path ? most : path;
}

static void transmit_hello(struct link *link)
{
    struct kvr_client *client = link->client;
    _Alignas(8) uint8_t bytes[sizeof(struct kvr_hdr) + KVR_HELLO_SIZE];
    struct writer writer;
    struct kvr_hdr hdr;
    uint64_t rto_ns;

    link->hello_id = ++client->next_id << SLOT_BITS | SLOT_HELLO;
    if (link->hello_first == 0)
        link->hello_first = link->hello_id;
    link_header(link, &hdr);
    hdr.id = link->hello_id;
    hdr.cookie = 0;
    build_begin(&writer, bytes);
    build_hello(&writer, receivable(link));
    link->hello_sends++;
    rto_ns = flow_rto_ns(&link->flow, link->hello_sends);
    link->hello_sent_ns = client->now_ns;
    link->hello_due_ns = client->now_ns + rto_ns + rng_below(&client->rng, rto_ns / 4);
    if (link->hello_due_ns < client->next_due_ns)
        client->next_due_ns = link->hello_due_ns;
    client->stats.hellos++;
    link_send(link, bytes, build_finish(&writer, &hdr, NULL, 0));
}

void session_hello(struct link *link)
{
    if (link->hello_id != 0)
        return;
    link->hello_sends = 0;
    transmit_hello(link);
}

bool session_ready(struct link *link)
{
    uint64_t now_ns = link->client->now_ns;

    if (link->state == LINK_READY && now_ns < link->cookie_old_ns)
        return true;
    if (now_ns >= link->cookie_dead_ns)
        link->state = LINK_HELLO;
    session_hello(link);
    return link->state == LINK_READY;
}

void session_refused(struct link *link)
{
    link->state = LINK_HELLO;
    session_hello(link);
}

void sessions_expire(struct kvr_client *client)
{
    for (uint32_t p = 0; p < client->nr_links; p++) {
        struct link *link = client->links[p];

        if (!link || link->hello_id == 0)
            continue;
        if (client->now_ns >= link->hello_due_ns) {
            flow_lost(&link->flow, client->now_ns);
            transmit_hello(link);
        } else if (link->hello_due_ns < client->next_due_ns) {
            client->next_due_ns = link->hello_due_ns;
        }
    }
}

/* Links of partitions that are gone stay open, unused: one of them may be in the call stack. */
static void open_links(struct kvr_client *client)
{
    uint32_t nr = client->hello.nr_partitions;

    for (uint32_t p = 0; p < nr; p++)
        if (!client->links[p] && (client->local || (uint32_t)client->port + p <= UINT16_MAX))
            (void)link_open(client, (uint16_t)p);
    client->nr_links = nr;
}

/* Datagrams are multiples of 8. */
static uint32_t largest(const struct link *link, const struct kvr_hello_rep *hello)
{
    uint32_t most = receivable(link);

    return (most < hello->max_datagram ? most : hello->max_datagram) & ~7u;
}

/* The same server, with the same memory of us? */
static bool same_server(const struct kvr_hello_rep *a, const struct kvr_hello_rep *b)
{
    return a->boot == b->boot && a->nr_partitions == b->nr_partitions && a->seed == b->seed;
}

static void take_cookie(struct link *link, uint64_t cookie)
{
    struct kvr_client *client = link->client;
    uint64_t life_ns = client->hello.cookie_ms * NS_PER_MS;
    bool waited = link->state != LINK_READY;

    link->cookie = cookie;
    link->cookie_old_ns = link->hello_sent_ns + life_ns / 4 * 3;
    link->cookie_dead_ns = link->hello_sent_ns + life_ns;
    link->state = LINK_READY;
    link->flow.datagram = client->max_datagram;
    link_mark(link);
    if (waited)
        datagrams_hurry(link);
}

static void greet_all(struct kvr_client *client)
{
    for (uint32_t p = 0; p < client->nr_links; p++)
        if (client->links[p] && client->links[p]->state != LINK_READY)
            session_hello(client->links[p]);
}

/* The server forgot us, so nothing that is still on its way can be executed: the numbers may start
 * again as well. */
static void begin_again(struct kvr_client *client)
{
    tasks_halt(client);
    client->max_datagram = largest(client->links[0], &client->hello);
    open_links(client);
    session_begin(client);
    tasks_resume(client);
    greet_all(client);
}

void session_restarted(struct kvr_client *client)
{
    for (uint32_t p = 0; p < client->nr_links; p++)
        if (client->links[p])
            session_refused(client->links[p]);
}

void session_moved(struct kvr_client *client)
{
    client->hello.nr_partitions = (uint16_t)client->local->mount->arena.nr_partitions;
    client->hello.seed = client->local->mount->arena.sb->seed;
    client->hello.boot = 0; /* no server's: the next HELLO is another's than the last */
    begin_again(client);
}

void session_follow(struct kvr_client *client)
{
    const struct link *link = client->links[0];

    if (!client->greeted || !link || largest(link, &client->hello) >= client->max_datagram)
        return;
    tasks_halt(client);
    client->max_datagram = largest(link, &client->hello);
    tasks_resume(client);
}

/* Over shared memory nobody's address needs a proof, and the arena says what else is true. */
static bool believable(const struct kvr_client *client, const struct checked_reply *reply,
                       const struct kvr_hello_rep *hello)
{
    const struct arena *arena;

    if (!client->local)
        return reply->hdr.cookie != 0;
    arena = &client->local->mount->arena;
    return hello->nr_partitions == arena->nr_partitions && hello->seed == arena->sb->seed;
}

void session_answer(struct link *link, const struct checked_reply *reply)
{
    struct kvr_client *client = link->client;
    const struct kvr_hello_rep *hello = (const void *)reply->records[0];
    bool first = !client->greeted;
    struct kvr_hello_rep before = client->hello;

    if (link->hello_id == 0 || reply->hdr.id < link->hello_first ||
        reply->hdr.id > link->hello_id) {
        client->stats.rx_unexpected++;
        return;
    }
    if (reply->hdr.status == KVR_BAD_VERSION)
        client->refused = KVR_BAD_VERSION;
    if (reply->hdr.status != KVR_OK || reply->hdr.nr_ops != 1 || hello->op.op != KVR_HELLO ||
        hello->op.status != KVR_OK || !believable(client, reply, hello))
        return;
    if (reply->hdr.id == link->hello_id && client->arrived_ns > link->hello_sent_ns)
        flow_sample(&link->flow, client->arrived_ns - link->hello_sent_ns, client->now_ns);
    link->hello_id = link->hello_first = 0;
    client->greeted = true;
    client->refused = KVR_OK;
    client->hello = *hello;
    if (!first && !same_server(hello, &before)) {
        begin_again(client);
        return;
    }
    if (first) {
        client->max_datagram = largest(link, hello);
        open_links(client);
    }
    take_cookie(link, reply->hdr.cookie);
    greet_all(client);
}
