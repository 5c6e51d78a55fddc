/* SPDX-License-Identifier: Apache-2.0 */
/* From the bytes of a datagram to a struct request of which every length, key and field is known to
 * be in range. Pure: touches nothing but the request. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cacheline.h"
#include "base/crc32c.h"
#include "dataplane/request.h"
#include "shm/stats.h"

struct parse_env {
    uint64_t seed; /* of the key hash */
    unsigned nr_partitions;
    uint16_t own_partition; /* for ops that any core may execute */
};

enum parse_verdict {
    PARSE_OK,
    PARSE_DROP,   /* no kvrail request: no answer */
    PARSE_REFUSE, /* hdr is valid: answer fault.status without records */
};

struct parse_fault {
    enum drop_reason reason;
    enum kvr_status status; /* PARSE_REFUSE */
    uint8_t opcode;         /* 0 = none yet */
};

/* The keys of a MATCH, one after the other. Starts with at = 0 behind the fixed part. */
struct match_keys {
    const uint8_t *bytes;
    uint32_t len;      /* of bytes, padding included */
    uint16_t key_size; /* 0: each key has its length in front */
    uint32_t at;
};
/* False: the keys end before this one. */
[[nodiscard]] static inline bool match_next(struct match_keys *keys, const uint8_t **key,
                                            uint32_t *key_len)
{
    uint32_t left = keys->len - keys->at;
    uint16_t len = keys->key_size;

    if (len == 0) {
        if (left < sizeof(len))
            return false;
        memcpy(&len, keys->bytes + keys->at, sizeof(len));
        keys->at += (uint32_t)sizeof(len);
        left -= (uint32_t)sizeof(len);
    }
    if (len > left)
        return false;
    *key = keys->bytes + keys->at;
    *key_len = len;
    keys->at += len;
    return true;
}

#define OPS_MUTATE                                                                                 \
    (1u << KVR_PUT | 1u << KVR_RESERVE | 1u << KVR_DEL | 1u << KVR_TOUCH | 1u << KVR_HINT |        \
     1u << KVR_PLACE | 1u << KVR_SEAL | 1u << KVR_STORE | 1u << KVR_LOAD | 1u << KVR_SAVE |        \
     1u << KVR_LOOK | 1u << KVR_RELEASE)
#define OPS_UPLOADS (1u << KVR_WRITE | 1u << KVR_COMMIT | 1u << KVR_ABORT)
/* For clients on this host only, and for all others only. */
#define OPS_LOCAL                                                                                  \
    (1u << KVR_PLACE | 1u << KVR_SEAL | 1u << KVR_DROP | 1u << KVR_STORE | 1u << KVR_LOAD |        \
     1u << KVR_SAVE | 1u << KVR_LOOK | 1u << KVR_RELEASE)
#define OPS_REMOTE (1u << KVR_RESERVE | OPS_UPLOADS)

static inline bool op_mutates(unsigned opcode)
{
    return OPS_MUTATE >> opcode & 1;
}

/* Ops that name a reservation. */
static inline bool op_uploads(unsigned opcode)
{
    return (OPS_UPLOADS | 1u << KVR_DROP) >> opcode & 1;
}

/* Records and the values in them lie at multiples of 8. */
static inline uint32_t align8(uint32_t n)
{
    return (n + 7u) & ~7u;
}

/* Upload handle: generation, partition, slot. */
static inline unsigned upload_partition(uint64_t handle)
{
    return (unsigned)(handle >> 24 & 0xffu);
}

/* ---- Most datagrams hold nothing but GETs of whole values. They are told by a few comparisons of
 * words, inline; all others, and what is wrong, by parse_any from the start. ---- */

/* See parse_request. */
[[nodiscard]] enum parse_verdict parse_any(const struct parse_env *env, struct request *request,
                                           struct parse_fault *fault);

/* Whether nothing is wrong with a header of a datagram of len bytes. */
static inline bool parse_header_good(const struct parse_env *env, const uint8_t *msg, uint32_t len)
{
    const uint64_t first = KVR_MAGIC | (uint64_t)KVR_VERSION << 32 | (uint64_t)KVR_REQUEST << 40;
    uint64_t word, session;
    uint16_t partition, said;
    uint32_t crc;

    memcpy(&word, msg, sizeof(word));
    memcpy(&said, msg + offsetof(struct kvr_hdr, len), sizeof(said));
    memcpy(&crc, msg + offsetof(struct kvr_hdr, crc), sizeof(crc));
    memcpy(&session, msg + offsetof(struct kvr_hdr, session), sizeof(session));
    memcpy(&partition, msg + offsetof(struct kvr_hdr, partition), sizeof(partition));
    word ^= first; /* but for the priority, its highest byte */
    if (unlikely((word << 8 | word >> 56) >= KVR_PRIORITIES) || unlikely(said != len) ||
        unlikely((uint8_t)(msg[offsetof(struct kvr_hdr, nr_ops)] - 1) >= KVR_OPS_MAX) ||
        /* 0 or at least 19 */
        unlikely((uint8_t)(msg[offsetof(struct kvr_hdr, reply_max)] - 1) < 18))
        return false;
    if (unlikely(session == 0) || unlikely(partition >= env->nr_partitions))
        return false;
    return crc32c_datagram(msg, len) == crc;
}
_Static_assert(offsetof(struct kvr_hdr, priority) == 7,
               "parse_header_good reads the first fields in one word");

#define PLAIN_FIXED ((uint32_t)sizeof(struct kvr_get_req))

/* The first word of a GET without flags, the i-th record of its datagram. */
static inline uint64_t plain_head(unsigned i, uint32_t key_len)
{
    return KVR_GET | i << 8 | (uint64_t)(PLAIN_FIXED + align8(key_len)) << 32 |
           (uint64_t)key_len << 48;
}

/* Whether it asks for the whole value, whichever it is. */
static inline bool plain_window(const uint8_t *record)
{
    uint64_t range, pieces, window, ref;

    memcpy(&range, record + offsetof(struct kvr_get_req, off), sizeof(range));
    memcpy(&pieces, record + offsetof(struct kvr_get_req, stride), sizeof(pieces));
    memcpy(&window, record + offsetof(struct kvr_get_req, skip), sizeof(window));
    memcpy(&ref, record + offsetof(struct kvr_get_req, ref), sizeof(ref));
    return (range | (pieces ^ 1ull << 32) | window | ref) == 0; /* count: 1 */
}

static inline __attribute__((always_inline)) void plain_take(const struct parse_env *env,
                                                             struct request_op *op,
                                                             const uint8_t *record,
                                                             uint32_t key_len)
{
    struct key_hash hash = hash_key(record + PLAIN_FIXED, key_len, env->seed);

    op->record = (const struct kvr_op *)(const void *)record;
    op->key = record + PLAIN_FIXED;
    op->found = NULL;
    op->hash = hash;
    op->key_len = (uint16_t)key_len;
    op->opcode = KVR_GET;
    op->state = OP_PENDING;
    op->partition = (uint16_t)hash_partition(hash, env->nr_partitions);
    op->mutation = 0;
}

/* Whether the i-th record is a plain GET with HASH_SHORT bytes of key; it is as long as that. */
static inline bool plain_short(const uint8_t *record, unsigned i)
{
    uint64_t head;

    memcpy(&head, record, sizeof(head));
    return head == plain_head(i, HASH_SHORT) && plain_window(record);
}
#define PLAIN_SHORT (PLAIN_FIXED + HASH_SHORT)

/* Takes the i-th record if it is a plain GET, one of HASH_SHORT bytes of key in fewer steps. Bytes
 * of it; 0: it is something else. */
static inline __attribute__((always_inline)) uint32_t parse_plain_get(const struct parse_env *env,
                                                                      struct request_op *op,
                                                                      const uint8_t *record,
                                                                      uint32_t left, unsigned i)
{
    uint32_t key_len;
    uint64_t head;

    if (likely(left >= PLAIN_SHORT) && likely(plain_short(record, i))) {
        plain_take(env, op, record, HASH_SHORT);
        return PLAIN_SHORT;
    }
    if (left < PLAIN_FIXED)
        return 0;
    memcpy(&head, record, sizeof(head));
    key_len = (uint32_t)(head >> 48);
    if (key_len - 1 >= KVR_KEY_MAX || head != plain_head(i, key_len) ||
        PLAIN_FIXED + align8(key_len) > left || !plain_window(record))
        return 0;
    plain_take(env, op, record, key_len);
    return PLAIN_FIXED + align8(key_len);
}

/* All records; of one alone nothing has to be looked for. */
static inline __attribute__((always_inline)) bool parse_plain_gets(const struct parse_env *env,
                                                                   struct request *request,
                                                                   const uint8_t *record,
                                                                   uint32_t left, unsigned nr)
{
    uint32_t size;

    request->single = false;
    if (likely(nr == 1)) {
        if (likely(left == PLAIN_SHORT) && likely(plain_short(record, 0)))
            plain_take(env, request->ops, record, HASH_SHORT);
        else if (left == 0 || parse_plain_get(env, request->ops, record, left, 0) != left)
            return false;
        request->single = request->room > 0 && !request->local &&
                          request->hdr.partition == request->ops[0].partition;
        return true;
    }
    for (unsigned i = 0; i < nr; i++, record += size, left -= size) {
        size = parse_plain_get(env, &request->ops[i], record, left, i);
        if (size == 0)
            return false;
    }
    return left == 0;
}

static inline bool parse_plain(const struct parse_env *env, struct request *request)
{
    const uint8_t *msg = request->msg;
    uint32_t len = request->len;
    uint8_t nr;

    if (len < sizeof(struct kvr_hdr) || !parse_header_good(env, msg, len))
        return false;
    nr = msg[offsetof(struct kvr_hdr, nr_ops)];
    memcpy(&request->hdr, msg, sizeof(request->hdr));
    request->nr_ops = request->nr_open = nr;
    request->nr_mutations = 0;
    request->kinds = 1u << KVR_GET;
    request->plain = true;
    return parse_plain_gets(env, request, msg + sizeof(struct kvr_hdr),
                            len - (uint32_t)sizeof(struct kvr_hdr), nr);
}

/* In: request->msg, len. Out: hdr, ops, nr_ops, nr_open, nr_mutations, kinds, plain, single;
 * fault if not OK. */
[[nodiscard]] static inline enum parse_verdict
parse_request(const struct parse_env *env, struct request *request, struct parse_fault *fault)
{
    return likely(parse_plain(env, request)) ? PARSE_OK : parse_any(env, request, fault);
}
