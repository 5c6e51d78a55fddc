/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "dataplane/eth/checksum.h"
#include "packets.h"

static struct frame_self self;
static struct frame_view view;
static struct peer peer;
static struct packet p, asked;

static void setup(void)
{
    self = our_self();
}

TestSuite(answer, .init = setup);

/* The answer to p, in place; never longer than what asked, and for the sender. */
static void answer(enum frame_kind expected)
{
    enum frame_kind kind = frame_parse(&self, p.bytes, p.len, 0, &view, &peer);
    uint32_t len;

    cr_assert_eq(kind, expected);
    asked = p;
    len = frame_answer(&self, kind, &view, p.bytes);
    cr_assert_leq(len, p.len);
    p.len = len;
    cr_assert_arr_eq(p.bytes, their_mac, 6);
    cr_assert_arr_eq(p.bytes + 6, our_mac, 6);
    cr_assert_eq(packet_get16(p.bytes + 12), packet_get16(asked.bytes + 12));
}

static void check_ip4(uint32_t total)
{
    const uint8_t *ip = p.bytes + 14;

    cr_assert_eq(ip[0], 0x45);
    cr_assert_eq(packet_get16(ip + 2), total);
    cr_assert_eq(packet_sum(ip, 20, 0), 0xffff);
    cr_assert_eq(ip[8], 64);
    cr_assert_arr_eq(ip + 12, our_ip4, 4);
    cr_assert_arr_eq(ip + 16, their_ip4, 4);
}

static void check_ip6(uint32_t size, uint8_t hops)
{
    const uint8_t *ip = p.bytes + 14;

    cr_assert_eq(ip[0], 0x60);
    cr_assert_eq(packet_get16(ip + 4), size);
    cr_assert_eq(ip[7], hops);
    cr_assert_arr_eq(ip + 8, our_ip6, 16);
    cr_assert_arr_eq(ip + 24, their_ip6, 16);
    cr_assert_eq(packet_sum(ip + 40, size, packet_sum(ip + 8, 32, ip[6] + size)), 0xffff);
}

Test(answer, arp_is_told_our_mac)
{
    const uint8_t *arp = p.bytes + 14;

    packet_arp(&p);
    answer(FRAME_ARP);
    cr_assert_eq(p.len, 42);
    cr_assert_arr_eq(arp, "\0\1\x08\0\6\4\0\2", 8);
    cr_assert_arr_eq(arp + 8, our_mac, 6);
    cr_assert_arr_eq(arp + 14, our_ip4, 4);
    cr_assert_arr_eq(arp + 18, their_mac, 6);
    cr_assert_arr_eq(arp + 24, their_ip4, 4);
}

Test(answer, ping_comes_back_with_its_bytes)
{
    for (uint32_t len = 0; len <= 1472; len += len < 80 ? 1 : 87) {
        packet_echo4(&p, len);
        answer(FRAME_ECHO);
        cr_assert_eq(p.len, 42 + len);
        check_ip4(28 + len);
        cr_assert_eq(p.bytes[34], 0);
        cr_assert_eq(packet_sum(p.bytes + 34, 8 + len, 0), 0xffff);
        cr_assert_arr_eq(p.bytes + 38, asked.bytes + 38, 4 + len);
    }
}

Test(answer, ping_over_ipv6_comes_back_with_its_bytes)
{
    for (uint32_t len = 0; len <= 1452; len += len < 80 ? 1 : 87) {
        packet_echo6(&p, len);
        answer(FRAME_ECHO);
        cr_assert_eq(p.len, 62 + len);
        cr_assert_eq(p.bytes[54], 129);
        check_ip6(8 + len, 64);
        cr_assert_arr_eq(p.bytes + 58, asked.bytes + 58, 4 + len);
    }
}

Test(answer, padding_is_not_sent_back)
{
    packet_echo4(&p, 1);
    memset(p.bytes + p.len, 0x55, 60 - p.len);
    p.len = 60;
    answer(FRAME_ECHO);
    cr_assert_eq(p.len, 43);
}

Test(answer, a_solicitation_is_told_our_mac)
{
    const uint8_t *nd = p.bytes + 54;

    packet_solicitation(&p);
    answer(FRAME_SOLICITATION);
    cr_assert_eq(p.len, 86);
    check_ip6(32, 255);
    cr_assert_eq(nd[0], 136);
    cr_assert_eq(nd[4], 0x60); /* solicited, override */
    cr_assert_arr_eq(nd + 8, our_ip6, 16);
    cr_assert_eq(nd[24], 2);
    cr_assert_eq(nd[25], 1);
    cr_assert_arr_eq(nd + 26, our_mac, 6);
}

Test(answer, a_probe_of_the_known_address_gets_no_more_than_it_sent)
{
    packet_ip6(&p, 58, 24);
    p.bytes[54] = 135;
    memcpy(p.bytes + 62, our_ip6, 16);
    packet_sum6(&p, 2);
    answer(FRAME_SOLICITATION);
    cr_assert_eq(p.len, 78);
    check_ip6(24, 255);
}

Test(answer, announcements_name_our_addresses)
{
    p.len = frame_announce_ip4(&self, p.bytes);
    cr_assert_eq(p.len, 42);
    cr_assert_arr_eq(p.bytes, "\xff\xff\xff\xff\xff\xff", 6);
    cr_assert_arr_eq(p.bytes + 22, our_mac, 6);
    cr_assert_arr_eq(p.bytes + 28, our_ip4, 4);
    cr_assert_arr_eq(p.bytes + 38, our_ip4, 4);
    p.len = frame_announce_ip6(&self, p.bytes);
    cr_assert_eq(p.len, 86);
    cr_assert_eq(packet_sum(p.bytes + 54, 32, packet_sum(p.bytes + 22, 32, 58 + 32)), 0xffff);
    cr_assert_arr_eq(p.bytes + 62, our_ip6, 16);
    cr_assert_arr_eq(p.bytes + 80, our_mac, 6);
}

/* A reply as the transport builds it, read by a receiver with the roles turned. */
static void round_trip(bool ipv6, uint32_t len, enum frame_checksum checksum)
{
    struct frame_self client = {.first_port = 40000, .nr_ports = 1, .has_ip6 = true};
    struct peer back;
    uint32_t head;

    memcpy(client.mac, their_mac, 6);
    memcpy(client.ip6, their_ip6, 16);
    frame_self_set_ip4(&client, their_ip4, 24);
    if (ipv6)
        packet_udp6(&p, 9691, 0);
    else
        packet_udp4(&p, 9691, 0);
    cr_assert_eq(frame_parse(&self, p.bytes, p.len, 0, &view, &peer), FRAME_DATAGRAM);
    head = frame_head_size(&peer);
    packet_fill(p.bytes + head, len);
    frame_write_head(p.bytes, &peer, len, checksum, checksum_add(0, p.bytes + head, len));
    p.len = head + len;
    cr_assert_eq(
        frame_parse(&client, p.bytes, p.len,
                    checksum == CHECKSUM_PSEUDO ? FRAME_IP_GOOD | FRAME_PARTIAL_ALLOWED : 0, &view,
                    &back),
        FRAME_DATAGRAM, "IPv%d, %u bytes: %s", ipv6 ? 6 : 4, len, drop_names[view.reason].name);
    cr_assert_eq(view.payload_len, len);
    cr_assert_eq(back.port, 9691);
    cr_assert_arr_eq(back.ip, peer.local_ip, 16);
    cr_assert_arr_eq(back.mac, our_mac, 6);
}

Test(answer, reply_headers_are_what_a_receiver_accepts)
{
    for (uint32_t len = 0; len < 1400; len += 1 + len / 9) {
        round_trip(false, len, CHECKSUM_NONE);
        round_trip(false, len, CHECKSUM_SOFTWARE);
        round_trip(false, len, CHECKSUM_PSEUDO);
        round_trip(true, len, CHECKSUM_SOFTWARE);
        round_trip(true, len, CHECKSUM_PSEUDO);
    }
}

Test(answer, a_udp_checksum_that_sums_to_zero_is_sent_as_ones)
{
    uint8_t head[FRAME_HEAD_MAX];
    uint16_t sum;

    packet_udp6(&p, 9690, 0);
    cr_assert_eq(frame_parse(&self, p.bytes, p.len, 0, &view, &peer), FRAME_DATAGRAM);
    frame_write_head(head, &peer, 2, CHECKSUM_SOFTWARE, 0);
    memcpy(&sum, head + 60, 2);
    frame_write_head(head, &peer, 2, CHECKSUM_SOFTWARE, sum);
    memcpy(&sum, head + 60, 2);
    cr_assert_eq(sum, 0xffff);
}

Test(answer, sums_of_parts_are_the_sum_of_the_whole)
{
    uint8_t bytes[301];

    packet_fill(bytes, sizeof(bytes));
    for (uint32_t cut = 0; cut <= sizeof(bytes); cut++) {
        uint64_t sum = checksum_add(0, bytes, cut);

        sum = cut % 2 ? checksum_add_odd(sum, bytes + cut, sizeof(bytes) - cut)
                      : checksum_add(sum, bytes + cut, sizeof(bytes) - cut);
        cr_assert_eq(checksum_fold(sum), checksum_fold(checksum_add(0, bytes, sizeof(bytes))));
    }
}
