/* SPDX-License-Identifier: Apache-2.0 */
/* Arenas in files. They lie in /dev/shm, under names of this process. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "shm/arena.h"
#include "shm/index.h"
#include "shm/partition.h"
#include "shm/reclaim.h"

static const struct arena_spec small = {.data_size = 4 << 20, .nr_partitions = 2, .nr_cores = 1};

static char path[64], index_name[80], data_name[80];

static void create(void)
{
    snprintf(path, sizeof(path), "/dev/shm/kvrail-test-%d", getpid());
    snprintf(index_name, sizeof(index_name), "%s.index", path);
    snprintf(data_name, sizeof(data_name), "%s.data", path);
}

static void destroy(void)
{
    unlink(index_name);
    unlink(data_name);
}

TestSuite(arena_file, .init = create, .fini = destroy);

static int open_files(struct arena *arena, bool *resumed)
{
    return arena_open_files(&small, path, false, arena, resumed);
}

/* Opens the key's partition over what is stored; puts or finds. */
static void visit(struct arena *arena, const char *key, uint32_t ttl_ms, bool put, bool found)
{
    struct key_hash hash = hash_key(key, strlen(key), arena->sb->seed);
    unsigned number = hash_partition(hash, arena->nr_partitions);
    struct partition_options options = {.policy = "lru"};
    struct partition_recovery recovery;
    struct partition *partition;
    struct block_request request = {.key = key,
                                    .key_len = (uint32_t)strlen(key),
                                    .hash = hash,
                                    .value_len = 5,
                                    .ttl_ms = ttl_ms};
    uint32_t now_ms = arena_ms(arena, clock_ns()), block;
    struct block_view view;
    uint64_t ref;

    cr_assert_eq(reclaimer_create(arena, &options.reclaimer), 0);
    cr_assert_eq(partition_open(arena, number, &options, &partition, &recovery), 0);
    if (put) {
        cr_assert_eq(partition_reserve(partition, &request, now_ms, &block), KVR_OK);
        memcpy(partition_value(partition, block), "hello", 5);
        cr_assert_eq(partition_seal(partition, block, crc32c(0, "hello", 5), false, now_ms, &ref),
                     KVR_OK);
    }
    cr_assert_eq(index_find(arena, number, hash, key, request.key_len, now_ms, &view), found, "%s",
                 key);
    cr_assert(!found || memcmp(view.value, "hello", 5) == 0);
    partition_close(partition);
    reclaimer_destroy(options.reclaimer);
}

Test(arena_file, is_made_where_there_is_none_and_resumed_where_there_is)
{
    struct arena arena;
    uint64_t arena_id;
    bool resumed;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert_not(resumed);
    cr_assert_not(arena.sealed);
    arena_id = arena.sb->arena_id;
    visit(&arena, "a", 0, true, true);
    arena_close(&arena);
    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert(resumed);
    cr_assert_eq(arena.sb->arena_id, arena_id);
    visit(&arena, "a", 0, false, true);
    arena_close(&arena);
}

Test(arena_file, has_all_its_memory_from_the_start)
{
    struct arena arena;
    struct stat st;
    bool resumed;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert_eq(fstat(arena.data_fd, &st), 0);
    cr_assert_geq((uint64_t)st.st_blocks * 512, small.data_size);
    cr_assert_eq(st.st_mode & 0777, 0600);
    arena_close(&arena);
}

Test(arena_file, has_one_server_at_a_time)
{
    struct arena arena, other;
    bool resumed;
    int copy;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert_eq(open_files(&other, &resumed), -EBUSY);
    cr_assert_eq(arena_open_files(&small, path, true, &other, &resumed), -EBUSY);
    copy = dup(arena.index_fd); /* a dataplane that outlives it */
    arena_close(&arena);
    cr_assert_eq(open_files(&other, &resumed), -EBUSY);
    close(copy);
    cr_assert_eq(open_files(&other, &resumed), 0);
    cr_assert(resumed);
    arena_close(&other);
}

Test(arena_file, is_not_overwritten_under_clients_that_still_read_it)
{
    struct arena arena, client, fresh;
    bool resumed;
    int index, data;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    arena.data[100] = 42;
    cr_assert_eq(arena_lend(&arena, ARENA_READ, &index, &data), 0);
    cr_assert_eq(arena_attach(index, data, ARENA_READ, &client), 0);
    arena_close(&arena);
    cr_assert_eq(open_files(&arena, &resumed), -ETXTBSY);
    cr_assert_eq(arena_open_files(&small, path, true, &fresh, &resumed), 0);
    cr_assert_not(resumed);
    fresh.data[100] = 43;
    cr_assert_eq(client.data[100], 42, "the old file is another one");
    arena_close(&client);
    arena_close(&fresh);
    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert(resumed);
    cr_assert_eq(arena.data[100], 43);
    arena_close(&arena);
}

Test(arena_file, of_another_version_layout_or_geometry_is_refused_unless_made_anew)
{
    struct arena_spec other = small;
    struct arena arena;
    uint32_t version;
    bool resumed;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    version = arena.sb->version++;
    arena_close(&arena);
    cr_assert_eq(open_files(&arena, &resumed), -EPROTO);
    cr_assert_eq(arena_open_files(&small, path, true, &arena, &resumed), 0);
    cr_assert_not(resumed);
    cr_assert_eq(arena.sb->version, version);
    arena.sb->layout_hash++;
    arena_close(&arena);
    cr_assert_eq(open_files(&arena, &resumed), -EPROTO);
    cr_assert_eq(arena_open_files(&small, path, true, &arena, &resumed), 0);
    arena_close(&arena);
    other.nr_partitions = 1;
    cr_assert_eq(arena_open_files(&other, path, false, &arena, &resumed), -EINVAL);
    other = small;
    other.data_size *= 2;
    cr_assert_eq(arena_open_files(&other, path, false, &arena, &resumed), -EINVAL);
    other = small;
    other.seed = 77;
    cr_assert_eq(arena_open_files(&other, path, false, &arena, &resumed), -EINVAL);
    other.nr_cores = 9;
    cr_assert_eq(arena_open_files(&other, path, true, &arena, &resumed), -EINVAL, "spec");
    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert(resumed, "none of these changed it");
    arena_close(&arena);
}

Test(arena_file, that_is_damaged_is_refused)
{
    struct arena arena;
    bool resumed;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    arena_close(&arena);
    cr_assert_eq(truncate(data_name, 4096), 0);
    cr_assert_eq(open_files(&arena, &resumed), -EINVAL);
    unlink(data_name);
    cr_assert_eq(open_files(&arena, &resumed), -EINVAL);
    cr_assert_eq(arena_open_files(&small, path, true, &arena, &resumed), 0);
    arena.sb->region_size++;
    arena_close(&arena);
    cr_assert_eq(open_files(&arena, &resumed), -EINVAL);
}

Test(arena_file, whose_maker_died_before_it_was_done_is_made_again)
{
    struct arena arena;
    bool resumed;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    arena.sb->magic = 0;
    arena_close(&arena);
    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert_not(resumed);
    arena_close(&arena);
}

Test(arena_file, lies_on_memory_or_not_at_all)
{
    struct arena arena;
    bool resumed;
    char disk[] = "/var/tmp/kvrail-test-XXXXXX", name[64];

    cr_assert(mkdtemp(disk));
    snprintf(name, sizeof(name), "%s/a", disk);
    cr_assert_eq(arena_open_files(&small, name, false, &arena, &resumed), -EMEDIUMTYPE);
    cr_assert_eq(rmdir(disk), 0, "nothing is left behind");
    cr_assert_eq(arena_open_files(&small, "/dev/shm/no/such/folder", false, &arena, &resumed),
                 -ENOENT);
}

Test(arena_file, that_others_may_write_is_not_attached)
{
    struct arena arena, client;
    bool resumed;
    int index, data;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert_eq(fchmod(arena.data_fd, 0666), 0);
    cr_assert_eq(arena_lend(&arena, ARENA_READ, &index, &data), 0);
    cr_assert_eq(arena_attach(index, data, ARENA_READ, &client), -EACCES);
    cr_assert_eq(fchmod(arena.data_fd, 0600), 0);
    if (geteuid() == 0) {
        cr_assert_eq(fchown(arena.data_fd, 4711, 0), 0);
        cr_assert_eq(arena_attach(index, data, ARENA_READ, &client), -EACCES);
        cr_assert_eq(arena_attach_from(4711, index, data, ARENA_READ, &client), 0);
        arena_close(&client);
    } else {
        close(index);
        close(data);
    }
    arena_close(&arena);
}

/* Time. The arena was made an hour ago and holds blocks of a minute and of a day; then the clocks
 * are set as if so much had happened since. */
static void resume_after(uint64_t pause_ms, int64_t wall_ms, bool reboot, bool minute, bool day)
{
    const uint64_t hour_ns = 3600 * NS_PER_S;
    struct arena arena;
    uint64_t shift_ns = pause_ms * NS_PER_MS;
    bool resumed;

    cr_assert_eq(open_files(&arena, &resumed), 0);
    arena.sb->epoch_ns -= hour_ns;
    visit(&arena, "minute", 60 * 1000, true, true);
    visit(&arena, "day", 24 * 3600 * 1000, true, true);
    visit(&arena, "ever", 0, true, true);
    arena_clock_note(&arena);
    arena.stats[0].heartbeat_ns = clock_ns();
    if (reboot) {
        /* The monotonic clock of that boot said something else altogether. */
        arena.sb->host_boot++;
        shift_ns = -5000 * hour_ns;
    }
    arena.sb->noted_wall_ms -= (uint64_t)wall_ms;
    arena.sb->noted_ns -= shift_ns;
    arena.sb->epoch_ns -= shift_ns;
    arena.stats[0].heartbeat_ns -= shift_ns;
    arena_close(&arena);
    cr_assert_eq(open_files(&arena, &resumed), 0);
    cr_assert(resumed);
    visit(&arena, "ever", 0, false, true);
    visit(&arena, "minute", 0, false, minute);
    visit(&arena, "day", 0, false, day);
    cr_assert_eq(arena.stats[0].heartbeat_ns, 0);
    arena_close(&arena);
    destroy();
}

#define MINUTES_MS 60000ll
#define HOURS_MS (60 * MINUTES_MS)
#define DAYS_MS (24 * HOURS_MS)

Test(arena_file, keeps_expiry_right_over_a_pause)
{
    resume_after(100, 100, false, true, true);
    resume_after(2 * MINUTES_MS, 2 * MINUTES_MS, false, false, true);
    resume_after(2 * DAYS_MS, 2 * DAYS_MS, false, false, false);
}

Test(arena_file, keeps_expiry_right_over_a_pause_longer_than_32_bits_of_milliseconds)
{
    resume_after(30 * DAYS_MS, 30 * DAYS_MS, false, false, false);
    resume_after(50 * DAYS_MS, 50 * DAYS_MS, false, false, false);
}

Test(arena_file, keeps_expiry_right_over_a_reboot)
{
    resume_after(0, 100, true, true, true);
    resume_after(0, 2 * MINUTES_MS, true, false, true);
    resume_after(0, 30 * DAYS_MS, true, false, false);
    resume_after(0, -HOURS_MS, true, false, false); /* nobody knows how long it was */
}
