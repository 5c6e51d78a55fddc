/* SPDX-License-Identifier: Apache-2.0 */
/* The ops of near_server that come by ring, over a real partition. No session: the client's own
 * order is all that the tests need. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "client/build.h"
#include "near_server.h"
#include "shm/words.h"

struct turn {
    struct near_server *near;
    struct segment *segment;
    struct kvr_hdr hdr;
    _Alignas(8) uint8_t request[SEGMENT_MESSAGE_MAX], reply[SEGMENT_MESSAGE_MAX];
    uint32_t reply_len;
    uint8_t nr_ops;
};

static void *say(struct turn *turn, const struct kvr_op *op, enum kvr_status status, uint32_t size)
{
    struct kvr_op *record = (struct kvr_op *)(void *)(turn->reply + turn->reply_len);

    memset(record, 0, size);
    *record = (struct kvr_op){
        .op = op->op, .idx = op->idx, .status = (uint8_t)status, .size = (uint16_t)size};
    turn->reply_len += size;
    turn->nr_ops++;
    return record;
}

static void refuse(struct turn *turn, const struct kvr_op *op, enum kvr_status status)
{
    say(turn, op, status, sizeof(*op));
}

static void say_ref(struct turn *turn, const struct kvr_op *op, enum kvr_status status,
                    uint64_t ref)
{
    if (status == KVR_OK)
        ((struct kvr_put_rep *)say(turn, op, status, sizeof(struct kvr_put_rep)))->ref = ref;
    else
        refuse(turn, op, status);
}

static struct key_hash hash_of(const struct turn *turn, const void *key, uint32_t len)
{
    return hash_key(key, len, turn->near->arena.sb->seed);
}

static enum kvr_status reserve(struct turn *turn, const struct kvr_op *op, const void *key,
                               uint32_t value_len, uint32_t ttl_ms, uint16_t layout, uint32_t mark,
                               uint32_t *block)
{
    struct block_request request = {.key = key,
                                    .key_len = op->key_len,
                                    .hash = hash_of(turn, key, op->key_len),
                                    .value_len = value_len,
                                    .ttl_ms = ttl_ms,
                                    .layout = layout,
                                    .mark = mark};

    partition_poll(turn->near->partition, near_ms(turn->near));
    return partition_reserve(turn->near->partition, &request, near_ms(turn->near), block);
}

/* Copies and seals. */
static void store(struct turn *turn, const struct kvr_op *op, enum kvr_status status,
                  uint32_t block, const void *value, uint32_t len, uint32_t crc)
{
    uint64_t ref = 0;

    if (status == KVR_OK) {
        memcpy(partition_value(turn->near->partition, block), value, len);
        if (crc32c(0, partition_value(turn->near->partition, block), len) != crc) {
            partition_abort(turn->near->partition, block);
            status = KVR_CORRUPT;
        } else {
            status = partition_seal(turn->near->partition, block, crc, op->flags & KVR_PUT_ADD,
                                    near_ms(turn->near), &ref);
        }
    }
    say_ref(turn, op, status, ref);
}

static void put(struct turn *turn, const struct kvr_op *op)
{
    const struct kvr_put_req *req = (const void *)op;
    const uint8_t *key = (const uint8_t *)(req + 1);
    uint32_t block = 0;
    enum kvr_status status =
        reserve(turn, op, key, req->value_len, req->ttl_ms, req->layout, 0, &block);

    store(turn, op, status, block, key + pad8(op->key_len), req->value_len, req->value_crc);
}

static void store_staged(struct turn *turn, const struct kvr_op *op)
{
    const struct kvr_store_req *req = (const void *)op;
    uint32_t block = 0;
    enum kvr_status status;

    cr_assert_leq(req->off + req->value_len, turn->segment->spec.staging_size);
    status = reserve(turn, op, req + 1, req->value_len, req->ttl_ms, req->layout, 0, &block);
    store(turn, op, status, block, turn->segment->staging + req->off, req->value_len,
          req->value_crc);
}

static void place(struct turn *turn, const struct kvr_op *op)
{
    const struct kvr_place_req *req = (const void *)op;
    struct near_server *near = turn->near;
    struct near_place *place = NULL;
    struct kvr_place_rep *rep;
    enum kvr_status status;
    uint32_t block = 0;

    for (unsigned i = 0; i < NEAR_PLACES; i++) {
        if (near->places[i].open && near->places[i].segment == turn->segment &&
            near->places[i].ticket == req->ticket) {
            partition_abort(near->partition, near->places[i].block);
            near->places[i].open = false;
        }
        if (!near->places[i].open)
            place = &near->places[i];
    }
    status = place ? reserve(turn, op, req + 1, req->value_len, req->ttl_ms, req->layout,
                             near_mark(near, turn->segment, req->ticket), &block)
                   : KVR_LIMIT;
    if (status != KVR_OK) {
        refuse(turn, op, status);
        return;
    }
    *place =
        (struct near_place){.segment = turn->segment,
                            .block = block,
                            .len = req->value_len,
                            .ticket = req->ticket,
                            .ref = block_ref(near->arena.maps[0].descs[block].generation, block),
                            .open = true};
    rep = say(turn, op, KVR_OK, sizeof(*rep));
    rep->ref = place->ref;
    rep->place = (uint64_t)(partition_value(near->partition, block) - near->arena.data);
}

static void end_place(struct turn *turn, const struct kvr_op *op)
{
    const struct kvr_seal_req *req = (const void *)op;
    struct near_server *near = turn->near;
    enum kvr_status status = KVR_NO_UPLOAD;
    uint64_t ref = 0;

    for (unsigned i = 0; i < NEAR_PLACES; i++) {
        struct near_place *place = &near->places[i];

        if (!place->open || place->segment != turn->segment || place->ticket != req->ticket ||
            place->ref != req->ref)
            continue;
        place->open = false;
        status = KVR_OK;
        if (op->op == KVR_SEAL)
            status = partition_seal(near->partition, place->block, req->value_crc, false,
                                    near_ms(near), &ref);
        else
            partition_abort(near->partition, place->block);
    }
    if (op->op == KVR_SEAL)
        say_ref(turn, op, status, ref);
    else
        refuse(turn, op, status);
}

static void get_meta(struct turn *turn, const struct kvr_op *op)
{
    const struct kvr_get_req *req = (const void *)op;
    struct kvr_get_rep *rep;
    struct block_view block;

    if (!index_find(&turn->near->arena, 0, hash_of(turn, req + 1, op->key_len), req + 1,
                    op->key_len, near_ms(turn->near), &block)) {
        refuse(turn, op, KVR_MISS);
        return;
    }
    cr_assert(op->flags & KVR_GET_META, "the bytes are at hand");
    rep = say(turn, op, KVR_OK, sizeof(*rep));
    rep->value_len = rep->view_len = block.value_len;
    rep->value_crc = block.value_crc;
    rep->ref = block.ref;
    rep->tier = KVR_TIER_HOST;
    rep->pinned =
        partition_lease(turn->near->partition, block.block, req->lease_ms, near_ms(turn->near));
}

static void hello(struct turn *turn, const struct kvr_op *op)
{
    const struct superblock *sb = turn->near->arena.sb;
    struct kvr_hello_rep *rep = say(turn, op, KVR_OK, sizeof(*rep));
    struct kvr_op head = rep->op;

    *rep = (struct kvr_hello_rep){.op = head,
                                  .version = KVR_VERSION,
                                  .nr_partitions = (uint16_t)sb->nr_partitions,
                                  .max_ops = KVR_OPS_MAX,
                                  .max_datagram = KVR_DATAGRAM_MAX,
                                  .max_value = KVR_VALUE_MAX,
                                  .train_max = 65536,
                                  .cookie_ms = 60000,
                                  .seed = sb->seed,
                                  .boot = turn->near->boot,
                                  .arena = sb->arena_id};
}

static void del(struct turn *turn, const struct kvr_op *op)
{
    const struct kvr_key_req *req = (const void *)op;

    refuse(turn, op,
           partition_del(turn->near->partition, hash_of(turn, req + 1, op->key_len), req + 1,
                         op->key_len, req->ref, near_ms(turn->near)));
}

static void look(struct turn *turn, const struct kvr_op *op)
{
    struct kvr_look_rep *rep;

    if (turn->near->look.pin == 0) {
        refuse(turn, op, KVR_MISS);
        return;
    }
    rep = say(turn, op, KVR_OK, sizeof(*rep));
    turn->near->look.op = rep->op;
    *rep = turn->near->look;
}

static void answer_op(struct turn *turn, const struct kvr_op *op)
{
    cr_assert_lt(op->op, KVR_OPCODES);
    turn->near->nr_seen[op->op]++;
    switch (op->op) {
    case KVR_HELLO:
        hello(turn, op);
        break;
    case KVR_PING:
        ((struct kvr_ping *)say(turn, op, KVR_OK, sizeof(struct kvr_ping)))->token =
            ((const struct kvr_ping *)(const void *)op)->token;
        break;
    case KVR_STAT:
        say(turn, op, KVR_OK, sizeof(struct kvr_stat_rep));
        break;
    case KVR_GET:
        get_meta(turn, op);
        break;
    case KVR_PUT:
        put(turn, op);
        break;
    case KVR_DEL:
        del(turn, op);
        break;
    case KVR_PLACE:
        place(turn, op);
        break;
    case KVR_SEAL:
    case KVR_DROP:
        end_place(turn, op);
        break;
    case KVR_STORE:
        store_staged(turn, op);
        break;
    case KVR_LOOK:
        look(turn, op);
        break;
    case KVR_RELEASE:
        refuse(turn, op, turn->near->released);
        break;
    default:
        refuse(turn, op, KVR_OK);
    }
}

static void send(struct turn *turn)
{
    struct segment_rings rings = segment_rings_of(turn->segment, 0);
    uint32_t tail = rings.group->completion_tail;
    struct segment_cell *cell = &rings.completions[tail % SEGMENT_CELLS];
    struct kvr_hdr *out = (struct kvr_hdr *)(void *)turn->reply;

    if (tail - shared_load(&rings.group->completion_head) >= SEGMENT_CELLS)
        return;
    *out = turn->hdr;
    out->kind = KVR_REPLY;
    out->nr_ops = turn->nr_ops;
    out->len = (uint16_t)turn->reply_len;
    out->deadline_us = 0;
    out->reply_max = 0;
    out->crc = 0;
    out->crc = build_crc(turn->reply, turn->reply_len, NULL, 0);
    cell->len = turn->reply_len;
    memcpy(cell->bytes, turn->reply, turn->reply_len);
    shared_store(&rings.group->completion_tail, tail + 1);
}

static void answer_request(struct turn *turn, uint32_t len)
{
    uint32_t at = sizeof(struct kvr_hdr);
    bool lost = false;

    memcpy(&turn->hdr, turn->request, sizeof(turn->hdr));
    cr_assert_eq(turn->hdr.len, len);
    cr_assert_eq(turn->hdr.crc, build_crc(turn->request, len, NULL, 0));
    turn->reply_len = sizeof(struct kvr_hdr);
    turn->nr_ops = 0;
    for (unsigned i = 0; i < turn->hdr.nr_ops; i++) {
        const struct kvr_op *op = (const struct kvr_op *)(const void *)(turn->request + at);

        answer_op(turn, op);
        lost |= turn->near->lose[op->op] > 0;
        turn->near->lose[op->op] -= turn->near->lose[op->op] > 0;
        at += op->size;
    }
    cr_assert_eq(at, len);
    if (!lost)
        send(turn);
}

bool near_answer(struct near_server *near, struct segment *segment)
{
    static struct turn turn;
    struct segment_rings rings = segment_rings_of(segment, 0);
    uint32_t head = rings.group->request_head, len;
    const struct segment_cell *cell = &rings.requests[head % SEGMENT_CELLS];

    if (shared_load(&rings.group->request_tail) == head)
        return false;
    turn.near = near;
    turn.segment = segment;
    len = cell->len;
    cr_assert_leq(len, SEGMENT_MESSAGE_MAX);
    memcpy(turn.request, cell->bytes, len);
    shared_store(&rings.group->request_head, head + 1);
    answer_request(&turn, len);
    return true;
}
