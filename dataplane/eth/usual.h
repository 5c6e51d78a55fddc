/* SPDX-License-Identifier: Apache-2.0 */
/* The frame that nearly all are: a datagram to us over IPv4, without tag, options or fragments, and
 * nothing amiss. It is told in few steps, all of its head looked at; what is not so is left to
 * frame_parse, which finds out why. Inline, for the poll core; pure, no DPDK. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSSE3__)
#include <tmmintrin.h>
#endif

#include "dataplane/eth/address.h"
#include "dataplane/eth/checksum.h"
#include "dataplane/eth/frame.h"
#include "dataplane/eth/wire.h"

typedef long long frame_bytes __attribute__((vector_size(16)));

/* What its head has to say to be ours, made once. */
struct frame_usual {
    /* Bytes 0 to 15 and 20 to 35 of the head, and which of their bits count. */
    frame_bytes want[2], mask[2];
    uint64_t mac; /* our own, as six bytes of a word that others were shifted out of */
    uint32_t ip, broadcast;
    uint8_t mapped4[16];
    uint16_t first_port, nr_ports; /* nr_ports 0: no frame is usual */
};

#define USUAL_SECOND 20u /* where the second 16 bytes lie */

void frame_usual_make(const struct frame_self *self, struct frame_usual *usual);

static inline uint64_t usual_word(const uint8_t *from)
{
    uint64_t word;

    memcpy(&word, from, sizeof(word));
    return word;
}

static inline uint32_t usual_half(const uint8_t *from)
{
    uint32_t half;

    memcpy(&half, from, sizeof(half));
    return half;
}

static inline frame_bytes usual_bytes(const uint8_t *from)
{
    frame_bytes bytes;

    memcpy(&bytes, from, sizeof(bytes));
    return bytes;
}

/* The six bytes of a MAC: those of a word that lie at the lower addresses. */
static inline uint64_t usual_mac(const uint8_t *from)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return usual_word(from) << 16;
#else
    return usual_word(from) >> 16;
#endif
}

/* All bits that count: type, version and length of header, fragment and protocol, destinations,
 * and that the source is no group. */
static inline bool usual_alike(const struct frame_usual *usual, const uint8_t *frame)
{
    frame_bytes unlike = ((usual_bytes(frame) ^ usual->want[0]) & usual->mask[0]) |
                         ((usual_bytes(frame + USUAL_SECOND) ^ usual->want[1]) & usual->mask[1]);

#ifdef __SSE4_1__
    return __builtin_ia32_ptestz128(unlike, unlike);
#else
    return (unlike[0] | unlike[1]) == 0;
#endif
}

static inline bool usual_source(const struct frame_usual *usual, const uint8_t *frame)
{
    const uint8_t *ip = frame + FRAME_ETH_SIZE + IP4_SRC;
    uint64_t mac = usual_mac(frame + ETH_SRC);
    uint32_t source = usual_half(ip);

    return mac != 0 && mac != usual->mac && source != usual->ip && source != usual->broadcast &&
           address4_is_host(ip);
}

static inline void usual_peer(const struct frame_usual *usual, const uint8_t *frame, uint32_t ports,
                              struct peer *peer)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    memcpy(peer->ip, mapped, sizeof(mapped));
    memcpy(peer->ip + 12, frame + FRAME_ETH_SIZE + IP4_SRC, 4);
    memcpy(peer->local_ip, usual->mapped4, sizeof(peer->local_ip));
    memcpy((uint8_t *)peer + offsetof(struct peer, local_mac), frame, 12); /* ours, theirs */
    peer->local_port = (uint16_t)ports;
    peer->port = (uint16_t)(ports >> 16);
    peer->ipv6 = false;
    peer->usual = true;
}
_Static_assert(offsetof(struct peer, mac) == offsetof(struct peer, local_mac) + 6 && ETH_DST == 0 &&
                   ETH_SRC == 6 && UDP_SRC == 0 && UDP_DST == 2,
               "both MACs and both ports are taken in one piece");

/* Bytes of the datagram behind the FRAME_USUAL_SIZE bytes of head, and its peer; negative: it is
 * not usual, and peer may be half written. len, checked: as of frame_parse. */
static inline __attribute__((always_inline)) int32_t
frame_usual_read(const struct frame_usual *usual, const uint8_t *frame, uint32_t len,
                 unsigned checked, struct peer *peer)
{
    const uint8_t *ip = frame + FRAME_ETH_SIZE, *udp = ip + FRAME_IP4_SIZE;
    int32_t total, size;
    uint32_t ports;

    if (len < FRAME_USUAL_SIZE || !usual_alike(usual, frame) || !usual_source(usual, frame))
        return -1;
    total = get_be16(ip + IP4_TOTAL);
    size = get_be16(udp + UDP_LEN);
    ports = get_be32(udp); /* source, destination */
    if (total > (int32_t)(len - FRAME_ETH_SIZE) || size > total - (int32_t)FRAME_IP4_SIZE ||
        (uint16_t)(ports - usual->first_port) >= usual->nr_ports || ports <= UINT16_MAX)
        return -1;
    if (get_be16(udp + UDP_CHECKSUM) != 0 && !(checked & FRAME_L4_GOOD))
        return -1;
    if (!(checked & FRAME_IP_GOOD) && !checksum_head_good(ip))
        return -1;
    usual_peer(usual, frame, ports, peer);
    return size - (int32_t)FRAME_UDP_SIZE;
}

#if defined(__SSSE3__)
/* Turns the FRAME_USUAL_SIZE bytes in front of a datagram received so into those of its reply of
 * len bytes; as frame_write_head with CHECKSUM_NONE would write them. Addresses and ports change
 * places within two vectors of 16 bytes. */
static inline void frame_usual_turn(uint8_t *head, uint32_t len)
{
    const __m128i macs = _mm_setr_epi8(6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14, -1);
    const __m128i ends = _mm_setr_epi8(4, 5, 6, 7, 0, 1, 2, 3, 10, 11, 8, 9, -1, -1, -1, -1);
    uint8_t *ip = head + FRAME_ETH_SIZE, *tail = ip + IP4_SRC;
    uint16_t udp_len = __builtin_bswap16((uint16_t)(len + FRAME_UDP_SIZE)), sum;
    uint16_t total = __builtin_bswap16((uint16_t)(len + FRAME_UDP_SIZE + FRAME_IP4_SIZE));
    __m128i eth = _mm_loadu_si128((const __m128i *)(const void *)head);
    __m128i both = _mm_loadu_si128((const __m128i *)(const void *)tail);
    uint64_t addresses = (uint64_t)_mm_cvtsi128_si64(both);
    uint64_t word = total | (uint64_t)htobe16(IP4_DONT_FRAGMENT) << 32 | 64ull << 48 |
                    (uint64_t)PROTO_UDP << 56;

    _mm_storeu_si128((__m128i *)(void *)head, _mm_shuffle_epi8(eth, macs));
    both = _mm_insert_epi16(_mm_shuffle_epi8(both, ends), udp_len, 6);
    sum = (uint16_t)~checksum_fold(checksum_join(word, addresses) + htobe16(0x4500));
    memcpy(ip + IP4_TOTAL, &word, sizeof(word));
    memcpy(ip + IP4_CHECKSUM, &sum, sizeof(sum));
    _mm_storeu_si128((__m128i *)(void *)tail, both);
}
#else
static inline void frame_usual_turn(uint8_t *head, uint32_t len)
{
    struct peer peer = {0};
    uint8_t *ip = head + FRAME_ETH_SIZE, *udp = ip + FRAME_IP4_SIZE;

    memcpy(peer.mac, head + ETH_SRC, sizeof(peer.mac));
    memcpy(peer.local_mac, head + ETH_DST, sizeof(peer.local_mac));
    memcpy(peer.ip + 12, ip + IP4_SRC, 4);
    memcpy(peer.local_ip + 12, ip + IP4_DST, 4);
    peer.port = get_be16(udp + UDP_SRC);
    peer.local_port = get_be16(udp + UDP_DST);
    frame_write_head(head, &peer, len, CHECKSUM_NONE, 0);
}
#endif
