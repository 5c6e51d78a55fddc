/* SPDX-License-Identifier: Apache-2.0 */
/* MATCH: which keys of a chain are stored. Runs on the owner of the first key's partition and reads
 * every partition's index, which needs no lock; it leases blocks of its own partitions only. */
#include <string.h>

#include "dataplane/ops.h"
#include "dataplane/parse.h"
#include "shm/glance.h"

#define BATCH 16u /* keys whose cache lines are fetched together; a multiple of 8 */
#define STAGES 3u /* batches under way: buckets on their way, descriptors on their way, in work */

struct wanted {
    const uint8_t *key;
    uint32_t key_len;
    struct glance glance;
};

struct matching {
    struct core *core;
    struct match_keys keys; /* that are not under way yet */
    struct kvr_match_req req;
    struct kvr_match_rep rep;
    uint32_t lease_ms;
    uint32_t present;
    bool broken;     /* a key of the prefix was absent */
    uint8_t *bitmap; /* zeroed */
    uint8_t *refs;   /* NULL without KVR_MATCH_REFS; 8-byte alignment not guaranteed */
};

/* Keys of the batch that begins at `from`. */
static uint32_t batch_len(const struct matching *m, uint32_t from)
{
    uint32_t nr = m->req.nr_keys;

    return from >= nr ? 0 : nr - from < BATCH ? nr - from : BATCH;
}

/* Parse has seen that the keys are there. len: of all of them, where it is one of the usual ones
 * and there is one partition; else 0. */
static inline __attribute__((always_inline)) void batch_setup(struct matching *m, uint32_t from,
                                                              struct wanted *batch, uint32_t len)
{
    const struct arena *arena = m->core->arena;
    uint64_t seed = arena->sb->seed;
    uint32_t n = batch_len(m, from);

    for (uint32_t i = 0; i < n; i++) {
        struct wanted *wanted = &batch[i];
        struct key_hash hash;
        uint32_t partition;

        if (len) {
            wanted->key = m->keys.bytes + (from + i) * len;
            wanted->key_len = len;
        } else if (!match_next(&m->keys, &wanted->key, &wanted->key_len)) {
            return;
        }
        hash = len ? hash_key_of(wanted->key, len, seed)
                   : hash_key(wanted->key, wanted->key_len, seed);
        partition = len ? 0 : hash_partition(hash, m->core->nr_partitions);
        glance_place(&wanted->glance, &arena->maps[partition], partition, hash);
        prefetch_read(wanted->glance.bucket);
    }
}

static inline __attribute__((always_inline)) void
batch_buckets(const struct matching *m, uint32_t from, struct wanted *batch, uint32_t len)
{
    const struct part_map *maps = m->core->arena->maps;
    uint32_t n = batch_len(m, from);

    for (uint32_t i = 0; i < n; i++)
        glance_bucket(&batch[i].glance, &maps[len ? 0 : batch[i].glance.partition]);
}

/* nr_pinned says which are: the first present ones. So the first refusal ends it. */
static void lease(struct matching *m, const struct wanted *wanted, const struct block_view *block)
{
    struct partition *own = m->core->partitions[wanted->glance.partition];

    if (own && partition_lease(own, block->block, m->lease_ms, m->core->now_ms))
        m->rep.nr_pinned++;
    else
        m->lease_ms = 0;
}

/* block NULL: the key is absent. */
static inline void write_ref(uint8_t *at, const struct block_view *block)
{
    uint64_t words[2] = {0};

    if (likely(block)) {
        words[0] = block->ref;
        words[1] = block->value_len | (uint64_t)KVR_TIER_HOST << 32;
    }
    memcpy(at, &words[0], sizeof(words[0]));
    memcpy(at + 8, &words[1], sizeof(words[1]));
}
_Static_assert(sizeof(struct kvr_match_ref) == 16 && offsetof(struct kvr_match_ref, ref) == 0 &&
                   offsetof(struct kvr_match_ref, value_len) == 8 &&
                   offsetof(struct kvr_match_ref, tier) == 12,
               "write_ref writes it in words");

static inline void found(struct matching *m, uint32_t at, const struct wanted *wanted,
                         const struct block_view *block)
{
    if (m->refs)
        write_ref(m->refs + at * sizeof(struct kvr_match_ref), block);
    if (unlikely(m->lease_ms != 0))
        lease(m, wanted, block);
}

/* What the short way did not find. */
static __attribute__((noinline)) bool find_again(struct matching *m, uint32_t at,
                                                 const struct wanted *wanted)
{
    struct key_hash hash = {.lo = wanted->glance.hash}; /* the index needs no more */
    struct block_view block;
    bool hit = index_find(m->core->arena, wanted->glance.partition, hash, wanted->key,
                          wanted->key_len, m->core->now_ms, &block);

    if (hit)
        found(m, at, wanted, &block);
    else if (m->refs)
        write_ref(m->refs + at * sizeof(struct kvr_match_ref), NULL);
    return hit;
}

/* Bit i: key i of the batch is stored. */
static inline __attribute__((always_inline)) uint32_t
batch_find(struct matching *m, uint32_t from, struct wanted *batch, uint32_t n, uint32_t len)
{
    const struct arena *arena = m->core->arena;
    uint32_t now_ms = m->core->now_ms, hits = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct wanted *wanted = &batch[i];
        uint32_t partition = len ? 0 : wanted->glance.partition;
        uint32_t key_len = len ? len : wanted->key_len;
        struct block_view block;
        bool hit = true;

        if (likely(glance_look(arena, &wanted->glance, &arena->maps[partition], partition,
                               wanted->key, key_len, now_ms, &block)))
            found(m, from + i, wanted, &block);
        else
            hit = find_again(m, from + i, wanted);
        hits |= (uint32_t)hit << i;
    }
    return hits;
}

static void batch_note(struct matching *m, uint32_t from, uint32_t n, uint32_t hits)
{
    for (uint32_t i = 0; i < n; i += 8)
        m->bitmap[(from + i) / 8] = (uint8_t)(hits >> i);
    m->present += (uint32_t)__builtin_popcount(hits);
    if (m->broken)
        return;
    m->broken = hits + 1 != 1u << n;
    m->rep.prefix = (uint16_t)(m->rep.prefix + (m->broken ? (uint32_t)__builtin_ctz(~hits) : n));
}

static inline __attribute__((always_inline)) void look_up_all(struct matching *m, uint32_t len)
{
    struct wanted batches[STAGES][BATCH];
    uint32_t turn = 0;

    batch_setup(m, 0, batches[0], len);
    batch_setup(m, BATCH, batches[1], len);
    batch_buckets(m, 0, batches[0], len);
    for (uint32_t done = 0; done < m->req.nr_keys; done += BATCH, turn++) {
        uint32_t n = batch_len(m, done);

        batch_setup(m, done + 2 * BATCH, batches[(turn + 2) % STAGES], len);
        batch_buckets(m, done + BATCH, batches[(turn + 1) % STAGES], len);
        batch_note(m, done, n, batch_find(m, done, batches[turn % STAGES], n, len));
    }
}

/* Three times the same, as in client/views.c. */
static void look_up(struct matching *m)
{
    uint32_t len = m->core->nr_partitions == 1 ? m->req.key_size : 0;

    if (len == HASH_SHORT)
        look_up_all(m, HASH_SHORT);
    else if (len == HASH_LONG)
        look_up_all(m, HASH_LONG);
    else
        look_up_all(m, 0);
}

int op_match(struct core *core, struct request *request, struct request_op *op,
             struct answer *answer)
{
    struct matching m = {.core = core};
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
        m.keys = (struct match_keys){.bytes = (const uint8_t *)op->record + sizeof(m.req),
                                     .len = m.req.op.size - (uint32_t)sizeof(m.req),
                                     .key_size = m.req.key_size};
        m.bitmap = at + sizeof(m.rep);
        memset(m.bitmap, 0, bitmap_len);
        m.refs = m.req.op.flags & KVR_MATCH_REFS ? m.bitmap + bitmap_len : NULL;
        if (m.req.op.flags & KVR_MATCH_PIN)
            m.lease_ms =
                m.req.lease_ms < core->now->lease_max_ms ? m.req.lease_ms : core->now->lease_max_ms;
        look_up(&m);
        m.rep.op = answer_head(request, op, KVR_OK, size);
        m.rep.nr_keys = m.req.nr_keys;
        memcpy(at, &m.rep, sizeof(m.rep));
        counter_add(&core->stats->match_keys, m.req.nr_keys);
        counter_add(&core->stats->match_present, m.present);
    }
    answer_count(core, request, op, KVR_OK);
    return KVR_OK;
}
