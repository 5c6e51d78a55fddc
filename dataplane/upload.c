/* SPDX-License-Identifier: Apache-2.0 */
/* Twice as many entries as may be open: the rest remember ended uploads until they are needed
 * again, oldest first. Bitmaps lie in one lazily touched array, so opening an upload allocates
 * nothing. */
#include "dataplane/upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "shm/partition.h"

#define NONE UINT32_MAX
#define JOIN_COST 64u /* as of so many bytes */
#define BITMAP_WORDS (KVR_VALUE_MAX / KVR_FRAG_MIN / 64u)

struct queue {
    uint32_t oldest, newest;
};

struct upload_table {
    struct upload *entries;
    uint64_t *bitmaps;
    uint32_t max, count, free;
    struct queue queues[3]; /* by enum upload_state */
};

int upload_table_create(uint32_t max, uint32_t generation, struct upload_table **out)
{
    struct upload_table *table = calloc(1, sizeof(*table));
    uint32_t nr_entries = 2 * max;

    if (!table)
        return -ENOMEM;
    table->entries = calloc(nr_entries, sizeof(*table->entries));
    table->bitmaps = calloc((size_t)nr_entries * BITMAP_WORDS, sizeof(uint64_t));
    if (!table->entries || !table->bitmaps) {
        upload_table_destroy(table);
        return -ENOMEM;
    }
    table->max = max;
    table->free = NONE;
    for (unsigned i = 0; i < 3; i++)
        table->queues[i] = (struct queue){NONE, NONE};
    for (uint32_t i = nr_entries; i-- > 0;) {
        table->entries[i].received = table->bitmaps + (size_t)i * BITMAP_WORDS;
        table->entries[i].generation = generation;
        table->entries[i].newer = table->free;
        table->free = i;
    }
    *out = table;
    return 0;
}

void upload_table_destroy(struct upload_table *table)
{
    if (!table)
        return;
    if (table->entries && table->bitmaps)
        for (uint32_t i = table->queues[UPLOAD_OPEN].oldest; i != NONE; i = table->entries[i].newer)
            partition_abort(table->entries[i].partition, table->entries[i].block);
    free(table->entries);
    free(table->bitmaps);
    free(table);
}

static uint32_t index_of(const struct upload_table *table, const struct upload *upload)
{
    return (uint32_t)(upload - table->entries);
}

static void queue_unlink(struct upload_table *table, struct upload *upload)
{
    struct queue *queue = &table->queues[upload->state];

    if (upload->older != NONE)
        table->entries[upload->older].newer = upload->newer;
    else
        queue->oldest = upload->newer;
    if (upload->newer != NONE)
        table->entries[upload->newer].older = upload->older;
    else
        queue->newest = upload->older;
}

static void queue_append(struct upload_table *table, struct upload *upload, enum upload_state state)
{
    struct queue *queue = &table->queues[state];

    upload->state = (uint8_t)state;
    upload->older = queue->newest;
    upload->newer = NONE;
    if (queue->newest != NONE)
        table->entries[queue->newest].newer = index_of(table, upload);
    else
        queue->oldest = index_of(table, upload);
    queue->newest = index_of(table, upload);
}

static uint64_t handle_of(const struct upload_table *table, const struct upload *upload)
{
    return (uint64_t)upload->generation << 32 | (uint64_t)upload->partition_nr << 24 |
           index_of(table, upload);
}

static void forget_ended(struct upload_table *table, struct upload *upload)
{
    queue_unlink(table, upload);
    upload->state = UPLOAD_FREE;
    upload->newer = table->free;
    table->free = index_of(table, upload);
}

bool upload_full(const struct upload_table *table)
{
    return table->count >= table->max;
}

struct upload *upload_new(struct upload_table *table, uint32_t now_ms, uint16_t partition,
                          uint64_t *handle)
{
    struct upload *upload;
    uint32_t generation;
    uint64_t *received;

    if (table->free == NONE) /* then max entries at least are ended */
        forget_ended(table, &table->entries[table->queues[UPLOAD_ENDED].oldest]);
    upload = &table->entries[table->free];
    table->free = upload->newer;
    generation = upload->generation + 1;
    received = upload->received;
    memset(upload, 0, sizeof(*upload));
    upload->generation = generation;
    upload->received = received;
    upload->partition_nr = partition;
    upload->used_ms = now_ms;
    queue_append(table, upload, UPLOAD_OPEN);
    table->count++;
    *handle = handle_of(table, upload);
    return upload;
}

void upload_begin(struct upload *upload)
{
    upload->nr_frags = (upload->value_len + upload->frag - 1) / upload->frag;
    memset(upload->received, 0, (upload->nr_frags + 63u) / 64u * sizeof(uint64_t));
}

struct upload *upload_find(struct upload_table *table, uint64_t handle, uint64_t session)
{
    uint32_t index = (uint32_t)(handle & 0xffffffu);
    struct upload *upload;

    if (index >= 2 * table->max)
        return NULL;
    upload = &table->entries[index];
    if (upload->state == UPLOAD_FREE || handle_of(table, upload) != handle ||
        upload->session != session)
        return NULL;
    return upload;
}

struct upload *upload_find_seq(struct upload_table *table, uint64_t session, uint16_t partition,
                               uint32_t seq, uint8_t idx, uint64_t *handle)
{
    for (uint32_t i = 0; i < 2 * table->max; i++) {
        struct upload *upload = &table->entries[i];

        if (upload->state != UPLOAD_FREE && upload->session == session &&
            upload->partition_nr == partition && upload->seq == seq && upload->idx == idx) {
            *handle = handle_of(table, upload);
            return upload;
        }
    }
    return NULL;
}

void upload_touch(struct upload_table *table, struct upload *upload, uint32_t now_ms)
{
    enum upload_state state = upload->state;

    upload->used_ms = now_ms;
    if (table->queues[state].newest == index_of(table, upload))
        return;
    queue_unlink(table, upload);
    queue_append(table, upload, state);
}

static bool has(const struct upload *upload, uint32_t frag)
{
    return upload->received[frag / 64] >> (frag % 64) & 1;
}

static uint32_t frag_end(const struct upload *upload, uint32_t frag)
{
    uint64_t end = (uint64_t)(frag + 1) * upload->frag;

    return end < upload->value_len ? (uint32_t)end : upload->value_len;
}

enum kvr_status upload_write(struct upload *upload, uint32_t off, uint32_t len,
                             const uint8_t *bytes, const uint32_t *crc)
{
    uint32_t frag = off / upload->frag;

    if (off % upload->frag != 0 || frag >= upload->nr_frags || frag_end(upload, frag) - off != len)
        return KVR_BAD_RANGE;
    if (has(upload, frag))
        return KVR_OK;
    memcpy(upload->value + off, bytes, len);
    if (upload->sums && crc && len == KVR_FRAG_BEST)
        upload->sums[frag] = *crc;
    upload->received[frag / 64] |= 1ull << (frag % 64);
    upload->nr_received++;
    return KVR_OK;
}

/* Goes on by a fragment whose CRC32C is known. False: it is not. */
static bool join_fragment(struct upload *upload, uint32_t frag, uint32_t *budget)
{
    uint32_t cost = *budget < JOIN_COST ? *budget : JOIN_COST;

    if (!upload->sums || upload->crc_at != frag * KVR_FRAG_BEST ||
        upload->value_len - upload->crc_at < KVR_FRAG_BEST || upload->sums[frag] == 0)
        return false;
    upload->crc = crc32c_join(upload->crc, upload->sums[frag], upload->shift);
    upload->crc_at += KVR_FRAG_BEST;
    *budget -= cost;
    return true;
}

void upload_advance(struct upload *upload, uint32_t *budget)
{
    while (upload->crc_at<upload->value_len && * budget> 0) {
        uint32_t frag = upload->crc_at / upload->frag;
        uint32_t piece;

        if (!has(upload, frag))
            return;
        if (join_fragment(upload, frag, budget))
            continue;
        piece = frag_end(upload, frag) - upload->crc_at;
        if (piece > *budget)
            piece = *budget;
        upload->crc = crc32c(upload->crc, upload->value + upload->crc_at, piece);
        upload->crc_at += piece;
        *budget -= piece;
    }
}

unsigned upload_missing(const struct upload *upload, struct kvr_range *ranges, unsigned max)
{
    uint32_t frag = upload->crc_at / upload->frag;
    unsigned n = 0;

    while (n < max) {
        uint32_t first;

        while (frag < upload->nr_frags && has(upload, frag))
            frag++;
        if (frag >= upload->nr_frags)
            break;
        first = frag;
        while (frag < upload->nr_frags && !has(upload, frag))
            frag++;
        ranges[n].off = first * upload->frag;
        ranges[n].len = frag_end(upload, frag - 1) - ranges[n].off;
        n++;
    }
    return n;
}

void upload_end(struct upload_table *table, struct upload *upload, enum kvr_status status,
                uint64_t ref, uint32_t now_ms)
{
    if (status != KVR_OK && status != KVR_EXISTS)
        partition_abort(upload->partition, upload->block);
    queue_unlink(table, upload);
    queue_append(table, upload, UPLOAD_ENDED);
    upload->used_ms = now_ms;
    upload->status = (uint8_t)status;
    upload->ref = ref;
    upload->value = NULL;
    upload->sums = NULL;
    table->count--;
}

unsigned upload_expire(struct upload_table *table, uint32_t now_ms, uint32_t idle_ms)
{
    unsigned dropped = 0;

    for (unsigned i = 0; i < 4; i++) {
        struct upload *open, *ended;

        if (table->queues[UPLOAD_OPEN].oldest != NONE) {
            open = &table->entries[table->queues[UPLOAD_OPEN].oldest];
            if (now_ms - open->used_ms >= idle_ms) {
                upload_end(table, open, KVR_NO_UPLOAD, 0, now_ms);
                dropped++;
            }
        }
        if (table->queues[UPLOAD_ENDED].oldest != NONE) {
            ended = &table->entries[table->queues[UPLOAD_ENDED].oldest];
            if (now_ms - ended->used_ms >= 2 * idle_ms)
                forget_ended(table, ended);
        }
    }
    return dropped;
}

uint32_t upload_count(const struct upload_table *table)
{
    return table->count;
}
