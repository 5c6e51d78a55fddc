/* SPDX-License-Identifier: Apache-2.0 */
/* Frames for a capture as the server's own stages read them, and files as this program reads them
 * back. Cookies are invented here; tests/smoke/pcap.sh gets real ones. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "dataplane/eth/frame.h"
#include "dataplane/parse.h"
#include "perf/pktgen/capture.h"
#include "perf/pktgen/requests.h"
#include "tools/content.h"

#define PARTITIONS 3u
#define FLOWS 6u

static struct flows flows;
static struct requests requests;
static struct requests_spec spec;

static struct flows_spec clients(void)
{
    struct flows_spec clients = {.nr = FLOWS, .nr_addresses = 3, .first_port = 40000};

    clients.first = (struct peer){.ip = {[10] = 0xff, [11] = 0xff, 10, 96, 0, 1},
                                  .local_ip = {[10] = 0xff, [11] = 0xff, 10, 96, 0, 254},
                                  .mac = {2, 0, 0, 0, 0, 1},
                                  .local_mac = {2, 0, 0, 0, 0, 2},
                                  .port = 9690};
    return clients;
}

static void open_stream(void)
{
    struct flows_spec some = clients();

    cr_assert_eq(flows_create(&some, &flows), 0);
    flows.hello = (struct kvr_hello_rep){
        .nr_partitions = PARTITIONS, .base_port = 9690, .max_datagram = 1448, .seed = 42};
    for (unsigned i = 0; i < FLOWS; i++)
        flows.list[i].cookie = 0x1000 + i;
    cr_assert_eq(requests_open(&requests, &spec, &flows), 0);
}

static void setup(void)
{
    spec = (struct requests_spec){.weights = {[REQUEST_GET] = 1},
                                  .keys = 300,
                                  .key_len = 16,
                                  .order = ORDER_ZIPF,
                                  .exponent = 0.99,
                                  .seed = 1,
                                  .batch = 1,
                                  .chain = 8,
                                  .mtu = 1500};
    cr_assert_eq(sizes_parse("64:1,200:1", &spec.sizes), 0);
}

static void teardown(void)
{
    requests_close(&requests);
    flows_destroy(&flows);
}

/* The next frame as the server takes it; request.msg points into a static buffer. */
static struct request receive(struct peer *peer)
{
    static _Alignas(8) uint8_t datagram[CAPTURE_FRAME_MAX];
    struct frame_self server = {
        .mac = {2, 0, 0, 0, 0, 1}, .first_port = 9690, .nr_ports = PARTITIONS};
    struct parse_env env = {.seed = 42, .nr_partitions = PARTITIONS};
    struct request request = {0};
    uint8_t frame[CAPTURE_FRAME_MAX];
    struct parse_fault fault;
    struct frame_view view;
    uint32_t len = requests_next(&requests, frame);

    frame_self_set_ip4(&server, (const uint8_t[4]){10, 96, 0, 1}, 16);
    cr_assert_eq(frame_parse(&server, frame, len, 0, &view, peer), FRAME_DATAGRAM);
    memcpy(datagram, frame + view.payload_off, view.payload_len);
    request.msg = datagram;
    request.len = view.payload_len;
    cr_assert_eq(parse_request(&env, &request, &fault), PARSE_OK);
    return request;
}

TestSuite(requests, .init = setup, .fini = teardown);

Test(requests, come_from_each_client_in_turn_with_its_address_port_session_and_cookie)
{
    open_stream();
    for (unsigned i = 0; i < 3 * FLOWS; i++) {
        const struct flow *flow = &flows.list[i % FLOWS];
        struct peer peer;
        struct request request = receive(&peer);

        cr_assert_eq(peer.port, 40000 + i % FLOWS / 3);
        cr_assert_arr_eq(peer.ip, flow->peer.local_ip, 16);
        cr_assert_arr_eq(peer.mac, flow->peer.local_mac, 6);
        cr_assert_eq(request.hdr.session, flow->session);
        cr_assert_eq(request.hdr.cookie, flow->cookie);
        cr_assert_eq(request.ops[0].opcode, KVR_GET);
    }
    cr_assert_eq(flows.list[2].peer.local_ip[14], 1, "10.96.0.254 + 2 is 10.96.1.0");
    cr_assert_eq(flows.list[2].peer.local_ip[15], 0);
}

Test(requests, of_one_datagram_are_of_its_partition_and_go_to_its_port)
{
    unsigned seen = 0;

    spec.batch = 8;
    open_stream();
    for (unsigned i = 0; i < 100; i++) {
        struct peer peer;
        struct request request = receive(&peer);

        cr_assert_eq(peer.local_port, 9690 + request.hdr.partition);
        cr_assert_eq(request.nr_ops, 8);
        for (unsigned op = 0; op < 8; op++)
            cr_assert_eq(request.ops[op].partition, request.hdr.partition);
        seen |= 1u << request.hdr.partition;
    }
    cr_assert_eq(seen, (1u << PARTITIONS) - 1);
    cr_assert_eq(requests.ops[REQUEST_GET], 800);
}

Test(requests, that_write_are_numbered_by_client_and_partition_and_carry_their_values)
{
    uint32_t last[FLOWS][PARTITIONS] = {0};

    spec.weights[REQUEST_PUT] = 1;
    spec.weights[REQUEST_GET] = 0;
    open_stream();
    for (unsigned i = 0; i < 600 * FLOWS; i++) {
        struct peer peer;
        struct request request = receive(&peer);
        uint32_t *seq = &last[i % FLOWS][request.hdr.partition];
        struct kvr_put_req put;
        const uint8_t *value;

        cr_assert_eq(request.hdr.seq, ++*seq);
        cr_assert_lt(request.hdr.seq - request.hdr.floor, KVR_WINDOW);
        memcpy(&put, request.ops[0].record, sizeof(put));
        value = request.ops[0].key + spec.key_len;
        cr_assert_eq(crc32c(0, value, put.value_len), put.value_crc);
        cr_assert(put.value_len == 64 || put.value_len == 200);
    }
}

Test(requests, that_match_ask_for_a_chain_of_the_partition)
{
    spec.weights[REQUEST_MATCH] = 1;
    spec.weights[REQUEST_GET] = 0;
    open_stream();
    for (unsigned i = 0; i < 50; i++) {
        struct peer peer;
        struct request request = receive(&peer);
        struct kvr_match_req match;
        const uint8_t *keys = (const uint8_t *)request.ops[0].record + sizeof(match);

        memcpy(&match, request.ops[0].record, sizeof(match));
        cr_assert_eq(match.nr_keys, 8);
        for (unsigned k = 0; k < 8; k++)
            cr_assert_eq(hash_partition(hash_key(keys + k * 16, 16, 42), PARTITIONS),
                         request.hdr.partition);
    }
}

Test(requests, in_sequence_ask_for_every_key_by_the_name_that_bench_gives_it)
{
    uint8_t key[16];

    spec.order = ORDER_SEQUENTIAL;
    spec.salt = 5;
    open_stream();
    for (uint64_t id = 0; id < 2 * spec.keys; id++) {
        struct peer peer;
        struct request request = receive(&peer);

        content_key(key, sizeof(key), id % spec.keys, 5);
        cr_assert_arr_eq(request.ops[0].key, key, sizeof(key));
    }
}

Test(requests, that_do_not_fit_a_datagram_are_refused_before_any_is_made)
{
    struct flows_spec some = clients();

    spec.batch = 30;
    cr_assert_eq(flows_create(&some, &flows), 0);
    flows.hello = (struct kvr_hello_rep){.nr_partitions = 1, .max_datagram = 1448};
    cr_assert_eq(requests_open(&requests, &spec, &flows), -EINVAL);
    spec.batch = 1;
    spec.keys = 1;
    flows.hello.nr_partitions = 2;
    cr_assert_eq(requests_open(&requests, &spec, &flows), -EINVAL);
}

Test(flows, that_need_more_ports_or_addresses_than_there_are_are_refused)
{
    struct flows_spec some = clients();

    some.nr = 65536;
    some.nr_addresses = 1;
    cr_assert_eq(flows_create(&some, &flows), -EINVAL);
    some.nr_addresses = 65536;
    cr_assert_eq(flows_create(&some, &flows), -EINVAL);
}

static char path[] = "/tmp/kvrail-test-capture-XXXXXX";

static void make_path(void)
{
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    close(fd);
}

static void remove_path(void)
{
    unlink(path);
}

TestSuite(capture, .init = make_path, .fini = remove_path);

Test(capture, comes_back_as_it_was_written)
{
    uint8_t frame[200];
    struct capture_writer writer;
    struct capture capture;

    cr_assert_eq(capture_create(&writer, path), 0);
    for (unsigned i = 0; i < 50; i++) {
        memset(frame, (int)i, sizeof(frame));
        capture_add(&writer, frame, 60 + i, 900000 + i * 10000);
    }
    cr_assert_eq(capture_finish(&writer), 0);
    cr_assert_eq(capture_read(path, &capture), 0);
    cr_assert_eq(capture.nr, 50);
    cr_assert_eq(capture.bytes, writer.bytes);
    for (unsigned i = 0; i < 50; i++) {
        cr_assert_eq(capture.frames[i].len, 60 + i);
        cr_assert_eq(capture.frames[i].bytes[59 + i], i);
    }
    capture_free(&capture);
}

Test(capture, that_is_cut_short_or_something_else_is_refused)
{
    struct capture_writer writer;
    struct capture capture;
    uint8_t frame[100] = {0};

    cr_assert_eq(capture_read(path, &capture), -EPROTO);
    cr_assert_eq(capture_create(&writer, path), 0);
    cr_assert_eq(capture_finish(&writer), 0);
    cr_assert_eq(capture_read(path, &capture), -EPROTO, "no frames");
    cr_assert_eq(capture_create(&writer, path), 0);
    capture_add(&writer, frame, sizeof(frame), 0);
    cr_assert_eq(capture_finish(&writer), 0);
    for (long len = 24 + 16 + 99; len > 24; len -= 7) {
        cr_assert_eq(truncate(path, len), 0);
        cr_assert_eq(capture_read(path, &capture), -EPROTO, "%ld bytes", len);
    }
    cr_assert_eq(capture_read("/nonexistent/file", &capture), -ENOENT);
}
