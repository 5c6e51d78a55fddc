/* SPDX-License-Identifier: Apache-2.0 */
/* Several datagrams that the kernel delivers as one (UDP_GRO). The fake sends them in one piece
 * (UDP_SEGMENT), which crosses the loopback as it is where the kernel can do both. */
#include <criterion/criterion.h>
#include <linux/udp.h>
#include <string.h>

#include "base/crc32c.h"
#include "client/build.h"
#include "fake_server.h"

#define COPIES 5u

static struct fake_server fake;

/* bytes, cut into datagrams of `each` bytes and a shorter one. */
static void send_cut(struct fake_exchange *exchange, const uint8_t *bytes, size_t len,
                     uint16_t each)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(each))] = {0};
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr message = {.msg_name = &exchange->from,
                             .msg_namelen = exchange->from_len,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *note = CMSG_FIRSTHDR(&message);

    note->cmsg_level = IPPROTO_UDP;
    note->cmsg_type = UDP_SEGMENT;
    note->cmsg_len = CMSG_LEN(sizeof(each));
    memcpy(CMSG_DATA(note), &each, sizeof(each));
    if (sendmsg(exchange->fake->fd, &message, 0) < 0)
        cr_skip_test("this kernel cuts no datagrams");
}

static void seal(struct fake_exchange *exchange)
{
    struct kvr_hdr *hdr = (struct kvr_hdr *)(void *)exchange->reply;

    fake_begin(exchange, KVR_OK);
    for (unsigned i = 0; i < exchange->hdr.nr_ops; i++)
        fake_default_record(exchange, exchange->records[i]);
    hdr->len = (uint16_t)exchange->reply_len;
    hdr->crc = 0;
    hdr->crc = build_crc(exchange->reply, exchange->reply_len, NULL, 0);
}

static bool says_it_five_times(struct fake_exchange *exchange)
{
    static uint8_t bytes[COPIES * KVR_DATAGRAM_MAX];

    if (fake_is_hello(exchange))
        return false;
    seal(exchange);
    for (unsigned i = 0; i < COPIES; i++)
        memcpy(bytes + i * exchange->reply_len, exchange->reply, exchange->reply_len);
    send_cut(exchange, bytes, COPIES * exchange->reply_len, (uint16_t)exchange->reply_len);
    return true;
}

/* Something odd in front: what follows lies at no multiple of 8. */
static bool says_something_odd_first(struct fake_exchange *exchange)
{
    static uint8_t bytes[2 * KVR_DATAGRAM_MAX];
    uint32_t odd;

    if (fake_is_hello(exchange))
        return false;
    seal(exchange);
    odd = exchange->reply_len + 3;
    memset(bytes, 0x55, odd);
    memcpy(bytes + odd, exchange->reply, exchange->reply_len);
    send_cut(exchange, bytes, odd + exchange->reply_len, (uint16_t)odd);
    return true;
}

static void get_twenty(struct kvr_client *client)
{
    uint8_t out[4000];
    size_t len;

    for (unsigned i = 0; i < 20; i++) {
        memset(out, 0, sizeof(out));
        cr_assert_eq(kvr_get(client, "key", 3, out, sizeof(out), &len), KVR_OK);
        cr_assert_eq(len, fake.value_len);
        cr_assert_eq(memcmp(out, fake.value, len), 0);
    }
}

static struct kvr_client *open_with_value(bool (*answer)(struct fake_exchange *))
{
    static uint8_t value[4000];
    struct kvr_client *client;

    for (unsigned i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)(i * 7);
    fake_setup(&fake);
    fake.answer = answer;
    fake.value = value;
    fake.value_len = sizeof(value);
    fake.value_crc = crc32c(0, value, sizeof(value));
    fake_start(&fake);
    client = fake_client(&fake, NULL);
    return client;
}

Test(coalesced, datagrams_come_apart_again)
{
    struct kvr_client *client = open_with_value(says_it_five_times);
    struct kvr_client_stats stats;

    get_twenty(client);
    stats = fake_finish(&fake, client);
    cr_assert_geq(stats.rx_datagrams, 20 * COPIES);
    cr_assert_eq(stats.rx_corrupt, 0);
}

Test(coalesced, datagrams_behind_strange_ones_are_read_all_the_same)
{
    struct kvr_client *client = open_with_value(says_something_odd_first);
    struct kvr_client_stats stats;

    get_twenty(client);
    stats = fake_finish(&fake, client);
    cr_assert_geq(stats.rx_datagrams, 40);
}
