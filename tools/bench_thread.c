/* SPDX-License-Identifier: Apache-2.0 */
/* One load thread of `kvrail bench`: depth slots, each with one operation in flight at most.
 * Closed loop: a free slot is used at once. Open loop: when the schedule says so. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/random.h"
#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/content.h"
#include "tools/schedule.h"

#define ROUNDS_MAX 64u /* of batches between two looks at the clock */

const char *const bench_op_names[BENCH_OPS] = {"get", "put", "del", "touch", "match", "ping"};

struct slot {
    struct kvr_call call;
    struct load *load;
    struct slot *next; /* free */
    enum bench_op op;
    bool filling;
    uint64_t id;        /* of the key */
    uint64_t queued_ns; /* from due to submitted */
    char *buffer;
    unsigned char *key_bytes; /* chain of them for MATCH */
    struct kvr_key *keys;
    struct kvr_view *views; /* of them */
};

struct load {
    struct bench_thread *thread;
    const struct bench_settings *settings;
    struct slot *slots, *free_slots;
    uint64_t nr_free, inflight, started, version;
    uint64_t sequence; /* of sequential and warming ids */
    uint64_t weights;
    struct rng rng;
    struct zipf zipf;
    struct schedule schedule;
};

static uint64_t next_id(struct load *l)
{
    const struct bench_settings *s = l->settings;

    if (l->thread->warming || s->dist == BENCH_SEQUENTIAL)
        return (l->thread->index + s->threads * l->sequence++) % s->keys;
    return s->dist == BENCH_ZIPF ? zipf_next(&l->zipf, &l->rng) : rng_below(&l->rng, s->keys);
}

static enum bench_op next_op(struct load *l)
{
    uint64_t at;

    if (l->thread->warming)
        return BENCH_PUT;
    at = rng_below(&l->rng, l->weights);
    for (unsigned op = 0; op < BENCH_OPS; op++) {
        if (at < l->settings->weights[op])
            return (enum bench_op)op;
        at -= l->settings->weights[op];
    }
    return BENCH_GET;
}

static void describe_put(struct load *l, struct slot *slot)
{
    size_t len = sizes_of(&l->settings->sizes, slot->id);

    slot->call.op = KVR_CALL_PUT;
    slot->call.value = slot->buffer;
    slot->call.value_len = len;
    slot->call.ttl_ms = (uint32_t)l->settings->ttl_ms;
    content_fill(slot->buffer, len, slot->id, l->version++);
}

static void describe_match(struct load *l, struct slot *slot)
{
    const struct bench_settings *s = l->settings;

    for (uint64_t i = 0; i < s->chain; i++) {
        unsigned char *key = slot->key_bytes + i * s->key_len;

        content_key(key, s->key_len, (slot->id + i) % s->keys, s->salt);
        slot->keys[i] = (struct kvr_key){key, (uint32_t)s->key_len};
    }
    slot->call.op = KVR_CALL_MATCH;
    slot->call.keys = slot->keys;
    slot->call.nr_keys = (uint32_t)s->chain;
}

static void describe_call(struct load *l, struct slot *slot)
{
    const struct bench_settings *s = l->settings;
    void *private_state = slot->call.private_state;
    void (*done)(struct kvr_call *) = slot->call.done;

    slot->call = (struct kvr_call){.done = done, .user = slot, .private_state = private_state};
    content_key(slot->key_bytes, s->key_len, slot->id, s->salt);
    slot->call.key = (struct kvr_key){slot->key_bytes, (uint32_t)s->key_len};
    switch (slot->op) {
    case BENCH_GET:
        slot->call.op = KVR_CALL_GET;
        slot->call.buffer = slot->buffer;
        slot->call.buffer_len = s->sizes.largest;
        break;
    case BENCH_PUT:
        describe_put(l, slot);
        break;
    case BENCH_DEL:
        slot->call.op = KVR_CALL_DEL;
        break;
    case BENCH_TOUCH:
        slot->call.op = KVR_CALL_TOUCH;
        slot->call.ttl_ms = (uint32_t)s->ttl_ms;
        break;
    case BENCH_MATCH:
        describe_match(l, slot);
        break;
    case BENCH_PING:
    case BENCH_OPS:
        slot->call.op = KVR_CALL_PING;
        break;
    }
}

/* One hit in place, or one miss. Held only for as long as its bytes are checked; the check does not
 * count as latency. */
static void look(struct load *l, struct slot *slot)
{
    struct bench_thread *t = l->thread;
    const struct bench_settings *s = l->settings;
    struct tally *tally = &t->tallies[BENCH_GET];
    uint64_t start_ns, spent_ns;
    struct kvr_view view;
    enum kvr_status status;

    content_key(slot->key_bytes, s->key_len, slot->id, s->salt);
    start_ns = clock_ns();
    status = kvr_get_view(t->client, slot->key_bytes, s->key_len, &view);
    if (status != KVR_OK) {
        tally_add(tally, status, slot->queued_ns + clock_ns() - start_ns, 0);
        return;
    }
    counter_add(&t->moved_in, view.len);
    spent_ns = 0;
    if (s->verify) {
        spent_ns = clock_ns() - start_ns;
        if (view.len != sizes_of(&s->sizes, slot->id) ||
            !content_check(view.data, view.len, slot->id, NULL))
            counter_add(&tally->corrupt, 1);
        start_ns = clock_ns();
    }
    kvr_release(t->client, &view, 1);
    tally_add(tally, KVR_OK, slot->queued_ns + spent_ns + clock_ns() - start_ns, view.len);
}

/* Likewise the stored start of a chain. Only holding counts as latency. */
static void look_along(struct load *l, struct slot *slot)
{
    struct bench_thread *t = l->thread;
    uint64_t start_ns;
    enum kvr_status status;
    uint32_t prefix;

    describe_match(l, slot);
    start_ns = clock_ns();
    status = kvr_match_views(t->client, slot->keys, slot->call.nr_keys, slot->views, &prefix);
    tally_add(&t->tallies[BENCH_MATCH], status, slot->queued_ns + clock_ns() - start_ns, 0);
    kvr_release(t->client, slot->views, prefix);
}

static bool looks(const struct load *l, const struct slot *slot)
{
    return l->settings->view && !l->thread->warming &&
           (slot->op == BENCH_GET || slot->op == BENCH_MATCH);
}

static void release(struct load *l, struct slot *slot)
{
    slot->next = l->free_slots;
    l->free_slots = slot;
    l->nr_free++;
}

static void submit(struct load *l, struct slot *slot)
{
    enum kvr_status status = kvr_submit(l->thread->client, &slot->call);

    if (status == KVR_OK) {
        l->inflight++;
        return;
    }
    tally_add(&l->thread->tallies[slot->op], status, 0, 0);
    release(l, slot);
}

/* Takes a free slot for the next operation, which was due queued_ns ago. */
static void start(struct load *l, uint64_t queued_ns)
{
    struct slot *slot = l->free_slots;

    l->free_slots = slot->next;
    l->nr_free--;
    l->started++;
    slot->op = next_op(l);
    slot->id = next_id(l);
    slot->filling = false;
    slot->queued_ns = queued_ns;
    if (looks(l, slot)) {
        if (slot->op == BENCH_GET)
            look(l, slot);
        else
            look_along(l, slot);
        release(l, slot);
        return;
    }
    describe_call(l, slot);
    submit(l, slot);
}

static void count_end(struct load *l, struct slot *slot)
{
    struct bench_thread *t = l->thread;
    const struct kvr_call *call = &slot->call;
    struct tally *tally = slot->filling ? &t->fills : &t->tallies[slot->op];
    uint64_t bytes = 0;

    if (call->status == KVR_OK && call->op == KVR_CALL_GET) {
        bytes = call->result_len;
        counter_add(&t->moved_in, bytes);
        if (l->settings->verify && (bytes != sizes_of(&l->settings->sizes, slot->id) ||
                                    !content_check(slot->buffer, bytes, slot->id, NULL)))
            counter_add(&tally->corrupt, 1);
    } else if (call->status == KVR_OK && call->op == KVR_CALL_PUT) {
        bytes = call->value_len;
        counter_add(&t->moved_out, bytes);
    }
    tally_add(tally, call->status, slot->queued_ns + call->latency_ns, bytes);
}

static void on_done(struct kvr_call *call)
{
    struct slot *slot = call->user;
    struct load *l = slot->load;

    l->inflight--;
    count_end(l, slot);
    if (l->settings->fill && call->status == KVR_MISS && slot->op == BENCH_GET && !slot->filling) {
        slot->filling = true;
        slot->queued_ns = 0;
        describe_put(l, slot);
        submit(l, slot);
        return;
    }
    release(l, slot);
}

static bool may_start(const struct load *l, uint64_t now)
{
    return l->started < l->thread->quota && now < l->thread->end_ns && !cli_interrupted();
}

static void closed_loop(struct load *l)
{
    uint64_t batch = l->settings->batch;

    while (may_start(l, clock_ns())) {
        /* What ends at once would go on for ever. */
        for (unsigned round = 0; round < ROUNDS_MAX && l->nr_free >= batch; round++)
            for (uint64_t i = 0; i < batch && l->started < l->thread->quota; i++)
                start(l, 0);
        if (l->inflight > 0)
            kvr_poll(l->thread->client, 100);
    }
}

/* Waits until then, or for answers: asleep while that is far or all slots are in use, else by
 * looking again and again. */
static void wait_until(struct load *l, uint64_t now, uint64_t then)
{
    struct kvr_client *client = l->thread->client;
    uint64_t left;

    if (then > l->thread->end_ns)
        then = l->thread->end_ns;
    left = then > now ? then - now : 0;
    if (l->nr_free < l->settings->batch)
        kvr_poll(client, 100);
    else if (l->inflight == 0 && left > 100 * NS_PER_US)
        cli_sleep_until(then - 60 * NS_PER_US);
    else if (l->inflight > 0 && left >= 2 * NS_PER_MS)
        kvr_poll(client, left > 100 * NS_PER_MS ? 100 : (int)(left / NS_PER_MS) - 1);
    else
        kvr_poll(client, 0);
}

static void open_loop(struct load *l)
{
    uint64_t batch = l->settings->batch, now;

    schedule_setup(&l->schedule, l->thread->start_ns,
                   (double)l->settings->rate / (double)l->settings->threads / (double)batch,
                   l->settings->poisson, l->settings->seed + l->thread->index);
    while (may_start(l, now = clock_ns())) {
        uint64_t due = schedule_due(&l->schedule);

        while (due <= now && l->nr_free >= batch && l->started < l->thread->quota) {
            for (uint64_t i = 0; i < batch; i++)
                start(l, now - due);
            schedule_advance(&l->schedule);
            due = schedule_due(&l->schedule);
        }
        wait_until(l, now, due);
    }
    while (schedule_due(&l->schedule) < l->thread->end_ns && l->started < l->thread->quota &&
           !cli_interrupted()) {
        l->thread->unstarted += batch;
        l->started += batch;
        schedule_advance(&l->schedule);
    }
}

static int create_slot(struct load *l, struct slot *slot)
{
    const struct bench_settings *s = l->settings;
    uint64_t keys = s->weights[BENCH_MATCH] ? s->chain : 1;

    slot->load = l;
    slot->call.done = on_done;
    slot->buffer = malloc(s->sizes.largest ? s->sizes.largest : 1);
    slot->key_bytes = malloc(keys * s->key_len);
    slot->keys = calloc(keys, sizeof(*slot->keys));
    slot->views = calloc(s->view ? keys : 1, sizeof(*slot->views));
    if (!slot->buffer || !slot->key_bytes || !slot->keys || !slot->views)
        return -ENOMEM;
    release(l, slot);
    return 0;
}

static void destroy_slots(struct load *l)
{
    for (uint64_t i = 0; l->slots && i < l->settings->depth; i++) {
        free(l->slots[i].buffer);
        free(l->slots[i].key_bytes);
        free(l->slots[i].keys);
        free(l->slots[i].views);
    }
    free(l->slots);
}

static int create_load(struct load *l, struct bench_thread *thread)
{
    const struct bench_settings *s = thread->settings;

    *l = (struct load){.thread = thread, .settings = s};
    l->slots = calloc(s->depth, sizeof(*l->slots));
    for (uint64_t i = 0; i < s->depth; i++)
        if (!l->slots || create_slot(l, &l->slots[i]))
            return -ENOMEM;
    for (unsigned op = 0; op < BENCH_OPS; op++)
        l->weights += s->weights[op];
    rng_seed(&l->rng, s->seed * 1000003 + thread->index);
    zipf_setup(&l->zipf, s->keys, s->exponent);
    l->version = (clock_ns() << 8 | thread->index) << 16;
    return 0;
}

void *bench_thread_run(void *arg)
{
    struct bench_thread *thread = arg;
    struct load load;

    thread->error = create_load(&load, thread);
    if (thread->error == 0) {
        if (thread->settings->rate && !thread->warming)
            open_loop(&load);
        else
            closed_loop(&load);
        while (load.inflight > 0)
            kvr_poll(thread->client, 100);
    }
    destroy_slots(&load);
    return NULL;
}
