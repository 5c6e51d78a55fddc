/* SPDX-License-Identifier: Apache-2.0 */
/* Load for a server that somebody kills and stops meanwhile: threads over UDP and threads over
 * shared memory, each with keys of its own that all fit into the cache, so nothing acknowledged may
 * ever be missed. Checked at every answer: the bytes, that it is a version that may be stored, that
 * the call ended by its deadline. Values held over shared memory are looked at again and again.
 *
 * kill_servers UDP-URL UDP-THREADS SHM-URL SHM-THREADS: runs until SIGTERM, then reads every key
 * once more. Exit 1 if anything was wrong. */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "torture/blocks.h"

#define THREADS_MAX 16u
#define KEYS 120u /* of a thread */
#define POSSIBLE 32u
#define VIEWS 12u
#define TIMEOUT_MS 3000u
#define SHORT_MIN_MS                                                                               \
    20u /* of every third call: shorter than what it takes to start a dataplane                    \
         */
#define SHORT_MAX_MS 400u
#define SLACK_MS 500u /* a call may end so much later on a machine full of processes */
#define LAST_LOOK_MS 20000u

/* What may be stored under a key. */
struct known {
    uint64_t versions[POSSIBLE]; /* any of them; the first was acknowledged */
    unsigned nr;
    bool acknowledged; /* then a miss is wrong */
};

struct held {
    struct kvr_view view;
    uint64_t number, version;
};

struct worker {
    pthread_t thread;
    const char *url;
    unsigned number;
    bool local;
    struct kvr_client *client;
    struct rng rng;
    struct known known[KEYS];
    uint64_t version;
    struct held held[VIEWS];
    unsigned nr_held;
    uint8_t buffer[BLOCK_LEN_MAX];
    uint64_t calls, hits, puts, held_looks, timeouts, refused, worst_ns;
    char wrong[200]; /* the first contradiction; empty: none */
};

static volatile sig_atomic_t stopping;
static int failed; /* atomic */

static void stop(int signal)
{
    (void)signal;
    stopping = 1;
}

static void wrong(struct worker *worker, const char *format, ...)
{
    va_list args;

    if (worker->wrong[0])
        return;
    va_start(args, format);
    vsnprintf(worker->wrong, sizeof(worker->wrong), format, args);
    va_end(args);
    __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
}

/* True: the call, which may take so long, says something about the key. */
static bool judged(struct worker *worker, const char *what, enum kvr_status status,
                   uint64_t began_ns, uint32_t timeout_ms)
{
    uint64_t took_ns = clock_ns() - began_ns;

    worker->calls++;
    if (took_ns > worker->worst_ns)
        worker->worst_ns = took_ns;
    if (took_ns > (timeout_ms + SLACK_MS) * NS_PER_MS)
        wrong(worker, "%s took %lu ms, its deadline was %u", what,
              (unsigned long)(took_ns / NS_PER_MS), timeout_ms);
    switch (status) {
    case KVR_OK:
    case KVR_MISS:
        return true;
    case KVR_TIMEOUT:
        worker->timeouts++;
        return false;
    case KVR_BUSY:
    case KVR_LIMIT:
    case KVR_UNREACHABLE:
    case KVR_NO_UPLOAD: /* of a place: the client came to kvraild's successor under another id */
        worker->refused++;
        return false;
    default:
        wrong(worker, "%s: %s", what, kvr_status_name(status));
        return false;
    }
}

static uint64_t number_of(const struct worker *worker, unsigned i)
{
    return (uint64_t)worker->number << 32 | i;
}

static void known_only(struct known *known, uint64_t version)
{
    *known = (struct known){.versions = {version}, .nr = 1, .acknowledged = true};
}

/* The bytes that a GET brought. */
static void check(struct worker *worker, unsigned i, const void *bytes, size_t len)
{
    struct known *known = &worker->known[i];
    uint64_t version;

    worker->hits++;
    if (!block_check(bytes, len, number_of(worker, i), &version)) {
        wrong(worker, "key %u: wrong bytes", i);
        return;
    }
    for (unsigned k = 0; k < known->nr; k++)
        if (known->versions[k] == version) {
            known_only(known, version);
            return;
        }
    wrong(worker, "key %u: version %lu, which cannot be there any more", i, (unsigned long)version);
}

static void missed(struct worker *worker, unsigned i)
{
    if (worker->known[i].acknowledged)
        wrong(worker, "key %u: missed, version %lu was acknowledged", i,
              (unsigned long)worker->known[i].versions[0]);
    else
        worker->known[i].nr = 0;
}

static uint32_t draw_timeout(struct worker *worker)
{
    if (stopping || rng_below(&worker->rng, 3))
        return TIMEOUT_MS;
    return SHORT_MIN_MS + (uint32_t)rng_below(&worker->rng, SHORT_MAX_MS - SHORT_MIN_MS);
}

/* KVR_OK: the key's value was checked. */
static enum kvr_status get(struct worker *worker, unsigned i)
{
    uint8_t key[BLOCK_KEY_MAX];
    struct kvr_call call = {.op = KVR_CALL_GET,
                            .key = {key, block_key(key, number_of(worker, i))},
                            .timeout_ms = draw_timeout(worker),
                            .buffer = worker->buffer,
                            .buffer_len = sizeof(worker->buffer)};
    uint64_t began_ns = clock_ns();
    enum kvr_status status = kvr_do(worker->client, &call);

    if (!judged(worker, "get", status, began_ns, call.timeout_ms))
        return status;
    if (status == KVR_MISS)
        missed(worker, i);
    else
        check(worker, i, worker->buffer, call.result_len);
    return status;
}

/* In place: two calls, each with a deadline. *began_ns: of the one whose status it returns. */
static enum kvr_status place(struct worker *worker, struct kvr_call *put, uint64_t number,
                             uint64_t version, uint64_t *began_ns)
{
    struct kvr_place spot;
    enum kvr_status status = kvr_reserve(worker->client, put, &spot);

    if (status != KVR_OK)
        return status;
    block_fill(spot.data, number, version);
    put->timeout_ms = TIMEOUT_MS;
    *began_ns = clock_ns();
    return kvr_seal(worker->client, &spot, NULL);
}

static void put(struct worker *worker, unsigned i)
{
    struct known *known = &worker->known[i];
    uint64_t number = number_of(worker, i), version = ++worker->version, began_ns;
    uint8_t key[BLOCK_KEY_MAX];
    struct kvr_call put = {.op = KVR_CALL_PUT,
                           .key = {key, block_key(key, number)},
                           .timeout_ms = draw_timeout(worker),
                           .value = worker->buffer,
                           .value_len = block_len(number, version)};
    bool in_place = worker->local && rng_below(&worker->rng, 2);
    enum kvr_status status;

    if (known->nr == POSSIBLE)
        return; /* too much is open: a GET has to settle it */
    block_fill(worker->buffer, number, version);
    began_ns = clock_ns();
    if (in_place)
        status = place(worker, &put, number, version, &began_ns);
    else
        status = kvr_do(worker->client, &put);
    worker->puts++;
    if (judged(worker, in_place ? "place" : "put", status, began_ns, put.timeout_ms) &&
        status == KVR_OK)
        known_only(known, version);
    else
        known->versions[known->nr++] = version;
}

static void look_again(struct worker *worker, const struct held *held)
{
    uint64_t version;

    worker->held_looks++;
    if (!block_check(held->view.data, held->view.len, held->number, &version) ||
        version != held->version)
        wrong(worker, "a held value has other bytes");
}

static void let_go(struct worker *worker)
{
    unsigned i = (unsigned)rng_below(&worker->rng, worker->nr_held);

    look_again(worker, &worker->held[i]);
    kvr_release(worker->client, &worker->held[i].view, 1);
    worker->held[i] = worker->held[--worker->nr_held];
}

static void hold(struct worker *worker, unsigned i)
{
    struct held *held = &worker->held[worker->nr_held];
    uint64_t began_ns = clock_ns();
    uint8_t key[BLOCK_KEY_MAX];
    uint32_t key_len = block_key(key, number_of(worker, i));
    enum kvr_status status = kvr_get_view(worker->client, key, key_len, &held->view);

    if (!judged(worker, "view", status, began_ns, TIMEOUT_MS))
        return;
    if (status == KVR_MISS) {
        missed(worker, i);
        return;
    }
    check(worker, i, held->view.data, held->view.len);
    held->number = number_of(worker, i);
    held->version = worker->known[i].versions[0];
    worker->nr_held++;
}

static void step(struct worker *worker)
{
    unsigned i = (unsigned)rng_below(&worker->rng, KEYS);
    uint64_t what = rng_below(&worker->rng, 10);

    if (worker->nr_held)
        look_again(worker, &worker->held[rng_below(&worker->rng, worker->nr_held)]);
    if (what < 3)
        put(worker, i);
    else if (!worker->local || what < 5)
        (void)get(worker, i);
    else if (worker->nr_held == VIEWS || (worker->nr_held && what < 7))
        let_go(worker);
    else
        hold(worker, i);
}

/* Everything acknowledged is there, now that all has come to rest. */
static void last_look(struct worker *worker)
{
    uint64_t until_ns = clock_ns() + LAST_LOOK_MS * NS_PER_MS;
    unsigned nr = 0;

    for (unsigned i = 0; i < KEYS && !worker->wrong[0]; i++) {
        enum kvr_status status = get(worker, i);

        while (status != KVR_OK && status != KVR_MISS && !worker->wrong[0]) {
            if (clock_ns() > until_ns)
                wrong(worker, "key %u cannot be read: %s", i, kvr_status_name(status));
            status = get(worker, i);
        }
        nr += status == KVR_OK;
    }
    if (nr == 0 && !worker->wrong[0])
        wrong(worker, "nothing was ever stored");
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    while (!stopping && !__atomic_load_n(&failed, __ATOMIC_RELAXED))
        step(worker);
    last_look(worker);
    while (worker->nr_held)
        let_go(worker);
    return NULL;
}

static bool start(struct worker *worker, unsigned number, const char *url, bool local)
{
    struct kvr_options options;
    enum kvr_status status;

    worker->number = number;
    worker->url = url;
    worker->local = local;
    rng_seed(&worker->rng, clock_ns() + number);
    kvr_options_init(&options);
    options.timeout_ms = TIMEOUT_MS;
    options.connect_ms = 10000;
    status = kvr_open(url, &options, &worker->client);
    if (status != KVR_OK) {
        fprintf(stderr, "%s: %s\n", url, kvr_status_name(status));
        return false;
    }
    return pthread_create(&worker->thread, NULL, work, worker) == 0;
}

static bool report(const struct worker *worker)
{
    printf(
        "%s: %lu calls, %lu hits, %lu puts, %lu looks at held values, %lu timeouts, %lu refused, "
        "longest %lu ms\n",
        worker->local ? "shm" : "udp", (unsigned long)worker->calls, (unsigned long)worker->hits,
        (unsigned long)worker->puts, (unsigned long)worker->held_looks,
        (unsigned long)worker->timeouts, (unsigned long)worker->refused,
        (unsigned long)(worker->worst_ns / NS_PER_MS));
    if (worker->wrong[0])
        printf("WRONG: %s\n", worker->wrong);
    return !worker->wrong[0];
}

int main(int argc, char **argv)
{
    unsigned nr_udp = argc == 5 ? (unsigned)strtoul(argv[2], NULL, 10) : THREADS_MAX;
    unsigned nr = nr_udp + (argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0);
    struct worker *workers;
    bool well = true;

    if (argc != 5 || nr > THREADS_MAX || nr == 0) {
        fprintf(stderr, "usage: kill_servers UDP-URL UDP-THREADS SHM-URL SHM-THREADS\n");
        return 2;
    }
    workers = calloc(nr, sizeof(*workers));
    if (!workers)
        return 1;
    signal(SIGTERM, stop);
    for (unsigned i = 0; i < nr; i++)
        if (!start(&workers[i], i, i < nr_udp ? argv[1] : argv[3], i >= nr_udp))
            return 1;
    printf("ready\n");
    fflush(stdout);
    for (unsigned i = 0; i < nr; i++) {
        pthread_join(workers[i].thread, NULL);
        kvr_close(workers[i].client);
        well &= report(&workers[i]);
    }
    free(workers);
    return well ? 0 : 1;
}
