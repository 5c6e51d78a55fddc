/* SPDX-License-Identifier: Apache-2.0 */
/* An op ends once: by its record, by the header of its datagram, or by time. */
#include "tools/load/asker.h"

#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "tools/content.h"
#include "tools/load/chain.h"
#include "tools/load/upload.h"

#define WARM_TIMEOUT_NS (100 * NS_PER_MS)

static const uint8_t opcodes[BENCH_OPS] = {
    [BENCH_GET] = KVR_GET,     [BENCH_PUT] = KVR_PUT,     [BENCH_DEL] = KVR_DEL,
    [BENCH_TOUCH] = KVR_TOUCH, [BENCH_MATCH] = KVR_MATCH, [BENCH_PING] = KVR_PING,
};

int asker_create(struct asker *a, const struct load_settings *s, const struct draw_table *table,
                 const struct kvr_hello_rep *hello, uint32_t max_datagram, unsigned index)
{
    uint32_t depth = (uint32_t)s->bench.depth, ops = (uint32_t)s->bench.batch;
    int rc;

    if (s->bench.warm && ops < KVR_MUTATIONS_MAX)
        ops = KVR_MUTATIONS_MAX;

    memset(a, 0, sizeof(*a));
    compose_limits(s, max_datagram < hello->max_datagram ? max_datagram : hello->max_datagram,
                   &a->limits);
    a->settings = s;
    a->index = index;
    proof_setup(&a->proof, max_datagram);
    trains_setup(&a->trains, s->bench.sizes.largest, s->bench.verify);
    for (unsigned p = 0; p < KVR_PARTITIONS_MAX; p++)
        order_reset(&a->orders[p]);
    rc = flights_create(&a->flights, depth, ops, s->timeout_ns);
    if (rc)
        return rc;
    rc = chooser_create(&a->chooser, s, &a->limits, table, hello, index, depth * KVR_OPS_MAX);
    if (!rc)
        rc = composer_create(&a->composer, s, index);
    if (!rc)
        rc = jobs_create(&a->jobs, s, &a->limits, hello, &a->composer, a->orders);
    if (rc)
        asker_destroy(a);
    return rc;
}

void asker_destroy(struct asker *a)
{
    if (a->flights.places)
        asker_give_up(a, 0); /* gives trains back */
    flights_destroy(&a->flights);
    chooser_destroy(&a->chooser);
    composer_destroy(&a->composer);
    trains_teardown(&a->trains);
    jobs_destroy(&a->jobs);
}

static void set_timeout(struct asker *a, uint64_t timeout_ns)
{
    a->flights.timeout_ns = a->jobs.timeout_ns = timeout_ns;
}

void asker_warm(struct asker *a)
{
    a->warming = true;
    a->direct = false;
    a->blocked = NULL;
    set_timeout(a, WARM_TIMEOUT_NS);
    chooser_warm(&a->chooser, a->index, compose_puts(a->settings, &a->limits));
}

void asker_measure(struct asker *a, uint64_t quota)
{
    a->warming = false;
    a->blocked = NULL;
    a->started = 0;
    a->tx_datagrams = a->rx_datagrams = a->lost = a->late = 0;
    a->moved_in = a->moved_out = 0;
    a->jobs.lost = a->jobs.repeats = 0;
    set_timeout(a, a->settings->timeout_ns);
    chooser_measure(&a->chooser, quota);
    a->direct = !a->settings->hot && (a->settings->bench.batch == 1 ||
                                      (a->chooser.only == BENCH_GET && !a->chooser.gathers));
}

static struct flight *take_flight(struct asker *a, uint64_t due_ns, uint64_t now_ns)
{
    struct flight *flight = flights_take(&a->flights);

    flight->due_ns = due_ns;
    flight->sent_ns = now_ns;
    counter_add(&a->tx_datagrams, 1);
    return flight;
}

/* A full datagram of GETs, its keys written where they belong. */
static uint32_t next_gets(struct asker *a, struct flight *flight, uint8_t *bytes,
                          uint16_t *partition)
{
    const struct bench_settings *b = &a->settings->bench;
    const struct get_form *form = &a->composer.form;
    struct chooser *c = &a->chooser;
    unsigned nr = (unsigned)b->batch;

    build_gets(form, bytes);
    for (unsigned i = 0; i < nr; i++) {
        uint64_t id = draw_next(&c->draw);

        content_key(build_gets_key(form, bytes, i), b->key_len, id, b->salt);
        flight->ops[i].id = id;
        flight->ops[i].train = NULL;
        flight->ops[i].kind = BENCH_GET;
    }
    flight->nr_ops = (uint8_t)nr;
    flight->open = (uint32_t)((1ull << nr) - 1);
    flight->seq = 0;
    *partition =
        c->nr_partitions == 1
            ? 0
            : (uint16_t)hash_partition(
                  hash_key(build_gets_key(form, bytes, 0), b->key_len, c->seed), c->nr_partitions);
    flight->partition = *partition;
    c->left -= nr;
    c->kind = BENCH_OPS;
    a->started += nr;
    return build_gets_finish(form, flight->id, *partition, bytes);
}

static inline bool only_gets(struct asker *a)
{
    return a->direct && !a->blocked && a->chooser.left >= a->settings->bench.batch &&
           (a->chooser.only == BENCH_GET || chooser_kind(&a->chooser) == BENCH_GET);
}

uint32_t asker_next(struct asker *a, uint64_t due_ns, uint64_t now_ns, uint8_t *bytes,
                    uint16_t *partition)
{
    struct chosen *chosen;
    uint32_t len;

    if (likely(only_gets(a)))
        return next_gets(a, take_flight(a, due_ns, now_ns), bytes, partition);
    chosen = a->blocked ? a->blocked : chooser_next(&a->chooser);
    a->blocked = NULL;
    if (unlikely(!chosen))
        return 0;
    if (unlikely(compose_blocked(chosen, a->orders))) {
        a->blocked = chosen;
        return 0;
    }
    *partition = chosen->partition;
    a->started += chosen->nr;
    if (unlikely(chosen->alone)) {
        chosen->nr = 0;
        counter_add(&a->tx_datagrams, 1);
        return jobs_begin(&a->jobs, (enum bench_op)chosen->kinds[0], chosen->ids[0], due_ns, now_ns,
                          bytes, partition);
    }
    len = compose(&a->composer, chosen, a->chooser.stride, a->orders,
                  take_flight(a, due_ns, now_ns), bytes);
    chosen->nr = 0;
    return len;
}

uint32_t asker_hello(struct asker *a, uint64_t now_ns, uint8_t *bytes)
{
    if (likely(!proof_due(&a->proof, now_ns)))
        return 0;
    proof_hello(&a->proof, bytes, flights_id(&a->flights, FLIGHT_NONE), now_ns);
    return PROOF_HELLO_BYTES;
}

static void end_warm(struct asker *a, uint64_t id, enum kvr_status status, uint64_t latency_ns,
                     uint64_t bytes)
{
    switch (status) {
    case KVR_OK:
        tally_add(&a->warm, status, latency_ns, bytes);
        break;
    case KVR_TIMEOUT:
    case KVR_BUSY:
    case KVR_EXPIRED:
    case KVR_NEED_COOKIE:
    case KVR_REPLAYED:
    case KVR_NO_UPLOAD:
    case KVR_LIMIT:
        chooser_again(&a->chooser, id);
        break;
    default:
        a->warm_failed = status;
        break;
    }
}

static inline void end_op(struct asker *a, struct flight *flight, unsigned i,
                          enum kvr_status status, uint64_t now_ns, uint64_t bytes)
{
    struct flight_op *op = &flight->ops[i];
    uint64_t latency_ns = now_ns > flight->due_ns ? now_ns - flight->due_ns : 0;

    flight->open &= ~(1u << i);
    if (unlikely(op->train))
        train_end(&a->trains, &op->train);
    if (unlikely(a->warming))
        end_warm(a, op->id, status, latency_ns, bytes);
    else
        tally_add(&a->tallies[op->kind], status, latency_ns, bytes);
}

static inline void end_flight(struct asker *a, struct flight *flight, bool given_up)
{
    if (flight->seq)
        order_finish(&a->orders[flight->partition], flight->seq, given_up);
    flights_end(&a->flights, flight);
}

static void end_all(struct asker *a, struct flight *flight, enum kvr_status status, uint64_t now_ns)
{
    while (flight->open)
        end_op(a, flight, (unsigned)__builtin_ctz(flight->open), status, now_ns, 0);
    end_flight(a, flight, true);
}

static struct tally *tally_of(struct asker *a, const struct flight_op *op)
{
    return a->warming ? &a->warm : &a->tallies[op->kind];
}

/* ---- ops of several datagrams ------------------------------------------------------------- */

static void count_read_back(struct asker *a, const struct job *job)
{
    enum upload_verdict verdict = upload_verdict(job);

    if (verdict == UPLOAD_CORRUPT)
        counter_add(a->warming ? &a->warm.corrupt : &a->tallies[BENCH_PUT].corrupt, 1);
    a->proven += verdict == UPLOAD_PROVEN;
    a->overtaken += verdict == UPLOAD_OVERTAKEN;
    a->unread += verdict == UPLOAD_UNREAD;
}

static void count_chain(struct asker *a, const struct job *job)
{
    a->match_keys += a->settings->bench.chain;
    a->match_found += chain_prefix(job);
}

static void end_job(struct asker *a, const struct job *job, uint64_t now_ns)
{
    uint64_t latency_ns = now_ns > job->due_ns ? now_ns - job->due_ns : 0, bytes = 0;

    if (job->status == KVR_OK && job->op == BENCH_MATCH)
        count_chain(a, job);
    if (job->status == KVR_OK && job->op == BENCH_PUT)
        bytes = upload_bytes(job);
    a->moved_out += bytes;
    if (a->warming)
        end_warm(a, job->id, job->status, latency_ns, bytes);
    else
        tally_add(&a->tallies[job->op], job->status, latency_ns, bytes);
}

static void end_jobs(struct asker *a, uint64_t now_ns)
{
    struct job *job;

    while ((job = jobs_over(&a->jobs))) {
        bool put = job->op == BENCH_PUT;

        if (put && upload_is_reading(job)) {
            count_read_back(a, job);
            jobs_free(&a->jobs, job);
            continue;
        }
        end_job(a, job, now_ns);
        if (put && job->status == KVR_OK && a->settings->bench.verify)
            upload_read_back(&a->jobs, job);
        else
            jobs_free(&a->jobs, job);
    }
}

uint32_t asker_more(struct asker *a, uint64_t now_ns, uint8_t *bytes, uint16_t *partition)
{
    uint32_t len = jobs_next(&a->jobs, now_ns, bytes, partition);

    if (len > 0)
        counter_add(&a->tx_datagrams, 1);
    end_jobs(a, now_ns);
    return len;
}

/* ---- answers ------------------------------------------------------------------------------ */

static void verify(struct asker *a, const struct flight_op *op, const uint8_t *value, uint32_t len,
                   uint32_t crc)
{
    if (len != sizes_of(&a->settings->bench.sizes, op->id) || crc32c(0, value, len) != crc ||
        !content_check(value, len, op->id, NULL))
        counter_add(&tally_of(a, op)->corrupt, 1);
}

static void take_part(struct asker *a, struct flight *flight, unsigned i,
                      const struct kvr_get_rep *rep, uint64_t now_ns)
{
    struct flight_op *op = &flight->ops[i];
    enum train_state state = train_add(&a->trains, &op->train, rep);

    if (state == TRAIN_MORE)
        return;
    if (state == TRAIN_WHOLE && a->settings->bench.verify)
        verify(a, op, op->train->bytes, op->train->total, op->train->crc);
    if (state == TRAIN_WHOLE)
        a->moved_in += op->train->total;
    end_op(a, flight, i, state == TRAIN_WHOLE ? KVR_OK : KVR_PROTOCOL, now_ns,
           state == TRAIN_WHOLE ? op->train->total : 0);
}

static inline void take_get(struct asker *a, struct flight *flight, unsigned i,
                            const struct kvr_get_rep *rep, uint64_t now_ns)
{
    if (unlikely(rep->len != rep->value_len || flight->ops[i].train)) {
        take_part(a, flight, i, rep, now_ns);
        return;
    }
    if (a->settings->bench.verify)
        verify(a, &flight->ops[i], (const uint8_t *)(rep + 1), rep->len, rep->value_crc);
    a->moved_in += rep->len;
    end_op(a, flight, i, KVR_OK, now_ns, rep->len);
}

static void take_put(struct asker *a, struct flight *flight, unsigned i, uint64_t now_ns)
{
    uint32_t len = sizes_of(&a->settings->bench.sizes, flight->ops[i].id);

    a->moved_out += len;
    end_op(a, flight, i, KVR_OK, now_ns, len);
}

static void take_match(struct asker *a, struct flight *flight, unsigned i,
                       const struct kvr_match_rep *rep, uint64_t now_ns)
{
    bool fits = rep->nr_keys == a->settings->bench.chain;

    a->match_keys += rep->nr_keys;
    a->match_found += rep->prefix;
    end_op(a, flight, i, fits ? KVR_OK : KVR_PROTOCOL, now_ns, 0);
}

static void take_other(struct asker *a, struct flight *flight, unsigned i,
                       const struct kvr_op *record, uint64_t now_ns)
{
    const struct kvr_ping *ping = (const void *)record;

    switch (flight->ops[i].kind) {
    case BENCH_PUT:
        take_put(a, flight, i, now_ns);
        break;
    case BENCH_MATCH:
        take_match(a, flight, i, (const void *)record, now_ns);
        break;
    case BENCH_PING:
        end_op(a, flight, i, ping->token == flight->ops[i].id ? KVR_OK : KVR_PROTOCOL, now_ns, 0);
        break;
    default:
        end_op(a, flight, i, KVR_OK, now_ns, 0);
        break;
    }
}

static inline void take_record(struct asker *a, struct flight *flight, const struct kvr_op *record,
                               uint64_t now_ns)
{
    unsigned i = record->idx;

    if (unlikely(i >= flight->nr_ops || !(flight->open & 1u << i) ||
                 record->op != opcodes[flight->ops[i].kind])) {
        counter_add(&a->late, 1);
        return;
    }
    if (unlikely(record->status != KVR_OK))
        end_op(a, flight, i, (enum kvr_status)record->status, now_ns, 0);
    else if (likely(record->op == KVR_GET))
        take_get(a, flight, i, (const void *)record, now_ns);
    else
        take_other(a, flight, i, record, now_ns);
}

/* The server may be another one: then it knows nothing of what was written before. */
static void take_hello(struct asker *a, const struct checked_reply *reply)
{
    if (!proof_answer(&a->proof, reply)) {
        counter_add(&a->late, 1);
        return;
    }
    if (a->proof.boots > 0) {
        asker_give_up(a, a->answered_ns);
        proof_setup(&a->proof, a->proof.max_datagram);
        for (unsigned p = 0; p < KVR_PARTITIONS_MAX; p++)
            order_reset(&a->orders[p]);
        return;
    }
    composer_proof(&a->composer, &a->proof);
}

static void refused(struct asker *a, struct flight *flight, enum kvr_status status, uint64_t now_ns)
{
    if (status == KVR_NEED_COOKIE)
        proof_refused(&a->proof);
    end_all(a, flight, status, now_ns);
}

/* No datagram of a flight is answered by this. */
static void take_other_datagram(struct asker *a, const struct checked_reply *reply, uint64_t now_ns)
{
    uint32_t place = (uint32_t)reply->hdr.id & FLIGHT_NONE;

    if (place == FLIGHT_NONE) {
        take_hello(a, reply);
        return;
    }
    if (place == PART_QUIET && reply->hdr.session == a->proof.id)
        return; /* a refusal: COMMIT will name what is missing */
    if (reply->hdr.session != a->proof.id || !jobs_take(&a->jobs, reply)) {
        counter_add(&a->late, 1);
        return;
    }
    counter_add(&a->rx_datagrams, 1);
    a->answered_ns = now_ns;
    if (reply->hdr.status == KVR_NEED_COOKIE)
        proof_refused(&a->proof);
    end_jobs(a, now_ns);
}

void asker_take(struct asker *a, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
    struct checked_reply reply;
    struct flight *flight;

    if (unlikely(check_reply(bytes, len, &reply) != CHECK_OK)) {
        counter_add(&a->invalid, 1);
        return;
    }
    flight = flights_find(&a->flights, reply.hdr.id);
    if (unlikely(!flight || reply.hdr.session != a->proof.id)) {
        take_other_datagram(a, &reply, now_ns);
        return;
    }
    counter_add(&a->rx_datagrams, 1);
    a->answered_ns = now_ns;
    if (unlikely(reply.hdr.status != KVR_OK)) {
        refused(a, flight, (enum kvr_status)reply.hdr.status, now_ns);
        return;
    }
    if (flight->seq)
        order_heard(&a->orders[flight->partition], flight->floor);
    for (unsigned i = 0; i < reply.hdr.nr_ops; i++)
        take_record(a, flight, reply.records[i], now_ns);
    if (likely(!flight->open))
        end_flight(a, flight, false);
}

void asker_expire(struct asker *a, uint64_t now_ns)
{
    struct flight *flight;

    while (unlikely((flight = flights_overdue(&a->flights, now_ns)) != NULL)) {
        counter_add(&a->lost, 1);
        end_all(a, flight, KVR_TIMEOUT, now_ns);
    }
    if (likely(a->jobs.nr_busy == 0))
        return;
    jobs_expire(&a->jobs, now_ns);
    end_jobs(a, now_ns);
}

void asker_give_up(struct asker *a, uint64_t now_ns)
{
    for (uint32_t place = 0; place < a->flights.nr; place++)
        if (flights_at(&a->flights, place)->id)
            end_all(a, flights_at(&a->flights, place), KVR_TIMEOUT, now_ns);
    jobs_give_up(&a->jobs, KVR_TIMEOUT);
    end_jobs(a, now_ns);
}
