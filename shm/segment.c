/* SPDX-License-Identifier: Apache-2.0 */
/* Makes, checks and maps a client's segment. The server's side reads the header once, into a
 * private copy, and from then on knows every offset from that; the client may write what it likes
 * afterwards. Slow path: main thread, or a client's call that attaches. */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/hash.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define PAGE 4096u
#define SLOTS_OFF (sizeof(struct segment_header) + SEGMENT_WORDS * sizeof(uint64_t))
#define REQUESTS_OFF sizeof(struct segment_group)
#define RING_SIZE ((size_t)SEGMENT_CELLS * SEGMENT_CELL)
#define GROUP_SIZE (REQUESTS_OFF + 2 * RING_SIZE + SEGMENT_ACCESSES * sizeof(uint64_t))

_Static_assert(GROUP_SIZE % CACHE_LINE == 0, "groups lie on cache lines");

static uint32_t layout_hash(void)
{
#define AT(type, field) offsetof(struct type, field)
    static const uint32_t shape[] = {
        sizeof(struct segment_header),
        AT(segment_header, spec),
        AT(segment_header, arena_id),
        AT(segment_header, slots_used),
        AT(segment_header, closed),
        AT(segment_header, put_bytes),
        AT(segment_header, asymmetric),
        AT(segment_group, request_tail),
        AT(segment_group, request_head),
        AT(segment_group, completion_tail),
        AT(segment_group, completion_head),
        AT(segment_group, access_tail),
        AT(segment_cell, bytes),
        SEGMENT_CELLS,
        SEGMENT_CELL,
        SEGMENT_ACCESSES,
        SEGMENT_WORDS,
        GROUP_SIZE,
        PAGE,
    };
#undef AT
    return (uint32_t)XXH3_64bits(shape, sizeof(shape));
}

static size_t groups_off(const struct segment_spec *spec)
{
    return SLOTS_OFF + spec->nr_slots * sizeof(uint64_t);
}

static size_t staging_off(const struct segment_spec *spec)
{
    size_t end = groups_off(spec) + spec->nr_partitions * GROUP_SIZE;

    return (end + PAGE - 1) / PAGE * PAGE;
}

static bool spec_valid(const struct segment_spec *spec)
{
    return spec->nr_slots >= 64 && spec->nr_slots <= SEGMENT_SLOTS_MAX &&
           spec->nr_slots % 64 == 0 && spec->nr_partitions >= 1 &&
           spec->nr_partitions <= KVR_PARTITIONS_MAX && spec->staging_size <= SEGMENT_STAGING_MAX &&
           spec->staging_size % PAGE == 0;
}

/* 0, or -errno; spec is valid and the file has its size. */
static int map(int fd, const struct segment_spec *spec, struct segment *segment)
{
    size_t size = staging_off(spec) + spec->staging_size;
    uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

    if (at == MAP_FAILED)
        return -errno;
    *segment = (struct segment){
        .header = (struct segment_header *)(void *)at,
        .words = (uint64_t *)(void *)(at + sizeof(struct segment_header)),
        .slots = (uint64_t *)(void *)(at + SLOTS_OFF),
        .groups = at + groups_off(spec),
        .staging = at + staging_off(spec),
        .spec = *spec,
        .size = size,
        .fd = fd,
    };
    return 0;
}

int segment_create(const struct segment_spec *spec, uint64_t arena_id, struct segment *segment)
{
    int fd, error;

    memset(segment, 0, sizeof(*segment));
    segment->fd = -1;
    if (!spec_valid(spec))
        return -EINVAL;
    fd = memfd_create("kvrail-client", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)(staging_off(spec) + spec->staging_size)) < 0 ||
        fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        error = -errno;
    else
        error = map(fd, spec, segment);
    if (error) {
        close(fd);
        return error;
    }
    segment->header->version = SEGMENT_VERSION;
    segment->header->layout_hash = layout_hash();
    segment->header->spec = *spec;
    segment->header->arena_id = arena_id;
    __atomic_store_n(&segment->header->magic, SEGMENT_MAGIC, __ATOMIC_RELEASE);
    return 0;
}

/* A file that its maker could still shrink, or whose pages may be missing when they are touched,
 * would kill whoever maps it. Ordinary files never carry these seals. */
static int file_check(int fd, size_t *size)
{
    struct statfs fs;
    struct stat st;
    int seals;

    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return -errno;
    seals = fcntl(fd, F_GET_SEALS);
    if (!S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC || seals < 0 || (seals & SEALS) != SEALS ||
        st.st_size < (off_t)sizeof(struct segment_header))
        return -EINVAL;
    *size = (size_t)st.st_size;
    return 0;
}

int segment_attach(int fd, uint32_t nr_partitions, uint64_t arena_id, struct segment *segment)
{
    struct segment_header copy;
    size_t size = 0;
    ssize_t got;
    int error;

    memset(segment, 0, sizeof(*segment));
    segment->fd = -1;
    error = file_check(fd, &size);
    if (error)
        return error;
    got = pread(fd, &copy, sizeof(copy), 0);
    if (got != (ssize_t)sizeof(copy))
        return got < 0 ? -errno : -EINVAL;
    if (copy.magic != SEGMENT_MAGIC)
        return -EINVAL;
    if (copy.version != SEGMENT_VERSION || copy.layout_hash != layout_hash())
        return -EPROTO;
    if (!spec_valid(&copy.spec) || copy.spec.nr_partitions != nr_partitions ||
        copy.arena_id != arena_id || size != staging_off(&copy.spec) + copy.spec.staging_size)
        return -EINVAL;
    return map(fd, &copy.spec, segment);
}

void segment_close(struct segment *segment)
{
    if (!segment->header)
        return;
    munmap(segment->header, segment->size);
    close(segment->fd);
    memset(segment, 0, sizeof(*segment));
    segment->fd = -1;
}

struct segment_rings segment_rings_of(const struct segment *segment, unsigned partition)
{
    uint8_t *group = segment->groups + partition * GROUP_SIZE;

    return (struct segment_rings){
        .group = (struct segment_group *)(void *)group,
        .requests = (struct segment_cell *)(void *)(group + REQUESTS_OFF),
        .completions = (struct segment_cell *)(void *)(group + REQUESTS_OFF + RING_SIZE),
        .accesses = (uint64_t *)(void *)(group + REQUESTS_OFF + 2 * RING_SIZE),
    };
}
