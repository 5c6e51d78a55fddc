/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of an arena's layout. Choosing and checking run the same formulas, so what was
 * not made by them is refused. */
#include "shm/geometry.h"

#include <errno.h>
#include <string.h>

#include "kvrail/proto.h"

#define DATA_SIZE_MAX ((uint64_t)DATA_UNIT << 32)
#define CHUNKS_WANTED 64u
#define BLOCKS_MIN 1024u
#define BLOCK_BYTES 1024u /* blocks_max 0: one descriptor for so many bytes */
#define META_BYTES 4096u  /* one block_meta for so many bytes, or for each block */
#define BLOCKS_PER_BUCKET                                                                          \
    6u                    /* of 9 slots, where all descriptors are in use: then 2.7 % of them      \
                           */
#define OVERFLOW_SHARE 8u /* lie in overflow buckets, of which there are 0.084 a bucket */
#define BLOCKS_TOTAL_MAX (1ull << 32)

static uint64_t round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

static uint32_t chunk_size_of(uint64_t region)
{
    uint32_t chunk = CHUNK_MAX;

    while (chunk > CHUNK_MIN && region / chunk < CHUNKS_WANTED)
        chunk /= 2;
    return chunk;
}

/* A hint for every block of a model, not for each of millions of small ones. */
static uint32_t metas_of(const struct geometry *shape)
{
    uint64_t metas = shape->region_size / META_BYTES;

    if (metas < BLOCKS_MIN)
        metas = BLOCKS_MIN;
    return metas < shape->nr_blocks ? (uint32_t)metas : shape->nr_blocks;
}

/* Everything that follows from partitions, cores, blocks and the region's size. */
static void derive(struct geometry *shape, uint32_t page)
{
    shape->chunk_size = chunk_size_of(shape->region_size);
    shape->nr_chunks = (uint32_t)(shape->region_size / shape->chunk_size);
    shape->nr_metas = metas_of(shape);
    shape->nr_buckets = (shape->nr_blocks + BLOCKS_PER_BUCKET - 1) / BLOCKS_PER_BUCKET;
    shape->nr_overflow = shape->nr_buckets / OVERFLOW_SHARE + 16;
    shape->stats_off = round_up(sizeof(struct superblock), CACHE_LINE);
    shape->parts_off = shape->stats_off + shape->nr_cores * (uint64_t)sizeof(struct core_stats);
    shape->tables_off = round_up(
        shape->parts_off + shape->nr_partitions * (uint64_t)sizeof(struct part_header), SMALL_PAGE);
    shape->table_size = ((uint64_t)shape->nr_buckets + shape->nr_overflow) * sizeof(struct bucket) +
                        (uint64_t)shape->nr_blocks * sizeof(struct block_desc) +
                        (uint64_t)shape->nr_metas * sizeof(struct block_meta) +
                        (uint64_t)shape->nr_chunks * sizeof(struct chunk_entry);
    shape->table_size = round_up(shape->table_size, SMALL_PAGE);
    shape->index_size =
        round_up(shape->tables_off + shape->nr_partitions * shape->table_size, page);
    shape->data_size = shape->nr_partitions * shape->region_size;
}

int geometry_choose(const struct arena_spec *spec, uint32_t page, struct geometry *shape)
{
    uint64_t region, blocks;

    memset(shape, 0, sizeof(*shape));
    if (spec->nr_partitions < 1 || spec->nr_partitions > KVR_PARTITIONS_MAX || spec->nr_cores < 1 ||
        spec->nr_cores > spec->nr_partitions || !spec->data_size ||
        spec->data_size > DATA_SIZE_MAX || spec->blocks_max >= BLOCKS_TOTAL_MAX)
        return -EINVAL;
    region = round_up(spec->data_size, spec->nr_partitions) / spec->nr_partitions;
    region = round_up(region, page > CHUNK_MIN ? page : CHUNK_MIN);
    region = round_up(region, chunk_size_of(region));
    blocks = spec->blocks_max ? spec->blocks_max : spec->nr_partitions * region / BLOCK_BYTES;
    blocks = round_up(blocks, spec->nr_partitions) / spec->nr_partitions;
    blocks = round_up(blocks > BLOCKS_MIN ? blocks : BLOCKS_MIN, 64);
    if (region * spec->nr_partitions > DATA_SIZE_MAX ||
        blocks * spec->nr_partitions >= BLOCKS_TOTAL_MAX)
        return -EINVAL;
    shape->nr_partitions = spec->nr_partitions;
    shape->nr_cores = spec->nr_cores;
    shape->nr_blocks = (uint32_t)blocks;
    shape->region_size = region;
    derive(shape, page);
    return 0;
}

void geometry_place(const struct geometry *shape, unsigned partition, struct part_header *header)
{
    uint64_t at = shape->tables_off + partition * shape->table_size;

    memset(header, 0, sizeof(*header));
    header->buckets_off = at;
    at += ((uint64_t)shape->nr_buckets + shape->nr_overflow) * sizeof(struct bucket);
    header->descs_off = at;
    at += (uint64_t)shape->nr_blocks * sizeof(struct block_desc);
    header->metas_off = at;
    at += (uint64_t)shape->nr_metas * sizeof(struct block_meta);
    header->chunks_off = at;
    header->region_off = partition * shape->region_size;
    header->nr_buckets = shape->nr_buckets;
    header->nr_overflow = shape->nr_overflow;
    header->nr_blocks = shape->nr_blocks;
    header->nr_metas = shape->nr_metas;
    header->nr_chunks = shape->nr_chunks;
    header->chunk_size = shape->chunk_size;
}

/* The header as it is stored says what it would be made as. */
static int part_check(const struct geometry *shape, unsigned partition, const void *index)
{
    struct part_header made, stored;

    geometry_place(shape, partition, &made);
    memcpy(&stored, (const uint8_t *)index + shape->parts_off + partition * sizeof(stored),
           offsetof(struct part_header, items));
    return memcmp(&made, &stored, offsetof(struct part_header, items)) ? -EINVAL : 0;
}

int geometry_check(const struct superblock *sb, uint32_t layout_hash, const void *index,
                   size_t index_size, size_t data_size, struct geometry *shape)
{
    memset(shape, 0, sizeof(*shape));
    if (sb->magic != ARENA_MAGIC)
        return -EINVAL;
    if (sb->version != ARENA_VERSION || sb->layout_hash != layout_hash)
        return -EPROTO;
    if (sb->index_size != index_size || sb->data_size != data_size || sb->nr_partitions < 1 ||
        sb->nr_partitions > KVR_PARTITIONS_MAX || sb->nr_cores < 1 ||
        sb->nr_cores > sb->nr_partitions || data_size > DATA_SIZE_MAX)
        return -EINVAL;
    if (sb->blocks_per_partition < BLOCKS_MIN || sb->blocks_per_partition % 64 ||
        (uint64_t)sb->blocks_per_partition * sb->nr_partitions >= BLOCKS_TOTAL_MAX ||
        sb->region_size < CHUNK_MIN || sb->region_size != data_size / sb->nr_partitions ||
        sb->region_size % chunk_size_of(sb->region_size))
        return -EINVAL;
    shape->nr_partitions = sb->nr_partitions;
    shape->nr_cores = sb->nr_cores;
    shape->nr_blocks = sb->blocks_per_partition;
    shape->region_size = sb->region_size;
    derive(shape, SMALL_PAGE);
    if (shape->data_size != data_size || shape->index_size > index_size ||
        shape->nr_buckets != sb->buckets_per_partition || shape->stats_off != sb->stats_off ||
        shape->parts_off != sb->parts_off)
        return -EINVAL;
    for (unsigned i = 0; i < shape->nr_partitions; i++)
        if (part_check(shape, i, index) < 0)
            return -EINVAL;
    return 0;
}
