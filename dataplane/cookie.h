/* SPDX-License-Identifier: Apache-2.0 */
/* Cookies prove that a client receives at the address that it sends from. A cookie is SipHash-2-4
 * over address, port, session and epoch: nothing is stored per client. Valid in its epoch and in
 * the next one, so for cookie_ms at least and twice that at most. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/core.h"

/* Never 0. */
uint64_t cookie_make(const struct cookie_keys *keys, const struct peer *peer, uint64_t session,
                     uint64_t epoch);

#define COOKIE_SLOTS 1024u /* power of two */

/* What a core has verified. */
struct cookie_slot {
    uint64_t session, cookie, epoch; /* session 0: empty */
    uint8_t ip[16];
    uint16_t port;
};

struct cookie_cache {
    struct cookie_slot slots[COOKIE_SLOTS];
};

/* Without the cache's help; remembers what is valid. */
[[nodiscard]] bool cookie_verify(struct core *core, const struct request *request,
                                 struct cookie_slot *slot);

static inline struct cookie_slot *cookie_slot(struct core *core, const struct request *request)
{
    uint64_t mix = (request->hdr.session ^ request->peer.port) * 0x9e3779b97f4a7c15ull;

    return &core->cookie_cache->slots[mix >> 54];
}

/* Whether hdr.cookie is valid now and was seen before; session 0 is nobody's. */
[[nodiscard]] static inline bool cookie_known(struct core *core, const struct request *request)
{
    const struct cookie_slot *slot = cookie_slot(core, request);
    uint64_t a[2], b[2];

    memcpy(a, slot->ip, sizeof(a));
    memcpy(b, request->peer.ip, sizeof(b));
    return ((slot->session ^ request->hdr.session) | (slot->cookie ^ request->hdr.cookie) |
            (a[0] ^ b[0]) | (a[1] ^ b[1]) | (uint64_t)(slot->port ^ request->peer.port)) == 0 &&
           core->epoch - slot->epoch <= 1;
}

/* Whether hdr.cookie is valid now. */
[[nodiscard]] static inline bool cookie_check(struct core *core, const struct request *request)
{
    return likely(cookie_known(core, request)) ||
           (request->hdr.cookie != 0 && cookie_verify(core, request, cookie_slot(core, request)));
}
_Static_assert(COOKIE_SLOTS == 1u << (64 - 54), "cookie_slot takes the top bits");

[[nodiscard]] int cookie_cache_create(struct cookie_cache **out);
void cookie_cache_destroy(struct cookie_cache *cache);
