/* SPDX-License-Identifier: Apache-2.0 */
/* The clients on this host: who they are, whether the dataplane knows them, and their end. Each is
 * watched by its connection and its process, whichever ends first. Main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/passing.h"
#include "controlplane/roster.h"
#include "dataplane/local/local.h"
#include "shm/attach.h"
#include "shm/segment.h"

struct kvraild;

enum client_state {
    CLIENT_FREE,
    CLIENT_JOINING, /* the dataplane has not taken it over yet; it waits for its attach_done */
    CLIENT_LIVE,
    CLIENT_LEAVING /* it has ended; the dataplane has not let go of it yet */
};

/* What a slot of a client's segment held at the last look, and since when (pins.c). */
struct pin {
    uint64_t ref, since_ns;
};

struct client {
    struct kvraild *kvraild;
    enum client_state state;
    struct local_spec spec; /* segment_fd is the segment's, pidfd the client's own */
    struct segment segment;
    int conn;  /* -1: with a kvraild that died */
    bool told; /* this dataplane was told of it */
    uint64_t since_ms;
    char name[ATTACH_NAME_MAX], comm[16];
    struct pin *pins; /* nr_slots of its segment */
    uint32_t pins_used;
};

struct clients {
    struct client rows[LOCAL_CLIENTS_MAX];
    struct roster roster;
};

/* Who has said all that the handshake asks for (attach.c). */
struct newcomer {
    struct peer peer;
    int conn, segment_fd;
    bool may_write, asymmetric;
    uint64_t pinned_max;
    const char *name;
};
/* Takes over all descriptors, and answers on conn now or later. */
void clients_join(struct kvraild *kvraild, const struct newcomer *newcomer);
/* One that came to an earlier kvraild; its descriptors are taken over. False: it cannot be. */
bool clients_inherit(struct kvraild *kvraild, const struct local_spec *spec,
                     const struct roster_row *row);
/* After the last of those: what else the roster names is gone. */
void clients_prune(struct kvraild *kvraild);

/* How many there are, on their way in or out included. */
unsigned clients_count(const struct kvraild *kvraild);
/* NULL: there is none that lives. */
struct client *clients_find(struct kvraild *kvraild, uint32_t id);
/* Begins the end of one, or of all, of them. why: one line. */
void clients_drop(struct client *client, const char *why);
void clients_drop_all(struct kvraild *kvraild, const char *why);

/* For a dataplane that is about to be started: those it must know of. Returns how many. */
unsigned clients_specs(struct kvraild *kvraild, struct local_spec specs[LOCAL_CLIENTS_MAX]);
/* What becomes of the dataplane: it serves; it has let go of a client; it is gone. */
void clients_ready(struct kvraild *kvraild);
void clients_gone(struct kvraild *kvraild, uint32_t id, const char *why);
void clients_down(struct kvraild *kvraild);

[[nodiscard]] int clients_setup(struct kvraild *kvraild);
void clients_teardown(struct kvraild *kvraild);

/* pins.c */
void pins_start(struct kvraild *kvraild);
void pins_stop(struct kvraild *kvraild);
