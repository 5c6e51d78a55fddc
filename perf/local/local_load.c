/* SPDX-License-Identifier: Apache-2.0 */
/* Measures what a client on the server's host pays (README.md): opens the handle, stores the keys,
 * runs one mode, prints one JSON object. */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "local_load.h"
#include "perf/micro/ticks.h"

#define FILL_BATCH 32u

struct arguments {
    const char *server, *mode;
    int cpu; /* -1: any */
    bool fill;
};

static const struct option long_options[] = {
    {"server", required_argument, NULL, 's'},
    {"mode", required_argument, NULL, 'm'},
    {"keys", required_argument, NULL, 'k'},
    {"key-size", required_argument, NULL, 'K'},
    {"size", required_argument, NULL, 'v'},
    {"zipf", required_argument, NULL, 'z'},
    {"seconds", required_argument, NULL, 't'},
    {"chain", required_argument, NULL, 'c'},
    {"batch", required_argument, NULL, 'b'},
    {"cpu", required_argument, NULL, 'C'},
    {"no-fill", no_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int usage(FILE *to, int code)
{
    fputs(
        "usage: local_load --server shm://PATH --mode fill|hit|hits|match|copy|count\n"
        "           [--keys N] [--key-size BYTES] [--size BYTES] [--zipf EXPONENT] [--seconds S]\n"
        "           [--chain KEYS] [--batch KEYS] [--cpu N] [--no-fill]\n"
        "           N and BYTES may end in K, M or G\n",
        to);
    return code;
}

/* 1K is 1,000 keys or 1,024 bytes. */
static uint64_t number(const char *text, uint64_t thousand)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    for (const char *units = "KMG"; *end && *units; units++) {
        value *= thousand;
        if (*units == *end)
            break;
    }
    return value;
}

static bool read_arguments(int argc, char **argv, struct arguments *arguments, struct work *work)
{
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        switch (option) {
        case 's':
            arguments->server = optarg;
            break;
        case 'm':
            arguments->mode = optarg;
            break;
        case 'k':
            work->nr_keys = number(optarg, 1000);
            break;
        case 'K':
            work->key_size = (uint32_t)number(optarg, 1024);
            break;
        case 'v':
            work->size = (uint32_t)number(optarg, 1024);
            break;
        case 'z':
            work->zipf = atof(optarg);
            break;
        case 't':
            work->seconds = atof(optarg);
            break;
        case 'c':
            work->chain = (uint32_t)number(optarg, 1000);
            break;
        case 'b':
            work->batch = (uint32_t)number(optarg, 1000);
            break;
        case 'C':
            arguments->cpu = atoi(optarg);
            break;
        case 'n':
            arguments->fill = false;
            break;
        default:
            return false;
        }
    return arguments->server && arguments->mode && work->nr_keys && work->size &&
           work->size <= KVR_VALUE_MAX && work->key_size >= 8 && work->key_size <= KEY_SIZE_MAX &&
           work->chain && work->batch && work->batch <= BATCH_MAX && optind == argc;
}

uint64_t work_draw(struct work *work)
{
    uint64_t rank;

    if (work->zipf <= 0)
        return rng_below(&work->rng, work->nr_keys);
    rank = zipf_next(&work->ranks, &work->rng);
    /* Popular keys are not neighbours. */
    return rank * 0x9e3779b97f4a7c15ull % work->nr_keys;
}

/* Stores every key, some at once. */
static bool fill(struct work *work)
{
    static struct kvr_call calls[FILL_BATCH];
    static uint8_t keys[FILL_BATCH][KEY_SIZE_MAX];
    uint8_t *values = malloc((size_t)FILL_BATCH * work->size);
    bool good = values != NULL;

    if (good)
        memset(values, 0x5a, (size_t)FILL_BATCH * work->size);
    for (uint64_t at = 0; good && at < work->nr_keys; at += FILL_BATCH) {
        uint64_t left = work->nr_keys - at, n = left < FILL_BATCH ? left : FILL_BATCH;
        enum kvr_status status;

        for (uint64_t i = 0; i < n; i++) {
            uint8_t *value = values + i * work->size;
            uint64_t key = at + i;

            memcpy(value, &key, work->size < sizeof(key) ? work->size : sizeof(key));
            calls[i] = (struct kvr_call){.op = KVR_CALL_PUT,
                                         .key = {work_key(work, key, keys[i]), work->key_size},
                                         .value = value,
                                         .value_len = work->size,
                                         .timeout_ms = 10000};
        }
        status = kvr_do_batch(work->client, calls, n);
        good = status == KVR_OK;
        if (!good)
            fprintf(stderr, "local_load: fill: %s\n", kvr_status_name(status));
    }
    free(values);
    return good;
}

static double ticks_calibrate(void)
{
    uint64_t ticks = ticks_now(), ns = clock_ns();

    while (clock_ns() - ns < 50 * NS_PER_MS)
        continue;
    return (double)(clock_ns() - ns) / (double)(ticks_now() - ticks);
}

static const struct mode {
    const char *name;
    bool (*run)(struct work *work, json_t *report); /* NULL: storing is all */
} modes[] = {{"fill", NULL},        {"hit", mode_hit},   {"hits", mode_hits},
             {"match", mode_match}, {"copy", mode_copy}, {"count", mode_count}};

static const struct mode *mode_find(const char *name)
{
    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    return NULL;
}

static bool measure(struct work *work, const struct arguments *arguments, const struct mode *mode)
{
    json_t *report =
        json_pack("{s:s, s:I, s:I, s:i}", "mode", mode->name, "keys", (json_int_t)work->nr_keys,
                  "size", (json_int_t)work->size, "key_size", (int)work->key_size);
    bool good = !arguments->fill || fill(work);

    if (good && mode->run)
        good = mode->run(work, report);
    if (good) {
        json_dumpf(report, stdout, JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(report);
    return good;
}

int main(int argc, char **argv)
{
    static struct work work = {
        .nr_keys = 1000000, .key_size = 16, .size = 64, .chain = 4096, .batch = 32, .seconds = 2};
    struct arguments arguments = {.cpu = -1, .fill = true};
    const struct mode *mode;
    enum kvr_status status;
    bool good;

    if (!read_arguments(argc, argv, &arguments, &work) || !(mode = mode_find(arguments.mode)))
        return usage(stderr, 2);
    if (arguments.cpu >= 0) {
        cpu_set_t one;

        CPU_ZERO(&one);
        CPU_SET((unsigned)arguments.cpu, &one);
        if (sched_setaffinity(0, sizeof(one), &one) != 0)
            perror("local_load: --cpu");
    }
    rng_seed(&work.rng, 1);
    if (work.zipf > 0)
        zipf_setup(&work.ranks, work.nr_keys, work.zipf);
    status = kvr_open(arguments.server, NULL, &work.client);
    if (status != KVR_OK) {
        fprintf(stderr, "local_load: %s: %s\n", arguments.server, kvr_status_text(status));
        return 1;
    }
    work.ns_per_tick = ticks_calibrate();
    good = measure(&work, &arguments, mode);
    kvr_close(work.client);
    return good ? 0 : 1;
}
