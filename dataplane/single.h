/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram of one GET whose block was found ahead, the most frequent of all: executed, answered
 * over its own bytes and sent back, as dispatch, op_get and reply would, in one go. Runs on the
 * core that owns the block, an RCU reader. What it counts is added up for the burst. */
#pragma once

#include <string.h>

#include "base/crc32c.h"
#include "dataplane/cookie.h"
#include "dataplane/core.h"
#include "dataplane/parse.h"
#include "dataplane/record.h"

/* Values that fit any client's datagrams with header and record, and rounded up to whole units of
 * data any request's room. */
#define SINGLE_MAX (17u * DATA_UNIT)
#define SINGLE_HEAD (sizeof(struct kvr_hdr) + sizeof(struct kvr_get_rep))
_Static_assert(SINGLE_HEAD + SINGLE_MAX <= 19u * 64u &&
                   SINGLE_HEAD + SINGLE_MAX <= KVR_DATAGRAM_MIN_MAX,
               "SINGLE_MAX");

/* The header of the request becomes that of its reply, in words. Of what a reply echoes nothing
 * has to be moved. */
static inline void single_seal(const struct request *request, uint8_t *msg, uint32_t len)
{
    uint64_t first;
    uint32_t crc;

    memcpy(&first, msg, sizeof(first));
    put_word(msg + offsetof(struct kvr_hdr, deadline_us), (uint64_t)request->hdr.seq << 32);
    put_word(msg, first ^ (uint64_t)(KVR_REQUEST ^ KVR_REPLY) << 40);
    put_word(msg + 8, len | 1u << 16); /* nr_ops */
    crc = crc32c_datagram(msg, len);
    memcpy(msg + offsetof(struct kvr_hdr, crc), &crc, sizeof(crc));
}
_Static_assert(offsetof(struct kvr_hdr, kind) == 5 && offsetof(struct kvr_hdr, len) == 8 &&
                   offsetof(struct kvr_hdr, nr_ops) == 10 &&
                   offsetof(struct kvr_hdr, seq) == offsetof(struct kvr_hdr, deadline_us) + 4,
               "single_seal writes the header in words");

/* Does it for a new request if it is a single one, proven by a cookie that was seen before, and
 * nobody waits. False: nothing was done, it has to go the long way. */
[[nodiscard]] static inline bool get_single(struct core *core, struct request *request)
{
    const struct block_desc *desc = request->ops[0].found;
    uint8_t *msg = (uint8_t *)(uintptr_t)request->msg;
    uint32_t len, size;

    if (!request->single || core->nr_parked > 0 || !cookie_known(core, request) || !desc ||
        !plain_ready(desc, core->now_ms))
        return false;
    len = desc->value_len;
    if (len > SINGLE_MAX || len > core->copy_max || len > core->train_budget)
        return false;
    core->train_budget -= len;
    core->singles.nr++;
    core->singles.value_bytes += len;
    size = (uint32_t)sizeof(struct kvr_hdr) +
           plain_record(core, request->ops, desc, len, 0, msg + sizeof(struct kvr_hdr), true);
    core->singles.bytes += size;
    single_seal(request, msg, size);
    core->transport->ops->turn_round(core->transport, request, size);
    return true;
}

/* Counts what a burst's singles came to. */
static inline void singles_count(struct core *core)
{
    struct core_stats *stats = core->stats;
    uint32_t nr = core->singles.nr;

    if (nr == 0)
        return;
    core->answered[KVR_GET] = (uint16_t)(core->answered[KVR_GET] + nr);
    counter_add(&stats->ops[KVR_GET][KVR_OK], nr);
    counter_add(&stats->hits, nr);
    counter_add(&stats->tx_datagrams, nr);
    counter_add(&stats->value_bytes_out, core->singles.value_bytes);
    counter_add(&stats->tx_bytes, core->singles.bytes);
    core->singles = (struct singles){0};
}
