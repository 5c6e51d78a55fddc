/* SPDX-License-Identifier: Apache-2.0 */
/* Writes request datagrams. Pure functions: no sockets, no state but the writer, so that other
 * load engines and the fuzzers share them. bytes must be 8-byte aligned. The caller asks for the
 * size first and never lets a record pass the room it has. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kvrail/proto.h"

struct writer {
    uint8_t *bytes; /* room for the datagram; the header is filled by build_finish */
    uint32_t len;   /* so far */
    uint8_t nr_ops;
};

static inline uint32_t pad8(uint32_t n)
{
    return (n + 7u) & ~7u;
}

/* Bytes of records with a key (and, for PUT, a value). */
static inline uint32_t build_get_size(uint32_t key_len)
{
    return (uint32_t)sizeof(struct kvr_get_req) + pad8(key_len);
}

static inline uint32_t build_put_size(uint32_t key_len, uint32_t value_len)
{
    return (uint32_t)sizeof(struct kvr_put_req) + pad8(key_len) + pad8(value_len);
}

static inline uint32_t build_key_size(uint32_t key_len)
{
    return (uint32_t)sizeof(struct kvr_key_req) + pad8(key_len);
}

void build_begin(struct writer *writer, uint8_t *bytes);

/* One record each; op, idx, size and key_len of the given fixed part are filled in here. */
void build_hello(struct writer *writer, uint32_t max_datagram);
void build_ping(struct writer *writer, uint64_t token);
void build_stat(struct writer *writer);
void build_get(struct writer *writer, const struct kvr_get_req *req, const void *key,
               uint32_t key_len);
/* PUT with its value, or (value NULL) RESERVE. */
void build_put(struct writer *writer, const struct kvr_put_req *req, const void *key,
               uint32_t key_len, const void *value);
void build_key(struct writer *writer, enum kvr_opcode op, const struct kvr_key_req *req,
               const void *key, uint32_t key_len);
/* The fixed part of a WRITE; its len bytes and their padding follow as the datagram's tail. */
void build_write(struct writer *writer, uint8_t flags, uint64_t upload, uint32_t off, uint32_t len);
/* COMMIT or ABORT. */
void build_commit(struct writer *writer, enum kvr_opcode op, uint64_t upload, uint32_t value_crc,
                  uint32_t value_len);

/* For rings only. build_seal: SEAL, DROP or RELEASE. */
void build_place(struct writer *writer, const struct kvr_place_req *req, const void *key,
                 uint32_t key_len);
void build_store(struct writer *writer, const struct kvr_store_req *req, const void *key,
                 uint32_t key_len);
void build_load(struct writer *writer, const struct kvr_load_req *req, const void *key,
                uint32_t key_len);
void build_save(struct writer *writer, const struct kvr_save_req *req, const void *key,
                uint32_t key_len);
void build_look(struct writer *writer, const struct kvr_look_req *req, const void *key,
                uint32_t key_len);
void build_seal(struct writer *writer, enum kvr_opcode op, uint64_t ref, uint32_t ticket,
                uint32_t value_crc);

/* MATCH: begin, one build_match_key a key, end. key_size 0: keys of different lengths. */
struct kvr_match_req *build_match(struct writer *writer, uint8_t flags, uint16_t nr_keys,
                                  uint16_t key_size, uint16_t lease_ms);
void build_match_key(struct writer *writer, const struct kvr_match_req *req, const void *key,
                     uint32_t key_len);
void build_match_end(struct writer *writer, struct kvr_match_req *req);

/* Puts hdr in front, with magic, version, kind, len, nr_ops and CRC filled in. tail_len bytes at
 * tail and their zero padding to 8 belong to the last record. Returns the datagram's length. */
uint32_t build_finish(struct writer *writer, const struct kvr_hdr *hdr, const void *tail,
                      uint32_t tail_len);

/* CRC32C of a datagram whose crc field counts as 0: head, then tail_len bytes, then padding. */
uint32_t build_crc(const uint8_t *head, uint32_t head_len, const void *tail, uint32_t tail_len);

/* Of a finished one: the CRC32C of its tail, without a look at it. shift: crc32c_shift(its length,
 * a multiple of 8). */
uint32_t build_tail_crc(const uint8_t *head, uint32_t head_len, uint32_t shift);

/* A datagram of nothing but GETs of keys of one length, that others are copied from: only id,
 * partition and keys differ. */
struct get_form {
    uint8_t *bytes; /* of the caller */
    uint32_t len, key_len, step;
};

/* bytes: room for the datagram; nr GETs like req. */
void build_get_form(struct get_form *form, uint8_t *bytes, const struct kvr_hdr *hdr,
                    const struct kvr_get_req *req, uint32_t key_len, unsigned nr);

/* A copy; then each of its keys is to be written, and last the rest, with the CRC. */
static inline void build_gets(const struct get_form *form, uint8_t *bytes)
{
    memcpy(bytes, form->bytes, form->len);
}

static inline uint8_t *build_gets_key(const struct get_form *form, uint8_t *bytes, unsigned i)
{
    return bytes + sizeof(struct kvr_hdr) + sizeof(struct kvr_get_req) + i * form->step;
}

/* Returns the datagram's length. */
uint32_t build_gets_finish(const struct get_form *form, uint64_t id, uint16_t partition,
                           uint8_t *bytes);
