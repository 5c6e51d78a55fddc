/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder know of a client: struct client, one for each slot of the table;
 * in it a struct side for each poll core, the core's own; and struct port, a core's part of the
 * whole. The main thread makes and frees all of it; the words that both look at are atomic:
 *
 *   main  fills clients[slot], then sets its bit in present (release); the core acquires it
 *   main  sets its bit in leaving; the core ends its side bit by bit, then stores gone (release)
 *   main  when all sides are gone, clears the bit in present; each core copies present once a turn
 *         and says so in seen (release); when no seen has the bit any more, the client is freed */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cacheline.h"
#include "base/hash.h"
#include "base/spsc.h"
#include "dataplane/core.h"
#include "dataplane/local/local.h"
#include "gpu/job.h"
#include "shm/segment.h"

#define SIDE_BUFFERS 16u /* requests of one client in work at one core */
#define SIDE_STORES 8u   /* of them, values being copied */
#define SIDE_MOVES 128u  /* blocks on their way between the arena and a client's regions */
#define REPLY_MAX_64 63u /* most bytes of a reply in a cell, in units of 64 */
#define MARK_ADD 0x80u   /* in the mark of a reserved block: id << 8 | ADD | ticket */

_Static_assert(KVR_TICKETS <= MARK_ADD, "a ticket and ADD share the low byte of a mark");
_Static_assert(REPLY_MAX_64 * 64u <= SEGMENT_MESSAGE_MAX, "the largest reply fits a cell");
_Static_assert(LOCAL_CLIENTS_MAX == 64, "a bit for each client");

/* A place that is being written. */
struct place {
    uint64_t ref; /* 0: none under this ticket */
    struct key_hash hash;
    uint32_t block, value_len;
    uint32_t seq; /* of the PLACE; 0: made by an earlier run */
    uint8_t idx;
    bool add;
};

/* A value on its way from a client's staging into a reserved block. */
struct store {
    const uint8_t
        *from; /* the client's memory: may change at any time; NULL: the bytes are there */
    uint8_t *to;
    uint32_t len;
    unsigned slot;
    uint32_t at, crc;   /* copy worker: bytes copied; their CRC32C, taken from the copy */
    struct store *next; /* copy worker */
    uint32_t done;      /* atomic: the copy worker has let go */
    /* The core's own. */
    bool used;
    uint8_t idx;
    uint16_t partition;
    uint32_t block;
    const struct request *request; /* NULL: nobody waits for it any more */
};

enum region_state { REGION_FREE, REGION_OPEN, REGION_CLOSING };

/* Memory of a client that its blocks are loaded into and stored from. Main thread, but for jobs. */
struct region {
    uint32_t state; /* atomic: enum region_state */
    uint32_t jobs;  /* atomic: cores that look at it, and their jobs that name it */
    struct gpu_region *memory;
};

enum move_stage {
    MOVE_FREE,
    MOVE_READY, /* has its block; not yet the fleet's */
    MOVE_RUNS,  /* the fleet's */
    MOVE_ENDED, /* of a SAVE that went well: to be summed up */
    MOVE_SUMS,  /* the copy worker's */
};

enum move_tier {
    MOVE_FROM_ARENA,
    MOVE_FROM_POOL,   /* has a pin there */
    MOVE_WAS_IN_POOL, /* came from there, and the pin is given back */
};

/* A block on its way between the arena and a region. The core's own, but for what the fleet or the
 * copy worker have meanwhile. */
struct move {
    struct gpu_job job;
    struct store sum;              /* SAVE: the CRC32C is taken by the copy worker */
    const struct request *request; /* NULL: nobody waits for it any more */
    struct region *region;
    uint64_t *word; /* LOAD: where its progress is told; NULL: nowhere */
    uint32_t token, shown;
    uint32_t block;
    uint16_t partition;
    uint8_t idx;
    uint8_t stage; /* enum move_stage */
    uint8_t tier;  /* enum move_tier */
    uint32_t lost; /* in the pool: gpu_region_lost() of what was pinned */
    uint64_t pin;
};

/* A copy in the core's pool that the client reads. */
struct look {
    uint64_t pin; /* 0: none under this ticket */
    struct kvr_look_rep rep;
    uint32_t seq; /* of the LOOK */
    uint8_t idx;
};

/* A partition's rings as its owner sees them. The indexes are its own: the shared ones are written
 * for the client, and read again only by the next run. */
struct ring {
    struct segment_rings at;
    uint32_t request_head, completion_tail, access_head;
    uint64_t session; /* that may write; 0 = none yet */
    struct place places[KVR_TICKETS];
    struct look looks[KVR_TICKETS];
};

struct side;

struct buffer {
    struct side *home;
    struct request request;
    uint8_t moves[KVR_OPS_MAX]; /* of an op: 1 + which of its side's; 0: none */
    uint8_t bytes[SEGMENT_MESSAGE_MAX];
};

struct side {
    struct client *client;
    uint32_t free; /* atomic, bit per buffer: the core takes, whoever releases gives */
    unsigned turn; /* where the next look at the rings begins */
    unsigned nr_stores, nr_moves, nr_looks;
    unsigned nr_waiting;
    struct request *waiting, **waiting_tail;
    struct session_table *sessions;
    struct store stores[SIDE_STORES];
    struct move *moves; /* SIDE_MOVES; main makes them before the client's first region opens */
    bool ending;
    bool gone; /* atomic */
    unsigned nr_rings;
    struct ring *rings; /* of partition p: rings[p / nr_cores] */
    struct buffer *buffers;
};

/* Main thread, but for what is marked. */
struct client {
    struct local_spec spec;
    struct segment segment;
    unsigned slot;
    uint64_t serial; /* order of adding */
    const char *why; /* of its end; NULL: lives */
    bool hidden;     /* out of present, cores may not have seen that yet */
    uint64_t over_since_ns;
    cache_aligned uint64_t taken; /* atomic: bytes of values in open places and stores */
    struct side **sides;          /* nr_cores */
    struct gpu_owner owner;       /* of its jobs */
    struct region regions[KVR_REGIONS_MAX];
};

/* A core's part; transport is the first field. */
struct port {
    struct transport transport;
    struct local *local;
    struct core *core; /* NULL: none runs here. Main thread writes while it does not run */
    unsigned index;
    uint64_t present;            /* as of this turn */
    uint64_t serving;            /* of them, those that do not leave */
    unsigned next;               /* client whose turn it is first */
    unsigned next_access;        /* whose access rings are looked at */
    unsigned nr_jobs;            /* the fleet's, its pool's with them */
    struct spsc copies;          /* to the copy worker: struct store * */
    cache_aligned uint64_t seen; /* atomic */
};

struct local {
    struct arena *arena;
    struct reclaimer *reclaimer;
    struct copier *copier;
    struct gpu_fleet *fleet; /* NULL: none. Main sets it while no core runs; producer = core */
    unsigned nr_cores;
    int epoll_fd;
    uint64_t serial;
    cache_aligned uint64_t present, leaving;   /* atomic, bit per slot */
    struct client *clients[LOCAL_CLIENTS_MAX]; /* read under present, or with a request of it */
    struct port *ports[];
};

static inline struct client *request_client(const struct core *core, const struct request *request)
{
    return ((const struct port *)(const void *)core->local)->local->clients[request->local - 1];
}

static inline struct side *request_side(const struct core *core, const struct request *request)
{
    return request_client(core, request)->sides[core->index];
}

/* Of a partition that the core owns. */
static inline struct ring *side_ring(const struct core *core, struct side *side, unsigned partition)
{
    return &side->rings[partition / core->nr_cores];
}

static inline unsigned ring_partition(const struct core *core, unsigned i)
{
    return core->index + i * core->nr_cores;
}

/* Whether the client may have len more bytes in places and stores; if so it has. */
static inline bool client_take(struct client *client, uint32_t len, uint64_t most)
{
    if (__atomic_add_fetch(&client->taken, len, __ATOMIC_RELAXED) <= most)
        return true;
    __atomic_sub_fetch(&client->taken, len, __ATOMIC_RELAXED);
    return false;
}

static inline void client_give(struct client *client, uint32_t len)
{
    __atomic_sub_fetch(&client->taken, len, __ATOMIC_RELAXED);
}

/* local.c */
struct side *side_create(const struct local *local, struct client *client, unsigned core);
void side_destroy(struct side *side);

/* rings.c. The client's slot is the peer's port, the ring's partition its local_port. */
extern const struct transport_ops rings_ops;

/* access.c. Tells the policy what one client hit since the last look. */
void accesses_drain(struct port *port, struct side *side);

/* place.c */
/* Gives up all that the client has not sealed at this core. */
void places_drop(struct core *core, struct side *side);
/* Takes up what is reserved in the core's partitions since an earlier run. */
void places_rebuild(struct port *port);

/* look.c */
/* Lets go of all that the client looks at at this core. */
void looks_drop(struct core *core, struct side *side);

/* moves.c */
/* Takes back the jobs that ended. */
void moves_take(struct port *port);
/* Tells clients how far their LOADs are, and lets go of what nobody waits for any more. */
void moves_poll(struct core *core, struct side *side);
/* Nobody waits for the request's any more. */
void moves_settle(struct side *side, const struct request *request);

/* regions.c. No job names them any more. */
void regions_close(const struct local *local, struct client *client);

/* store.c */
/* Lets go of copies that nobody waits for any more, when the worker has. */
void stores_poll(struct core *core, struct side *side);
