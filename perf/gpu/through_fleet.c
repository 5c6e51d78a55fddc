/* SPDX-License-Identifier: Apache-2.0 */
/* The same through fleet and worker: jobs of whole blocks, as many waiting as the worker can batch;
 * and how soon the layers of a prompt are there. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/cacheline.h"
#include "base/clock.h"
#include "bed.h"
#include "gpu/form.h"

#define JOBS 64u              /* in the fleet at once */
#define IN_FLIGHT (64u << 20) /* bytes of the jobs of a half, at most */
#define PROFILE_RUNS 51u
#define PATIENCE_NS (30 * NS_PER_S)

struct through {
    struct bed *bed;
    struct gpu_fleet *fleet;
    struct gpu_region *region;
    struct gpu_device_options devices[GPU_DEVICES_MAX];
    struct gpu_job jobs[JOBS];
    uint64_t bytes[2]; /* that arrived, by direction */
};

/* Registration goes on in the background. */
static int await_registered(struct through *through)
{
    uint64_t end = clock_ns() + PATIENCE_NS;
    struct gpu_device_stats stats = {0};

    while (stats.registered_bytes < through->bed->len) {
        struct timespec pause = {.tv_nsec = 1000000};

        if (clock_ns() > end)
            return -ETIMEDOUT;
        nanosleep(&pause, NULL);
        if (gpu_stats(through->fleet, through->bed->index, &stats))
            return -EINVAL;
    }
    return 0;
}

int through_create(struct bed *bed, struct through **created)
{
    struct through *through = calloc(1, sizeof(*through));
    struct gpu_fleet_options options = {
        .backend = bed->backend, .nr_producers = 1, .batch_bytes = BATCH_BYTES, .spin = bed->spin};
    char why[160];
    int rc;

    if (!through)
        return -ENOMEM;
    through->bed = bed;
    for (unsigned i = 0; i < GPU_DEVICES_MAX; i++)
        through->devices[i].model_memory = bed->len + (16u << 20);
    options.devices = through->devices;
    rc = gpu_fleet_create(&options, &through->fleet, why, sizeof(why));
    if (rc) {
        free(through);
        return rc;
    }
    rc = gpu_region_alloc(through->fleet, (int)bed->index, bed->len, &through->region);
    if (!rc)
        rc = gpu_register_start(through->fleet, bed->arena, bed->len);
    if (!rc)
        rc = await_registered(through);
    *created = through;
    if (rc)
        through_destroy(through);
    return rc;
}

void through_destroy(struct through *through)
{
    if (through->region)
        gpu_region_close(through->fleet, through->region);
    gpu_fleet_destroy(through->fleet);
    free(through);
}

void through_info(struct through *through, struct gpu_device_info *info)
{
    through->bed->backend->info(gpu_fleet_device(through->fleet, through->bed->index), info);
}

static void job_set(struct through *through, struct gpu_job *job, enum gpu_direction direction,
                    const struct kvr_form *form, struct kvr_conversion conversion, unsigned block)
{
    static const struct kvr_conversion as_it_is = {0};
    uint32_t block_bytes = form_packed_len(form, &as_it_is);

    *job = (struct gpu_job){.direction = direction,
                            .priority = KVR_NORMAL,
                            .device = (int16_t)through->bed->index,
                            .region = through->region,
                            .region_off = (uint64_t)block * form->piece_bytes,
                            .near = through->bed->arena + (uint64_t)block * block_bytes,
                            .near_len = form_packed_len(form, &conversion),
                            .form = *form,
                            .conversion = conversion};
}

/* Takes back what ended. -EIO: one was not done. */
static int collect(struct through *through, struct gpu_job **ended, unsigned *nr)
{
    *nr = gpu_pop(through->fleet, 0, ended, JOBS);
    for (unsigned i = 0; i < *nr; i++) {
        if (ended[i]->status != KVR_OK)
            return -EIO;
        through->bytes[ended[i]->direction == GPU_STORE] += ended[i]->bytes;
    }
    return 0;
}

static int drain(struct through *through, unsigned left)
{
    struct gpu_job *ended[JOBS];
    unsigned nr;
    int rc = 0;

    while (left > 0 && !rc) {
        rc = collect(through, ended, &nr);
        left -= nr;
        cpu_relax();
    }
    return rc;
}

/* A run: two halves of the arena, each with jobs of its direction; what ends begins again. */
struct load {
    struct through *through;
    const enum gpu_direction *directions; /* of the halves */
    struct kvr_form form;
    struct kvr_conversion conversion;
    unsigned nr_jobs, nr_blocks; /* blocks of a half */
    unsigned next;
};

static void load_push(struct load *load, struct gpu_job *job)
{
    unsigned half = (unsigned)(job - load->through->jobs) % 2;
    unsigned block = half * load->nr_blocks + load->next++ % load->nr_blocks;

    job_set(load->through, job, load->directions[half], &load->form, load->conversion, block);
    gpu_push(load->through->fleet, 0, job);
}

/* Until both: that long, and that many have ended. Returns how long it took. */
static int load_keep(struct load *load, uint64_t ns, unsigned nr_ended, uint64_t *took)
{
    struct gpu_job *ended[JOBS];
    uint64_t began = clock_ns();
    unsigned nr, total = 0;
    int rc = 0;

    do {
        rc = collect(load->through, ended, &nr);
        for (unsigned i = 0; i < nr && !rc; i++)
            load_push(load, ended[i]);
        total += nr;
        cpu_relax();
        *took = clock_ns() - began;
    } while (!rc && (*took < ns || total < nr_ended));
    return rc;
}

/* Counts what ends while as many as ever are on their way, from some time after the beginning. */
static int measure(struct through *through, const enum gpu_direction *directions, uint32_t piece,
                   struct kvr_conversion conversion, double bytes_s[2])
{
    struct load load = {.through = through,
                        .directions = directions,
                        .form = bed_form(through->bed, piece),
                        .conversion = conversion};
    uint64_t took;
    int rc;

    load.nr_blocks = bed_blocks(through->bed, &load.form) / 2;
    load.nr_jobs = 2 * (IN_FLIGHT / (2 * load.form.nr_layers * piece));
    load.nr_jobs = load.nr_jobs < JOBS ? load.nr_jobs : JOBS;
    for (unsigned i = 0; i < load.nr_jobs; i++)
        load_push(&load, &through->jobs[i]);
    rc = load_keep(&load, through->bed->run_ns / 10, load.nr_jobs, &took);
    through->bytes[0] = through->bytes[1] = 0;
    if (!rc)
        rc = load_keep(&load, through->bed->run_ns, 1, &took);
    for (unsigned i = 0; i < 2; i++)
        bytes_s[i] = (double)through->bytes[i] * (double)NS_PER_S / (double)took;
    return rc ? rc : drain(through, load.nr_jobs);
}

int through_run(struct through *through, enum gpu_direction direction, uint32_t piece,
                struct kvr_conversion conversion, double *bytes_s)
{
    const enum gpu_direction directions[2] = {direction, direction};
    double both[2];
    int rc = measure(through, directions, piece, conversion, both);

    *bytes_s = both[direction == GPU_STORE];
    return rc;
}

int through_both(struct through *through, uint32_t piece, double *load_bytes_s,
                 double *store_bytes_s)
{
    const enum gpu_direction directions[2] = {GPU_LOAD, GPU_STORE};
    const struct kvr_conversion as_it_is = {0};
    double both[2];
    int rc = measure(through, directions, piece, as_it_is, both);

    *load_bytes_s = both[0];
    *store_bytes_s = both[1];
    return rc;
}

static bool has_layers(const struct gpu_job *jobs, unsigned nr, uint32_t layers)
{
    for (unsigned i = 0; i < nr; i++)
        /* Acquire: pairs with the worker's release. */
        if (__atomic_load_n(&jobs[i].layers_done, __ATOMIC_ACQUIRE) < layers)
            return false;
    return true;
}

struct moments {
    uint64_t first_layer, first_block, all_first, all;
};

/* 0 until it happened. */
static void note(uint64_t *moment, bool happened, uint64_t ns)
{
    if (*moment == 0 && happened)
        *moment = ns;
}

static int prompt_load(struct through *through, const struct kvr_form *form, unsigned nr_blocks,
                       struct moments *moments)
{
    const struct kvr_conversion as_it_is = {0};
    struct gpu_job *jobs = through->jobs;
    uint64_t began;

    *moments = (struct moments){0};
    for (unsigned i = 0; i < nr_blocks; i++)
        job_set(through, &jobs[i], GPU_LOAD, form, as_it_is, i);
    began = clock_ns();
    for (unsigned i = 0; i < nr_blocks; i++)
        gpu_push(through->fleet, 0, &jobs[i]);
    while (moments->all == 0) {
        uint64_t ns;

        if (clock_ns() - began > PATIENCE_NS)
            return -ETIMEDOUT;
        ns = clock_ns() - began;
        note(&moments->first_layer, has_layers(jobs, 1, 1), ns);
        note(&moments->first_block, has_layers(jobs, 1, form->nr_layers), ns);
        note(&moments->all_first, has_layers(jobs, nr_blocks, 1), ns);
        note(&moments->all, has_layers(jobs, nr_blocks, form->nr_layers), ns);
    }
    return drain(through, nr_blocks);
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values)
{
    qsort(values, PROFILE_RUNS, sizeof(*values), compare);
    return values[PROFILE_RUNS / 2];
}

int through_profile(struct through *through, unsigned nr_blocks, struct profile *profile)
{
    uint64_t first_layer[PROFILE_RUNS], first_block[PROFILE_RUNS], all_first[PROFILE_RUNS];
    struct kvr_form form = bed_form(through->bed, 32u << 10);
    uint64_t all[PROFILE_RUNS];

    if (nr_blocks > JOBS || nr_blocks > bed_blocks(through->bed, &form))
        return -EINVAL;
    for (unsigned i = 0; i < PROFILE_RUNS; i++) {
        struct moments moments;
        int rc = prompt_load(through, &form, nr_blocks, &moments);

        if (rc)
            return rc;
        first_layer[i] = moments.first_layer;
        first_block[i] = moments.first_block;
        all_first[i] = moments.all_first;
        all[i] = moments.all;
    }
    *profile = (struct profile){.nr_blocks = nr_blocks,
                                .nr_layers = form.nr_layers,
                                .runs = PROFILE_RUNS,
                                .first_layer = median(first_layer),
                                .first_block = median(first_block),
                                .all_first = median(all_first),
                                .all = median(all)};
    return 0;
}
