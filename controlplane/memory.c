/* SPDX-License-Identifier: Apache-2.0 */
/* The arena: made new in anonymous memory or in files, or taken up from files that an earlier
 * kvraild has left. kvraild itself maps it for reading only. Main thread. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/kvraild.h"

#define HUGE_PAGE (2 * MIB)
#define LET_GO_MS 2000u

static void refused(const struct kvraild *kvraild, int rc)
{
    const char *size = options_text(&kvraild->options, OPT_cache_size);
    const char *file = options_text(&kvraild->options, OPT_arena_file);
    bool required = strcmp(options_text(&kvraild->options, OPT_hugepages), "require") == 0;

    if (*file && rc == -EBUSY)
        log_error("arena_file: %s is used by another kvraild or by a dataplane that it left; stop "
                  "that, or choose another arena_file",
                  file);
    else if (*file && rc == -EMEDIUMTYPE)
        log_error("arena_file: %s lies neither on tmpfs nor on hugetlbfs; choose a path such as "
                  "/dev/shm/kvrail",
                  file);
    else if (*file && (rc == -ENOSPC || rc == -ENOMEM))
        log_error("arena_file: %s: no room for a cache_size of %s; choose a smaller one, or make "
                  "the file system larger",
                  file, size);
    else if (*file)
        log_error("arena_file: %s cannot be opened: %s", file, strerror(-rc));
    else if (rc == -ENOMEM && required)
        log_error("cache_size: %s: not enough free huge pages; raise vm.nr_hugepages, or set "
                  "hugepages to auto",
                  size);
    else if (rc == -ENOMEM)
        log_error("cache_size: %s: not enough free memory; choose a smaller cache_size", size);
    else
        log_error("arena of %s with %u partitions cannot be created: %s", size,
                  options_partitions(&kvraild->options), strerror(-rc));
}

/* The same segments, mapped for reading only: whatever goes wrong in kvraild, the cache is safe. */
static int watch(const struct arena *made, struct arena *watched)
{
    int index_fd = fcntl(made->index_fd, F_DUPFD_CLOEXEC, 3);
    int data_fd = fcntl(made->data_fd, F_DUPFD_CLOEXEC, 3), rc = -EMFILE;

    if (index_fd >= 0 && data_fd >= 0)
        rc = arena_attach(index_fd, data_fd, ARENA_READ, watched);
    if (rc < 0) {
        close(index_fd);
        close(data_fd);
    }
    return rc;
}

static void note_pages(struct kvraild *kvraild)
{
    const struct arena *arena = &kvraild->arena;

    kvraild_note(kvraild,
                 "fewer than %llu free huge pages: the cache lies in ordinary pages (sysctl "
                 "vm.nr_hugepages)",
                 (arena->index_size + arena->data_size + HUGE_PAGE - 1) / HUGE_PAGE);
}

static struct arena_spec spec_of(const struct kvraild *kvraild)
{
    static const enum hugepages wishes[] = {HUGEPAGES_AUTO, HUGEPAGES_OFF, HUGEPAGES_REQUIRE};
    const struct options *options = &kvraild->options;

    return (struct arena_spec){
        .data_size = options_number(options, OPT_cache_size),
        .nr_partitions = options_partitions(options),
        .nr_cores = (uint32_t)options_number(options, OPT_workers),
        .blocks_max = options_number(options, OPT_blocks_max),
        .hugepages = wishes[options_number(options, OPT_hugepages)],
    };
}

/* Why what the files hold is of no use; NULL: that is no matter of what they hold. */
static const char *useless(int rc)
{
    return rc == -EPROTO ? "they hold a cache of another version or layout"
           : rc == -EINVAL
               ? "they hold a cache of other cache_size, partitions, workers or blocks_max, or a "
                 "damaged one"
           : rc == -ETXTBSY ? "clients of the kvraild before still read the cache in them"
                            : NULL;
}

/* Files that are of no use are removed and made new, and that is said: an empty cache serves, a
 * refused start does not. */
static int open_files(struct kvraild *kvraild, const char *path, bool anew, struct arena *made)
{
    struct arena_spec spec = spec_of(kvraild);
    bool resumed = false;
    int rc = arena_open_files(&spec, path, anew, made, &resumed);
    uint64_t until_ns = clock_ns() + LET_GO_MS * NS_PER_MS;
    const char *why;

    /* Clients of the kvraild before hear of its end and let go, if they hold nothing. */
    while (rc == -ETXTBSY && !anew && clock_ns() < until_ns) {
        poll(NULL, 0, 50);
        rc = arena_open_files(&spec, path, anew, made, &resumed);
    }
    why = rc ? useless(rc) : NULL;

    if (why && !anew) {
        rc = arena_open_files(&spec, path, true, made, &resumed);
        if (rc == 0)
            kvraild_note(kvraild,
                         "arena_file: %s.index and .data are refused: %s; the cache starts "
                         "empty in new files",
                         path, why);
    }
    if (rc == 0)
        log_info("the cache lies in %s.index and .data, %s", path,
                 resumed ? "as it was left there" : "empty");
    return rc;
}

static int open_any(struct kvraild *kvraild, bool anew)
{
    const char *file = options_text(&kvraild->options, OPT_arena_file);
    struct arena_spec spec = spec_of(kvraild);
    struct arena made;
    int rc;

    rc = *file ? open_files(kvraild, file, anew, &made) : arena_create(&spec, &made);
    if (rc == 0) {
        /* Nobody else opens them by way of /proc. */
        if (fchmod(made.index_fd, 0600) < 0 || fchmod(made.data_fd, 0600) < 0)
            rc = -errno;
        if (rc == 0)
            rc = watch(&made, &kvraild->arena);
        arena_close(&made);
    }
    if (rc < 0)
        refused(kvraild, rc);
    else if (spec.hugepages == HUGEPAGES_AUTO && !kvraild->arena.hugepages && !*file)
        note_pages(kvraild);
    return rc;
}

uint64_t memory_pinned_max(const struct kvraild *kvraild)
{
    return kvraild->arena.data_size / 100 * options_number(&kvraild->options, OPT_client_pinned);
}

int memory_setup(struct kvraild *kvraild)
{
    return kvraild->arena.sb ? 0 : open_any(kvraild, false); /* else it was adopted */
}

int memory_renew(struct kvraild *kvraild)
{
    int rc;

    attach_arena(&kvraild->attach);
    memory_teardown(kvraild);
    rates_stop(&kvraild->rates);
    rc = open_any(kvraild, true);
    if (rc)
        return rc;
    rates_start(&kvraild->rates, &kvraild->loop, &kvraild->arena);
    kvraild->attach.rules.pinned_max = memory_pinned_max(kvraild);
    kvraild->attach.rules.write_owner_only = !kvraild->arena.sealed;
    return 0;
}

void memory_teardown(struct kvraild *kvraild)
{
    arena_close(&kvraild->arena);
    kvraild->arena.sb = NULL;
}
