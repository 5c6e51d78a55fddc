/* SPDX-License-Identifier: Apache-2.0 */
/* The two memfds: create and format (kvraild), attach (everyone). Slow path, one thread at a time
 * per struct arena; the mapped memory itself is shared as layout.h says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/layout.h"
#include "shm/stats.h"

enum hugepages { HUGEPAGES_OFF, HUGEPAGES_AUTO, HUGEPAGES_REQUIRE };

struct arena_spec {
    uint64_t data_size;     /* bytes; rounded up so that each region is whole pages */
    uint32_t nr_partitions; /* 1 .. KVR_PARTITIONS_MAX */
    uint32_t nr_cores;      /* 1 .. nr_partitions */
    uint64_t blocks_max;    /* over all partitions; 0 = data_size / 1 KiB, at least 1,024 each */
    enum hugepages hugepages;
    uint64_t seed; /* 0 = random */
};

/* Where one partition lies in this process: a private copy of the checked part_header, so that
 * nothing that is written to the index later can lead a reader outside the mappings. */
struct part_map {
    struct part_header *header;
    struct bucket *buckets; /* nr_buckets, then nr_overflow */
    struct block_desc *descs;
    struct block_meta *metas;
    struct chunk_entry *chunks;
    uint32_t nr_buckets, nr_overflow, nr_blocks, nr_metas, nr_chunks, chunk_size;
    uint64_t region_off;
};

struct arena {
    struct superblock *sb;    /* start of the index mapping */
    uint8_t *data;            /* start of the data mapping */
    struct part_map *maps;    /* nr_partitions */
    struct core_stats *stats; /* nr_cores */
    unsigned nr_partitions, nr_cores;
    size_t index_size, data_size;
    uint64_t region_size;
    int index_fd, data_fd;
    bool index_writable, data_writable, hugepages;
};

enum arena_rights { ARENA_READ = 0, ARENA_WRITE_INDEX = 1, ARENA_WRITE_DATA = 2 };

/* Creates, sizes and formats both segments; the caller owns the descriptors (arena_close).
 * 0, -EINVAL (spec out of range), -ENOMEM (no memory, or HUGEPAGES_REQUIRE without enough pages),
 * -errno. With HUGEPAGES_AUTO ordinary pages are used where there are not enough huge ones. */
[[nodiscard]] int arena_create(const struct arena_spec *spec, struct arena *arena);

/* Maps segments that arena_create made; duplicates nothing: the descriptors become the arena's.
 * rights: enum arena_rights or'ed. Everything in the superblock is checked against the real sizes.
 * 0, -EPROTO (another version or layout), -EINVAL (not an arena, or damaged), -errno. */
[[nodiscard]] int arena_attach(int index_fd, int data_fd, unsigned rights, struct arena *arena);

/* Unmaps and closes. */
void arena_close(struct arena *arena);

static inline struct part_header *arena_part(const struct arena *arena, unsigned partition)
{
    return arena->maps[partition].header;
}

static inline struct core_stats *arena_stats(const struct arena *arena, unsigned core)
{
    return arena->stats + core;
}

/* Milliseconds since the arena's epoch, modulo 2^32, as block expiry counts them. */
static inline uint32_t arena_ms(const struct arena *arena, uint64_t now_ns)
{
    return (uint32_t)((now_ns - arena->sb->epoch_ns) / 1000000u);
}
