/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a received frame: nothing is read beyond them, what is found lies within them, an
 * answer is no longer than they are and goes where they came from. The first byte says what the
 * device had checked, and whether checksums are mended first so that the fuzzer gets past them. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/eth/address.h"
#include "dataplane/eth/checksum.h"
#include "dataplane/eth/frame.h"
#include "dataplane/eth/usual.h"
#include "dataplane/eth/wire.h"

#define MEND 0x80u
#define FRAME_MAX 2048u

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static struct frame_self make_self(void)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1}, ip4[4] = {10, 96, 0, 1};
    static const uint8_t ip6[16] = {0xfd, 0x96, [13] = 0xab, [14] = 0xcd, [15] = 1};
    struct frame_self self = {.has_ip6 = true, .first_port = 9690, .nr_ports = 4};

    memcpy(self.mac, mac, 6);
    memcpy(self.ip6, ip6, 16);
    frame_self_set_ip4(&self, ip4, 24);
    return self;
}

static void mend(uint8_t *at, uint64_t sum)
{
    uint16_t checksum = (uint16_t)~checksum_fold(sum);

    memcpy(at, &checksum, sizeof(checksum));
}

static void mend_icmp(uint8_t *icmp, uint32_t size, uint64_t start)
{
    if (size < ICMP_SIZE)
        return;
    memset(icmp + ICMP_CHECKSUM, 0, 2);
    mend(icmp + ICMP_CHECKSUM, checksum_add(start, icmp, size));
}

static void mend_checksums(uint8_t *frame, uint32_t len)
{
    uint8_t *ip = frame + FRAME_ETH_SIZE, tail[8] = {[7] = PROTO_ICMP6};
    uint32_t size;

    if (len >= 34 && get_be16(frame + ETH_TYPE) == TYPE_IP4) {
        memset(ip + IP4_CHECKSUM, 0, 2);
        mend(ip + IP4_CHECKSUM, checksum_add(0, ip, FRAME_IP4_SIZE));
        size = get_be16(ip + IP4_TOTAL);
        if (ip[IP4_PROTO] == PROTO_ICMP && size > FRAME_IP4_SIZE && size <= len - FRAME_ETH_SIZE)
            mend_icmp(ip + FRAME_IP4_SIZE, size - FRAME_IP4_SIZE, 0);
    } else if (len >= 54 && get_be16(frame + ETH_TYPE) == TYPE_IP6) {
        size = get_be16(ip + IP6_LEN);
        put_be32(tail, size);
        if (ip[IP6_NEXT] == PROTO_ICMP6 && size <= len - 54)
            mend_icmp(ip + FRAME_IP6_SIZE, size,
                      checksum_add(checksum_add(0, ip + IP6_SRC, 32), tail, sizeof(tail)));
    }
}

static void check_datagram(const struct frame_self *self, const struct frame_view *view,
                           const struct peer *peer, uint32_t len)
{
    uint8_t head[FRAME_HEAD_MAX];

    CHECK(view->payload_off <= len && view->payload_len <= len - view->payload_off);
    CHECK(peer->port && (uint16_t)(peer->local_port - self->first_port) < self->nr_ports);
    CHECK(peer->ipv6 ? address6_is_host(peer->ip) : address4_is_host(peer->ip + 12));
    CHECK(!(peer->mac[0] & 1) && !memcmp(peer->local_mac, self->mac, 6));
    frame_write_head(head, peer, view->payload_len, CHECKSUM_SOFTWARE, 0);
    CHECK(!memcmp(head + ETH_DST, peer->mac, 6));
}

static void check_answer(const struct frame_self *self, enum frame_kind kind,
                         const struct frame_view *view, uint8_t *frame, uint32_t len)
{
    uint8_t asker[6];

    memcpy(asker, frame + ETH_SRC, 6);
    CHECK(frame_answer(self, kind, view, frame) <= len);
    CHECK(!memcmp(frame + ETH_DST, asker, 6) && !(asker[0] & 1));
    CHECK(!memcmp(frame + ETH_SRC, self->mac, 6));
}

/* What the short way takes, frame_parse takes for the same. */
static void check_usual(const struct frame_self *self, const uint8_t *frame, uint32_t len,
                        unsigned checked, const struct frame_view *view, const struct peer *peer)
{
    struct frame_usual usual;
    struct peer other;
    int32_t size;

    frame_usual_make(self, &usual);
    size = frame_usual_read(&usual, frame, len, checked, &other);
    if (size < 0)
        return;
    CHECK(view && view->payload_off == FRAME_USUAL_SIZE && view->payload_len == (uint32_t)size);
    CHECK(!memcmp(other.ip, peer->ip, 16) && !memcmp(other.local_ip, peer->local_ip, 16));
    CHECK(!memcmp(other.mac, peer->mac, 6) && !memcmp(other.local_mac, peer->local_mac, 6));
    CHECK(other.port == peer->port && other.local_port == peer->local_port && !peer->ipv6);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct frame_self self = make_self();
    struct frame_view view;
    struct peer peer;
    enum frame_kind kind;
    uint32_t len;
    uint8_t *frame;

    if (size < 1 || size > FRAME_MAX)
        return 0;
    len = (uint32_t)size - 1;
    frame = malloc(len ? len : 1); /* exactly as long, so that the sanitizer sees the end */
    if (!frame)
        return 0;
    memcpy(frame, bytes + 1, len);
    if (bytes[0] & MEND)
        mend_checksums(frame, len);
    kind = frame_parse(&self, frame, len, bytes[0] & 7u, &view, &peer);
    check_usual(&self, frame, len, bytes[0] & 7u, kind == FRAME_DATAGRAM ? &view : NULL, &peer);
    if (kind == FRAME_DATAGRAM)
        check_datagram(&self, &view, &peer, len);
    else if (kind == FRAME_DROP)
        CHECK(view.reason < NR_DROP_REASONS);
    else
        check_answer(&self, kind, &view, frame, len);
    free(frame);
    return 0;
}
