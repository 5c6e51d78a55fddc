/* SPDX-License-Identifier: Apache-2.0 */
/* The two segments: create and format (kvraild), attach (everyone). Slow path, one thread at a time
 * per struct arena; the mapped memory itself is shared as layout.h says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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
    bool sealed; /* memfds; else files, which whoever may write them may also shrink */
};

enum arena_rights { ARENA_READ = 0, ARENA_WRITE_INDEX = 1, ARENA_WRITE_DATA = 2 };

/* Creates, sizes and formats both segments; the caller owns the descriptors (arena_close).
 * 0, -EINVAL (spec out of range), -ENOMEM (no memory, or HUGEPAGES_REQUIRE without enough pages),
 * -errno. With HUGEPAGES_AUTO ordinary pages are used where there are not enough huge ones. */
[[nodiscard]] int arena_create(const struct arena_spec *spec, struct arena *arena);

/* The same in the files PATH.index and PATH.data, which must lie on tmpfs or hugetlbfs and outlive
 * every process: an arena that they hold already is taken up again, else they are made, with all
 * their memory at once. anew: they are made in any case; what others still map stays as it is.
 * spec->hugepages does not count: the file system decides. *resumed says which it was.
 * While the index's descriptor or a copy of it is open anywhere, nobody else can open the files.
 * -EPROTO: another version or layout; -EINVAL: damaged, of another geometry than spec wants, or
 * spec out of range; -EBUSY: another server has them; -ETXTBSY: clients of the last server still
 * read them (arena_lend), so nothing in them may be overwritten yet; -EMEDIUMTYPE: another file
 * system; -ENOSPC, -errno. With anew 1 all but the last four and -EBUSY are overcome. */
[[nodiscard]] int arena_open_files(const struct arena_spec *spec, const char *path, bool anew,
                                   struct arena *arena, bool *resumed);

/* Descriptors of the segments to hand to another process: read-only ones, but for the data with
 * ARENA_WRITE_DATA. Those of files are marked, so that nobody resumes the files (-ETXTBSY) while
 * their holder lives. 0 or -errno; the caller closes them. */
[[nodiscard]] int arena_lend(const struct arena *arena, unsigned rights, int *index_fd,
                             int *data_fd);

/* Notes in the superblock what time it is, for a server that resumes the files after a reboot or a
 * long while. At a clean end, and now and then before. Needs a writable index. */
void arena_clock_note(const struct arena *arena);

/* The dataplane calls begin before it opens the first partition and end after the last: between
 * them buckets are empty that will not be, and a client's miss counts for nothing. A client loads
 * arena_recovery before and after a lookup that found nothing: the miss counts if both are the same
 * even number. */
void arena_recovery_begin(struct arena *arena);
void arena_recovery_end(struct arena *arena);
static inline uint64_t arena_recovery(const struct arena *arena)
{
    /* Pairs with the releases of begin and end, and of every store to the buckets between them. */
    return __atomic_load_n(&arena->sb->recovery, __ATOMIC_ACQUIRE);
}

/* Maps segments that arena_create or arena_open_files made; duplicates nothing: the descriptors
 * become the arena's. rights: enum arena_rights or'ed. Everything in the superblock is checked
 * against the real sizes. What is no memfd sealed against shrinking must be a file on tmpfs or
 * hugetlbfs that only root, this process's user, or trusted_uid may write (and so shrink).
 * 0, -EPROTO (another version or layout), -EINVAL (not an arena, or damaged), -EACCES (others may
 * write it), -errno. */
[[nodiscard]] int arena_attach(int index_fd, int data_fd, unsigned rights, struct arena *arena);
/* trusted_uid: of a server that the caller trusts not to shrink its files, as the socket's peer
 * credentials name it. */
[[nodiscard]] int arena_attach_from(uid_t trusted_uid, int index_fd, int data_fd, unsigned rights,
                                    struct arena *arena);

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
