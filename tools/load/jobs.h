/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that need several datagrams: which of them has something to send, whose answer it is that
 * came, what is to be sent again or given up. What a datagram says is its kind's affair: uploads
 * and chains. Nothing is allocated after jobs_create, but for the gaps of uploads. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/check.h"
#include "client/order.h"
#include "tools/load/compose.h"
#include "tools/load/parts.h"
#include "tools/load/settings.h"

#define JOB_TRIES 10u           /* sends of a datagram without an answer, then it is given up */
#define JOBS_FRAGMENTS_MAX 256u /* of all uploads: sent and not known to have come */

struct jobs;

/* Whether a job has something to send now, apart from what it sends again. */
enum job_wish { JOB_SENDS, JOB_WAITS /* for an answer */, JOB_HELD /* by JOBS_FRAGMENTS_MAX */ };
/* What an answer made of the datagram. */
enum part_fate { PART_STAYS, PART_ENDS, PART_FOREIGN /* no answer to this */ };

struct job_kind {
    enum job_wish (*wish)(const struct jobs *jobs, const struct job *job);
    /* Chooses the next datagram. */
    void (*next)(struct jobs *jobs, struct job *job, struct part *part);
    /* Writes it, for the first time or again; returns its length. */
    uint32_t (*write)(struct jobs *jobs, struct job *job, const struct part *part, uint8_t *bytes);
    /* A record about it came. */
    enum part_fate (*answer)(struct jobs *jobs, struct job *job, struct part *part,
                             const struct kvr_op *record);
    /* It cannot go on: for how its datagrams are refused, or because they are not answered. */
    void (*fail)(struct jobs *jobs, struct job *job, enum kvr_status status);
    /* Gives back what it holds, whatever its state. */
    void (*end)(struct jobs *jobs, struct job *job);
};

enum job_place { JOB_FREE, JOB_WAITING, JOB_READY, JOB_ASIDE, JOB_OVER };

struct job {
    TAILQ_ENTRY(job) busy;  /* or free */
    TAILQ_ENTRY(job) ready; /* in ready, aside or over, as place says */
    const struct job_kind *kind;
    uint64_t id; /* of the key, or of the first one */
    uint64_t due_ns;
    uint32_t nr_parts; /* on their way or to be sent again */
    uint16_t partition;
    uint8_t op; /* enum bench_op */
    enum job_place place;
    bool over;              /* status is the op's */
    enum kvr_status status; /* before that: why a datagram was refused last */
};
TAILQ_HEAD(job_list, job);

struct jobs {
    const struct load_settings *settings;
    const struct limits *limits;
    struct composer *composer;
    struct order *orders;
    const struct kvr_hello_rep *hello;
    struct parts parts;
    struct upload *uploads;
    struct chains *chains;
    struct job_list free_uploads, free_chains, busy, ready, aside, over;
    uint32_t nr_busy;
    uint32_t nr_fragments; /* see JOBS_FRAGMENTS_MAX */
    uint64_t timeout_ns;
    uint64_t lost, repeats; /* datagrams not answered in time, or named missing; sent again */
};

/* All that is pointed to has to stay. -ENOMEM. */
[[nodiscard]] int jobs_create(struct jobs *jobs, const struct load_settings *settings,
                              const struct limits *limits, const struct kvr_hello_rep *hello,
                              struct composer *composer, struct order *orders);
void jobs_destroy(struct jobs *jobs);

static inline bool jobs_have_work(const struct jobs *jobs)
{
    return !TAILQ_EMPTY(&jobs->parts.again) || !TAILQ_EMPTY(&jobs->ready);
}

/* Begins a PUT or a MATCH, whose first datagram it writes to bytes: returns its length. partition:
 * of the key; then of the datagram. Needs free parts, fewer jobs than depth, and for a PUT room in
 * the partition's order. */
uint32_t jobs_begin(struct jobs *jobs, enum bench_op op, uint64_t id, uint64_t due_ns,
                    uint64_t now_ns, uint8_t *bytes, uint16_t *partition);
/* Writes the next datagram of what has begun; returns its length, 0: there is none now. */
uint32_t jobs_next(struct jobs *jobs, uint64_t now_ns, uint8_t *bytes, uint16_t *partition);
/* A checked reply. False: nobody waits for it. */
bool jobs_take(struct jobs *jobs, const struct checked_reply *reply);
void jobs_expire(struct jobs *jobs, uint64_t now_ns);
/* All that is under way ends with this status. */
void jobs_give_up(struct jobs *jobs, enum kvr_status status);

/* One that is over, or NULL. Its status is the op's; it has to be resumed or freed. */
struct job *jobs_over(struct jobs *jobs);
/* It goes on with something new. */
void jobs_resume(struct jobs *jobs, struct job *job);
void jobs_free(struct jobs *jobs, struct job *job);

/* ---- for kinds ---- */

/* The op has ended: nothing more is awaited or sent. */
void job_end(struct job *job, enum kvr_status status);
/* Forgets the job's datagrams. */
void job_drop_parts(struct jobs *jobs, const struct job *job);
