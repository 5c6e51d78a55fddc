/* SPDX-License-Identifier: Apache-2.0 */
/* RACK-TLP's idea (RFC 8985: send order and time instead of counted duplicates) on datagrams, and
 * gaps inside trains. Repeats are limited: a datagram that is passed again and again without an
 * answer is left to its timer. */
#include "client/loss.h"

#include "client/datagram.h"

#define EARLY_MAX 3u /* sends before the timer has its turn */

static bool may_repeat(const struct datagram *datagram)
{
    return !datagram->held && datagram->nr_early < EARLY_MAX && !datagram_exhausted(datagram);
}

/* A datagram of the train at least; all that is missing of it if some of it came. */
static uint32_t datagrams_lost(const struct datagram *datagram)
{
    return 1 + (datagram->answered ? datagram->weight / datagram->link->flow.datagram : 0);
}

static void repeat(struct datagram *datagram)
{
    struct link *link = datagram->link;

    flow_missed(&link->flow, datagrams_lost(datagram), link->client->now_ns);
    datagram_again(datagram);
}

void loss_passed(const struct datagram *heard)
{
    struct link *link = heard->link;
    struct datagram *datagram, *next;

    for (datagram = TAILQ_FIRST(&link->sent); datagram != heard; datagram = next) {
        uint32_t passed = datagram->nr_passed;

        next = TAILQ_NEXT(datagram, sent);
        if (!may_repeat(datagram))
            continue;
        passed += heard->sent_ns - datagram->sent_ns >= link->flow.srtt_ns ? link->flow.reorder : 1;
        datagram->nr_passed = (uint8_t)passed;
        if (passed >= link->flow.reorder)
            repeat(datagram);
    }
}

static uint32_t missing(const struct gaps *gaps, uint32_t lo, uint32_t hi)
{
    struct range gap;
    uint32_t n = 0;

    for (; lo < hi && gaps_next(gaps, lo, hi, &gap); lo = gap.hi)
        n += gap.hi - gap.lo;
    return n;
}

/* The rest of the train stays with the datagram. */
static void ask_apart(struct datagram *datagram, uint32_t pos)
{
    struct link *link = datagram->link;
    struct entry *entry = &datagram->entries[0];
    uint32_t n = missing(&entry->task->gaps, entry->lo, pos);
    struct datagram *apart = datagram_take(link, TRAFFIC_READ, datagram->priority);

    if (!apart)
        return;
    datagram_add(apart, entry->task, entry->lo, pos);
    entry->lo = pos;
    datagram->nr_after = 0;
    datagram_lighten(datagram, n);
    flow_missed(&link->flow, 1 + n / link->flow.datagram, link->client->now_ns);
    entry->task->nr_repeats++;
    link->client->stats.retransmits++;
    datagram_launch(apart, n);
}

void loss_behind(struct datagram *datagram, uint32_t pos, uint32_t end)
{
    const struct flow *flow = &datagram->link->flow;
    const struct entry *entry = &datagram->entries[0];
    struct range gap;

    if (!gaps_next(&entry->task->gaps, entry->lo, pos, &gap)) {
        datagram->nr_after = 0;
        return;
    }
    datagram->nr_after++;
    if (end >= entry->end) { /* the last of the train */
        if (may_repeat(datagram) &&
            (flow->reorder == FLOW_REORDER_LEAST || datagram->nr_after >= flow->reorder))
            repeat(datagram);
    } else if (datagram->nr_after >= flow->reorder) {
        ask_apart(datagram, pos);
    }
}
