/* SPDX-License-Identifier: Apache-2.0 */
/* STORE: a value that lies in the client's staging is copied into a reserved block by the copy
 * worker, while its request waits. Runs on the partition's owner core. Invariant: a struct store is
 * in use from the reservation until its block is sealed or given up, and that happens only after
 * the worker has let go, whatever becomes of request and client. */
#include <string.h>

#include "dataplane/local/client.h"
#include "dataplane/local/turn.h"
#include "dataplane/ops.h"

static bool is_done(const struct store *store)
{
    /* Pairs with the release in copy.c: the copy and its CRC are complete. */
    return __atomic_load_n(&store->done, __ATOMIC_ACQUIRE) != 0;
}

static struct store *find_store(struct side *side, const struct request *request, uint8_t idx)
{
    for (unsigned i = 0; i < SIDE_STORES; i++)
        if (side->stores[i].used && side->stores[i].request == request &&
            side->stores[i].idx == idx)
            return &side->stores[i];
    return NULL;
}

static struct store *free_store(struct side *side)
{
    for (unsigned i = 0; i < SIDE_STORES; i++)
        if (!side->stores[i].used)
            return &side->stores[i];
    return NULL;
}

static void end_store(struct side *side, struct store *store)
{
    client_give(side->client, store->len);
    store->used = false;
    side->nr_stores--;
}

static int finish(struct core *core, struct side *side, struct store *store,
                  const struct request_op *op, struct answer *answer)
{
    struct partition *partition = core->partitions[store->partition];
    enum kvr_status status = KVR_CORRUPT;
    struct kvr_put_rep rep = {0};
    struct kvr_store_req req;

    memcpy(&req, op->record, sizeof(req));
    if (store->crc == req.value_crc)
        status = partition_seal(partition, store->block, store->crc, req.op.flags & KVR_PUT_ADD,
                                core->now_ms, &rep.ref);
    else
        partition_abort(partition, store->block);
    end_store(side, store);
    if (status != KVR_OK)
        return op_say(answer, op, status);
    counter_add(&core->stats->value_bytes_in, req.value_len);
    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
    return KVR_OK;
}

/* Memory for the value, and the work for the copy worker. */
static enum kvr_status begin(struct core *core, struct side *side, struct store *store,
                             const struct request *request, const struct request_op *op,
                             const struct kvr_store_req *req)
{
    struct partition *partition = core->partitions[op->partition];
    struct block_request wanted = {.key = op->key,
                                   .key_len = op->key_len,
                                   .hash = op->hash,
                                   .value_len = req->value_len,
                                   .ttl_ms = req->ttl_ms,
                                   .tenant = request->hdr.tenant,
                                   .layout = req->layout,
                                   .hint = req->hint};
    enum kvr_status status;
    uint32_t block;

    status = partition_reserve(partition, &wanted, core->now_ms, &block);
    if (status != KVR_OK)
        return status;
    *store = (struct store){.from = side->client->segment.staging + req->off,
                            .to = partition_value(partition, block),
                            .len = req->value_len,
                            .slot = side->client->slot,
                            .used = true,
                            .idx = (uint8_t)(op - request->ops),
                            .partition = op->partition,
                            .block = block,
                            .request = request};
    if (spsc_push(&((struct port *)core->local)->copies, (uint64_t)(uintptr_t)store)) {
        side->nr_stores++;
        return KVR_OK;
    }
    store->used = false;
    partition_abort(partition, block);
    return KVR_BUSY;
}

int op_store(struct core *core, struct request *request, struct request_op *op,
             struct answer *answer)
{
    struct side *side = request_side(core, request);
    struct store *store = NULL;
    struct kvr_store_req req;
    enum kvr_status status;
    uint64_t most;

    if (op->state == OP_WAITING)
        store = find_store(side, request, (uint8_t)(op - request->ops));
    if (store)
        return is_done(store) ? finish(core, side, store, op, answer) : OP_PARK;
    memcpy(&req, op->record, sizeof(req));
    if (req.value_len > KVR_VALUE_MAX)
        return op_say(answer, op, KVR_TOO_LARGE);
    if (req.off > side->client->segment.spec.staging_size ||
        req.value_len > side->client->segment.spec.staging_size - req.off)
        return op_say(answer, op, KVR_BAD_RANGE);
    if ((req.op.flags & KVR_PUT_ADD) && is_stored(core, op))
        return op_say(answer, op, KVR_EXISTS);
    store = free_store(side);
    if (!store)
        return OP_PARK;
    /* Alone, any value: otherwise a small pinned_max would forbid large ones for good. */
    most = side->client->spec.pinned_max;
    if (most < req.value_len)
        most = req.value_len;
    if (!client_take(side->client, req.value_len, most))
        return op_say(answer, op, KVR_LIMIT);
    status = begin(core, side, store, request, op, &req);
    if (status == KVR_OK)
        return OP_PARK;
    client_give(side->client, req.value_len);
    return status == KVR_BUSY ? OP_PARK : op_say(answer, op, status);
}

void local_settle(struct core *core, const struct request *request)
{
    struct side *side = request_side(core, request);

    if (side->nr_moves > 0)
        moves_settle(side, request);
    if (side->nr_stores == 0)
        return;
    for (unsigned i = 0; i < SIDE_STORES; i++)
        if (side->stores[i].used && side->stores[i].request == request)
            side->stores[i].request = NULL;
}

void stores_poll(struct core *core, struct side *side)
{
    for (unsigned i = 0; i < SIDE_STORES; i++) {
        struct store *store = &side->stores[i];

        if (!store->used || store->request || !is_done(store))
            continue;
        partition_abort(core->partitions[store->partition], store->block);
        end_store(side, store);
    }
}
