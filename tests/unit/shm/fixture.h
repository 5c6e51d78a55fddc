/* SPDX-License-Identifier: Apache-2.0 */
/* An arena with one open partition, and the few steps that every test of it takes. now_ms is the
 * test's own clock. */
#pragma once

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "shm/arena.h"
#include "shm/index.h"
#include "shm/partition.h"
#include "shm/reclaim.h"

struct fixture {
    struct arena arena;
    struct reclaimer *reclaimer;
    struct partition *partition;
    struct partition_recovery recovery;
    uint32_t now_ms;
};

static inline void fixture_open(struct fixture *f, const char *policy)
{
    struct partition_options options = {.policy = policy, .reclaimer = f->reclaimer};

    cr_assert_eq(partition_open(&f->arena, 0, &options, &f->partition, &f->recovery), 0);
}

static inline void fixture_create(struct fixture *f, uint64_t data_size, uint64_t blocks_max,
                                  const char *policy)
{
    struct arena_spec spec = {.data_size = data_size,
                              .nr_partitions = 1,
                              .nr_cores = 1,
                              .blocks_max = blocks_max,
                              .seed = 7};

    memset(f, 0, sizeof(*f));
    f->now_ms = 1000;
    cr_assert_eq(arena_create(&spec, &f->arena), 0);
    cr_assert_eq(reclaimer_create(&f->arena, &f->reclaimer), 0);
    fixture_open(f, policy);
}

static inline void fixture_destroy(struct fixture *f)
{
    partition_close(f->partition);
    reclaimer_destroy(f->reclaimer);
    arena_close(&f->arena);
}

static inline struct key_hash fixture_hash(const struct fixture *f, const void *key, size_t len)
{
    return hash_key(key, len, f->arena.sb->seed);
}

static inline void fixture_turn(struct fixture *f)
{
    struct timespec pause = {.tv_nsec = 20000};

    if (!partition_poll(f->partition, f->now_ms))
        nanosleep(&pause, NULL);
}

/* Until nothing unlinked is on its way any more, but for what is pinned. */
static inline void fixture_settle(struct fixture *f)
{
    const struct part_header *header = arena_part(&f->arena, 0);

    for (uint64_t end = clock_ns() + 2 * NS_PER_S; header->unlinked && clock_ns() < end;)
        fixture_turn(f);
}

/* Reserves, waiting for memory as a core would. */
static inline enum kvr_status fixture_reserve(struct fixture *f, const void *key, size_t key_len,
                                              size_t value_len, uint32_t ttl_ms, uint32_t *block)
{
    struct block_request request = {.key = key,
                                    .key_len = (uint32_t)key_len,
                                    .hash = fixture_hash(f, key, key_len),
                                    .value_len = (uint32_t)value_len,
                                    .ttl_ms = ttl_ms};
    enum kvr_status status = KVR_BUSY;

    for (uint64_t end = clock_ns() + 2 * NS_PER_S; status == KVR_BUSY && clock_ns() < end;) {
        status = partition_reserve(f->partition, &request, f->now_ms, block);
        if (status == KVR_BUSY)
            fixture_turn(f);
    }
    return status;
}

static inline enum kvr_status fixture_put(struct fixture *f, const void *key, size_t key_len,
                                          const void *value, size_t value_len, uint32_t ttl_ms)
{
    uint32_t block;
    uint64_t ref;
    enum kvr_status status = fixture_reserve(f, key, key_len, value_len, ttl_ms, &block);

    if (status != KVR_OK)
        return status;
    if (value_len)
        memcpy(partition_value(f->partition, block), value, value_len);
    return partition_seal(f->partition, block, crc32c(0, value, value_len), false, f->now_ms, &ref);
}

static inline bool fixture_find(const struct fixture *f, const void *key, size_t key_len,
                                struct block_view *view)
{
    return index_find(&f->arena, 0, fixture_hash(f, key, key_len), key, (uint32_t)key_len,
                      f->now_ms, view);
}

/* A key of 8 bytes out of a number. */
static inline enum kvr_status fixture_put_number(struct fixture *f, uint64_t number,
                                                 size_t value_len)
{
    static const uint8_t value[1 << 16];

    return fixture_put(f, &number, sizeof(number), value, value_len, 0);
}

static inline bool fixture_has(const struct fixture *f, uint64_t number)
{
    struct block_view view;

    return fixture_find(f, &number, sizeof(number), &view);
}

static inline enum kvr_status fixture_del(struct fixture *f, const void *key, size_t key_len)
{
    return partition_del(f->partition, fixture_hash(f, key, key_len), key, (uint32_t)key_len, 0,
                         f->now_ms);
}
