/* SPDX-License-Identifier: Apache-2.0 */
/* The cache as a handle maps it (shm://). A mount is one arena with the segment of this handle; the
 * newest serves everything, older ones stay for as long as values are held in them. Owned by the
 * handle's thread. */
#pragma once

#include "client/handle.h"
#include "client/staging.h"
#include "client/url.h"
#include "shm/arena.h"
#include "shm/hazard.h"
#include "shm/segment.h"

#define LOOK_NS (100 * NS_PER_MS) /* between two looks whether the arena is still alive */

struct mount {
    struct mount *next; /* older */
    uint32_t number;    /* from 1; what is held names it */
    uint32_t id;        /* of the client, as kvraild numbers them */
    struct arena arena;
    struct segment segment;
    struct hazards hazards;
    struct segment_rings rings[KVR_PARTITIONS_MAX];
    uint64_t seed; /* of the key hash */
    int socket;    /* its other end is kvraild's; -1 = it is gone */
    bool may_write;
    uint64_t boot_id; /* of the dataplane that was last greeted */
    uint64_t held_bytes, pinned_max;
    uint32_t nr_held, held_max;
    uint32_t nr_places;                   /* tickets that are in use, and pins (look.c) */
    uint64_t tickets[KVR_PARTITIONS_MAX]; /* bit t: ticket t of the partition is free */
    struct staging staging;
};

struct local {
    struct mount *mount; /* the newest, which is in use */
    const uint8_t *here; /* 1; the kernel makes it 0 in a child of fork() */
    uint64_t looked_ns;  /* coarse clock of the last look that found the arena alive */
    uint64_t try_ns;     /* not connected again before */
    uint64_t pause_ns;   /* between two tries */
    bool lost;           /* neither kvraild nor dataplane is there */
    char path[URL_PATH_MAX + 1];
    struct kvr_call drop; /* DEL of a corrupt block; in flight while private_state is set */
    uint32_t drop_waited;
    uint8_t drop_key[KVR_KEY_MAX];
};

/* The clock that block expiry and looks need: as old as a tick of the kernel, but nearly free. */
static inline uint64_t coarse_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline bool local_forked(const struct local *local)
{
    return *(const volatile uint8_t *)local->here == 0;
}

/* Attaches to the server whose local socket is path, within options.connect_ms. */
[[nodiscard]] enum kvr_status local_open(struct kvr_client *client, const char *path);
/* Tells the server and unmaps. In a child of fork() only memory is freed. */
void local_close(struct kvr_client *client);

/* Looks whether the server is another one by now, connects again if it went away. Not while links
 * or tasks are being walked. False: nobody there. */
bool local_look(struct kvr_client *client);
/* The same at the pace of LOOK_NS, for calls that wait for nobody: KVR_OK, or why there is no arena
 * to be read. */
static inline enum kvr_status local_usable(struct kvr_client *client)
{
    const struct local *local = client->local;

    if (__builtin_expect(!local, 0))
        return KVR_NOT_LOCAL;
    if (__builtin_expect(local_forked(local), 0))
        return KVR_INVALID;
    if (__builtin_expect(coarse_ns() - local->looked_ns >= LOOK_NS, 0) && !local_look(client))
        return KVR_UNREACHABLE;
    return KVR_OK;
}

/* The same at the pace of LOOK_NS; costs nothing in between. Also a new dataplane is noticed. */
void local_follow(struct kvr_client *client);

/* A lookup that was disturbed, or comes too early: again and again, while the handle's other work
 * goes on, until the default deadline. All zero at first. */
struct patience {
    uint64_t until_ns;
    uint32_t nr;
};
/* Before the key is looked up again. False: that is enough. */
[[nodiscard]] bool local_wait(struct kvr_client *client, struct patience *patience,
                              const struct kvr_key *key);

/* How a call that needs no server ended, or that it has to be tried again: lookups were disturbed,
 * the arena is being recovered, or an earlier write must be known to be over first. */
enum local_outcome { LOCAL_DONE, LOCAL_AGAIN };

/* GET and MATCH without a lease. LOCAL_DONE: call->status and results are set. */
enum local_outcome local_call(struct kvr_client *client, struct kvr_call *call);
/* GET of the block call->ref, which the server keeps for a while, after it has told what it is. */
enum kvr_status local_copy_leased(struct kvr_client *client, struct kvr_call *call);
/* Deletes the block if it still is this one; nobody waits for the answer. */
void local_drop(struct kvr_client *client, const struct kvr_key *key, uint64_t ref);

/* The last view or place of an older mount may have gone. */
void mount_forget(struct local *local, struct mount *mount);
void mount_close(struct mount *mount, bool forked);
/* The mount of that number, or NULL. */
struct mount *mount_find(const struct local *local, uint32_t number);
