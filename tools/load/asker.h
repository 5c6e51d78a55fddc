/* SPDX-License-Identifier: Apache-2.0 */
/* What a load thread says and understands, without the port that carries it: the next request
 * datagram, what an answer means, what was lost; and the account of it. One thread, but for
 * counters that the main thread reads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tools/load/choose.h"
#include "tools/load/compose.h"
#include "tools/load/flights.h"
#include "tools/load/jobs.h"
#include "tools/load/proof.h"
#include "tools/load/train.h"
#include "tools/tally.h"

struct asker {
    const struct load_settings *settings;
    unsigned index; /* of the thread */
    struct limits limits;
    bool warming, direct; /* direct: full datagrams of GETs need no choosing */
    struct proof proof;
    struct chooser chooser;
    struct composer composer;
    struct flights flights;
    struct jobs jobs;
    struct trains trains;
    struct order orders[KVR_PARTITIONS_MAX];
    struct chosen *blocked; /* chosen, waits for a number */

    struct tally tallies[BENCH_OPS], warm;
    enum kvr_status warm_failed;  /* an answer that makes the warm-up hopeless */
    uint64_t moved_in, moved_out; /* bytes of values */
    uint64_t tx_datagrams, rx_datagrams;
    uint64_t lost;    /* datagrams without an answer in time */
    uint64_t late;    /* answers to what was given up, or double */
    uint64_t invalid; /* datagrams that check_reply refuses */
    uint64_t match_keys, match_found;
    uint64_t proven, overtaken, unread; /* values that were read back after a PUT */
    uint64_t started, answered_ns;      /* ops started; time of the last answer */
};

/* hello: of a server that the settings fit. -ENOMEM. */
[[nodiscard]] int asker_create(struct asker *a, const struct load_settings *s,
                               const struct draw_table *table, const struct kvr_hello_rep *hello,
                               uint32_t max_datagram, unsigned index);
void asker_destroy(struct asker *a);

/* Begin a phase. quota: ops; UINT64_MAX = no end. */
void asker_warm(struct asker *a);
void asker_measure(struct asker *a, uint64_t quota);

static inline bool asker_ready(const struct asker *a)
{
    return a->proof.cookie != 0;
}

/* Whether asker_next has something to say as soon as there is room for it. An op of several
 * datagrams counts as one in flight. */
static inline bool asker_has_room(const struct asker *a)
{
    return a->flights.nr_free > a->jobs.nr_busy && a->jobs.parts.nr_free > 0;
}

/* Ops in flight. */
static inline uint32_t asker_busy(const struct asker *a)
{
    return flights_busy(&a->flights) + a->jobs.nr_busy;
}

/* Whether asker_more may have something to say. */
static inline bool asker_has_more(const struct asker *a)
{
    return jobs_have_work(&a->jobs);
}

/* Writes the next request to bytes; returns its length and partition. 0: nothing now. due_ns:
 * latency counts from then. Not without room. */
uint32_t asker_next(struct asker *a, uint64_t due_ns, uint64_t now_ns, uint8_t *bytes,
                    uint16_t *partition);
/* The same for ops that have begun and need more datagrams than one. */
uint32_t asker_more(struct asker *a, uint64_t now_ns, uint8_t *bytes, uint16_t *partition);
/* Writes a HELLO if it is time for one; returns its length or 0. */
uint32_t asker_hello(struct asker *a, uint64_t now_ns, uint8_t *bytes);
/* A datagram came from the server. bytes: 8-byte aligned. */
void asker_take(struct asker *a, const uint8_t *bytes, uint32_t len, uint64_t now_ns);
/* Ends what is overdue. Call it every turn. */
void asker_expire(struct asker *a, uint64_t now_ns);
/* Ends all that is in flight: it is not waited for any longer. */
void asker_give_up(struct asker *a, uint64_t now_ns);
