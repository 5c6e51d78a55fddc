/* SPDX-License-Identifier: Apache-2.0 */
/* Fleet and workers over the CUDA backend, on the mock of the driver: registration in the
 * background, jobs each way, a device that fails under them and comes back. A plain program. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cacheline.h"
#include "base/clock.h"
#include "fake_cuda.h"
#include "gpu/fleet.h"
#include "gpu/form.h"
#include "plain_check.h"

#define BLOCKS 8u
#define LAYERS 4u
#define PIECE 8192u
#define BLOCK (LAYERS * 2 * PIECE)
#define PATIENCE_NS (30 * NS_PER_S)

static _Alignas(4096) uint8_t arena[BLOCKS * BLOCK], want[BLOCKS * BLOCK];

struct bed {
    struct gpu_fleet *fleet;
    struct gpu_region *region;
    struct gpu_job jobs[BLOCKS];
};

/* As vLLM has it: [layer][kind][block]. */
static const struct kvr_form form = {.nr_layers = LAYERS,
                                     .nr_kinds = 2,
                                     .nr_pieces = 1,
                                     .piece_bytes = PIECE,
                                     .layer_step = 2 * BLOCKS * PIECE,
                                     .kind_step = BLOCKS * PIECE,
                                     .piece_step = PIECE};

static void doze(void)
{
    struct timespec pause = {.tv_nsec = 100000};

    nanosleep(&pause, NULL);
}

/* All blocks; the first status that is not OK, else OK. */
static enum kvr_status run_all(struct bed *bed, enum gpu_direction direction,
                               struct kvr_conversion conversion)
{
    uint64_t end = clock_ns() + PATIENCE_NS;
    enum kvr_status status = KVR_OK;
    struct gpu_job *ended[BLOCKS];
    unsigned left = BLOCKS;

    for (unsigned i = 0; i < BLOCKS; i++) {
        bed->jobs[i] = (struct gpu_job){.direction = direction,
                                        .priority = KVR_NORMAL,
                                        .device = 0,
                                        .region = bed->region,
                                        .region_off = i * PIECE,
                                        .near = arena + i * BLOCK,
                                        .near_len = form_packed_len(&form, &conversion),
                                        .form = form,
                                        .conversion = conversion};
        if (!gpu_push(bed->fleet, 0, &bed->jobs[i]))
            return KVR_BUSY;
    }
    while (left > 0 && clock_ns() < end) {
        unsigned nr = gpu_pop(bed->fleet, 0, ended, BLOCKS);

        for (unsigned i = 0; i < nr; i++)
            status = status == KVR_OK ? ended[i]->status : status;
        left -= nr;
        doze();
    }
    return left ? KVR_BUSY : status;
}

static void fill(unsigned seed)
{
    for (unsigned i = 0; i < sizeof(arena); i++)
        arena[i] = (uint8_t)((i * 2654435761u >> 11) + seed);
}

static bool there_and_back(struct bed *bed, unsigned seed)
{
    static const struct kvr_conversion as_it_is = {0};

    fill(seed);
    memcpy(want, arena, sizeof(want));
    CHECK(run_all(bed, GPU_LOAD, as_it_is) == KVR_OK);
    memset(arena, 0, sizeof(arena));
    CHECK(run_all(bed, GPU_STORE, as_it_is) == KVR_OK);
    CHECK(memcmp(arena, want, sizeof(want)) == 0);
    return true;
}

static bool await_up(struct bed *bed, uint64_t resets)
{
    uint64_t end = clock_ns() + PATIENCE_NS;
    struct gpu_device_stats stats;

    do {
        doze();
        CHECK(gpu_stats(bed->fleet, 0, &stats) == 0 && clock_ns() < end);
    } while (stats.state != GPU_UP || stats.resets < resets ||
             stats.registered_bytes < sizeof(arena));
    return true;
}

static void *of_the_mock(const char *name)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    void *function = library ? dlsym(library, name) : NULL;

    if (!function) {
        printf("the driver here is no mock\n");
        exit(77);
    }
    return function;
}

static void fail_next(void)
{
    void *function = of_the_mock("fake_cuda_fail_after");
    fake_cuda_fail_after_fn *call;

    memcpy(&call, &function, sizeof(call));
    call(0, 1);
}

static void hang(int hold)
{
    void *function = of_the_mock("fake_cuda_hold");
    fake_cuda_hold_fn *call;

    memcpy(&call, &function, sizeof(call));
    call(hold);
}

static bool a_fleet_works_and_comes_back(struct bed *bed)
{
    static const struct kvr_conversion to_int8 = {8, KVR_BF16, 64};
    static const struct kvr_conversion as_it_is = {0};

    CHECK(gpu_region_alloc(bed->fleet, 0, BLOCKS * BLOCK, &bed->region) == 0);
    CHECK(there_and_back(bed, 1)); /* while nothing is registered, or half of it */
    CHECK(gpu_register_start(bed->fleet, arena, sizeof(arena)) == 0);
    CHECK(there_and_back(bed, 2));
    CHECK(await_up(bed, 0));
    CHECK(there_and_back(bed, 3));
    CHECK(run_all(bed, GPU_STORE, to_int8) == KVR_OK);
    CHECK(run_all(bed, GPU_LOAD, to_int8) == KVR_OK);
    fail_next();
    CHECK(run_all(bed, GPU_LOAD, as_it_is) == KVR_INTERNAL); /* the region loses its bytes */
    CHECK(await_up(bed, 1));
    CHECK(gpu_region_lost(bed->region) == 1);
    CHECK(there_and_back(bed, 4));
    return true;
}

/* Nothing says that it failed; it is reset all the same. */
static bool a_device_that_hangs_is_reset(struct bed *bed)
{
    static const struct kvr_conversion as_it_is = {0};
    struct gpu_device_stats stats;

    hang(1);
    CHECK(run_all(bed, GPU_LOAD, as_it_is) == KVR_INTERNAL);
    hang(0);
    CHECK(await_up(bed, 2));
    CHECK(gpu_stats(bed->fleet, 0, &stats) == 0 && stats.hangs == 1 && stats.failures == 2);
    CHECK(there_and_back(bed, 5));
    return true;
}

int main(void)
{
    static const struct gpu_device_options devices[GPU_DEVICES_MAX] = {{.gather_below = 16384}};
    struct gpu_fleet_options options = {.backend = &gpu_backend_cuda,
                                        .nr_producers = 1,
                                        .hang_timeout_ms = 1000,
                                        .devices = devices};
    struct bed bed = {0};
    char why[160];
    bool good;

    if (gpu_fleet_create(&options, &bed.fleet, why, sizeof(why))) {
        printf("FAIL no fleet: %s\n", why);
        return 1;
    }
    good = a_fleet_works_and_comes_back(&bed);
    printf("%s a fleet works and comes back\n", good ? "ok  " : "FAIL");
    good = good && a_device_that_hangs_is_reset(&bed);
    printf("%s a device that hangs is reset\n", good ? "ok  " : "FAIL");
    if (!good)
        return 1; /* jobs may be under way still: leaves all as it is */
    gpu_region_close(bed.fleet, bed.region);
    gpu_fleet_destroy(bed.fleet);
    return 0;
}
