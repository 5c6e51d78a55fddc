/* SPDX-License-Identifier: Apache-2.0 */
/* From the bytes of a datagram to a struct request of which every length, key and field is known to
 * be in range. Pure: touches nothing but the request. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* In: request->msg, len. Out: hdr, ops, nr_ops, nr_open, nr_mutations, kinds, plain; fault if not
 * OK. */
[[nodiscard]] enum parse_verdict parse_request(const struct parse_env *env, struct request *request,
                                               struct parse_fault *fault);

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
     1u << KVR_PLACE | 1u << KVR_SEAL | 1u << KVR_STORE | 1u << KVR_LOAD | 1u << KVR_SAVE)
#define OPS_UPLOADS (1u << KVR_WRITE | 1u << KVR_COMMIT | 1u << KVR_ABORT)
/* For clients on this host only, and for all others only. */
#define OPS_LOCAL                                                                                  \
    (1u << KVR_PLACE | 1u << KVR_SEAL | 1u << KVR_DROP | 1u << KVR_STORE | 1u << KVR_LOAD |        \
     1u << KVR_SAVE)
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
