/* SPDX-License-Identifier: Apache-2.0 */
/* LOAD and SAVE: a device moves a block between the arena and a region while its request waits.
 * Runs on the partition's owner core. Invariant: a struct move is in use from the pin or
 * reservation of its block until that ends, and it ends only after fleet and copy worker have let
 * go, whatever becomes of request and client; the answer comes after that. */
#include <string.h>

#include "dataplane/local/client.h"
#include "dataplane/local/tier.h"
#include "dataplane/local/turn.h"
#include "dataplane/ops.h"
#include "gpu/fleet.h"
#include "gpu/form.h"
#include "shm/index.h"

#define ALIGNMENT 16u /* of a block in its region */
#define POP_MAX 32u

static uint8_t index_of(const struct request *request, const struct request_op *op)
{
    return (uint8_t)(op - request->ops);
}

/* ---- Regions ---- */

/* The client's open region, which stays until region_give; NULL: there is none. */
static struct region *region_take(struct client *client, unsigned number)
{
    struct region *region = &client->regions[number];

    /* Pairs with local_region_drop: it sees the job, or this sees that the region closes. */
    __atomic_fetch_add(&region->jobs, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&region->state, __ATOMIC_SEQ_CST) == REGION_OPEN)
        return region;
    __atomic_fetch_sub(&region->jobs, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void region_give(struct region *region)
{
    /* Pairs with the look at jobs in local_regions_tick. */
    __atomic_fetch_sub(&region->jobs, 1, __ATOMIC_RELEASE);
}

/* What both say of the block's place and look in the region. */
struct wanted {
    struct kvr_form form;
    struct kvr_conversion conversion;
    uint64_t off, until_ns;
    uint32_t packed_len; /* out */
};

static enum kvr_status check(const struct core *core, const struct region *region,
                             struct wanted *wanted)
{
    uint64_t size = gpu_region_size(region->memory), span;

    if (!form_valid(&wanted->form, &wanted->conversion))
        return KVR_BAD_FIELD;
    wanted->packed_len = form_packed_len(&wanted->form, &wanted->conversion);
    span = form_span(&wanted->form);
    if (wanted->packed_len == 0)
        return KVR_TOO_LARGE;
    if (span == 0 || wanted->off % ALIGNMENT != 0 || wanted->off > size ||
        span > size - wanted->off)
        return KVR_BAD_RANGE;
    return core->now_ns > wanted->until_ns ? KVR_EXPIRED : KVR_OK;
}

/* ---- Life of a move ---- */

static struct move *free_move(struct side *side)
{
    for (unsigned i = 0; side->nr_moves < SIDE_MOVES && i < SIDE_MOVES; i++)
        if (side->moves[i].stage == MOVE_FREE)
            return &side->moves[i];
    return NULL;
}

static uint8_t *mark_of(const struct request *request, uint8_t idx)
{
    struct buffer *buffer = request->frame;

    return &buffer->moves[idx];
}

static struct move *move_of(struct side *side, const struct request *request,
                            const struct request_op *op)
{
    uint8_t mark = *mark_of(request, index_of(request, op));

    return mark ? &side->moves[mark - 1] : NULL;
}

static bool saves(const struct move *move)
{
    return move->job.direction == GPU_STORE;
}

static void push(struct port *port, struct move *move)
{
    if (move->stage != MOVE_READY || !gpu_push(port->local->fleet, port->index, &move->job))
        return;
    move->stage = MOVE_RUNS;
    port->nr_jobs++;
}

/* Fills in all that LOAD and SAVE have in common. */
static void begin(struct core *core, struct side *side, struct move *move,
                  const struct request *request, const struct request_op *op,
                  const struct wanted *wanted, struct region *region, uint32_t block)
{
    uint64_t deadline_ns =
        request->deadline_ns < wanted->until_ns ? request->deadline_ns : wanted->until_ns;

    move->job.priority = request->hdr.priority;
    move->job.device = GPU_ANY;
    move->job.deadline_ns = deadline_ns;
    move->job.owner = &side->client->owner;
    move->job.region = region->memory;
    move->job.region_off = wanted->off;
    move->job.near = partition_value(core->partitions[op->partition], block);
    move->job.near_len = wanted->packed_len;
    move->job.form = wanted->form;
    move->job.conversion = wanted->conversion;
    move->job.user = move;
    move->request = request;
    move->region = region;
    move->block = block;
    move->partition = op->partition;
    move->idx = index_of(request, op);
    move->stage = MOVE_READY;
    side->nr_moves++;
    *mark_of(request, move->idx) = (uint8_t)(move - side->moves + 1);
}

/* Lets go of the block, but of one that was sealed. */
static void end(struct core *core, struct side *side, struct move *move, bool sealed)
{
    struct partition *partition = core->partitions[move->partition];

    tier_leave((struct port *)core->local, move);
    if (!saves(move))
        partition_unpin(partition, move->block);
    else if (!sealed)
        partition_abort(partition, move->block);
    if (saves(move))
        client_give(side->client, move->job.near_len);
    if (move->request)
        *mark_of(move->request, move->idx) = 0;
    region_give(move->region);
    move->stage = MOVE_FREE;
    side->nr_moves--;
}

static bool summed(const struct move *move)
{
    /* Pairs with the release in copy.c: the CRC is complete. */
    return __atomic_load_n(&move->sum.done, __ATOMIC_ACQUIRE) != 0;
}

/* Whether nobody else has it, nor will have. */
static bool is_over(const struct move *move)
{
    if (move->stage == MOVE_SUMS)
        return summed(move);
    return move->stage == MOVE_ENDED && (!saves(move) || move->job.status != KVR_OK);
}

/* The bytes are there: their CRC32C is no poll core's work. */
static void sum(struct port *port, const struct side *side, struct move *move)
{
    move->sum = (struct store){
        .to = move->job.near, .len = move->job.near_len, .slot = side->client->slot, .used = true};
    if (spsc_push(&port->copies, (uint64_t)(uintptr_t)&move->sum))
        move->stage = MOVE_SUMS;
}

static void go_on(struct port *port, const struct side *side, struct move *move)
{
    push(port, move);
    if (move->stage == MOVE_ENDED && saves(move) && move->job.status == KVR_OK)
        sum(port, side, move);
}

/* What the wire can say. */
static enum kvr_status status_of(const struct gpu_job *job)
{
    return job->status > KVR_STATUS_WIRE_MAX ? KVR_INTERNAL : job->status;
}

/* How LOAD and SAVE differ. */
struct way {
    enum kvr_status (*begin)(struct core *core, const struct request *request,
                             const struct request_op *op, struct region *region);
    /* The move is over: ends it and answers. */
    int (*ended)(struct core *core, struct side *side, struct move *move,
                 const struct request_op *op, struct answer *answer);
};

/* One look at an op. number: of the region that the record names. */
static int go(struct core *core, struct request *request, struct request_op *op,
              struct answer *answer, const struct way *way, unsigned number)
{
    struct side *side = request_side(core, request);
    struct move *move = move_of(side, request, op);
    enum kvr_status status;
    struct region *region;

    if (move) {
        go_on((struct port *)core->local, side, move);
        return is_over(move) ? way->ended(core, side, move, op, answer) : OP_PARK;
    }
    region = region_take(side->client, number);
    if (!region)
        return op_say(answer, op, KVR_NO_REGION);
    status = way->begin(core, request, op, region);
    if (status == KVR_OK)
        return OP_PARK;
    region_give(region);
    return status == KVR_BUSY ? OP_PARK : op_say(answer, op, status);
}

/* ---- LOAD ---- */

static int loaded(struct core *core, struct side *side, struct move *move,
                  const struct request_op *op, struct answer *answer)
{
    const struct block_desc *desc = &core->arena->maps[op->partition].descs[move->block];
    uint32_t global = op->partition * core->arena->maps[op->partition].nr_blocks + move->block;
    struct kvr_load_rep rep = {.ref = block_ref(desc->generation, global),
                               .value_len = desc->value_len,
                               .value_crc = desc->value_crc,
                               .layout = desc->layout,
                               .tier = KVR_TIER_HOST};
    enum kvr_status status = status_of(&move->job);

    if (move->tier == MOVE_WAS_IN_POOL)
        rep.tier = KVR_TIER_GPU;
    end(core, side, move, false);
    if (status != KVR_OK)
        return op_say(answer, op, status);
    counter_add(&core->stats->pool_served, rep.tier == KVR_TIER_GPU);
    counter_add(&core->stats->value_bytes_out, rep.value_len);
    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
    return KVR_OK;
}

static enum kvr_status find_block(struct core *core, const struct request_op *op, uint64_t ref,
                                  uint32_t packed_len, struct block_view *view)
{
    if (!index_find(core->arena, op->partition, op->hash, op->key, op->key_len, core->now_ms,
                    view)) {
        counter_add(&core->stats->misses, 1);
        return KVR_MISS;
    }
    if (ref != 0 && ref != view->ref)
        return KVR_STALE;
    return view->value_len == packed_len ? KVR_OK : KVR_MISFIT;
}

static enum kvr_status begin_load(struct core *core, const struct request *request,
                                  const struct request_op *op, struct region *region)
{
    struct side *side = request_side(core, request);
    struct port *port = (struct port *)core->local;
    struct wanted wanted;
    enum kvr_status status;
    struct block_view view;
    struct kvr_load_req req;
    struct move *move;

    memcpy(&req, op->record, sizeof(req));
    wanted = (struct wanted){
        .form = req.form, .conversion = req.conversion, .off = req.off, .until_ns = req.until_ns};
    status = check(core, region, &wanted);
    if (status == KVR_OK && (uint32_t)req.first_layer + req.nr_layers > req.form.nr_layers)
        status = KVR_BAD_FIELD;
    if (status == KVR_OK)
        status = find_block(core, op, req.ref, wanted.packed_len, &view);
    if (status != KVR_OK)
        return status;
    move = free_move(side);
    if (!move)
        return KVR_BUSY;
    counter_add(&core->stats->hits, 1);
    partition_hit(core->partitions[op->partition], view.block);
    partition_pin(core->partitions[op->partition], view.block);
    *move = (struct move){.job = {.direction = GPU_LOAD,
                                  .first_layer = req.first_layer,
                                  .nr_layers = req.nr_layers,
                                  .by_layer = req.word != KVR_NO_WORD},
                          .token = req.token};
    if (req.word != KVR_NO_WORD)
        move->word = &side->client->segment.words[req.word];
    begin(core, side, move, request, op, &wanted, region, view.block);
    if (core->pool)
        tier_begin(port, move, &view);
    push(port, move);
    return KVR_OK;
}

int op_load(struct core *core, struct request *request, struct request_op *op,
            struct answer *answer)
{
    static const struct way load = {begin_load, loaded};
    struct kvr_load_req req;

    memcpy(&req, op->record, sizeof(req));
    return go(core, request, op, answer, &load, req.region);
}

/* ---- SAVE ---- */

static int saved(struct core *core, struct side *side, struct move *move,
                 const struct request_op *op, struct answer *answer)
{
    enum kvr_status status = status_of(&move->job);
    struct kvr_put_rep rep = {0};
    struct kvr_save_req req;

    memcpy(&req, op->record, sizeof(req));
    /* Whoever waited for it may have other bytes there since. */
    if (status == KVR_OK && core->now_ns > req.until_ns)
        status = KVR_EXPIRED;
    if (status != KVR_OK) {
        end(core, side, move, false);
        return op_say(answer, op, status);
    }
    status = partition_seal(core->partitions[op->partition], move->block, move->sum.crc,
                            req.op.flags & KVR_PUT_ADD, core->now_ms, &rep.ref);
    if (status == KVR_OK)
        counter_add(&core->stats->value_bytes_in, move->job.near_len);
    end(core, side, move, true); /* EXISTS: the reservation is gone as well */
    if (status != KVR_OK)
        return op_say(answer, op, status);
    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
    return KVR_OK;
}

static enum kvr_status reserve(struct core *core, const struct request *request,
                               const struct request_op *op, const struct kvr_save_req *req,
                               uint32_t len, uint32_t *block)
{
    struct block_request wanted = {.key = op->key,
                                   .key_len = op->key_len,
                                   .hash = op->hash,
                                   .value_len = len,
                                   .ttl_ms = req->ttl_ms,
                                   .tenant = request->hdr.tenant,
                                   .layout = req->layout,
                                   .hint = req->hint};

    return partition_reserve(core->partitions[op->partition], &wanted, core->now_ms, block);
}

static enum kvr_status begin_save(struct core *core, const struct request *request,
                                  const struct request_op *op, struct region *region)
{
    struct side *side = request_side(core, request);
    uint64_t most = side->client->spec.pinned_max;
    struct move *move = free_move(side);
    struct wanted wanted;
    enum kvr_status status;
    struct kvr_save_req req;
    uint32_t block;

    memcpy(&req, op->record, sizeof(req));
    wanted = (struct wanted){
        .form = req.form, .conversion = req.conversion, .off = req.off, .until_ns = req.until_ns};
    status = check(core, region, &wanted);
    if (status == KVR_OK && (req.op.flags & KVR_PUT_ADD) && is_stored(core, op))
        status = KVR_EXISTS;
    if (status != KVR_OK)
        return status;
    if (!move)
        return KVR_BUSY;
    /* Alone, any value: as a STORE. */
    if (most < wanted.packed_len)
        most = wanted.packed_len;
    if (!client_take(side->client, wanted.packed_len, most))
        return KVR_LIMIT;
    status = reserve(core, request, op, &req, wanted.packed_len, &block);
    if (status != KVR_OK) {
        client_give(side->client, wanted.packed_len);
        return status;
    }
    *move = (struct move){.job = {.direction = GPU_STORE}};
    begin(core, side, move, request, op, &wanted, region, block);
    push((struct port *)core->local, move);
    return KVR_OK;
}

int op_save(struct core *core, struct request *request, struct request_op *op,
            struct answer *answer)
{
    static const struct way save = {begin_save, saved};
    struct kvr_save_req req;

    memcpy(&req, op->record, sizeof(req));
    return go(core, request, op, answer, &save, req.region);
}

/* ---- A turn ---- */

void moves_take(struct port *port)
{
    struct gpu_job *jobs[POP_MAX];
    unsigned n = gpu_pop(port->local->fleet, port->index, jobs, POP_MAX);

    for (unsigned i = 0; i < n; i++) {
        struct move *move = jobs[i]->user;

        if (tier_take(port, jobs[i]))
            continue;
        if (move->tier != MOVE_FROM_POOL || tier_end(port, move))
            move->stage = MOVE_ENDED;
    }
    port->nr_jobs -= n;
    if (port->nr_jobs > 0 || n > 0)
        port->core->local_ns = port->core->now_ns;
}

static void tell_progress(struct move *move)
{
    /* Pairs with the fleet's release: the bytes of these layers are there. */
    uint32_t layers = __atomic_load_n(&move->job.layers_done, __ATOMIC_ACQUIRE);

    /* Done again, it begins with the first one again. */
    if (layers <= move->shown || !tier_holds(move))
        return;
    move->shown = layers;
    /* Pairs with the client's acquire. */
    __atomic_store_n(move->word, (uint64_t)move->token << 32 | layers, __ATOMIC_RELEASE);
}

void moves_poll(struct core *core, struct side *side)
{
    struct port *port = (struct port *)core->local;

    for (unsigned i = 0; i < SIDE_MOVES; i++) {
        struct move *move = &side->moves[i];

        if (move->stage == MOVE_FREE)
            continue;
        if (move->request) {
            if (move->word)
                tell_progress(move);
            if (move->stage == MOVE_ENDED)
                go_on(port, side, move);
        } else if (move->stage == MOVE_READY || move->stage == MOVE_ENDED || is_over(move)) {
            end(core, side, move, false);
        }
    }
}

void moves_settle(struct side *side, const struct request *request)
{
    for (unsigned i = 0; i < SIDE_MOVES; i++)
        if (side->moves[i].stage != MOVE_FREE && side->moves[i].request == request) {
            *mark_of(request, side->moves[i].idx) = 0;
            side->moves[i].request = NULL;
        }
}
