/* SPDX-License-Identifier: Apache-2.0 */
/* Requests are built and replies checked by libkvrail's own code. */
#include "get_frames.h"

#include <errno.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <string.h>

#include "client/build.h"
#include "client/check.h"
#include "dataplane/eth/frame.h"
#include "tools/content.h"

#define SESSION 0x6b767261696c0001ull
#define SALT 0
#define CLIENT_PORT 40000u
#define VALUE_MAX 1024u

/* The client's frames go from 10.96.0.9 to the port: the peer is written as a server writes its
 * reply's, so "local" is the client. */
static void set_addresses(struct get_frames *frames)
{
    static const uint8_t client[4] = {10, 96, 0, 9}, client_mac[6] = {2, 0, 0, 0, 0, 9};
    const struct frame_self *self = &frames->poll->port.self;
    struct peer *server = &frames->server;

    memset(server, 0, sizeof(*server));
    server->ip[10] = server->ip[11] = 0xff;
    server->local_ip[10] = server->local_ip[11] = 0xff;
    memcpy(server->ip + 12, self->ip4, 4);
    memcpy(server->local_ip + 12, client, 4);
    memcpy(server->mac, self->mac, 6);
    memcpy(server->local_mac, client_mac, 6);
    server->port = self->first_port;
    server->local_port = CLIENT_PORT;
}

static int store_all(struct get_frames *frames)
{
    uint8_t key[GET_KEY_LEN], value[VALUE_MAX];

    if (frames->value_len > sizeof(value))
        return -EINVAL;
    for (uint64_t id = 0; id < frames->keys; id++) {
        int rc;

        content_key(key, sizeof(key), id, SALT);
        content_fill(value, frames->value_len, id, 0);
        rc = poll_core_put(frames->poll, key, sizeof(key), value, frames->value_len);
        if (rc)
            return rc;
    }
    return 0;
}

static struct kvr_hdr header(const struct get_frames *frames, uint64_t id)
{
    return (struct kvr_hdr){.id = id,
                            .session = SESSION,
                            .cookie = frames->cookie,
                            .priority = KVR_NORMAL,
                            .reply_max = (uint8_t)(frames->max_datagram / 64)};
}

/* A finished datagram onto the wire, with headers in front. */
static bool put_on_wire(struct get_frames *frames, const uint8_t *bytes, uint32_t len)
{
    uint32_t head = frame_head_size(&frames->server);
    struct rte_mbuf *frame = rte_pktmbuf_alloc(frames->poll->port.rx_pool);
    uint8_t *at;

    if (!frame)
        return false;
    at = (uint8_t *)rte_pktmbuf_append(frame, (uint16_t)(head + len));
    if (!at) {
        rte_pktmbuf_free(frame);
        return false;
    }
    memcpy(at + head, bytes, len);
    frame_write_head(at, &frames->server, len, CHECKSUM_NONE, 0);
    frames->request_len = head + len;
    if (rte_ring_enqueue(frames->poll->wire, frame) == 0)
        return true;
    rte_pktmbuf_free(frame);
    return false;
}

/* The next reply's datagram; its length, 0 if there is none. */
static uint32_t take_off_wire(struct get_frames *frames, uint8_t *bytes, uint32_t room)
{
    uint32_t head = frame_head_size(&frames->server), len;
    void *taken;
    struct rte_mbuf *frame;

    if (rte_ring_dequeue(frames->poll->wire, &taken))
        return 0;
    frame = taken;
    frames->reply_len = frame->pkt_len;
    len = frame->pkt_len > head && frame->pkt_len - head <= room ? frame->pkt_len - head : 1;
    if (len > 1) {
        const void *at = rte_pktmbuf_read(frame, head, len, bytes);

        if (at != bytes)
            memcpy(bytes, at, len);
    }
    rte_pktmbuf_free(frame);
    return len;
}

static int say_hello(struct get_frames *frames, void (*turn)(struct core *core))
{
    alignas(8) uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_hdr hdr;
    struct writer writer;
    struct checked_reply reply;
    uint32_t len;

    frames->max_datagram = frames->poll->transport->max_datagram;
    hdr = header(frames, frames->next_id++);
    build_begin(&writer, bytes);
    build_hello(&writer, frames->max_datagram);
    len = build_finish(&writer, &hdr, NULL, 0);
    if (!put_on_wire(frames, bytes, len))
        return -ENOBUFS;
    turn(frames->poll->core);
    while ((len = take_off_wire(frames, bytes, sizeof(bytes))) > 0) {
        if (check_reply(bytes, len, &reply) == CHECK_OK && reply.hdr.status == KVR_OK)
            frames->cookie = reply.hdr.cookie;
    }
    return frames->cookie ? 0 : -EPROTO;
}

int get_frames_open(struct get_frames *frames, struct poll_core *poll,
                    void (*turn)(struct core *core))
{
    int rc;

    frames->poll = poll;
    frames->next_id = 1;
    rng_seed(&frames->rng, 1);
    zipf_setup(&frames->zipf, frames->keys, 0.99);
    set_addresses(frames);
    rc = store_all(frames);
    return rc ? rc : say_hello(frames, turn);
}

static uint64_t next_key(struct get_frames *frames)
{
    return frames->uniform ? rng_below(&frames->rng, frames->keys)
                           : zipf_next(&frames->zipf, &frames->rng);
}

unsigned get_frames_send(struct get_frames *frames, unsigned n)
{
    alignas(8) uint8_t bytes[KVR_DATAGRAM_MAX];
    unsigned sent = 0;

    frames->first_id = frames->next_id;
    for (unsigned i = 0; i < n; i++) {
        struct kvr_hdr hdr = header(frames, frames->next_id++);
        struct writer writer;

        build_begin(&writer, bytes);
        for (unsigned op = 0; op < frames->ops; op++) {
            struct kvr_get_req req = {.count = 1};
            uint8_t key[GET_KEY_LEN];

            frames->asked[i][op] = next_key(frames);
            content_key(key, sizeof(key), frames->asked[i][op], SALT);
            build_get(&writer, &req, key, sizeof(key));
        }
        sent += put_on_wire(frames, bytes, build_finish(&writer, &hdr, NULL, 0));
    }
    return sent;
}

static bool right_value(const struct get_frames *frames, const struct kvr_hdr *hdr,
                        const struct kvr_op *record)
{
    const struct kvr_get_rep *rep = (const struct kvr_get_rep *)record;

    return hdr->id >= frames->first_id && hdr->id - frames->first_id < BURST &&
           record->op == KVR_GET && record->status == KVR_OK && record->idx < frames->ops &&
           rep->len == frames->value_len && rep->pos == 0 &&
           content_check(rep + 1, rep->len, frames->asked[hdr->id - frames->first_id][record->idx],
                         NULL);
}

void get_frames_receive(struct get_frames *frames)
{
    alignas(8) uint8_t bytes[KVR_DATAGRAM_MAX];
    struct checked_reply reply;
    uint32_t len;

    while ((len = take_off_wire(frames, bytes, sizeof(bytes))) > 0) {
        frames->replies++;
        if (check_reply(bytes, len, &reply) != CHECK_OK || reply.hdr.status != KVR_OK) {
            frames->wrong++;
            continue;
        }
        for (unsigned i = 0; i < reply.hdr.nr_ops; i++) {
            if (right_value(frames, &reply.hdr, reply.records[i]))
                frames->hits++;
            else
                frames->wrong++;
        }
    }
}
