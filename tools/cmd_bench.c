/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail bench`: parses the settings, runs the warm-up and the measured phase, shows progress and
 * the result. The main thread only watches while the load threads run. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/progress.h"
#include "tools/units.h"

#define BUFFERS_MAX (8ull << 30)

static const struct cli_option options[] = {
    {BENCH_OPT_SIZE, "size", "BYTES",
     "bytes of a value, or a mix: 64:50,4KiB:30,64KiB:20; default 1KiB"},
    {BENCH_OPT_BATCH, "batch", "N", "ops that are submitted together; default 1"},
    {BENCH_OPT_DEPTH, "depth", "N", "ops in flight, each thread; default 16, at least --batch"},
    {BENCH_OPT_THREADS, "threads", "N", "load threads, each with its own client; default 1"},
    {BENCH_OPT_CHAIN, "chain", "N", "keys of a MATCH; default 256"},
    {BENCH_OPT_FILL, "fill", NULL, "after a miss, store the value"},
    {BENCH_OPT_VIEW, "view", NULL,
     "with shm://: get and match hold hits where they lie, nothing is copied"},
    {BENCH_OPT_NO_VERIFY, "no-verify", NULL, "do not check the bytes of hits"},
    {0}};

/* -1: go on; else the exit code. */
static int parse(struct cli *cli, int argc, char **argv, struct bench_settings *s)
{
    int id;

    while ((id = cli_getopt(cli, argc, argv)) > 0)
        if (!bench_option(cli, id, s))
            return CLI_USAGE;
    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc > optind)
        return cli_usage(cli, "'%s' is one argument too many", argv[optind]);
    if (s->depth < s->batch)
        s->depth = s->batch;
    if (s->threads * s->depth * s->sizes.largest > BUFFERS_MAX)
        return cli_usage(cli, "%llu threads of depth %llu need more than %s of buffers",
                         (unsigned long long)s->threads, (unsigned long long)s->depth,
                         units_bytes(BUFFERS_MAX).s);
    s->priority = cli->priority;
    bench_option_end(s);
    return -1;
}

static uint64_t ops_done(const struct bench_thread *threads, uint64_t nr)
{
    uint64_t done = 0;

    for (uint64_t i = 0; i < nr; i++)
        for (unsigned op = 0; op < BENCH_OPS; op++)
            done += counter_read(&threads[i].tallies[op].ops);
    return done;
}

struct watched {
    pthread_t *ids;
    struct bench_thread *threads;
    uint64_t nr, total_ops, start_ns, run_ns;
};

/* Shows progress until the threads have ended. */
static void watch(const struct watched *w, struct progress *progress)
{
    uint64_t last = 0, last_ns = w->start_ns;
    char detail[64] = "";

    for (uint64_t i = 0; i < w->nr;) {
        uint64_t now = clock_ns(), done = ops_done(w->threads, w->nr);
        struct timespec at;

        if (now - last_ns >= NS_PER_S / 2) {
            snprintf(detail, sizeof(detail), "%s ops/s",
                     units_count((double)(done - last) * 1e9 / (double)(now - last_ns)).s);
            last = done;
            last_ns = now;
        }
        progress_update(progress, w->total_ops ? done : now - w->start_ns, detail);
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_nsec += 50 * 1000000;
        at.tv_sec += at.tv_nsec / 1000000000;
        at.tv_nsec %= 1000000000;
        if (pthread_timedjoin_np(w->ids[i], NULL, &at) == 0)
            i++;
    }
}

static void prepare(struct bench_thread *t, const struct bench_settings *s, bool warming,
                    uint64_t start_ns)
{
    uint64_t total = warming ? s->keys : s->count;

    t->warming = warming;
    t->start_ns = start_ns;
    t->end_ns = total ? UINT64_MAX : start_ns + s->run_ns;
    t->quota = total ? total / s->threads + (t->index < total % s->threads) : UINT64_MAX;
}

/* One phase of all threads. Returns its seconds, below 0 if a thread could not run. */
static double run_phase(const struct cli *cli, const struct bench_settings *s,
                        struct bench_thread *threads, bool warming)
{
    pthread_t ids[256];
    struct watched w = {.ids = ids, .threads = threads, .start_ns = clock_ns()};
    struct progress progress;
    double seconds;
    int error = 0;

    w.total_ops = warming ? s->keys : s->count;
    w.run_ns = s->run_ns;
    progress_begin(&progress, warming ? "warm" : "bench", w.total_ops ? w.total_ops : s->run_ns,
                   cli->quiet);
    for (; w.nr < s->threads && error == 0; w.nr += error == 0) {
        prepare(&threads[w.nr], s, warming, w.start_ns);
        error = pthread_create(&ids[w.nr], NULL, bench_thread_run, &threads[w.nr]);
    }
    watch(&w, &progress);
    seconds = (double)(clock_ns() - w.start_ns) / 1e9;
    progress_end(&progress, "");
    for (uint64_t i = 0; i < w.nr && error == 0; i++)
        error = threads[i].error;
    return error ? -1 : seconds;
}

static void collect(struct bench_thread *t, struct bench_result *r)
{
    struct kvr_client_stats stats;

    for (unsigned op = 0; op < BENCH_OPS; op++)
        tally_merge(&r->tallies[op], &t->tallies[op]);
    tally_merge(&r->fills, &t->fills);
    r->moved_in += t->moved_in;
    r->moved_out += t->moved_out;
    r->unstarted += t->unstarted;
    kvr_client_stats(t->client, &stats);
    uint64_t *sum = (uint64_t *)&r->client, *add = (uint64_t *)&stats;
    for (size_t i = 0; i < sizeof(stats) / sizeof(*add); i++)
        sum[i] += add[i];
}

static void reset_after_warm(struct bench_thread *t, struct bench_result *r)
{
    tally_merge(&r->warm, &t->tallies[BENCH_PUT]);
    memset(t->tallies, 0, sizeof(t->tallies));
    t->moved_out = 0;
}

static int measure(const struct cli *cli, const struct bench_settings *s,
                   struct bench_thread *threads, struct bench_result *r)
{
    if (s->warm) {
        r->warm_seconds = run_phase(cli, s, threads, true);
        for (uint64_t i = 0; i < s->threads; i++)
            reset_after_warm(&threads[i], r);
    }
    if (r->warm_seconds < 0 || (r->seconds = run_phase(cli, s, threads, false)) < 0)
        return cli_error(cli, CLI_ERROR, "%llu threads: out of memory or threads",
                         (unsigned long long)s->threads);
    for (uint64_t i = 0; i < s->threads; i++)
        collect(&threads[i], r);
    kvr_server_info(threads[0].client, &r->server);
    return CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct bench_settings s;
    struct bench_result *result;
    struct bench_thread *threads;
    char url[512];
    int code;

    bench_option_defaults(&s);
    code = parse(cli, argc, argv, &s);
    if (code >= 0)
        return code;
    result = calloc(1, sizeof(*result));
    threads = calloc(s.threads, sizeof(*threads));
    if (!threads || !result) {
        free(result);
        free(threads);
        return cli_fail(cli, KVR_NO_MEMORY, "bench");
    }
    cli_server(cli, url, sizeof(url));
    code = CLI_OK;
    for (unsigned i = 0; i < s.threads; i++) {
        threads[i].settings = &s;
        threads[i].index = i;
        code = cli_open(cli, NULL, &threads[i].client);
        if (code != CLI_OK)
            break;
    }
    if (code == CLI_OK) {
        cli_catch_interrupt();
        code = measure(cli, &s, threads, result);
    }
    if (code == CLI_OK) {
        if (cli->json)
            cli_print_json(bench_json("bench", &s, result, url));
        else
            bench_print(&s, result, url);
        code = bench_exit_code(result);
    }
    for (uint64_t i = 0; i < s.threads; i++)
        kvr_close(threads[i].client);
    free(threads);
    free(result);
    return code;
}

const struct cli_command cmd_bench = {
    .name = "bench",
    .arguments = "",
    .summary = "measure ops, bytes and latencies",
    .options = options,
    .shared = bench_options,
    .details =
        "Every byte of every hit is checked: the values are made from their key, their version "
        "and\n"
        "their length, in every word. Exit status 1 if a single byte was wrong.\n"
        "\n"
        "Closed loop: each slot of --depth starts its next op when its last one has ended; "
        "latency\n"
        "is from submit to end. Open loop (--rate): ops are due by the clock whatever the server\n"
        "does, and latency counts from when an op was due, so it is free of coordinated omission.\n"
        "Ops submitted together (--batch) share datagrams where their keys share a partition.\n"
        "\n"
        "Examples:\n"
        "  kvrail bench --ops get --size 64 --keys 1M --batch 16 --depth 128\n"
        "  kvrail bench --read 80 --size 64:50,4KiB:30,64KiB:20 --threads 2 --seconds 10\n"
        "  kvrail bench --ops get --rate 50k --arrival poisson --json > result.json\n"
        "  kvrail bench --ops match --chain 4096\n"
        "  kvrail bench --server shm:///run/kvrail/local.sock --ops get --view --size 2MiB\n",
    .run = run,
};
