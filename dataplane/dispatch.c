/* SPDX-License-Identifier: Apache-2.0 */
/* A request travels from owner to owner; each executes its own ops and answers them itself, so no
 * reply is put together across cores. Writes count once: the owner of hdr.partition admits their
 * seq, and only ops of that partition may write. */
#include "dataplane/dispatch.h"

#include "base/clock.h"
#include "dataplane/cookie.h"
#include "dataplane/handoff.h"
#include "dataplane/local/turn.h"
#include "dataplane/ops.h"
#include "dataplane/parse.h"
#include "dataplane/session.h"

#define DEADLINE_MAX_MS 60000u
#define RETRY_US 500u /* after BUSY */

static op_function *const functions[KVR_OPCODES] = {
    [KVR_HELLO] = op_hello,   [KVR_PING] = op_ping,       [KVR_GET] = op_get,
    [KVR_PUT] = op_put,       [KVR_RESERVE] = op_reserve, [KVR_WRITE] = op_write,
    [KVR_COMMIT] = op_commit, [KVR_ABORT] = op_abort,     [KVR_MATCH] = op_match,
    [KVR_DEL] = op_del,       [KVR_TOUCH] = op_touch,     [KVR_HINT] = op_hint,
    [KVR_STAT] = op_stat,     [KVR_PLACE] = op_place,     [KVR_SEAL] = op_seal,
    [KVR_DROP] = op_drop,     [KVR_STORE] = op_store,     [KVR_LOAD] = op_load,
    [KVR_SAVE] = op_save,     [KVR_LOOK] = op_look,       [KVR_RELEASE] = op_release,
};

static bool owns(const struct core *core, unsigned partition)
{
    return core->partitions[partition] != NULL;
}

static void release(struct core *core, struct request *request)
{
    struct transport *transport = request_transport(core, request);

    transport->ops->release(transport, request);
}

/* The longer, the more waits already. */
static uint32_t retry_us(const struct core *core)
{
    return RETRY_US * (1 + core->nr_parked * 4 / PARKED_MAX);
}

/* HELLO and PING are all that an unproven address may ask. */
static bool harmless(const struct request *request)
{
    for (unsigned i = 0; i < request->nr_ops; i++)
        if (request->ops[i].opcode != KVR_HELLO && request->ops[i].opcode != KVR_PING)
            return false;
    return true;
}

/* Answers the datagram as a whole: nothing of it that was not answered yet is executed, and what
 * its header says (floor) may not have been noted. */
static void refuse(struct core *core, struct request *request, enum kvr_status status,
                   enum drop_reason reason)
{
    note_drop(core, request, reason, request->ops[0].opcode);
    answer_header(core, request, status, status == KVR_BUSY ? retry_us(core) : 0);
    release(core, request);
}

static bool may_park(const struct request *request)
{
    return (request->kinds & (OPS_MUTATE | OPS_UPLOADS | 1u << KVR_GET)) != 0;
}

/* Answers BUSY when too much waits already, from the least important on. */
static bool shed(struct core *core, struct request *request)
{
    unsigned limit = request->hdr.priority >= KVR_LOW ? PARKED_MAX / 2 : PARKED_MAX;

    if (likely(core->nr_parked < limit) || !may_park(request))
        return false;
    counter_add(&core->stats->shed_busy, 1);
    refuse(core, request, KVR_BUSY, DROP_busy);
    return true;
}

static void set_deadline(const struct core *core, struct request *request)
{
    uint64_t left_ns = request->hdr.deadline_us * NS_PER_US;

    if (left_ns == 0)
        left_ns = core->now->deadline_default_ms * NS_PER_MS;
    if (left_ns > DEADLINE_MAX_MS * NS_PER_MS)
        left_ns = DEADLINE_MAX_MS * NS_PER_MS;
    request->deadline_ns = request->arrived_ns + left_ns;
}

/* From a client on this host: who it is needs no proof. */
static void new_local(struct core *core, struct request *request)
{
    enum kvr_status status = local_admit(core, request);

    request->proven = true;
    if (status != KVR_OK) {
        refuse(core, request, status,
               status == KVR_BUSY          ? DROP_busy
               : status == KVR_BAD_OP      ? DROP_bad_op
               : status == KVR_NEED_COOKIE ? DROP_no_cookie
                                           : DROP_bad_header);
        return;
    }
    set_deadline(core, request);
    dispatch_run(core, request);
}

void dispatch_new(struct core *core, struct request *request)
{
    request->next = NULL;
    request->session = NULL;
    request->parked = false;
    request->verdict = SEQ_NONE;
    if (unlikely(request->local)) {
        new_local(core, request);
        return;
    }
    request->proven = cookie_check(core, request);
    if (!request->proven && !harmless(request)) {
        refuse(core, request, KVR_NEED_COOKIE, DROP_no_cookie);
        return;
    }
    if (likely(request->plain && core->nr_parked == 0) && get_plain(core, request))
        return;
    if (unlikely((request->kinds & OPS_LOCAL) != 0)) {
        refuse(core, request, KVR_BAD_OP, DROP_bad_op);
        return;
    }
    set_deadline(core, request);
    if (!shed(core, request))
        dispatch_run(core, request);
}

/* The seq of a mutating datagram and the floor of one that names uploads, at the owner of
 * hdr.partition. */
static void admit(struct core *core, struct request *request)
{
    struct session_table *table;
    struct session *session;

    if (request->verdict != SEQ_NONE || !owns(core, request->hdr.partition))
        return;
    if (request->nr_mutations > 0) {
        table = request->local ? local_sessions(core, request) : core->sessions;
        request->verdict = (uint8_t)session_admit(table, &request->hdr, core->now_ms,
                                                  core_session_keep_ms(core), &session);
        request->session = session;
        counter_set(&core->stats->sessions, session_count(core->sessions));
    } else if ((request->kinds & OPS_UPLOADS) && request->hdr.seq != 0) {
        session = session_find(core->sessions, request->hdr.session, request->hdr.partition);
        session_refresh(core->sessions, session, request->hdr.floor, core->now_ms);
    }
}

/* A write that was executed before is answered as it was then. */
static int repeat(struct core *core, struct request *request, struct request_op *op,
                  struct answer *answer)
{
    enum kvr_status status = session_status(request->session, request->hdr.seq, op->mutation);
    struct kvr_put_rep rep = {0};
    struct kvr_load_rep loaded = {0};

    if (status != KVR_OK)
        return op_say(answer, op, status);
    switch (op->opcode) {
    case KVR_RESERVE:
        reserve_repeat(core, request, op, answer);
        break;
    case KVR_PLACE:
        place_repeat(core, request, op, answer);
        break;
    case KVR_SEAL:
        seal_repeat(op, answer);
        break;
    case KVR_LOOK:
        look_repeat(core, request, op, answer);
        break;
    case KVR_PUT:
    case KVR_STORE:
    case KVR_SAVE:
        answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
        break;
    case KVR_LOAD:
        answer_record(answer, op, KVR_OK, &loaded, sizeof(loaded));
        break;
    default:
        return op_say(answer, op, status);
    }
    return KVR_OK;
}

/* A device may still write for it: its answer is that this is over. */
static bool in_motion(const struct request_op *op)
{
    return op->state == OP_WAITING && (op->opcode == KVR_LOAD || op->opcode == KVR_SAVE);
}

static int run_op(struct core *core, struct request *request, struct request_op *op,
                  struct answer *answer)
{
    if (unlikely(core->now_ns > request->deadline_ns) && !in_motion(op))
        return op_say(answer, op, KVR_EXPIRED);
    return functions[op->opcode](core, request, op, answer);
}

static int run_mutation(struct core *core, struct request *request, struct request_op *op,
                        struct answer *answer)
{
    int status;

    switch (request->verdict) {
    case SEQ_FRESH:
        if (session_passed(request->session, request->hdr.seq)) /* while it was parked */
            status = op_say(answer, op, KVR_REPLAYED);
        else
            status = run_op(core, request, op, answer);
        if (status != OP_PARK)
            session_record(request->session, request->hdr.seq, op->mutation,
                           (enum kvr_status)status);
        return status;
    case SEQ_DONE:
        return repeat(core, request, op, answer);
    case SEQ_RUNNING:
        return KVR_OK; /* and no record: the first copy will be answered */
    default:
        return op_say(answer, op, KVR_REPLAYED);
    }
}

static int execute(struct core *core, struct request *request, struct request_op *op,
                   struct answer *answer)
{
    bool mutates = op_mutates(op->opcode);

    if ((mutates || op_uploads(op->opcode)) && op->partition != request->hdr.partition)
        return op_say(answer, op, KVR_BAD_FIELD);
    return mutates ? run_mutation(core, request, op, answer) : run_op(core, request, op, answer);
}

static void park(struct core *core, struct request *request)
{
    if (request->local) {
        local_park(core, request);
        return;
    }
    if (!request->parked)
        counter_add(&core->stats->parked, 1);
    request->parked = true;
    request->next = NULL;
    *core->parked_tail = request;
    core->parked_tail = &request->next;
    core->nr_parked++;
}

/* To the owner of the next op. */
static void pass_on(struct core *core, struct request *request)
{
    unsigned i = 0;

    while (request->ops[i].state == OP_DONE)
        i++;
    if (handoff_push(core, partition_owner(core, request->ops[i].partition), request)) {
        counter_add(&core->stats->handoff_out, 1);
        return;
    }
    counter_add(&core->stats->handoff_full, 1);
    refuse(core, request, KVR_BUSY, DROP_busy);
}

void dispatch_run(struct core *core, struct request *request)
{
    struct answer answer;
    bool waiting = false;

    admit(core, request);
    if (unlikely(request->verdict == SEQ_FULL)) {
        refuse(core, request, KVR_LIMIT, DROP_limit);
        return;
    }
    answer_begin(&answer, core, request);
    for (unsigned i = 0; i < request->nr_ops; i++) {
        struct request_op *op = &request->ops[i];

        if (op->state == OP_DONE || !owns(core, op->partition))
            continue;
        if (execute(core, request, op, &answer) == OP_PARK) {
            op->state = OP_WAITING;
            op->found = NULL; /* it may go before the next turn */
            waiting = true;
        } else {
            op->state = OP_DONE;
            request->nr_open--;
        }
    }
    if (unlikely(waiting)) {
        answer_end(&answer);
        park(core, request);
        return;
    }
    if (request->local)
        local_settle(core, request);
    if (request->session && request->verdict == SEQ_FRESH) {
        session_finish(request->session, request->hdr.seq);
        request->session = NULL;
        request->verdict = SEQ_DONE;
    }
    if (unlikely(request->nr_open > 0)) {
        answer_end(&answer);
        pass_on(core, request);
        return;
    }
    if (!answer_end(&answer))
        release(core, request);
}
