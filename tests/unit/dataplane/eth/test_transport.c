/* SPDX-License-Identifier: Apache-2.0 */
/* Over net_ring, which gives back what is sent: the test puts frames in and takes answers out with
 * DPDK's own calls. EAL is started in each test's own process. */
#include <criterion/criterion.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdlib.h>

#include "dataplane/eth/eal.h"
#include "dataplane/eth/eal_log.h"
#include "dataplane/eth/transport.h"
#include "dataplane/note.h"
#include "packets.h"
#include "shm/partition.h"
#include "shm/reclaim.h"

#define WORKERS 20u /* more than net_ring has queues */

static struct settings settings;
static struct arena arena;
static struct port port;
static struct transport *transports[WORKERS];
static struct packet p;
static struct core_stats *stats;

void note(const char *format, ...)
{
    (void)format;
}

static void setup(void)
{
    struct arena_spec spec = {.data_size = 8u << 20, .nr_partitions = 20, .nr_cores = WORKERS};
    struct core_stats *all[WORKERS];
    struct cpu_plan plan;
    struct fault fault = {""};
    cpu_set_t allowed;

    cr_assert_eq(arena_create(&spec, &arena), 0);
    settings_defaults(&settings);
    strcpy(settings.device, "net_ring0");
    strcpy(settings.ipv6, "fd96::ab:cd01/64");
    settings.packet_buffers = 16384;
    settings.packet_memory = 128;
    settings.rx_ring = 64;
    cr_assert_eq(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    cr_assert_eq(cpu_plan("", &allowed, 1, &plan), 0);
    cr_assert_eq(eal_log_open(), 0);
    cr_assert_eq(eal_start(&settings, &plan, &allowed, &fault), 0, "%s", fault.text);
    cr_assert_eq(port_create(&settings, WORKERS, 20, &arena, &port, &fault), 0, "%s", fault.text);
    memcpy(port.self.mac, our_mac, 6);
    memcpy(port.self.ip6, our_ip6, 16);
    for (unsigned i = 0; i < WORKERS; i++)
        all[i] = arena_stats(&arena, i);
    stats = all[0];
    cr_assert_eq(eth_transports_create(&port, &settings, all, transports), 0);
    cr_assert_eq(rte_eth_dev_start(port.id), 0);
}

static void teardown(void)
{
    unsigned rx = rte_mempool_avail_count(port.rx_pool), rx_all = port.rx_pool->size;
    unsigned tx = rte_mempool_avail_count(port.tx_pool), tx_all = port.tx_pool->size;
    unsigned pins = rte_mempool_avail_count(port.pin_pool), pins_all = port.pin_pool->size;

    eth_transports_destroy(transports, WORKERS);
    port_stop(&port);
    cr_assert_eq(rx, rx_all, "%u receive buffers are lost", rx_all - rx);
    cr_assert_eq(tx, tx_all, "%u send buffers are lost", tx_all - tx);
    cr_assert_eq(pins, pins_all, "%u pins are lost", pins_all - pins);
    port_destroy(&port);
    arena_close(&arena);
}

TestSuite(transport, .init = setup, .fini = teardown, .timeout = 30);

static void put(void)
{
    struct rte_mbuf *frame = rte_pktmbuf_alloc(port.rx_pool);

    cr_assert(frame);
    memcpy(rte_pktmbuf_append(frame, (uint16_t)p.len), p.bytes, p.len);
    cr_assert_eq(rte_eth_tx_burst(port.id, 0, &frame, 1), 1);
}

/* One frame that came out, copied to p; false if there is none. */
static bool take(void)
{
    struct rte_mbuf *frame;

    if (rte_eth_rx_burst(port.id, 0, &frame, 1) == 0)
        return false;
    p.len = frame->pkt_len;
    cr_assert_leq(p.len, sizeof(p.bytes));
    memmove(p.bytes, rte_pktmbuf_read(frame, 0, p.len, p.bytes), p.len);
    rte_pktmbuf_free(frame);
    return true;
}

static struct request *receive(void)
{
    struct request *requests[32];

    put();
    cr_assert_eq(transports[0]->ops->rx(transports[0], 77, requests, 32), 1);
    return requests[0];
}

/* What we sent, as the client reads it. */
static void expect_reply(const uint8_t *bytes, uint32_t len, uint16_t from_port)
{
    struct frame_self client = {.first_port = 40000, .nr_ports = 1, .has_ip6 = true};
    struct frame_view view;
    struct peer peer;

    memcpy(client.mac, their_mac, 6);
    memcpy(client.ip6, their_ip6, 16);
    frame_self_set_ip4(&client, their_ip4, 24);
    cr_assert(take());
    cr_assert_eq(frame_parse(&client, p.bytes, p.len, 0, &view, &peer), FRAME_DATAGRAM);
    cr_assert_eq(peer.port, from_port);
    cr_assert_eq(view.payload_len, len);
    cr_assert_arr_eq(p.bytes + view.payload_off, bytes, len);
}

Test(transport, arp_and_ping_are_answered_and_counted)
{
    struct request *requests[32];

    packet_arp(&p);
    put();
    packet_echo4(&p, 100);
    put();
    packet_echo6(&p, 100);
    put();
    packet_solicitation(&p);
    put();
    packet_udp4(&p, 1, 10);
    put();
    cr_assert_eq(transports[0]->ops->rx(transports[0], 1, requests, 32), 0);
    cr_assert_eq(transports[0]->ops->flush(transports[0]), 0);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(take());
        cr_assert_arr_eq(p.bytes, their_mac, 6);
    }
    cr_assert_not(take());
    cr_assert_eq(stats->arp_replies, 1);
    cr_assert_eq(stats->echo_replies, 2);
    cr_assert_eq(stats->nd_replies, 1);
    cr_assert_eq(stats->drops[DROP_udp_port], 1);
    cr_assert_eq(stats->rx_packets, 5);
    cr_assert_eq(stats->rx_bursts, 1);
}

Test(transport, addresses_are_announced_once_when_asked)
{
    port.announce = true;
    cr_assert_eq(transports[1]->ops->flush(transports[1]), 0);
    cr_assert_not(take());
    cr_assert_eq(transports[0]->ops->flush(transports[0]), 0);
    cr_assert_eq(transports[0]->ops->flush(transports[0]), 0);
    cr_assert(take());
    cr_assert_eq(p.len, 42);
    cr_assert(take());
    cr_assert_eq(p.len, 86);
    cr_assert_not(take());
}

static void ask_and_answer(bool ipv6, uint32_t reply_len)
{
    struct transport *t = transports[0];
    struct request *request;
    struct reply reply;

    if (ipv6)
        packet_udp6(&p, 9691, 64);
    else
        packet_udp4(&p, 9691, 64);
    request = receive();
    cr_assert_eq(request->len, 64);
    cr_assert_eq(request->arrived_ns, 77);
    cr_assert_eq(request->peer.ipv6, ipv6);
    cr_assert_eq(request->peer.local_port, 9691);
    cr_assert_eq(request->msg[1], 8);
    cr_assert(t->ops->reply_begin(t, &request->peer, &reply));
    cr_assert_geq(reply.room, KVR_DATAGRAM_MIN_MAX);
    packet_fill(reply.bytes, reply_len);
    reply.len = reply_len;
    t->ops->reply_send(t, &request->peer, &reply);
    t->ops->release(t, request);
    cr_assert_eq(t->ops->flush(t), 0);
}

Test(transport, datagrams_come_with_their_sender_and_replies_go_there)
{
    static const uint32_t lens[] = {0, 1, 63, 64, 1232, 1451, 1452};
    uint8_t bytes[1452];

    packet_fill(bytes, sizeof(bytes));
    for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        ask_and_answer(false, lens[i]);
        expect_reply(bytes, lens[i], 9691);
        ask_and_answer(true, lens[i]);
        expect_reply(bytes, lens[i], 9691);
    }
}

Test(transport, a_frame_in_pieces_is_read_like_any_other)
{
    struct rte_mbuf *head = rte_pktmbuf_alloc(port.rx_pool),
                    *tail = rte_pktmbuf_alloc(port.tx_pool);
    struct request *requests[32];

    packet_udp4(&p, 9690, 500);
    memcpy(rte_pktmbuf_append(head, 100), p.bytes, 100);
    memcpy(rte_pktmbuf_append(tail, (uint16_t)(p.len - 100)), p.bytes + 100, p.len - 100);
    cr_assert_eq(rte_pktmbuf_chain(head, tail), 0);
    cr_assert_eq(rte_eth_tx_burst(port.id, 0, &head, 1), 1);
    cr_assert_eq(transports[0]->ops->rx(transports[0], 1, requests, 32), 1);
    cr_assert_eq(requests[0]->len, 500);
    cr_assert_arr_eq(requests[0]->msg, p.bytes + 42, 500);
    transports[0]->ops->release(transports[0], requests[0]);
}

struct stored {
    struct reclaimer *reclaimer;
    struct partition *partition;
    uint32_t block;
    uint8_t *value;
};

static struct stored store(uint32_t len)
{
    struct partition_options options = {.policy = "lru"};
    struct block_request request = {.key = "k", .key_len = 1, .value_len = len};
    struct partition_recovery recovery;
    struct stored stored;
    uint64_t ref;

    cr_assert_eq(reclaimer_create(NULL, &stored.reclaimer), 0);
    options.reclaimer = stored.reclaimer;
    rcu_reader_register();
    cr_assert_eq(partition_open(&arena, 0, &options, &stored.partition, &recovery), 0);
    request.hash = hash_key("k", 1, arena.sb->seed);
    cr_assert_eq(partition_reserve(stored.partition, &request, 0, &stored.block), KVR_OK);
    stored.value = partition_value(stored.partition, stored.block);
    packet_fill(stored.value, len);
    cr_assert_eq(partition_seal(stored.partition, stored.block, 0, false, 0, &ref), KVR_OK);
    return stored;
}

static void forget(struct stored *stored)
{
    partition_close(stored->partition);
    rcu_reader_unregister();
    reclaimer_destroy(stored->reclaimer);
}

/* head bytes are written, tail bytes are sent from the value. */
static void attach(const struct stored *stored, bool ipv6, uint32_t head, uint32_t tail)
{
    struct transport *t = transports[0];
    struct request *request;
    struct reply reply;
    uint8_t expected[2048];

    if (ipv6)
        packet_udp6(&p, 9690, 8);
    else
        packet_udp4(&p, 9690, 8);
    request = receive();
    cr_assert(t->ops->reply_begin(t, &request->peer, &reply));
    memset(reply.bytes, 0x5a, head);
    reply.len = head;
    cr_assert(
        t->ops->reply_attach(t, &reply, stored->partition, stored->block, stored->value, tail));
    cr_assert_not(
        t->ops->reply_attach(t, &reply, stored->partition, stored->block, stored->value, 1));
    cr_assert_eq(partition_pinned(stored->partition), 1);
    t->ops->reply_send(t, &request->peer, &reply);
    t->ops->release(t, request);
    cr_assert_eq(t->ops->flush(t), 0);
    cr_assert_eq(partition_pinned(stored->partition), 1, "still in the device's queue");
    memset(expected, 0x5a, head);
    memcpy(expected + head, stored->value, tail);
    expect_reply(expected, head + tail, 9690);
    cr_assert_eq(partition_pinned(stored->partition), 0);
}

Test(transport, a_value_is_sent_from_where_it_lies_and_pinned_that_long)
{
    struct stored stored = store(1000);

    cr_assert_eq(transports[0]->zero_copy_min, 4096);
    attach(&stored, false, 104, 1000);
    attach(&stored, true, 104, 1000);
    attach(&stored, true, 103, 999);
    attach(&stored, true, 103, 1);
    attach(&stored, false, 452, 1000);
    forget(&stored);
}

Test(transport, what_does_not_fit_the_datagram_is_not_attached)
{
    struct stored stored = store(2000);
    struct transport *t = transports[0];
    struct request *request;
    struct reply reply;

    packet_udp4(&p, 9690, 8);
    request = receive();
    cr_assert(t->ops->reply_begin(t, &request->peer, &reply));
    reply.len = 453;
    cr_assert_not(
        t->ops->reply_attach(t, &reply, stored.partition, stored.block, stored.value, 1000));
    cr_assert_eq(partition_pinned(stored.partition), 0);
    t->ops->reply_send(t, &request->peer, &reply);
    t->ops->release(t, request);
    t->ops->flush(t);
    cr_assert(take());
    forget(&stored);
}

Test(transport, a_core_without_a_queue_sends_by_way_of_one_that_has)
{
    struct transport *poor = transports[port.nr_queues], *rich = transports[0];
    struct request *request, *none[32];
    struct reply reply;
    uint8_t bytes[10];

    cr_assert_lt(port.nr_queues, WORKERS);
    cr_assert_eq(poor->ops->rx(poor, 1, none, 32), 0);
    packet_udp4(&p, 9690, 8);
    request = receive();
    cr_assert(poor->ops->reply_begin(poor, &request->peer, &reply));
    packet_fill(reply.bytes, 10);
    reply.len = 10;
    poor->ops->reply_send(poor, &request->peer, &reply);
    poor->ops->release(poor, request);
    cr_assert_eq(poor->ops->flush(poor), 0);
    cr_assert_not(take());
    cr_assert_eq(rich->ops->flush(rich), 0);
    packet_fill(bytes, 10);
    expect_reply(bytes, 10, 9690);
}

static unsigned send_many(struct transport *t, const struct peer *peer, unsigned nr)
{
    struct reply reply;
    unsigned begun = 0;

    for (; begun < nr && t->ops->reply_begin(t, peer, &reply); begun++) {
        reply.len = 8;
        memset(reply.bytes, 0, 8);
        t->ops->reply_send(t, peer, &reply);
    }
    return begun;
}

Test(transport, what_the_device_does_not_take_is_counted_and_freed)
{
    struct transport *t = transports[0];
    struct request *request;
    unsigned sent = 0;

    packet_udp4(&p, 9690, 8);
    request = receive();
    cr_assert_eq(send_many(t, &request->peer, 3000), 3000);
    t->ops->release(t, request);
    sent = 3000 - t->ops->flush(t);
    cr_assert_lt(sent, 3000);
    for (unsigned i = 0; i < sent; i++)
        cr_assert(take());
    cr_assert_not(take());
    cr_assert_eq(t->ops->flush(t), 0);
}

Test(transport, frames_of_a_core_without_a_queue_are_bounded)
{
    struct transport *poor = transports[port.nr_queues];
    struct request *request;
    unsigned lost;

    packet_udp4(&p, 9690, 8);
    request = receive();
    cr_assert_eq(send_many(poor, &request->peer, 1500), 1500);
    lost = poor->ops->flush(poor);
    cr_assert_eq(lost, 1500 - 1024);
    poor->ops->release(poor, request);
    /* What waits is freed by teardown, which counts the buffers. */
    eth_transports_drain(transports, WORKERS);
    while (take())
        ;
}

Test(transport, without_buffers_there_is_no_reply)
{
    struct transport *t = transports[0];
    struct rte_mbuf *held[16384];
    struct request *request;
    unsigned nr = 0;

    packet_udp4(&p, 9690, 8);
    request = receive();
    while (nr < 16384 && (held[nr] = rte_pktmbuf_alloc(port.tx_pool)) != NULL)
        nr++;
    cr_assert_eq(send_many(t, &request->peer, 1), 0);
    rte_pktmbuf_free_bulk(held, nr);
    t->ops->release(t, request);
}
