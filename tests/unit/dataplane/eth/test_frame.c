/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "packets.h"

static struct frame_self self;
static struct frame_view view;
static struct peer peer;
static struct packet p;

static void setup(void)
{
    self = our_self();
}

TestSuite(frame, .init = setup);

static enum frame_kind parse(unsigned checked)
{
    return frame_parse(&self, p.bytes, p.len, checked, &view, &peer);
}

static void expect_drop(enum drop_reason reason)
{
    cr_assert_eq(parse(0), FRAME_DROP);
    cr_assert_eq(view.reason, reason, "dropped as %s, not %s", drop_names[view.reason].name,
                 drop_names[reason].name);
}

Test(frame, udp_over_ipv4_is_found_with_its_addresses)
{
    packet_udp4(&p, 9692, 100);
    cr_assert_eq(parse(0), FRAME_DATAGRAM);
    cr_assert_eq(view.payload_off, 42);
    cr_assert_eq(view.payload_len, 100);
    cr_assert_not(peer.ipv6);
    cr_assert_eq(peer.port, 40000);
    cr_assert_eq(peer.local_port, 9692);
    cr_assert_arr_eq(peer.ip, their_mapped, 16);
    cr_assert_arr_eq(peer.local_ip, our_mapped, 16);
    cr_assert_arr_eq(peer.mac, their_mac, 6);
    cr_assert_arr_eq(peer.local_mac, our_mac, 6);
}

Test(frame, udp_over_ipv6_is_found_with_its_addresses)
{
    packet_udp6(&p, 9690, 1441);
    cr_assert_eq(parse(0), FRAME_DATAGRAM);
    cr_assert_eq(view.payload_off, 62);
    cr_assert_eq(view.payload_len, 1441);
    cr_assert(peer.ipv6);
    cr_assert_arr_eq(peer.ip, their_ip6, 16);
    cr_assert_arr_eq(peer.local_ip, our_ip6, 16);
}

Test(frame, every_payload_length_passes_its_checksum)
{
    for (uint32_t len = 0; len < 200; len++) {
        packet_udp4(&p, 9690, len);
        cr_assert_eq(parse(0), FRAME_DATAGRAM, "IPv4, %u bytes", len);
        packet_udp6(&p, 9690, len);
        cr_assert_eq(parse(0), FRAME_DATAGRAM, "IPv6, %u bytes", len);
        cr_assert_eq(view.payload_len, len);
    }
}

Test(frame, padding_after_the_packet_is_ignored)
{
    packet_udp4(&p, 9690, 3);
    p.len = 60;
    cr_assert_eq(parse(0), FRAME_DATAGRAM);
    cr_assert_eq(view.payload_len, 3);
}

Test(frame, a_priority_tag_is_tolerated_and_a_vlan_is_not_ours)
{
    packet_udp4(&p, 9690, 10);
    memmove(p.bytes + 16, p.bytes + 12, p.len - 12);
    packet_put16(p.bytes + 12, 0x8100);
    packet_put16(p.bytes + 14, 0xa000);
    p.len += 4;
    cr_assert_eq(parse(0), FRAME_DATAGRAM);
    cr_assert_eq(view.payload_off, 46);
    packet_put16(p.bytes + 14, 0xa005);
    expect_drop(DROP_not_ours);
}

/* Whatever is cut off, nothing is read beyond the end (the sanitizers watch) and nothing passes. */
static void cut_everywhere(void)
{
    for (uint32_t len = 0; len < p.len; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        enum frame_kind kind;

        memcpy(exact, p.bytes, len);
        kind = frame_parse(&self, exact, len, 0, &view, &peer);
        cr_assert_eq(kind, FRAME_DROP, "%u of %u bytes passed", len, p.len);
        free(exact);
    }
    cr_assert_neq(parse(0), FRAME_DROP);
}

Test(frame, truncated_at_any_length_is_dropped)
{
    packet_udp4(&p, 9690, 40);
    cut_everywhere();
    packet_udp6(&p, 9690, 40);
    cut_everywhere();
    packet_echo4(&p, 40);
    cut_everywhere();
    packet_echo6(&p, 40);
    cut_everywhere();
    packet_solicitation(&p);
    cut_everywhere();
    packet_arp(&p);
    p.len = 42;
    cut_everywhere();
}

/* Each bit of the packet but those that no checksum covers. */
static void flip_everywhere(uint32_t from)
{
    struct packet good = p;

    for (uint32_t bit = from * 8; bit < p.len * 8; bit++) {
        p.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(parse(0), FRAME_DROP, "bit %u of byte %u", bit % 8, bit / 8);
        p = good;
    }
}

Test(frame, any_flipped_bit_of_an_ipv4_datagram_is_noticed)
{
    packet_udp4(&p, 9690, 40);
    flip_everywhere(14);
}

Test(frame, any_flipped_bit_of_an_ipv6_datagram_is_noticed)
{
    packet_udp6(&p, 9690, 40);
    flip_everywhere(14 + 8);
}

Test(frame, wrong_checksums_are_told_apart)
{
    packet_udp4(&p, 9690, 40);
    p.bytes[24] ^= 1;
    expect_drop(DROP_ip_checksum);
    packet_udp4(&p, 9690, 40);
    p.bytes[60] ^= 1;
    expect_drop(DROP_udp_checksum);
    packet_udp6(&p, 9690, 40);
    p.bytes[80] ^= 1;
    expect_drop(DROP_udp_checksum);
    packet_echo4(&p, 40);
    p.bytes[60] ^= 1;
    expect_drop(DROP_udp_checksum);
}

Test(frame, a_missing_udp_checksum_is_fine_on_ipv4_only)
{
    packet_udp4(&p, 9690, 40);
    packet_put16(p.bytes + 40, 0);
    cr_assert_eq(parse(0), FRAME_DATAGRAM);
    packet_udp6(&p, 9690, 40);
    packet_put16(p.bytes + 60, 0);
    expect_drop(DROP_udp_checksum);
}

Test(frame, what_the_device_checked_is_not_checked_again)
{
    packet_udp4(&p, 9690, 40);
    p.bytes[24] ^= 1;
    p.bytes[60] ^= 1;
    cr_assert_eq(parse(FRAME_IP_GOOD), FRAME_DROP);
    cr_assert_eq(parse(FRAME_IP_GOOD | FRAME_L4_GOOD), FRAME_DATAGRAM);
}

Test(frame, a_checksum_left_to_absent_hardware_passes_only_where_that_happens)
{
    uint8_t *udp = p.bytes + 34;

    packet_udp4(&p, 9690, 40);
    packet_put16(udp + 6, packet_sum(p.bytes + 26, 8, 17 + 48));
    expect_drop(DROP_udp_checksum);
    cr_assert_eq(parse(FRAME_PARTIAL_ALLOWED), FRAME_DATAGRAM);
    packet_put16(udp + 6, packet_get16(udp + 6) + 1u);
    cr_assert_eq(parse(FRAME_PARTIAL_ALLOWED), FRAME_DROP);
    packet_udp6(&p, 9690, 40);
    packet_put16(p.bytes + 60, packet_sum(p.bytes + 22, 32, 17 + 48));
    cr_assert_eq(parse(FRAME_PARTIAL_ALLOWED), FRAME_DATAGRAM);
}

Test(frame, other_addresses_ports_and_protocols_are_dropped_by_reason)
{
    packet_udp4(&p, 9690, 8);
    p.bytes[5] ^= 1;
    expect_drop(DROP_not_ours);
    packet_udp4(&p, 9690, 8);
    p.bytes[33] = 9;
    packet_sum4(&p, 6);
    expect_drop(DROP_not_ours);
    packet_udp4(&p, 9689, 8);
    expect_drop(DROP_udp_port);
    packet_udp4(&p, 9694, 8);
    expect_drop(DROP_udp_port);
    packet_udp6(&p, 9694, 8);
    expect_drop(DROP_udp_port);
    packet_ip4(&p, 6, 20);
    packet_sum4(&p, 0);
    expect_drop(DROP_not_udp);
    packet_ip6(&p, 6, 20);
    expect_drop(DROP_not_udp);
    packet_ethernet(&p, our_mac, 0x88cc);
    p.len = 60;
    expect_drop(DROP_not_ip);
}

Test(frame, a_datagram_to_a_group_mac_is_not_ours)
{
    packet_udp4(&p, 9690, 8);
    memset(p.bytes, 0xff, 6);
    expect_drop(DROP_not_ours);
    packet_echo6(&p, 8);
    memcpy(p.bytes, "\x33\x33\0\0\0\1", 6);
    expect_drop(DROP_not_ours);
}

Test(frame, fragments_and_options_are_dropped_by_reason)
{
    static const uint8_t options[] = {0, 43, 51, 60};

    packet_udp4(&p, 9690, 8);
    packet_put16(p.bytes + 20, 0x2000);
    packet_sum4(&p, 6);
    expect_drop(DROP_ip_fragment);
    packet_put16(p.bytes + 20, 0x0001);
    packet_sum4(&p, 6);
    expect_drop(DROP_ip_fragment);
    packet_put16(p.bytes + 20, 0x4000);
    packet_sum4(&p, 6);
    cr_assert_eq(parse(0), FRAME_DATAGRAM);
    packet_udp4(&p, 9690, 8);
    p.bytes[14] = 0x46;
    expect_drop(DROP_ip_options);
    for (unsigned i = 0; i < sizeof(options); i++) {
        packet_ip6(&p, options[i], 40);
        expect_drop(DROP_ip_options);
    }
    packet_ip6(&p, 44, 40);
    expect_drop(DROP_ip_fragment);
}

Test(frame, lengths_that_contradict_each_other_are_dropped)
{
    packet_udp4(&p, 9690, 8);
    packet_put16(p.bytes + 38, 7);
    expect_drop(DROP_udp_truncated);
    packet_put16(p.bytes + 38, 17);
    expect_drop(DROP_udp_truncated);
    packet_put16(p.bytes + 16, 19);
    packet_sum4(&p, 0);
    expect_drop(DROP_ip_truncated);
    packet_put16(p.bytes + 16, 27);
    packet_sum4(&p, 0);
    expect_drop(DROP_udp_truncated);
    packet_udp6(&p, 9690, 8);
    packet_put16(p.bytes + 18, 17);
    expect_drop(DROP_ip_truncated);
    packet_put16(p.bytes + 18, 0);
    expect_drop(DROP_udp_truncated);
}

static void expect_bad_source4(const uint8_t *ip)
{
    packet_udp4(&p, 9690, 8);
    memcpy(p.bytes + 26, ip, 4);
    packet_sum4(&p, 6);
    expect_drop(DROP_bad_source);
    packet_echo4(&p, 8);
    memcpy(p.bytes + 26, ip, 4);
    packet_sum4(&p, 2);
    expect_drop(DROP_bad_source);
    packet_arp(&p);
    memcpy(p.bytes + 28, ip, 4);
    expect_drop(DROP_bad_source);
}

Test(frame, nothing_is_answered_to_an_ipv4_source_that_is_no_other_host)
{
    static const uint8_t sources[][4] = {
        {0, 0, 0, 0},   {0, 1, 2, 3},         {127, 0, 0, 1},   {224, 0, 0, 1},
        {240, 1, 2, 3}, {255, 255, 255, 255}, {10, 96, 0, 255}, {10, 96, 0, 1},
    };

    for (unsigned i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
        expect_bad_source4(sources[i]);
}

static void expect_bad_source6(const uint8_t *ip)
{
    packet_udp6(&p, 9690, 8);
    memcpy(p.bytes + 22, ip, 16);
    packet_sum6(&p, 6);
    expect_drop(DROP_bad_source);
    packet_echo6(&p, 8);
    memcpy(p.bytes + 22, ip, 16);
    packet_sum6(&p, 2);
    expect_drop(DROP_bad_source);
    packet_solicitation(&p);
    memcpy(p.bytes + 22, ip, 16);
    packet_sum6(&p, 2);
    expect_drop(DROP_bad_source);
}

Test(frame, nothing_is_answered_to_an_ipv6_source_that_is_no_other_host)
{
    static const uint8_t zero[16], loopback[16] = {[15] = 1}, group[16] = {0xff, 2, [15] = 1};

    expect_bad_source6(zero);
    expect_bad_source6(loopback);
    expect_bad_source6(group);
    expect_bad_source6(our_ip6);
    expect_bad_source6(their_mapped);
}

Test(frame, source_macs_and_ports_that_no_host_may_use_are_dropped)
{
    packet_udp4(&p, 9690, 8);
    p.bytes[6] |= 1;
    expect_drop(DROP_bad_source);
    packet_udp4(&p, 9690, 8);
    memset(p.bytes + 6, 0, 6);
    expect_drop(DROP_bad_source);
    packet_udp4(&p, 9690, 8);
    memcpy(p.bytes + 6, our_mac, 6);
    expect_drop(DROP_bad_source);
    packet_udp4(&p, 9690, 8);
    packet_put16(p.bytes + 34, 0);
    packet_sum4(&p, 6);
    expect_drop(DROP_bad_source);
}

Test(frame, a_server_without_an_address_family_hears_nothing_of_it)
{
    packet_udp4(&p, 9690, 8);
    self.has_ip4 = false;
    expect_drop(DROP_not_ours);
    packet_arp(&p);
    expect_drop(DROP_not_ours);
    self.has_ip6 = false;
    packet_udp6(&p, 9690, 8);
    expect_drop(DROP_not_ours);
    packet_solicitation(&p);
    expect_drop(DROP_not_ours);
}

Test(frame, arp_for_others_and_forged_arp_is_dropped)
{
    packet_arp(&p);
    p.bytes[41] = 9;
    expect_drop(DROP_not_ours);
    packet_arp(&p);
    p.bytes[21] = 2; /* a reply */
    expect_drop(DROP_not_ours);
    packet_arp(&p);
    p.bytes[27] ^= 1; /* sender MAC unlike the frame's */
    expect_drop(DROP_bad_source);
}

Test(frame, solicitations_that_break_the_rules_are_dropped)
{
    packet_solicitation(&p);
    p.bytes[21] = 254; /* came over a router */
    expect_drop(DROP_ip_truncated);
    packet_solicitation(&p);
    p.bytes[79] = 0; /* an option of no length */
    expect_drop(DROP_ip_truncated);
    packet_solicitation(&p);
    p.bytes[79] = 2; /* an option beyond the end */
    expect_drop(DROP_ip_truncated);
    packet_solicitation(&p);
    p.bytes[77] ^= 1; /* another target */
    packet_sum6(&p, 2);
    expect_drop(DROP_not_ours);
    packet_solicitation(&p);
    p.bytes[85] ^= 1; /* another MAC than the frame's */
    packet_sum6(&p, 2);
    expect_drop(DROP_bad_source);
    packet_solicitation(&p);
    p.bytes[5] ^= 1; /* another group's MAC */
    expect_drop(DROP_not_ours);
}

Test(frame, a_group_without_the_sender_s_mac_cannot_be_answered)
{
    packet_solicitation(&p);
    packet_put16(p.bytes + 18, 24);
    p.len -= 8;
    packet_sum6(&p, 2);
    expect_drop(DROP_bad_source);
}
