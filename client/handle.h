/* SPDX-License-Identifier: Apache-2.0 */
/* What a client handle is made of: links (one per partition), datagrams in flight, tasks (running
 * calls). One thread at a time owns a handle and everything below it; there are no globals.
 *
 *   task --queued at--> link --packed into--> datagram --answered--> task done
 *                         ^------- timeout, BUSY, new session ---------|          */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/random.h"
#include "client/build.h"
#include "client/check.h"
#include "client/flow.h"
#include "client/gaps.h"
#include "client/order.h"
#include "kvrail/client.h"

#define SLOT_BITS 10u /* of a datagram's id: its place in client->datagrams */
#define SLOT_HELLO ((1u << SLOT_BITS) - 1u)
#define SLOT_STRAY (SLOT_HELLO - 1u) /* nobody waits for the answer */
#define NEVER UINT64_MAX
#define OUT_MAX 64u /* datagrams handed to the kernel in one call */
#define IN_MAX 32u
#define MERGE_DEADLINES_NS (2 * NS_PER_MS) /* writes that may share a datagram */

struct kvr_client;
struct link;
struct datagram;
struct task;
struct match_plan;
struct wire;
struct local;
struct kvr_region;
struct looks;
struct transfer;

/* What can go into one datagram together. Reads wait for the fence, writes for a free number; the
 * parts of an upload have their number already and PING tells of no key: these wait for neither. */
enum traffic { TRAFFIC_READ, TRAFFIC_WRITE, TRAFFIC_FREE, TRAFFICS };

enum prepared {
    PREPARE_SEND, /* let it be sent */
    PREPARE_WAIT, /* not now: try again in a moment */
    PREPARE_DONE, /* nothing to send: call->status is its end */
};

/* What each kind of call does; one table a file: get.c, put.c, match.c, plain.c, local_call.c,
 * place.c. */
struct task_kind {
    /* Bytes of the record that the task is about to send. */
    uint32_t (*size)(const struct kvr_client *client, const struct task *task);
    /* Bytes of values that the answer may carry, for the window. */
    uint32_t (*weight)(const struct kvr_client *client, const struct task *task);
    /* Appends the record (a repeated GET: several) of an entry. */
    void (*write)(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                  struct writer *writer);
    /* A checked record for this entry. Ends the task, or closes the entry, or waits for more. */
    void (*answer)(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                   const struct kvr_op *record);
    /* Sends more of a long value while there is room; false: nothing left to send now. */
    bool (*stream)(struct kvr_client *client, struct task *task);
    /* Forgets all progress: the server did. */
    void (*restart)(struct kvr_client *client, struct task *task);
    /* The task ends in failure: a last word to the server. May be NULL. */
    void (*give_up)(struct kvr_client *client, struct task *task);
    /* Before the task is queued, and again after each wait; NULL: PREPARE_SEND. */
    enum prepared (*prepare)(struct kvr_client *client, struct task *task);
    /* The link it goes by, unless its key says so: then NULL. */
    struct link *(*route)(struct kvr_client *client, const struct task *task);
};

enum task_place { PLACE_NONE, PLACE_READY, PLACE_STREAM, PLACE_DELAYED };

TAILQ_HEAD(task_list, task);
TAILQ_HEAD(datagram_list, datagram);
TAILQ_HEAD(transfer_list, transfer);

/* A running call, or one chunk of a MATCH. */
struct task {
    TAILQ_ENTRY(task) all;    /* client->tasks, completed or spare_tasks */
    TAILQ_ENTRY(task) queued; /* of its place */
    const struct task_kind *kind;
    struct kvr_call *call;
    struct link *link;
    struct match_plan *plan; /* MATCH, and its chunks */
    uint32_t chunk;
    struct datagram *datagram; /* the last it was put in; streams are in several */
    uint32_t nr_entries;       /* in datagrams in flight */
    uint64_t started_ns, deadline_ns, not_before_ns;
    uint32_t *waited; /* kvr_do: calls still to end. NULL: done is called */
    uint32_t nr_repeats, nr_delays;
    uint8_t place, traffic, priority, last_status;
    bool alone;   /* its record must not share a datagram */
    bool special; /* its kind is not what its call's op says */
    /* GET and PUT of long values */
    struct gaps gaps;
    uint32_t cursor; /* up to here everything missing was sent for */
    uint32_t total;  /* GET: bytes of the view. PUT: of the value */
    bool known;      /* GET: total and ref are valid */
    uint8_t phase;   /* PUT: enum put_phase */
    uint8_t nr_restarts;
    uint32_t frag, seq; /* PUT */
    uint64_t ref;       /* GET: the block. PUT: the upload */
    uint32_t crc;       /* PUT: of the first crc_len bytes of the value */
    uint32_t crc_len;
    /* shm:// */
    uint32_t nr_waits;
    uint64_t at;    /* of the value in the data segment, or in staging */
    uint8_t ticket; /* of its place */
    bool holds;     /* the ticket, or the staging room at `at`, */
    uint32_t mount; /* of this mount */
};

struct entry {
    struct task *task; /* NULL: answered or given up */
    uint32_t lo, hi;   /* bytes of the value it is about */
    uint32_t end;      /* GET: where the last question for them ended */
};

struct datagram {
    TAILQ_ENTRY(datagram) spare;
    TAILQ_ENTRY(datagram) sent; /* of link->sent, by last send */
    struct link *link;
    uint64_t id, id_first;              /* this one and the first of this use of the slot */
    uint64_t first_ns, sent_ns, due_ns; /* first and last send, next look */
    uint64_t deadline_ns;
    uint8_t *bytes; /* room bytes */
    uint32_t room, head_len;
    const uint8_t *tail; /* the value part of a WRITE, in the caller's memory */
    uint32_t tail_len;
    uint32_t weight; /* bytes counted in the windows */
    uint32_t seq;    /* 0 = none */
    uint16_t slot;
    uint8_t nr_entries, nr_open, nr_sends, nr_ops;
    uint8_t traffic, priority;
    uint8_t nr_passed; /* answers to later sends, since the last of its own */
    uint8_t nr_after;  /* answers behind the first hole of its train */
    uint8_t nr_early;  /* sends again before its timer said so, since it was last answered */
    bool owns_seq;     /* else its task does */
    bool repeats;      /* a retransmission says the same again; else it asks anew */
    bool by_gso;       /* the last send was a segment of a larger one */
    bool answered;     /* something came since the last send */
    bool current;      /* the answer in work is to the last send */
    bool by_timer;     /* the last send was */
    bool held;         /* the server asked to wait */
    bool in_use;
    bool in_ring;                  /* shm://: the last send found a cell, */
    uint32_t cell;                 /* as request number cell of its ring */
    uint8_t entry_of[KVR_OPS_MAX]; /* idx of a record -> entry */
    struct entry entries[KVR_OPS_MAX];
};

enum link_state { LINK_CLOSED, LINK_HELLO, LINK_READY };

struct link {
    struct kvr_client *client;
    int fd; /* UDP */
    uint16_t partition;
    uint8_t state; /* enum link_state */
    bool gso_off;
    bool damaged;                                   /* replies came that were */
    uint64_t cookie, cookie_old_ns, cookie_dead_ns; /* renew from, useless from */
    uint64_t hello_first, hello_id;                 /* ids of the HELLOs in flight; 0 = none */
    uint64_t hello_sent_ns, hello_due_ns;
    uint32_t hello_sends;
    uint32_t gso_lost, gso_acked;
    uint64_t gso_next_ns; /* while none was acked: two segments at a time, next then */
    uint32_t overflows;   /* datagrams that found the socket's buffer full, since it was opened */
    struct order order;
    struct flow flow;
    struct task_list ready[KVR_PRIORITIES][TRAFFICS];
    struct task_list streams;
    uint32_t nr_ready;
    uint32_t nr_flying, flying_max; /* datagrams in flight, and most of them */
    struct datagram_list sent;      /* in flight, in the order of their last sends */
    uint64_t probes_ns;             /* since then so many timers ended in a send */
    uint32_t nr_probes;
    struct datagram *out[OUT_MAX];
    uint32_t nr_out;
    struct kvr_call fence; /* see order.h; in flight while private_state is set */
    uint32_t fence_waited;
    uint8_t *fence_key;
};

/* The readable descriptor of kvr_fd; behind a pointer because kvr_fd gets a const client. */
struct wake {
    int epoll_fd, timer_fd;
    uint64_t armed_ns; /* NEVER = not */
    bool watched;      /* somebody asked for the descriptor */
    bool asked;        /* calls wait to be sent by kvr_poll */
};

struct kvr_client {
    struct kvr_options options;
    struct kvr_client_stats stats;
    struct rng rng;
    uint32_t frag_shift; /* crc32c_shift(KVR_FRAG_BEST) */
    const struct wire *wire;
    struct local *local;             /* shm://: the mapped cache; else NULL */
    struct sockaddr_storage address; /* of partition 0 */
    socklen_t address_len;
    uint16_t port;
    uint64_t session;
    bool greeted;            /* hello is valid */
    enum kvr_status refused; /* why the server will not talk; KVR_OK = it does */
    struct kvr_hello_rep hello;
    uint32_t mtu_payload;  /* UDP payload that the path carries, as the kernel says */
    uint32_t max_datagram; /* both ways */
    uint64_t next_id;
    uint64_t now_ns;     /* read once a turn */
    uint64_t arrived_ns; /* when the datagram in work came, as the kernel saw it */

    struct link *links[KVR_PARTITIONS_MAX];
    uint32_t nr_links;
    uint64_t busy_links;   /* bit p: something waits to be sent there */
    uint32_t first_packed; /* link that comes first next time, modulo their number */

    struct datagram *datagrams;
    uint32_t nr_datagrams;
    struct datagram_list spare;
    uint32_t nr_flying;
    uint32_t flying_bytes;
    uint64_t next_due_ns; /* no datagram or HELLO is due before */

    struct task_list tasks;     /* running; a MATCH once */
    struct task_list completed; /* done to be called */
    struct task_list delayed;
    struct task_list spare_tasks;
    uint32_t nr_spare_tasks;
    uint64_t next_deadline_ns, next_delayed_ns; /* none ends before */
    bool closing;

    struct kvr_region *regions[KVR_REGIONS_MAX];
    struct transfer_list transfers; /* running */
    uint32_t nr_ended;              /* of them, to be reported */
    uint32_t nr_watching;           /* of them, those that want to hear of layers by a device */
    uint32_t next_token;            /* of LOADs */
    uint64_t words[16];             /* bit w: word w of the segment is taken */
    struct looks *looks;            /* NULL: it never looked */

    struct wake *wake;
    uint8_t *in_bytes; /* IN_MAX buffers of in_size */
    uint32_t in_size;
};

static inline void link_mark(struct link *link)
{
    link->client->busy_links |= 1ull << link->partition;
}
