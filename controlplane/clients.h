/* SPDX-License-Identifier: Apache-2.0 */
/* The clients on this host that have the arena mapped: who they are, how they end, what they hold.
 * The dataplane is told of each and looks after their segments; here is the list that outlives it.
 * Main thread only. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "controlplane/loop.h"
#include "controlplane/pools.h"
#include "controlplane/regions.h"
#include "controlplane/roster.h"
#include "dataplane/local/local.h"
#include "shm/attach.h"
#include "shm/segment.h"

struct child;
struct child_pool;
struct clients;

struct client {
    struct clients *clients;
    struct local_spec spec; /* its descriptors are this entry's own */
    int fd;                 /* its connection; -1: taken over from another kvraild */
    char name[ATTACH_NAME_MAX];
    struct segment segment; /* as kvraild maps it */
    uint64_t since_wall_ms;
    bool told;    /* the dataplane has it, or is being told */
    bool leaving; /* the dataplane was told to let go */
    /* Slots as the last scan found them, and since when. */
    uint64_t *seen, *since_ns;
    uint64_t held, held_bytes;
    struct held_region regions[KVR_REGIONS_MAX];
    struct asked_pool pool;
    /* Who waits for the dataplane's word; NULL: nobody. */
    void (*added)(void *waiter, uint32_t id, const char *error);
    void *waiter;
};

struct clients {
    struct loop *loop;
    struct child *child;
    const struct arena *arena;
    struct timer scan;
    struct region_rules region_rules;
    struct roster roster; /* of those in the list, for the next kvraild */
    unsigned nr;
    struct client *list[LOCAL_CLIENTS_MAX];
};

/* The arena may be made later. */
void clients_setup(struct clients *clients, struct loop *loop, struct child *child,
                   const struct arena *arena);
/* Makes the roster, unless there is one: that of the kvraild before. -errno. */
[[nodiscard]] int clients_roster(struct clients *clients);
/* Lets go of all; nobody is told. */
void clients_teardown(struct clients *clients);

struct client_wish {
    int fd, segment_fd, pidfd; /* the client's from here on, also if it fails; fd may be -1 */
    uint32_t id;               /* 0: a new one */
    pid_t pid;
    uid_t uid;
    bool may_write;
    uint64_t pinned_max;
    uint64_t since_wall_ms; /* 0: now */
    const char *name;
};
/* A new client. added: called once, when the dataplane knows it or there is none (error NULL), or
 * with why not; perhaps at once. NULL: the dataplane has it already. 0, -ENOSPC, -ENOMEM,
 * what segment_attach says. */
[[nodiscard]] int clients_add(struct clients *clients, const struct client_wish *wish,
                              void (*added)(void *waiter, uint32_t id, const char *error),
                              void *waiter);
/* Nobody waits any more. */
void clients_forget_waiter(struct clients *clients, const void *waiter);
/* The end of a client, by its own will or somebody else's. -ENOENT. */
[[nodiscard]] int clients_drop(struct clients *clients, uint32_t id, const char *why);
/* Of all of them: the arena that they have will not be served any more. */
void clients_drop_all(struct clients *clients, const char *why);

/* supervise.c: a dataplane is about to be started with these (specs has room for
 * LOCAL_CLIENTS_MAX), is ready, has ended; it let go of one. */
unsigned clients_specs(struct clients *clients, struct local_spec *specs);
void clients_dataplane_ready(struct clients *clients);
void clients_dataplane_gone(struct clients *clients);
void clients_gone(struct clients *clients, uint32_t id, const char *why);
void clients_region_gone(struct clients *clients, uint32_t id, unsigned region);
/* Its descriptor is taken. */
void clients_pool(struct clients *clients, const struct child_pool *pool);

/* The answers to "client-list" and "pins"; id 0: of all clients. */
json_t *clients_build(const struct clients *clients);
json_t *pins_build(const struct clients *clients, uint32_t id, unsigned limit);
