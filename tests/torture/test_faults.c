/* SPDX-License-Identifier: Apache-2.0 */
/* Several clients do random calls on a small set of keys through a relay that loses, doubles,
 * reorders, cuts and flips bits of 1, 10 and 30 % of all datagrams each way (and once none,
 * straight to the server). The server's arena is small, so eviction never stops. Every byte read is
 * checked against a model, every call against its deadline. Arguments: seconds in all, seed. Exit
 * status 0 good, 1 wrong, 77 skipped (environment names no sockserver and relay). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "child.h"
#include "model.h"

#define TESTERS 3u
#define PARTITIONS 2u

struct round {
    const char *percent; /* of each fault; NULL: no relay */
    bool ipv6;
    uint32_t timeout_ms;
};

static const struct round rounds[] = {
    {NULL, false, 1000}, {"1", false, 1000}, {"10", true, 1500}, {"30", false, 2000}};
#define ROUNDS (sizeof(rounds) / sizeof(rounds[0]))

struct lane {
    struct tester tester;
    struct kvr_client *client;
    uint64_t until_ns;
    pthread_t thread;
    bool good;
};

static void *drive(void *arg)
{
    struct lane *lane = arg;

    lane->good = true;
    while (lane->good && clock_ns() < lane->until_ns)
        lane->good = tester_step(&lane->tester);
    return NULL;
}

static int start_server(struct child *server)
{
    char *argv[] = {getenv("KVRAIL_SOCKSERVER"), "--size", "4194304", "--partitions", "2",
                    "--upload-idle-ms",          "1000",   NULL};

    return child_start(server, argv);
}

static int start_relay(struct child *relay, const struct round *round, uint16_t port, uint64_t seed)
{
    char port_text[8], seed_text[24];
    char *percent = (char *)(uintptr_t)round->percent;
    char *argv[] = {getenv("KVRAIL_RELAY"),
                    "--host",
                    round->ipv6 ? "::1" : "127.0.0.1",
                    "--port",
                    port_text,
                    "--ports",
                    "2",
                    "--seed",
                    seed_text,
                    "--loss",
                    percent,
                    "--dup",
                    percent,
                    "--reorder",
                    percent,
                    "--truncate",
                    percent,
                    "--flip",
                    percent,
                    NULL};

    snprintf(port_text, sizeof(port_text), "%u", port);
    snprintf(seed_text, sizeof(seed_text), "%lu", (unsigned long)seed);
    return child_start(relay, argv);
}

static bool open_lane(struct lane *lane, unsigned number, const char *url, uint64_t seed,
                      const struct round *round)
{
    struct kvr_options options;
    enum kvr_status status;

    kvr_options_init(&options);
    options.connect_ms = 10000;
    options.rng_seed = seed + number + 1;
    /* One with small datagrams: more of them for each value. */
    options.max_datagram = number == 1 ? 1472 : 0;
    status = kvr_open(url, &options, &lane->client);
    if (status != KVR_OK) {
        printf("open %s: %s\n", url, kvr_status_name(status));
        return false;
    }
    return tester_setup(&lane->tester, lane->client, number, seed, round->timeout_ms) == 0;
}

struct sum {
    uint64_t put_oks, hits, corrupt;
};

static bool report(const struct lane *lane, unsigned number, const struct round *round,
                   struct sum *sum)
{
    const struct tester *t = &lane->tester;
    struct kvr_client_stats stats;
    struct kvr_server_info info;

    kvr_client_stats(lane->client, &stats);
    kvr_server_info(lane->client, &info);
    printf(
        "%s%% client %u: puts %lu (%lu ok) gets %lu (%lu hits, %lu misses) matches %lu others %lu "
        "timeouts %lu refused %lu worst %lu ms; tx %lu rx %lu again %lu corrupt %lu unexpected "
        "%lu hellos %lu busy %lu; rtt %lu us\n",
        round->percent ? round->percent : "0", number, (unsigned long)t->puts,
        (unsigned long)t->put_oks, (unsigned long)t->gets, (unsigned long)t->hits,
        (unsigned long)t->misses, (unsigned long)t->matches, (unsigned long)t->others,
        (unsigned long)t->timeouts, (unsigned long)t->refused,
        (unsigned long)(t->worst_ns / NS_PER_MS), (unsigned long)stats.tx_datagrams,
        (unsigned long)stats.rx_datagrams, (unsigned long)stats.retransmits,
        (unsigned long)stats.rx_corrupt, (unsigned long)stats.rx_unexpected,
        (unsigned long)stats.hellos, (unsigned long)stats.busy,
        (unsigned long)(info.rtt_ns / NS_PER_US));
    if (!lane->good) {
        printf("WRONG: %s\n", t->wrong);
        return false;
    }
    sum->put_oks += t->put_oks;
    sum->hits += t->hits;
    sum->corrupt += stats.rx_corrupt;
    return true;
}

/* A round in which nothing happened proves nothing. */
static bool enough(const struct sum *sum, const struct round *round)
{
    if (sum->put_oks + sum->hits > 0 && (!round->percent || sum->corrupt > 0))
        return true;
    printf("WRONG: %lu puts, %lu hits, %lu damaged datagrams noticed\n",
           (unsigned long)sum->put_oks, (unsigned long)sum->hits, (unsigned long)sum->corrupt);
    return false;
}

static bool run_lanes(const char *url, const struct round *round, uint64_t seed, uint64_t ns)
{
    static struct lane lanes[TESTERS];
    struct sum sum = {0};
    bool good = true;

    memset(lanes, 0, sizeof(lanes));
    for (unsigned i = 0; good && i < TESTERS; i++)
        good = open_lane(&lanes[i], i, url, seed, round);
    if (good)
        tester_share(&lanes[0].tester);
    for (unsigned i = 0; good && i < TESTERS; i++) {
        lanes[i].until_ns = clock_ns() + ns;
        pthread_create(&lanes[i].thread, NULL, drive, &lanes[i]);
    }
    for (unsigned i = 0; i < TESTERS; i++) {
        if (lanes[i].thread)
            pthread_join(lanes[i].thread, NULL);
        if (lanes[i].thread)
            good = report(&lanes[i], i, round, &sum) && good;
        kvr_close(lanes[i].client);
        tester_teardown(&lanes[i].tester);
    }
    return good && enough(&sum, round);
}

static bool run_round(const struct round *round, uint64_t seed, uint64_t ns)
{
    struct child server = {0}, relay = {0};
    char url[64];
    bool good = true;
    int status;

    if (start_server(&server) != 0) {
        printf("cannot start the server\n");
        return false;
    }
    if (round->percent && start_relay(&relay, round, server.port, seed) != 0) {
        printf("cannot start the relay\n");
        good = false;
    }
    snprintf(url, sizeof(url), "udp://%s:%u", round->ipv6 ? "[::1]" : "127.0.0.1",
             round->percent ? relay.port : server.port);
    good = good && run_lanes(url, round, seed, ns);
    if (relay.pid > 0)
        child_stop(&relay, 1);
    status = child_stop(&server, 1);
    if (status != 0)
        printf("WRONG: the server's own audit says %d\n", status);
    return good && status == 0;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 12;
    const char *which = argc > 2 ? argv[2] : "all";
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
    size_t from = strcmp(which, "faults") == 0 ? 1 : 0;
    size_t to = strcmp(which, "model") == 0 ? 1 : ROUNDS;
    bool good = true;

    if (!getenv("KVRAIL_SOCKSERVER") || !getenv("KVRAIL_RELAY")) {
        printf("skipped: KVRAIL_SOCKSERVER and KVRAIL_RELAY must name the programs\n");
        return 77;
    }
    if (seed == 0)
        seed = clock_ns();
    printf("seed %lu\n", (unsigned long)seed);
    for (size_t i = from; i < to; i++)
        good = run_round(&rounds[i], seed, (uint64_t)(seconds / (double)(to - from) * 1e9)) && good;
    printf("%s\n", good ? "good" : "WRONG");
    return good ? 0 : 1;
}
