/* SPDX-License-Identifier: Apache-2.0 */
/* MATCH: which keys of a chain are stored. Runs on the owner of the first key's partition and reads
 * every partition's index, which needs no lock; it leases blocks of its own partitions only. */
#include <string.h>

#include "dataplane/ops.h"
#include "dataplane/parse.h"

#define CHUNK 32u /* keys looked up together */

struct probe {
    const uint8_t *key;
    uint32_t key_len;
    struct key_hash hash;
    uint16_t partition;
};

struct matching {
    struct core *core;
    struct kvr_match_req req;
    struct kvr_match_rep rep;
    uint32_t lease_ms;
    uint32_t present;
    bool broken;     /* a key of the prefix was absent */
    uint8_t *bitmap; /* zeroed */
    uint8_t *refs;   /* NULL without KVR_MATCH_REFS; 8-byte alignment not guaranteed */
};

static unsigned next_chunk(const struct core *core, struct match_keys *keys, unsigned left,
                           struct probe *probes)
{
    unsigned n = left < CHUNK ? left : CHUNK;

    for (unsigned i = 0; i < n; i++) {
        if (!match_next(keys, &probes[i].key, &probes[i].key_len))
            return i;
        probes[i].hash = hash_key(probes[i].key, probes[i].key_len, core->arena->sb->seed);
        probes[i].partition = (uint16_t)hash_partition(probes[i].hash, core->nr_partitions);
        index_prefetch(core->arena, probes[i].partition, probes[i].hash);
    }
    for (unsigned i = 0; i < n; i++)
        index_prefetch_block(core->arena, probes[i].partition, probes[i].hash);
    return n;
}

static void found(struct matching *m, unsigned i, const struct probe *probe,
                  const struct block_view *block)
{
    struct partition *own = m->core->partitions[probe->partition];

    m->bitmap[i / 8] |= (uint8_t)(1u << (i % 8));
    m->present++;
    if (!m->broken)
        m->rep.prefix++;
    if (m->refs) {
        struct kvr_match_ref ref = {
            .ref = block->ref, .value_len = block->value_len, .tier = KVR_TIER_HOST};

        memcpy(m->refs + i * sizeof(ref), &ref, sizeof(ref));
    }
    if (m->lease_ms == 0)
        return;
    /* nr_pinned says which: the first present ones. So the first refusal ends it. */
    if (own && partition_lease(own, block->block, m->lease_ms, m->core->now_ms))
        m->rep.nr_pinned++;
    else
        m->lease_ms = 0;
}

static void look_up(struct matching *m, struct match_keys *keys)
{
    struct probe probes[CHUNK];
    unsigned done = 0, n;

    while (done < m->req.nr_keys) {
        n = next_chunk(m->core, keys, m->req.nr_keys - done, probes);
        for (unsigned i = 0; i < n; i++) {
            struct block_view block;

            if (index_find(m->core->arena, probes[i].partition, probes[i].hash, probes[i].key,
                           probes[i].key_len, m->core->now_ms, &block))
                found(m, done + i, &probes[i], &block);
            else
                m->broken = true;
        }
        done += n;
    }
}

int op_match(struct core *core, struct request *request, struct request_op *op,
             struct answer *answer)
{
    struct matching m = {.core = core};
    struct match_keys keys;
    uint32_t bitmap_len, size;
    uint8_t *at;

    memcpy(&m.req, op->record, sizeof(m.req));
    bitmap_len = align8((m.req.nr_keys + 7u) / 8u);
    size = (uint32_t)sizeof(m.rep) + bitmap_len;
    if (m.req.op.flags & KVR_MATCH_REFS)
        size += m.req.nr_keys * (uint32_t)sizeof(struct kvr_match_ref);
    if (size > answer_most(answer))
        return op_say(answer, op, KVR_TOO_LARGE);
    at = answer_room(answer, size);
    if (at) {
        keys = (struct match_keys){.bytes = (const uint8_t *)op->record + sizeof(m.req),
                                   .len = m.req.op.size - (uint32_t)sizeof(m.req),
                                   .key_size = m.req.key_size};
        memset(at, 0, size);
        m.bitmap = at + sizeof(m.rep);
        m.refs = m.req.op.flags & KVR_MATCH_REFS ? m.bitmap + bitmap_len : NULL;
        if (m.req.op.flags & KVR_MATCH_PIN)
            m.lease_ms =
                m.req.lease_ms < core->now->lease_max_ms ? m.req.lease_ms : core->now->lease_max_ms;
        look_up(&m, &keys);
        m.rep.op = answer_head(request, op, KVR_OK, size);
        m.rep.nr_keys = m.req.nr_keys;
        memcpy(at, &m.rep, sizeof(m.rep));
        counter_add(&core->stats->match_keys, m.req.nr_keys);
        counter_add(&core->stats->match_present, m.present);
    }
    answer_count(core, request, op, KVR_OK);
    return KVR_OK;
}
