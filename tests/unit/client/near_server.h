/* SPDX-License-Identifier: Apache-2.0 */
/* A server on this host in a few hundred lines: an arena with one partition, the attach socket, and
 * a thread that answers the rings, all in the test's own process, which may do to each what no
 * server would. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kvrail/client.h"
#include "shm/arena.h"
#include "shm/attach.h"
#include "shm/partition.h"
#include "shm/reclaim.h"
#include "shm/segment.h"

#define NEAR_PLACES 16u
#define NEAR_CLIENTS 16u

struct near_place {
    const struct segment *segment; /* whose */
    uint32_t block, len, ticket;
    uint64_t ref;
    bool open;
};

struct near_server {
    char path[96], url[112];
    struct arena arena;
    struct partition *partition;
    struct reclaimer *reclaimer;
    pthread_mutex_t lock; /* the partition, and what follows */
    pthread_t attacher, owner;
    bool stop, stop_owner;
    int listener;
    int connections[NEAR_CLIENTS];
    struct segment segments[NEAR_CLIENTS];
    unsigned nr_clients;
    struct near_place places[NEAR_PLACES];
    uint64_t boot;
    unsigned nr_seen[KVR_OPCODES]; /* requests */
    /* What the test has it do otherwise. */
    uint32_t rights, slots_max;
    uint64_t pinned_max;
    uint32_t refuse_with; /* errno of the offer */
    /* Changes the offer, or what is sent along; true: send nothing at all. */
    bool (*twist)(struct near_server *near, struct attach_offer *offer, size_t *len, int fds[2],
                  unsigned *nr_fds);
    bool forgets;               /* a new owner keeps no reservations */
    bool silent;                /* rings are not answered */
    struct kvr_look_rep look;   /* answer to each LOOK; pin 0: MISS */
    enum kvr_status released;   /* answer to each RELEASE */
    unsigned lose[KVR_OPCODES]; /* answers of this op that are lost from now on */
};

void near_setup(struct near_server *near);
/* Socket, arena, threads. */
void near_start(struct near_server *near);
void near_stop(struct near_server *near);
/* A client; options may be NULL. */
struct kvr_client *near_client(struct near_server *near, const struct kvr_options *options);

/* The dataplane ends; a new one starts over the same arena. */
void near_kill_owner(struct near_server *near);
void near_start_owner(struct near_server *near);
/* kvraild ends: no socket, no connections. */
void near_kill_keeper(struct near_server *near);
void near_start_keeper(struct near_server *near);
/* Everything is replaced: another arena at the same path. */
void near_replace(struct near_server *near);

/* As the owner core: stores, deletes, makes room. Values are near_fill of the key. */
uint64_t near_put(struct near_server *near, const char *key, uint32_t len, uint32_t ttl_ms);
void near_del(struct near_server *near, const char *key);
void near_poll(struct near_server *near);
void near_fill(uint8_t *bytes, uint32_t len, const char *key, uint64_t ref);
bool near_good(const void *bytes, uint32_t len, const char *key, uint64_t ref);
struct key_hash near_hash(const struct near_server *near, const char *key);
uint32_t near_ms(const struct near_server *near);

/* Who writes a reserved block. */
uint32_t near_mark(const struct near_server *near, const struct segment *segment, uint32_t ticket);

/* near_rings.c: answers what waits in the client's rings. False: nothing did. */
bool near_answer(struct near_server *near, struct segment *segment);
