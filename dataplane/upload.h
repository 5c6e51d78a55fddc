/* SPDX-License-Identifier: Apache-2.0 */
/* Reservations of large values: which fragments came, how far the CRC32C is, and, once ended, how:
 * the entry of an ended upload stays a while, so that a repeated COMMIT hears the same answer.
 * Owner core only. An upload owns a reserved block of its partition until it ends. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"
#include "kvrail/status.h"

struct partition;
struct upload_table;

#define UPLOADS_MAX (1u << 20) /* open at once, by the bits of a handle */

enum upload_state { UPLOAD_FREE = 0, UPLOAD_OPEN, UPLOAD_ENDED };

struct upload {
    uint64_t session;
    uint64_t ref; /* ended with OK: the block */
    struct partition *partition;
    uint8_t *value;     /* the reserved memory, while open */
    uint32_t *sums;     /* partition_sums, if its fragments are what those are of; else NULL */
    uint64_t *received; /* bit per fragment */
    uint32_t generation;
    uint32_t block, value_len, frag, nr_frags, nr_received;
    uint32_t seq; /* of the RESERVE */
    uint32_t used_ms;
    uint32_t crc, crc_at; /* CRC32C of value[0, crc_at); every fragment before it has come */
    uint32_t shift;       /* crc32c_shift(KVR_FRAG_BEST), if it has sums */
    uint16_t partition_nr;
    uint8_t idx;    /* of the RESERVE in its datagram */
    uint8_t state;  /* enum upload_state */
    uint8_t status; /* ended: enum kvr_status */
    bool add;
    uint32_t older, newer; /* entries of the same state by last use; free: newer only */
};

/* max: open ones. generation: where handles start, so that those of an earlier run fit nothing. */
[[nodiscard]] int upload_table_create(uint32_t max, uint32_t generation, struct upload_table **out);
/* Aborts what is open. */
void upload_table_destroy(struct upload_table *table);

/* Whether max uploads are open: then upload_new must not be called. */
bool upload_full(const struct upload_table *table);
/* An open entry. The caller fills session, value and what the RESERVE said, then upload_begin. */
struct upload *upload_new(struct upload_table *table, uint32_t now_ms, uint16_t partition,
                          uint64_t *handle);
void upload_begin(struct upload *upload);
/* The entry, open or ended, if the handle fits and belongs to the session; else NULL. */
struct upload *upload_find(struct upload_table *table, uint64_t handle, uint64_t session);
/* The entry that this RESERVE made, or NULL. */
struct upload *upload_find_seq(struct upload_table *table, uint64_t session, uint16_t partition,
                               uint32_t seq, uint8_t idx, uint64_t *handle);
void upload_touch(struct upload_table *table, struct upload *upload, uint32_t now_ms);

/* Stores a fragment; again is no error. crc: its CRC32C, or NULL where that is not known.
 * BAD_RANGE: not one of its fragments. */
[[nodiscard]] enum kvr_status upload_write(struct upload *upload, uint32_t off, uint32_t len,
                                           const uint8_t *bytes, const uint32_t *crc);
/* Takes the CRC over what came in order, at most *budget bytes, which it reduces; fragments whose
 * own is known cost little of it. */
void upload_advance(struct upload *upload, uint32_t *budget);
/* The first missing ranges, neighbours joined; returns how many, at most max. */
unsigned upload_missing(const struct upload *upload, struct kvr_range *ranges, unsigned max);

/* The upload is over; its block was sealed (OK) or is aborted here (any other status). */
void upload_end(struct upload_table *table, struct upload *upload, enum kvr_status status,
                uint64_t ref, uint32_t now_ms);

/* Drops what was idle for idle_ms, a few at a time; returns how many open ones that were. */
unsigned upload_expire(struct upload_table *table, uint32_t now_ms, uint32_t idle_ms);
uint32_t upload_count(const struct upload_table *table); /* open */
