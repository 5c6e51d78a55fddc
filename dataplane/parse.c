/* SPDX-License-Identifier: Apache-2.0 */
/* The first stage. Runs on the core that received the datagram. Invariant: behind PARSE_OK no later
 * stage checks a length again, and no byte outside the datagram was looked at. */
#include "dataplane/parse.h"

#include <string.h>

#include "base/crc32c.h"
#include "shm/partition.h"
#include "shm/segment.h"

struct op_shape {
    uint16_t fixed; /* bytes of the fixed part, head included; 0 = no such op */
    uint8_t flags;  /* that are defined */
    bool keyed;
};

static const struct op_shape shapes[KVR_OPCODES] = {
    [KVR_HELLO] = {sizeof(struct kvr_hello_req), 0, false},
    [KVR_PING] = {sizeof(struct kvr_ping), 0, false},
    [KVR_GET] = {sizeof(struct kvr_get_req),
                 KVR_GET_QUIET | KVR_GET_PIN | KVR_GET_META | KVR_GET_CHECK, true},
    [KVR_PUT] = {sizeof(struct kvr_put_req), KVR_PUT_ADD, true},
    [KVR_RESERVE] = {sizeof(struct kvr_put_req), KVR_PUT_ADD, true},
    [KVR_WRITE] = {sizeof(struct kvr_write_req), KVR_WRITE_QUIET, false},
    [KVR_COMMIT] = {sizeof(struct kvr_commit_req), 0, false},
    [KVR_ABORT] = {sizeof(struct kvr_commit_req), 0, false},
    [KVR_MATCH] = {sizeof(struct kvr_match_req), KVR_MATCH_REFS | KVR_MATCH_PIN, false},
    [KVR_DEL] = {sizeof(struct kvr_key_req), 0, true},
    [KVR_TOUCH] = {sizeof(struct kvr_key_req), 0, true},
    [KVR_HINT] = {sizeof(struct kvr_key_req), 0, true},
    [KVR_STAT] = {sizeof(struct kvr_op), 0, false},
    [KVR_PLACE] = {sizeof(struct kvr_place_req), KVR_PUT_ADD, true},
    [KVR_SEAL] = {sizeof(struct kvr_seal_req), 0, false},
    [KVR_DROP] = {sizeof(struct kvr_seal_req), 0, false},
    [KVR_STORE] = {sizeof(struct kvr_store_req), KVR_PUT_ADD, true},
    [KVR_LOAD] = {sizeof(struct kvr_load_req), 0, true},
    [KVR_SAVE] = {sizeof(struct kvr_save_req), KVR_PUT_ADD, true},
    [KVR_LOOK] = {sizeof(struct kvr_look_req), 0, true},
    [KVR_RELEASE] = {sizeof(struct kvr_seal_req), 0, false},
};

static enum parse_verdict drop(struct parse_fault *fault, enum drop_reason reason)
{
    fault->reason = reason;
    return PARSE_DROP;
}

static enum parse_verdict refuse(struct parse_fault *fault, enum drop_reason reason,
                                 enum kvr_status status)
{
    fault->reason = reason;
    fault->status = status;
    return PARSE_REFUSE;
}

static enum parse_verdict bad_length(struct parse_fault *fault)
{
    return refuse(fault, DROP_bad_length, KVR_BAD_LENGTH);
}

static enum parse_verdict bad_field(struct parse_fault *fault)
{
    return refuse(fault, DROP_bad_field, KVR_BAD_FIELD);
}

static enum parse_verdict check_header(const struct parse_env *env, struct request *request,
                                       struct parse_fault *fault)
{
    struct kvr_hdr *hdr = &request->hdr;

    if (request->len < sizeof(*hdr))
        return drop(fault, DROP_short_header);
    memcpy(hdr, request->msg, sizeof(*hdr));
    if (hdr->magic != KVR_MAGIC)
        return drop(fault, DROP_bad_magic);
    if (hdr->kind != KVR_REQUEST)
        return drop(fault, DROP_bad_kind);
    if (crc32c_datagram(request->msg, request->len) != hdr->crc)
        return drop(fault, DROP_bad_crc);
    if (hdr->version != KVR_VERSION)
        return refuse(fault, DROP_bad_version, KVR_BAD_VERSION);
    if (hdr->len != request->len)
        return bad_length(fault);
    if (hdr->status != 0 || hdr->priority >= KVR_PRIORITIES || hdr->nr_ops == 0 ||
        hdr->nr_ops > KVR_OPS_MAX || (hdr->reply_max > 0 && hdr->reply_max < 19) ||
        hdr->session == 0 || hdr->partition >= env->nr_partitions)
        return refuse(fault, DROP_bad_header, KVR_BAD_FIELD);
    return PARSE_OK;
}

static bool hint_ok(const struct kvr_hint *hint)
{
    static const uint8_t zero[sizeof(hint->zero)];

    return (hint->flags & ~(KVR_HINT_ALIVE | KVR_HINT_ENDED)) == 0 &&
           memcmp(hint->zero, zero, sizeof(zero)) == 0;
}

static enum parse_verdict check_get(const struct request_op *op, struct parse_fault *fault)
{
    struct kvr_get_req get;

    memcpy(&get, op->record, sizeof(get));
    if (get.op.size != align8(sizeof(get) + get.op.key_len))
        return bad_length(fault);
    if (get.count == 0 || (get.len == 0 && get.count != 1) ||
        ((get.op.flags & KVR_GET_PIN) != 0) != (get.lease_ms != 0))
        return bad_field(fault);
    return PARSE_OK;
}

static enum parse_verdict check_put(const struct request_op *op, struct parse_fault *fault)
{
    struct kvr_put_req put;
    uint32_t room;

    memcpy(&put, op->record, sizeof(put));
    room = put.op.size - (uint32_t)sizeof(put);
    if (put.zero != 0 || put.zero2 != 0 || !hint_ok(&put.hint) || put.ttl_ms > PARTITION_TTL_MAX_MS)
        return bad_field(fault);
    if (put.op.op == KVR_PUT) {
        if (put.frag != 0)
            return bad_field(fault);
        /* the record's size is 16 bits, so a larger value cannot have come */
        if (put.value_len > UINT16_MAX || room != align8(put.op.key_len) + align8(put.value_len))
            return bad_length(fault);
        return PARSE_OK;
    }
    if (put.value_crc != 0 || put.frag % 8 != 0 || put.frag < KVR_FRAG_MIN ||
        put.frag > KVR_DATAGRAM_MAX - sizeof(struct kvr_hdr) - sizeof(struct kvr_write_req))
        return bad_field(fault);
    return room == align8(put.op.key_len) ? PARSE_OK : bad_length(fault);
}

static enum parse_verdict check_match(const struct parse_env *env, struct request_op *op,
                                      struct parse_fault *fault)
{
    struct kvr_match_req match;
    struct match_keys keys, first;
    const uint8_t *key;
    uint32_t key_len;

    memcpy(&match, op->record, sizeof(match));
    if (match.nr_keys == 0 || match.zero != 0 ||
        ((match.op.flags & KVR_MATCH_PIN) != 0) != (match.lease_ms != 0))
        return bad_field(fault);
    if (match.key_size > KVR_KEY_MAX)
        return refuse(fault, DROP_bad_key, KVR_BAD_KEY);
    keys = (struct match_keys){.bytes = (const uint8_t *)op->record + sizeof(match),
                               .len = match.op.size - (uint32_t)sizeof(match),
                               .key_size = match.key_size};
    first = keys;
    if (match.key_size)
        keys.at = match.nr_keys * (uint32_t)match.key_size;
    for (unsigned i = 0; i < match.nr_keys && !match.key_size; i++) {
        if (!match_next(&keys, &key, &key_len))
            return bad_length(fault);
        if (key_len == 0 || key_len > KVR_KEY_MAX)
            return refuse(fault, DROP_bad_key, KVR_BAD_KEY);
    }
    if (align8(keys.at) != keys.len || !match_next(&first, &key, &key_len))
        return bad_length(fault);
    op->hash = hash_key(key, key_len, env->seed);
    op->partition = (uint16_t)hash_partition(op->hash, env->nr_partitions);
    return PARSE_OK;
}

static enum parse_verdict check_upload(const struct parse_env *env, const struct request *request,
                                       struct request_op *op, struct parse_fault *fault)
{
    struct kvr_write_req write; /* kvr_commit_req has the handle at the same place */
    unsigned partition;

    memcpy(&write, op->record, sizeof(write));
    if (op->opcode == KVR_WRITE) {
        if (write.len > UINT16_MAX || write.op.size != align8((uint32_t)sizeof(write) + write.len))
            return bad_length(fault);
    } else if (write.op.size != sizeof(struct kvr_commit_req)) {
        return bad_length(fault);
    }
    /* A handle of no partition is answered where the datagram belongs: no such reservation. */
    partition = upload_partition(write.upload);
    op->partition = (uint16_t)(partition < env->nr_partitions ? partition : request->hdr.partition);
    return PARSE_OK;
}
_Static_assert(offsetof(struct kvr_write_req, upload) == offsetof(struct kvr_commit_req, upload) &&
                   sizeof(struct kvr_write_req) == sizeof(struct kvr_commit_req),
               "check_upload reads both as kvr_write_req");

static enum parse_verdict check_keyed(const struct request_op *op, struct parse_fault *fault)
{
    struct kvr_key_req req;

    memcpy(&req, op->record, sizeof(req));
    if (req.op.size != align8(sizeof(req) + req.op.key_len))
        return bad_length(fault);
    if (req.zero != 0 || !hint_ok(&req.hint) || req.ttl_ms > PARTITION_TTL_MAX_MS)
        return bad_field(fault);
    return PARSE_OK;
}

static enum parse_verdict check_place(const struct request_op *op, struct parse_fault *fault)
{
    struct kvr_place_req place;

    memcpy(&place, op->record, sizeof(place));
    if (place.op.size != align8(sizeof(place) + place.op.key_len))
        return bad_length(fault);
    if (place.zero != 0 || place.ticket >= KVR_TICKETS || !hint_ok(&place.hint) ||
        place.ttl_ms > PARTITION_TTL_MAX_MS)
        return bad_field(fault);
    return PARSE_OK;
}

static enum parse_verdict check_store(const struct request_op *op, struct parse_fault *fault)
{
    struct kvr_store_req store;

    memcpy(&store, op->record, sizeof(store));
    if (store.op.size != align8(sizeof(store) + store.op.key_len))
        return bad_length(fault);
    if (store.zero != 0 || !hint_ok(&store.hint) || store.ttl_ms > PARTITION_TTL_MAX_MS)
        return bad_field(fault);
    return PARSE_OK;
}

/* What the form is worth is looked at with the region. */
static enum parse_verdict check_load(const struct request_op *op, struct parse_fault *fault)
{
    struct kvr_load_req load;

    memcpy(&load, op->record, sizeof(load));
    if (load.op.size != align8(sizeof(load) + load.op.key_len))
        return bad_length(fault);
    if (load.region >= KVR_REGIONS_MAX ||
        (load.word >= SEGMENT_WORDS && load.word != KVR_NO_WORD) ||
        (load.nr_layers == 0 && load.first_layer != 0))
        return bad_field(fault);
    return PARSE_OK;
}

static enum parse_verdict check_save(const struct request_op *op, struct parse_fault *fault)
{
    struct kvr_save_req save;

    memcpy(&save, op->record, sizeof(save));
    if (save.op.size != align8(sizeof(save) + save.op.key_len))
        return bad_length(fault);
    if (save.region >= KVR_REGIONS_MAX || save.zero != 0 || !hint_ok(&save.hint) ||
        save.ttl_ms > PARTITION_TTL_MAX_MS)
        return bad_field(fault);
    return PARSE_OK;
}

static enum parse_verdict check_look(const struct request_op *op, struct parse_fault *fault)
{
    struct kvr_look_req look;

    memcpy(&look, op->record, sizeof(look));
    if (look.op.size != align8(sizeof(look) + look.op.key_len))
        return bad_length(fault);
    if (look.zero != 0 || look.ticket >= KVR_TICKETS)
        return bad_field(fault);
    return PARSE_OK;
}

/* SEAL, DROP and RELEASE are executed where the datagram belongs; whose block it is shows there. */
static enum parse_verdict check_seal(const struct request *request, struct request_op *op,
                                     struct parse_fault *fault)
{
    struct kvr_seal_req seal;

    memcpy(&seal, op->record, sizeof(seal));
    if (seal.op.size != sizeof(seal))
        return bad_length(fault);
    if (seal.ticket >= KVR_TICKETS || (seal.op.op != KVR_SEAL && seal.value_crc != 0))
        return bad_field(fault);
    op->partition = request->hdr.partition;
    return PARSE_OK;
}

/* The op's own part; head, key length and fixed size are already checked. */
static enum parse_verdict check_op(const struct parse_env *env, const struct request *request,
                                   struct request_op *op, uint32_t size, struct parse_fault *fault)
{
    switch (op->opcode) {
    case KVR_HELLO:
        return request->hdr.nr_ops == 1 ? PARSE_OK : bad_field(fault);
    case KVR_GET:
        return check_get(op, fault);
    case KVR_PUT:
    case KVR_RESERVE:
        return check_put(op, fault);
    case KVR_WRITE:
    case KVR_COMMIT:
    case KVR_ABORT:
        return check_upload(env, request, op, fault);
    case KVR_MATCH:
        return check_match(env, op, fault);
    case KVR_DEL:
    case KVR_TOUCH:
    case KVR_HINT:
        return check_keyed(op, fault);
    case KVR_PLACE:
        return check_place(op, fault);
    case KVR_STORE:
        return check_store(op, fault);
    case KVR_LOAD:
        return check_load(op, fault);
    case KVR_SAVE:
        return check_save(op, fault);
    case KVR_LOOK:
        return check_look(op, fault);
    case KVR_SEAL:
    case KVR_DROP:
    case KVR_RELEASE:
        return check_seal(request, op, fault);
    default: /* PING, STAT: nothing variable */
        return size == shapes[op->opcode].fixed ? PARSE_OK : bad_length(fault);
    }
}

/* Key and where the op is executed. */
static enum parse_verdict place_op(const struct parse_env *env, const struct kvr_op *head,
                                   struct request_op *op, struct parse_fault *fault)
{
    op->partition = env->own_partition;
    op->key = NULL;
    op->key_len = 0;
    if (!shapes[head->op].keyed)
        return head->key_len == 0 ? PARSE_OK : bad_field(fault);
    if (head->key_len == 0 || head->key_len > KVR_KEY_MAX)
        return refuse(fault, DROP_bad_key, KVR_BAD_KEY);
    if ((uint32_t)shapes[head->op].fixed + head->key_len > head->size)
        return bad_length(fault);
    op->key = (const uint8_t *)op->record + shapes[head->op].fixed;
    op->key_len = head->key_len;
    op->hash = hash_key(op->key, op->key_len, env->seed);
    op->partition = (uint16_t)hash_partition(op->hash, env->nr_partitions);
    return PARSE_OK;
}

/* One record at `at`. Sets *size. */
static enum parse_verdict parse_op(const struct parse_env *env, struct request *request, unsigned i,
                                   uint32_t at, uint32_t *size, struct parse_fault *fault)
{
    struct request_op *op = &request->ops[i];
    struct kvr_op head;
    enum parse_verdict verdict;

    if (request->len - at < sizeof(head))
        return bad_length(fault);
    memcpy(&head, request->msg + at, sizeof(head));
    fault->opcode = head.op;
    *size = head.size;
    if (head.size < sizeof(head) || head.size % 8 != 0 || head.size > request->len - at)
        return bad_length(fault);
    if (head.op >= KVR_OPCODES || shapes[head.op].fixed == 0)
        return refuse(fault, DROP_bad_op, KVR_BAD_OP);
    if (head.size < shapes[head.op].fixed)
        return head.op == KVR_HELLO ? refuse(fault, DROP_hello_small, KVR_BAD_LENGTH)
                                    : bad_length(fault);
    if (head.idx != i || head.status != 0 || (head.flags & ~shapes[head.op].flags) != 0)
        return bad_field(fault);
    op->record = (const struct kvr_op *)(const void *)(request->msg + at);
    op->found = NULL;
    op->opcode = head.op;
    op->state = OP_PENDING;
    op->mutation = 0;
    verdict = place_op(env, &head, op, fault);
    return verdict == PARSE_OK ? check_op(env, request, op, head.size, fault) : verdict;
}

/* What only all ops together show. */
static enum parse_verdict check_ops(struct request *request, struct parse_fault *fault)
{
    if (likely(!(request->kinds & OPS_MUTATE)))
        return PARSE_OK;
    fault->opcode = 0;
    for (unsigned i = 0; i < request->nr_ops; i++)
        if (op_mutates(request->ops[i].opcode))
            request->ops[i].mutation = request->nr_mutations++;
    if (request->nr_mutations > KVR_MUTATIONS_MAX)
        return refuse(fault, DROP_limit, KVR_LIMIT);
    if (request->hdr.seq == 0)
        return refuse(fault, DROP_bad_field, KVR_BAD_FIELD);
    return PARSE_OK;
}

enum parse_verdict parse_any(const struct parse_env *env, struct request *request,
                             struct parse_fault *fault)
{
    uint32_t at = sizeof(struct kvr_hdr);
    enum parse_verdict verdict;

    fault->opcode = 0;
    request->nr_ops = request->nr_open = request->nr_mutations = 0;
    request->plain = request->single = false;
    request->kinds = 0;
    verdict = check_header(env, request, fault);
    if (verdict != PARSE_OK)
        return verdict;
    for (unsigned i = 0; i < request->hdr.nr_ops; i++) {
        uint32_t size;

        verdict = parse_op(env, request, i, at, &size, fault);
        if (verdict != PARSE_OK)
            return verdict;
        request->kinds |= 1u << request->ops[i].opcode;
        at += size;
    }
    if (at != request->len)
        return bad_length(fault);
    request->nr_ops = request->nr_open = request->hdr.nr_ops;
    return check_ops(request, fault);
}
