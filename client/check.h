/* SPDX-License-Identifier: Apache-2.0 */
/* Proves that a datagram is a well-formed reply before anything in it is used. Pure functions,
 * shared with other load engines and the fuzzer. Every byte is hostile until checked here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"
#include "kvrail/status.h"

enum check_fault {
    CHECK_OK = 0,
    CHECK_LENGTH,  /* not as long as it says, or shorter than a header */
    CHECK_FOREIGN, /* magic, kind or version of something else */
    CHECK_CRC,
    CHECK_RECORD, /* a record does not fit, or says what cannot be */
};

struct checked_reply {
    struct kvr_hdr hdr;
    const struct kvr_op *records[KVR_OPS_MAX]; /* hdr.nr_ops of them, in the datagram */
};

/* bytes: 8-byte aligned. On CHECK_OK every record has an opcode of the protocol, an idx below
 * KVR_OPS_MAX, and with status OK the whole fixed part of its op, and every length and count in it
 * stays inside the record. */
enum check_fault check_reply(const uint8_t *bytes, uint32_t len, struct checked_reply *reply);

/* Whether view_len and value_len of a GET's answer fit the view that was asked for. */
bool check_view(const struct kvr_get_rep *rep, uint32_t off, uint32_t len, uint32_t stride,
                uint32_t count);

/* Whether the limits in a HELLO reply can be worked with. */
bool check_hello(const struct kvr_hello_rep *rep);

/* Parts behind the fixed part of a checked MATCH record. refs: NULL if there are none. */
const uint8_t *check_match_bitmap(const struct kvr_match_rep *rep);
const struct kvr_match_ref *check_match_refs(const struct kvr_match_rep *rep);
