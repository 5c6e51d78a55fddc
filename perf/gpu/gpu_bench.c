/* SPDX-License-Identifier: Apache-2.0 */
/* Measures one device: pieces of several sizes each way, by the backend alone and through the
 * fleet, against one pinned copy and against a copy call for each piece, all in the same run; both
 * ways at once; conversions; and how soon a prompt's layers arrive. Prints one JSON object. Exit
 * 77: there is no such device, and why. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bed.h"
#include "reference.h"

#define SKIPPED 77
#define PROMPT_BLOCKS 16u

static const uint32_t pieces[] = {2u << 20, 64u << 10, 16u << 10};
#define PIECES (sizeof(pieces) / sizeof(pieces[0]))
#define PIECE_LEAST (16u << 10)

static const struct kvr_conversion conversions[] = {{8, KVR_BF16, 128}, {4, KVR_BF16, 128}};

struct bench {
    struct bed bed;
    double bare[2][PIECES]; /* bytes a second: loads, stores */
    const struct reference_kind *kind;
    struct reference *reference;
    struct through *through;
};

static const char *word_of(enum gpu_direction direction)
{
    return direction == GPU_LOAD ? "load" : "store";
}

/* Bytes a second; pieces of the whole length are the peak. */
static int reference_run(struct bench *bench, enum gpu_direction direction, size_t piece,
                         double *bytes_s)
{
    uint64_t began, took = 0, bytes = 0;
    int rc = bench->kind->copy(bench->reference, direction, piece); /* warms up */

    began = clock_ns();
    while (took < bench->bed.run_ns && !rc) {
        rc = bench->kind->copy(bench->reference, direction, piece);
        bytes += bench->bed.len / piece * piece;
        took = clock_ns() - began;
    }
    *bytes_s = (double)bytes * (double)NS_PER_S / (double)(took ? took : 1);
    return rc;
}

static int print_direction(struct bench *bench, enum gpu_direction direction)
{
    const struct kvr_conversion as_it_is = {0};
    double peak = 0, single = 0, fleet = 0;
    int rc = reference_run(bench, direction, bench->bed.len, &peak);

    if (!rc)
        rc = reference_run(bench, direction, PIECE_LEAST, &single);
    printf("\"%s\": {\"peak_bytes_s\": %.0f, \"single_16k_bytes_s\": %.0f, \"pieces\": [",
           word_of(direction), peak, single);
    for (size_t i = 0; i < PIECES && !rc; i++) {
        rc = through_run(bench->through, direction, pieces[i], as_it_is, &fleet);
        printf("%s{\"piece\": %u, \"bare_bytes_s\": %.0f, \"fleet_bytes_s\": %.0f}", i ? ", " : "",
               pieces[i], bench->bare[direction == GPU_STORE][i], fleet);
    }
    printf("]}, ");
    return rc;
}

static int print_both(struct bench *bench)
{
    double load = 0, store = 0;
    int rc = 0;

    printf("\"both\": [");
    for (size_t i = 0; i < PIECES && !rc; i++) {
        rc = through_both(bench->through, pieces[i], &load, &store);
        printf("%s{\"piece\": %u, \"load_bytes_s\": %.0f, \"store_bytes_s\": %.0f}", i ? ", " : "",
               pieces[i], load, store);
    }
    printf("], ");
    return rc;
}

/* Where the backend cannot, the list stays empty. */
static int print_conversions(struct bench *bench)
{
    double load = 0, store = 0;
    const char *comma = "";
    int rc = 0;

    printf("\"conversions\": [");
    for (size_t i = 0; i < sizeof(conversions) / sizeof(conversions[0]) && !rc; i++) {
        rc = through_run(bench->through, GPU_STORE, 64u << 10, conversions[i], &store);
        if (!rc)
            rc = through_run(bench->through, GPU_LOAD, 64u << 10, conversions[i], &load);
        if (rc)
            break;
        printf("%s{\"bits\": %u, \"piece\": %u, \"load_bytes_s\": %.0f, \"store_bytes_s\": %.0f}",
               comma, conversions[i].bits, 64u << 10, load, store);
        comma = ", ";
    }
    printf("], ");
    return rc;
}

static int print_layers(struct bench *bench)
{
    static const unsigned blocks[] = {1, PROMPT_BLOCKS};
    struct profile profile;
    int rc = 0;

    printf("\"layers\": [");
    for (size_t i = 0; i < 2 && !rc; i++) {
        rc = through_profile(bench->through, blocks[i], &profile);
        if (rc)
            break;
        printf("%s{\"blocks\": %u, \"layers\": %u, \"piece\": %u, \"runs\": %u, "
               "\"first_layer_us\": %.1f, \"first_block_us\": %.1f, "
               "\"first_layer_of_all_us\": %.1f, \"all_us\": %.1f}",
               i ? ", " : "", profile.nr_blocks, profile.nr_layers, 32u << 10, profile.runs,
               (double)profile.first_layer / 1e3, (double)profile.first_block / 1e3,
               (double)profile.all_first / 1e3, (double)profile.all / 1e3);
    }
    printf("]}\n");
    return rc;
}

static void print_device(struct bench *bench)
{
    struct gpu_device_info info;

    through_info(bench->through, &info);
    printf("{\"backend\": \"%s\", \"device\": %u, \"name\": \"%s\", \"where\": \"%s\", "
           "\"numa_node\": %d, \"bytes\": %zu, \"gather_below\": %u, \"reference\": \"%s\", ",
           bench->bed.backend->name, bench->bed.index, info.name, info.where, info.numa_node,
           bench->bed.len, info.gather_below, bench->kind->name);
}

/* Before the fleet comes, which has the device to itself. */
static int measure_bare(struct bench *bench)
{
    int rc = 0;

    for (unsigned i = 0; i < 2 * PIECES && !rc; i++)
        rc = bare_run(&bench->bed, i < PIECES ? GPU_LOAD : GPU_STORE, pieces[i % PIECES],
                      &bench->bare[i / PIECES][i % PIECES]);
    return rc;
}

static int measure(struct bench *bench)
{
    int rc;

    print_device(bench);
    rc = print_direction(bench, GPU_LOAD);
    if (!rc)
        rc = print_direction(bench, GPU_STORE);
    if (!rc)
        rc = print_both(bench);
    if (!rc)
        rc = print_conversions(bench);
    if (!rc)
        rc = print_layers(bench);
    return rc;
}

static int run(struct bench *bench)
{
    int rc = bed_create(&bench->bed);

    if (rc)
        return rc;
    rc = bench->kind->open(bench->bed.index, bench->bed.len, &bench->reference);
    if (rc)
        goto destroy_bed;
    rc = measure_bare(bench);
    if (!rc)
        rc = through_create(&bench->bed, &bench->through);
    if (rc)
        goto close_reference;
    rc = measure(bench);
    through_destroy(bench->through);
close_reference:
    bench->kind->close(bench->reference);
destroy_bed:
    bed_destroy(&bench->bed);
    return rc;
}

static void usage(FILE *to)
{
    fputs("usage: gpu_bench [--backend cuda|host] [--device N] [--mib N] [--seconds S] [--sleep]\n"
          "  --backend NAME  cuda\n"
          "  --device N      0\n"
          "  --mib N         of arena and device memory, at least 64: 256\n"
          "  --seconds S     of each measurement: 0.5\n"
          "  --sleep         workers sleep between looks; else they spin\n",
          to);
}

static int options_read(struct bench *bench, int argc, char **argv)
{
    static const struct option known[] = {{"backend", required_argument, NULL, 'b'},
                                          {"device", required_argument, NULL, 'd'},
                                          {"mib", required_argument, NULL, 'm'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"sleep", no_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int letter;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 'b' && strcmp(optarg, "host") == 0) {
            bench->bed.backend = &gpu_backend_host;
            bench->kind = &reference_memcpy;
        } else if (letter == 'd') {
            bench->bed.index = (unsigned)strtoul(optarg, NULL, 10);
        } else if (letter == 'm') {
            bench->bed.len = (size_t)strtoull(optarg, NULL, 10) << 20;
        } else if (letter == 's') {
            bench->bed.run_ns = (uint64_t)(strtod(optarg, NULL) * (double)NS_PER_S);
        } else if (letter == 'p') {
            bench->bed.spin = false;
        } else if (letter != 'b' || strcmp(optarg, "cuda") != 0) {
            return letter == 'h' ? 1 : -EINVAL;
        }
    }
    return optind < argc || bench->bed.len < 64u << 20 || bench->bed.len > 1u << 30 ||
                   bench->bed.run_ns == 0
               ? -EINVAL
               : 0;
}

int main(int argc, char **argv)
{
    struct bench bench = {
        .bed = {.backend = &gpu_backend_cuda,
                .len = 256u << 20,
                .run_ns = NS_PER_S / 2,
                .spin = true},
        .kind = &reference_cuda,
    };
    unsigned nr_devices = 0;
    char why[160];
    int rc;

    log_setup("gpu_bench", LOG_LEVEL_WARNING);
    rc = options_read(&bench, argc, argv);
    if (rc) {
        usage(rc < 0 ? stderr : stdout);
        return rc < 0 ? 2 : 0;
    }
    if (bench.bed.backend->probe(&nr_devices, why, sizeof(why)) || bench.bed.index >= nr_devices) {
        fprintf(stderr, "gpu_bench: no %s device %u: %s\n", bench.bed.backend->name,
                bench.bed.index, nr_devices ? "there are fewer" : why);
        return SKIPPED;
    }
    rc = run(&bench);
    if (rc)
        fprintf(stderr, "gpu_bench: %s\n", strerror(-rc));
    return rc ? 1 : 0;
}
