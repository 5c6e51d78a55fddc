/* SPDX-License-Identifier: Apache-2.0 */
/* A page of memory with a row for each local client. Whoever wrote it may have died between two
 * stores: a row counts from the store of its id on. */
#include "controlplane/roster.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROSTER_MAGIC 0x7265747366766bull
#define ROSTER_VERSION 1

static int map(int fd, struct roster *roster)
{
    void *at = mmap(NULL, sizeof(*roster->page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (at == MAP_FAILED)
        return -errno;
    *roster = (struct roster){.page = at, .fd = fd};
    return 0;
}

int roster_create(struct roster *roster)
{
    int fd = memfd_create("kvrail-roster", MFD_CLOEXEC), rc;
    uint32_t random = 0;

    if (fd < 0)
        return -errno;
    rc = ftruncate(fd, sizeof(*roster->page)) < 0 || fchmod(fd, 0600) < 0 ? -errno : 0;
    if (!rc)
        rc = map(fd, roster);
    if (rc) {
        close(fd);
        return rc;
    }
    roster->page->version = ROSTER_VERSION;
    /* Ids of one kvraild should not look like those of the one before. */
    if (getrandom(&random, sizeof(random), 0) == sizeof(random))
        roster->page->next_id = random & CLIENT_ID_MAX;
    __atomic_store_n(&roster->page->magic, ROSTER_MAGIC, __ATOMIC_RELEASE);
    return 0;
}

int roster_open(int fd, struct roster *roster)
{
    struct stat st;
    int rc;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size != sizeof(*roster->page))
        return -EPROTO;
    rc = map(fd, roster);
    if (rc)
        return rc;
    if (roster->page->magic == ROSTER_MAGIC && roster->page->version == ROSTER_VERSION)
        return 0;
    munmap(roster->page, sizeof(*roster->page));
    *roster = (struct roster){.fd = -1};
    return -EPROTO;
}

void roster_close(struct roster *roster)
{
    if (!roster->page)
        return;
    munmap(roster->page, sizeof(*roster->page));
    close(roster->fd);
    *roster = (struct roster){.fd = -1};
}

const struct roster_row *roster_find(const struct roster *roster, uint32_t id)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        if (roster->page->rows[i].id == id)
            return &roster->page->rows[i];
    return NULL;
}

uint32_t roster_next_id(struct roster *roster)
{
    uint32_t *next = &roster->page->next_id, id;

    do {
        id = *next;
        if (id < 1 || id > CLIENT_ID_MAX)
            id = 1;
        *next = id + 1;
    } while (roster_find(roster, id));
    return id;
}

int roster_add(struct roster *roster, const struct roster_row *row)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++) {
        struct roster_row *free = &roster->page->rows[i], fresh = *row;

        if (free->id)
            continue;
        fresh.id = 0;
        *free = fresh;
        __atomic_store_n(&free->id, row->id, __ATOMIC_RELEASE);
        return 0;
    }
    return -ENOSPC;
}

void roster_remove(struct roster *roster, uint32_t id)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        if (roster->page->rows[i].id == id)
            __atomic_store_n(&roster->page->rows[i].id, 0, __ATOMIC_RELEASE);
}
