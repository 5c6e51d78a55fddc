/* SPDX-License-Identifier: Apache-2.0 */
/* A client's own small segment: a memfd that the client makes, seals against resizing and hands to
 * kvraild. It holds the client's hazard slots, for each partition a ring of requests, one of
 * completions and one of accesses, and room to stage values in. Only offsets, which follow from the
 * five numbers of struct segment_spec; the server works with its own copy of those.
 *
 *   0        struct segment_header
 *   then     uint64_t words[SEGMENT_WORDS]      progress of LOADs: token << 32 | layers complete
 *   then     uint64_t slots[nr_slots]            hazard slots: a block's reference, 0 = none
 *   per partition
 *            struct segment_group                indexes of its three rings
 *            requests[SEGMENT_CELLS]             cells of SEGMENT_CELL bytes: struct segment_cell
 *            completions[SEGMENT_CELLS]
 *            uint64_t accesses[SEGMENT_ACCESSES] references of blocks that were hit
 *   then     staging, from a multiple of 4,096  bytes that a STORE copies from
 *
 * The server believes nothing in it: what it needs it loads once, copies, then checks. A client
 * that writes nonsense loses its own pins, its own requests and its own answers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cacheline.h"
#include "kvrail/proto.h"

#define SEGMENT_MAGIC 0x746e656d67657376ull /* "vsegment" */
#define SEGMENT_VERSION 2
#define SEGMENT_CELLS 32u /* of a ring */
#define SEGMENT_CELL 4096u
#define SEGMENT_MESSAGE_MAX (SEGMENT_CELL - 8u) /* bytes of a datagram in a cell */
#define SEGMENT_ACCESSES 1024u
#define SEGMENT_WORDS 1024u
#define SEGMENT_SLOTS_MAX 65536u
#define SEGMENT_STAGING_MAX (1ull << 30)

struct segment_spec {
    uint32_t nr_slots;      /* 64 .. SEGMENT_SLOTS_MAX, a multiple of 64 */
    uint32_t nr_partitions; /* the arena's */
    uint64_t staging_size;  /* bytes, a multiple of 4,096; 0 = none */
};

/* The writer of all of it is the client. */
struct segment_header {
    uint64_t magic;
    uint32_t version, layout_hash;
    struct segment_spec spec;
    uint64_t arena_id;                 /* of the arena that the slots speak of */
    cache_aligned uint32_t slots_used; /* slots from here on hold nothing */
    uint32_t closed;                   /* 1: the client is done with everything */
    /* For people only. */
    uint64_t hits, misses, hit_bytes, matches, puts, put_bytes;
    uint32_t asymmetric; /* 1: leaves its fences to the reclaimer's membarrier (hazards_open) */
    uint32_t zero;
};

/* Free-running counts, SEGMENT_CELLS and SEGMENT_ACCESSES are powers of two. Request k lies in cell
 * k % SEGMENT_CELLS. Release stores of a tail pair with acquire loads by whoever takes. */
struct segment_group {
    cache_aligned uint32_t request_tail;    /* client: made so far */
    cache_aligned uint32_t request_head;    /* owner core: taken so far */
    cache_aligned uint32_t completion_tail; /* owner core */
    cache_aligned uint32_t completion_head; /* client */
    cache_aligned uint32_t access_tail;     /* client: never waits, overwrites what was not taken */
};

struct segment_cell {
    uint32_t len, zero;
    uint8_t bytes[SEGMENT_MESSAGE_MAX]; /* a datagram, as in kvrail/proto.h */
};

_Static_assert(sizeof(struct segment_header) == 128, "segment_header");
_Static_assert(sizeof(struct segment_group) == 5 * CACHE_LINE, "segment_group");
_Static_assert(sizeof(struct segment_cell) == SEGMENT_CELL, "segment_cell");
_Static_assert(SEGMENT_MESSAGE_MAX >= KVR_DATAGRAM_MIN_MAX, "a cell takes what every path carries");

/* A segment in this process. The pointers follow from spec, which was checked once. */
struct segment {
    struct segment_header *header;
    uint64_t *words; /* owner cores write, for the client */
    uint64_t *slots;
    uint8_t *groups; /* see segment_group_at */
    uint8_t *staging;
    struct segment_spec spec;
    size_t size;
    int fd;
};

/* Where one partition's rings lie. */
struct segment_rings {
    struct segment_group *group;
    struct segment_cell *requests, *completions; /* SEGMENT_CELLS */
    uint64_t *accesses;                          /* SEGMENT_ACCESSES */
};

/* Client: makes, sizes, seals and maps one. 0, -EINVAL (spec), -ENOMEM, -errno. */
[[nodiscard]] int segment_create(const struct segment_spec *spec, uint64_t arena_id,
                                 struct segment *segment);

/* Server: maps a stranger's descriptor, which becomes the segment's. It must be a memfd in ordinary
 * pages, sealed against growing, shrinking and more seals, of the very size that its spec gives,
 * with nr_partitions and arena_id as the arena has them. -EPROTO (another version or layout),
 * -EINVAL, -errno; the descriptor is still the caller's then. */
[[nodiscard]] int segment_attach(int fd, uint32_t nr_partitions, uint64_t arena_id,
                                 struct segment *segment);
/* Unmaps and closes. */
void segment_close(struct segment *segment);

struct segment_rings segment_rings_of(const struct segment *segment, unsigned partition);
