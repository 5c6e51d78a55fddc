/* SPDX-License-Identifier: Apache-2.0 */
/* One thread of `kvrail replay`. A request is MATCH, then its blocks in chain order, at most depth
 * of them in flight: what is stored is fetched (or touched), what is not is stored. A block that
 * was evicted in between, by the request's own PUTs too, is stored when its turn shows that. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "tools/cli.h"
#include "tools/content.h"
#include "tools/replay.h"

#define KEY_LEN 16u
#define LATE_NS (10 * NS_PER_MS)

struct slot {
    struct kvr_call call;
    struct player *player;
    struct slot *next; /* free */
    uint32_t block;    /* of the request */
    char *buffer;
};

struct player {
    struct replay_thread *thread;
    const struct replay_settings *settings;
    const struct trace_request *request;
    struct slot *slots, *free_slots;
    unsigned char (*key_bytes)[KEY_LEN];
    struct kvr_key *keys;
    struct kvr_match *matches;
    uint32_t room;        /* of keys, matches */
    uint32_t prefix;      /* blocks that MATCH found at the start of the chain */
    uint32_t first_lost;  /* first of them that could not be delivered, or prefix */
    uint32_t prefix_left; /* of them not yet answered */
    uint32_t inflight;
    uint64_t due_ns;
};

static int make_room(struct player *p, uint32_t nr)
{
    void *key_bytes, *keys, *matches;

    if (nr <= p->room)
        return 0;
    key_bytes = reallocarray(p->key_bytes, nr, sizeof(*p->key_bytes));
    if (key_bytes)
        p->key_bytes = key_bytes;
    keys = reallocarray(p->keys, nr, sizeof(*p->keys));
    if (keys)
        p->keys = keys;
    matches = reallocarray(p->matches, nr, sizeof(*p->matches));
    if (matches)
        p->matches = matches;
    if (!key_bytes || !keys || !matches)
        return -ENOMEM;
    p->room = nr;
    return 0;
}

static void name_blocks(struct player *p)
{
    for (uint32_t i = 0; i < p->request->nr_ids; i++) {
        content_key(p->key_bytes[i], KEY_LEN, p->request->ids[i], p->settings->salt);
        p->keys[i] = (struct kvr_key){p->key_bytes[i], KEY_LEN};
    }
}

/* Finds what is stored. Without an answer nothing is. */
static void match(struct player *p)
{
    struct kvr_call call = {.op = KVR_CALL_MATCH, .keys = p->keys, .matches = p->matches};

    call.nr_keys = p->request->nr_ids;
    memset(p->matches, 0, call.nr_keys * sizeof(*p->matches));
    kvr_do(p->thread->client, &call);
    tally_add(&p->thread->counts.match, call.status, call.latency_ns, 0);
    if (call.status != KVR_OK)
        memset(p->matches, 0, call.nr_keys * sizeof(*p->matches));
    p->prefix = call.status == KVR_OK ? call.prefix : 0;
    p->first_lost = p->prefix;
    p->prefix_left = p->prefix;
}

static void describe(struct player *p, struct slot *slot, enum kvr_call_op op)
{
    struct kvr_call *call = &slot->call;
    const struct replay_settings *s = p->settings;

    *call = (struct kvr_call){.op = op,
                              .key = p->keys[slot->block],
                              .done = call->done,
                              .user = slot,
                              .private_state = call->private_state,
                              .ttl_ms = (uint32_t)s->ttl_ms};
    if (op == KVR_CALL_GET) {
        call->buffer = slot->buffer;
        call->buffer_len = s->block_bytes;
    } else if (op == KVR_CALL_PUT) {
        content_fill(slot->buffer, s->block_bytes, p->request->ids[slot->block], 0);
        call->value = slot->buffer;
        call->value_len = s->block_bytes;
        if (s->hints && slot->block > 0)
            call->hint.parent =
                kvr_key_id(p->thread->client, p->key_bytes[slot->block - 1], KEY_LEN);
    }
}

static void release(struct player *p, struct slot *slot)
{
    slot->next = p->free_slots;
    p->free_slots = slot;
}

static void answered_prefix(struct player *p, uint32_t block, bool delivered)
{
    struct replay_counts *c = &p->thread->counts;

    if (!delivered && block < p->first_lost)
        p->first_lost = block;
    if (--p->prefix_left == 0)
        tally_add(&c->prefix, KVR_OK, clock_ns() - p->due_ns, p->prefix * p->settings->block_bytes);
}

static struct tally *tally_of(struct replay_counts *c, enum kvr_call_op op)
{
    return op == KVR_CALL_GET ? &c->get : op == KVR_CALL_PUT ? &c->put : &c->touch;
}

static void submit(struct player *p, struct slot *slot, enum kvr_call_op op)
{
    enum kvr_status status;

    describe(p, slot, op);
    status = kvr_submit(p->thread->client, &slot->call);
    if (status == KVR_OK) {
        p->inflight++;
        return;
    }
    tally_add(tally_of(&p->thread->counts, op), status, 0, 0);
    if (op == KVR_CALL_GET && slot->block < p->prefix)
        answered_prefix(p, slot->block, false);
    release(p, slot);
}

/* Counts the end of a GET; false if its bytes are not those that were stored. */
static bool check(struct player *p, const struct slot *slot)
{
    struct replay_counts *c = &p->thread->counts;
    const struct kvr_call *call = &slot->call;

    counter_add(&c->bytes_in, call->result_len);
    if (!p->settings->verify ||
        (call->result_len == p->settings->block_bytes &&
         content_check(slot->buffer, call->result_len, p->request->ids[slot->block], NULL)))
        return true;
    counter_add(&c->get.corrupt, 1);
    return false;
}

static void on_done(struct kvr_call *call)
{
    struct slot *slot = call->user;
    struct player *p = slot->player;
    struct replay_counts *c = &p->thread->counts;
    enum kvr_call_op op = call->op;
    bool good = call->status == KVR_OK, missed = call->status == KVR_MISS;
    uint64_t bytes = 0;

    p->inflight--;
    if (good && op == KVR_CALL_GET) {
        bytes = call->result_len;
        good = check(p, slot);
    } else if (good && op == KVR_CALL_PUT) {
        bytes = call->value_len;
        counter_add(&c->bytes_out, bytes);
    }
    tally_add(tally_of(c, op), call->status, call->latency_ns, bytes);
    if (op == KVR_CALL_GET && slot->block < p->prefix)
        answered_prefix(p, slot->block, good);
    if (missed && op != KVR_CALL_PUT)
        submit(p, slot, KVR_CALL_PUT);
    else
        release(p, slot);
}

static enum kvr_call_op op_for(const struct player *p, uint32_t block)
{
    if (block < p->prefix)
        return KVR_CALL_GET;
    if (!p->matches[block].present || p->settings->beyond == REPLAY_PUT)
        return KVR_CALL_PUT;
    return p->settings->beyond == REPLAY_GET ? KVR_CALL_GET : KVR_CALL_TOUCH;
}

static void play_blocks(struct player *p)
{
    uint32_t nr = p->request->nr_ids;

    for (uint32_t block = 0; block < nr || p->inflight > 0;) {
        while (block < nr && p->free_slots) {
            struct slot *slot = p->free_slots;

            p->free_slots = slot->next;
            slot->block = block;
            if (block >= p->prefix && p->matches[block].present)
                counter_add(&p->thread->counts.beyond, 1);
            submit(p, slot, op_for(p, block++));
        }
        if (p->inflight > 0)
            kvr_poll(p->thread->client, 100);
    }
}

static int play(struct player *p, const struct trace_request *request, uint64_t due_ns)
{
    struct replay_counts *c = &p->thread->counts;
    uint64_t bytes = request->nr_ids * p->settings->block_bytes;

    p->request = request;
    p->due_ns = due_ns;
    if (make_room(p, request->nr_ids))
        return -ENOMEM;
    if (request->nr_ids > 0) {
        name_blocks(p);
        match(p);
        play_blocks(p);
        counter_add(&c->hits, p->first_lost);
        counter_add(&c->lost, p->prefix - p->first_lost);
    }
    tally_add(&c->request, KVR_OK, clock_ns() - due_ns, bytes);
    counter_add(&c->blocks, request->nr_ids);
    counter_add(&c->requests, 1);
    return 0;
}

/* When the request is due; waits for that. */
static uint64_t wait_for(struct player *p, const struct trace_request *request)
{
    const struct replay_run *run = p->thread->run;
    uint64_t now = clock_ns(), due, first = run->trace->requests[0].timestamp_ms;
    uint64_t after_ms = request->timestamp_ms > first ? request->timestamp_ms - first : 0;

    if (p->settings->speed <= 0)
        return now;
    due = run->start_ns + (uint64_t)((double)after_ms * 1e6 / p->settings->speed);
    if (due > now)
        cli_sleep_until(due);
    else if (now - due > LATE_NS)
        counter_add(&p->thread->counts.late, 1);
    return due;
}

static int create_player(struct player *p, struct replay_thread *thread)
{
    const struct replay_settings *s = thread->run->settings;

    *p = (struct player){.thread = thread, .settings = s};
    p->slots = calloc(s->depth, sizeof(*p->slots));
    for (uint64_t i = 0; i < s->depth; i++) {
        struct slot *slot;

        if (!p->slots)
            return -ENOMEM;
        slot = &p->slots[i];
        slot->player = p;
        slot->call.done = on_done;
        slot->buffer = malloc(s->block_bytes);
        if (!slot->buffer)
            return -ENOMEM;
        release(p, slot);
    }
    return 0;
}

static void destroy_player(struct player *p)
{
    for (uint64_t i = 0; p->slots && i < p->settings->depth; i++)
        free(p->slots[i].buffer);
    free(p->slots);
    free(p->key_bytes);
    free(p->keys);
    free(p->matches);
}

void *replay_thread_run(void *arg)
{
    struct replay_thread *thread = arg;
    struct replay_run *run = thread->run;
    struct player player;

    thread->error = create_player(&player, thread);
    while (thread->error == 0 && !cli_interrupted()) {
        uint64_t at = __atomic_fetch_add(&run->cursor, 1, __ATOMIC_RELAXED);

        if (at >= run->trace->nr)
            break;
        const struct trace_request *request = &run->trace->requests[at];
        uint64_t due_ns = wait_for(&player, request);
        if (!cli_interrupted())
            thread->error = play(&player, request, due_ns);
    }
    destroy_player(&player);
    return NULL;
}
