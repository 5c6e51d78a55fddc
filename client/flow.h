/* SPDX-License-Identifier: Apache-2.0 */
/* How much may be in flight towards one partition and how long to wait before asking again.
 * Retransmission timer as RFC 6298 with a floor for datacenter paths; the window follows the delay
 * as in Swift (Kumar et al., SIGCOMM'20): up by a few datagrams a round trip while the round trip
 * stays near the shortest seen, down in proportion to the excess, at most once a round trip. Loss
 * counts as congestion only when much is lost: a percent at random is no queue that overflows. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct flow {
    uint64_t srtt_ns, rttvar_ns;  /* 0 = no sample yet */
    uint64_t min_ns, min_next_ns; /* shortest of the last two epochs */
    uint64_t epoch_ns;            /* start of this one */
    uint64_t cut_ns;              /* the window was last cut at */
    uint32_t window;              /* bytes */
    uint32_t window_max;
    uint32_t datagram; /* bytes of a full one */
    uint32_t flying;   /* bytes in flight */
    uint32_t silence;  /* timeouts since something arrived */
    uint32_t reorder;  /* answers to later sends after which an earlier one counts as lost */
    uint64_t floor_ns; /* of the timer; both go up when wrong, and down again */
    uint64_t round_ns; /* since then so many datagrams came, and did not: */
    uint32_t round_came, round_lost;
    bool starting; /* no sign of congestion yet: doubles every round trip */
};

#define FLOW_REORDER_LEAST 3u
#define FLOW_REORDER_MOST 64u
#define FLOW_RTO_MIN_NS 500000ull
#define FLOW_FLOOR_MAX_NS 4000000ull
#define FLOW_RTO_FIRST_NS 20000000ull
#define FLOW_RTO_MAX_NS 500000000ull

void flow_setup(struct flow *flow, uint32_t window_max, uint32_t datagram, uint64_t now_ns);

/* Another path to the same host took so long. */
static inline void flow_guess(struct flow *flow, const struct flow *other)
{
    flow->srtt_ns = other->srtt_ns;
    flow->rttvar_ns = other->rttvar_ns;
}

/* Bytes that may still be sent; something always may when nothing is in flight. */
static inline bool flow_has_room(const struct flow *flow, uint32_t bytes)
{
    return flow->flying == 0 || flow->flying + bytes <= flow->window;
}

/* An exchange whose request was sent once took rtt_ns. */
void flow_sample(struct flow *flow, uint64_t rtt_ns, uint64_t now_ns);
/* bytes of it were delivered; call after flow_sample. rtt_ns 0: no sample for these. */
void flow_delivered(struct flow *flow, uint32_t bytes, uint64_t rtt_ns, uint64_t now_ns);
/* A datagram went unanswered until its timer ended. */
void flow_lost(struct flow *flow, uint64_t now_ns);
/* n datagrams are known to be lost from what came after them. */
void flow_missed(struct flow *flow, uint32_t n, uint64_t now_ns);
/* Datagrams found our own socket's buffer full: they came faster than they were read. */
void flow_overflowed(struct flow *flow, uint64_t now_ns);
/* What was taken for lost and sent again was not: because of the timer, or of the order. */
void flow_misjudged(struct flow *flow, bool by_timer);

/* How long the n-th send (from 1) of a datagram may go unanswered, without jitter. */
uint64_t flow_rto_ns(const struct flow *flow, unsigned n);
