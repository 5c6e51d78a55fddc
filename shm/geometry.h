/* SPDX-License-Identifier: Apache-2.0 */
/* How large everything in an arena is and where it begins: chosen from a spec, or read from a
 * superblock and checked. Pure arithmetic; private to arena.c and arena_file.c, as are the two
 * steps of making an arena that they share. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shm/arena.h"

#define SMALL_PAGE 4096u
#define HUGE_PAGE (2u << 20)
#define CHUNK_MIN (64u << 10)
#define CHUNK_MAX (2u << 20)

struct geometry {
    uint32_t nr_partitions, nr_cores;
    uint32_t nr_blocks, nr_metas, nr_buckets, nr_overflow, nr_chunks,
        chunk_size; /* per partition */
    uint64_t region_size;
    uint64_t stats_off, parts_off, tables_off; /* of the first partition's tables */
    uint64_t table_size;                       /* one partition's buckets to chunk entries */
    uint64_t index_size, data_size;
};

/* 0, or -EINVAL where the spec is out of range. */
[[nodiscard]] int geometry_choose(const struct arena_spec *spec, uint32_t page,
                                  struct geometry *shape);

/* Checks a superblock (a private copy) against the mapped index and the real sizes.
 * 0, -EPROTO (another version or layout), -EINVAL. */
[[nodiscard]] int geometry_check(const struct superblock *sb, uint32_t layout_hash,
                                 const void *index, size_t index_size, size_t data_size,
                                 struct geometry *shape);

/* The constant part of a partition's header. */
void geometry_place(const struct geometry *shape, unsigned partition, struct part_header *header);

/* arena.c */
/* 0 or -errno. */
[[nodiscard]] int arena_map(int fd, size_t size, bool writable, bool huge, void **address);
/* Writes the superblock and the headers into mapped zeroes. 0 or -errno. */
[[nodiscard]] int arena_format(struct arena *arena, const struct arena_spec *spec,
                               const struct geometry *shape);
