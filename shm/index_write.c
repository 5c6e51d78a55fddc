/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets as their owner core changes them. Chains are dense: every bucket but the last is full,
 * so a lookup reads no more lines than it must, and the last one is given back when it is empty. */
#include "shm/index_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/bucket.h"

/* next: as bucket.next says it, not 0. */
static struct bucket *overflow(const struct index_writer *index, uint32_t next)
{
    return &index->map->buckets[index->map->nr_buckets + next - 1];
}

static unsigned bucket_used(const struct bucket *bucket)
{
    unsigned used = 0;

    while (used < BUCKET_SLOTS && bucket->tags[used])
        used++;
    return used;
}

static void bucket_clear(struct bucket *bucket)
{
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        shared_store(&bucket->tags[i], (uint16_t)0);
        shared_store(&bucket->blocks[i], 0u);
    }
    shared_store(&bucket->next, 0u);
}

int index_writer_open(struct index_writer *index, const struct part_map *map, bool fresh)
{
    index->map = map;
    index->spare = malloc(map->nr_overflow * sizeof(*index->spare));
    if (!index->spare)
        return -ENOMEM;
    index->nr_spare = 0;
    for (uint32_t i = map->nr_overflow; i > 0; i--)
        index->spare[index->nr_spare++] = i;
    for (uint32_t i = 0; !fresh && i < map->nr_buckets; i++) {
        struct bucket *bucket = &map->buckets[i];

        /* Also ends a change that a dead owner left half done. */
        shared_store(&bucket->version, bucket->version | 1);
        bucket_clear(bucket);
        chain_end(index, i);
    }
    for (uint32_t i = 1; !fresh && i <= map->nr_overflow; i++)
        bucket_clear(overflow(index, i));
    return 0;
}

void index_writer_close(struct index_writer *index)
{
    free(index->spare);
    index->spare = NULL;
}

void chain_begin(const struct index_writer *index, uint32_t head)
{
    struct bucket *bucket = &index->map->buckets[head];

    /* The stores that follow release, so none of them is seen before this one. */
    __atomic_store_n(&bucket->version, bucket->version + 1, __ATOMIC_RELAXED);
}

void chain_end(const struct index_writer *index, uint32_t head)
{
    struct bucket *bucket = &index->map->buckets[head];

    shared_store(&bucket->version, bucket->version + 1);
}

static bool key_is(const struct block_desc *desc, const uint8_t *data, const void *key,
                   uint32_t key_len)
{
    return desc->key_len == key_len && !memcmp(desc_key(desc, data), key, key_len);
}

uint32_t index_locate(const struct index_writer *index, const uint8_t *data, struct key_hash hash,
                      const void *key, uint32_t key_len, struct index_place *place)
{
    uint16_t tag = hash_tag(hash);
    uint32_t head = hash_bucket(hash, index->map->nr_buckets);
    struct bucket *bucket = &index->map->buckets[head];

    for (;;) {
        for (uint32_t hits = bucket_match(bucket, tag); hits; hits &= hits - 1) {
            unsigned slot = (unsigned)__builtin_ctz(hits);
            uint32_t block = bucket->blocks[slot];

            if (key_is(&index->map->descs[block], data, key, key_len)) {
                *place = (struct index_place){.head = head, .bucket = bucket, .slot = slot};
                return block;
            }
        }
        if (!bucket->next)
            return BLOCK_NONE;
        bucket = overflow(index, bucket->next);
    }
}

bool index_locate_block(const struct index_writer *index, uint32_t head, uint32_t block,
                        struct index_place *place)
{
    struct bucket *bucket = &index->map->buckets[head];

    for (;;) {
        for (unsigned slot = 0; slot < BUCKET_SLOTS && bucket->tags[slot]; slot++)
            if (bucket->blocks[slot] == block) {
                *place = (struct index_place){.head = head, .bucket = bucket, .slot = slot};
                return true;
            }
        if (!bucket->next)
            return false;
        bucket = overflow(index, bucket->next);
    }
}

bool index_insert(struct index_writer *index, uint32_t head, uint16_t tag, uint32_t block)
{
    struct bucket *bucket = &index->map->buckets[head], *fresh;
    unsigned length = 0, slot;

    while (bucket->next) {
        bucket = overflow(index, bucket->next);
        length++;
    }
    slot = bucket_used(bucket);
    if (slot == BUCKET_SLOTS) {
        uint32_t number;

        if (length == CHAIN_OVERFLOW_MAX || !index->nr_spare)
            return false;
        number = index->spare[--index->nr_spare];
        fresh = overflow(index, number);
        shared_store(&bucket->next, number);
        bucket = fresh;
        slot = 0;
    }
    shared_store(&bucket->blocks[slot], block);
    shared_store(&bucket->tags[slot], tag);
    return true;
}

void index_remove(struct index_writer *index, const struct index_place *place)
{
    struct bucket *last = &index->map->buckets[place->head], *before = NULL;
    unsigned slot;

    while (last->next) {
        before = last;
        last = overflow(index, last->next);
    }
    slot = bucket_used(last) - 1;
    shared_store(&place->bucket->blocks[place->slot], last->blocks[slot]);
    shared_store(&place->bucket->tags[place->slot], last->tags[slot]);
    shared_store(&last->tags[slot], (uint16_t)0);
    shared_store(&last->blocks[slot], 0u);
    if (!slot && before) {
        index->spare[index->nr_spare++] = before->next;
        shared_store(&before->next, 0u);
    }
}

void index_visit(const struct index_writer *index, uint32_t head,
                 bool (*visit)(void *context, uint32_t block, uint16_t tag), void *context)
{
    const struct bucket *bucket = &index->map->buckets[head];

    for (;;) {
        for (unsigned slot = 0; slot < BUCKET_SLOTS && bucket->tags[slot]; slot++)
            if (!visit(context, bucket->blocks[slot], bucket->tags[slot]))
                return;
        if (!bucket->next)
            return;
        bucket = overflow(index, bucket->next);
    }
}
