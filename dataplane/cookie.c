/* SPDX-License-Identifier: Apache-2.0 */
/* The secret is read by all cores and never written after start; the caches are per core. The epoch
 * goes into the hash, so an old epoch's cookies die without any key being turned over. */
#include "dataplane/cookie.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct cookie_keys {
    uint8_t secret[2][crypto_shorthash_KEYBYTES];
};

/* What is hashed; without holes. */
struct cookie_input {
    uint8_t ip[16];
    uint64_t session, epoch, port;
};
_Static_assert(sizeof(struct cookie_input) == 40, "no padding may be hashed");

int cookie_keys_create(struct cookie_keys **out)
{
    struct cookie_keys *keys;

    if (sodium_init() < 0)
        return -EIO;
    keys = malloc(sizeof(*keys));
    if (!keys)
        return -ENOMEM;
    randombytes_buf(keys, sizeof(*keys));
    *out = keys;
    return 0;
}

void cookie_keys_destroy(struct cookie_keys *keys)
{
    if (keys)
        sodium_memzero(keys, sizeof(*keys));
    free(keys);
}

uint64_t cookie_make(const struct cookie_keys *keys, const struct peer *peer, uint64_t session,
                     uint64_t epoch)
{
    struct cookie_input input = {.session = session, .epoch = epoch, .port = peer->port};
    uint64_t cookie;

    memcpy(input.ip, peer->ip, sizeof(input.ip));
    crypto_shorthash((unsigned char *)&cookie, (const unsigned char *)&input, sizeof(input),
                     keys->secret[epoch & 1]);
    return cookie ? cookie : 1;
}

int cookie_cache_create(struct cookie_cache **out)
{
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : -ENOMEM;
}

void cookie_cache_destroy(struct cookie_cache *cache)
{
    free(cache);
}

bool cookie_verify(struct core *core, const struct request *request, struct cookie_slot *slot)
{
    uint64_t session = request->hdr.session, cookie = request->hdr.cookie;

    for (unsigned age = 0; age <= 1; age++) {
        uint64_t epoch = core->epoch - age;
        uint64_t good = cookie_make(core->cookies, &request->peer, session, epoch);

        if (sodium_memcmp(&good, &cookie, sizeof(good)) == 0) {
            *slot = (struct cookie_slot){session, cookie, epoch, {0}, request->peer.port};
            memcpy(slot->ip, request->peer.ip, sizeof(slot->ip));
            return true;
        }
    }
    return false;
}
