/* SPDX-License-Identifier: Apache-2.0 */
/* The headers in front of a thread's datagrams: written from a template, and compared as a whole
 * when an answer comes. What differs in any other way than answers do is left to frame_parse. Pure
 * functions on bytes, no DPDK. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/eth/checksum.h"
#include "dataplane/eth/frame.h"
#include "dataplane/eth/wire.h"

#define HEAD_WORDS 8u

struct head {
    _Alignas(8) uint8_t bytes[HEAD_WORDS * 8]; /* of a request of len bytes to port 0 */
    uint64_t expected[HEAD_WORDS];             /* of an answer .. */
    uint64_t mask[HEAD_WORDS];                 /* .. where it is known */
    uint64_t fixed_sum; /* IPv4: of its header, IPv6: of the pseudo header and our port */
    uint32_t size;
    uint32_t len; /* of the payload that bytes are for */
    bool ipv6;
};

/* peer: the server as `peer`, this thread as `local`. */
void head_setup(struct head *head, const struct peer *peer);

/* From now on bytes are for a payload of len. */
void head_resize(struct head *head, uint32_t len);

/* Writes head->size bytes in front of payload, for len bytes at it to UDP port to. */
static inline void head_write(struct head *head, uint8_t *payload, uint32_t len, uint16_t to)
{
    uint8_t *frame = payload - head->size, *udp = payload - FRAME_UDP_SIZE;
    uint16_t sum;

    if (__builtin_expect(len != head->len, 0))
        head_resize(head, len);
    if (__builtin_expect(!head->ipv6, 1)) {
        memcpy(frame, head->bytes, FRAME_ETH_SIZE + FRAME_IP4_SIZE + FRAME_UDP_SIZE);
    } else {
        uint64_t fields = 2 * checksum_field((uint16_t)(len + FRAME_UDP_SIZE)) +
                          checksum_field(to) + head->fixed_sum;

        memcpy(frame, head->bytes, FRAME_ETH_SIZE + FRAME_IP6_SIZE + FRAME_UDP_SIZE);
        sum = (uint16_t)~checksum_fold(checksum_add(fields, payload, len));
        sum = sum ? sum : 0xffff; /* zero would say that there is none */
        memcpy(udp + UDP_CHECKSUM, &sum, sizeof(sum));
    }
    put_be16(udp + UDP_DST, to);
}

/* Whether a frame of len bytes is a datagram of the server to a port from first_port on, nr_ports
 * of them. *payload_len bytes follow head->size; *port counts from first_port. The UDP checksum is
 * not looked at: a datagram has its CRC32C. */
static inline bool head_matches(const struct head *head, const uint8_t *frame, uint32_t len,
                                uint16_t first_port, uint16_t nr_ports, uint32_t *payload_len,
                                uint16_t *port)
{
    const uint8_t *udp = frame + head->size - FRAME_UDP_SIZE;
    uint64_t differs = 0, word;
    uint32_t udp_len;

    if (len < HEAD_WORDS * 8)
        return false;
    for (unsigned i = 0; i < (head->ipv6 ? HEAD_WORDS : 5u); i++) {
        memcpy(&word, frame + 8 * i, sizeof(word));
        differs |= (word ^ head->expected[i]) & head->mask[i];
    }
    udp_len = get_be16(udp + UDP_LEN);
    *port = (uint16_t)(get_be16(udp + UDP_DST) - first_port);
    *payload_len = udp_len - FRAME_UDP_SIZE;
    return !differs && *port < nr_ports && udp_len >= FRAME_UDP_SIZE &&
           udp_len <= len - head->size + FRAME_UDP_SIZE;
}
