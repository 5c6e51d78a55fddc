/* SPDX-License-Identifier: Apache-2.0 */
/* Local clients of a running server, killed by SIGKILL at random instants while they hold, read,
 * place, put and delete blocks of a cache far too small. Some are never killed and check every byte
 * at every look. When all are dead, nothing may be held or reserved a second later.
 *
 * kill_clients SOCKET KILLS [SEED]: SOCKET is the server's local socket. Exit 1 if anything was
 * wrong. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "torture/blocks.h"
#include "torture/observe.h"

#define VICTIMS 6u
#define SURVIVORS 2u
#define KEYS 3000u
#define VIEWS 48u /* held at once */
#define CHAIN 8u
#define ABANDONED_MAX 8u /* places that one process leaves open: a put needs some too */
#define TIMEOUT_MS 2000u
#define SLACK_MS 1000u /* a call may end so much later: the machine is full of processes */
#define LET_GO_MS 1000u
#define PAUSE_MAX_US 25000u

enum tally { GETS, HITS, PUTS, PLACED, ABANDONED, REFUSED, LATE, NR_TALLIES };

/* Of all processes. */
struct board {
    uint64_t tallies[NR_TALLIES];
    uint64_t worst_ns;
    int stop;
};

static struct board *board;

struct held {
    struct kvr_view view;
    uint64_t number;
};

struct worker {
    struct kvr_client *client;
    struct rng rng;
    uint64_t version;
    struct held held[VIEWS];
    unsigned nr_held, nr_abandoned;
    bool read_only; /* its puts are copied by the server */
    uint64_t began_ns;
    uint8_t buffer[BLOCK_LEN_MAX];
};

static void tally(enum tally which)
{
    __atomic_add_fetch(&board->tallies[which], 1, __ATOMIC_RELAXED);
}

_Noreturn static void wrong(const char *what, uint64_t number)
{
    fprintf(stderr, "WRONG: %s, key %lu, process %d\n", what, (unsigned long)number, getpid());
    _exit(1);
}

/* What is there instead. */
static void tell_bytes(const uint8_t *bytes, uint32_t len)
{
    fprintf(stderr, "process %d: %u bytes:", getpid(), len);
    for (uint32_t i = 0; i < len && i < 48; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, " .. %02x %02x\n", bytes[len / 2], bytes[len - 1]);
}

/* Every call: by its deadline, and with an answer that is possible here. */
static enum kvr_status judged(struct worker *worker, enum kvr_status status, const char *what)
{
    uint64_t took_ns = clock_ns() - worker->began_ns;

    if (took_ns > __atomic_load_n(&board->worst_ns, __ATOMIC_RELAXED))
        __atomic_store_n(&board->worst_ns, took_ns, __ATOMIC_RELAXED);
    if (took_ns > (TIMEOUT_MS + SLACK_MS) * NS_PER_MS)
        wrong("a call past its deadline", took_ns / NS_PER_MS);
    switch (status) {
    case KVR_OK:
    case KVR_MISS:
        break;
    case KVR_TIMEOUT:
        tally(LATE);
        fprintf(stderr, "process %d: %s ran into its deadline after %lu ms\n", getpid(), what,
                (unsigned long)(took_ns / NS_PER_MS));
        break;
    case KVR_BUSY:
    case KVR_NO_SPACE:
    case KVR_LIMIT:
        tally(REFUSED);
        break;
    default:
        fprintf(stderr, "%s: %s\n", what, kvr_status_name(status));
        wrong("an answer that cannot be", 0);
    }
    worker->began_ns = clock_ns();
    return status;
}

static uint64_t draw(struct worker *worker)
{
    /* Half of the accesses go to a tenth of the keys. */
    uint64_t range = rng_below(&worker->rng, 2) ? KEYS / 10 : KEYS;

    return rng_below(&worker->rng, range);
}

static void look_at(const struct held *held)
{
    if (block_check(held->view.data, held->view.len, held->number, NULL))
        return;
    tell_bytes(held->view.data, held->view.len);
    wrong("a held value has other bytes", held->number);
}

static void let_go(struct worker *worker)
{
    unsigned i = (unsigned)rng_below(&worker->rng, worker->nr_held);

    look_at(&worker->held[i]);
    kvr_release(worker->client, &worker->held[i].view, 1);
    worker->held[i] = worker->held[--worker->nr_held];
}

static void hold_one(struct worker *worker)
{
    struct held *held = &worker->held[worker->nr_held];
    uint8_t key[BLOCK_KEY_MAX];
    uint32_t len;

    held->number = draw(worker);
    len = block_key(key, held->number);
    tally(GETS);
    if (judged(worker, kvr_get_view(worker->client, key, len, &held->view), "view") != KVR_OK)
        return;
    tally(HITS);
    look_at(held);
    worker->nr_held++;
}

static void hold_chain(struct worker *worker)
{
    uint64_t first = draw(worker);
    uint8_t bytes[CHAIN][BLOCK_KEY_MAX];
    struct kvr_key keys[CHAIN];
    struct kvr_view views[CHAIN];
    uint32_t prefix = 0;

    for (unsigned i = 0; i < CHAIN; i++)
        keys[i] = (struct kvr_key){bytes[i], block_key(bytes[i], (first + i) % KEYS)};
    tally(GETS);
    (void)judged(worker, kvr_match_views(worker->client, keys, CHAIN, views, &prefix), "views");
    for (unsigned i = 0; i < prefix; i++) {
        worker->held[worker->nr_held] =
            (struct held){.view = views[i], .number = (first + i) % KEYS};
        look_at(&worker->held[worker->nr_held++]);
        tally(HITS);
    }
}

static void copy_one(struct worker *worker)
{
    uint64_t number = draw(worker);
    uint8_t key[BLOCK_KEY_MAX];
    uint32_t key_len = block_key(key, number);
    size_t len = 0;

    tally(GETS);
    if (judged(worker,
               kvr_get_copy(worker->client, key, key_len, worker->buffer, sizeof(worker->buffer), 1,
                            &len),
               "copy") != KVR_OK)
        return;
    tally(HITS);
    if (!block_check(worker->buffer, len, number, NULL))
        wrong("a copied value has other bytes", number);
}

static void put_one(struct worker *worker)
{
    uint64_t number = draw(worker), version = ++worker->version;
    uint8_t key[BLOCK_KEY_MAX];
    uint32_t key_len = block_key(key, number);

    block_fill(worker->buffer, number, version);
    tally(PUTS);
    (void)judged(
        worker,
        kvr_put(worker->client, key, key_len, worker->buffer, block_len(number, version), 0),
        "put");
}

/* Written in place; sealed, given back, or half written and left to whoever comes after us. */
static void place_one(struct worker *worker)
{
    uint64_t number = draw(worker), version = ++worker->version;
    uint8_t key[BLOCK_KEY_MAX];
    struct kvr_call put = {.op = KVR_CALL_PUT, .value_len = block_len(number, version)};
    struct kvr_place place;

    put.key = (struct kvr_key){key, block_key(key, number)};
    if (judged(worker, kvr_reserve(worker->client, &put, &place), "reserve") != KVR_OK)
        return;
    switch (rng_below(&worker->rng, 16)) {
    case 0:
        memset(place.data, 0xee, place.len / 2);
        (void)judged(worker, kvr_abort(worker->client, &place), "abort");
        break;
    case 1:
        if (worker->nr_abandoned < ABANDONED_MAX) {
            memset(place.data, 0xee, place.len);
            tally(ABANDONED);
            worker->nr_abandoned++;
            break;
        }
        [[fallthrough]];
    default:
        block_fill(place.data, number, version);
        tally(PLACED);
        (void)judged(worker, kvr_seal(worker->client, &place, NULL), "seal");
    }
}

static void delete_one(struct worker *worker)
{
    uint8_t key[BLOCK_KEY_MAX];
    uint32_t len = block_key(key, draw(worker));

    (void)judged(worker, kvr_del(worker->client, key, len), "del");
}

static void step(struct worker *worker)
{
    uint64_t what = rng_below(&worker->rng, 100);

    worker->began_ns = clock_ns();
    if (worker->nr_held + CHAIN > VIEWS || (worker->nr_held && what < 20))
        let_go(worker);
    else if (what < 50)
        hold_one(worker);
    else if (what < 58)
        hold_chain(worker);
    else if (what < 65)
        copy_one(worker);
    else if (what < 80 || (what < 98 && worker->read_only))
        put_one(worker);
    else if (what < 98)
        place_one(worker);
    else
        delete_one(worker);
    if (worker->nr_held)
        look_at(&worker->held[rng_below(&worker->rng, worker->nr_held)]);
}

/* The dead make room within a second: until then there may be too many. */
static struct kvr_client *open_patiently(const char *url, bool read_only)
{
    struct kvr_options options;
    struct kvr_client *client = NULL;
    uint64_t until_ns = clock_ns() + 10 * NS_PER_S;
    enum kvr_status status;

    kvr_options_init(&options);
    options.timeout_ms = TIMEOUT_MS;
    options.max_held = 256;
    options.read_only = read_only;
    for (;;) {
        status = kvr_open(url, &options, &client);
        if (status == KVR_OK)
            return client;
        if (clock_ns() > until_ns) {
            fprintf(stderr, "%s: %s\n", url, kvr_status_name(status));
            _exit(1);
        }
        usleep(20000);
    }
}

/* A victim never ends by itself. */
_Noreturn static void work(const char *url, uint64_t seed, bool victim)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!worker)
        _exit(1);
    rng_seed(&worker->rng, seed);
    worker->version = seed << 20;
    worker->read_only = seed % 3 == 0;
    worker->client = open_patiently(url, worker->read_only);
    while (victim || !__atomic_load_n(&board->stop, __ATOMIC_ACQUIRE))
        step(worker);
    while (worker->nr_held)
        let_go(worker);
    kvr_close(worker->client);
    free(worker);
    _exit(0);
}

static pid_t start(const char *url, uint64_t seed, bool victim)
{
    pid_t pid = fork();

    if (pid == 0)
        work(url, seed, victim);
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    return pid;
}

/* Whether it lived until we killed it. */
static bool kill_one(pid_t pid)
{
    int status = 0;

    kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    fprintf(stderr, "victim %d ended with %#x\n", pid, (unsigned)status);
    return false;
}

static bool survivors_end(const pid_t *survivors)
{
    bool well = true;
    int status = 0;

    __atomic_store_n(&board->stop, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < SURVIVORS; i++)
        if (waitpid(survivors[i], &status, 0) != survivors[i] || !WIFEXITED(status) ||
            WEXITSTATUS(status) != 0) {
            fprintf(stderr, "survivor %d ended with %#x\n", survivors[i], (unsigned)status);
            well = false;
        }
    return well;
}

static bool is_clean(const struct leftovers *left)
{
    return !left->held && !left->held_bytes && !left->reserved;
}

/* Within a second, and for good. */
static bool all_let_go(const struct arena *arena)
{
    uint64_t began_ns = clock_ns(), end_ns = began_ns + LET_GO_MS * NS_PER_MS, clean_ns = 0;
    struct leftovers left, first;

    observe(arena, &first);
    do {
        observe(arena, &left);
        if (!is_clean(&left))
            clean_ns = 0;
        else if (!clean_ns)
            clean_ns = clock_ns();
        usleep(1000);
    } while (clock_ns() < end_ns);
    if (clean_ns) {
        printf("nothing held or reserved after %lu ms (before: %lu blocks, %lu bytes held, %lu "
               "blocks reserved)\n",
               (unsigned long)((clean_ns - began_ns) / NS_PER_MS), (unsigned long)first.held,
               (unsigned long)first.held_bytes, (unsigned long)first.reserved);
        return true;
    }
    fprintf(stderr, "WRONG: still held after %u ms: %lu blocks, %lu bytes; reserved: %lu\n",
            LET_GO_MS, (unsigned long)left.held, (unsigned long)left.held_bytes,
            (unsigned long)left.reserved);
    return false;
}

/* Kills and starts anew; then kills all at once. */
static bool kill_many(const char *url, unsigned kills, struct rng *rng)
{
    pid_t victims[VICTIMS], survivors[SURVIVORS];
    uint64_t seed = 1;
    bool well = true;

    for (unsigned i = 0; i < SURVIVORS; i++)
        survivors[i] = start(url, seed++, false);
    for (unsigned i = 0; i < VICTIMS; i++)
        victims[i] = start(url, seed++, true);
    for (unsigned i = 0; i + VICTIMS < kills && well; i++) {
        unsigned which = (unsigned)rng_below(rng, VICTIMS);

        usleep((useconds_t)rng_below(rng, PAUSE_MAX_US));
        well = kill_one(victims[which]);
        victims[which] = start(url, seed++, true);
    }
    usleep(200000);
    well &= survivors_end(survivors);
    for (unsigned i = 0; i < VICTIMS; i++)
        kill(victims[i], SIGKILL);
    for (unsigned i = 0; i < VICTIMS; i++)
        well &= kill_one(victims[i]);
    return well;
}

static void report(unsigned kills, uint64_t began_ns)
{
    const uint64_t *t = board->tallies;

    printf(
        "%u clients killed in %lu s: %lu gets, %lu hits, %lu puts, %lu placed, %lu abandoned, %lu "
        "refused, %lu past their deadline by the library's word, longest call %lu ms\n",
        kills, (unsigned long)((clock_ns() - began_ns) / NS_PER_S), (unsigned long)t[GETS],
        (unsigned long)t[HITS], (unsigned long)t[PUTS], (unsigned long)t[PLACED],
        (unsigned long)t[ABANDONED], (unsigned long)t[REFUSED], (unsigned long)t[LATE],
        (unsigned long)(board->worst_ns / NS_PER_MS));
}

int main(int argc, char **argv)
{
    uint64_t began_ns = clock_ns(), seed = argc > 3 ? strtoull(argv[3], NULL, 0) : began_ns;
    unsigned kills = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    struct arena arena;
    struct rng rng;
    char url[128];
    bool well;
    int rc;

    if (argc < 3 || kills < VICTIMS) {
        fprintf(stderr, "usage: kill_clients SOCKET KILLS [SEED]\n");
        return 2;
    }
    printf("seed %lu\n", (unsigned long)seed);
    fflush(stdout);
    rng_seed(&rng, seed);
    snprintf(url, sizeof(url), "shm://%s", argv[1]);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        return 1;
    rc = observe_open(argv[1], &arena);
    if (rc) {
        fprintf(stderr, "%s: %s\n", argv[1], strerror(-rc));
        return 1;
    }
    well = kill_many(url, kills, &rng);
    if (!well)
        fprintf(stderr, "WRONG: a process ended by itself\n");
    report(kills, began_ns);
    well &= all_let_go(&arena);
    arena_close(&arena);
    return well ? 0 : 1;
}
