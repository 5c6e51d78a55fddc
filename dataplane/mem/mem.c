/* SPDX-License-Identifier: Apache-2.0 */
/* Queues in ordinary memory. One thread drives a transport; only the count of outstanding requests
 * may be lowered by another core's thread. */
#include "dataplane/mem/mem.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "shm/partition.h"

struct mem_request {
    struct mem_request *next;
    struct mem_transport *home;
    struct request request;
    uint8_t bytes[];
};

struct mem_transport {
    struct transport base;
    struct mem_request *arrived, **arrived_tail;
    struct mem_reply *replies, **replies_tail;
    unsigned starved, attached;
    unsigned outstanding; /* atomic */
};

static unsigned mem_rx(struct transport *transport, uint64_t now_ns, struct request **requests,
                       unsigned max)
{
    struct mem_transport *mem = (struct mem_transport *)transport;
    unsigned n = 0;

    while (n < max && mem->arrived) {
        struct mem_request *next = mem->arrived;

        mem->arrived = next->next;
        if (!mem->arrived)
            mem->arrived_tail = &mem->arrived;
        next->request.arrived_ns = now_ns;
        if (mem->starved > 0) /* what is to fail now is the taking of a buffer */
            next->request.room = 0;
        requests[n++] = &next->request;
    }
    return n;
}

static void mem_release(struct transport *transport, struct request *request)
{
    struct mem_request *done = request->frame;

    (void)transport;
    __atomic_fetch_sub(&done->home->outstanding, 1, __ATOMIC_RELAXED);
    free(done);
}

static bool mem_reply_begin(struct transport *transport, const struct peer *peer,
                            struct reply *reply)
{
    struct mem_transport *mem = (struct mem_transport *)transport;
    struct mem_reply *fresh;

    if (mem->starved > 0) {
        mem->starved--;
        return false;
    }
    fresh = malloc(sizeof(*fresh) + transport->max_datagram);
    if (!fresh)
        return false;
    memset(fresh, 0, sizeof(*fresh));
    fresh->peer = *peer;
    *reply = (struct reply){.bytes = fresh->bytes, .room = transport->max_datagram, .frame = fresh};
    return true;
}

static bool mem_reply_attach(struct transport *transport, struct reply *reply,
                             struct partition *partition, uint32_t block, const uint8_t *bytes,
                             uint32_t len)
{
    struct mem_transport *mem = (struct mem_transport *)transport;
    struct mem_reply *fresh = reply->frame;

    if (len < transport->zero_copy_min)
        return false;
    partition_pin(partition, block);
    fresh->pinned = partition;
    fresh->block = block;
    fresh->tail = bytes;
    fresh->len = reply->len + len;
    mem->attached++;
    return true;
}

static void mem_reply_send(struct transport *transport, const struct peer *peer,
                           struct reply *reply)
{
    struct mem_transport *mem = (struct mem_transport *)transport;
    struct mem_reply *fresh = reply->frame;

    (void)peer;
    fresh->head_len = reply->len;
    if (!fresh->pinned)
        fresh->len = reply->len;
    fresh->next = NULL;
    *mem->replies_tail = fresh;
    mem->replies_tail = &fresh->next;
}

/* The test's reply is an allocation of its own; what is left of the request is spoilt. */
static void mem_turn_round(struct transport *transport, struct request *request, uint32_t len)
{
    struct mem_request *home = request->frame;
    struct reply reply;

    if (mem_reply_begin(transport, &request->peer, &reply)) {
        memcpy(reply.bytes, home->bytes, len);
        reply.len = len;
        mem_reply_send(transport, &request->peer, &reply);
    }
    memset(home->bytes, 0xa5, request->room);
    mem_release(transport, request);
}

static unsigned mem_flush(struct transport *transport)
{
    (void)transport;
    return 0;
}

static const struct transport_ops mem_ops = {.name = "mem",
                                             .rx = mem_rx,
                                             .release = mem_release,
                                             .reply_begin = mem_reply_begin,
                                             .reply_attach = mem_reply_attach,
                                             .reply_send = mem_reply_send,
                                             .turn_round = mem_turn_round,
                                             .flush = mem_flush};

struct transport *mem_create(uint32_t max_datagram, uint32_t zero_copy_min)
{
    struct mem_transport *mem = calloc(1, sizeof(*mem));

    if (!mem)
        return NULL;
    mem->base = (struct transport){
        .ops = &mem_ops, .max_datagram = max_datagram, .zero_copy_min = zero_copy_min};
    mem->arrived_tail = &mem->arrived;
    mem->replies_tail = &mem->replies;
    return &mem->base;
}

void mem_destroy(struct transport *transport)
{
    struct mem_transport *mem = (struct mem_transport *)transport;
    struct mem_reply *reply;

    while ((reply = mem_take(transport)) != NULL)
        mem_free(reply);
    while (mem->arrived) {
        struct mem_request *next = mem->arrived->next;

        free(mem->arrived);
        mem->arrived = next;
    }
    free(mem);
}

bool mem_inject(struct transport *transport, const struct peer *peer, const void *bytes,
                uint32_t len)
{
    struct mem_transport *mem = (struct mem_transport *)transport;
    uint32_t room = len > transport->max_datagram ? len : transport->max_datagram;
    struct mem_request *fresh = malloc(sizeof(*fresh) + room);

    if (!fresh)
        return false;
    fresh->next = NULL;
    fresh->home = mem;
    memcpy(fresh->bytes, bytes, len);
    fresh->request.frame = fresh;
    fresh->request.msg = fresh->bytes;
    fresh->request.len = len;
    fresh->request.room = room;
    fresh->request.local = 0;
    fresh->request.peer = *peer;
    *mem->arrived_tail = fresh;
    mem->arrived_tail = &fresh->next;
    __atomic_fetch_add(&mem->outstanding, 1, __ATOMIC_RELAXED);
    return true;
}

struct mem_reply *mem_take(struct transport *transport)
{
    struct mem_transport *mem = (struct mem_transport *)transport;
    struct mem_reply *reply = mem->replies;

    if (!reply)
        return NULL;
    mem->replies = reply->next;
    if (!mem->replies)
        mem->replies_tail = &mem->replies;
    if (reply->pinned) {
        memcpy(reply->bytes + reply->head_len, reply->tail, reply->len - reply->head_len);
        partition_unpin(reply->pinned, reply->block);
        reply->pinned = NULL;
        mem->attached--;
    }
    return reply;
}

void mem_free(struct mem_reply *reply)
{
    free(reply);
}

void mem_starve(struct transport *transport, unsigned n)
{
    ((struct mem_transport *)transport)->starved = n;
}

unsigned mem_outstanding(const struct transport *transport)
{
    return __atomic_load_n(&((const struct mem_transport *)transport)->outstanding,
                           __ATOMIC_RELAXED);
}

unsigned mem_attached(const struct transport *transport)
{
    return ((const struct mem_transport *)transport)->attached;
}
