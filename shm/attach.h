/* SPDX-License-Identifier: Apache-2.0 */
/* What a client and kvraild say to each other on the local socket, a Unix SOCK_SEQPACKET: one
 * struct a message, descriptors beside it (SCM_RIGHTS). The connection stays open for as long as
 * the client lives; its end is the client's end.
 *
 *   client   struct attach_hello
 *   kvraild  struct attach_offer     + index, data (if status is 0; then read-only as rights say)
 *   client   struct attach_segment   + the client's segment
 *   kvraild  struct attach_done
 *   then, as often as it likes, another when it has the answer to the one before:
 *   client   struct attach_region     + a descriptor, where the kind has one
 *   kvraild  struct attach_region_done
 * or of
 *   client   struct attach_pool
 *   kvraild  struct attach_pool_done  + a descriptor, where the kind has one
 */
#pragma once

#include <stdint.h>

#define ATTACH_MAGIC 0x686361747461766bull /* "kvattach" */
#define ATTACH_VERSION 1
#define ATTACH_TEXT_MAX 160u
#define ATTACH_NAME_MAX 32u
#define ATTACH_HANDLE_MAX 64u

enum attach_rights { ATTACH_READ = 0, ATTACH_WRITE = 1 };

struct attach_hello {
    uint64_t magic;
    uint32_t version;
    uint32_t arena_version; /* ARENA_VERSION */
    uint32_t wish;          /* enum attach_rights */
    uint32_t zero;
    char name[ATTACH_NAME_MAX]; /* for people: what the program calls itself; ends with a zero */
};

struct attach_offer {
    uint64_t magic;
    uint32_t version;
    uint32_t status;     /* 0, or an errno with text: EACCES, EPROTO, EBUSY (too many clients) .. */
    uint32_t rights;     /* granted, perhaps less than wished */
    uint32_t slots_max;  /* most hazard slots of the segment */
    uint64_t pinned_max; /* bytes of values that the client may hold at once */
    uint64_t arena_id;
    char text[ATTACH_TEXT_MAX]; /* one line, ends with a zero */
};

struct attach_segment {
    uint64_t magic;
    uint32_t version;
    uint32_t asymmetric; /* 1: registered for the reclaimer's membarrier */
};

struct attach_done {
    uint64_t magic;
    uint32_t version;
    uint32_t status;
    uint32_t id; /* of the client, 1 to CLIENT_ID_MAX */
    uint32_t zero;
    char text[ATTACH_TEXT_MAX];
};

enum attach_region_op { ATTACH_REGION_ADD = 1, ATTACH_REGION_DROP, ATTACH_POOL };

/* Memory of the client that blocks are loaded into and stored from, under a number of its choice.
 */
struct attach_region {
    uint64_t magic;
    uint32_t version;
    uint32_t op;     /* enum attach_region_op */
    uint32_t number; /* below KVR_REGIONS_MAX */
    uint32_t kind;   /* enum kvr_region_kind; of DROP 0, as all that follows */
    uint64_t size;   /* bytes */
    uint8_t bytes[ATTACH_HANDLE_MAX];
};

/* DROP is answered when the last byte was moved. */
struct attach_region_done {
    uint64_t magic;
    uint32_t version;
    uint32_t status; /* 0, or an errno with text: ENODEV, EINVAL, EEXIST, ENOENT, EDQUOT .. */
    uint32_t op, number;
    char text[ATTACH_TEXT_MAX];
};

/* Asks for the memory of the pool that a core has on a device: for clients that may write. As long
 * as attach_region, and told from it by op. */
struct attach_pool {
    uint64_t magic;
    uint32_t version;
    uint32_t op; /* ATTACH_POOL */
    uint32_t device, core;
    uint8_t zero[72];
};

struct attach_pool_done {
    uint64_t magic;
    uint32_t version;
    uint32_t status; /* 0, or an errno with text: ENODEV, EACCES, EAGAIN (no dataplane now) .. */
    uint32_t op, device, core;
    uint32_t kind; /* enum kvr_region_kind */
    uint64_t size; /* bytes */
    uint32_t lost; /* what LOOK says the same of lies in this memory */
    uint32_t zero;
    uint8_t bytes[ATTACH_HANDLE_MAX];
    char text[72]; /* one line, ends with a zero */
};

#define CLIENT_ID_MAX ((1u << 24) - 1)

_Static_assert(sizeof(struct attach_hello) == 56, "attach_hello");
_Static_assert(sizeof(struct attach_offer) == 200, "attach_offer");
_Static_assert(sizeof(struct attach_segment) == 16, "attach_segment");
_Static_assert(sizeof(struct attach_done) == 184, "attach_done");
_Static_assert(sizeof(struct attach_region) == 96, "attach_region");
_Static_assert(sizeof(struct attach_region_done) == 184, "attach_region_done");
_Static_assert(sizeof(struct attach_pool) == 96, "attach_pool");
_Static_assert(sizeof(struct attach_pool_done) == 184, "attach_pool_done");
