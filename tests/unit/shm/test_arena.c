/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/random.h"
#include "kvrail/proto.h"
#include "shm/arena.h"
#include "shm/bucket.h"
#include "shm/index.h"

static const struct arena_spec small = {
    .data_size = 4 << 20, .nr_partitions = 2, .nr_cores = 2, .seed = 5};

Test(arena, is_laid_out_in_order_and_without_overlap)
{
    struct arena arena;

    cr_assert_eq(arena_create(&small, &arena), 0);
    cr_assert_eq(arena.data_size, 4u << 20);
    cr_assert_eq((uintptr_t)arena.stats % CACHE_LINE, 0);
    cr_assert_geq((uint8_t *)arena.maps[0].header, (uint8_t *)(arena.stats + 2));
    for (unsigned i = 0; i < 2; i++) {
        const struct part_map *map = &arena.maps[i];

        cr_assert_eq((uintptr_t)map->header % CACHE_LINE, 0);
        cr_assert_eq((uintptr_t)map->buckets % CACHE_LINE, 0);
        cr_assert_eq((uintptr_t)map->descs % CACHE_LINE, 0);
        cr_assert_geq(map->nr_blocks, 1024);
        cr_assert_geq(map->nr_buckets * 6u, map->nr_blocks);
        cr_assert_geq((uint8_t *)map->descs,
                      (uint8_t *)(map->buckets + map->nr_buckets + map->nr_overflow));
        cr_assert_geq((uint8_t *)map->metas, (uint8_t *)(map->descs + map->nr_blocks));
        cr_assert_geq(map->nr_metas, 1024);
        cr_assert_geq((uint8_t *)map->chunks, (uint8_t *)(map->metas + map->nr_metas));
        cr_assert_leq((uint8_t *)(map->chunks + map->nr_chunks),
                      (uint8_t *)arena.sb + arena.index_size);
        cr_assert_eq(map->region_off, i * arena.region_size);
        cr_assert_eq((uint64_t)map->nr_chunks * map->chunk_size, arena.region_size);
    }
    arena_close(&arena);
}

Test(arena, refuses_a_spec_out_of_range)
{
    struct arena_spec bad[] = {small, small, small, small, small, small, small};
    struct arena arena;

    bad[0].data_size = 0;
    bad[1].nr_partitions = 0;
    bad[2].nr_partitions = KVR_PARTITIONS_MAX + 1;
    bad[3].nr_cores = 3;
    bad[4].nr_cores = 0;
    bad[5].data_size = (256ull << 30) + 1;
    bad[6].blocks_max = 1ull << 32;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(arena_create(&bad[i], &arena), -EINVAL, "spec %zu", i);
}

Test(arena, refuses_more_memory_than_the_machine_can_have)
{
    struct arena_spec spec = {.data_size = 256ull << 30, .nr_partitions = 1, .nr_cores = 1};
    struct arena arena;
    int error = arena_create(&spec, &arena);

    if (!error) { /* a machine with that much */
        arena_close(&arena);
        return;
    }
    cr_assert_eq(error, -ENOMEM);
}

Test(arena, takes_ordinary_pages_where_huge_ones_are_few)
{
    struct arena_spec spec = {
        .data_size = 64ull << 20, .nr_partitions = 1, .nr_cores = 1, .hugepages = HUGEPAGES_AUTO};
    struct arena arena;

    cr_assert_eq(arena_create(&spec, &arena), 0);
    arena.data[arena.data_size - 1] = 1;
    arena_close(&arena);
    spec.data_size = 200ull << 30;
    spec.hugepages = HUGEPAGES_REQUIRE;
    cr_assert_eq(arena_create(&spec, &arena), -ENOMEM);
}

Test(arena, seals_its_segments_against_resizing)
{
    struct arena arena;

    cr_assert_eq(arena_create(&small, &arena), 0);
    cr_assert_eq(ftruncate(arena.index_fd, 4096), -1);
    cr_assert_eq(errno, EPERM);
    cr_assert_eq(ftruncate(arena.data_fd, 1 << 30), -1);
    cr_assert_eq(errno, EPERM);
    arena_close(&arena);
}

static int attach_copies(const struct arena *arena, unsigned rights, struct arena *other)
{
    int index = dup(arena->index_fd), data = dup(arena->data_fd);
    int error = arena_attach(index, data, rights, other);

    if (error) {
        close(index);
        close(data);
    }
    return error;
}

Test(arena, attaches_with_the_rights_asked_for)
{
    struct arena arena, other;

    cr_assert_eq(arena_create(&small, &arena), 0);
    cr_assert_eq(attach_copies(&arena, ARENA_READ, &other), 0);
    cr_assert_not(other.index_writable);
    cr_assert_not(other.data_writable);
    cr_assert_eq(other.sb->arena_id, arena.sb->arena_id);
    cr_assert_eq(other.nr_partitions, 2);
    arena.data[77] = 42;
    cr_assert_eq(other.data[77], 42);
    arena_close(&other);
    cr_assert_eq(attach_copies(&arena, ARENA_WRITE_DATA, &other), 0);
    other.data[78] = 43;
    cr_assert_eq(arena.data[78], 43);
    arena_close(&other);
    arena_close(&arena);
}

Test(arena, is_in_recovery_while_the_count_is_odd)
{
    struct arena arena;
    uint64_t before;

    cr_assert_eq(arena_create(&small, &arena), 0);
    before = arena_recovery(&arena);
    cr_assert_eq(before % 2, 0);
    arena_recovery_begin(&arena);
    cr_assert_eq(arena_recovery(&arena) % 2, 1);
    before = arena_recovery(&arena);
    arena_recovery_begin(&arena); /* the one before died in it */
    cr_assert_eq(arena_recovery(&arena) % 2, 1);
    cr_assert_gt(arena_recovery(&arena), before);
    arena_recovery_end(&arena);
    cr_assert_eq(arena_recovery(&arena) % 2, 0);
    cr_assert_gt(arena_recovery(&arena), before);
    arena_close(&arena);
}

Test(arena, lends_descriptors_that_write_no_more_than_they_should)
{
    struct arena arena, other;
    int index, data;

    cr_assert_eq(arena_create(&small, &arena), 0);
    cr_assert_eq(arena_lend(&arena, ARENA_READ, &index, &data), 0);
    cr_assert_eq(arena_attach(index, data, ARENA_WRITE_DATA, &other), -EACCES);
    cr_assert_eq(arena_attach(index, data, ARENA_WRITE_INDEX, &other), -EACCES);
    cr_assert_eq(arena_attach(index, data, ARENA_READ, &other), 0);
    cr_assert(other.sealed);
    arena_close(&other);
    cr_assert_eq(arena_lend(&arena, ARENA_WRITE_DATA, &index, &data), 0);
    cr_assert_eq(arena_attach(index, data, ARENA_WRITE_DATA, &other), 0);
    arena_close(&other);
    arena_close(&arena);
}

Test(arena, refuses_files_that_are_no_arena)
{
    struct arena arena, other;
    int fd = memfd_create("x", MFD_ALLOW_SEALING);

    cr_assert_eq(arena_create(&small, &arena), 0);
    cr_assert_eq(arena_attach(-1, arena.data_fd, ARENA_READ, &other), -EBADF);
    cr_assert_eq(arena_attach(fd, arena.data_fd, ARENA_READ, &other), -EINVAL);
    cr_assert_eq(ftruncate(fd, 1 << 20), 0);
    cr_assert_eq(arena_attach(fd, arena.data_fd, ARENA_READ, &other), -EACCES, "may shrink");
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    cr_assert_eq(arena_attach(fd, arena.data_fd, ARENA_READ, &other), -EINVAL, "no magic");
    cr_assert_eq(arena_attach(arena.data_fd, arena.index_fd, ARENA_READ, &other), -EINVAL);
    close(fd);
    arena_close(&arena);
}

/* Writes to the superblock or a header, tries to attach, and puts the old bytes back. */
static int attach_with(const struct arena *arena, void *field, uint64_t value, size_t size)
{
    struct arena other;
    uint64_t before = 0;
    int error;

    memcpy(&before, field, size);
    memcpy(field, &value, size);
    error = attach_copies(arena, ARENA_READ, &other);
    if (!error)
        arena_close(&other);
    memcpy(field, &before, size);
    return error;
}

#define TRY(field, value) attach_with(&arena, &(field), (value), sizeof(field))

Test(arena, believes_no_field_of_a_hostile_superblock)
{
    static const uint64_t values[] = {0,       1,          63,         4096,      UINT32_MAX,
                                      1 << 20, 1ull << 31, 1ull << 40, UINT64_MAX};
    struct arena arena;
    struct superblock *sb;
    struct part_header *header;

    cr_assert_eq(arena_create(&small, &arena), 0);
    sb = arena.sb;
    header = arena.maps[1].header;
    cr_assert_eq(TRY(sb->magic, 1), -EINVAL);
    cr_assert_eq(TRY(sb->version, ARENA_VERSION + 1), -EPROTO);
    cr_assert_eq(TRY(sb->layout_hash, 1), -EPROTO);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint64_t value = values[i];

        cr_assert_neq(TRY(sb->index_size, value), 0);
        cr_assert_neq(TRY(sb->data_size, value), 0);
        cr_assert_neq(TRY(sb->nr_partitions, value), 0);
        cr_assert_neq(TRY(sb->nr_cores, value), 0);
        cr_assert_neq(TRY(sb->blocks_per_partition, value), 0);
        cr_assert_neq(TRY(sb->buckets_per_partition, value), 0);
        cr_assert_neq(TRY(sb->region_size, value), 0);
        cr_assert_neq(TRY(sb->stats_off, value), 0);
        cr_assert_neq(TRY(sb->parts_off, value), 0);
        cr_assert_neq(TRY(header->buckets_off, value), 0);
        cr_assert_neq(TRY(header->descs_off, value), 0);
        cr_assert_neq(TRY(header->metas_off, value), 0);
        cr_assert_neq(TRY(header->chunks_off, value), 0);
        cr_assert_neq(TRY(header->region_off, value), 0);
        cr_assert_neq(TRY(header->nr_buckets, value), 0);
        cr_assert_neq(TRY(header->nr_overflow, value), 0);
        cr_assert_neq(TRY(header->nr_blocks, value), 0);
        cr_assert_neq(TRY(header->nr_metas, value), 0);
        cr_assert_neq(TRY(header->nr_chunks, value), 0);
    }
    cr_assert_eq(TRY(sb->boot_id, 99), 0);
    arena_close(&arena);
}

/* Whatever the index holds after it was attached, a lookup ends and stays inside the mappings. */
Test(arena, lookups_survive_an_index_full_of_noise)
{
    struct arena arena, other;
    struct rng rng;

    cr_assert_eq(arena_create(&small, &arena), 0);
    cr_assert_eq(attach_copies(&arena, ARENA_READ, &other), 0);
    rng_seed(&rng, 3);
    for (int round = 0; round < 20; round++) {
        uint64_t *words = (uint64_t *)(void *)arena.sb;

        for (size_t i = 0; i < arena.index_size / 8; i++)
            words[i] = rng_next(&rng) & (rng_next(&rng) | rng_next(&rng));
        for (uint64_t key = 0; key < 2000; key++) {
            struct key_hash hash = hash_key(&key, sizeof(key), 5);
            struct block_view view;

            /* Tags that match, so that descriptors are followed. */
            arena.maps[0].buckets[hash_bucket(hash, arena.maps[0].nr_buckets)].version = 0;
            index_prefetch(&other, 0, hash);
            index_prefetch_block(&other, 0, hash);
            if (index_find(&other, 0, hash, &key, sizeof(key), 0, &view))
                cr_assert_leq(view.value + view.value_len, other.data + other.data_size);
        }
    }
    arena_close(&other);
    arena_close(&arena);
}
