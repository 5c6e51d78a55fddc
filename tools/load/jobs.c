/* SPDX-License-Identifier: Apache-2.0 */
/* A job is looked at after everything that happened to it, and then is in the list that its state
 * belongs to. Those that may send are served first come, first served, each as far as it may. */
#include "tools/load/jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/load/chain.h"
#include "tools/load/upload.h"

#define PARTS_LEAST 64u
#define RINGS_SHARE 4u /* of the port's rings, answers to parts may take one in so many places */

static uint32_t nr_parts(const struct load_settings *s, const struct limits *limits)
{
    uint64_t nr = s->ring * s->queues / s->bench.threads / RINGS_SHARE;

    if (!limits->long_puts && !limits->long_chains)
        return 1;
    nr = nr < PARTS_LEAST ? PARTS_LEAST : nr;
    return nr < PARTS_MAX ? (uint32_t)nr : PARTS_MAX;
}

static int make_jobs(struct jobs *jobs)
{
    uint32_t depth = (uint32_t)jobs->settings->bench.depth;

    if (jobs->limits->long_puts) {
        jobs->uploads = uploads_create(depth);
        if (!jobs->uploads)
            return -ENOMEM;
        for (uint32_t i = 0; i < depth; i++)
            TAILQ_INSERT_TAIL(&jobs->free_uploads, upload_at(jobs->uploads, i), busy);
    }
    if (jobs->limits->long_chains) {
        jobs->chains = chains_create(&jobs->settings->bench, jobs->hello);
        if (!jobs->chains)
            return -ENOMEM;
        for (uint32_t i = 0; i < depth; i++)
            TAILQ_INSERT_TAIL(&jobs->free_chains, chain_at(jobs->chains, i), busy);
    }
    return 0;
}

int jobs_create(struct jobs *jobs, const struct load_settings *settings,
                const struct limits *limits, const struct kvr_hello_rep *hello,
                struct composer *composer, struct order *orders)
{
    int rc;

    *jobs = (struct jobs){.settings = settings,
                          .limits = limits,
                          .hello = hello,
                          .composer = composer,
                          .orders = orders,
                          .timeout_ns = settings->timeout_ns};
    TAILQ_INIT(&jobs->free_uploads);
    TAILQ_INIT(&jobs->free_chains);
    TAILQ_INIT(&jobs->busy);
    TAILQ_INIT(&jobs->ready);
    TAILQ_INIT(&jobs->aside);
    TAILQ_INIT(&jobs->over);
    rc = parts_create(&jobs->parts, nr_parts(settings, limits));
    if (!rc)
        rc = make_jobs(jobs);
    if (rc)
        jobs_destroy(jobs);
    return rc;
}

void jobs_destroy(struct jobs *jobs)
{
    uint32_t depth = jobs->settings ? (uint32_t)jobs->settings->bench.depth : 0;

    uploads_destroy(jobs->uploads, depth);
    chains_destroy(jobs->chains);
    parts_destroy(&jobs->parts);
    jobs->uploads = NULL;
    jobs->chains = NULL;
}

/* ---- lists --------------------------------------------------------------------------------- */

static struct job_list *list_of(struct jobs *jobs, enum job_place place)
{
    switch (place) {
    case JOB_READY:
        return &jobs->ready;
    case JOB_ASIDE:
        return &jobs->aside;
    case JOB_OVER:
        return &jobs->over;
    default:
        return NULL;
    }
}

static void move(struct jobs *jobs, struct job *job, enum job_place place)
{
    if (job->place == place)
        return;
    if (list_of(jobs, job->place))
        TAILQ_REMOVE(list_of(jobs, job->place), job, ready);
    if (list_of(jobs, place))
        TAILQ_INSERT_TAIL(list_of(jobs, place), job, ready);
    job->place = place;
}

static void let_aside_go_on(struct jobs *jobs)
{
    struct job *job;

    while (jobs->nr_fragments < JOBS_FRAGMENTS_MAX && (job = TAILQ_FIRST(&jobs->aside)))
        move(jobs, job, JOB_READY);
}

void job_drop_parts(struct jobs *jobs, const struct job *job)
{
    for (uint32_t i = 0; i < jobs->parts.nr && job->nr_parts > 0; i++) {
        struct part *part = &jobs->parts.places[i];

        if (part->id && part->job == job) {
            part->job->nr_parts--;
            parts_end(&jobs->parts, part);
        }
    }
}

void job_end(struct job *job, enum kvr_status status)
{
    job->over = true;
    job->status = status;
}

/* Puts it where it belongs now. */
static void look(struct jobs *jobs, struct job *job)
{
    static const enum job_place places[] = {
        [JOB_SENDS] = JOB_READY, [JOB_WAITS] = JOB_WAITING, [JOB_HELD] = JOB_ASIDE};

    if (job->over && job->place != JOB_OVER) {
        job_drop_parts(jobs, job);
        job->kind->end(jobs, job);
        move(jobs, job, JOB_OVER);
    } else if (!job->over) {
        move(jobs, job, places[job->kind->wish(jobs, job)]);
    }
    let_aside_go_on(jobs);
}

struct job *jobs_over(struct jobs *jobs)
{
    return TAILQ_FIRST(&jobs->over);
}

void jobs_resume(struct jobs *jobs, struct job *job)
{
    job->over = false;
    job->status = KVR_TIMEOUT;
    look(jobs, job);
}

void jobs_free(struct jobs *jobs, struct job *job)
{
    move(jobs, job, JOB_FREE);
    TAILQ_REMOVE(&jobs->busy, job, busy);
    TAILQ_INSERT_HEAD(job->op == BENCH_PUT ? &jobs->free_uploads : &jobs->free_chains, job, busy);
    jobs->nr_busy--;
}

/* ---- out ----------------------------------------------------------------------------------- */

static uint32_t send_first(struct jobs *jobs, struct job *job, uint64_t now_ns, uint8_t *bytes,
                           uint16_t *partition)
{
    struct part *part = parts_take(&jobs->parts, job);
    uint32_t len;

    part->partition = job->partition;
    job->kind->next(jobs, job, part);
    *partition = part->partition;
    if (part->quiet) {
        uint64_t id = part->id;

        part->id = parts_quiet_id(&jobs->parts);
        len = job->kind->write(jobs, job, part, bytes);
        part->id = id;
        parts_end(&jobs->parts, part);
    } else {
        len = job->kind->write(jobs, job, part, bytes);
        job->nr_parts++;
        parts_sent(&jobs->parts, part, now_ns);
    }
    look(jobs, job);
    return len;
}

static uint32_t send_again(struct jobs *jobs, struct part *part, uint64_t now_ns, uint8_t *bytes,
                           uint16_t *partition)
{
    uint32_t len = part->job->kind->write(jobs, part->job, part, bytes);

    *partition = part->partition;
    parts_sent(&jobs->parts, part, now_ns);
    jobs->repeats++;
    return len;
}

uint32_t jobs_begin(struct jobs *jobs, enum bench_op op, uint64_t id, uint64_t due_ns,
                    uint64_t now_ns, uint8_t *bytes, uint16_t *partition)
{
    struct job_list *list = op == BENCH_PUT ? &jobs->free_uploads : &jobs->free_chains;
    struct job *job = TAILQ_FIRST(list);

    TAILQ_REMOVE(list, job, busy);
    TAILQ_INSERT_TAIL(&jobs->busy, job, busy);
    jobs->nr_busy++;
    job->id = id;
    job->due_ns = due_ns;
    job->nr_parts = 0;
    job->partition = *partition;
    job->op = (uint8_t)op;
    job->place = JOB_WAITING;
    job->over = false;
    job->status = KVR_TIMEOUT;
    if (op == BENCH_PUT)
        upload_begin(jobs, job);
    else
        chain_begin(jobs, job);
    return send_first(jobs, job, now_ns, bytes, partition);
}

uint32_t jobs_next(struct jobs *jobs, uint64_t now_ns, uint8_t *bytes, uint16_t *partition)
{
    struct part *part = TAILQ_FIRST(&jobs->parts.again);
    struct job *job;

    if (part)
        return send_again(jobs, part, now_ns, bytes, partition);
    while (jobs->parts.nr_free > 0 && (job = TAILQ_FIRST(&jobs->ready))) {
        if (job->kind->wish(jobs, job) == JOB_SENDS)
            return send_first(jobs, job, now_ns, bytes, partition);
        look(jobs, job);
    }
    return 0;
}

/* ---- in ------------------------------------------------------------------------------------ */

/* What the server says of the datagram as a whole. */
static void refused(struct jobs *jobs, struct part *part, enum kvr_status status)
{
    struct job *job = part->job;

    switch (status) {
    case KVR_BUSY:
    case KVR_EXPIRED:
        job->status = status; /* its time to be sent again comes */
        break;
    case KVR_NEED_COOKIE:
        job->status = status;
        if (part->waits)
            break;
        if (part->tries >= JOB_TRIES)
            job->kind->fail(jobs, job, status);
        else
            parts_again(&jobs->parts, part);
        break;
    default:
        job->kind->fail(jobs, job, status);
        break;
    }
    look(jobs, job);
}

bool jobs_take(struct jobs *jobs, const struct checked_reply *reply)
{
    struct part *part = parts_find(&jobs->parts, reply->hdr.id);
    enum part_fate fate = PART_FOREIGN;
    struct job *job;

    if (!part)
        return false;
    if (reply->hdr.status != KVR_OK) {
        refused(jobs, part, (enum kvr_status)reply->hdr.status);
        return true;
    }
    job = part->job;
    for (unsigned i = 0; i < reply->hdr.nr_ops; i++) {
        if (reply->records[i]->idx != 0)
            continue;
        fate = job->kind->answer(jobs, job, part, reply->records[i]);
        if (fate != PART_STAYS || job->over)
            break;
    }
    if (fate == PART_ENDS && part->id) { /* it may have been dropped with all others */
        parts_end(&jobs->parts, part);
        job->nr_parts--;
    }
    look(jobs, job);
    return fate != PART_FOREIGN;
}

void jobs_expire(struct jobs *jobs, uint64_t now_ns)
{
    struct part *part;

    while ((part = parts_overdue(&jobs->parts, now_ns, jobs->timeout_ns))) {
        struct job *job = part->job;

        jobs->lost++;
        if (part->tries >= JOB_TRIES)
            job->kind->fail(jobs, job, job->status);
        else
            parts_again(&jobs->parts, part);
        look(jobs, job);
    }
}

void jobs_give_up(struct jobs *jobs, enum kvr_status status)
{
    struct job *job;

    TAILQ_FOREACH(job, &jobs->busy, busy)
    {
        if (job->over)
            continue;
        job_end(job, status);
        look(jobs, job);
    }
}
