/* SPDX-License-Identifier: Apache-2.0 */
/* Takes copies of another process's descriptors. Which they are its command line says, and for the
 * clients that came later the roster. Without all of the living clients' segments the cache must
 * not be used: what they hold would be given away. */
#include "controlplane/seize.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/proc_stat.h"
#include "controlplane/roster.h"

#define LINE_BYTES_MAX 65536u

/* A copy of its descriptor nr; by /proc where the kernel forbids the other way. */
static int fetch(const struct adoption *found, int nr)
{
    char path[64];
    int fd = pidfd_getfd(found->peer.pidfd, nr, 0);

    if (fd >= 0)
        return fd;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)found->peer.pid, nr);
    fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The number behind a flag of its command line, or -1. */
static int flag_of(const char *line, size_t len, const char *flag)
{
    for (size_t at = 0; at < len; at += strlen(line + at) + 1)
        if (strcmp(line + at, flag) == 0 && at + strlen(flag) + 1 < len)
            return atoi(line + at + strlen(flag) + 1);
    return -1;
}

static int fetch_flags(struct adoption *found)
{
    struct {
        const char *flag;
        int *fd;
    } wanted[] = {{"--index-fd", &found->index_fd},
                  {"--data-fd", &found->data_fd},
                  {"--roster-fd", &found->roster_fd}};
    char path[64], *line = calloc(1, LINE_BYTES_MAX + 1);
    FILE *file;
    size_t len;
    int rc = 0;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)found->peer.pid);
    file = line ? fopen(path, "re") : NULL;
    if (!file) {
        free(line);
        return -EIO;
    }
    len = fread(line, 1, LINE_BYTES_MAX, file);
    fclose(file);
    for (unsigned i = 0; i < 3 && rc == 0; i++) {
        int nr = flag_of(line, len, wanted[i].flag);

        *wanted[i].fd = nr < 0 ? -ENOENT : fetch(found, nr);
        if (*wanted[i].fd < 0)
            rc = *wanted[i].fd;
    }
    free(line);
    return rc;
}

/* A copy of its descriptor of the memfd with this inode. */
static int fetch_inode(const struct adoption *found, uint64_t inode)
{
    char path[64], name[320];
    struct dirent *entry;
    struct stat st;
    int fd = -ENOENT;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)found->peer.pid);
    dir = opendir(path);
    if (!dir)
        return -errno;
    while (fd == -ENOENT && (entry = readdir(dir))) {
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (stat(name, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == inode)
            fd = fetch(found, atoi(entry->d_name));
    }
    closedir(dir);
    return fd;
}

static int fetch_client(struct adoption *found, const struct roster_row *row)
{
    struct local_spec spec = {.id = row->id,
                              .pid = row->pid,
                              .uid = row->uid,
                              .may_write = row->may_write == 1,
                              .pinned_max = row->pinned_max,
                              .pidfd = pidfd_open((pid_t)row->pid, 0)};

    if (spec.pidfd < 0)
        return errno == ESRCH ? 0 : -errno;
    if (process_started(row->pid) != row->started) {
        close(spec.pidfd); /* another process by now */
        return 0;
    }
    spec.segment_fd = fetch_inode(found, row->segment);
    if (spec.segment_fd < 0) {
        close(spec.pidfd);
        /* It was not told of this client yet: then the client holds nothing. */
        return spec.segment_fd == -ENOENT ? 0 : spec.segment_fd;
    }
    found->clients[found->nr_clients++] = spec;
    return 0;
}

int seize(struct adoption *found)
{
    const struct roster_row *rows;
    struct roster roster = {.fd = -1};
    int rc, copy;

    rc = fetch_flags(found);
    if (rc)
        return rc;
    copy = fcntl(found->roster_fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return -errno;
    rc = roster_open(copy, &roster);
    if (rc) {
        close(copy);
        return rc;
    }
    rows = roster.page->rows;
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX && rc == 0; i++)
        if (rows[i].id)
            rc = fetch_client(found, &rows[i]);
    roster_close(&roster);
    return rc;
}
