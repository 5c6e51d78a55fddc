/* SPDX-License-Identifier: Apache-2.0 */
/* Request records and the header in front of them, byte by byte as proto.h fixes them. */
#include "client/build.h"

#include <string.h>

#include "base/crc32c.h"

static const uint8_t zeroes[8];

void build_begin(struct writer *writer, uint8_t *bytes)
{
    writer->bytes = bytes;
    writer->len = sizeof(struct kvr_hdr);
    writer->nr_ops = 0;
}

static void append(struct writer *writer, const void *bytes, uint32_t len)
{
    uint32_t pad = pad8(len) - len;

    if (len > 0)
        memcpy(writer->bytes + writer->len, bytes, len);
    memset(writer->bytes + writer->len + len, 0, pad);
    writer->len += len + pad;
}

/* The fixed part at the writer's end, its head filled in. */
static void *begin_record(struct writer *writer, enum kvr_opcode op, uint8_t flags,
                          const void *fixed, uint32_t fixed_len, uint32_t key_len)
{
    struct kvr_op head = {.op = (uint8_t)op,
                          .idx = writer->nr_ops++,
                          .flags = flags,
                          .size = (uint16_t)fixed_len,
                          .key_len = (uint16_t)key_len};
    uint8_t *record = writer->bytes + writer->len;

    memcpy(record, &head, sizeof(head));
    if (fixed_len > sizeof(head))
        memcpy(record + sizeof(head), (const uint8_t *)fixed + sizeof(head),
               fixed_len - sizeof(head));
    writer->len += fixed_len;
    return record;
}

static void append_to(struct writer *writer, struct kvr_op *record, const void *bytes, uint32_t len)
{
    append(writer, bytes, len);
    record->size = (uint16_t)(record->size + pad8(len));
}

void build_hello(struct writer *writer, uint32_t max_datagram)
{
    struct kvr_hello_req req = {
        .version_min = KVR_VERSION, .version_max = KVR_VERSION, .max_datagram = max_datagram};

    begin_record(writer, KVR_HELLO, 0, &req, sizeof(req), 0);
}

void build_ping(struct writer *writer, uint64_t token)
{
    struct kvr_ping req = {.token = token};

    begin_record(writer, KVR_PING, 0, &req, sizeof(req), 0);
}

void build_stat(struct writer *writer)
{
    begin_record(writer, KVR_STAT, 0, NULL, sizeof(struct kvr_op), 0);
}

void build_get(struct writer *writer, const struct kvr_get_req *req, const void *key,
               uint32_t key_len)
{
    struct kvr_op *record =
        begin_record(writer, KVR_GET, req->op.flags, req, sizeof(*req), key_len);

    append_to(writer, record, key, key_len);
}

void build_put(struct writer *writer, const struct kvr_put_req *req, const void *key,
               uint32_t key_len, const void *value)
{
    struct kvr_op *record = begin_record(writer, value ? KVR_PUT : KVR_RESERVE, req->op.flags, req,
                                         sizeof(*req), key_len);

    append_to(writer, record, key, key_len);
    if (value)
        append_to(writer, record, value, req->value_len);
}

void build_key(struct writer *writer, enum kvr_opcode op, const struct kvr_key_req *req,
               const void *key, uint32_t key_len)
{
    struct kvr_op *record = begin_record(writer, op, req->op.flags, req, sizeof(*req), key_len);

    append_to(writer, record, key, key_len);
}

void build_write(struct writer *writer, uint8_t flags, uint64_t upload, uint32_t off, uint32_t len)
{
    struct kvr_write_req req = {.upload = upload, .off = off, .len = len};
    struct kvr_op *record = begin_record(writer, KVR_WRITE, flags, &req, sizeof(req), 0);

    record->size = (uint16_t)(record->size + pad8(len));
}

void build_commit(struct writer *writer, enum kvr_opcode op, uint64_t upload, uint32_t value_crc,
                  uint32_t value_len)
{
    struct kvr_commit_req req = {.upload = upload, .value_crc = value_crc, .value_len = value_len};

    begin_record(writer, op, 0, &req, sizeof(req), 0);
}

void build_place(struct writer *writer, const struct kvr_place_req *req, const void *key,
                 uint32_t key_len)
{
    struct kvr_op *record =
        begin_record(writer, KVR_PLACE, req->op.flags, req, sizeof(*req), key_len);

    append_to(writer, record, key, key_len);
}

void build_store(struct writer *writer, const struct kvr_store_req *req, const void *key,
                 uint32_t key_len)
{
    struct kvr_op *record =
        begin_record(writer, KVR_STORE, req->op.flags, req, sizeof(*req), key_len);

    append_to(writer, record, key, key_len);
}

void build_load(struct writer *writer, const struct kvr_load_req *req, const void *key,
                uint32_t key_len)
{
    struct kvr_op *record = begin_record(writer, KVR_LOAD, 0, req, sizeof(*req), key_len);

    append_to(writer, record, key, key_len);
}

void build_save(struct writer *writer, const struct kvr_save_req *req, const void *key,
                uint32_t key_len)
{
    struct kvr_op *record =
        begin_record(writer, KVR_SAVE, req->op.flags, req, sizeof(*req), key_len);

    append_to(writer, record, key, key_len);
}

void build_look(struct writer *writer, const struct kvr_look_req *req, const void *key,
                uint32_t key_len)
{
    struct kvr_op *record = begin_record(writer, KVR_LOOK, 0, req, sizeof(*req), key_len);

    append_to(writer, record, key, key_len);
}

void build_seal(struct writer *writer, enum kvr_opcode op, uint64_t ref, uint32_t ticket,
                uint32_t value_crc)
{
    struct kvr_seal_req req = {.ref = ref, .ticket = ticket, .value_crc = value_crc};

    begin_record(writer, op, 0, &req, sizeof(req), 0);
}

struct kvr_match_req *build_match(struct writer *writer, uint8_t flags, uint16_t nr_keys,
                                  uint16_t key_size, uint16_t lease_ms)
{
    struct kvr_match_req req = {.nr_keys = nr_keys, .key_size = key_size, .lease_ms = lease_ms};

    return begin_record(writer, KVR_MATCH, flags, &req, sizeof(req), 0);
}

void build_match_key(struct writer *writer, const struct kvr_match_req *req, const void *key,
                     uint32_t key_len)
{
    if (req->key_size == 0) {
        uint16_t len = (uint16_t)key_len;
        memcpy(writer->bytes + writer->len, &len, sizeof(len));
        writer->len += sizeof(len);
    }
    memcpy(writer->bytes + writer->len, key, key_len);
    writer->len += key_len;
}

void build_match_end(struct writer *writer, struct kvr_match_req *req)
{
    uint32_t pad = pad8(writer->len) - writer->len;

    memset(writer->bytes + writer->len, 0, pad);
    writer->len += pad;
    req->op.size = (uint16_t)(writer->bytes + writer->len - (uint8_t *)req);
}

uint32_t build_crc(const uint8_t *head, uint32_t head_len, const void *tail, uint32_t tail_len)
{
    uint32_t crc = crc32c_blank(head, head_len, offsetof(struct kvr_hdr, crc));

    if (tail_len == 0)
        return crc;
    crc = crc32c(crc, tail, tail_len);
    return crc32c(crc, zeroes, pad8(tail_len) - tail_len);
}

uint32_t build_tail_crc(const uint8_t *head, uint32_t head_len, uint32_t shift)
{
    const struct kvr_hdr *hdr = (const struct kvr_hdr *)(const void *)head;

    return crc32c_join(build_crc(head, head_len, NULL, 0), hdr->crc, shift);
}

uint32_t build_finish(struct writer *writer, const struct kvr_hdr *hdr, const void *tail,
                      uint32_t tail_len)
{
    struct kvr_hdr *out = (struct kvr_hdr *)(void *)writer->bytes;

    *out = *hdr;
    out->magic = KVR_MAGIC;
    out->version = KVR_VERSION;
    out->kind = KVR_REQUEST;
    out->status = 0;
    out->len = (uint16_t)(writer->len + pad8(tail_len));
    out->nr_ops = writer->nr_ops;
    out->crc = 0;
    out->crc = build_crc(writer->bytes, writer->len, tail, tail_len);
    return out->len;
}

void build_get_form(struct get_form *form, uint8_t *bytes, const struct kvr_hdr *hdr,
                    const struct kvr_get_req *req, uint32_t key_len, unsigned nr)
{
    static const uint8_t no_key[KVR_KEY_MAX];
    struct writer writer;

    build_begin(&writer, bytes);
    for (unsigned i = 0; i < nr; i++)
        build_get(&writer, req, no_key, key_len);
    *form = (struct get_form){.bytes = bytes, .key_len = key_len, .step = build_get_size(key_len)};
    form->len = build_finish(&writer, hdr, NULL, 0);
}

/* The partition is written with the fields beside it, because the CRC is about to read them all: a
 * load that spans stores of several sizes would wait for them. */
uint32_t build_gets_finish(const struct get_form *form, uint64_t id, uint16_t partition,
                           uint8_t *bytes)
{
    const struct kvr_hdr *like = (const struct kvr_hdr *)(const void *)form->bytes;
    struct kvr_hdr *hdr = (struct kvr_hdr *)(void *)bytes;
    struct {
        uint32_t floor;
        uint16_t tenant, partition;
    } last = {like->floor, like->tenant, partition};

    hdr->id = id;
    memcpy(&hdr->floor, &last, sizeof(last));
    hdr->crc = build_crc(bytes, form->len, NULL, 0);
    return form->len;
}
