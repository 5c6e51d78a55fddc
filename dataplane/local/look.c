/* SPDX-License-Identifier: Apache-2.0 */
/* LOOK, RELEASE: a client reads copies in the core's pool where they lie, in memory that it has
 * imported (pool_export). Runs on the partition's owner core. Invariant: an entry with a pin is a
 * pin of the pool with the client's holder, and nothing but RELEASE, another LOOK under its ticket
 * and the client's end takes it away. */
#include <errno.h>
#include <string.h>

#include "dataplane/local/client.h"
#include "dataplane/ops.h"
#include "gpu/pool.h"
#include "shm/index.h"

/* 0 is the core's own (tier.c). */
static uint32_t holder_of(const struct side *side)
{
    return 1 + side->client->slot;
}

/* As pool_unpin. */
static int let_go(struct core *core, struct side *side, struct look *look)
{
    int rc = pool_unpin(core->pool, holder_of(side), look->pin);

    look->pin = 0;
    side->nr_looks--;
    return rc;
}

static enum kvr_status pin(struct core *core, const struct side *side, const struct request_op *op,
                           unsigned device, const struct block_view *view, struct pool_place *place)
{
    struct port *port = (struct port *)core->local;
    struct pool_block block = {.ref = view->ref,
                               .near =
                                   partition_value(core->partitions[op->partition], view->block),
                               .len = view->value_len,
                               .priority = KVR_LOW};
    int rc = pool_pin(core->pool, view->ref, (int)device, holder_of(side), place);

    if (rc == 0)
        return KVR_OK;
    if (rc == -ENOBUFS)
        return KVR_LIMIT;
    if (pool_hit(core->pool, (int)device, &block))
        port->nr_jobs++;
    return KVR_MISS;
}

static enum kvr_status find_copy(struct core *core, struct side *side, const struct request_op *op,
                                 const struct kvr_look_req *req, struct look *look)
{
    struct pool_place place;
    struct block_view view;
    enum kvr_status status;

    if (!index_find(core->arena, op->partition, op->hash, op->key, op->key_len, core->now_ms,
                    &view)) {
        counter_add(&core->stats->misses, 1);
        return KVR_MISS;
    }
    if (req->ref != 0 && req->ref != view.ref)
        return KVR_STALE;
    status = pin(core, side, op, req->device, &view, &place);
    if (status != KVR_OK)
        return status;
    counter_add(&core->stats->hits, 1);
    partition_hit(core->partitions[op->partition], view.block);
    look->pin = place.pin;
    look->rep = (struct kvr_look_rep){.ref = view.ref,
                                      .pin = place.pin,
                                      .offset = place.offset,
                                      .value_len = view.value_len,
                                      .value_crc = view.value_crc,
                                      .lost = place.lost,
                                      .core = (uint16_t)core->index,
                                      .device = (uint16_t)place.device,
                                      .layout = view.layout};
    side->nr_looks++;
    return KVR_OK;
}

static struct look *look_of(struct core *core, struct side *side, unsigned partition,
                            uint32_t ticket)
{
    return &side_ring(core, side, partition)->looks[ticket];
}

static void answer_look(struct answer *answer, const struct request_op *op, const struct look *look)
{
    struct kvr_look_rep rep = look->rep;

    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
}

int op_look(struct core *core, struct request *request, struct request_op *op,
            struct answer *answer)
{
    const struct port *port = (const struct port *)core->local;
    struct side *side = request_side(core, request);
    struct kvr_look_req req;
    enum kvr_status status;
    struct look *look;

    memcpy(&req, op->record, sizeof(req));
    /* What is imported can be written, too. */
    if (!side->client->spec.may_write)
        return op_say(answer, op, KVR_BAD_OP);
    look = look_of(core, side, op->partition, req.ticket);
    if (look->pin != 0)
        (void)let_go(core, side, look);
    if (!core->pool || req.device >= gpu_fleet_size(port->local->fleet))
        return op_say(answer, op, KVR_BAD_FIELD);
    if (side->nr_looks >= LOCAL_LOOKS_MAX)
        return op_say(answer, op, KVR_LIMIT);
    status = find_copy(core, side, op, &req, look);
    if (status != KVR_OK)
        return op_say(answer, op, status);
    look->seq = request->hdr.seq;
    look->idx = (uint8_t)(op - request->ops);
    answer_look(answer, op, look);
    return KVR_OK;
}

void look_repeat(struct core *core, struct request *request, const struct request_op *op,
                 struct answer *answer)
{
    const struct look *look;
    struct kvr_look_req req;

    memcpy(&req, op->record, sizeof(req));
    look = look_of(core, request_side(core, request), op->partition, req.ticket);
    if (look->pin != 0 && look->seq == request->hdr.seq &&
        look->idx == (uint8_t)(op - request->ops))
        answer_look(answer, op, look);
    else
        answer_bare(answer, op, KVR_NO_UPLOAD);
}

int op_release(struct core *core, struct request *request, struct request_op *op,
               struct answer *answer)
{
    struct side *side = request_side(core, request);
    struct kvr_seal_req req;
    struct look *look;

    memcpy(&req, op->record, sizeof(req));
    look = look_of(core, side, op->partition, req.ticket);
    if (look->pin == 0 || look->pin != req.ref)
        return op_say(answer, op, KVR_NO_UPLOAD);
    /* The device failed meanwhile: what was read from there may be anything. */
    return op_say(answer, op, let_go(core, side, look) == 0 ? KVR_OK : KVR_INTERNAL);
}

void looks_drop(struct core *core, struct side *side)
{
    if (side->nr_looks == 0)
        return;
    (void)pool_release(core->pool, holder_of(side));
    side->nr_looks = 0;
    for (unsigned i = 0; i < side->nr_rings; i++)
        for (unsigned ticket = 0; ticket < KVR_TICKETS; ticket++)
            side->rings[i].looks[ticket].pin = 0;
}
