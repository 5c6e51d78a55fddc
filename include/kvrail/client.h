/* SPDX-License-Identifier: Apache-2.0 */
/* libkvrail: store and fetch blocks. kvrail-client(3) is the manual.
 *
 * A client handle belongs to one thread at a time (give each thread its own; they are cheap).
 * Every call has a deadline and returns by then: KVR_OK, or the reason why not. No call ever
 * returns bytes that are not the bytes stored under the key. A PUT or DEL that ends in
 * KVR_TIMEOUT may or may not have happened, but never happens later than the next call on this
 * handle that touches the same key. */
#ifndef KVRAIL_CLIENT_H
#define KVRAIL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <kvrail/proto.h>
#include <kvrail/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KVR_API __attribute__((visibility("default")))

struct kvr_client;

struct kvr_options {
    uint32_t size;         /* sizeof(struct kvr_options); set by kvr_options_init */
    uint32_t timeout_ms;   /* deadline of a call that names none; default 1000 */
    uint32_t connect_ms;   /* most time that kvr_open waits for HELLO; default 2000 */
    uint32_t window_bytes; /* most bytes of values in flight per server; default 1 MiB, shrinks
                            * and grows with the measured round trip time */
    uint32_t max_datagram; /* 0 = what the path's MTU and the server allow */
    uint32_t max_inflight; /* most datagrams in flight; default 128, at most KVR_WINDOW */
    uint32_t tries; /* sends of one datagram at the most; 0 = as many as the deadline allows */
    uint16_t tenant;
    uint8_t priority;  /* enum kvr_priority; default KVR_NORMAL */
    uint8_t no_verify; /* 1: skip the whole-value CRC32C of a GET (datagrams stay checked) */
    uint64_t rng_seed; /* of jitter; 0 = random. The session id is always unguessable */
    /* shm:// only */
    const char *name;  /* what `kvrail client list` shows; NULL: the program's name */
    uint32_t max_held; /* most values held at once; 0 = 16384, the server may allow less */
    uint8_t read_only; /* 1: do not map the values for writing, even where that is allowed */
};
KVR_API void kvr_options_init(struct kvr_options *options);

/* url: "udp://HOST[:PORT]", HOST a name, IPv4 or [IPv6] address; PORT that of partition 0, default
 * KVR_PORT. "shm://PATH": the server on this host, PATH its local socket; the cache is mapped, and
 * what is read never leaves this process. options may be NULL. On KVR_OK the caller owns *client
 * (kvr_close). Waits for the server at most connect_ms: KVR_UNREACHABLE if none answered,
 * KVR_INVALID for a bad url, KVR_BAD_VERSION, KVR_NO_MEMORY; of a local one KVR_DENIED, and
 * KVR_PROTOCOL if what it offers is no cache. */
KVR_API enum kvr_status kvr_open(const char *url, const struct kvr_options *options,
                                 struct kvr_client **client);
/* Calls still running end as KVR_CANCELED, their callbacks are called; views and places that were
 * not given back are gone. NULL is allowed. */
KVR_API void kvr_close(struct kvr_client *client);

KVR_API const char *kvr_status_name(enum kvr_status status); /* "MISS" */
KVR_API const char *kvr_status_text(enum kvr_status status); /* "no such key" */
KVR_API const char *kvr_version(void);

struct kvr_server_info {
    uint32_t version, nr_partitions, max_datagram, max_value, train_max;
    uint64_t seed, boot, arena;
    uint64_t rtt_ns; /* smoothed */
};
KVR_API void kvr_server_info(const struct kvr_client *client, struct kvr_server_info *info);

/* ---- Calls ---------------------------------------------------------------------------------
 * One struct describes a call, synchronous or not. Zero it, fill what the op needs, then kvr_do,
 * or kvr_submit and kvr_poll. The struct, the key and the buffers belong to the caller and must
 * stay untouched until the call is done. */
enum kvr_call_op {
    KVR_CALL_GET = 1,
    KVR_CALL_PUT, /* any size */
    KVR_CALL_DEL,
    KVR_CALL_TOUCH,
    KVR_CALL_HINT,
    KVR_CALL_MATCH,
    KVR_CALL_PING,
    KVR_CALL_STAT
};

struct kvr_key {
    const void *data;
    uint32_t len; /* 1 .. KVR_KEY_MAX */
};

/* One key's answer of MATCH. */
struct kvr_match {
    uint64_t ref; /* 0 = absent */
    uint32_t value_len;
    uint8_t tier, present, pinned, zero;
};

struct kvr_call {
    /* in */
    enum kvr_call_op op;
    uint8_t priority_set, priority; /* priority counts if priority_set is 1 */
    uint8_t add;                    /* PUT: only if absent, else KVR_EXISTS */
    uint8_t meta_only;              /* GET: no bytes, only what is known of the block */
    struct kvr_key key;             /* all but MATCH, PING, STAT */
    uint32_t timeout_ms;            /* 0 = the client's default */
    uint32_t ttl_ms;                /* PUT, TOUCH: 0 = no expiry; at most KVR_TTL_MAX_MS */
    uint32_t lease_ms;    /* GET, MATCH: keep what is found from eviction for so long; 0 = do not */
    uint16_t layout;      /* PUT */
    const void *value;    /* PUT */
    size_t value_len;     /* PUT */
    struct kvr_hint hint; /* PUT, HINT; all zero = nothing known */
    void *buffer;         /* GET: where the bytes go */
    size_t buffer_len;
    uint32_t off, len;      /* GET: view of the value, see struct kvr_get_req; len 0 = to the end */
    uint32_t stride, count; /* GET: count 0 = 1 */
    uint64_t if_ref;        /* GET, DEL: 0, or only this very block, else KVR_STALE */
    const struct kvr_key *keys; /* MATCH: nr_keys of them, a chain from its start */
    uint32_t nr_keys;
    struct kvr_match *matches;           /* MATCH: NULL or room for nr_keys answers */
    void (*done)(struct kvr_call *call); /* submitted calls: called from kvr_poll; may submit */
    void *user;

    /* out, valid when done */
    enum kvr_status status;
    size_t result_len;        /* GET: bytes in buffer; with KVR_BUFFER_TOO_SMALL: bytes needed */
    uint32_t stored_len;      /* GET: length of the whole value */
    uint32_t stored_crc;      /* GET: CRC32C of the whole value */
    uint32_t ttl_left_ms;     /* GET: 0 = no expiry */
    uint16_t stored_layout;   /* GET */
    uint8_t tier;             /* GET: enum kvr_tier */
    uint8_t pinned;           /* GET: the lease was granted */
    uint64_t ref;             /* GET, PUT: the block */
    uint32_t prefix;          /* MATCH: how many of the first keys are all stored */
    uint32_t nr_present;      /* MATCH */
    uint32_t nr_pinned;       /* MATCH */
    struct kvr_stat_rep stat; /* STAT */
    uint64_t latency_ns;      /* from submit to done */
    uint32_t nr_retransmits;

    void *private_state; /* the library's; zero before the first use */
};

/* Runs one call to its end. Returns call->status. */
KVR_API enum kvr_status kvr_do(struct kvr_client *client, struct kvr_call *call);

/* Runs n calls together, batched into few datagrams, and waits for all. Each has its own status;
 * returns KVR_OK if all are KVR_OK, else the first that is not. done is not called. */
KVR_API enum kvr_status kvr_do_batch(struct kvr_client *client, struct kvr_call *calls, size_t n);

/* Starts a call. KVR_OK: done will be called from kvr_poll, exactly once (never from within
 * kvr_submit). KVR_INVALID, KVR_NO_MEMORY: it is not started. Calls submitted before the next
 * kvr_poll share datagrams where they can. */
KVR_API enum kvr_status kvr_submit(struct kvr_client *client, struct kvr_call *call);
/* Ends a submitted call as KVR_CANCELED (done is called by the next kvr_poll). */
KVR_API void kvr_cancel(struct kvr_client *client, struct kvr_call *call);
/* Sends, receives, retransmits, calls done; waits at most timeout_ms for the first completion
 * (0 = not at all, -1 = until one). Returns the number of calls that ended; 0 as well when
 * nothing is submitted. */
KVR_API int kvr_poll(struct kvr_client *client, int timeout_ms);
/* A descriptor that is readable when kvr_poll has something to do (epoll inside: datagrams and
 * timers). Owned by the client. */
KVR_API int kvr_fd(const struct kvr_client *client);

/* ---- The short forms ----------------------------------------------------------------------- */
/* *len: bytes of the value, also with KVR_BUFFER_TOO_SMALL. */
KVR_API enum kvr_status kvr_get(struct kvr_client *client, const void *key, size_t key_len,
                                void *buffer, size_t buffer_len, size_t *len);
KVR_API enum kvr_status kvr_put(struct kvr_client *client, const void *key, size_t key_len,
                                const void *value, size_t value_len, uint32_t ttl_ms);
KVR_API enum kvr_status kvr_del(struct kvr_client *client, const void *key, size_t key_len);
KVR_API enum kvr_status kvr_touch(struct kvr_client *client, const void *key, size_t key_len,
                                  uint32_t ttl_ms);
KVR_API enum kvr_status kvr_hint(struct kvr_client *client, const void *key, size_t key_len,
                                 const struct kvr_hint *hint);
/* *prefix: how many of the first keys are all stored. matches: NULL or nr_keys answers. */
KVR_API enum kvr_status kvr_match(struct kvr_client *client, const struct kvr_key *keys,
                                  size_t nr_keys, struct kvr_match *matches, uint32_t *prefix);
/* *rtt_ns may be NULL. */
KVR_API enum kvr_status kvr_ping(struct kvr_client *client, uint64_t *rtt_ns);
KVR_API enum kvr_status kvr_stat(struct kvr_client *client, struct kvr_stat_rep *stat);

/* ---- On the server's own host --------------------------------------------------------------
 * With "shm://PATH" all calls above work, GET and MATCH without the server; and these besides,
 * which else answer KVR_NOT_LOCAL. A handle does not survive fork(). */

/* A stored value where it lies. It stays there and as it is until it is released (or the handle is
 * closed), whatever happens to the key or to the server. */
struct kvr_view {
    const void *data; /* len bytes, for reading only */
    uint64_t ref;
    uint32_t len;
    uint32_t crc;    /* CRC32C of the value, as its writer gave it; nobody has compared it */
    uint32_t ttl_ms; /* left; 0 = no expiry */
    uint16_t layout;
    uint8_t tier;
    uint8_t zero;
    uint32_t slot, mount; /* the library's */
};

/* Finds a value and holds it. KVR_MISS; KVR_LIMIT: this handle holds as many blocks or bytes as the
 * server allows; KVR_UNREACHABLE: neither kvraild nor dataplane is there; KVR_TIMEOUT: the default
 * timeout passed while the server was being recovered, or did not say whether an earlier write of
 * this handle that timed out has happened. Only on KVR_OK is there something to release. */
KVR_API enum kvr_status kvr_get_view(struct kvr_client *client, const void *key, size_t key_len,
                                     struct kvr_view *view);
/* The same for a chain of keys: holds the *prefix first ones that are all stored (views[0 ..
 * *prefix - 1]). KVR_OK also if that is none; KVR_LIMIT: what is held is *prefix, more is stored.
 */
KVR_API enum kvr_status kvr_match_views(struct kvr_client *client, const struct kvr_key *keys,
                                        size_t nr_keys, struct kvr_view *views, uint32_t *prefix);
/* The same for keys that have nothing to do with each other, of which each may be stored or not:
 * many lookups at once, whose waits for memory overlap. views[i] is that of keys[i]; of one that is
 * not stored it is all zero, which kvr_release passes over. *nr_found: how many are held; may be
 * NULL. KVR_OK also if none is; KVR_LIMIT: what is held is in views, more may be stored. */
KVR_API enum kvr_status kvr_get_views(struct kvr_client *client, const struct kvr_key *keys,
                                      size_t nr_keys, struct kvr_view *views, size_t *nr_found);
/* Lets go. n views, each of them held by this handle; their data must not be touched any more. */
KVR_API void kvr_release(struct kvr_client *client, const struct kvr_view *views, size_t n);

/* kvr_get; check 1: compares the CRC32C of what was copied, KVR_CORRUPT if it is wrong (the block
 * is deleted then). On any handle. */
KVR_API enum kvr_status kvr_get_copy(struct kvr_client *client, const void *key, size_t key_len,
                                     void *buffer, size_t buffer_len, int check, size_t *len);

/* Memory of the cache for a value that is yet to be written. */
struct kvr_place {
    void *data; /* value_len bytes */
    uint64_t ref;
    uint32_t len;
    uint16_t partition, ticket; /* the library's, */
    uint32_t mount, zero;       /* these too */
};

/* put: key, value_len, and whatever else a PUT says; value is not looked at. KVR_DENIED: the handle
 * may not write (use kvr_put); KVR_LIMIT: KVR_TICKETS places of the key's partition are open
 * already, or more bytes than the server allows. Ends as a PUT does. The place is the caller's
 * until kvr_seal or kvr_abort, which end it in any case. */
KVR_API enum kvr_status kvr_reserve(struct kvr_client *client, const struct kvr_call *put,
                                    struct kvr_place *place);
/* Publishes the value. crc: CRC32C of it, or NULL: taken here. Not a byte of it may change after,
 * whatever is returned. KVR_NO_UPLOAD: the server has given the place up, or was replaced. */
KVR_API enum kvr_status kvr_seal(struct kvr_client *client, struct kvr_place *place,
                                 const uint32_t *crc);
KVR_API enum kvr_status kvr_abort(struct kvr_client *client, struct kvr_place *place);

/* What kvr_hint.parent of a child must hold. */
KVR_API uint64_t kvr_key_id(const struct kvr_client *client, const void *key, size_t key_len);

struct kvr_client_stats {
    uint64_t tx_datagrams, tx_bytes, rx_datagrams, rx_bytes;
    uint64_t retransmits, timeouts, hellos, busy;
    uint64_t rx_corrupt;    /* datagrams dropped for a wrong CRC */
    uint64_t rx_unexpected; /* late, doubled or foreign datagrams */
    uint64_t value_corrupt; /* values whose CRC32C was wrong, fetched again */
};
KVR_API void kvr_client_stats(const struct kvr_client *client, struct kvr_client_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
