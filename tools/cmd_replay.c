/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail replay`: plays a trace of LLM requests against the server and checks every byte that
 * comes back. The main thread only watches while the playing threads run. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/hash.h"
#include "tools/cli.h"
#include "tools/progress.h"
#include "tools/replay.h"
#include "tools/units.h"
#include "tools/workload.h"

enum {
    OPT_BLOCK_BYTES = CLI_LONG,
    OPT_SPEED,
    OPT_DEPTH,
    OPT_LIMIT,
    OPT_THREADS,
    OPT_BEYOND,
    OPT_TTL,
    OPT_KEYSPACE,
    OPT_NO_VERIFY,
    OPT_NO_HINTS,
    OPT_GENERATE
};

#define THREADS_MAX 256u
#define BUFFERS_MAX (8ull << 30)

static const struct cli_option options[] = {
    {OPT_BLOCK_BYTES, "block-bytes", "BYTES", "bytes of every block; default 64KiB"},
    {OPT_SPEED, "speed", "FACTOR", "max (default), or times the trace's timestamps: 1 = real time"},
    {OPT_DEPTH, "depth", "N", "blocks of a request in flight; default 8"},
    {OPT_LIMIT, "limit", "N", "stop after N requests"},
    {OPT_THREADS, "threads", "N", "requests in flight, each with its own client; default 1"},
    {OPT_BEYOND, "beyond", "WHAT", "stored blocks beyond the prefix: touch (default), get or put"},
    {OPT_TTL, "ttl", "TIME", "time to live of stored blocks; default: none"},
    {OPT_KEYSPACE, "keyspace", "N", "number of a key space; others share no keys; default 0"},
    {OPT_NO_VERIFY, "no-verify", NULL, "do not check the bytes of hits"},
    {OPT_NO_HINTS, "no-hints", NULL, "do not tell the server each block's parent"},
    {OPT_GENERATE, "generate", "SETTINGS", "make the trace instead of reading one: turns=6,.."},
    {0}};

struct replay_source {
    uint64_t limit;
    const char *settings; /* of a workload that is made; NULL = path */
    const char *path;
};

static bool parse_speed(const struct cli *cli, const char *text, double *speed)
{
    char *end;

    *speed = 0;
    if (strcmp(text, "max") == 0)
        return true;
    *speed = strtod(text, &end);
    if (end != text && *end == 0 && *speed > 0 && *speed <= 1e9)
        return true;
    cli_usage(cli, "--speed %s: not max or a factor above 0", text);
    return false;
}

static bool parse_beyond(const struct cli *cli, const char *text, enum replay_beyond *beyond)
{
    static const char *const names[] = {"touch", "get", "put"};

    for (unsigned i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *beyond = (enum replay_beyond)i;
            return true;
        }
    cli_usage(cli, "--beyond %s: not touch, get or put", text);
    return false;
}

static bool parse_ttl(const struct cli *cli, const char *text, struct replay_settings *s)
{
    uint64_t ns;

    if (!cli_duration(cli, "ttl", text, 0, NS_PER_MS, KVR_TTL_MAX_MS * NS_PER_MS, &ns))
        return false;
    s->ttl_ms = ns / NS_PER_MS;
    return true;
}

static bool parse_option(const struct cli *cli, int id, struct replay_settings *s,
                         struct replay_source *source)
{
    switch (id) {
    case OPT_BLOCK_BYTES:
        return cli_bytes(cli, "block-bytes", optarg, 1, KVR_VALUE_MAX, &s->block_bytes);
    case OPT_SPEED:
        return parse_speed(cli, optarg, &s->speed);
    case OPT_DEPTH:
        return cli_number(cli, "depth", optarg, 1, 4096, &s->depth);
    case OPT_LIMIT:
        return cli_number(cli, "limit", optarg, 1, UINT32_MAX, &source->limit);
    case OPT_THREADS:
        return cli_number(cli, "threads", optarg, 1, THREADS_MAX, &s->threads);
    case OPT_BEYOND:
        return parse_beyond(cli, optarg, &s->beyond);
    case OPT_TTL:
        return parse_ttl(cli, optarg, s);
    case OPT_KEYSPACE:
        return cli_number(cli, "keyspace", optarg, 0, UINT32_MAX, &s->salt);
    case OPT_NO_VERIFY:
        s->verify = false;
        return true;
    case OPT_NO_HINTS:
        s->hints = false;
        return true;
    case OPT_GENERATE:
        source->settings = optarg;
        return true;
    default:
        return true;
    }
}

/* -1: go on; else the exit code. */
static int parse(struct cli *cli, int argc, char **argv, struct replay_settings *s,
                 struct replay_source *source)
{
    int id;

    while ((id = cli_getopt(cli, argc, argv)) > 0)
        if (!parse_option(cli, id, s, source))
            return CLI_USAGE;
    if (id == CLI_STOP)
        return cli->exit_code;
    if (argc - optind != (source->settings ? 0 : 1))
        return cli_usage(cli, "either one TRACE or --generate is needed");
    source->path = argv[optind];
    if (s->threads * s->depth * s->block_bytes > BUFFERS_MAX)
        return cli_usage(cli, "%llu threads of depth %llu need more than %s of buffers",
                         (unsigned long long)s->threads, (unsigned long long)s->depth,
                         units_bytes(BUFFERS_MAX).s);
    /* Runs with other block sizes do not share keys: their blocks would look wrong. */
    s->salt = hash_key(&s->block_bytes, sizeof(s->block_bytes), s->salt).lo;
    return -1;
}

static int make_trace(const struct cli *cli, const struct replay_source *source,
                      struct trace *trace)
{
    struct workload w;
    const char *wrong;

    workload_defaults(&w);
    if (workload_parse(source->settings, &w, &wrong))
        return cli_usage(cli, "--generate '%s': no such setting, or outside its range", wrong);
    if (workload_make(&w, trace))
        return cli_fail(cli, KVR_NO_MEMORY, "--generate %s", source->settings);
    while (source->limit && trace->nr > source->limit) {
        struct trace_request *last = &trace->requests[--trace->nr];

        trace->nr_blocks -= last->nr_ids;
        free(last->ids);
    }
    return CLI_OK;
}

static int load_trace(const struct cli *cli, const struct replay_source *source,
                      struct trace *trace)
{
    bool standard;
    struct trace_error error;
    FILE *in;
    int rc;

    *trace = (struct trace){0};
    if (source->settings)
        return make_trace(cli, source, trace);
    standard = strcmp(source->path, "-") == 0;
    in = standard ? stdin : fopen(source->path, "re");
    if (!in)
        return cli_error(cli, CLI_ERROR, "%s: %s", source->path, strerror(errno));
    rc = trace_read(in, source->limit, trace, &error);
    if (!standard)
        fclose(in);
    if (rc && error.line)
        return cli_error(cli, CLI_ERROR, "%s:%zu: %s", source->path, error.line, error.reason);
    if (rc)
        return cli_error(cli, CLI_ERROR, "%s: %s", source->path, error.reason);
    return trace->nr ? CLI_OK : cli_error(cli, CLI_ERROR, "%s: no requests", source->path);
}

static void describe_state(const struct replay_thread *threads, uint64_t nr, uint64_t start_ns,
                           uint64_t *blocks, char *text, size_t size)
{
    uint64_t hits = 0, bytes = 0;
    double seconds = (double)(clock_ns() - start_ns) / 1e9;

    *blocks = 0;
    for (uint64_t i = 0; i < nr; i++) {
        const struct replay_counts *c = &threads[i].counts;

        *blocks += counter_read(&c->blocks);
        hits += counter_read(&c->hits);
        bytes += counter_read(&c->bytes_in) + counter_read(&c->bytes_out);
    }
    snprintf(text, size, "hit ratio %.3f, %s", *blocks ? (double)hits / (double)*blocks : 0.0,
             units_rate((double)bytes / seconds).s);
}

static void watch(const struct replay_run *run, const pthread_t *ids,
                  const struct replay_thread *threads, uint64_t nr, struct progress *progress)
{
    for (uint64_t i = 0; i < nr;) {
        struct timespec at;
        uint64_t blocks;
        char state[96];

        describe_state(threads, nr, run->start_ns, &blocks, state, sizeof(state));
        progress_update(progress, blocks, state);
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_nsec += 50 * 1000000;
        at.tv_sec += at.tv_nsec / 1000000000;
        at.tv_nsec %= 1000000000;
        if (pthread_timedjoin_np(ids[i], NULL, &at) == 0)
            i++;
    }
}

/* Plays the trace with all threads. CLI_OK, or an exit code after the error was shown. */
static int play(const struct cli *cli, struct replay_run *run, struct replay_thread *threads,
                double *seconds)
{
    uint64_t nr = 0, wanted = run->settings->threads;
    struct progress progress;
    pthread_t ids[THREADS_MAX];
    int error = 0;

    progress_begin(&progress, "replay", run->trace->nr_blocks, cli->quiet);
    run->start_ns = clock_ns();
    for (; nr < wanted && error == 0; nr += error == 0)
        error = pthread_create(&ids[nr], NULL, replay_thread_run, &threads[nr]);
    watch(run, ids, threads, nr, &progress);
    *seconds = (double)(clock_ns() - run->start_ns) / 1e9;
    progress_end(&progress, "");
    for (uint64_t i = 0; i < nr; i++)
        if (threads[i].error)
            error = -threads[i].error;
    return error ? cli_error(cli, CLI_ERROR, "replay: %s", strerror(error)) : CLI_OK;
}

static json_t *full_json(const struct replay_settings *s, const struct trace *trace,
                         const char *url, const char *name, const struct replay_counts *counts,
                         double seconds)
{
    json_t *object =
        json_pack("{s:s,s:o,s:o,s:{s:I,s:I,s:I,s:f,s:b,s:b},s:{s:I,s:I,s:I}}", "command", "replay",
                  "server", cli_json_text(url), "trace", cli_json_text(name), "params",
                  "block_bytes", (json_int_t)s->block_bytes, "depth", (json_int_t)s->depth,
                  "threads", (json_int_t)s->threads, "speed", s->speed, "verify", s->verify,
                  "hints", s->hints, "loaded", "requests", (json_int_t)trace->nr, "blocks",
                  (json_int_t)trace->nr_blocks, "distinct", (json_int_t)trace_distinct(trace));
    json_t *result = replay_json(counts, seconds);

    json_object_update(object, result);
    json_decref(result);
    return object;
}

static int judge(const struct replay_counts *c)
{
    uint64_t unanswered = c->match.ended[KVR_TIMEOUT] + c->match.ended[KVR_UNREACHABLE];

    if (replay_corrupt(c))
        return CLI_ERROR;
    if (c->match.ops && unanswered == c->match.ops)
        return CLI_UNREACHABLE;
    return c->match.ops && tally_errors(&c->match) == c->match.ops ? CLI_ERROR : CLI_OK;
}

static int open_clients(const struct cli *cli, struct replay_run *run,
                        struct replay_thread *threads)
{
    int code = CLI_OK;

    for (uint64_t i = 0; i < run->settings->threads && code == CLI_OK; i++) {
        threads[i].run = run;
        code = cli_open(cli, NULL, &threads[i].client);
    }
    return code;
}

static int replay(const struct cli *cli, const struct replay_settings *s, const struct trace *trace,
                  const char *name)
{
    struct replay_run run = {.settings = s, .trace = trace};
    struct replay_thread *threads = calloc(s->threads, sizeof(*threads));
    struct replay_counts *sum = calloc(1, sizeof(*sum));
    double seconds = 0;
    char url[512];
    int code;

    cli_server(cli, url, sizeof(url));
    code =
        threads && sum ? open_clients(cli, &run, threads) : cli_fail(cli, KVR_NO_MEMORY, "replay");
    if (code == CLI_OK) {
        cli_catch_interrupt();
        code = play(cli, &run, threads, &seconds);
    }
    if (code == CLI_OK) {
        for (uint64_t i = 0; i < s->threads; i++)
            replay_merge(sum, &threads[i].counts);
        if (cli->json)
            cli_print_json(full_json(s, trace, url, name, sum, seconds));
        else
            replay_print(sum, seconds);
        code = judge(sum);
    }
    for (uint64_t i = 0; threads && i < s->threads; i++)
        kvr_close(threads[i].client);
    free(threads);
    free(sum);
    return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct replay_settings s = {
        .block_bytes = 64u << 10, .depth = 8, .threads = 1, .verify = true, .hints = true};
    struct replay_source source = {0};
    struct trace trace;
    int code = parse(cli, argc, argv, &s, &source);

    if (code >= 0)
        return code;
    code = load_trace(cli, &source, &trace);
    if (code == CLI_OK)
        code = replay(cli, &s, &trace, source.path ? source.path : source.settings);
    trace_destroy(&trace);
    return code;
}

const struct cli_command cmd_replay = {
    .name = "replay",
    .arguments = "TRACE | --generate SETTINGS",
    .summary = "play a trace of LLM requests, verifying every byte",
    .options = options,
    .details =
        "TRACE has one JSON object a line: hash_ids (one id per block of the prompt; equal ids "
        "are\n"
        "equal prefixes) and timestamp (ms), as the Mooncake traces have; '-' is standard input.\n"
        "\n"
        "Each request is one MATCH of all its blocks, then in chain order, --depth blocks at a\n"
        "time: GET of the stored prefix, every byte checked against what its id says; PUT of each\n"
        "block that is not stored, with its parent as a hint; stored blocks beyond the prefix are\n"
        "touched (--beyond). A block that the request's own PUTs evict before its turn is stored\n"
        "again.\n"
        "\n"
        "What is counted: hits are the blocks of stored prefixes that were delivered with the "
        "right\n"
        "bytes; the hit ratio is hits over all blocks of all requests. A stored block behind a "
        "gap\n"
        "is no hit. 'prefix' is the time until a request's whole prefix was there, 'request' "
        "until\n"
        "its last block was dealt with; with --speed both count from when the request was due.\n"
        "With one thread the accesses are those of a simulator that plays the trace in order.\n"
        "Exit status 1 if a single block was corrupt.\n"
        "\n"
        "Examples:\n"
        "  kvrail replay mooncake_conversation.jsonl --block-bytes 64KiB\n"
        "  kvrail replay trace.jsonl --speed 10 --threads 8 --json > result.json\n"
        "  kvrail replay --generate conversations=500,turns=8   (settings: kvrail workload "
        "--help)\n",
    .run = run,
};
