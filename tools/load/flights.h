/* SPDX-License-Identifier: Apache-2.0 */
/* A thread's datagrams on their way: a place for each, named in the low bits of its request id, so
 * that an answer finds it without a search. The place used last is used again first, while it is
 * still in the cache. Every place is looked at once in a while for what was lost. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cacheline.h"
#include "kvrail/proto.h"

#define FLIGHT_BITS 16u                        /* of an id: the place */
#define FLIGHT_NONE ((1u << FLIGHT_BITS) - 1u) /* place in ids of datagrams that have none */

struct train;

struct flight_op {
    uint64_t id;         /* of the key */
    struct train *train; /* of a GET answered in several parts, while there is one */
    uint8_t kind;        /* enum bench_op */
};

struct flight {
    uint64_t id;         /* of the request; 0 = free */
    uint64_t due_ns;     /* latency counts from here */
    uint64_t sent_ns;    /* time to live counts from here */
    uint32_t open;       /* a bit for each op not answered yet */
    uint32_t seq, floor; /* 0, or as sent */
    uint16_t partition;
    uint8_t nr_ops;
    struct flight_op ops[]; /* as many as a datagram has at most */
};

struct flights {
    uint8_t *places;
    uint32_t *free_places;
    uint32_t nr, nr_free, size; /* size: bytes of a place */
    uint64_t serial;
    uint32_t cursor; /* of the sweep */
    uint64_t sweep_ns, timeout_ns;
};

/* nr: places, at most FLIGHT_NONE; ops: of each. -ENOMEM. */
[[nodiscard]] int flights_create(struct flights *f, uint32_t nr, uint32_t ops, uint64_t timeout_ns);
void flights_destroy(struct flights *f);

static inline struct flight *flights_at(const struct flights *f, uint32_t place)
{
    return (struct flight *)(void *)(f->places + (size_t)place * f->size);
}

static inline uint32_t flights_busy(const struct flights *f)
{
    return f->nr - f->nr_free;
}

/* A new id that no answer may have yet, of a place or of FLIGHT_NONE. */
static inline uint64_t flights_id(struct flights *f, uint32_t place)
{
    return ++f->serial << FLIGHT_BITS | place;
}

/* Not when nr_free is 0. Its id is new, the rest is the caller's to fill. */
static inline struct flight *flights_take(struct flights *f)
{
    uint32_t place = f->free_places[--f->nr_free];
    struct flight *flight = flights_at(f, place);

    flight->id = flights_id(f, place);
    return flight;
}

/* The one that a request id belongs to, or NULL: it has ended. */
static inline struct flight *flights_find(const struct flights *f, uint64_t id)
{
    uint32_t place = (uint32_t)id & FLIGHT_NONE;
    struct flight *flight;

    if (unlikely(place >= f->nr))
        return NULL;
    flight = flights_at(f, place);
    return likely(flight->id == id) ? flight : NULL;
}

static inline void flights_end(struct flights *f, struct flight *flight)
{
    f->free_places[f->nr_free++] = (uint32_t)flight->id & FLIGHT_NONE;
    flight->id = 0;
}

/* The next one that is overdue, or NULL: none in the places that are to be looked at by now. Call
 * it until it says NULL, and end what it returns. */
struct flight *flights_overdue(struct flights *f, uint64_t now_ns);
