/* SPDX-License-Identifier: Apache-2.0 */
/* What memcached and Redis are asked and what they answer, as bytes. All keys are stored with
 * values of one size, so the length of every answer is known before it comes, and checking it is
 * cheap. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_KEY_LEN 16u
#define PEER_BATCH_MAX 256u
#define PEER_VALUE_MAX 1024u
#define PEER_REQUEST_MAX (PEER_BATCH_MAX * 64u)
#define PEER_REPLY_MAX (PEER_BATCH_MAX * (PEER_VALUE_MAX + 64u))

struct protocol {
    const char *name;
    /* A request for n keys; its length. */
    size_t (*get)(char *out, const uint64_t *ids, unsigned n);
    /* Stores one value, answered with nothing or with stored_len bytes; its length. */
    size_t (*store)(char *out, uint64_t id, uint32_t value_len);
    size_t stored_len;
    /* Of the answer to a request for n keys that are all there. */
    size_t (*reply_len)(unsigned n, uint32_t value_len);
    /* Where value i begins in it. */
    size_t (*value_at)(unsigned i, unsigned n, uint32_t value_len);
};

/* memcached: multiget; memcached-pipeline: a get command a key; redis: a GET a key; redis-mget.
 * NULL: no such name. */
const struct protocol *protocol_find(const char *name);

/* Whether every value is the right one: the length is checked by the caller. */
bool protocol_right(const struct protocol *protocol, const char *reply, const uint64_t *ids,
                    unsigned n, uint32_t value_len);
