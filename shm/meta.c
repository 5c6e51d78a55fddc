/* SPDX-License-Identifier: Apache-2.0 */
/* A bitmap of the entries, searched round about from where the last free one was found. */
#include "shm/meta.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/words.h"

int meta_open(struct meta_table *table, const struct part_map *map)
{
    uint32_t nr_words = (map->nr_metas + 63) / 64;

    *table = (struct meta_table){
        .metas = map->metas, .nr = map->nr_metas, .nr_free = map->nr_metas, .nr_words = nr_words};
    table->taken = calloc(nr_words, sizeof(*table->taken));
    if (!table->taken)
        return -ENOMEM;
    /* Bits behind the last entry look taken. */
    if (map->nr_metas % 64)
        table->taken[nr_words - 1] = ~0ull << map->nr_metas % 64;
    return 0;
}

void meta_close(struct meta_table *table)
{
    free(table->taken);
    table->taken = NULL;
}

bool meta_needed(const struct kvr_hint *hint)
{
    return hint->parent || hint->cost_us || hint->reuse_ms || hint->flags;
}

uint32_t meta_take(struct meta_table *table)
{
    uint32_t bit;

    if (!table->nr_free)
        return META_NONE;
    while (table->taken[table->word] == UINT64_MAX)
        table->word = table->word + 1 < table->nr_words ? table->word + 1 : 0;
    bit = (uint32_t)__builtin_ctzll(~table->taken[table->word]);
    table->taken[table->word] |= 1ull << bit;
    table->nr_free--;
    return table->word * 64 + bit + 1;
}

void meta_give(struct meta_table *table, uint32_t number)
{
    uint32_t word = (number - 1) / 64;
    uint64_t bit = 1ull << (number - 1) % 64;

    assert(number && number <= table->nr && table->taken[word] & bit);
    table->taken[word] &= ~bit;
    table->nr_free++;
}

void meta_write(struct meta_table *table, uint32_t number, const struct kvr_hint *hint)
{
    uint32_t reuse_s = hint->reuse_ms / 1000 + (hint->reuse_ms % 1000 != 0);
    struct block_meta meta = {.parent = hint->parent,
                              .cost_us = hint->cost_us,
                              .reuse_s = (uint16_t)(reuse_s < UINT16_MAX ? reuse_s : UINT16_MAX),
                              .hint_flags = hint->flags};
    uint64_t *words = (uint64_t *)(void *)&table->metas[number - 1];
    uint64_t fresh[2];

    memcpy(fresh, &meta, sizeof(fresh));
    shared_store(&words[0], fresh[0]);
    shared_store(&words[1], fresh[1]);
}

bool meta_adopt(struct meta_table *table, uint32_t number)
{
    uint32_t word = (number - 1) / 64;
    uint64_t bit = 1ull << (number - 1) % 64;

    if (!number || number > table->nr || table->taken[word] & bit)
        return false;
    table->taken[word] |= bit;
    table->nr_free--;
    return true;
}
