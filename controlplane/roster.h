/* SPDX-License-Identifier: Apache-2.0 */
/* The list of the local clients, in a memfd that the dataplane keeps open and never looks at: so
 * the next kvraild learns of them even where the dataplane can say nothing any more. kvraild writes
 * it, main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/local/local.h"
#include "shm/attach.h"

struct roster_row {
    uint32_t id; /* 0: the row is free; written last */
    uint32_t pid, uid, may_write;
    uint64_t pinned_max;
    uint64_t since_ms; /* wall clock */
    uint64_t started;  /* when the process was, as /proc says: tells it from one that has its pid */
    uint64_t segment;  /* inode of its segment */
    uint64_t asymmetric; /* struct attach_segment */
    char name[ATTACH_NAME_MAX];
};

struct roster_page {
    uint64_t magic;
    uint32_t version;
    uint32_t next_id; /* of the client that comes next */
    struct roster_row rows[LOCAL_CLIENTS_MAX];
};

struct roster {
    struct roster_page *page;
    int fd;
};

/* -errno. */
[[nodiscard]] int roster_create(struct roster *roster);
/* Takes up one that another kvraild has made; the descriptor becomes the roster's. -EPROTO: it is
 * none, or another version's; the descriptor is still the caller's then. */
[[nodiscard]] int roster_open(int fd, struct roster *roster);
void roster_close(struct roster *roster);

/* An id that no client has or had lately. */
uint32_t roster_next_id(struct roster *roster);
/* NULL: there is none. */
const struct roster_row *roster_find(const struct roster *roster, uint32_t id);
/* -ENOSPC. */
[[nodiscard]] int roster_add(struct roster *roster, const struct roster_row *row);
void roster_remove(struct roster *roster, uint32_t id);
