/* SPDX-License-Identifier: Apache-2.0 */
/* The wire protocol, version 1. docs/protocol.md explains it; this file fixes every offset.
 * A datagram is one kvr_hdr and nr_ops records. A record is one kvr_op, the op's own fixed part,
 * then its variable part, padded with zeroes to 8 bytes. All integers are little-endian: on the
 * wire these structs are what x86-64 and little-endian Arm hold in memory. */
#ifndef KVRAIL_PROTO_H
#define KVRAIL_PROTO_H

#include <stdint.h>

#include <kvrail/region.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KVR_MAGIC 0x3152564bu /* "KVR1" */
#define KVR_VERSION 1
#define KVR_KEY_MAX 1024u
#define KVR_VALUE_MAX (64u << 20)
#define KVR_TTL_MAX_MS (20u * 24u * 3600u * 1000u)
#define KVR_OPS_MAX 32u            /* records in one datagram */
#define KVR_MUTATIONS_MAX 16u      /* of them PUT, DEL, TOUCH, HINT, RESERVE */
#define KVR_DATAGRAM_MAX 8952u     /* UDP payload of a 9,000 byte MTU over IPv6 */
#define KVR_DATAGRAM_MIN_MAX 1232u /* what every path carries: 1,280 byte MTU over IPv6 */
#define KVR_WINDOW 256u            /* mutating datagrams between floor and the newest seq */
#define KVR_HELLO_SIZE 128u        /* a HELLO record is padded to this, so its reply is no larger */
#define KVR_FRAG_MIN 512u          /* smallest fragment of a large value */
#define KVR_FRAG_BEST                                                                              \
    8192u             /* servers keep the CRC32C of such parts of a value: of a GET or             \
                       * WRITE of one they need not sum the bytes again */
#define KVR_PORT 9690 /* UDP port of partition 0 unless configured */
#define KVR_PARTITIONS_MAX 64u

enum kvr_kind { KVR_REQUEST = 1, KVR_REPLY = 2 };

enum kvr_priority {
    KVR_CRITICAL = 0,
    KVR_HIGH = 1,
    KVR_NORMAL = 2,
    KVR_LOW = 3,
    KVR_BACKGROUND = 4,
    KVR_PRIORITIES = 5
};

/* X(NAME, number) */
#define KVR_OP_LIST(X)                                                                             \
    X(HELLO, 1)                                                                                    \
    X(PING, 2)                                                                                     \
    X(GET, 3)                                                                                      \
    X(PUT, 4)                                                                                      \
    X(RESERVE, 5)                                                                                  \
    X(WRITE, 6)                                                                                    \
    X(COMMIT, 7)                                                                                   \
    X(ABORT, 8)                                                                                    \
    X(MATCH, 9)                                                                                    \
    X(DEL, 10)                                                                                     \
    X(TOUCH, 11)                                                                                   \
    X(HINT, 12)                                                                                    \
    X(STAT, 13)                                                                                    \
    X(PLACE, 14)                                                                                   \
    X(SEAL, 15)                                                                                    \
    X(DROP, 16)                                                                                    \
    X(STORE, 17)                                                                                   \
    X(LOAD, 18)                                                                                    \
    X(SAVE, 19)                                                                                    \
    X(LOOK, 20)                                                                                    \
    X(RELEASE, 21)

enum kvr_opcode {
#define KVR_OP_ENUM(name, number) KVR_##name = (number),
    KVR_OP_LIST(KVR_OP_ENUM)
#undef KVR_OP_ENUM
        KVR_OPCODES = 22
};

/* The server never answers an unproven address (no valid cookie) with more bytes than it sent. */
struct kvr_hdr {
    uint32_t magic;
    uint8_t version;
    uint8_t kind;
    uint8_t status;   /* reply: status of the datagram; OK: see each record's own */
    uint8_t priority; /* enum kvr_priority */
    uint16_t len;     /* bytes of the datagram, this header included */
    uint8_t nr_ops;
    uint8_t reply_max;    /* request: largest reply datagram in units of 64 bytes, at least 19;
                           * 0 = KVR_DATAGRAM_MIN_MAX. reply: 0 */
    uint32_t crc;         /* CRC32C of the datagram with this field as 0 */
    uint64_t id;          /* chosen by the client, never reused in a session; echoed */
    uint64_t session;     /* chosen at random by the client, not 0; echoed */
    uint64_t cookie;      /* from the HELLO reply, bound to address, port and session */
    uint32_t deadline_us; /* request: time left, 0 = server's default. reply BUSY: retry after */
    uint32_t seq;         /* mutating datagrams: 1, 2, 3 .. per (session, partition); else 0 */
    uint32_t floor;       /* every seq below this is finished for the client: acked or given up */
    uint16_t tenant;
    uint16_t partition; /* request: owner of the ops, as the client sees it. reply: who answers */
};

/* In front of every record. A reply record with a status other than OK is this head alone, but for
 * COMMIT's INCOMPLETE (kvr_put_rep and ranges); so are the replies of WRITE, ABORT, DEL, TOUCH and
 * HINT. A reply datagram with a status other than OK has no records; it speaks for all ops of the
 * request that are not answered otherwise. */
struct kvr_op {
    uint8_t op;       /* enum kvr_opcode */
    uint8_t idx;      /* position of the op in its request, 0-based; replies repeat it */
    uint8_t flags;    /* KVR_GET_* .. */
    uint8_t status;   /* reply only: enum kvr_status; 0 in requests */
    uint16_t size;    /* bytes of the record with this head and padding: a multiple of 8 */
    uint16_t key_len; /* request: bytes of the key in the variable part; else 0 */
};

/* HELLO needs no cookie. It is the only op of its datagram. */
struct kvr_hello_req {
    struct kvr_op op;
    uint16_t version_min, version_max;
    uint32_t max_datagram; /* largest UDP payload that the client can receive */
    uint8_t zero[KVR_HELLO_SIZE - 16];
};

struct kvr_hello_rep { /* the cookie is in kvr_hdr.cookie */
    struct kvr_op op;
    uint16_t version;
    uint16_t nr_partitions; /* partition p listens on UDP port base_port + p */
    uint16_t base_port;
    uint16_t max_ops;
    uint32_t max_datagram; /* UDP payload the server sends and receives on this path */
    uint32_t max_value;
    uint32_t train_max;      /* most bytes of a value that one GET op is answered with */
    uint32_t cookie_ms;      /* say HELLO again before this has passed */
    uint64_t seed;           /* of the key hash: XXH3 128; partition = hi % nr_partitions */
    uint64_t boot;           /* changes when the server lost its sessions */
    uint64_t arena;          /* changes when the server lost its blocks */
    uint32_t upload_idle_ms; /* a reservation without a WRITE for this long is dropped */
    uint32_t lease_max_ms;
};

struct kvr_ping { /* request and reply */
    struct kvr_op op;
    uint64_t token;     /* echoed */
    uint64_t server_ns; /* reply: the server's monotonic clock */
};

/* A GET names a view of the value, then a window of that view:
 * view = for i in 0..count-1: value[off + i*stride, off + i*stride + len), one after the other;
 * window = view[skip, skip + want). len 0 (with count 1) = up to the end of the value;
 * want 0, or more than there is, = up to the end of the view. Beyond train_max the window is cut:
 * ask on from there. A view is at most KVR_VALUE_MAX bytes.
 * The reply is one or more records, each with part of the window, possibly in several datagrams. */
struct kvr_get_req {
    struct kvr_op op;
    uint32_t off;
    uint32_t len;
    uint32_t stride;
    uint16_t count;    /* 1 .. 65535 */
    uint16_t lease_ms; /* KVR_GET_PIN: keep the block from eviction for this long */
    uint32_t skip;
    uint32_t want;
    uint64_t ref; /* 0, or the block must still be this one, else STALE */
    /* key */
};
#define KVR_GET_QUIET 0x01u /* no record for a miss; no reply at all if nothing is left to say */
#define KVR_GET_PIN 0x02u
#define KVR_GET_META 0x04u /* no bytes, only the fixed part */
#define KVR_GET_CHECK                                                                              \
    0x08u /* of a repeat, where replies came damaged: whether the server's memory is at fault */

struct kvr_get_rep {
    struct kvr_op op;
    uint32_t value_len; /* of the whole value */
    uint32_t value_crc; /* CRC32C of the whole value */
    uint64_t ref;
    uint32_t view_len;
    uint32_t pos;    /* of these bytes in the view */
    uint32_t len;    /* bytes that follow */
    uint32_t ttl_ms; /* left; 0 = no expiry */
    uint16_t layout;
    uint8_t tier;   /* enum kvr_tier */
    uint8_t pinned; /* 1: KVR_GET_PIN was granted */
    uint32_t zero;
    /* len bytes */
};

enum kvr_tier { KVR_TIER_GPU = 0, KVR_TIER_HOST = 1, KVR_TIER_DISK = 2 };

/* What the client knows of a block's future; also the body of HINT. */
struct kvr_hint {
    uint64_t parent; /* low 64 bits of the key hash of the block before it in its chain; 0 = none */
    uint32_t cost_us;  /* to recompute the block; 0 = unknown */
    uint32_t reuse_ms; /* reuse expected by then, from now; 0 = unknown */
    uint8_t flags;     /* KVR_HINT_* */
    uint8_t zero[7];
};
#define KVR_HINT_ALIVE 0x01u /* the session that uses the block goes on */
#define KVR_HINT_ENDED 0x02u /* it has ended: the block may go first */

struct kvr_put_req { /* PUT: the value follows. RESERVE: it comes by WRITE */
    struct kvr_op op;
    uint32_t value_len;
    uint32_t value_crc; /* PUT: CRC32C of the value. RESERVE: 0, COMMIT says it */
    uint32_t ttl_ms;    /* 0 = no expiry, else at most KVR_TTL_MAX_MS */
    uint16_t layout;    /* what the bytes are; 0 = plain */
    uint16_t zero;
    uint32_t frag; /* RESERVE: WRITEs are frag bytes at multiples of frag. PUT: 0 */
    uint32_t zero2;
    struct kvr_hint hint;
    /* key, zeroes up to a multiple of 8, then (PUT) value_len bytes */
};
#define KVR_PUT_ADD 0x01u /* only if the key is not stored: else EXISTS */

struct kvr_put_rep { /* PUT, RESERVE, COMMIT */
    struct kvr_op op;
    uint64_t ref;       /* PUT, COMMIT: the block. RESERVE: the upload handle */
    uint32_t nr_ranges; /* COMMIT with INCOMPLETE: kvr_range[nr_ranges] follow, else 0 */
    uint32_t zero;
};

struct kvr_range {
    uint32_t off, len;
};

struct kvr_write_req {
    struct kvr_op op;
    uint64_t upload;
    uint32_t off; /* a multiple of frag */
    uint32_t len; /* frag, or what is left at the end */
    /* len bytes */
};
#define KVR_WRITE_QUIET 0x01u /* no record on success */

struct kvr_commit_req { /* COMMIT and ABORT (crc 0) */
    struct kvr_op op;
    uint64_t upload;
    uint32_t value_crc;
    uint32_t value_len; /* as reserved */
};

/* MATCH: one datagram carries part of a chain, all of one partition; the client puts the answers
 * together. The reply is one record: ask for so many keys that it fits reply_max, else TOO_LARGE.
 * key_size 0: every key is a uint16_t length and that many bytes, without padding. */
struct kvr_match_req {
    struct kvr_op op;
    uint16_t nr_keys;
    uint16_t key_size;
    uint16_t lease_ms;
    uint16_t zero;
    /* keys */
};
#define KVR_MATCH_REFS 0x01u
#define KVR_MATCH_PIN 0x02u

struct kvr_match_rep {
    struct kvr_op op;
    uint16_t nr_keys;
    uint16_t prefix;    /* how many of the first keys are all present */
    uint16_t nr_pinned; /* these first ones of those that are present */
    uint16_t zero;
    /* bitmap, bit i%8 of byte i/8 = key i, zeroes up to 8; with REFS: kvr_match_ref[nr_keys] */
};

struct kvr_match_ref {
    uint64_t ref; /* 0 = absent */
    uint32_t value_len;
    uint8_t tier;
    uint8_t zero[3];
};

struct kvr_key_req { /* DEL, TOUCH, HINT */
    struct kvr_op op;
    uint64_t ref;    /* DEL: 0, or only if the block is this one */
    uint32_t ttl_ms; /* TOUCH: new time to live from now, 0 = none */
    uint32_t zero;
    struct kvr_hint hint; /* HINT */
    /* key */
};

struct kvr_stat_rep { /* the request is a bare kvr_op */
    struct kvr_op op;
    uint64_t uptime_ms;
    uint64_t items, bytes, capacity; /* blocks; bytes of values; bytes of the data segment */
    uint64_t gets, hits, misses, puts, dels, matches;
    uint64_t evictions, expired, errors;
    uint64_t rx_datagrams, rx_bytes, tx_datagrams, tx_bytes, dropped;
};

/* PLACE, SEAL, DROP, STORE, LOAD, SAVE, LOOK and RELEASE are for clients on the server's own host,
 * over the rings of shared memory; from the network they are BAD_OP. All but DROP change something
 * under a seq.
 *
 * PLACE takes memory for a value that the client writes where it will lie. It names a ticket of its
 * own choice, below KVR_TICKETS, for as long as it writes; an older reservation under the ticket is
 * given up. No time ends it: SEAL, DROP and the client's end do. */
#define KVR_TICKETS 64u
struct kvr_place_req {
    struct kvr_op op; /* flags: KVR_PUT_ADD */
    uint32_t value_len;
    uint32_t ticket;
    uint32_t ttl_ms;
    uint16_t layout;
    uint16_t zero;
    struct kvr_hint hint;
    /* key */
};

struct kvr_place_rep {
    struct kvr_op op;
    uint64_t ref;   /* of the reserved block: what SEAL and DROP name */
    uint64_t place; /* of the value: bytes from the start of the data segment */
};

/* SEAL, DROP, RELEASE (both crc 0); the reply of SEAL is kvr_put_rep, of the others the head. */
struct kvr_seal_req {
    struct kvr_op op;
    uint64_t ref; /* RELEASE: the pin */
    uint32_t ticket;
    uint32_t value_crc; /* CRC32C of what was written */
};

/* STORE: a worker copies the value from the client's own segment; CORRUPT if the copy has another
 * CRC32C. The reply is kvr_put_rep. The bytes must stay until it comes. */
struct kvr_store_req {
    struct kvr_op op; /* flags: KVR_PUT_ADD */
    uint32_t value_len;
    uint32_t value_crc;
    uint32_t ttl_ms;
    uint16_t layout;
    uint16_t zero;
    uint64_t off; /* of the value in the segment's staging */
    struct kvr_hint hint;
    /* key */
};

/* LOAD moves a stored block into a region that the client has registered, SAVE stores one from
 * there: a device of the server moves the bytes, piece by piece as the form says. Both change
 * memory of others, so both have a seq, and neither begins after until_ns, when their client no
 * longer waits: CLOCK_MONOTONIC of the host that both are on. */
#define KVR_REGIONS_MAX 16u /* of a client; a region is 0 .. KVR_REGIONS_MAX - 1 */
#define KVR_NO_WORD 0xffffu

struct kvr_load_req {
    struct kvr_op op;
    uint64_t off; /* of the block in the region */
    uint64_t until_ns;
    struct kvr_form form; /* must make as many bytes of a block as the value has, else MISFIT */
    struct kvr_conversion conversion;
    uint16_t first_layer, nr_layers; /* 0, 0: all */
    uint16_t region;
    uint16_t
        word; /* of the client's segment: token << 32 | layers that are complete. KVR_NO_WORD */
    uint32_t token; /* what the client told this LOAD from others by */
    uint64_t ref;   /* 0, or the block must still be this one, else STALE */
    /* key */
};

struct kvr_load_rep { /* to a repeat: all 0 */
    struct kvr_op op;
    uint64_t ref;
    uint32_t value_len, value_crc;
    uint16_t layout;
    uint8_t tier;
    uint8_t zero[5];
};

struct kvr_save_req { /* the reply is kvr_put_rep */
    struct kvr_op op; /* flags: KVR_PUT_ADD */
    uint64_t off;
    uint64_t until_ns; /* not sealed after it either */
    struct kvr_form form;
    struct kvr_conversion conversion;
    uint16_t region;
    uint16_t layout;
    uint32_t ttl_ms;
    uint32_t zero;
    struct kvr_hint hint;
    /* key */
};

/* LOOK finds the copy of a block in the pool of a device and pins it, for a client that has
 * imported the pool's memory; RELEASE lets go. A look names a ticket of its own choice, below
 * KVR_TICKETS (not those of PLACE); an older one under the ticket is let go of. */
struct kvr_look_req {
    struct kvr_op op;
    uint32_t ticket;
    uint16_t device;
    uint16_t zero;
    uint64_t ref; /* 0, or the block must still be this one, else STALE */
    /* key */
};

struct kvr_look_rep {
    struct kvr_op op;
    uint64_t ref;    /* of the block */
    uint64_t pin;    /* what RELEASE names */
    uint64_t offset; /* of the copy in the pool that core has on device */
    uint32_t value_len, value_crc;
    uint32_t lost; /* what was exported before this was reached names other memory */
    uint16_t core, device;
    uint16_t layout; /* as it was stored: what the bytes are */
    uint8_t zero[6];
};

#ifdef __cplusplus
#define KVR_ASSERT(c) static_assert(c, #c)
#else
#define KVR_ASSERT(c) _Static_assert(c, #c)
#endif
#define KVR_AT(type, field, at) KVR_ASSERT(__builtin_offsetof(struct type, field) == (at))
KVR_ASSERT(sizeof(struct kvr_hdr) == 56);
KVR_AT(kvr_hdr, magic, 0);
KVR_AT(kvr_hdr, version, 4);
KVR_AT(kvr_hdr, kind, 5);
KVR_AT(kvr_hdr, status, 6);
KVR_AT(kvr_hdr, priority, 7);
KVR_AT(kvr_hdr, len, 8);
KVR_AT(kvr_hdr, nr_ops, 10);
KVR_AT(kvr_hdr, reply_max, 11);
KVR_AT(kvr_hdr, crc, 12);
KVR_AT(kvr_hdr, id, 16);
KVR_AT(kvr_hdr, session, 24);
KVR_AT(kvr_hdr, cookie, 32);
KVR_AT(kvr_hdr, deadline_us, 40);
KVR_AT(kvr_hdr, seq, 44);
KVR_AT(kvr_hdr, floor, 48);
KVR_AT(kvr_hdr, tenant, 52);
KVR_AT(kvr_hdr, partition, 54);
KVR_ASSERT(sizeof(struct kvr_op) == 8);
KVR_AT(kvr_op, op, 0);
KVR_AT(kvr_op, idx, 1);
KVR_AT(kvr_op, flags, 2);
KVR_AT(kvr_op, status, 3);
KVR_AT(kvr_op, size, 4);
KVR_AT(kvr_op, key_len, 6);
KVR_ASSERT(sizeof(struct kvr_hello_req) == KVR_HELLO_SIZE);
KVR_AT(kvr_hello_req, version_min, 8);
KVR_AT(kvr_hello_req, version_max, 10);
KVR_AT(kvr_hello_req, max_datagram, 12);
KVR_ASSERT(sizeof(struct kvr_hello_rep) == 64);
KVR_AT(kvr_hello_rep, version, 8);
KVR_AT(kvr_hello_rep, nr_partitions, 10);
KVR_AT(kvr_hello_rep, base_port, 12);
KVR_AT(kvr_hello_rep, max_ops, 14);
KVR_AT(kvr_hello_rep, max_datagram, 16);
KVR_AT(kvr_hello_rep, max_value, 20);
KVR_AT(kvr_hello_rep, train_max, 24);
KVR_AT(kvr_hello_rep, cookie_ms, 28);
KVR_AT(kvr_hello_rep, seed, 32);
KVR_AT(kvr_hello_rep, boot, 40);
KVR_AT(kvr_hello_rep, arena, 48);
KVR_AT(kvr_hello_rep, upload_idle_ms, 56);
KVR_AT(kvr_hello_rep, lease_max_ms, 60);
KVR_ASSERT(sizeof(struct kvr_ping) == 24);
KVR_AT(kvr_ping, token, 8);
KVR_AT(kvr_ping, server_ns, 16);
KVR_ASSERT(sizeof(struct kvr_get_req) == 40);
KVR_AT(kvr_get_req, off, 8);
KVR_AT(kvr_get_req, len, 12);
KVR_AT(kvr_get_req, stride, 16);
KVR_AT(kvr_get_req, count, 20);
KVR_AT(kvr_get_req, lease_ms, 22);
KVR_AT(kvr_get_req, skip, 24);
KVR_AT(kvr_get_req, want, 28);
KVR_AT(kvr_get_req, ref, 32);
KVR_ASSERT(sizeof(struct kvr_get_rep) == 48);
KVR_AT(kvr_get_rep, value_len, 8);
KVR_AT(kvr_get_rep, value_crc, 12);
KVR_AT(kvr_get_rep, ref, 16);
KVR_AT(kvr_get_rep, view_len, 24);
KVR_AT(kvr_get_rep, pos, 28);
KVR_AT(kvr_get_rep, len, 32);
KVR_AT(kvr_get_rep, ttl_ms, 36);
KVR_AT(kvr_get_rep, layout, 40);
KVR_AT(kvr_get_rep, tier, 42);
KVR_AT(kvr_get_rep, pinned, 43);
KVR_ASSERT(sizeof(struct kvr_hint) == 24);
KVR_AT(kvr_hint, parent, 0);
KVR_AT(kvr_hint, cost_us, 8);
KVR_AT(kvr_hint, reuse_ms, 12);
KVR_AT(kvr_hint, flags, 16);
KVR_ASSERT(sizeof(struct kvr_put_req) == 56);
KVR_AT(kvr_put_req, value_len, 8);
KVR_AT(kvr_put_req, value_crc, 12);
KVR_AT(kvr_put_req, ttl_ms, 16);
KVR_AT(kvr_put_req, layout, 20);
KVR_AT(kvr_put_req, frag, 24);
KVR_AT(kvr_put_req, hint, 32);
KVR_ASSERT(sizeof(struct kvr_put_rep) == 24);
KVR_AT(kvr_put_rep, ref, 8);
KVR_AT(kvr_put_rep, nr_ranges, 16);
KVR_ASSERT(sizeof(struct kvr_range) == 8);
KVR_ASSERT(sizeof(struct kvr_write_req) == 24);
KVR_AT(kvr_write_req, upload, 8);
KVR_AT(kvr_write_req, off, 16);
KVR_AT(kvr_write_req, len, 20);
KVR_ASSERT(sizeof(struct kvr_commit_req) == 24);
KVR_AT(kvr_commit_req, upload, 8);
KVR_AT(kvr_commit_req, value_crc, 16);
KVR_AT(kvr_commit_req, value_len, 20);
KVR_ASSERT(sizeof(struct kvr_match_req) == 16);
KVR_AT(kvr_match_req, nr_keys, 8);
KVR_AT(kvr_match_req, key_size, 10);
KVR_AT(kvr_match_req, lease_ms, 12);
KVR_ASSERT(sizeof(struct kvr_match_rep) == 16);
KVR_AT(kvr_match_rep, nr_keys, 8);
KVR_AT(kvr_match_rep, prefix, 10);
KVR_AT(kvr_match_rep, nr_pinned, 12);
KVR_ASSERT(sizeof(struct kvr_match_ref) == 16);
KVR_AT(kvr_match_ref, ref, 0);
KVR_AT(kvr_match_ref, value_len, 8);
KVR_AT(kvr_match_ref, tier, 12);
KVR_ASSERT(sizeof(struct kvr_key_req) == 48);
KVR_AT(kvr_key_req, ref, 8);
KVR_AT(kvr_key_req, ttl_ms, 16);
KVR_AT(kvr_key_req, hint, 24);
KVR_ASSERT(sizeof(struct kvr_stat_rep) == 152);
KVR_AT(kvr_stat_rep, uptime_ms, 8);
KVR_AT(kvr_stat_rep, items, 16);
KVR_AT(kvr_stat_rep, dropped, 144);
KVR_ASSERT(sizeof(struct kvr_place_req) == 48);
KVR_AT(kvr_place_req, value_len, 8);
KVR_AT(kvr_place_req, ticket, 12);
KVR_AT(kvr_place_req, ttl_ms, 16);
KVR_AT(kvr_place_req, layout, 20);
KVR_AT(kvr_place_req, hint, 24);
KVR_ASSERT(sizeof(struct kvr_place_rep) == 24);
KVR_AT(kvr_place_rep, ref, 8);
KVR_AT(kvr_place_rep, place, 16);
KVR_ASSERT(sizeof(struct kvr_seal_req) == 24);
KVR_AT(kvr_seal_req, ref, 8);
KVR_AT(kvr_seal_req, ticket, 16);
KVR_AT(kvr_seal_req, value_crc, 20);
KVR_ASSERT(sizeof(struct kvr_store_req) == 56);
KVR_AT(kvr_store_req, value_len, 8);
KVR_AT(kvr_store_req, value_crc, 12);
KVR_AT(kvr_store_req, ttl_ms, 16);
KVR_AT(kvr_store_req, layout, 20);
KVR_AT(kvr_store_req, off, 24);
KVR_AT(kvr_store_req, hint, 32);
KVR_ASSERT(sizeof(struct kvr_form) == 40);
KVR_AT(kvr_form, piece_bytes, 8);
KVR_AT(kvr_form, layer_step, 16);
KVR_AT(kvr_form, kind_step, 24);
KVR_AT(kvr_form, piece_step, 32);
KVR_ASSERT(sizeof(struct kvr_conversion) == 4);
KVR_ASSERT(sizeof(struct kvr_load_req) == 88);
KVR_AT(kvr_load_req, off, 8);
KVR_AT(kvr_load_req, until_ns, 16);
KVR_AT(kvr_load_req, form, 24);
KVR_AT(kvr_load_req, conversion, 64);
KVR_AT(kvr_load_req, first_layer, 68);
KVR_AT(kvr_load_req, nr_layers, 70);
KVR_AT(kvr_load_req, region, 72);
KVR_AT(kvr_load_req, word, 74);
KVR_AT(kvr_load_req, token, 76);
KVR_AT(kvr_load_req, ref, 80);
KVR_ASSERT(sizeof(struct kvr_load_rep) == 32);
KVR_AT(kvr_load_rep, ref, 8);
KVR_AT(kvr_load_rep, value_len, 16);
KVR_AT(kvr_load_rep, value_crc, 20);
KVR_AT(kvr_load_rep, layout, 24);
KVR_AT(kvr_load_rep, tier, 26);
KVR_ASSERT(sizeof(struct kvr_save_req) == 104);
KVR_AT(kvr_save_req, off, 8);
KVR_AT(kvr_save_req, until_ns, 16);
KVR_AT(kvr_save_req, form, 24);
KVR_AT(kvr_save_req, conversion, 64);
KVR_AT(kvr_save_req, region, 68);
KVR_AT(kvr_save_req, layout, 70);
KVR_AT(kvr_save_req, ttl_ms, 72);
KVR_AT(kvr_save_req, hint, 80);
KVR_ASSERT(sizeof(struct kvr_look_req) == 24);
KVR_AT(kvr_look_req, ticket, 8);
KVR_AT(kvr_look_req, device, 12);
KVR_AT(kvr_look_req, ref, 16);
KVR_ASSERT(sizeof(struct kvr_look_rep) == 56);
KVR_AT(kvr_look_rep, ref, 8);
KVR_AT(kvr_look_rep, pin, 16);
KVR_AT(kvr_look_rep, offset, 24);
KVR_AT(kvr_look_rep, value_len, 32);
KVR_AT(kvr_look_rep, value_crc, 36);
KVR_AT(kvr_look_rep, lost, 40);
KVR_AT(kvr_look_rep, core, 44);
KVR_AT(kvr_look_rep, device, 46);
KVR_AT(kvr_look_rep, layout, 48);
#undef KVR_AT

#ifdef __cplusplus
}
#endif
#endif
