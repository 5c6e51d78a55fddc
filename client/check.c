/* SPDX-License-Identifier: Apache-2.0 */
/* Walks a reply once, header to last record, and refuses it at the first contradiction. */
#include "client/check.h"

#include <stddef.h>
#include <string.h>

#include "client/build.h"

static const uint16_t fixed_sizes[KVR_OPCODES] = {
    [KVR_HELLO] = sizeof(struct kvr_hello_rep), [KVR_PING] = sizeof(struct kvr_ping),
    [KVR_GET] = sizeof(struct kvr_get_rep),     [KVR_PUT] = sizeof(struct kvr_put_rep),
    [KVR_RESERVE] = sizeof(struct kvr_put_rep), [KVR_WRITE] = sizeof(struct kvr_op),
    [KVR_COMMIT] = sizeof(struct kvr_put_rep),  [KVR_ABORT] = sizeof(struct kvr_op),
    [KVR_MATCH] = sizeof(struct kvr_match_rep), [KVR_DEL] = sizeof(struct kvr_op),
    [KVR_TOUCH] = sizeof(struct kvr_op),        [KVR_HINT] = sizeof(struct kvr_op),
    [KVR_STAT] = sizeof(struct kvr_stat_rep),   [KVR_PLACE] = sizeof(struct kvr_place_rep),
    [KVR_SEAL] = sizeof(struct kvr_put_rep),    [KVR_DROP] = sizeof(struct kvr_op),
    [KVR_STORE] = sizeof(struct kvr_put_rep),   [KVR_LOAD] = sizeof(struct kvr_load_rep),
    [KVR_SAVE] = sizeof(struct kvr_put_rep),    [KVR_LOOK] = sizeof(struct kvr_look_rep),
    [KVR_RELEASE] = sizeof(struct kvr_op),
};

static bool get_fits(const struct kvr_get_rep *rep)
{
    uint32_t room = rep->op.size - (uint32_t)sizeof(*rep);

    return rep->len <= room && room - rep->len < 8 && rep->value_len <= KVR_VALUE_MAX &&
           rep->len <= rep->view_len && rep->pos <= rep->view_len - rep->len && rep->pinned <= 1 &&
           rep->tier <= KVR_TIER_DISK;
}

static uint32_t bitmap_size(uint32_t nr_keys)
{
    return pad8((nr_keys + 7) / 8);
}

static bool bitmap_bit(const uint8_t *bitmap, uint32_t i)
{
    return bitmap[i / 8] >> (i % 8) & 1;
}

static bool match_fits(const struct kvr_match_rep *rep)
{
    uint32_t bare = (uint32_t)sizeof(*rep) + bitmap_size(rep->nr_keys);
    uint32_t full = bare + rep->nr_keys * (uint32_t)sizeof(struct kvr_match_ref);
    const uint8_t *bitmap = (const uint8_t *)(rep + 1);

    if (rep->nr_keys == 0 || rep->prefix > rep->nr_keys || rep->nr_pinned > rep->nr_keys)
        return false;
    if (rep->op.size != bare && rep->op.size != full)
        return false;
    for (uint32_t i = 0; i < rep->prefix; i++)
        if (!bitmap_bit(bitmap, i))
            return false;
    if (rep->prefix < rep->nr_keys && bitmap_bit(bitmap, rep->prefix))
        return false;
    for (uint32_t i = rep->nr_keys; i < 8 * bitmap_size(rep->nr_keys); i++)
        if (bitmap_bit(bitmap, i))
            return false;
    return true;
}

static bool ranges_fit(const struct kvr_put_rep *rep)
{
    uint32_t room = rep->op.size - (uint32_t)sizeof(*rep);
    const struct kvr_range *ranges = (const struct kvr_range *)(const void *)(rep + 1);

    if (rep->nr_ranges > room / sizeof(struct kvr_range))
        return false;
    for (uint32_t i = 0; i < rep->nr_ranges; i++)
        if (ranges[i].len == 0 || ranges[i].off > KVR_VALUE_MAX ||
            ranges[i].len > KVR_VALUE_MAX - ranges[i].off)
            return false;
    return true;
}

/* The op's own part, for records that carry one. */
static bool body_fits(const struct kvr_op *op)
{
    const void *record = op;

    if (op->op == KVR_COMMIT && op->status == KVR_INCOMPLETE)
        return op->size >= fixed_sizes[op->op] && ranges_fit(record);
    if (op->status != KVR_OK)
        return true;
    if (op->size < fixed_sizes[op->op])
        return false;
    switch (op->op) {
    case KVR_GET:
        return get_fits(record);
    case KVR_MATCH:
        return match_fits(record);
    case KVR_HELLO:
        return check_hello(record);
    default:
        return true;
    }
}

static bool record_fits(const struct kvr_op *op, uint32_t room)
{
    return op->size >= sizeof(*op) && op->size % 8 == 0 && op->size <= room && op->op != 0 &&
           op->op < KVR_OPCODES && op->idx < KVR_OPS_MAX && op->status <= KVR_STATUS_WIRE_MAX &&
           op->key_len == 0 && body_fits(op);
}

enum check_fault check_reply(const uint8_t *bytes, uint32_t len, struct checked_reply *reply)
{
    struct kvr_hdr *hdr = &reply->hdr;
    uint32_t at = sizeof(*hdr);

    if (len < sizeof(*hdr))
        return CHECK_LENGTH;
    memcpy(hdr, bytes, sizeof(*hdr));
    if (hdr->magic != KVR_MAGIC || hdr->kind != KVR_REPLY)
        return CHECK_FOREIGN;
    if (hdr->len != len)
        return CHECK_LENGTH;
    if (hdr->crc != build_crc(bytes, len, NULL, 0))
        return CHECK_CRC;
    if (hdr->version != KVR_VERSION && hdr->status != KVR_BAD_VERSION)
        return CHECK_FOREIGN;
    if (hdr->nr_ops > KVR_OPS_MAX || hdr->status > KVR_STATUS_WIRE_MAX)
        return CHECK_RECORD;
    for (unsigned i = 0; i < hdr->nr_ops; i++) {
        const struct kvr_op *op = (const struct kvr_op *)(const void *)(bytes + at);
        if (len - at < sizeof(*op) || !record_fits(op, len - at))
            return CHECK_RECORD;
        reply->records[i] = op;
        at += op->size;
    }
    return at == len ? CHECK_OK : CHECK_RECORD;
}

bool check_view(const struct kvr_get_rep *rep, uint32_t off, uint32_t len, uint32_t stride,
                uint32_t count)
{
    uint64_t end;

    if (len == 0)
        return count == 1 && off <= rep->value_len && rep->view_len == rep->value_len - off;
    end = (uint64_t)off + (uint64_t)(count - 1) * stride + len;
    return end <= rep->value_len && rep->view_len == (uint64_t)count * len;
}

bool check_hello(const struct kvr_hello_rep *rep)
{
    return rep->version == KVR_VERSION && rep->nr_partitions >= 1 &&
           rep->nr_partitions <= KVR_PARTITIONS_MAX && rep->max_ops >= 1 &&
           rep->max_datagram >= KVR_DATAGRAM_MIN_MAX && rep->max_value <= KVR_VALUE_MAX &&
           rep->train_max >= KVR_FRAG_MIN && rep->cookie_ms >= 1;
}

const uint8_t *check_match_bitmap(const struct kvr_match_rep *rep)
{
    return (const uint8_t *)(rep + 1);
}

const struct kvr_match_ref *check_match_refs(const struct kvr_match_rep *rep)
{
    uint32_t bare = (uint32_t)sizeof(*rep) + bitmap_size(rep->nr_keys);

    if (rep->op.size == bare)
        return NULL;
    return (const struct kvr_match_ref *)(const void *)((const uint8_t *)rep + bare);
}
