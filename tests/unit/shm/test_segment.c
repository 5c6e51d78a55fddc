/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/random.h"
#include "shm/segment.h"

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static const struct segment_spec small = {
    .nr_slots = 128, .nr_partitions = 3, .staging_size = 1 << 20};

static int attach_copy(const struct segment *segment, struct segment *other)
{
    int fd = dup(segment->fd), error = segment_attach(fd, 3, 42, other);

    if (error)
        close(fd);
    return error;
}

Test(segment, is_the_same_memory_for_client_and_server)
{
    struct segment segment, other;

    cr_assert_eq(segment_create(&small, 42, &segment), 0);
    cr_assert_eq(attach_copy(&segment, &other), 0);
    cr_assert_eq(memcmp(&other.spec, &small, sizeof(small)), 0);
    segment.slots[127] = 77;
    cr_assert_eq(other.slots[127], 77);
    segment.staging[(1 << 20) - 1] = 5;
    cr_assert_eq(other.staging[(1 << 20) - 1], 5);
    for (unsigned i = 0; i < 3; i++) {
        struct segment_rings here = segment_rings_of(&segment, i);
        struct segment_rings there = segment_rings_of(&other, i);

        here.accesses[SEGMENT_ACCESSES - 1] = 100 + i;
        here.requests[SEGMENT_CELLS - 1].len = 200 + i;
        there.completions[SEGMENT_CELLS - 1].len = 300 + i;
        there.group->completion_tail = 400 + i;
    }
    for (unsigned i = 0; i < 3; i++) {
        struct segment_rings here = segment_rings_of(&segment, i);
        struct segment_rings there = segment_rings_of(&other, i);

        cr_assert_eq(there.accesses[SEGMENT_ACCESSES - 1], 100 + i);
        cr_assert_eq(there.requests[SEGMENT_CELLS - 1].len, 200 + i);
        cr_assert_eq(here.completions[SEGMENT_CELLS - 1].len, 300 + i);
        cr_assert_eq(here.group->completion_tail, 400 + i);
    }
    segment_close(&other);
    segment_close(&segment);
    segment_close(&segment);
}

Test(segment, is_laid_out_without_overlap_and_ends_where_its_file_does)
{
    struct segment segment;
    uint8_t *end;

    cr_assert_eq(segment_create(&small, 42, &segment), 0);
    end = (uint8_t *)segment.header + sizeof(struct segment_header);
    cr_assert_eq((uint8_t *)segment.words, end);
    end += SEGMENT_WORDS * 8;
    cr_assert_eq((uint8_t *)segment.slots, end);
    end += 128 * 8;
    for (unsigned i = 0; i < 3; i++) {
        struct segment_rings rings = segment_rings_of(&segment, i);

        cr_assert_eq((uint8_t *)rings.group, end);
        cr_assert_eq((uintptr_t)rings.group % CACHE_LINE, 0);
        cr_assert_eq((uint8_t *)rings.requests, (uint8_t *)(rings.group + 1));
        cr_assert_eq(rings.completions, rings.requests + SEGMENT_CELLS);
        cr_assert_eq((uint8_t *)rings.accesses, (uint8_t *)(rings.completions + SEGMENT_CELLS));
        end = (uint8_t *)(rings.accesses + SEGMENT_ACCESSES);
    }
    cr_assert_geq(segment.staging, end);
    cr_assert_eq((uintptr_t)segment.staging % 4096, 0);
    cr_assert_eq(segment.staging + small.staging_size, (uint8_t *)segment.header + segment.size);
    cr_assert_eq(lseek(segment.fd, 0, SEEK_END), (off_t)segment.size);
    segment_close(&segment);
}

Test(segment, cannot_be_resized)
{
    struct segment segment;

    cr_assert_eq(segment_create(&small, 42, &segment), 0);
    cr_assert_eq(ftruncate(segment.fd, 4096), -1);
    cr_assert_eq(ftruncate(segment.fd, 1 << 30), -1);
    segment_close(&segment);
}

Test(segment, is_not_made_from_a_spec_out_of_range)
{
    struct segment_spec bad[] = {small, small, small, small, small, small, small};
    struct segment segment;

    bad[0].nr_slots = 0;
    bad[1].nr_slots = 65;
    bad[2].nr_slots = SEGMENT_SLOTS_MAX + 64;
    bad[3].nr_partitions = 0;
    bad[4].nr_partitions = KVR_PARTITIONS_MAX + 1;
    bad[5].staging_size = 4097;
    bad[6].staging_size = SEGMENT_STAGING_MAX + 4096;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(segment_create(&bad[i], 42, &segment), -EINVAL, "spec %zu", i);
}

/* A file that says it is a segment of the small spec, of a kind and with seals as given. */
static int forged(unsigned memfd_flags, size_t size, int seals)
{
    struct segment segment;
    int fd = memfd_create("forged", memfd_flags);

    cr_assert_eq(segment_create(&small, 42, &segment), 0);
    cr_assert_eq(ftruncate(fd, (off_t)(size ? size : segment.size)), 0);
    cr_assert_eq(pwrite(fd, segment.header, sizeof(*segment.header), 0),
                 (ssize_t)sizeof(*segment.header));
    cr_assert(!seals || fcntl(fd, F_ADD_SEALS, seals) == 0);
    segment_close(&segment);
    return fd;
}

static void refuses(int fd, int error, const char *what)
{
    struct segment segment;

    cr_assert_eq(segment_attach(fd, 3, 42, &segment), error, "%s", what);
    cr_assert_eq(fcntl(fd, F_GETFD) < 0, fd < 0, "the descriptor is still the caller's");
    if (fd >= 0)
        close(fd);
}

Test(segment, is_refused_unless_it_is_a_sealed_memfd_of_its_size)
{
    struct segment segment;
    int fd = forged(MFD_ALLOW_SEALING, 0, ALL_SEALS);
    char path[] = "/dev/shm/kvrail-segment-XXXXXX";

    cr_assert_eq(segment_attach(fd, 3, 42, &segment), 0, "what the others differ from");
    segment_close(&segment);
    refuses(-1, -EBADF, "no file");
    refuses(forged(MFD_ALLOW_SEALING, 0, 0), -EINVAL, "unsealed");
    refuses(forged(MFD_ALLOW_SEALING, 0, F_SEAL_GROW | F_SEAL_SEAL), -EINVAL, "may shrink");
    refuses(forged(MFD_ALLOW_SEALING, 0, F_SEAL_SHRINK | F_SEAL_SEAL), -EINVAL, "may grow");
    refuses(forged(MFD_ALLOW_SEALING, 0, F_SEAL_SHRINK | F_SEAL_GROW), -EINVAL, "more seals");
    refuses(forged(0, 0, 0), -EINVAL, "cannot be sealed");
    refuses(forged(MFD_ALLOW_SEALING, 4096, ALL_SEALS), -EINVAL, "shorter than its spec");
    refuses(forged(MFD_ALLOW_SEALING, 4 << 20, ALL_SEALS), -EINVAL, "longer than its spec");
    refuses(forged(MFD_ALLOW_SEALING, 0, ALL_SEALS | F_SEAL_WRITE), -EPERM, "not writable");
    fd = mkstemp(path);
    cr_assert(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
    unlink(path);
    refuses(fd, -EINVAL, "an ordinary file");
    fd = memfd_create("short", MFD_ALLOW_SEALING);
    cr_assert(ftruncate(fd, 64) == 0 && fcntl(fd, F_ADD_SEALS, ALL_SEALS) == 0);
    refuses(fd, -EINVAL, "shorter than a header");
    refuses(open("/dev/null", O_RDWR), -EINVAL, "a device");
}

Test(segment, is_refused_in_huge_pages)
{
    int fd = memfd_create("huge", MFD_ALLOW_SEALING | MFD_HUGETLB);

    if (fd < 0)
        return; /* a kernel without them */
    cr_assert(ftruncate(fd, 4 << 20) == 0 && fcntl(fd, F_ADD_SEALS, ALL_SEALS) == 0);
    refuses(fd, -EINVAL, "huge pages");
}

Test(segment, is_refused_if_its_header_does_not_fit_the_arena)
{
    struct segment segment, other;
    struct segment_header good;

    cr_assert_eq(segment_create(&small, 42, &segment), 0);
    good = *segment.header;
#define REFUSES(change, error)                                                                     \
    do {                                                                                           \
        change;                                                                                    \
        cr_assert_eq(attach_copy(&segment, &other), error, #change);                               \
        *segment.header = good;                                                                    \
    } while (0)
    REFUSES(segment.header->magic++, -EINVAL);
    REFUSES(segment.header->version++, -EPROTO);
    REFUSES(segment.header->layout_hash++, -EPROTO);
    REFUSES(segment.header->arena_id++, -EINVAL);
    REFUSES(segment.header->spec.nr_slots = 0, -EINVAL);
    REFUSES(segment.header->spec.nr_slots = 1024, -EINVAL);
    REFUSES(segment.header->spec.nr_slots = UINT32_MAX - 63, -EINVAL);
    REFUSES(segment.header->spec.nr_partitions = 2, -EINVAL);
    REFUSES(segment.header->spec.nr_partitions = UINT32_MAX, -EINVAL);
    REFUSES(segment.header->spec.staging_size = 0, -EINVAL);
    REFUSES(segment.header->spec.staging_size = UINT64_MAX - 4095, -EINVAL);
    cr_assert_eq(attach_copy(&segment, &other), 0);
    segment_close(&other);
    segment_close(&segment);
}

Test(segment, may_lie_after_it_was_checked_without_moving_anything)
{
    struct segment segment, other;
    struct segment_rings before, after;

    cr_assert_eq(segment_create(&small, 42, &segment), 0);
    cr_assert_eq(attach_copy(&segment, &other), 0);
    before = segment_rings_of(&other, 2);
    memset(segment.header, 0xff, sizeof(*segment.header));
    after = segment_rings_of(&other, 2);
    cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0);
    cr_assert_eq(memcmp(&other.spec, &small, sizeof(small)), 0);
    after.accesses[SEGMENT_ACCESSES - 1] = 1;
    other.staging[small.staging_size - 1] = 1;
    segment_close(&other);
    segment_close(&segment);
}

Test(segment, full_of_noise_is_refused_or_harmless)
{
    struct segment segment, other;
    struct rng rng;

    rng_seed(&rng, 3);
    cr_assert_eq(segment_create(&small, 42, &segment), 0);
    for (int round = 0; round < 20000; round++) {
        struct segment_header good = *segment.header;
        uint8_t *bytes = (uint8_t *)segment.header;

        for (uint64_t i = rng_below(&rng, 4); i < 4; i++)
            bytes[rng_below(&rng, sizeof(good))] = (uint8_t)rng_next(&rng);
        if (attach_copy(&segment, &other) == 0) {
            segment_rings_of(&other, 2).accesses[0] = 1;
            segment_close(&other);
        }
        *segment.header = good;
    }
    segment_close(&segment);
}
