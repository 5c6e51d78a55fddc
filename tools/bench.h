/* SPDX-License-Identifier: Apache-2.0 */
/* What `kvrail bench` measures and how: settings, the threads that make the load, the report. Each
 * thread owns its client, slots and tallies; the main thread reads counts while they run. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include <kvrail/client.h>

#include "tools/cli.h"
#include "tools/sizes.h"
#include "tools/tally.h"

enum bench_op { BENCH_GET, BENCH_PUT, BENCH_DEL, BENCH_TOUCH, BENCH_MATCH, BENCH_PING, BENCH_OPS };
extern const char *const bench_op_names[BENCH_OPS];

enum bench_dist { BENCH_ZIPF, BENCH_UNIFORM, BENCH_SEQUENTIAL };

struct bench_settings {
    uint64_t weights[BENCH_OPS]; /* shares of the ops */
    uint64_t keys, key_len, salt, seed;
    struct sizes sizes;
    const char *sizes_text;
    enum bench_dist dist;
    double exponent; /* of zipf */
    uint64_t batch, depth, threads, chain;
    uint64_t rate; /* open loop: ops a second of all threads; 0 = closed loop */
    bool poisson;
    uint64_t run_ns, count; /* count 0: run_ns decides */
    uint64_t ttl_ms;
    uint8_t priority;
    bool warm, verify, fill;
    bool view; /* hits are looked at where they lie */
};

/* Options of bench_options, and those for which each command has a row of its own: what they mean
 * there, or are without being given, differs. */
enum {
    BENCH_OPT_OPS = CLI_LONG,
    BENCH_OPT_READ,
    BENCH_OPT_KEYS,
    BENCH_OPT_KEY_SIZE,
    BENCH_OPT_SIZE,
    BENCH_OPT_DIST,
    BENCH_OPT_BATCH,
    BENCH_OPT_DEPTH,
    BENCH_OPT_THREADS,
    BENCH_OPT_CHAIN,
    BENCH_OPT_RATE,
    BENCH_OPT_ARRIVAL,
    BENCH_OPT_SECONDS,
    BENCH_OPT_COUNT,
    BENCH_OPT_TTL,
    BENCH_OPT_WARM,
    BENCH_OPT_NO_WARM,
    BENCH_OPT_FILL,
    BENCH_OPT_VIEW,
    BENCH_OPT_VERIFY,
    BENCH_OPT_NO_VERIFY,
    BENCH_OPT_KEYSPACE,
    BENCH_OPT_SEED,
    BENCH_OPT_OTHERS /* first free number */
};

extern const struct cli_option bench_options[];
void bench_option_defaults(struct bench_settings *s);
/* One of them, its argument in optarg. False after the mistake was shown. */
bool bench_option(const struct cli *cli, int id, struct bench_settings *s);
/* After the last one. Runs with other sizes do not share keys: a value of another length would look
 * wrong. */
void bench_option_end(struct bench_settings *s);

struct bench_thread {
    const struct bench_settings *settings;
    struct kvr_client *client;
    unsigned index;
    bool warming; /* this phase stores every key once */
    uint64_t start_ns, end_ns;
    uint64_t quota; /* most ops to start; UINT64_MAX = until end_ns */
    struct tally tallies[BENCH_OPS];
    struct tally fills;           /* PUT after a miss */
    uint64_t moved_in, moved_out; /* bytes of values fetched, stored */
    uint64_t unstarted;           /* open loop: due by the end, but no slot was free */
    int error;                    /* -ENOMEM: the thread could not run */
};

/* Runs one phase of a thread to its end; a pthread start routine. */
void *bench_thread_run(void *thread);

struct bench_result {
    double seconds;
    struct tally tallies[BENCH_OPS], fills, warm;
    double warm_seconds;
    uint64_t moved_in, moved_out, unstarted;
    struct kvr_client_stats client;
    struct kvr_server_info server;
};

uint64_t bench_corrupt(const struct bench_result *r);
/* What the outcome means: wrong bytes are an error, and so is a run in which nothing went well. */
int bench_exit_code(const struct bench_result *r);
/* Hits over GETs that were answered; below 0 without any. */
double bench_hit_ratio(const struct bench_result *r);
/* command: whose result it is. */
json_t *bench_json(const char *command, const struct bench_settings *s,
                   const struct bench_result *r, const char *url);
void bench_print(const struct bench_settings *s, const struct bench_result *r, const char *url);
