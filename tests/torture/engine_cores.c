/* SPDX-License-Identifier: Apache-2.0 */
/* Two cores on threads of their own over mem transports, each also the client of its transport.
 * Half of what is sent comes to the wrong core and travels; requests mix reads of both partitions
 * with writes; the arena is far too small; the main thread publishes new settings all the time.
 * Every value that comes back must have its CRC32C and belong to its key, and at the end every
 * request must have been released and every partition be consistent. Usage: engine_cores [SECONDS]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "dataplane/cookie.h"
#include "rig.h"
#include "shm/reclaim.h"

#define CORES 2u
#define KEYS 400u
#define VALUE_MAX 6000u
#define BATCH 16u
#define SECONDS_MAX 15u

struct poller {
    pthread_t thread;
    unsigned index;
    struct rng rng;
    struct peer peer;
    uint64_t session, hits, writes, records;
    uint32_t seqs[CORES];
};

static struct rig rig;
static char keys[CORES][KEYS / CORES][64];
static bool stop;             /* atomic */
static unsigned idle_pollers; /* atomic: have nothing left to send */

static void fail(const char *what)
{
    fprintf(stderr, "engine_cores: %s\n", what);
    abort();
}

/* A value starts with its key, so that one under another key is seen. */
static uint32_t make_value(struct rng *rng, const char *key, uint8_t *value)
{
    uint32_t len = 64 + (uint32_t)rng_below(rng, VALUE_MAX - 64);

    memset(value, (int)rng_next(rng), len);
    memcpy(value, key, 64);
    return len;
}

static void add_write(struct poller *poller, struct message *m, unsigned partition, const char *key)
{
    static _Thread_local uint8_t value[VALUE_MAX];
    uint32_t len;

    m->hdr.partition = (uint16_t)partition;
    m->hdr.seq = ++poller->seqs[partition];
    m->hdr.floor = m->hdr.seq > 200 ? m->hdr.seq - 200 : 1;
    if (rng_below(&poller->rng, 8) == 0) {
        message_key(m, KVR_DEL, key, 0, 0, NULL);
        return;
    }
    len = make_value(&poller->rng, key, value);
    message_put(m, key, value, len, 0, 0);
    poller->writes++;
}

static const char *random_key(struct poller *poller, unsigned partition)
{
    return keys[partition][rng_below(&poller->rng, KEYS / CORES)];
}

static void send_one(struct poller *poller)
{
    const struct core *core = rig.cores[poller->index];
    unsigned partition = (unsigned)rng_below(&poller->rng, CORES);
    struct message m;

    message_begin(&m, poller->session);
    m.hdr.cookie = cookie_make(rig.cookies, &poller->peer, poller->session, core->epoch);
    m.hdr.priority = (uint8_t)rng_below(&poller->rng, KVR_PRIORITIES);
    m.hdr.deadline_us = 200000;
    m.hdr.reply_max = 139;
    if (rng_below(&poller->rng, 4) == 0)
        add_write(poller, &m, partition, random_key(poller, partition));
    for (uint64_t n = rng_below(&poller->rng, 4); n > 0 || m.nr_ops == 0; n -= n > 0)
        message_get(&m, random_key(poller, (unsigned)rng_below(&poller->rng, CORES)), NULL, 0);
    message_seal(&m);
    if (!mem_inject(rig.transports[poller->index], &poller->peer, m.bytes, m.len))
        fail("no memory");
    if (m.hdr.seq != 0 && rng_below(&poller->rng, 4) == 0) /* the network doubles it */
        (void)mem_inject(rig.transports[poller->index], &poller->peer, m.bytes, m.len);
}

static void check_get(struct poller *poller, const struct record *record)
{
    struct kvr_get_rep rep;
    const uint8_t *bytes = record->bytes + sizeof(rep);

    memcpy(&rep, record->bytes, sizeof(rep));
    if (rep.len != rep.value_len) /* comes in two datagrams: the head must still be a key */
        return;
    if (crc32c(0, bytes, rep.len) != rep.value_crc)
        fail("value with a wrong CRC32C");
    if (rep.len < 64 || memcmp(bytes, "key", 3) != 0)
        fail("value of no key");
    counter_add(&poller->hits, 1);
}

static void take_replies(struct poller *poller)
{
    struct mem_reply *reply;

    while ((reply = mem_take(rig.transports[poller->index])) != NULL) {
        uint32_t at = sizeof(struct kvr_hdr);
        struct record record;
        struct kvr_hdr hdr;

        if (!reply_ok(reply->bytes, reply->len, &hdr))
            fail("reply that is not sound");
        while (reply_next(reply->bytes, reply->len, &at, &record)) {
            poller->records++;
            if (record.op.op == KVR_GET && record.op.status == KVR_OK)
                check_get(poller, &record);
        }
        mem_free(reply);
    }
}

static void turn(struct core *core)
{
    struct request *requests[BURST];
    unsigned n;

    core_tick(core, clock_ns());
    n = core->transport->ops->rx(core->transport, core->now_ns, requests, BURST);
    engine_burst(core, requests, n);
    (void)engine_turn(core);
}

static bool all_released(void)
{
    unsigned outstanding = 0;

    for (unsigned i = 0; i < CORES; i++)
        outstanding += mem_outstanding(rig.transports[i]);
    return outstanding == 0;
}

static void *poll_core(void *arg)
{
    struct poller *poller = arg;
    struct core *core = rig.cores[poller->index];
    bool last = false;

    rcu_reader_register();
    while (!last || __atomic_load_n(&idle_pollers, __ATOMIC_ACQUIRE) < CORES || !all_released()) {
        if (!last && mem_outstanding(core->transport) < 200)
            for (unsigned i = 0; i < BATCH; i++)
                send_one(poller);
        turn(core);
        rcu_reader_quiescent();
        take_replies(poller);
        if (!last && __atomic_load_n(&stop, __ATOMIC_RELAXED)) {
            last = true;
            __atomic_fetch_add(&idle_pollers, 1, __ATOMIC_RELEASE);
        }
    }
    take_replies(poller);
    rcu_reader_unregister();
    return NULL;
}

static void make_keys(void)
{
    for (unsigned p = 0; p < CORES; p++) {
        unsigned n = 0;

        for (unsigned i = 0; i < KEYS / CORES; i++)
            rig_key(&rig, "key", p, &n, keys[p][i]);
    }
}

static void setup(struct poller *pollers)
{
    struct rig_options options;

    rig_defaults(&options);
    options.nr_cores = options.nr_partitions = CORES;
    options.data_size = 1u << 20;
    options.max_datagram = KVR_DATAGRAM_MAX;
    options.zero_copy_min = 2048;
    rig_open(&rig, &options);
    rcu_reader_offline();
    make_keys();
    for (unsigned i = 0; i < CORES; i++) {
        rig_become(&rig, 1 + i);
        pollers[i] = (struct poller){.index = i, .peer = rig.peer, .session = rig.session};
        rng_seed(&pollers[i].rng, 1 + i);
        if (pthread_create(&pollers[i].thread, NULL, poll_core, &pollers[i]) != 0)
            fail("no thread");
    }
}

/* Settings change under the cores' feet. */
static void disturb(uint64_t end_ns)
{
    static const char *const policies[] = {"lru", "lfu", "fifo"};
    struct live_settings live = *rig.cores[0]->live;

    for (unsigned i = 0; clock_ns() < end_ns; i++) {
        snprintf(live.policy, sizeof(live.policy), "%s", policies[i / 8 % 3]);
        live.train_max = 4096u << (i % 4);
        live.zero_copy_min = i % 3 ? 2048 : 0;
        if (live_publish(rig.cores, CORES, &live) < 0)
            fail("no memory");
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

/* Whether there was a whole value, one sent from where it lies, and a request that travelled. */
static bool seen_all(const struct poller *pollers)
{
    uint64_t hits = 0, zero_copy = 0, travelled = 0;

    for (unsigned i = 0; i < CORES; i++) {
        hits += counter_read(&pollers[i].hits);
        zero_copy += counter_read(&rig.cores[i]->stats->tx_zero_copy);
        travelled += counter_read(&rig.cores[i]->stats->handoff_out);
    }
    return hits > 0 && zero_copy > 0 && travelled > 0;
}

int main(int argc, char **argv)
{
    unsigned long seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 4;
    struct poller pollers[CORES];
    uint64_t hits = 0, writes = 0, records = 0, zero_copy = 0, travelled = 0, began_ns;

    setup(pollers);
    began_ns = clock_ns();
    disturb(began_ns + (seconds < SECONDS_MAX ? seconds : SECONDS_MAX) * NS_PER_S);
    /* A machine that is busy with other things may need longer. */
    while (!seen_all(pollers) && clock_ns() - began_ns < SECONDS_MAX * NS_PER_S)
        disturb(clock_ns() + NS_PER_S / 4);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < CORES; i++) {
        pthread_join(pollers[i].thread, NULL);
        hits += pollers[i].hits;
        writes += pollers[i].writes;
        records += pollers[i].records;
        zero_copy += counter_read(&rig.cores[i]->stats->tx_zero_copy);
        travelled += counter_read(&rig.cores[i]->stats->handoff_out);
    }
    rcu_reader_online();
    rig_close(&rig);
    printf("%lu answers, %lu whole values right, %lu writes, %lu zero-copy, %lu handed over\n",
           (unsigned long)records, (unsigned long)hits, (unsigned long)writes,
           (unsigned long)zero_copy, (unsigned long)travelled);
    return hits > 0 && zero_copy > 0 && travelled > 0 ? 0 : 1;
}
