/* SPDX-License-Identifier: Apache-2.0 */
/* PLACE, SEAL, DROP: a client writes a value where it will lie. Runs on the partition's owner core.
 * Invariant: an entry with a reference is a reserved block with the client's mark, and nothing but
 * SEAL, DROP, another PLACE under its ticket and the client's end takes it away; a restart of this
 * process does not. */
#include <string.h>

#include "dataplane/local/client.h"
#include "dataplane/ops.h"
#include "shm/words.h"

static const struct block_desc *desc_at(const struct core *core, unsigned partition, uint32_t block)
{
    return &core->arena->maps[partition].descs[block];
}

static uint64_t ref_of(const struct core *core, unsigned partition, uint32_t block)
{
    return block_ref(desc_at(core, partition, block)->generation,
                     partition * core->arena->maps[partition].nr_blocks + block);
}

static void forget(struct core *core, struct side *side, struct place *place)
{
    client_give(side->client, place->value_len);
    place->ref = 0;
    counter_add(&core->stats->local_places, -1ull);
}

static void give_up(struct core *core, struct side *side, unsigned partition, struct place *place)
{
    partition_abort(core->partitions[partition], place->block);
    forget(core, side, place);
}

static void answer_place(const struct core *core, struct answer *answer,
                         const struct request_op *op, const struct place *place)
{
    const uint8_t *value = partition_value(core->partitions[op->partition], place->block);
    struct kvr_place_rep rep = {.ref = place->ref, .place = (uint64_t)(value - core->arena->data)};

    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
}

static void open_place(struct core *core, const struct request *request,
                       const struct request_op *op, struct place *place, uint32_t block, bool add)
{
    *place = (struct place){.ref = ref_of(core, op->partition, block),
                            .hash = op->hash,
                            .block = block,
                            .value_len = desc_at(core, op->partition, block)->value_len,
                            .seq = request->hdr.seq,
                            .idx = (uint8_t)(op - request->ops),
                            .add = add};
    counter_add(&core->stats->local_places, 1);
}

int op_place(struct core *core, struct request *request, struct request_op *op,
             struct answer *answer)
{
    struct side *side = request_side(core, request);
    const struct local_spec *spec = &side->client->spec;
    struct kvr_place_req req;
    struct block_request wanted;
    enum kvr_status status;
    struct place *place;
    uint32_t block;
    bool add;

    memcpy(&req, op->record, sizeof(req));
    add = req.op.flags & KVR_PUT_ADD;
    place = &side_ring(core, side, op->partition)->places[req.ticket];
    if (!spec->may_write)
        return op_say(answer, op, KVR_BAD_OP);
    if (place->ref != 0)
        give_up(core, side, op->partition, place);
    if (req.value_len > KVR_VALUE_MAX)
        return op_say(answer, op, KVR_TOO_LARGE);
    if (add && is_stored(core, op))
        return op_say(answer, op, KVR_EXISTS);
    if (!client_take(side->client, req.value_len, spec->pinned_max))
        return op_say(answer, op, KVR_LIMIT);
    wanted = (struct block_request){.key = op->key,
                                    .key_len = op->key_len,
                                    .hash = op->hash,
                                    .value_len = req.value_len,
                                    .ttl_ms = req.ttl_ms,
                                    .tenant = request->hdr.tenant,
                                    .layout = req.layout,
                                    .hint = req.hint,
                                    .mark = spec->id << 8 | (add ? MARK_ADD : 0) | req.ticket};
    status = partition_reserve(core->partitions[op->partition], &wanted, core->now_ms, &block);
    if (status != KVR_OK) {
        client_give(side->client, req.value_len);
        return status == KVR_BUSY ? OP_PARK : op_say(answer, op, status);
    }
    open_place(core, request, op, place, block, add);
    answer_place(core, answer, op, place);
    return KVR_OK;
}

void place_repeat(struct core *core, struct request *request, const struct request_op *op,
                  struct answer *answer)
{
    struct side *side = request_side(core, request);
    const struct place *place;
    struct kvr_place_req req;

    memcpy(&req, op->record, sizeof(req));
    place = &side_ring(core, side, op->partition)->places[req.ticket];
    if (place->ref != 0 && place->seq == request->hdr.seq &&
        place->idx == (uint8_t)(op - request->ops))
        answer_place(core, answer, op, place);
    else
        answer_bare(answer, op, KVR_NO_UPLOAD);
}

static int say_sealed(struct answer *answer, const struct request_op *op, uint64_t ref)
{
    struct kvr_put_rep rep = {.ref = ref};

    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
    return KVR_OK;
}

/* Whether the block was sealed so before: by a SEAL whose answer was lost in a restart. */
static bool sealed_before(const struct core *core, unsigned partition,
                          const struct kvr_seal_req *seal)
{
    uint32_t index = (uint32_t)seal->ref, nr_blocks = core->arena->maps[partition].nr_blocks;
    const struct block_desc *desc;

    if (index / nr_blocks != partition)
        return false;
    desc = desc_at(core, partition, index % nr_blocks);
    return desc->state == BLOCK_SEALED && desc->generation == (uint32_t)(seal->ref >> 32) &&
           desc->value_crc == seal->value_crc;
}

/* A long key lies behind the value, where the client could write. */
static bool key_intact(const struct core *core, unsigned partition, const struct place *place)
{
    const struct block_desc *desc = desc_at(core, partition, place->block);
    struct key_hash hash;

    if (desc->key_len <= KEY_INLINE)
        return true;
    hash = hash_key(desc_key(desc, core->arena->data), desc->key_len, core->arena->sb->seed);
    return hash.lo == place->hash.lo && hash.hi == place->hash.hi;
}

int op_seal(struct core *core, struct request *request, struct request_op *op,
            struct answer *answer)
{
    struct side *side = request_side(core, request);
    struct partition *partition = core->partitions[op->partition];
    struct kvr_seal_req seal;
    enum kvr_status status;
    struct place *place;
    uint64_t ref = 0;

    memcpy(&seal, op->record, sizeof(seal));
    place = &side_ring(core, side, op->partition)->places[seal.ticket];
    if (place->ref == 0 || place->ref != seal.ref) {
        if (sealed_before(core, op->partition, &seal))
            return say_sealed(answer, op, seal.ref);
        return op_say(answer, op, KVR_NO_UPLOAD);
    }
    if (!key_intact(core, op->partition, place)) {
        give_up(core, side, op->partition, place);
        return op_say(answer, op, KVR_CORRUPT);
    }
    status =
        partition_seal(partition, place->block, seal.value_crc, place->add, core->now_ms, &ref);
    if (status == KVR_OK)
        counter_add(&core->stats->value_bytes_in, place->value_len);
    forget(core, side, place);
    return status == KVR_OK ? say_sealed(answer, op, ref) : op_say(answer, op, status);
}

void seal_repeat(const struct request_op *op, struct answer *answer)
{
    struct kvr_seal_req seal;

    memcpy(&seal, op->record, sizeof(seal));
    (void)say_sealed(answer, op, seal.ref);
}

int op_drop(struct core *core, struct request *request, struct request_op *op,
            struct answer *answer)
{
    struct side *side = request_side(core, request);
    struct kvr_seal_req drop;
    struct place *place;

    memcpy(&drop, op->record, sizeof(drop));
    place = &side_ring(core, side, op->partition)->places[drop.ticket];
    if (place->ref == 0 || place->ref != drop.ref)
        return op_say(answer, op, KVR_NO_UPLOAD);
    give_up(core, side, op->partition, place);
    return op_say(answer, op, KVR_OK);
}

void places_drop(struct core *core, struct side *side)
{
    for (unsigned i = 0; i < side->nr_rings; i++)
        for (unsigned ticket = 0; ticket < KVR_TICKETS; ticket++)
            if (side->rings[i].places[ticket].ref != 0)
                give_up(core, side, ring_partition(core, i), &side->rings[i].places[ticket]);
}

/* The living client of a mark; NULL: there is none. */
static struct client *client_of_mark(const struct local *local, uint32_t mark)
{
    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++) {
        struct client *client = local->clients[slot];

        if (client && !client->why && client->spec.id == mark >> 8)
            return client;
    }
    return NULL;
}

bool local_keeps_reserved(void *local, uint32_t mark)
{
    const struct client *client = client_of_mark(local, mark);

    return client && client->spec.may_write && (mark & (MARK_ADD - 1)) < KVR_TICKETS;
}

/* False: the block is nobody's. */
static bool rebuild(struct port *port, unsigned number, uint32_t block, uint32_t mark)
{
    struct core *core = port->core;
    const struct block_desc *desc = desc_at(core, number, block);
    struct client *client = client_of_mark(port->local, mark);
    struct key_hash hash =
        hash_key(desc_key(desc, core->arena->data), desc->key_len, core->arena->sb->seed);
    struct place *place;

    if (!local_keeps_reserved(port->local, mark) ||
        hash_partition(hash, core->nr_partitions) != number)
        return false;
    place = &side_ring(core, client->sides[port->index], number)->places[mark & (MARK_ADD - 1)];
    if (place->ref != 0)
        return false;
    *place = (struct place){.ref = ref_of(core, number, block),
                            .hash = hash,
                            .block = block,
                            .value_len = desc->value_len,
                            .add = mark & MARK_ADD};
    /* Over the bound or not: it was granted. */
    __atomic_add_fetch(&client->taken, desc->value_len, __ATOMIC_RELAXED);
    counter_add(&core->stats->local_places, 1);
    return true;
}

void places_rebuild(struct port *port)
{
    struct core *core = port->core;

    for (unsigned p = core->index; p < core->nr_partitions; p += core->nr_cores) {
        uint32_t mark;

        for (uint32_t block = 0; partition_next_reserved(core->partitions[p], &block, &mark);
             block++)
            if (!rebuild(port, p, block, mark))
                partition_abort(core->partitions[p], block);
    }
}
