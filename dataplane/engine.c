/* SPDX-License-Identifier: Apache-2.0 */
/* What a core does with a burst and in the rest of a turn. A burst goes through each stage as a
 * whole, so that the cache misses of its lookups overlap. */
#include <string.h>

#include "dataplane/dispatch.h"
#include "dataplane/handoff.h"
#include "dataplane/local/turn.h"
#include "dataplane/parse.h"
#include "dataplane/reply.h"
#include "dataplane/session.h"
#include "dataplane/single.h"
#include "dataplane/upload.h"
#include "shm/probe.h"

#define TAKE_OVER_MAX (2 * BURST) /* requests from other cores in a turn */
#define RETRY_MAX 64u             /* parked requests looked at in a turn */
#define PROBES 64u                /* lookups under way together: three lines each stay in L1 */

/* Parses; answers or drops what is wrong. Returns how many requests are left. */
static unsigned parse_all(struct core *core, struct request **requests, unsigned n,
                          struct request **good)
{
    struct parse_env env = {.seed = core->arena->sb->seed,
                            .nr_partitions = core->nr_partitions,
                            .own_partition = (uint16_t)core->index};
    unsigned nr_good = 0;
    uint64_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        struct request *request = requests[i];
        struct parse_fault fault;
        enum parse_verdict verdict;

        if (i + 1 < n)
            prefetch_read(requests[i + 1]->msg);
        bytes += request->len;
        verdict = parse_request(&env, request, &fault);
        if (likely(verdict == PARSE_OK)) {
            good[nr_good++] = request;
            continue;
        }
        note_drop(core, request, fault.reason, verdict == PARSE_REFUSE ? fault.opcode : 0);
        if (verdict == PARSE_REFUSE)
            answer_header(core, request, fault.status, 0);
        request_transport(core, request)->ops->release(request_transport(core, request), request);
    }
    counter_add(&core->stats->rx_datagrams, n);
    counter_add(&core->stats->rx_bytes, bytes);
    return nr_good;
}

/* The lookups of some requests, ahead of their turn, so that the cache misses overlap. */
static void probe(const struct core *core, struct request *const *requests, unsigned n)
{
    struct {
        struct request_op *op;
        const struct part_map *map;
        const struct bucket *bucket;
    } probes[PROBES + KVR_OPS_MAX], *end = probes;

    for (unsigned i = 0; i < n; i++) {
        struct request_op *op = requests[i]->ops, *last = op + requests[i]->nr_ops;

        for (; op < last; op++) {
            if (!op->key || !core->partitions[op->partition])
                continue;
            end->op = op;
            end->map = &core->arena->maps[op->partition];
            end->bucket = probe_ahead(end->map, op->hash);
            end++;
        }
    }
    for (typeof(end) at = probes; at < end; at++)
        at->op->found = probe_bucket(at->map, at->bucket, at->op->hash);
    for (typeof(end) at = probes; at < end; at++) {
        struct request_op *op = at->op;

        if (op->found &&
            (op->opcode != KVR_GET || !probe_block(core->arena, op->found, op->key, op->key_len)))
            op->found = NULL;
    }
}

/* As many of the next requests as have PROBES ops together, or a few more. */
static unsigned next_group(struct request *const *requests, unsigned n)
{
    unsigned nr = 0, ops = 0;

    while (nr < n && ops < PROBES)
        ops += requests[nr++]->nr_ops;
    return nr;
}

/* In order of priority, and of arrival within one. */
static void order_all(struct request **requests, unsigned n)
{
    struct request *ordered[BURST];
    unsigned mask = 0, nr = 0;

    for (unsigned i = 0; i < n; i++)
        mask |= 1u << requests[i]->hdr.priority;
    if (likely((mask & (mask - 1)) == 0))
        return;
    for (; mask != 0; mask &= mask - 1)
        for (unsigned i = 0; i < n; i++)
            if (requests[i]->hdr.priority == (unsigned)__builtin_ctz(mask))
                ordered[nr++] = requests[i];
    memcpy(requests, ordered, nr * sizeof(requests[0]));
}

static inline __attribute__((always_inline)) void
run_all(struct core *core, struct request *const *requests, unsigned n,
        void (*run)(struct core *core, struct request *request))
{
    for (unsigned at = 0, group; at < n; at += group) {
        group = next_group(requests + at, n - at);
        probe(core, requests + at, group);
        for (unsigned i = at; i < at + group; i++)
            run(core, requests[i]);
    }
}

static inline void run_new(struct core *core, struct request *request)
{
    if (unlikely(!get_single(core, request)))
        dispatch_new(core, request);
}

void engine_burst(struct core *core, struct request **requests, unsigned n)
{
    struct request *good[BURST];
    unsigned nr_good;

    if (n == 0)
        return;
    core->burst_ns = requests[0]->arrived_ns;
    nr_good = parse_all(core, requests, n, good);
    order_all(good, nr_good);
    run_all(core, good, nr_good, run_new);
    singles_count(core);
}

static bool take_over(struct core *core)
{
    struct request *requests[TAKE_OVER_MAX];
    unsigned ring = 0, n = 0;

    if (core->nr_cores == 1)
        return false;
    while (n < TAKE_OVER_MAX && (requests[n] = handoff_pop(core, &ring)) != NULL)
        n++;
    run_all(core, requests, n, dispatch_run);
    counter_add(&core->stats->handoff_in, n);
    return n > 0;
}

/* Oldest first; what must wait on goes to the end again. */
static bool retry_parked(struct core *core)
{
    unsigned n = core->nr_parked < RETRY_MAX ? core->nr_parked : RETRY_MAX;

    if (n == 0)
        return false;
    for (unsigned i = 0; i < n; i++) {
        struct request *request = core->parked;

        core->parked = request->next;
        if (!core->parked)
            core->parked_tail = &core->parked;
        core->nr_parked--;
        dispatch_run(core, request);
    }
    return true;
}

static bool expire(struct core *core)
{
    uint32_t keep_ms = core_session_keep_ms(core);
    unsigned uploads;
    bool any;

    if (core->now_ms == core->expired_ms)
        return false;
    core->expired_ms = core->now_ms;
    any = session_expire(core->sessions, core->now_ms, keep_ms);
    uploads = upload_expire(core->uploads, core->now_ms, core->now->upload_idle_ms);
    if (any)
        counter_set(&core->stats->sessions, session_count(core->sessions));
    if (uploads > 0) {
        counter_add(&core->stats->uploads_expired, uploads);
        counter_set(&core->stats->uploads, upload_count(core->uploads));
    }
    return any || uploads > 0;
}

bool engine_turn(struct core *core)
{
    bool any;

    core->train_budget = TRAIN_BUDGET;
    any = retry_parked(core);
    any |= take_over(core);
    if (core->local)
        any |= local_turn(core);
    for (unsigned p = core->index; p < core->nr_partitions; p += core->nr_cores)
        any |= partition_poll(core->partitions[p], core->now_ms);
    any |= expire(core);
    return any;
}
