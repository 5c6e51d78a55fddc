/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of flow.h; no clocks, no sockets: the caller says what time it is. */
#include "client/flow.h"

#include "base/clock.h"

#define EPOCH_NS (5 * NS_PER_S)
#define SLACK_NS (NS_PER_MS) /* delay that is never held against the path */
#define GROWTH_DATAGRAMS 4u  /* a round trip */
#define LEAST 2u             /* datagrams in a window */
#define LEAST_LOSSY 16u
#define SILENCE 64u      /* timeouts without any arrival: the server is gone */
#define FLOOR_DECAY 256u /* samples */
#define QUIET 3u         /* timeouts without any arrival: no loss at random */
#define ROUND_LEAST 32u  /* datagrams from which on a share of loss means something */
#define ROUND_LOST 4u
#define LOST_SHARE 8u /* one in so many */

void flow_setup(struct flow *flow, uint32_t window_max, uint32_t datagram, uint64_t now_ns)
{
    *flow = (struct flow){.window_max = window_max,
                          .datagram = datagram,
                          .min_ns = UINT64_MAX,
                          .min_next_ns = UINT64_MAX,
                          .epoch_ns = now_ns,
                          .round_ns = now_ns,
                          .reorder = FLOW_REORDER_LEAST,
                          .floor_ns = FLOW_RTO_MIN_NS,
                          .starting = true};
    flow->window = window_max / 4;
    if (flow->window < LEAST * datagram)
        flow->window = LEAST * datagram;
}

static void begin_epoch(struct flow *flow, uint64_t now_ns)
{
    flow->min_ns = flow->min_next_ns;
    flow->min_next_ns = UINT64_MAX;
    flow->epoch_ns = now_ns;
    flow->reorder = flow->reorder / 2 > FLOW_REORDER_LEAST ? flow->reorder / 2 : FLOW_REORDER_LEAST;
}

void flow_sample(struct flow *flow, uint64_t rtt_ns, uint64_t now_ns)
{
    uint64_t off = rtt_ns > flow->srtt_ns ? rtt_ns - flow->srtt_ns : flow->srtt_ns - rtt_ns;

    if (flow->srtt_ns == 0) {
        flow->srtt_ns = rtt_ns;
        flow->rttvar_ns = rtt_ns / 2;
    } else {
        flow->rttvar_ns += off / 4 - flow->rttvar_ns / 4;
        flow->srtt_ns += rtt_ns / 8 - flow->srtt_ns / 8;
    }
    if (now_ns - flow->epoch_ns > EPOCH_NS)
        begin_epoch(flow, now_ns);
    if (rtt_ns < flow->min_next_ns)
        flow->min_next_ns = rtt_ns;
    if (rtt_ns < flow->min_ns)
        flow->min_ns = rtt_ns;
    flow->floor_ns -= (flow->floor_ns - FLOW_RTO_MIN_NS) / FLOOR_DECAY;
    flow->silence = 0;
}

/* At most once a round trip, never below least datagrams. */
static void shrink(struct flow *flow, uint32_t window, uint32_t least, uint64_t now_ns)
{
    flow->starting = false;
    if (now_ns - flow->cut_ns < flow->srtt_ns)
        return;
    flow->cut_ns = now_ns;
    if (window < least * flow->datagram)
        window = least * flow->datagram;
    if (window < flow->window)
        flow->window = window;
}

/* A share is taken of a round trip, or longer where it brings less than ROUND_LEAST. */
static void count(struct flow *flow, uint32_t came, uint32_t lost, uint64_t now_ns)
{
    if (now_ns - flow->round_ns > flow->srtt_ns &&
        flow->round_came + flow->round_lost >= ROUND_LEAST) {
        flow->round_ns = now_ns;
        flow->round_came = flow->round_lost = 0;
    }
    flow->round_came += came;
    flow->round_lost += lost;
}

static bool much_lost(const struct flow *flow)
{
    return flow->round_lost >= ROUND_LOST &&
           flow->round_lost > (flow->round_came + flow->round_lost) / LOST_SHARE;
}

void flow_delivered(struct flow *flow, uint32_t bytes, uint64_t rtt_ns, uint64_t now_ns)
{
    uint64_t target = flow->min_ns * 2 + SLACK_NS, grown = flow->window;

    flow->silence = 0;
    count(flow, 1, 0, now_ns);
    if (rtt_ns > target && flow->min_ns != UINT64_MAX) {
        uint64_t cut = flow->window * (rtt_ns - target) / rtt_ns;
        shrink(flow, (uint32_t)(flow->window - cut * 3 / 10), LEAST, now_ns);
        return;
    }
    if (flow->starting)
        grown += bytes;
    else
        grown += (uint64_t)GROWTH_DATAGRAMS * flow->datagram * bytes / flow->window + 1;
    if (grown > flow->window_max)
        grown = flow->window_max;
    if (grown > flow->window)
        flow->window = (uint32_t)grown;
}

void flow_lost(struct flow *flow, uint64_t now_ns)
{
    flow->silence++;
    count(flow, 0, 1, now_ns);
    /* Queues that overflow also delay. Loss alone is no reason to stop almost entirely, unless
     * nothing comes back at all. */
    if (flow->silence >= QUIET || much_lost(flow))
        shrink(flow, flow->window / 10 * 7, flow->silence > SILENCE ? LEAST : LEAST_LOSSY, now_ns);
}

void flow_missed(struct flow *flow, uint32_t n, uint64_t now_ns)
{
    count(flow, 0, n, now_ns);
    if (much_lost(flow))
        shrink(flow, flow->window / 10 * 7, LEAST_LOSSY, now_ns);
}

void flow_overflowed(struct flow *flow, uint64_t now_ns)
{
    shrink(flow, flow->window / 10 * 7, LEAST_LOSSY, now_ns);
}

void flow_misjudged(struct flow *flow, bool by_timer)
{
    if (by_timer)
        flow->floor_ns =
            2 * flow->floor_ns < FLOW_FLOOR_MAX_NS ? 2 * flow->floor_ns : FLOW_FLOOR_MAX_NS;
    else
        flow->reorder =
            2 * flow->reorder < FLOW_REORDER_MOST ? 2 * flow->reorder : FLOW_REORDER_MOST;
}

uint64_t flow_rto_ns(const struct flow *flow, unsigned n)
{
    uint64_t rto = FLOW_RTO_FIRST_NS;
    unsigned doublings = n > 4 ? 2 : n > 2 ? 1 : 0;

    if (flow->srtt_ns > 0)
        rto = flow->srtt_ns + 4 * flow->rttvar_ns;
    if (rto < flow->floor_ns)
        rto = flow->floor_ns;
    /* Nothing at all comes back: the server is gone, so knock less and less often. */
    for (uint32_t silence = flow->silence; silence >= SILENCE && doublings < 8; silence /= 2)
        doublings++;
    rto <<= doublings;
    return rto < FLOW_RTO_MAX_NS ? rto : FLOW_RTO_MAX_NS;
}
