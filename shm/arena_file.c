/* SPDX-License-Identifier: Apache-2.0 */
/* An arena in files on tmpfs or hugetlbfs, so that it outlives kvraild: made, locked, taken up
 * again. Slow path, kvraild's main thread. The lock on PATH.index says who serves; locks on
 * PATH.data say who still reads. Files are never cut or overwritten while either may be: they are
 * replaced. */
#include "shm/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/hash.h"
#include "kvrail/proto.h"
#include "shm/geometry.h"

#define OPEN_TRIES 8

struct files {
    char index[PATH_MAX], data[PATH_MAX];
};

static int file_lock(int fd, int how, int taken)
{
    if (flock(fd, how | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? taken : -errno;
}

/* The index, locked, and the very file that its name leads to; empty if it is new. */
static int index_open(const char *name, int *out)
{
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), error;
        struct stat here, there;

        if (fd < 0)
            return -errno;
        error = file_lock(fd, LOCK_EX, -EBUSY);
        if (!error && fstat(fd, &here) < 0)
            error = -errno;
        if (error) {
            close(fd);
            return error;
        }
        if (stat(name, &there) == 0 && here.st_dev == there.st_dev && here.st_ino == there.st_ino) {
            *out = fd;
            return 0;
        }
        close(fd); /* somebody replaced it */
    }
    return -EBUSY;
}

/* Page size of the file system, or -errno. */
static long page_of(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return -errno;
    if (fs.f_type == HUGETLBFS_MAGIC)
        return fs.f_bsize;
    return fs.f_type == TMPFS_MAGIC ? (long)SMALL_PAGE : -EMEDIUMTYPE;
}

/* Whether an arena was ever finished in the file: its magic is written last. */
static bool was_formatted(int fd)
{
    uint64_t magic = 0;

    return pread(fd, &magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) && magic;
}

/* All of its memory at once: a page that could not be had later would kill whoever touches it. */
static int file_fill(int fd, size_t size)
{
    if (fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)size) < 0 ||
        fallocate(fd, 0, 0, (off_t)size) < 0)
        return -errno;
    return 0;
}

/* An empty file of this name, whatever was there. */
static int file_replace(const char *name, int *out)
{
    if (unlink(name) < 0 && errno != ENOENT)
        return -errno;
    *out = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (*out < 0)
        return errno == EEXIST ? -EBUSY : -errno;
    return 0;
}

static int files_map(struct arena *arena, const struct geometry *shape, bool huge)
{
    void *index, *data;
    int error = arena_map(arena->index_fd, shape->index_size, true, huge, &index);

    if (error)
        return error;
    error = arena_map(arena->data_fd, shape->data_size, true, huge, &data);
    if (error) {
        munmap(index, shape->index_size);
        return error;
    }
    arena->sb = index;
    arena->data = data;
    arena->index_size = shape->index_size;
    arena->data_size = shape->data_size;
    arena->index_writable = arena->data_writable = true;
    arena->hugepages = huge;
    return 0;
}

/* index_fd: the locked and empty index, which becomes the arena's or is closed. */
static int files_create(const struct files *files, const struct arena_spec *spec, int index_fd,
                        long page, struct arena *arena)
{
    struct geometry shape;
    int error = geometry_choose(spec, (uint32_t)page, &shape);

    memset(arena, 0, sizeof(*arena));
    arena->index_fd = index_fd;
    arena->data_fd = -1;
    if (!error)
        error = file_replace(files->data, &arena->data_fd);
    if (!error)
        error = file_fill(index_fd, shape.index_size);
    if (!error)
        error = file_fill(arena->data_fd, shape.data_size);
    if (!error)
        error = files_map(arena, &shape, page > (long)SMALL_PAGE);
    if (error) {
        unlink(files->data);
        unlink(files->index);
        if (arena->data_fd >= 0)
            close(arena->data_fd);
        close(index_fd);
        arena->index_fd = arena->data_fd = -1;
        return error;
    }
    error = arena_format(arena, spec, &shape);
    if (error)
        arena_close(arena); /* without a magic: the next one makes it anew */
    return error;
}

static bool geometry_wanted(const struct arena *arena, const struct arena_spec *spec, long page)
{
    const struct superblock *sb = arena->sb;
    struct geometry shape;

    return geometry_choose(spec, (uint32_t)page, &shape) == 0 &&
           sb->nr_partitions == shape.nr_partitions && sb->nr_cores == shape.nr_cores &&
           sb->blocks_per_partition == shape.nr_blocks && sb->region_size == shape.region_size &&
           (!spec->seed || spec->seed == sb->seed);
}

/* Tells one boot of the host from another; 0: unknown. */
static uint64_t host_boot(void)
{
    char text[64];
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    size_t len = file ? fread(text, 1, sizeof(text), file) : 0;

    if (file)
        fclose(file);
    return len ? XXH3_64bits(text, len) : 0;
}

void arena_clock_note(const struct arena *arena)
{
    struct superblock *sb = arena->sb;

    counter_set(&sb->noted_ns, clock_ns());
    counter_set(&sb->noted_wall_ms, clock_wall_ms());
    counter_set(&sb->host_boot, host_boot());
}

/* clock_ns() when somebody last served from the arena: noted, or a poll core's last turn. */
static uint64_t last_served_ns(const struct arena *arena, uint64_t at_most_ns)
{
    uint64_t last_ns = arena->sb->noted_ns;

    for (unsigned i = 0; i < arena->nr_cores; i++) {
        uint64_t turn_ns = arena->stats[i].heartbeat_ns;

        if (turn_ns > last_ns && turn_ns <= at_most_ns)
            last_ns = turn_ns;
    }
    return last_ns;
}

/* The arena's time goes on where it stood, plus the pause: by the monotonic clock within one boot
 * of the host, else by the wall clock. A pause that cannot be told (the wall clock went back) or is
 * longer than any time to live ends the time of everything that has one, and no more: blocks count
 * in 32 bits. */
static void clock_resume(struct arena *arena)
{
    const uint64_t pause_max_ms = KVR_TTL_MAX_MS;
    struct superblock *sb = arena->sb;
    uint64_t now_ns = clock_ns(), wall_ms = clock_wall_ms(), boot = host_boot();
    uint64_t noted_ns = sb->noted_ns, noted_wall_ms = sb->noted_wall_ms, last_ns, pause_ms;

    if (boot && boot == sb->host_boot) {
        last_ns = last_served_ns(arena, now_ns);
        pause_ms = now_ns >= last_ns ? (now_ns - last_ns) / NS_PER_MS : pause_max_ms;
        if (pause_ms < pause_max_ms)
            return; /* the clock that it counts by has just gone on */
    } else if (wall_ms < noted_wall_ms) {
        last_ns = last_served_ns(arena, UINT64_MAX);
        pause_ms = pause_max_ms;
    } else {
        last_ns = last_served_ns(arena, noted_ns + (wall_ms - noted_wall_ms) * NS_PER_MS);
        pause_ms = wall_ms - noted_wall_ms - (last_ns - noted_ns) / NS_PER_MS;
    }
    if (pause_ms > pause_max_ms)
        pause_ms = pause_max_ms;
    sb->epoch_ns = now_ns - (last_ns - sb->epoch_ns) - pause_ms * NS_PER_MS;
}

/* index_fd: the locked index, which becomes the arena's or is closed. */
static int files_resume(const struct files *files, const struct arena_spec *spec, int index_fd,
                        long page, struct arena *arena)
{
    int data_fd = open(files->data, O_RDWR | O_CLOEXEC | O_NOFOLLOW), error;

    if (data_fd < 0)
        error = errno == ENOENT ? -EINVAL : -errno;
    else
        error = file_lock(data_fd, LOCK_EX, -ETXTBSY);
    if (!error) {
        flock(data_fd, LOCK_UN); /* whoever is lent it locks it again */
        error = arena_attach(index_fd, data_fd, ARENA_WRITE_INDEX | ARENA_WRITE_DATA, arena);
    }
    if (error) {
        if (data_fd >= 0)
            close(data_fd);
        close(index_fd);
        return error;
    }
    if (!geometry_wanted(arena, spec, page)) {
        arena_close(arena);
        return -EINVAL;
    }
    clock_resume(arena);
    arena_clock_note(arena);
    for (unsigned i = 0; i < arena->nr_cores; i++)
        counter_set(&arena->stats[i].heartbeat_ns, 0);
    counter_set(&arena->sb->reclaim.heartbeat_ns, 0);
    counter_set(&arena->sb->copy.heartbeat_ns, 0);
    arena->sb->dataplane_pid = 0;
    return 0;
}

int arena_open_files(const struct arena_spec *spec, const char *path, bool anew,
                     struct arena *arena, bool *resumed)
{
    struct geometry shape;
    struct files files;
    int index_fd = -1, fresh_fd = -1, error;
    long page;

    memset(arena, 0, sizeof(*arena));
    arena->index_fd = arena->data_fd = -1;
    *resumed = false;
    if (snprintf(files.index, PATH_MAX, "%s.index", path) >= PATH_MAX ||
        snprintf(files.data, PATH_MAX, "%s.data", path) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (geometry_choose(spec, SMALL_PAGE, &shape) < 0)
        return -EINVAL;
    error = index_open(files.index, &index_fd);
    if (error)
        return error;
    page = page_of(index_fd);
    if (page < 0) {
        if (lseek(index_fd, 0, SEEK_END) == 0)
            unlink(files.index); /* nothing but our own mark */
        close(index_fd);
        return (int)page;
    }
    if (!anew && was_formatted(index_fd)) {
        error = files_resume(&files, spec, index_fd, page, arena);
        *resumed = !error;
        return error;
    }
    /* The old one stays locked until the new one is. */
    error = file_replace(files.index, &fresh_fd);
    if (!error && (error = file_lock(fresh_fd, LOCK_EX, -EBUSY)))
        close(fresh_fd);
    close(index_fd);
    return error ? error : files_create(&files, spec, fresh_fd, page, arena);
}

static int reopen(int fd, int flags)
{
    char name[64];
    int other;

    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    other = open(name, flags | O_CLOEXEC);
    return other < 0 ? -errno : other;
}

int arena_lend(const struct arena *arena, unsigned rights, int *index_fd, int *data_fd)
{
    int error = 0;

    *index_fd = reopen(arena->index_fd, O_RDONLY);
    if (*index_fd < 0)
        return *index_fd;
    *data_fd = reopen(arena->data_fd, rights & ARENA_WRITE_DATA ? O_RDWR : O_RDONLY);
    if (*data_fd < 0)
        error = *data_fd;
    else if (!arena->sealed && (error = file_lock(*data_fd, LOCK_SH, -EBUSY)))
        close(*data_fd);
    if (error)
        close(*index_fd);
    return error;
}
