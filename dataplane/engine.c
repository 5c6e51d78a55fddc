/* SPDX-License-Identifier: Apache-2.0 */
/* What a core does with a burst and in the rest of a turn. A burst goes through each stage as a
 * whole, so that the cache misses of its lookups overlap. */
#include <limits.h>
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

/* A lookup ahead of its turn. */
struct probe {
    struct request_op *op;
    const struct part_map *map;
    union {
        const struct bucket *bucket;   /* until probe_found has read it */
        const struct block_desc *desc; /* from then on; NULL: none has the tag */
    };
};

/* Those under way together; there is room for another request's while there are fewer than PROBES.
 */
struct probes {
    struct probe list[PROBES + KVR_OPS_MAX];
};

/* Begins the lookup of an op, if it has a key and this core owns it. Returns where the next one's
 * goes. */
static inline struct probe *probe_op(const struct core *core, struct request_op *op,
                                     struct probe *at)
{
    unsigned partition = op->partition;
    const struct part_map *map = &core->arena->maps[partition];

    if (unlikely(!core->partitions[partition]))
        return at;
    at->bucket = probe_ahead(map, op->hash);
    at->map = map;
    at->op = op;
    return at + 1;
}

static inline struct probe *probe_start(const struct core *core, struct request *request,
                                        struct probe *at)
{
    struct request_op *op = request->ops, *end = op + request->nr_ops;

    if (likely(request->single))
        return probe_op(core, op, at);
    for (; op < end; op++)
        if (likely(op->key != NULL))
            at = probe_op(core, op, at);
    return at;
}

/* Ends them: op->found is the key's block, where it was found. */
static void probe_end(const struct core *core, struct probe *list, const struct probe *end)
{
    const struct arena *arena = core->arena;

    for (struct probe *at = list; at < end; at++)
        at->desc = probe_bucket(at->map, at->bucket, at->op->hash);
    for (struct probe *at = list; at < end; at++) {
        struct request_op *op = at->op;

        if (likely(at->desc && op->opcode == KVR_GET) &&
            likely(probe_block(arena, at->desc, op->key, op->key_len)))
            op->found = at->desc;
    }
}

/* A burst's requests that are to be executed. */
struct batch {
    struct request *list[BURST];
    unsigned nr;
    bool same_priority;
    struct probes probes;
    struct probe *probes_end; /* of those begun while parsing; NULL: not all were */
};

/* Answers or drops what parse found wrong. */
static __attribute__((noinline)) void turn_away(struct core *core, struct request *request,
                                                enum parse_verdict verdict,
                                                const struct parse_fault *fault)
{
    struct transport *transport = request_transport(core, request);

    note_drop(core, request, fault->reason, verdict == PARSE_REFUSE ? fault->opcode : 0);
    if (verdict == PARSE_REFUSE)
        answer_header(core, request, fault->status, 0);
    transport->ops->release(transport, request);
}

static inline void parse_all(struct core *core, struct request **requests, unsigned n,
                             struct batch *batch)
{
    const struct parse_env env = {.seed = core->arena->sb->seed,
                                  .nr_partitions = core->nr_partitions,
                                  .own_partition = (uint16_t)core->index};
    struct probe *at = batch->probes.list, *full = at + PROBES;
    unsigned nr = 0, any = 0, all = UINT_MAX;
    uint64_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        struct request *request = requests[i];
        struct parse_fault fault;
        enum parse_verdict verdict;

        bytes += request->len;
        verdict = parse_request(&env, request, &fault);
        if (unlikely(verdict != PARSE_OK)) {
            turn_away(core, request, verdict, &fault);
            continue;
        }
        batch->list[nr++] = request;
        any |= request->hdr.priority;
        all &= request->hdr.priority;
        if (likely(at < full))
            at = probe_start(core, request, at);
    }
    batch->nr = nr;
    batch->same_priority = nr == 0 || any == all;
    batch->probes_end = at < full ? at : NULL;
    counter_add(&core->stats->rx_datagrams, n);
    counter_add(&core->stats->rx_bytes, bytes);
}

/* In order of priority, and of arrival within one. */
static void order_all(struct batch *batch)
{
    struct request *ordered[BURST];
    unsigned nr = 0;

    for (unsigned priority = 0; priority < KVR_PRIORITIES; priority++)
        for (unsigned i = 0; i < batch->nr; i++)
            if (batch->list[i]->hdr.priority == priority)
                ordered[nr++] = batch->list[i];
    memcpy(batch->list, ordered, nr * sizeof(ordered[0]));
}

/* Lookups and execution, some requests after the others: as many as have PROBES ops together, or a
 * few more. */
static inline __attribute__((always_inline)) void
run_groups(struct core *core, struct request *const *requests, unsigned n, struct probes *probes,
           void (*run)(struct core *core, struct request *request))
{
    for (unsigned at = 0, to = 0; at < n; at = to) {
        struct probe *end = probes->list;

        while (to < n && end < probes->list + PROBES)
            end = probe_start(core, requests[to++], end);
        probe_end(core, probes->list, end);
        for (unsigned i = at; i < to; i++)
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
    struct batch batch;

    if (n == 0)
        return;
    core->burst_ns = requests[0]->arrived_ns;
    parse_all(core, requests, n, &batch);
    if (unlikely(!batch.same_priority))
        order_all(&batch);
    if (likely(batch.probes_end)) {
        probe_end(core, batch.probes.list, batch.probes_end);
        for (unsigned i = 0; i < batch.nr; i++)
            run_new(core, batch.list[i]);
    } else {
        run_groups(core, batch.list, batch.nr, &batch.probes, run_new);
    }
    singles_count(core);
}

static bool take_over(struct core *core)
{
    struct request *requests[TAKE_OVER_MAX];
    struct probes probes;
    unsigned ring = 0, n = 0;

    if (core->nr_cores == 1)
        return false;
    while (n < TAKE_OVER_MAX && (requests[n] = handoff_pop(core, &ring)) != NULL)
        n++;
    run_groups(core, requests, n, &probes, dispatch_run);
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
