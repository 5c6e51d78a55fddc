/* SPDX-License-Identifier: Apache-2.0 */
/* Slots and what happens to them. A slot's id is a growing number and the slot's own index, so an
 * answer finds its slot without a search and an answer to an earlier use of it finds nothing. */
#include "client/datagram.h"

#include <stdlib.h>
#include <string.h>

#include "client/link.h"
#include "client/loss.h"
#include "client/session.h"
#include "client/task.h"

#define BUSY_MIN_NS (100 * NS_PER_US)
#define BUSY_MAX_NS (200 * NS_PER_MS)
#define REPLY_UNIT 64u
#define PROBES_MAX 8u
#define GSO_DOUBT 4u /* lost segments, and none ever answered */
#define GSO_END 256u /* lost ones since the last that was: the path has changed */

bool datagrams_create(struct kvr_client *client)
{
    client->nr_datagrams = client->options.max_inflight;
    client->datagrams = calloc(client->nr_datagrams, sizeof(*client->datagrams));
    if (!client->datagrams)
        return false;
    TAILQ_INIT(&client->spare);
    for (uint32_t i = 0; i < client->nr_datagrams; i++) {
        client->datagrams[i].slot = (uint16_t)i;
        TAILQ_INSERT_TAIL(&client->spare, &client->datagrams[i], spare);
    }
    client->next_due_ns = NEVER;
    return true;
}

void datagrams_destroy(struct kvr_client *client)
{
    for (uint32_t i = 0; client->datagrams && i < client->nr_datagrams; i++)
        free(client->datagrams[i].bytes);
    free(client->datagrams);
}

static bool make_room(struct datagram *datagram, uint32_t room)
{
    if (datagram->room >= room)
        return true;
    free(datagram->bytes);
    datagram->bytes = malloc(room);
    datagram->room = datagram->bytes ? room : 0;
    return datagram->bytes != NULL;
}

static void renew_id(struct datagram *datagram)
{
    datagram->id = ++datagram->link->client->next_id << SLOT_BITS | datagram->slot;
}

struct datagram *datagram_take(struct link *link, enum traffic traffic, uint8_t priority)
{
    struct kvr_client *client = link->client;
    struct datagram *datagram = TAILQ_FIRST(&client->spare);

    if (!datagram || !make_room(datagram, client->max_datagram))
        return NULL;
    TAILQ_REMOVE(&client->spare, datagram, spare);
    client->nr_flying++;
    link->nr_flying++;
    datagram->link = link;
    renew_id(datagram);
    datagram->id_first = datagram->id;
    datagram->in_use = true;
    datagram->deadline_ns = traffic == TRAFFIC_WRITE ? NEVER : 0;
    datagram->tail = NULL;
    datagram->tail_len = datagram->weight = datagram->seq = 0;
    datagram->nr_entries = datagram->nr_open = datagram->nr_sends = 0;
    datagram->traffic = (uint8_t)traffic;
    datagram->priority = priority;
    datagram->nr_early = 0;
    datagram->owns_seq = datagram->by_gso = datagram->by_timer = datagram->in_ring = false;
    datagram->repeats = traffic != TRAFFIC_READ;
    return datagram;
}

void datagram_add(struct datagram *datagram, struct task *task, uint32_t lo, uint32_t hi)
{
    datagram->entries[datagram->nr_entries++] = (struct entry){task, lo, hi, hi};
    datagram->nr_open++;
    task->datagram = datagram;
    task->nr_entries++;
    /* Reads are worth an answer while one of them is waited for, writes while all are. */
    if (datagram->traffic == TRAFFIC_WRITE ? task->deadline_ns < datagram->deadline_ns
                                           : task->deadline_ns > datagram->deadline_ns)
        datagram->deadline_ns = task->deadline_ns;
}

static void set_weight(struct datagram *datagram, uint32_t weight)
{
    datagram->link->client->flying_bytes += weight - datagram->weight;
    datagram->link->flow.flying += weight - datagram->weight;
    datagram->weight = weight;
}

void datagram_lighten(struct datagram *datagram, uint32_t n)
{
    set_weight(datagram, datagram->weight > n ? datagram->weight - n : 0);
}

void link_header(const struct link *link, struct kvr_hdr *hdr)
{
    const struct kvr_client *client = link->client;

    *hdr = (struct kvr_hdr){.session = client->session,
                            .cookie = link->cookie,
                            .priority = client->options.priority,
                            .reply_max = (uint8_t)(client->max_datagram / REPLY_UNIT),
                            .floor = link->order.floor,
                            .deadline_us = client->options.timeout_ms * 1000u,
                            .tenant = client->options.tenant,
                            .partition = link->partition};
}

static uint32_t time_left_us(const struct datagram *datagram)
{
    uint64_t now_ns = datagram->link->client->now_ns, left_us;

    if (datagram->deadline_ns <= now_ns)
        return 1;
    left_us = (datagram->deadline_ns - now_ns) / NS_PER_US + 1;
    return left_us < UINT32_MAX ? (uint32_t)left_us : UINT32_MAX;
}

static void seal(struct datagram *datagram)
{
    struct writer writer = {datagram->bytes, datagram->head_len, datagram->nr_ops};
    struct kvr_hdr hdr;

    link_header(datagram->link, &hdr);
    hdr.id = datagram->id;
    hdr.priority = datagram->priority;
    hdr.seq = datagram->seq;
    hdr.deadline_us = time_left_us(datagram);
    build_finish(&writer, &hdr, datagram->tail, datagram->tail_len);
}

static void build(struct datagram *datagram)
{
    struct kvr_client *client = datagram->link->client;
    struct writer writer;

    build_begin(&writer, datagram->bytes);
    for (unsigned i = 0; i < datagram->nr_entries; i++) {
        unsigned from = writer.nr_ops;

        if (!datagram->entries[i].task)
            continue;
        datagram->entries[i].task->kind->write(client, datagram, i, &writer);
        memset(datagram->entry_of + from, (int)i, writer.nr_ops - from);
    }
    datagram->head_len = writer.len;
    datagram->nr_ops = writer.nr_ops;
}

static void due_in(struct datagram *datagram, uint64_t wait_ns)
{
    struct kvr_client *client = datagram->link->client;

    datagram->due_ns = client->now_ns + wait_ns;
    if (datagram->due_ns < client->next_due_ns)
        client->next_due_ns = datagram->due_ns;
}

/* Between 7/8 and 9/8 of the time, so that clients hurt by the same loss do not return as one. */
static uint64_t jitter(struct kvr_client *client, uint64_t wait_ns)
{
    return wait_ns / 8 * 7 + rng_below(&client->rng, wait_ns / 4 + 1);
}

static void send_now(struct datagram *datagram)
{
    struct link *link = datagram->link;
    struct kvr_client *client = link->client;

    if (datagram->nr_sends == 0)
        datagram->first_ns = client->now_ns;
    else
        TAILQ_REMOVE(&link->sent, datagram, sent);
    TAILQ_INSERT_TAIL(&link->sent, datagram, sent);
    datagram->nr_sends += datagram->nr_sends < UINT8_MAX;
    datagram->sent_ns = client->now_ns;
    datagram->answered = datagram->held = false;
    datagram->nr_passed = datagram->nr_after = 0;
    seal(datagram);
    link_push(link, datagram);
    due_in(datagram, jitter(client, flow_rto_ns(&link->flow, datagram->nr_sends)));
    link_mark(link);
}

void datagram_launch(struct datagram *datagram, uint32_t weight)
{
    if (datagram->traffic == TRAFFIC_WRITE && datagram->seq == 0 &&
        !datagram->entries[0].task->alone) {
        datagram->seq = order_take(&datagram->link->order);
        datagram->owns_seq = true;
    }
    build(datagram);
    set_weight(datagram, weight + datagram_len(datagram));
    send_now(datagram);
}

static void free_slot(struct datagram *datagram)
{
    struct link *link = datagram->link;

    for (uint32_t i = 0; i < link->nr_out; i++)
        if (link->out[i] == datagram)
            link->out[i--] = link->out[--link->nr_out];
    if (datagram->nr_sends > 0)
        TAILQ_REMOVE(&link->sent, datagram, sent);
    set_weight(datagram, 0);
    datagram->in_use = false;
    TAILQ_INSERT_HEAD(&link->client->spare, datagram, spare);
    link->client->nr_flying--;
    link->nr_flying--;
    link_mark(link);
}

static void finish(struct datagram *datagram, bool given_up)
{
    if (datagram->owns_seq)
        order_finish(&datagram->link->order, datagram->seq, given_up);
    free_slot(datagram);
}

static struct task *take_entry(struct datagram *datagram, unsigned entry)
{
    struct task *task = datagram->entries[entry].task;

    datagram->entries[entry].task = NULL;
    datagram->nr_open--;
    task->nr_entries--;
    if (task->datagram == datagram)
        task->datagram = NULL;
    return task;
}

void datagram_close(struct datagram *datagram, unsigned entry)
{
    take_entry(datagram, entry);
    if (datagram->nr_open == 0)
        finish(datagram, false);
}

static void close_all(struct datagram *datagram)
{
    datagram->nr_open++; /* keeps the slot */
    for (unsigned i = 0; i < datagram->nr_entries; i++)
        if (datagram->entries[i].task)
            take_entry(datagram, i);
    datagram->nr_open--;
    finish(datagram, false);
}

static void repeat(struct datagram *datagram, bool by_timer)
{
    struct kvr_client *client = datagram->link->client;

    renew_id(datagram); /* so that the answer says which send it is to */
    if (!datagram->repeats)
        build(datagram);
    if (datagram->nr_ops == 0) { /* what it asked for came as the answer to another */
        close_all(datagram);
        return;
    }
    datagram->by_timer = by_timer;
    for (unsigned i = 0; i < datagram->nr_entries; i++)
        if (datagram->entries[i].task)
            datagram->entries[i].task->nr_repeats++;
    client->stats.retransmits++;
    send_now(datagram);
}

/* A write that was given up may still arrive, so its number must end, and with it the chance of
 * the others in the datagram: they go again under another number. */
static void break_up(struct datagram *datagram)
{
    for (unsigned i = 0; i < datagram->nr_entries; i++)
        if (datagram->entries[i].task)
            task_ready(take_entry(datagram, i));
    finish(datagram, true);
}

static void abandon_in(struct datagram *datagram, const struct task *task)
{
    bool any = false;

    for (unsigned i = 0; i < datagram->nr_entries; i++)
        if (datagram->entries[i].task == task) {
            take_entry(datagram, i);
            any = true;
        }
    if (any && datagram->nr_open == 0)
        finish(datagram, true);
    else if (any && datagram->owns_seq)
        break_up(datagram);
}

void datagram_abandon(struct kvr_client *client, struct task *task)
{
    if (task->nr_entries > 0 && task->datagram)
        abandon_in(task->datagram, task);
    for (uint32_t i = 0; task->nr_entries > 0 && i < client->nr_datagrams; i++)
        if (client->datagrams[i].in_use)
            abandon_in(&client->datagrams[i], task);
}

void datagrams_drop(struct kvr_client *client)
{
    for (uint32_t s = 0; s < client->nr_datagrams; s++) {
        struct datagram *datagram = &client->datagrams[s];

        if (!datagram->in_use)
            continue;
        for (unsigned i = 0; i < datagram->nr_entries; i++)
            if (datagram->entries[i].task)
                take_entry(datagram, i);
        finish(datagram, true);
    }
}

/* Ends the datagram and every call in it, or sends each on its way again. One at a time: the end of
 * a MATCH takes its other chunks out of the datagram as well. */
static void refuse_all(struct datagram *datagram, enum kvr_status status, bool given_up)
{
    struct kvr_client *client = datagram->link->client;

    datagram->nr_open++; /* keeps the slot */
    for (unsigned i = 0; i < datagram->nr_entries; i++) {
        struct task *task;

        if (!datagram->entries[i].task)
            continue;
        task = take_entry(datagram, i);
        if (!task_soft(client, task, status))
            task_end(client, task, status);
    }
    datagram->nr_open--;
    finish(datagram, given_up);
}

static void busy(struct datagram *datagram, uint32_t retry_us)
{
    struct kvr_client *client = datagram->link->client;
    uint64_t wait_ns = retry_us * NS_PER_US;

    client->stats.busy++;
    datagram->held = true;
    wait_ns = wait_ns < BUSY_MIN_NS ? BUSY_MIN_NS : wait_ns > BUSY_MAX_NS ? BUSY_MAX_NS : wait_ns;
    due_in(datagram, wait_ns + rng_below(&client->rng, wait_ns / 2));
}

/* The whole datagram was refused: none of its ops was executed. */
static void refused(struct datagram *datagram, const struct kvr_hdr *hdr)
{
    struct link *link = datagram->link;

    switch ((enum kvr_status)hdr->status) {
    case KVR_NEED_COOKIE:
        if (hdr->cookie == link->cookie)
            session_refused(link);
        else
            due_in(datagram, 0); /* says so of a send before the last HELLO */
        break;
    case KVR_BUSY:
        busy(datagram, hdr->deadline_us);
        break;
    case KVR_REPLAYED:
        refuse_all(datagram, KVR_REPLAYED, false);
        break;
    default:
        refuse_all(datagram, (enum kvr_status)hdr->status, true);
    }
}

static void doubt_gso(const struct datagram *datagram)
{
    struct link *link = datagram->link;

    if (datagram->by_gso && ++link->gso_lost > (link->gso_acked > 0 ? GSO_END : GSO_DOUBT))
        link->gso_off = true;
}

/* An answer to an earlier, plain send proves nothing. */
static void trust_gso(const struct datagram *datagram)
{
    if (!datagram->by_gso || !datagram->current)
        return;
    datagram->link->gso_acked++;
    datagram->link->gso_lost = 0;
}

/* An answer to an earlier send: that one was not lost, only later than thought. Uploads begin and
 * end when the server has done its part, so theirs say nothing of the path. */
static void note_lateness(struct datagram *datagram)
{
    if (!datagram->current && !datagram->answered &&
        (datagram->traffic == TRAFFIC_READ || datagram->tail_len > 0))
        flow_misjudged(&datagram->link->flow, datagram->by_timer);
}

/* The slot that this answers, or NULL. */
static struct datagram *find(const struct link *link, const struct kvr_hdr *hdr)
{
    struct kvr_client *client = link->client;
    uint32_t slot = hdr->id & SLOT_HELLO;
    struct datagram *datagram;

    if (slot >= client->nr_datagrams)
        return NULL;
    datagram = &client->datagrams[slot];
    if (!datagram->in_use || datagram->link != link || hdr->id < datagram->id_first ||
        hdr->id > datagram->id || hdr->seq != datagram->seq)
        return NULL;
    return datagram;
}

static void answer_records(struct datagram *datagram, const struct checked_reply *reply)
{
    struct kvr_client *client = datagram->link->client;
    bool same = datagram->repeats || reply->hdr.id == datagram->id; /* records as they are now */

    for (unsigned i = 0; i < reply->hdr.nr_ops; i++) {
        const struct kvr_op *record = reply->records[i];
        /* Of an earlier id only this is still known: with one entry, everything was about it. */
        bool placed = same ? record->idx < datagram->nr_ops : datagram->nr_entries == 1;
        unsigned entry = placed && same ? datagram->entry_of[record->idx] : 0;

        if (placed && datagram->entries[entry].task)
            datagram->entries[entry].task->kind->answer(client, datagram, entry, record);
        else
            client->stats.rx_unexpected++;
    }
}

/* Of the send that id belongs to; 0 = unknown. Answers that come after a datagram was sent again
 * count too: were they left out, a path slower than the timer would never be found out. Only the
 * first answer to a send: the later ones of a train come later by its length. */
static uint64_t round_trip(const struct datagram *datagram, uint64_t id)
{
    uint64_t arrived_ns = datagram->link->client->arrived_ns, sent_ns;

    if (datagram->answered || (id != datagram->id && id != datagram->id_first))
        return 0;
    sent_ns = id == datagram->id ? datagram->sent_ns : datagram->first_ns;
    return arrived_ns > sent_ns ? arrived_ns - sent_ns : 1;
}

void datagram_answer(struct link *link, const struct checked_reply *reply)
{
    struct kvr_client *client = link->client;
    struct datagram *datagram = find(link, &reply->hdr);
    uint64_t rtt_ns;

    if (!datagram) {
        client->stats.rx_unexpected++;
        return;
    }
    rtt_ns = round_trip(datagram, reply->hdr.id);
    if (rtt_ns > 0)
        flow_sample(&link->flow, rtt_ns, client->now_ns);
    flow_delivered(&link->flow, reply->hdr.len + (datagram->repeats ? datagram->weight : 0), rtt_ns,
                   client->now_ns);
    datagram->current = reply->hdr.id == datagram->id;
    note_lateness(datagram);
    datagram->answered = true;
    datagram->nr_early = 0;
    link->nr_probes = 0;
    if (datagram->current)
        loss_passed(datagram);
    trust_gso(datagram);
    if (reply->hdr.status != KVR_OK) {
        refused(datagram, &reply->hdr);
        return;
    }
    if (reply->hdr.seq != 0)
        order_heard(&link->order, reply->hdr.floor);
    datagram->nr_open++; /* keeps the slot while its records are read */
    answer_records(datagram, reply);
    if (--datagram->nr_open == 0)
        finish(datagram, false);
    else
        due_in(datagram, jitter(client, flow_rto_ns(&link->flow, 1)));
}

static void end_all(struct datagram *datagram)
{
    struct kvr_client *client = datagram->link->client;

    while (datagram->nr_open > 0 && datagram->in_use)
        for (unsigned i = 0; i < datagram->nr_entries; i++)
            if (datagram->in_use && datagram->entries[i].task)
                task_end(client, datagram->entries[i].task, KVR_TIMEOUT);
}

bool datagram_exhausted(const struct datagram *datagram)
{
    uint32_t tries = datagram->link->client->options.tries;

    return tries != 0 && datagram->nr_sends >= tries;
}

void datagram_again(struct datagram *datagram)
{
    doubt_gso(datagram);
    datagram->nr_early++;
    repeat(datagram, false);
}

/* While nothing comes back a few knock for all; the first answer tells of the others (loss.h). */
static bool may_probe(struct link *link)
{
    uint64_t now_ns = link->client->now_ns;

    if (now_ns - link->probes_ns >= flow_rto_ns(&link->flow, 1)) {
        link->probes_ns = now_ns;
        link->nr_probes = 0;
    }
    return link->nr_probes++ < PROBES_MAX;
}

static void lost(struct datagram *datagram)
{
    struct link *link = datagram->link;
    struct kvr_client *client = link->client;

    if (!datagram->held && !may_probe(link)) {
        due_in(datagram, jitter(client, flow_rto_ns(&link->flow, 1)));
        return;
    }
    flow_lost(&link->flow, client->now_ns);
    doubt_gso(datagram);
    if (datagram_exhausted(datagram))
        end_all(datagram);
    else
        repeat(datagram, true);
}

void datagrams_expire(struct kvr_client *client)
{
    client->next_due_ns = NEVER;
    for (uint32_t i = 0; i < client->nr_datagrams; i++) {
        struct datagram *datagram = &client->datagrams[i];

        if (!datagram->in_use)
            continue;
        if (datagram->due_ns > client->now_ns)
            due_in(datagram, datagram->due_ns - client->now_ns);
        else if (datagram->link->state != LINK_READY)
            due_in(datagram, FLOW_RTO_MIN_NS);
        else
            lost(datagram);
    }
}

void datagrams_hurry(struct link *link)
{
    struct kvr_client *client = link->client;

    for (uint32_t i = 0; i < client->nr_datagrams; i++)
        if (client->datagrams[i].in_use && client->datagrams[i].link == link)
            repeat(&client->datagrams[i], false);
}

void datagram_stray(struct link *link, struct writer *writer, uint32_t seq, uint8_t priority)
{
    struct kvr_hdr hdr;

    link_header(link, &hdr);
    hdr.id = ++link->client->next_id << SLOT_BITS | SLOT_STRAY;
    hdr.seq = seq;
    hdr.priority = priority;
    link_send(link, writer->bytes, build_finish(writer, &hdr, NULL, 0));
}
