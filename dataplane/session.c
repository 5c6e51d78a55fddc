/* SPDX-License-Identifier: Apache-2.0 */
/* Hash table of entries that lie in one array, in order of their last use. seq is compared as a
 * serial number (RFC 1982), so it may wrap; clients skip 0. An entry with running datagrams stays.
 */
#include "dataplane/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

struct seq_slot {
    uint32_t seq; /* 0 = empty */
    uint8_t running;
    uint8_t statuses[KVR_MUTATIONS_MAX];
};

struct session {
    uint64_t id;
    uint16_t partition;
    uint16_t nr_running;
    uint32_t floor, newest;
    uint32_t used_ms;
    uint32_t chain;        /* next entry of the same bucket, or of the free list */
    uint32_t older, newer; /* by last use */
    struct seq_slot slots[KVR_WINDOW];
};

struct session_table {
    struct session *entries;
    uint32_t *buckets;
    uint32_t max, bucket_mask, count;
    uint32_t free, oldest, newest;
};

int session_table_create(uint32_t max, struct session_table **out)
{
    struct session_table *table = calloc(1, sizeof(*table));
    uint32_t nr_buckets = 1;

    if (!table)
        return -ENOMEM;
    while (nr_buckets < 2 * max)
        nr_buckets *= 2;
    table->entries = calloc(max, sizeof(*table->entries));
    table->buckets = malloc(nr_buckets * sizeof(*table->buckets));
    if (!table->entries || !table->buckets) {
        session_table_destroy(table);
        return -ENOMEM;
    }
    memset(table->buckets, 0xff, nr_buckets * sizeof(*table->buckets));
    table->bucket_mask = nr_buckets - 1;
    table->max = max;
    table->free = table->oldest = table->newest = NONE;
    for (uint32_t i = max; i-- > 0;) {
        table->entries[i].chain = table->free;
        table->free = i;
    }
    *out = table;
    return 0;
}

void session_table_destroy(struct session_table *table)
{
    if (!table)
        return;
    free(table->entries);
    free(table->buckets);
    free(table);
}

static bool before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static uint32_t *bucket_of(struct session_table *table, uint64_t id, uint16_t partition)
{
    uint64_t mix = (id + partition) * 0x9e3779b97f4a7c15ull;

    return &table->buckets[(mix >> 32) & table->bucket_mask];
}

static uint32_t index_of(const struct session_table *table, const struct session *session)
{
    return (uint32_t)(session - table->entries);
}

static void use_unlink(struct session_table *table, struct session *session)
{
    if (session->older != NONE)
        table->entries[session->older].newer = session->newer;
    else
        table->oldest = session->newer;
    if (session->newer != NONE)
        table->entries[session->newer].older = session->older;
    else
        table->newest = session->older;
}

static void use_append(struct session_table *table, struct session *session)
{
    session->older = table->newest;
    session->newer = NONE;
    if (table->newest != NONE)
        table->entries[table->newest].newer = index_of(table, session);
    else
        table->oldest = index_of(table, session);
    table->newest = index_of(table, session);
}

static void touch(struct session_table *table, struct session *session, uint32_t now_ms)
{
    session->used_ms = now_ms;
    if (table->newest == index_of(table, session))
        return;
    use_unlink(table, session);
    use_append(table, session);
}

struct session *session_find(struct session_table *table, uint64_t id, uint16_t partition)
{
    for (uint32_t i = *bucket_of(table, id, partition); i != NONE; i = table->entries[i].chain)
        if (table->entries[i].id == id && table->entries[i].partition == partition)
            return &table->entries[i];
    return NULL;
}

static void drop(struct session_table *table, struct session *session)
{
    uint32_t *link = bucket_of(table, session->id, session->partition);

    while (*link != index_of(table, session))
        link = &table->entries[*link].chain;
    *link = session->chain;
    use_unlink(table, session);
    session->chain = table->free;
    table->free = index_of(table, session);
    table->count--;
}

/* The longest unused entry, if it may go; running ones move on to the end of the queue. */
static bool drop_oldest(struct session_table *table, uint32_t now_ms, uint32_t keep_ms)
{
    struct session *session;

    if (table->oldest == NONE)
        return false;
    session = &table->entries[table->oldest];
    if (now_ms - session->used_ms < keep_ms)
        return false;
    if (session->nr_running > 0) {
        touch(table, session, now_ms);
        return false;
    }
    drop(table, session);
    return true;
}

static struct session *add(struct session_table *table, const struct kvr_hdr *hdr, uint32_t now_ms,
                           uint32_t keep_ms)
{
    uint32_t *bucket = bucket_of(table, hdr->session, hdr->partition);
    struct session *session;

    if (table->free == NONE && !drop_oldest(table, now_ms, keep_ms))
        return NULL;
    session = &table->entries[table->free];
    table->free = session->chain;
    memset(session, 0, sizeof(*session));
    session->id = hdr->session;
    session->partition = hdr->partition;
    session->floor = hdr->floor;
    session->newest = hdr->seq;
    session->used_ms = now_ms;
    session->chain = *bucket;
    *bucket = index_of(table, session);
    use_append(table, session);
    table->count++;
    return session;
}

enum session_verdict session_admit(struct session_table *table, const struct kvr_hdr *hdr,
                                   uint32_t now_ms, uint32_t keep_ms, struct session **out)
{
    struct session *session = session_find(table, hdr->session, hdr->partition);
    struct seq_slot *slot;

    *out = NULL;
    if (!session) {
        if (before(hdr->seq, hdr->floor))
            return SEQ_OLD;
        session = add(table, hdr, now_ms, keep_ms);
        if (!session)
            return SEQ_FULL;
    }
    session_refresh(table, session, hdr->floor, now_ms);
    *out = session;
    if (before(hdr->seq, session->floor) ||
        (int32_t)(session->newest - hdr->seq) >= (int32_t)KVR_WINDOW)
        return SEQ_OLD;
    slot = &session->slots[hdr->seq % KVR_WINDOW];
    if (slot->seq == hdr->seq)
        return slot->running ? SEQ_RUNNING : SEQ_DONE;
    /* The client gave up the datagram that still holds the slot; it ends at its next turn, and the
     * client will send this one again. */
    if (slot->running)
        return SEQ_RUNNING;
    memset(slot, 0, sizeof(*slot));
    slot->seq = hdr->seq;
    slot->running = 1;
    session->nr_running++;
    if (before(session->newest, hdr->seq))
        session->newest = hdr->seq;
    return SEQ_FRESH;
}

bool session_end(struct session_table *table, uint64_t id, uint16_t partition)
{
    struct session *session = session_find(table, id, partition);

    if (session && session->nr_running > 0)
        return false;
    if (session)
        drop(table, session);
    return true;
}

void session_record(struct session *session, uint32_t seq, unsigned n, enum kvr_status status)
{
    session->slots[seq % KVR_WINDOW].statuses[n] = (uint8_t)status;
}

void session_finish(struct session *session, uint32_t seq)
{
    session->slots[seq % KVR_WINDOW].running = 0;
    session->nr_running--;
}

enum kvr_status session_status(const struct session *session, uint32_t seq, unsigned n)
{
    return session->slots[seq % KVR_WINDOW].statuses[n];
}

void session_refresh(struct session_table *table, struct session *session, uint32_t floor,
                     uint32_t now_ms)
{
    if (!session)
        return;
    if (before(session->floor, floor))
        session->floor = floor;
    touch(table, session, now_ms);
}

bool session_passed(const struct session *session, uint32_t seq)
{
    return before(seq, session->floor);
}

bool session_expire(struct session_table *table, uint32_t now_ms, uint32_t keep_ms)
{
    bool any = false;

    for (unsigned i = 0; i < 4 && drop_oldest(table, now_ms, keep_ms); i++)
        any = true;
    return any;
}

uint32_t session_count(const struct session_table *table)
{
    return table->count;
}
