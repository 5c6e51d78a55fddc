/* SPDX-License-Identifier: Apache-2.0 */
/* Makes, checks and maps the segment of a client. All offsets follow from its spec, by the same
 * arithmetic on both sides; the server reads the spec once and never again. */
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

#define PAGE 4096u
#define SLOTS_MIN 64u
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static uint32_t layout_hash(void)
{
    static const uint32_t shape[] = {
        sizeof(struct segment_header),
        offsetof(struct segment_header, spec),
        offsetof(struct segment_header, slots_used),
        offsetof(struct segment_header, hits),
        sizeof(struct segment_group),
        offsetof(struct segment_group, request_head),
        offsetof(struct segment_group, completion_tail),
        offsetof(struct segment_group, access_tail),
        sizeof(struct segment_cell),
        SEGMENT_CELLS,
        SEGMENT_ACCESSES,
    };

    return (uint32_t)XXH3_64bits(shape, sizeof(shape));
}

static size_t round_up(size_t bytes, size_t multiple)
{
    return (bytes + multiple - 1) / multiple * multiple;
}

static size_t group_size(void)
{
    return sizeof(struct segment_group) + 2 * SEGMENT_CELLS * sizeof(struct segment_cell) +
           SEGMENT_ACCESSES * sizeof(uint64_t);
}

static size_t groups_off(const struct segment_spec *spec)
{
    return round_up(sizeof(struct segment_header) + spec->nr_slots * sizeof(uint64_t), PAGE);
}

static size_t staging_off(const struct segment_spec *spec)
{
    return round_up(groups_off(spec) + spec->nr_partitions * group_size(), PAGE);
}

static bool spec_valid(const struct segment_spec *spec)
{
    return spec->nr_slots >= SLOTS_MIN && spec->nr_slots <= SEGMENT_SLOTS_MAX &&
           spec->nr_slots % SLOTS_MIN == 0 && spec->nr_partitions >= 1 &&
           spec->nr_partitions <= KVR_PARTITIONS_MAX && spec->staging_size % PAGE == 0 &&
           spec->staging_size <= SEGMENT_STAGING_MAX;
}

/* spec is valid, bytes of the segment begin at base. */
static void place_all(struct segment *segment, uint8_t *base, const struct segment_spec *spec,
                      size_t size, int fd)
{
    *segment = (struct segment){.header = (struct segment_header *)base,
                                .slots = (uint64_t *)(base + sizeof(struct segment_header)),
                                .groups = base + groups_off(spec),
                                .staging = base + staging_off(spec),
                                .spec = *spec,
                                .size = size,
                                .fd = fd};
}

static int map(int fd, size_t size, uint8_t **base)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

    if (at == MAP_FAILED)
        return -errno;
    *base = at;
    return 0;
}

int segment_create(const struct segment_spec *spec, uint64_t arena_id, struct segment *segment)
{
    size_t size;
    uint8_t *base = NULL;
    int fd, rc;

    if (!spec_valid(spec))
        return -EINVAL;
    size = staging_off(spec) + spec->staging_size;
    fd = memfd_create("kvrail-client", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    rc = ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? -errno : 0;
    if (!rc)
        rc = map(fd, size, &base);
    if (rc) {
        close(fd);
        return rc;
    }
    place_all(segment, base, spec, size, fd);
    segment->header->spec = *spec;
    segment->header->version = SEGMENT_VERSION;
    segment->header->layout_hash = layout_hash();
    segment->header->arena_id = arena_id;
    __atomic_store_n(&segment->header->magic, SEGMENT_MAGIC, __ATOMIC_RELEASE);
    return 0;
}

/* Nothing that its owner can do later may make an access of ours fail. */
static int size_of(int fd, size_t *size)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct statfs fs;
    struct stat st;

    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC || seals < 0 || (seals & SEALS) != SEALS ||
        st.st_size < PAGE)
        return -EINVAL;
    *size = (size_t)st.st_size;
    return 0;
}

int segment_attach(int fd, uint32_t nr_partitions, uint64_t arena_id, struct segment *segment)
{
    struct segment_header copy;
    size_t size = 0;
    uint8_t *base = NULL;
    int rc = size_of(fd, &size);

    if (!rc)
        rc = map(fd, size, &base);
    if (rc)
        return rc;
    memcpy(&copy, base, sizeof(copy));
    if (copy.magic != SEGMENT_MAGIC || !spec_valid(&copy.spec) ||
        staging_off(&copy.spec) + copy.spec.staging_size != size ||
        copy.spec.nr_partitions != nr_partitions || copy.arena_id != arena_id)
        rc = -EINVAL;
    if (copy.magic == SEGMENT_MAGIC &&
        (copy.version != SEGMENT_VERSION || copy.layout_hash != layout_hash()))
        rc = -EPROTO;
    if (rc)
        munmap(base, size);
    else
        place_all(segment, base, &copy.spec, size, fd);
    return rc;
}

void segment_close(struct segment *segment)
{
    if (!segment->header)
        return;
    munmap(segment->header, segment->size);
    close(segment->fd);
    *segment = (struct segment){.fd = -1};
}

struct segment_rings segment_rings_of(const struct segment *segment, unsigned partition)
{
    uint8_t *at = segment->groups + partition * group_size();
    struct segment_rings rings = {.group = (struct segment_group *)at};

    at += sizeof(struct segment_group);
    rings.requests = (struct segment_cell *)at;
    rings.completions = rings.requests + SEGMENT_CELLS;
    rings.accesses = (uint64_t *)(rings.completions + SEGMENT_CELLS);
    return rings;
}
