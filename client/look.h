/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of blocks in the memory of the server's devices, as a handle knows them: the memory that
 * it was handed, and what it has pinned there. Owned by the handle's thread. */
#pragma once

#include "client/handle.h"
#include "kvrail/transfer.h"
#include "shm/attach.h"

/* Memory of the pool that a core has on a device. */
struct memory {
    struct kvr_gpu_memory said; /* first: what the caller sees; its fd is this entry's */
    struct memory *next;
    uint64_t boot; /* of the dataplane that exported it */
    uint32_t device, core, lost;
    uint32_t nr_looks; /* that name it */
    bool old;          /* there is another in its place: goes with its last look */
};

/* A pin at the server, or a ticket that one is being asked for under. */
struct look {
    struct look *next;
    struct memory *memory; /* NULL: not there yet */
    uint64_t boot, pin;
    uint32_t mount;
    uint16_t partition;
    uint8_t ticket;
};

/* What was asked on the mount's socket last. */
struct memory_ask {
    uint64_t boot;
    uint32_t mount, device, core;
    bool said;       /* there is no answer yet */
    uint32_t status; /* the last answer's: 0, or an errno */
};

struct looks {
    struct look *list;
    struct memory *memories;
    struct memory_ask ask;
    uint64_t last_number; /* of a memory */
};

/* An answer came; fd: -1 or beside it, taken here. */
void look_hear(struct kvr_client *client, const struct attach_pool_done *done, int fd);
/* The handle ends. */
void looks_free(struct kvr_client *client);
