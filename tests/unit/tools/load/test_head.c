/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "tools/load/head.h"

static struct peer server = {
    .port = 9690, .local_port = 20003, .mac = {2, 0, 0, 0, 0, 1}, .local_mac = {2, 0, 0, 0, 0, 9}};
static _Alignas(8) uint8_t frame[2048], expected[2048];

static void addresses(bool ipv6)
{
    static const uint8_t four[2][4] = {{10, 96, 0, 1}, {10, 96, 0, 9}};

    server.ipv6 = ipv6;
    for (unsigned i = 0; i < 16; i++) {
        server.ip[i] = (uint8_t)(0x20 + i);
        server.local_ip[i] = (uint8_t)(0x40 + i);
    }
    if (ipv6)
        return;
    memset(server.ip, 0, 10);
    memset(server.ip + 10, 0xff, 2);
    memcpy(server.local_ip, server.ip, 12);
    memcpy(server.ip + 12, four[0], 4);
    memcpy(server.local_ip + 12, four[1], 4);
}

static void fill(uint8_t *payload, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        payload[i] = (uint8_t)(i * 7 + len);
}

Test(head, is_what_the_servers_own_function_would_write)
{
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        struct head head;

        addresses(ipv6);
        head_setup(&head, &server);
        for (uint32_t len = 0; len < 1400; len += len % 3 ? 8 : 57)
            for (uint16_t port = 9690; port < 9693; port++) {
                struct peer peer = server;

                peer.port = port;
                fill(frame + head.size, len);
                head_write(&head, frame + head.size, len, port);
                frame_write_head(expected, &peer, len, ipv6 ? CHECKSUM_SOFTWARE : CHECKSUM_NONE,
                                 checksum_add(0, frame + head.size, len));
                cr_assert_eq(head.size, frame_head_size(&peer));
                cr_assert_arr_eq(frame, expected, head.size, "IPv%d, %u bytes", ipv6 ? 6 : 4, len);
            }
    }
}

/* An answer of len bytes to UDP port `to`, from partition 2. Returns its size. */
static uint32_t answer(uint32_t len, uint16_t to)
{
    struct peer back = {.port = to, .local_port = 9692, .ipv6 = server.ipv6};

    memcpy(back.ip, server.local_ip, 16);
    memcpy(back.local_ip, server.ip, 16);
    memcpy(back.mac, server.local_mac, 6);
    memcpy(back.local_mac, server.mac, 6);
    memset(frame, 0, sizeof(frame));
    frame_write_head(frame, &back, len, CHECKSUM_NONE, 0);
    return frame_head_size(&back) + len;
}

static bool matches(const struct head *head, uint32_t size, uint32_t *len, uint16_t *port)
{
    return head_matches(head, frame, size, 20000, 5, len, port);
}

Test(head, an_answer_matches_and_tells_its_length_and_thread)
{
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        struct head head;
        uint32_t len, size;
        uint16_t port;

        addresses(ipv6);
        head_setup(&head, &server);
        size = answer(64, 20004);
        cr_assert(matches(&head, size, &len, &port));
        cr_assert_eq(len, 64);
        cr_assert_eq(port, 4, "of another thread");
        cr_assert(matches(&head, size + 20, &len, &port), "a frame may be padded");
        cr_assert_eq(len, 64);
        cr_assert_not(matches(&head, size - 1, &len, &port), "but not cut");
        size = answer(64, 20005);
        cr_assert_not(matches(&head, size, &len, &port), "the port of no thread");
        size = answer(64, 19999);
        cr_assert_not(matches(&head, size, &len, &port));
    }
}

Test(head, what_may_differ_in_an_answer_and_what_may_not)
{
    /* Offsets of bytes that routers and hosts are free to set, and of the checksum. */
    static const uint8_t free4[] = {15, 18, 19, 22, 24, 25, 34, 35, 40, 41};
    static const uint8_t free6[] = {15, 16, 17, 21, 54, 55, 60, 61};

    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        const uint8_t *free = ipv6 ? free6 : free4;
        struct head head;
        uint32_t len, size;
        uint16_t port;

        addresses(ipv6);
        head_setup(&head, &server);
        size = answer(64, 20000);
        cr_assert(matches(&head, size, &len, &port));
        for (uint32_t at = 0; at < head.size - 8; at++) {
            bool may = memchr(free, (int)at, ipv6 ? sizeof(free6) : sizeof(free4)) != NULL;

            if (!ipv6 && (at == 16 || at == 17 || at == 20)) /* length, and DF beside MF */
                continue;
            if (ipv6 && (at == 14 || at == 18 || at == 19)) /* half of it, length */
                continue;
            frame[at] ^= 0xff;
            cr_assert_eq(matches(&head, size, &len, &port), may, "IPv%d, byte %u", ipv6 ? 6 : 4,
                         at);
            frame[at] ^= 0xff;
        }
        if (!ipv6) {
            frame[20] ^= 0x40;
            cr_assert(matches(&head, size, &len, &port), "may be fragmented on its way");
            frame[20] ^= 0x20;
            cr_assert_not(matches(&head, size, &len, &port), "is a fragment");
        }
    }
}
