/* SPDX-License-Identifier: Apache-2.0 */
/* Values that describe themselves: every 8-byte word tells which value (id, version, length) and
 * which place in it it belongs to, so that any wrong, swapped, shifted, torn or stale byte shows.
 * Any thread. A value of 16 bytes or more carries its version in its first word; a shorter one has
 * version 0 always. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"

#define CONTENT_VERSIONED 16u /* bytes, from which on a value has a version */

/* Writes all len bytes of the value. */
void content_fill(void *buffer, size_t len, uint64_t id, uint64_t version);

/* Writes bytes [off, off + len) of it, off a multiple of 8. The value is value_len bytes long. */
void content_fill_part(void *buffer, size_t len, size_t off, size_t value_len, uint64_t id,
                       uint64_t version);

/* Whether buffer holds the whole value of id, in whatever version it says. version may be NULL. */
bool content_check(const void *buffer, size_t len, uint64_t id, uint64_t *version);

/* Whether buffer holds bytes [off, off + len) of the value of that id and version, which is
 * value_len bytes long. */
bool content_check_part(const void *buffer, size_t len, size_t off, size_t value_len, uint64_t id,
                        uint64_t version);

/* A key of key_len bytes (at least 8) for id; other salts give other keys. */
static inline void content_key(void *key, size_t key_len, uint64_t id, uint64_t salt)
{
    struct key_hash h = hash_key(&id, sizeof(id), salt);
    char *bytes = key;

    if (key_len == sizeof(h)) {
        memcpy(bytes, &h, sizeof(h));
        return;
    }
    for (size_t part = 0;;) {
        size_t n = key_len < sizeof(h) ? key_len : sizeof(h);

        memcpy(bytes, &h, n);
        bytes += n;
        key_len -= n;
        if (key_len == 0)
            return;
        h = hash_key(&id, sizeof(id), salt + ++part);
    }
}
