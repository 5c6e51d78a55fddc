/* SPDX-License-Identifier: Apache-2.0 */
/* Makes, formats, checks and maps the two segments. Whoever attaches trusts no number in them
 * before it was compared with the real sizes, and uses a private copy afterwards. */
#include "shm/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "kvrail/proto.h"
#include "shm/geometry.h"

#define HUGE_2MIB (21u << 26) /* log2 of the page size, as memfd_create(2) encodes it */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static uint32_t layout_hash(void)
{
#define AT(type, field) offsetof(struct type, field)
    static const uint32_t shape[] = {
        sizeof(struct superblock),
        AT(superblock, region_size),
        AT(superblock, epoch_ns),
        AT(superblock, stats_off),
        AT(superblock, parts_off),
        AT(superblock, cores_used),
        sizeof(struct bucket),
        AT(bucket, next),
        AT(bucket, tags),
        AT(bucket, blocks),
        sizeof(struct block_desc),
        AT(block_desc, state),
        AT(block_desc, key_len),
        AT(block_desc, value_len),
        AT(block_desc, value_crc),
        AT(block_desc, place),
        AT(block_desc, expiry_ms),
        AT(block_desc, layout),
        AT(block_desc, meta),
        AT(block_desc, key),
        AT(block_desc, far_key.place),
        sizeof(struct block_meta),
        AT(block_meta, hint_flags),
        sizeof(struct chunk_entry),
        AT(chunk_entry, index),
        sizeof(struct part_header),
        AT(part_header, region_off),
        AT(part_header, nr_buckets),
        AT(part_header, nr_metas),
        AT(part_header, items),
        AT(part_header, blocks_used),
        sizeof(struct core_stats),
        AT(core_stats, drops),
        AT(core_stats, ops),
        AT(core_stats, errors),
        AT(core_stats, latency),
        DATA_UNIT,
        BUCKET_SLOTS,
        KEY_INLINE,
    };
#undef AT
    return (uint32_t)XXH3_64bits(shape, sizeof(shape));
}

/* Bytes that ordinary pages could still be had for; UINT64_MAX if the system does not say. */
static uint64_t memory_available(void)
{
    uint64_t available = UINT64_MAX, swap = 0, kib;
    char line[128];
    FILE *meminfo = fopen("/proc/meminfo", "re");

    if (!meminfo)
        return available;
    while (fgets(line, sizeof(line), meminfo)) {
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
            available = kib << 10;
        else if (sscanf(line, "SwapFree: %" SCNu64, &kib) == 1)
            swap = kib << 10;
    }
    fclose(meminfo);
    return available > UINT64_MAX - swap ? UINT64_MAX : available + swap;
}

static int random_u64(uint64_t *value)
{
    do {
        if (getrandom(value, sizeof(*value), 0) != sizeof(*value))
            return -EIO;
    } while (!*value);
    return 0;
}

int arena_map(int fd, size_t size, bool writable, bool huge, void **address)
{
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    /* Huge pages are reserved by mapping them, ordinary ones are had as they are touched. */
    void *at = mmap(NULL, size, protection, MAP_SHARED | (huge ? 0 : MAP_NORESERVE), fd, 0);

    if (at == MAP_FAILED)
        return -errno;
    *address = at;
    return 0;
}

static int memory_create(const char *name, size_t size, bool huge, int *fd, void **address)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | HUGE_2MIB : 0);
    int error;

    *fd = memfd_create(name, flags);
    if (*fd < 0)
        return -errno;
    if (ftruncate(*fd, (off_t)size) < 0 || fcntl(*fd, F_ADD_SEALS, SEALS) < 0) {
        error = -errno;
        goto close_fd;
    }
    error = arena_map(*fd, size, true, huge, address);
    if (error)
        goto close_fd;
    return 0;
close_fd:
    close(*fd);
    *fd = -1;
    return error;
}

static int memories_create(struct arena *arena, const struct geometry *shape, bool huge)
{
    void *index = NULL, *data = NULL;
    int error = memory_create("kvrail-index", shape->index_size, huge, &arena->index_fd, &index);

    if (error)
        return error;
    error = memory_create("kvrail-data", shape->data_size, huge, &arena->data_fd, &data);
    if (error) {
        munmap(index, shape->index_size);
        close(arena->index_fd);
        return error;
    }
    arena->sb = index;
    arena->data = data;
    arena->index_size = shape->index_size;
    arena->data_size = shape->data_size;
    arena->hugepages = huge;
    arena->sealed = true;
    return 0;
}

/* The private view of the headers; geometry_check has passed. */
static int maps_create(struct arena *arena, const struct geometry *shape)
{
    uint8_t *index = (uint8_t *)arena->sb;
    struct part_map *maps = calloc(shape->nr_partitions, sizeof(*maps));

    if (!maps)
        return -ENOMEM;
    for (unsigned i = 0; i < shape->nr_partitions; i++) {
        struct part_header at;

        geometry_place(shape, i, &at);
        maps[i] = (struct part_map){
            .header = (struct part_header *)(index + shape->parts_off) + i,
            .buckets = (struct bucket *)(index + at.buckets_off),
            .descs = (struct block_desc *)(index + at.descs_off),
            .metas = (struct block_meta *)(index + at.metas_off),
            .chunks = (struct chunk_entry *)(index + at.chunks_off),
            .nr_buckets = at.nr_buckets,
            .nr_overflow = at.nr_overflow,
            .nr_blocks = at.nr_blocks,
            .nr_metas = at.nr_metas,
            .nr_chunks = at.nr_chunks,
            .chunk_size = at.chunk_size,
            .region_off = at.region_off,
        };
    }
    arena->maps = maps;
    arena->stats = (struct core_stats *)(index + shape->stats_off);
    arena->nr_partitions = shape->nr_partitions;
    arena->nr_cores = shape->nr_cores;
    arena->region_size = shape->region_size;
    return 0;
}

/* Fresh memory is zeroes, and zeroes are empty buckets, free descriptors and free chunks: what is
 * not used yet takes no memory. */
int arena_format(struct arena *arena, const struct arena_spec *spec, const struct geometry *shape)
{
    struct superblock *sb = arena->sb;
    struct part_header *headers = (struct part_header *)((uint8_t *)sb + shape->parts_off);
    int error = random_u64(&sb->arena_id);

    if (error)
        return error;
    sb->seed = spec->seed;
    if (!sb->seed && (error = random_u64(&sb->seed)))
        return error;
    sb->version = ARENA_VERSION;
    sb->layout_hash = layout_hash();
    sb->index_size = shape->index_size;
    sb->data_size = shape->data_size;
    sb->nr_partitions = shape->nr_partitions;
    sb->nr_cores = shape->nr_cores;
    sb->blocks_per_partition = shape->nr_blocks;
    sb->buckets_per_partition = shape->nr_buckets;
    sb->region_size = shape->region_size;
    sb->created_wall_ms = clock_wall_ms();
    sb->epoch_ns = clock_ns();
    arena_clock_note(arena);
    sb->stats_off = shape->stats_off;
    sb->parts_off = shape->parts_off;
    for (unsigned i = 0; i < shape->nr_partitions; i++)
        geometry_place(shape, i, &headers[i]);
    __atomic_store_n(&sb->magic, ARENA_MAGIC, __ATOMIC_RELEASE);
    return maps_create(arena, shape);
}

static void unmap(struct arena *arena)
{
    munmap(arena->sb, arena->index_size);
    munmap(arena->data, arena->data_size);
}

int arena_create(const struct arena_spec *spec, struct arena *arena)
{
    struct geometry shape;
    int error = -ENOMEM;

    memset(arena, 0, sizeof(*arena));
    arena->index_fd = arena->data_fd = -1;
    if (spec->hugepages != HUGEPAGES_OFF) {
        error = geometry_choose(spec, HUGE_PAGE, &shape);
        if (error)
            return error;
        error = memories_create(arena, &shape, true);
        if (error && spec->hugepages == HUGEPAGES_REQUIRE)
            return -ENOMEM;
    }
    if (error) {
        error = geometry_choose(spec, SMALL_PAGE, &shape);
        if (error)
            return error;
        if (memory_available() < shape.data_size + shape.index_size)
            return -ENOMEM;
        error = memories_create(arena, &shape, false);
        if (error)
            return error;
    }
    arena->index_writable = arena->data_writable = true;
    error = arena_format(arena, spec, &shape);
    if (error)
        arena_close(arena);
    return error;
}

static int segment_size(int fd, size_t *size, bool *huge)
{
    struct stat st;
    struct statfs fs;

    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0)
        return -EINVAL;
    *size = (size_t)st.st_size;
    *huge = fs.f_type == HUGETLBFS_MAGIC;
    return 0;
}

/* A segment that could shrink under its readers would let whoever holds it kill them. So it is
 * sealed, or it is a file that none but root, we and whom we trust can write. */
static int shrink_check(int fd, uid_t trusted_uid, bool *sealed)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct statfs fs;
    struct stat st;

    if (seals >= 0 && (seals & F_SEAL_SHRINK)) {
        *sealed = true;
        return 0;
    }
    *sealed = false;
    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return -errno;
    if ((fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
        return -EINVAL;
    if ((st.st_uid != 0 && st.st_uid != geteuid() && st.st_uid != trusted_uid) ||
        st.st_mode & (S_IWGRP | S_IWOTH))
        return -EACCES;
    return 0;
}

int arena_attach(int index_fd, int data_fd, unsigned rights, struct arena *arena)
{
    return arena_attach_from(geteuid(), index_fd, data_fd, rights, arena);
}

int arena_attach_from(uid_t trusted_uid, int index_fd, int data_fd, unsigned rights,
                      struct arena *arena)
{
    bool write_index = rights & ARENA_WRITE_INDEX, write_data = rights & ARENA_WRITE_DATA;
    bool huge_index = false, huge_data = false, index_sealed = false, data_sealed = false;
    struct superblock copy;
    struct geometry shape;
    void *index = NULL, *data = NULL;
    int error;

    memset(arena, 0, sizeof(*arena));
    error = segment_size(index_fd, &arena->index_size, &huge_index);
    if (!error)
        error = segment_size(data_fd, &arena->data_size, &huge_data);
    if (!error)
        error = shrink_check(index_fd, trusted_uid, &index_sealed);
    if (!error)
        error = shrink_check(data_fd, trusted_uid, &data_sealed);
    if (error)
        return error;
    if (arena->index_size < sizeof(copy) || index_sealed != data_sealed)
        return -EINVAL;
    error = arena_map(index_fd, arena->index_size, write_index, huge_index, &index);
    if (error)
        return error;
    memcpy(&copy, index, sizeof(copy));
    error =
        geometry_check(&copy, layout_hash(), index, arena->index_size, arena->data_size, &shape);
    if (error)
        goto unmap_index;
    error = arena_map(data_fd, arena->data_size, write_data, huge_data, &data);
    if (error)
        goto unmap_index;
    arena->sb = index;
    arena->data = data;
    error = maps_create(arena, &shape);
    if (error)
        goto unmap_data;
    arena->index_fd = index_fd;
    arena->data_fd = data_fd;
    arena->index_writable = write_index;
    arena->data_writable = write_data;
    arena->hugepages = huge_data;
    arena->sealed = data_sealed;
    return 0;
unmap_data:
    munmap(data, arena->data_size);
unmap_index:
    munmap(index, arena->index_size);
    memset(arena, 0, sizeof(*arena));
    arena->index_fd = arena->data_fd = -1;
    return error;
}

/* A dead owner may have left it odd. */
void arena_recovery_begin(struct arena *arena)
{
    uint64_t before = arena->sb->recovery;

    /* The stores to the buckets that follow release, so none of them is seen before this one. */
    __atomic_store_n(&arena->sb->recovery, (before + 1) | 1, __ATOMIC_RELEASE);
}

void arena_recovery_end(struct arena *arena)
{
    /* Pairs with arena_recovery: whoever sees it sees all buckets rebuilt. */
    __atomic_store_n(&arena->sb->recovery, arena->sb->recovery + 1, __ATOMIC_RELEASE);
}

void arena_close(struct arena *arena)
{
    if (!arena->sb)
        return;
    unmap(arena);
    free(arena->maps);
    close(arena->index_fd);
    close(arena->data_fd);
    memset(arena, 0, sizeof(*arena));
    arena->index_fd = arena->data_fd = -1;
}
