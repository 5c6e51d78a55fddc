/* SPDX-License-Identifier: Apache-2.0 */
/* A thread's datagrams of jobs (ops of several datagrams): a place for each on its way, named in
 * the low bits of its request id, above those of flights. They are kept in the order of their last
 * send, so that the first is always the first to be overdue. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "tools/load/flights.h"
#include "tools/load/settings.h"

#define PARTS_FIRST LOAD_DEPTH_MAX   /* their places in ids; lower ones are of flights */
#define PART_QUIET (FLIGHT_NONE - 1) /* place in ids of datagrams whose success is not answered */
#define PARTS_MAX (PART_QUIET - PARTS_FIRST)

struct job;

struct part {
    TAILQ_ENTRY(part) entry;
    uint64_t id;      /* of the request; 0 = free */
    uint64_t sent_ns; /* last */
    struct job *job;
    uint32_t lo, hi; /* what it is about: bytes of a value, or places of keys */
    uint32_t at;     /* the job's own */
    uint16_t partition;
    uint8_t step;  /* the job's own */
    uint8_t tries; /* sends */
    bool quiet;    /* is not awaited */
    bool reads;    /* gets a new id when it is sent again */
    bool waits;    /* to be sent again */
};
TAILQ_HEAD(part_list, part);

struct parts {
    struct part *places;
    uint32_t nr, nr_free;
    uint64_t serial;
    struct part_list free, sent, again;
};

/* nr: places, at most PARTS_MAX. -ENOMEM. */
[[nodiscard]] int parts_create(struct parts *parts, uint32_t nr);
void parts_destroy(struct parts *parts);

/* Not when nr_free is 0. It has an id, is in no list, and the rest is zero. */
struct part *parts_take(struct parts *parts, struct job *job);
/* It is on its way from now on; or again. */
void parts_sent(struct parts *parts, struct part *part, uint64_t now_ns);
/* It is to be sent again. */
void parts_again(struct parts *parts, struct part *part);
/* An id that no answer is awaited for. */
uint64_t parts_quiet_id(struct parts *parts);
void parts_end(struct parts *parts, struct part *part);

/* The one that a request id belongs to, or NULL: it has ended. */
struct part *parts_find(const struct parts *parts, uint64_t id);
/* The first that was sent timeout_ns ago, or NULL. */
struct part *parts_overdue(const struct parts *parts, uint64_t now_ns, uint64_t timeout_ns);
