/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "tools/load/neighbour.h"

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 9}, server_mac[6] = {2, 0, 0, 0, 0, 1};
static uint8_t frame[128];

static struct peer peer_of(bool ipv6)
{
    struct peer peer = {
        .ipv6 = ipv6, .ip = {0xfd, 0x96, [15] = 1}, .local_ip = {0xfd, 0x96, [15] = 9}};

    memcpy(peer.local_mac, our_mac, 6);
    if (!ipv6) {
        memcpy(peer.ip, (uint8_t[16]){[10] = 0xff, 0xff, 10, 96, 0, 1}, 16);
        memcpy(peer.local_ip, (uint8_t[16]){[10] = 0xff, 0xff, 10, 96, 0, 9}, 16);
    }
    return peer;
}

static struct frame_self server_of(bool ipv6)
{
    struct frame_self self = {.ip6 = {0xfd, 0x96, [15] = 1}, .has_ip6 = ipv6};

    memcpy(self.mac, server_mac, 6);
    if (!ipv6)
        frame_self_set_ip4(&self, (uint8_t[4]){10, 96, 0, 1}, 24);
    return self;
}

/* What the server does with our question. */
static uint32_t asked_and_answered(bool ipv6, struct peer *peer)
{
    struct frame_self self = server_of(ipv6);
    struct frame_view view;
    enum frame_kind kind;
    struct peer from;
    uint32_t len = neighbour_ask(peer, frame);

    cr_assert_leq(len, NEIGHBOUR_FRAME_MAX);
    kind = frame_parse(&self, frame, len, 0, &view, &from);
    cr_assert_eq(kind, ipv6 ? FRAME_SOLICITATION : FRAME_ARP);
    return frame_answer(&self, kind, &view, frame);
}

Test(neighbour, the_server_understands_the_question_and_we_its_answer)
{
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        struct peer peer = peer_of(ipv6);
        uint32_t len = asked_and_answered(ipv6, &peer);

        cr_assert(neighbour_told(&peer, frame, len));
        cr_assert_arr_eq(peer.mac, server_mac, 6);
    }
}

Test(neighbour, a_cut_answer_tells_nothing)
{
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        struct peer peer = peer_of(ipv6);
        uint32_t len = asked_and_answered(ipv6, &peer);

        for (uint32_t cut = 0; cut < len; cut++)
            cr_assert_not(neighbour_told(&peer, frame, cut), "%u of %u bytes", cut, len);
    }
}

Test(neighbour, nobody_else_may_answer)
{
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        struct peer peer = peer_of(ipv6);
        uint32_t len = asked_and_answered(ipv6, &peer);

        peer.ip[15]++;
        cr_assert_not(neighbour_told(&peer, frame, len));
        peer.ip[15]--;
        peer.ipv6 = !ipv6;
        cr_assert_not(neighbour_told(&peer, frame, len));
    }
}

Test(neighbour, a_damaged_advertisement_tells_nothing)
{
    struct peer peer = peer_of(true);
    uint32_t len = asked_and_answered(true, &peer);

    for (uint32_t at = 54; at < len; at++) {
        frame[at] ^= 1;
        cr_assert_not(neighbour_told(&peer, frame, len), "byte %u", at);
        frame[at] ^= 1;
    }
}
