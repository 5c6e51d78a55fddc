/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the template by writing one header each way, and leaves out what differs from one datagram
 * to the next. */
#include "tools/load/head.h"

static struct peer turned(const struct peer *peer)
{
    struct peer back = {.port = peer->local_port, .local_port = peer->port, .ipv6 = peer->ipv6};

    memcpy(back.ip, peer->local_ip, sizeof(back.ip));
    memcpy(back.local_ip, peer->ip, sizeof(back.local_ip));
    memcpy(back.mac, peer->local_mac, sizeof(back.mac));
    memcpy(back.local_mac, peer->mac, sizeof(back.local_mac));
    return back;
}

static void clear(uint8_t *mask, uint32_t at, uint32_t len)
{
    memset(mask + at, 0, len);
}

static void known_fields(const struct head *head, uint8_t mask[HEAD_WORDS * 8])
{
    const uint32_t ip = FRAME_ETH_SIZE;

    memset(mask, 0, HEAD_WORDS * 8);
    memset(mask, 0xff, head->size - FRAME_UDP_SIZE); /* ports and length are looked at apart */
    if (head->ipv6) {
        clear(mask, ip, 4); /* traffic class and flow label */
        mask[ip] = 0xf0;
        clear(mask, ip + IP6_LEN, 2);
        clear(mask, ip + IP6_HOPS, 1);
    } else {
        clear(mask, ip + 1, 1); /* type of service */
        clear(mask, ip + IP4_TOTAL, 2);
        clear(mask, ip + IP4_ID, 2);
        put_be16(mask + ip + IP4_FRAGMENT, IP4_FRAGMENT_MASK);
        clear(mask, ip + IP4_TTL, 1);
        clear(mask, ip + IP4_CHECKSUM, 2);
    }
}

void head_setup(struct head *head, const struct peer *peer)
{
    struct peer back = turned(peer);
    uint8_t answer[HEAD_WORDS * 8] = {0}, mask[HEAD_WORDS * 8];
    uint8_t *ip = head->bytes + FRAME_ETH_SIZE;

    memset(head, 0, sizeof(*head));
    head->ipv6 = peer->ipv6;
    head->size = frame_head_size(peer);
    frame_write_head(head->bytes, peer, 0, CHECKSUM_NONE, 0);
    frame_write_head(answer, &back, 0, CHECKSUM_NONE, 0);
    known_fields(head, mask);
    memcpy(head->expected, answer, sizeof(answer));
    memcpy(head->mask, mask, sizeof(mask));
    if (head->ipv6) {
        head->fixed_sum =
            checksum_join(checksum_add(0, ip + IP6_SRC, 32),
                          checksum_field(PROTO_UDP) + checksum_field(peer->local_port));
    } else {
        memset(ip + IP4_TOTAL, 0, 2);
        memset(ip + IP4_CHECKSUM, 0, 2);
        head->fixed_sum = checksum_fold(checksum_add(0, ip, FRAME_IP4_SIZE));
    }
    head_resize(head, 0);
}

void head_resize(struct head *head, uint32_t len)
{
    uint8_t *ip = head->bytes + FRAME_ETH_SIZE;
    uint16_t size = (uint16_t)(len + FRAME_UDP_SIZE), total = (uint16_t)(size + FRAME_IP4_SIZE);
    uint16_t sum = (uint16_t)~checksum_fold(head->fixed_sum + checksum_field(total));

    head->len = len;
    put_be16(head->bytes + head->size - FRAME_UDP_SIZE + UDP_LEN, size);
    if (head->ipv6) {
        put_be16(ip + IP6_LEN, size);
    } else {
        put_be16(ip + IP4_TOTAL, total);
        memcpy(ip + IP4_CHECKSUM, &sum, sizeof(sum));
    }
}
