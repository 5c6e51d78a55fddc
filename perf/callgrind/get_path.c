/* SPDX-License-Identifier: Apache-2.0 */
/* The path of a GET on the poll core, from the frame that arrives to the frame that leaves, run
 * over and over by the real poll loop. Between two turns the next burst is put on the wire and the
 * replies are checked; under callgrind only what is inside measured_loop and outside
 * between_bursts counts (perf/run P11 says so to it), without it the time stamp counter tells. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "get_frames.h"
#include "tools/units.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#define ticks() __rdtsc()
#else
#include "base/clock.h"
#define ticks() clock_ns()
#endif

/* Callgrind knows these two by their names. */
void measured_loop(struct core *core);
void between_bursts(struct get_frames *frames);

static struct get_frames frames;
static struct transport_ops fed_ops;
static const struct transport_ops *port_ops;
static unsigned burst = 32;
static uint64_t bursts_left, nr_bursts, outside_ticks;
static bool measuring;

static void next_burst(struct get_frames *of)
{
    get_frames_receive(of);
    if (bursts_left == 0) {
        of->poll->core->stop = true;
        return;
    }
    bursts_left--;
    nr_bursts += get_frames_send(of, burst) == burst;
}

__attribute__((noinline)) void between_bursts(struct get_frames *of)
{
    next_burst(of);
}

/* The transport's rx, with a client on the other side of the wire. */
static unsigned fed_rx(struct transport *transport, uint64_t now_ns, struct request **requests,
                       unsigned max)
{
    uint64_t before = ticks();

    if (measuring)
        between_bursts(&frames);
    else
        next_burst(&frames);
    outside_ticks += ticks() - before;
    return port_ops->rx(transport, now_ns, requests, max);
}

__attribute__((noinline)) void measured_loop(struct core *core)
{
    loop_run(core);
    __asm__ volatile("" ::: "memory"); /* no tail call: callgrind shall see it return */
}

static void run(struct core *core, uint64_t bursts, bool measure)
{
    bursts_left = bursts;
    nr_bursts = outside_ticks = 0;
    frames.replies = frames.hits = frames.wrong = 0;
    core->stop = false;
    measuring = measure;
    if (measure)
        measured_loop(core);
    else
        loop_run(core);
}

/* For the HELLO, which lies on the wire already. */
static unsigned last_rx(struct transport *transport, uint64_t now_ns, struct request **requests,
                        unsigned max)
{
    frames.poll->core->stop = true;
    return port_ops->rx(transport, now_ns, requests, max);
}

static void one_turn(struct core *core)
{
    struct transport_ops once = *port_ops;

    once.rx = last_rx;
    core->transport->ops = &once;
    core->stop = false;
    loop_run(core);
    core->transport->ops = &fed_ops;
}

static void report(const struct poll_core *poll, uint64_t asked, uint64_t took)
{
    const struct core_stats *stats = poll->core->stats;
    double gets = (double)asked;

    printf("{\"gets\": %lu, \"burst\": %u, \"ops\": %u, \"keys\": %lu, \"value_bytes\": %u, "
           "\"request_frame_bytes\": %u, \"reply_frame_bytes\": %u, "
           "\"replies_per_request\": %.3f, \"ticks_per_get\": %.1f, \"drops\": %lu}\n",
           (unsigned long)asked, burst, frames.ops, (unsigned long)frames.keys, frames.value_len,
           frames.request_len, frames.reply_len,
           (double)frames.replies / (double)(nr_bursts * burst), (double)took / gets,
           (unsigned long)counter_read(&stats->tx_failed));
}

static void usage(FILE *to)
{
    fputs("usage: get_path [OPTION]...\n"
          "  --gets N        GETs that are measured (default 100k)\n"
          "  --warm N        GETs before that (default 10k)\n"
          "  --burst N       datagrams of a burst, 1 to 32 (default 32)\n"
          "  --ops N         GETs of a datagram, 1 to 64 (default 1)\n"
          "  --keys N        keys stored (default 64k)\n"
          "  --size BYTES    of a value, 8 to 1024 (default 64)\n"
          "  --mtu BYTES     1280 to 9000 (default 1500)\n"
          "  --uniform       keys at random instead of zipf 0.99\n",
          to);
}

struct options {
    uint64_t gets, warm, burst, ops, keys, size, mtu;
};

static bool parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"gets", required_argument, NULL, 'g'},  {"warm", required_argument, NULL, 'w'},
        {"burst", required_argument, NULL, 'b'}, {"ops", required_argument, NULL, 'o'},
        {"keys", required_argument, NULL, 'k'},  {"size", required_argument, NULL, 's'},
        {"mtu", required_argument, NULL, 'm'},   {"uniform", no_argument, NULL, 'u'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    struct {
        char letter;
        uint64_t *to, min, max;
    } numbers[] = {
        {'g', &options->gets, 1, UINT32_MAX},
        {'w', &options->warm, 0, UINT32_MAX},
        {'b', &options->burst, 1, BURST},
        {'o', &options->ops, 1, KVR_OPS_MAX},
        {'k', &options->keys, 1, 100 * 1000 * 1000},
        {'s', &options->size, 8, 1024},
        {'m', &options->mtu, 1280, 9000},
    };
    int index = 0, letter;

    while ((letter = getopt_long(argc, argv, "h", known, &index)) != -1) {
        if (letter == 'h') {
            usage(stdout);
            exit(0);
        }
        if (letter == 'u') {
            frames.uniform = true;
            continue;
        }
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
            if (numbers[i].letter != letter)
                continue;
            if (units_parse_count(optarg, numbers[i].to) || *numbers[i].to < numbers[i].min ||
                *numbers[i].to > numbers[i].max) {
                fprintf(stderr, "get_path: --%s: '%s' is not a number from %lu to %lu\n",
                        known[index].name, optarg, (unsigned long)numbers[i].min,
                        (unsigned long)numbers[i].max);
                return false;
            }
        }
        if (letter == '?')
            return false;
    }
    if (optind < argc)
        fprintf(stderr, "get_path: '%s' is one argument too many\n", argv[optind]);
    return optind == argc;
}

static uint64_t bursts_of(const struct options *options, uint64_t gets)
{
    uint64_t each = options->burst * options->ops;

    return (gets + each - 1) / each;
}

static int measure(struct poll_core *poll, const struct options *options)
{
    uint64_t bursts = bursts_of(options, options->gets), asked, took;

    run(poll->core, bursts_of(options, options->warm), false);
    took = ticks();
    run(poll->core, bursts, true);
    took = ticks() - took - outside_ticks;
    asked = bursts * options->burst * options->ops;
    if (frames.hits != asked || frames.wrong || nr_bursts != bursts) {
        fprintf(stderr, "get_path: asked %lu, %lu right values, %lu other answers\n",
                (unsigned long)asked, (unsigned long)frames.hits, (unsigned long)frames.wrong);
        return 1;
    }
    report(poll, asked, took);
    return 0;
}

int main(int argc, char **argv)
{
    struct options options = {.gets = 100000,
                              .warm = 10000,
                              .burst = 32,
                              .ops = 1,
                              .keys = 64000,
                              .size = 64,
                              .mtu = 1500};
    struct poll_core_spec spec;
    struct poll_core poll;
    struct fault fault;
    int rc;

    if (!parse(argc, argv, &options)) {
        usage(stderr);
        return 2;
    }
    burst = (unsigned)options.burst;
    frames.ops = (unsigned)options.ops;
    frames.keys = options.keys;
    frames.value_len = (uint32_t)options.size;
    spec = (struct poll_core_spec){
        .keys = options.keys, .value_len = (uint32_t)options.size, .mtu = (unsigned)options.mtu};
    rc = poll_core_open(&poll, &spec, &fault);
    if (rc) {
        fprintf(stderr, "get_path: %s\n", fault.text);
        return 1;
    }
    port_ops = poll.transport->ops;
    fed_ops = *port_ops;
    fed_ops.rx = fed_rx;
    rc = get_frames_open(&frames, &poll, one_turn);
    if (rc)
        fprintf(stderr, "get_path: the server cannot be filled: %s\n", strerror(-rc));
    else
        rc = measure(&poll, &options);
    poll_core_close(&poll);
    return rc ? 1 : 0;
}
