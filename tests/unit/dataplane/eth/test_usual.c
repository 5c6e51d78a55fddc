/* SPDX-License-Identifier: Apache-2.0 */
/* The short way of usual frames against the long one, which knows all rules. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/random.h"
#include "dataplane/eth/usual.h"
#include "packets.h"

static struct frame_self self;
static struct frame_usual usual;
static struct packet p;

static void setup(void)
{
    self = our_self();
    frame_usual_make(&self, &usual);
}

TestSuite(usual, .init = setup);

/* As most clients send it: without a checksum of the datagram. */
static void make_usual(uint32_t payload)
{
    packet_udp4(&p, 9692, payload);
    packet_put16(p.bytes + 40, 0);
}

static bool same_peer(const struct peer *a, const struct peer *b)
{
    return !memcmp(a->ip, b->ip, 16) && !memcmp(a->local_ip, b->local_ip, 16) &&
           !memcmp(a->mac, b->mac, 6) && !memcmp(a->local_mac, b->local_mac, 6) &&
           a->port == b->port && a->local_port == b->local_port && a->ipv6 == b->ipv6;
}

/* What the short way takes, the long one takes for the same. */
static int32_t read_both(const uint8_t *frame, uint32_t len, unsigned checked)
{
    struct peer peer, other;
    struct frame_view view;
    int32_t size = frame_usual_read(&usual, frame, len, checked, &peer);

    if (size < 0)
        return size;
    cr_assert_eq(frame_parse(&self, frame, len, checked, &view, &other), FRAME_DATAGRAM);
    cr_assert_eq(view.payload_off, FRAME_USUAL_SIZE);
    cr_assert_eq(view.payload_len, (uint32_t)size);
    cr_assert(same_peer(&peer, &other));
    return size;
}

Test(usual, a_datagram_to_us_is_usual_with_its_size_and_peer)
{
    for (uint32_t payload = 0; payload < 200; payload++) {
        make_usual(payload);
        cr_assert_eq(read_both(p.bytes, p.len, 0), (int32_t)payload);
    }
}

Test(usual, padding_behind_the_datagram_is_none_of_it)
{
    make_usual(10);
    cr_assert_eq(read_both(p.bytes, p.len + 8, 0), 10);
}

Test(usual, a_checksum_that_nobody_looked_at_is_not_usual)
{
    packet_udp4(&p, 9690, 60);
    cr_assert_lt(read_both(p.bytes, p.len, 0), 0);
    cr_assert_eq(read_both(p.bytes, p.len, FRAME_L4_GOOD), 60);
}

Test(usual, the_sum_of_the_header_is_looked_at_unless_the_device_did)
{
    make_usual(60);
    p.bytes[14 + 10] ^= 1;
    cr_assert_lt(read_both(p.bytes, p.len, 0), 0);
    cr_assert_eq(read_both(p.bytes, p.len, FRAME_IP_GOOD), 60);
}

Test(usual, no_bit_of_a_head_makes_a_bad_frame_usual)
{
    for (unsigned bit = 0; bit < FRAME_USUAL_SIZE * 8; bit++)
        for (unsigned checked = 0; checked < 4; checked++) {
            make_usual(64);
            p.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            read_both(p.bytes, p.len, checked);
            packet_sum4(&p, 0);
            read_both(p.bytes, p.len, checked);
        }
}

Test(usual, what_no_neighbour_may_send_is_not_usual)
{
    static const struct {
        unsigned at, size;
        uint8_t bytes[6];
    } wrong[] = {
        {0, 6, {2, 0, 0, 0, 0, 7}},    /* to somebody else */
        {6, 6, {0, 0, 0, 0, 0, 0}},    /* from nobody */
        {6, 6, {3, 0, 0, 0, 0, 2}},    /* from a group */
        {6, 6, {2, 0, 0, 0, 0, 1}},    /* from ourselves */
        {12, 2, {0x86, 0xdd}},         /* not IPv4 */
        {14, 1, {0x46}},               /* with options */
        {20, 2, {0x20, 0}},            /* the first fragment */
        {20, 2, {0, 1}},               /* a later one */
        {23, 1, {6}},                  /* not UDP */
        {26, 4, {10, 96, 0, 1}},       /* from our own address */
        {26, 4, {10, 96, 0, 255}},     /* from the subnet's broadcast address */
        {26, 4, {127, 0, 0, 1}},       /* from a loopback */
        {26, 4, {0, 0, 0, 9}},         /* from this network */
        {26, 4, {224, 0, 0, 9}},       /* from a group */
        {26, 4, {255, 255, 255, 255}}, /* from everybody */
        {30, 4, {10, 96, 0, 3}},       /* to another address */
        {34, 2, {0, 0}},               /* from no port */
        {36, 2, {0x25, 0xd9}},         /* to port 9689 */
        {36, 2, {0x25, 0xde}},         /* to port 9694 */
        {38, 2, {0, 7}},               /* shorter than its own header */
        {38, 2, {0, 200}},             /* longer than the packet */
        {16, 2, {0, 200}},             /* which is longer than the frame */
        {16, 2, {0, 27}},              /* or shorter than two headers */
    };

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        make_usual(64);
        memcpy(p.bytes + wrong[i].at, wrong[i].bytes, wrong[i].size);
        packet_sum4(&p, 0);
        packet_put16(p.bytes + 40, 0);
        cr_assert_lt(read_both(p.bytes, p.len, 0), 0, "wrong[%u]", i);
    }
}

Test(usual, a_head_that_is_cut_short_is_not_read)
{
    for (uint32_t len = 0; len <= FRAME_USUAL_SIZE; len++) {
        uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees the end */

        cr_assert_not_null(exact);
        make_usual(0);
        memcpy(exact, p.bytes, len);
        cr_assert_eq(read_both(exact, len, 0) >= 0, len == FRAME_USUAL_SIZE);
        free(exact);
    }
}

Test(usual, nothing_is_usual_without_an_ipv4_address)
{
    self.has_ip4 = false;
    frame_usual_make(&self, &usual);
    make_usual(64);
    cr_assert_lt(read_both(p.bytes, p.len, 0), 0);
}

Test(usual, a_frame_turned_round_is_what_would_be_written_anew)
{
    uint8_t anew[FRAME_USUAL_SIZE];
    struct peer peer;
    struct rng rng;

    rng_seed(&rng, 3);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t len = (uint32_t)rng_below(&rng, 1400);

        make_usual(64);
        p.bytes[15] = (uint8_t)rng_next(&rng); /* type of service */
        p.bytes[22] = (uint8_t)rng_next(&rng); /* time to live */
        packet_put16(p.bytes + 18, (uint16_t)rng_next(&rng));
        packet_put16(p.bytes + 28, (uint16_t)rng_next(&rng));
        packet_put16(p.bytes + 34, 1 + (uint16_t)rng_below(&rng, 65535));
        packet_sum4(&p, 0);
        if (frame_usual_read(&usual, p.bytes, p.len, 0, &peer) < 0)
            continue; /* the address became our own, or everybody's */
        frame_write_head(anew, &peer, len, CHECKSUM_NONE, 0);
        frame_usual_turn(p.bytes, len);
        cr_assert_arr_eq(p.bytes, anew, FRAME_USUAL_SIZE);
    }
}

Test(usual, a_head_is_good_where_its_sum_folds_to_ones)
{
    uint8_t head[20];
    struct rng rng;
    unsigned good = 0;

    rng_seed(&rng, 4);
    for (unsigned i = 0; i < 200000; i++) {
        for (unsigned at = 0; at < sizeof(head); at++)
            head[at] = i % 3 ? (uint8_t)rng_next(&rng) : (uint8_t)(rng_next(&rng) & 1 ? 255 : 0);
        head[0] = 0x45;
        packet_put16(head + 10, 0);
        if (i % 2)
            packet_put16(head + 10, (uint16_t)~packet_sum(head, sizeof(head), 0));
        cr_assert_eq(checksum_head_good(head), packet_sum(head, sizeof(head), 0) == 0xffff);
        good += checksum_head_good(head);
    }
    cr_assert_geq(good, 100000);
}
