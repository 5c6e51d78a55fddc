/* SPDX-License-Identifier: Apache-2.0 */
/* Most WRITEs are quiet. One in so many is answered, and tells that those before it have come or
 * are lost: that moves the window. What is lost COMMIT names. The server serves one client's
 * datagrams in their order; where it does not, fragments are sent twice, and nothing worse. */
#include "tools/load/upload.h"

#include <assert.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "client/build.h"
#include "tools/content.h"

static struct upload *of(struct job *job)
{
    return (struct upload *)(void *)job; /* its first member */
}

static const struct upload *of_const(const struct job *job)
{
    return (const struct upload *)(const void *)job;
}

struct upload *uploads_create(uint32_t nr)
{
    struct upload *uploads = calloc(nr, sizeof(uploads[0]));

    for (uint32_t i = 0; uploads && i < nr; i++)
        gaps_setup(&uploads[i].gaps);
    return uploads;
}

void uploads_destroy(struct upload *uploads, uint32_t nr)
{
    for (uint32_t i = 0; uploads && i < nr; i++)
        gaps_teardown(&uploads[i].gaps);
    free(uploads);
}

struct job *upload_at(struct upload *uploads, uint32_t i)
{
    return &uploads[i].job;
}

uint32_t upload_bytes(const struct job *job)
{
    return of_const(job)->total;
}

bool upload_is_reading(const struct job *job)
{
    return of_const(job)->step == UPLOAD_READ;
}

enum upload_verdict upload_verdict(const struct job *job)
{
    return of_const(job)->verdict;
}

/* ---- out ----------------------------------------------------------------------------------- */

static enum job_wish wish(const struct jobs *jobs, const struct job *job)
{
    const struct upload *u = of_const(job);

    switch (u->step) {
    case UPLOAD_RESERVE:
    case UPLOAD_COMMIT:
        return u->asked ? JOB_WAITS : JOB_SENDS;
    case UPLOAD_WRITE:
        if (u->nr_sent - u->nr_heard >= UPLOAD_FRAGMENTS_MAX)
            return JOB_WAITS;
        return jobs->nr_fragments < JOBS_FRAGMENTS_MAX ? JOB_SENDS : JOB_HELD;
    case UPLOAD_READ:
        return job->nr_parts > 0 ? JOB_WAITS : JOB_SENDS;
    default:
        return JOB_SENDS;
    }
}

static void next_fragment(struct jobs *jobs, struct upload *u, struct part *part)
{
    struct range gap = {0};

    gaps_next(&u->gaps, u->cursor, u->total, &gap);
    part->lo = gap.lo;
    part->hi = gap.hi - gap.lo > u->frag ? gap.lo + u->frag : gap.hi;
    part->at = ++u->nr_sent;
    jobs->nr_fragments++;
    /* Who is held must have asked for an answer, or nobody would ever go on. */
    part->quiet = u->nr_sent % UPLOAD_LOUD != 0 && jobs->nr_fragments < JOBS_FRAGMENTS_MAX;
    u->cursor = part->hi;
    if (gaps_next(&u->gaps, u->cursor, u->total, &gap))
        return;
    u->step = UPLOAD_COMMIT;
    u->asked = false;
}

static void next_window(const struct jobs *jobs, const struct upload *u, struct part *part)
{
    struct range gap = {0};
    uint32_t most = jobs->hello->train_max;

    gaps_next(&u->gaps, 0, u->total, &gap);
    part->lo = part->at = gap.lo;
    part->hi = gap.hi - gap.lo > most ? gap.lo + most : gap.hi;
    part->reads = true;
}

static void next(struct jobs *jobs, struct job *job, struct part *part)
{
    struct upload *u = of(job);

    part->step = (uint8_t)u->step;
    switch (u->step) {
    case UPLOAD_WRITE:
        next_fragment(jobs, u, part);
        break;
    case UPLOAD_READ:
        next_window(jobs, u, part);
        break;
    case UPLOAD_ABORT:
        part->quiet = true;
        job_end(job, u->failed);
        break;
    default:
        u->asked = true;
        break;
    }
}

static void write_reserve(const struct jobs *jobs, const struct upload *u, struct writer *writer,
                          const uint8_t *key)
{
    const struct bench_settings *b = &jobs->settings->bench;
    struct kvr_put_req req = {
        .value_len = u->total, .ttl_ms = (uint32_t)b->ttl_ms, .frag = u->frag};

    build_put(writer, &req, key, (uint32_t)b->key_len, NULL);
}

static void write_get(const struct jobs *jobs, const struct upload *u, const struct part *part,
                      struct writer *writer, const uint8_t *key)
{
    struct kvr_get_req req = {
        .count = 1, .skip = part->lo, .want = part->hi - part->lo, .ref = u->ref};

    build_get(writer, &req, key, (uint32_t)jobs->settings->bench.key_len);
}

/* How far the CRC of the whole has got with a fragment that lies behind head_len bytes of its
 * finished datagram. */
static void follow_crc(struct upload *u, const struct part *part, const uint8_t *bytes,
                       uint32_t head_len)
{
    uint32_t len = part->hi - part->lo;

    if (part->lo != u->crc_len)
        return;
    u->crc_len = part->hi;
    if (len == KVR_FRAG_BEST)
        u->crc = crc32c_join(u->crc, build_tail_crc(bytes, head_len, u->shift), u->shift);
    else
        u->crc = crc32c(u->crc, bytes + head_len, len);
}

static uint32_t write(struct jobs *jobs, struct job *job, const struct part *part, uint8_t *bytes)
{
    const struct bench_settings *b = &jobs->settings->bench;
    struct upload *u = of(job);
    struct stamp stamp = {.id = part->id, .partition = job->partition};
    uint32_t tail_len = 0, len;
    uint8_t key[KVR_KEY_MAX];
    struct writer writer;

    if (part->step != UPLOAD_READ) {
        stamp.seq = u->seq;
        stamp.floor = jobs->orders[job->partition].floor;
    }
    build_begin(&writer, bytes);
    switch ((enum upload_step)part->step) {
    case UPLOAD_RESERVE:
        content_key(key, b->key_len, job->id, b->salt);
        write_reserve(jobs, u, &writer, key);
        break;
    case UPLOAD_WRITE:
        build_write(&writer, part->quiet ? KVR_WRITE_QUIET : 0, u->handle, part->lo,
                    part->hi - part->lo);
        tail_len = part->hi - part->lo;
        content_fill_part(bytes + writer.len, tail_len, part->lo, u->total, job->id, u->version);
        break;
    case UPLOAD_COMMIT:
        assert(u->crc_len == u->total);
        [[fallthrough]];
    case UPLOAD_ABORT:
        build_commit(&writer, part->step == UPLOAD_COMMIT ? KVR_COMMIT : KVR_ABORT, u->handle,
                     part->step == UPLOAD_COMMIT ? u->crc : 0, u->total);
        break;
    case UPLOAD_READ:
        content_key(key, b->key_len, job->id, b->salt);
        write_get(jobs, u, part, &writer, key);
        break;
    }
    len = compose_end(jobs->composer, &writer, &stamp, tail_len);
    if (part->step == UPLOAD_WRITE)
        follow_crc(u, part, bytes, writer.len);
    return len;
}

/* ---- in ------------------------------------------------------------------------------------ */

/* Fragments up to the at-th one are not waited for any more. */
static void heard(struct jobs *jobs, struct upload *u, uint32_t at)
{
    if ((int32_t)(at - u->nr_heard) <= 0)
        return;
    jobs->nr_fragments -= at - u->nr_heard;
    u->nr_heard = at;
}

/* To be sent in a round of its own: what gaps says. */
static void begin_round(struct upload *u)
{
    u->step = UPLOAD_WRITE;
    u->cursor = 0;
}

static void fail(struct jobs *jobs, struct job *job, enum kvr_status status)
{
    struct upload *u = of(job);

    if (u->step == UPLOAD_READ || u->step == UPLOAD_RESERVE || u->handle == 0) {
        job_end(job, status);
        return;
    }
    job_drop_parts(jobs, job);
    u->step = UPLOAD_ABORT;
    u->failed = status;
}

/* The server holds nothing of it any more. */
static bool is_gone(enum kvr_status status)
{
    return status == KVR_NO_UPLOAD || status == KVR_REPLAYED || status == KVR_CORRUPT;
}

static enum part_fate refuse(struct jobs *jobs, struct job *job, const struct part *part,
                             enum kvr_status status)
{
    if ((status == KVR_BUSY || status == KVR_EXPIRED) && part->step != UPLOAD_RESERVE) {
        job->status = status; /* its time to be sent again comes */
        return PART_STAYS;
    }
    if (is_gone(status))
        job_end(job, status);
    else
        fail(jobs, job, status);
    return PART_ENDS;
}

/* The server misses fragments. */
static void incomplete(struct jobs *jobs, struct upload *u, const struct kvr_put_rep *rep)
{
    gaps_of_fragments(&u->gaps, (const struct kvr_range *)(const void *)(rep + 1), rep->nr_ranges,
                      u->frag, u->total);
    heard(jobs, u, u->nr_sent);
    for (uint32_t i = 0; i < u->gaps.nr; i++) {
        uint32_t len = u->gaps.ranges[i].hi - u->gaps.ranges[i].lo;

        jobs->lost += (len + u->frag - 1) / u->frag;
        jobs->repeats += (len + u->frag - 1) / u->frag;
    }
    if (gaps_none(&u->gaps))
        fail(jobs, &u->job, KVR_PROTOCOL);
    else
        begin_round(u);
}

static enum part_fate take_commit(struct jobs *jobs, struct upload *u,
                                  const struct kvr_put_rep *rep)
{
    if (u->step != UPLOAD_COMMIT) /* an answer to a COMMIT before this round */
        return PART_ENDS;
    if (rep->op.status == KVR_INCOMPLETE) {
        incomplete(jobs, u, rep);
        return PART_ENDS;
    }
    u->ref = rep->ref;
    job_end(&u->job, KVR_OK);
    return PART_ENDS;
}

static void judge(struct job *job, enum upload_verdict verdict)
{
    of(job)->verdict = verdict;
    job_end(job, KVR_OK);
}

static enum part_fate take_bytes(struct upload *u, struct part *part, const struct kvr_get_rep *rep)
{
    struct range gap;

    if (rep->ref != u->ref || rep->value_crc != u->crc || rep->value_len != u->total ||
        rep->view_len != u->total || rep->pos < part->at || rep->pos + rep->len > part->hi ||
        !content_check_part(rep + 1, rep->len, rep->pos, u->total, u->job.id, u->version)) {
        judge(&u->job, UPLOAD_CORRUPT);
        return PART_ENDS;
    }
    (void)gaps_fill(&u->gaps, rep->pos, rep->pos + rep->len); /* else as if it was lost */
    if (gaps_none(&u->gaps))
        judge(&u->job, UPLOAD_PROVEN);
    if (!gaps_next(&u->gaps, part->lo, part->hi, &gap))
        return PART_ENDS;
    part->lo = gap.lo;
    return PART_STAYS;
}

static enum part_fate take_read(struct jobs *jobs, struct upload *u, struct part *part,
                                const struct kvr_op *record)
{
    enum kvr_status status = (enum kvr_status)record->status;

    if (status == KVR_OK)
        return take_bytes(u, part, (const void *)record);
    if (status != KVR_MISS && status != KVR_STALE)
        return refuse(jobs, &u->job, part, status);
    judge(&u->job, UPLOAD_OVERTAKEN);
    return PART_ENDS;
}

static enum part_fate answer(struct jobs *jobs, struct job *job, struct part *part,
                             const struct kvr_op *record)
{
    static const uint8_t expected[] = {[UPLOAD_RESERVE] = KVR_RESERVE,
                                       [UPLOAD_WRITE] = KVR_WRITE,
                                       [UPLOAD_COMMIT] = KVR_COMMIT,
                                       [UPLOAD_ABORT] = KVR_ABORT,
                                       [UPLOAD_READ] = KVR_GET};
    const struct kvr_put_rep *rep = (const void *)record;
    struct upload *u = of(job);

    if (record->op != expected[part->step])
        return PART_FOREIGN;
    if (part->step == UPLOAD_READ)
        return take_read(jobs, u, part, record);
    if (record->status != KVR_OK && record->status != KVR_INCOMPLETE)
        return refuse(jobs, job, part, (enum kvr_status)record->status);
    switch ((enum upload_step)part->step) {
    case UPLOAD_RESERVE:
        u->handle = rep->ref;
        begin_round(u);
        return PART_ENDS;
    case UPLOAD_WRITE:
        heard(jobs, u, part->at);
        return PART_ENDS;
    default:
        return take_commit(jobs, u, rep);
    }
}

/* ---- life ---------------------------------------------------------------------------------- */

static void end(struct jobs *jobs, struct job *job)
{
    struct upload *u = of(job);

    if (u->step == UPLOAD_READ)
        return;
    heard(jobs, u, u->nr_sent);
    order_finish(&jobs->orders[job->partition], u->seq, job->status != KVR_OK);
}

static const struct job_kind upload_kind = {
    .wish = wish, .next = next, .write = write, .answer = answer, .fail = fail, .end = end};

void upload_begin(struct jobs *jobs, struct job *job)
{
    struct upload *u = of(job);

    job->kind = &upload_kind;
    u->total = sizes_of(&jobs->settings->bench.sizes, job->id);
    u->frag = jobs->limits->frag;
    u->version = compose_version(jobs->composer);
    u->seq = order_take(&jobs->orders[job->partition]);
    u->handle = u->ref = 0;
    u->crc = u->crc_len = 0;
    u->shift = crc32c_shift(KVR_FRAG_BEST);
    u->nr_sent = u->nr_heard = 0;
    u->cursor = 0;
    u->asked = false;
    u->step = UPLOAD_RESERVE;
    u->verdict = UPLOAD_UNREAD;
    gaps_reset(&u->gaps, u->total);
}

void upload_read_back(struct jobs *jobs, struct job *job)
{
    struct upload *u = of(job);

    u->step = UPLOAD_READ;
    gaps_reset(&u->gaps, u->total);
    jobs_resume(jobs, job);
}
