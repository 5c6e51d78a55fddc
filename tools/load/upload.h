/* SPDX-License-Identifier: Apache-2.0 */
/* A PUT of a value that does not fit a datagram: RESERVE, WRITEs of one fragment each, COMMIT with
 * the CRC32C of the whole; ABORT where it cannot go on. Its bytes are made as they are sent, so it
 * holds none. On request it reads back what it stored. One thread. */
#pragma once

#include "client/gaps.h"
#include "tools/load/jobs.h"

#define UPLOAD_FRAGMENTS_MAX 64u /* of one upload: sent and not known to have come */
#define UPLOAD_LOUD 16u          /* one fragment of so many asks for an answer */

enum upload_step {
    UPLOAD_RESERVE,
    UPLOAD_WRITE,
    UPLOAD_COMMIT,
    UPLOAD_ABORT,
    UPLOAD_READ /* back, after the op has ended */
};

enum upload_verdict {
    UPLOAD_UNREAD,    /* not asked for, or not answered: see status */
    UPLOAD_PROVEN,    /* every byte is the one that was put */
    UPLOAD_OVERTAKEN, /* another block is stored by now, or none */
    UPLOAD_CORRUPT
};

struct upload {
    struct job job;
    struct gaps gaps; /* WRITE: to be sent in this round. READ: not read yet */
    uint64_t handle;  /* 0: not known */
    uint64_t version, ref;
    uint32_t total, frag, cursor;
    uint32_t crc;               /* of the first crc_len bytes */
    uint32_t crc_len;           /* total from the first COMMIT on */
    uint32_t shift;             /* crc32c_shift(KVR_FRAG_BEST) */
    uint32_t nr_sent, nr_heard; /* fragments: sent, and of them known to have come or be lost */
    uint32_t seq;
    enum upload_step step;
    bool asked; /* RESERVE, COMMIT: is on its way */
    enum kvr_status failed;
    enum upload_verdict verdict;
};

/* NULL: out of memory. */
struct upload *uploads_create(uint32_t nr);
void uploads_destroy(struct upload *uploads, uint32_t nr);
struct job *upload_at(struct upload *uploads, uint32_t i);

/* The job has its id, partition and op. Takes a number of the partition's order. */
void upload_begin(struct jobs *jobs, struct job *job);
/* Reads back what an upload that ended with OK has stored; then it is over again. */
void upload_read_back(struct jobs *jobs, struct job *job);
bool upload_is_reading(const struct job *job);
/* After that. */
enum upload_verdict upload_verdict(const struct job *job);
/* Bytes of the value. */
uint32_t upload_bytes(const struct job *job);
