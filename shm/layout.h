/* SPDX-License-Identifier: Apache-2.0 */
/* What lies where in the two segments. Only offsets and indexes, never pointers; every struct is
 * static-asserted, and any change of them bumps ARENA_VERSION or the layout hash.
 *
 * index segment (clients map it read-only)
 *   0                struct superblock                     written by kvraild once, then as marked
 *   sb.stats_off     struct core_stats[nr_cores]           each written by its poll core
 *   sb.parts_off     struct part_header[nr_partitions]     each written by its owner core
 *   per partition p, at the offsets in its part_header:
 *     struct bucket[nr_buckets], then overflow buckets     owner core
 *     struct block_desc[nr_blocks]                         owner core
 *     struct block_meta[nr_metas]                          owner core
 *     struct chunk_entry[nr_chunks]                        owner core
 * data segment
 *   nr_partitions equal regions; values (and keys longer than 32 bytes) in multiples of DATA_UNIT
 */
#pragma once

#include <stdint.h>

#include "base/cacheline.h"

#define ARENA_MAGIC 0x616c6961726b76ull /* "vkraila" */
#define ARENA_VERSION 3
#define DATA_UNIT 64u /* bytes; places are counted in units: 256 GiB at most */
#define BUCKET_SLOTS 9u
#define KEY_INLINE 32u /* longer keys lie in the data segment */
#define BLOCK_NONE UINT32_MAX

/* What the scans of hazard slots cost and found (shm/reclaim.h). */
struct reclaim_stats {
    uint64_t heartbeat_ns;     /* clock_ns() of the last turn */
    uint64_t scans, slots;     /* done; hazard slots looked at */
    uint64_t scan_ns;          /* spent in them */
    uint64_t held, held_bytes; /* by the last scan: blocks that some client holds, their values */
};

/* What the worker did that copies values for clients without the write right. */
struct copy_stats {
    uint64_t heartbeat_ns;
    uint64_t copies, bytes;
};

#define GPU_ROWS 16u

enum gpu_row_state { GPU_ROW_NONE, GPU_ROW_UP, GPU_ROW_FAILED, GPU_ROW_RESETTING };

/* What is known of a device (gpu/fleet.h says what each means), written by the dataplane's main
 * thread some ten times a second. Texts end with a zero. */
struct gpu_row {
    uint32_t state; /* enum gpu_row_state; NONE: there is no such device */
    int32_t numa_node;
    char backend[8], where[32], name[64];
    uint64_t memory_total, memory_free, load_bytes_s, store_bytes_s;
    uint64_t jobs, jobs_waiting, jobs_running;
    uint64_t expired, canceled, failed, moved_away;
    uint64_t load_bytes, store_bytes, move_bytes, outstanding_bytes;
    uint64_t load_busy_ns, store_busy_ns;
    uint64_t batches, pieces, failures, hangs, resets, registered_bytes;
    /* Of the pools in its memory (gpu/pool.h), all cores together. */
    uint64_t pool_size, pool_used; /* bytes; used: of the blocks in it */
    uint64_t pool_slots, pool_ready, pool_loading, pool_pins;
    uint64_t pool_hits, pool_hit_bytes, pool_loads, pool_loads_failed;
    uint64_t pool_evictions, pool_forgotten, pool_lost, pool_no_slot;
    uint64_t written_ns; /* clock_ns() */
};

struct superblock {
    uint64_t magic;
    uint32_t version;
    uint32_t layout_hash; /* of the struct sizes and offsets; see arena.c */
    uint64_t index_size, data_size;
    uint32_t nr_partitions; /* partition p is owned by poll core p % nr_cores */
    uint32_t nr_cores;      /* room for statistics; cores in use may be fewer */
    uint32_t blocks_per_partition, buckets_per_partition;
    uint64_t region_size; /* bytes of the data segment per partition */
    uint64_t seed;        /* of the key hash */
    uint64_t arena_id;    /* random, new with every created arena */
    uint64_t created_wall_ms;
    uint64_t epoch_ns; /* clock_ns() that block expiry counts from */
    uint64_t stats_off, parts_off;
    uint64_t boot_id;       /* dataplane: random, new with every start */
    uint64_t started_ns;    /* dataplane: clock_ns() of its start */
    uint32_t dataplane_pid; /* dataplane */
    uint32_t cores_used;    /* dataplane */
    uint64_t recovery; /* dataplane: odd while it rebuilds the buckets; a miss counts for nothing
                        * unless this was the same even number before and after */
    struct reclaim_stats reclaim; /* the reclaimer's thread */
    struct copy_stats copy;       /* the copy worker's thread */
    /* arena_clock_note: the same instant by clock_ns() and by the wall clock, and which boot of the
     * host the former counts from. */
    uint64_t noted_ns, noted_wall_ms, host_boot;
    struct gpu_row gpus[GPU_ROWS]; /* dataplane */
};

/* One cache line. Readers: version (acquire, even), tags, blocks, then version again.
 * A chain is covered by the version of its head. */
struct bucket {
    uint32_t version;            /* odd while the owner changes the chain */
    uint32_t next;               /* overflow bucket + 1, or 0 */
    uint16_t tags[BUCKET_SLOTS]; /* 0 = empty */
    uint16_t zero;
    uint32_t blocks[BUCKET_SLOTS]; /* index into the partition's descriptors */
};

enum block_state {
    BLOCK_FREE = 0,
    BLOCK_RESERVED = 1, /* has memory, is in no bucket */
    BLOCK_SEALED = 2,   /* in a bucket, immutable */
    BLOCK_UNLINKED = 3, /* in no bucket, waits for readers and pins */
};

#define DESC_EXPIRES 0x01u /* expiry_ms counts */
#define DESC_MARKED 0x02u  /* reserved: value_crc is the mark of whoever writes it */

/* One cache line: all that a hit needs. */
struct block_desc {
    uint32_t
        generation; /* of this use of the descriptor, from 1; a reference is (index, generation) */
    uint8_t state;  /* enum block_state */
    uint8_t flags;  /* DESC_* */
    uint16_t key_len;
    uint32_t value_len;
    uint32_t value_crc; /* CRC32C; while reserved, its mark */
    uint32_t place;     /* of the value, in DATA_UNITs from the start of the data segment */
    union {
        uint32_t expiry_ms; /* since sb.epoch_ns, modulo 2^32; compare as signed difference */
        uint32_t next;      /* unlinked or free: the owner's next such block, or BLOCK_NONE */
    };
    uint16_t tenant;
    uint16_t layout;
    uint32_t meta; /* number of its block_meta, from 1; 0 = no hint was given */
    union {
        uint8_t key[KEY_INLINE];
        uint64_t key_words[KEY_INLINE / 8];
        struct {
            uint64_t hash_lo; /* of the key: the data may be written by others */
            uint32_t place;   /* behind the value, in DATA_UNITs */
        } far_key;            /* longer than KEY_INLINE */
    };
};

/* What only policies and people ask for, of blocks that came with a hint. A descriptor names its
 * entry; entries change hands after a block's grace period. */
struct block_meta {
    uint64_t parent; /* struct kvr_hint */
    uint32_t cost_us;
    uint16_t reuse_s; /* 0 = unknown, capped */
    uint8_t hint_flags;
    uint8_t zero;
};

/* How the allocator cut up a region: a slab is a run of chunks that holds slots of one size. Kept
 * here so that a new dataplane can tell which slot a block's place is. */
struct chunk_entry {
    uint32_t slot_units; /* 0 = the chunk is free */
    uint16_t nr_chunks;  /* of its slab */
    uint16_t index;      /* of this chunk in its slab */
};

struct part_header {
    uint64_t buckets_off, descs_off, metas_off; /* in the index segment */
    uint64_t chunks_off;
    uint64_t region_off; /* in the data segment, bytes */
    uint32_t nr_buckets; /* without overflow */
    uint32_t nr_overflow;
    uint32_t nr_blocks;
    uint32_t nr_chunks;
    uint32_t chunk_size; /* bytes, power of two */
    uint32_t nr_metas;
    cache_aligned uint64_t items; /* sealed */
    uint64_t value_bytes;         /* sealed */
    uint64_t reserved, unlinked;  /* blocks in these states */
    uint64_t used_bytes;          /* of the region, held by slabs */
    uint64_t evictions, evicted_bytes, expired, replaced, no_space, reclaimed;
    uint64_t grace_waits; /* attempts that found the memory still with its readers */
    uint64_t hints_lost;  /* all of block_meta was taken */
    uint32_t blocks_used; /* descriptors from here on were never used and are all zero */
};

_Static_assert(sizeof(struct bucket) == CACHE_LINE, "a bucket is one cache line");
_Static_assert(sizeof(struct block_desc) == CACHE_LINE, "a descriptor is one cache line");
_Static_assert(sizeof(struct block_meta) == 16, "block_meta");
_Static_assert(sizeof(struct chunk_entry) == 8, "chunk_entry");
_Static_assert(sizeof(struct part_header) == 192, "part_header");
_Static_assert(sizeof(struct gpu_row) == 416, "gpu_row");
_Static_assert(sizeof(struct superblock) == 232 + GPU_ROWS * 416, "superblock");

/* A reference as it travels: generation in the high half, descriptor (partition * nr_blocks +
 * index) in the low half. Never 0, since generations start at 1. */
static inline uint64_t block_ref(uint32_t generation, uint32_t global_index)
{
    return (uint64_t)generation << 32 | global_index;
}
