/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that stop without an error: found out by time, and by nothing else. A backend whose
 * resets take as long as the test says stands for a driver that waits for such a device. */
#include <criterion/criterion.h>
#include <errno.h>
#include <time.h>

#include "rig.h"

#define TIMEOUT_MS 500 /* so long no thread of a device that lives is kept from its core */
#define JOBS 20u

static struct rig rig;
static struct gpu_backend backend;
static bool held; /* atomic: resets wait */

static int reset_held(struct gpu_device *device)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    while (__atomic_load_n(&held, __ATOMIC_RELAXED))
        nanosleep(&pause, NULL);
    return gpu_backend_host.reset(device);
}

static int reset_never(struct gpu_device *device)
{
    (void)device;
    return -EIO;
}

static void hold_resets(bool hold)
{
    __atomic_store_n(&held, hold, __ATOMIC_RELAXED);
}

static void stall(unsigned index)
{
    gpu_host_stall(gpu_fleet_device(rig.fleet, index), true);
}

static void setup(void)
{
    backend = gpu_backend_host;
}

TestSuite(hangs, .init = setup, .timeout = 60);

Test(hangs, jobs_of_a_device_that_hangs_are_done_by_another_and_each_once)
{
    static struct gpu_job jobs[JOBS];
    unsigned times_ended[JOBS] = {0}, nr_moved = 0;
    uint64_t bytes;
    struct gpu_job *more;

    rig_open(&rig, &(struct rig_options){
                       .nr_devices = 2, .batch_bytes = 1, .hang_timeout_ms = TIMEOUT_MS});
    stall(0);
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    for (unsigned i = 0; i < JOBS; i++) {
        struct gpu_job *job = rig_pop(&rig);

        cr_assert_eq(job->status, KVR_OK);
        times_ended[job - jobs]++;
        nr_moved += job->moved;
    }
    cr_assert_eq(gpu_pop(rig.fleet, 0, &more, 1), 0);
    for (unsigned i = 0; i < JOBS; i++) {
        cr_assert_eq(times_ended[i], 1);
        cr_assert(paged_same(&rig.paged, i, 0, 4));
    }
    cr_assert_gt(nr_moved, 0);
    bytes = rig_stats(&rig, 0).load_bytes + rig_stats(&rig, 1).load_bytes;
    cr_assert_eq(bytes, (uint64_t)JOBS * rig.paged.packed_len, "no layer is counted twice");
    cr_assert_eq(rig_stats(&rig, 0).hangs, 1);
    cr_assert_eq(rig_stats(&rig, 0).failures, 1);
    cr_assert_eq(rig_stats(&rig, 0).moved_away, nr_moved);
    cr_assert_eq(rig_stats(&rig, 1).hangs, 0);
    rig_close(&rig);
}

Test(hangs, one_that_hung_works_again_after_its_reset)
{
    struct gpu_job job;

    rig_open(&rig, &(struct rig_options){.batch_bytes = 1, .hang_timeout_ms = TIMEOUT_MS});
    for (unsigned round = 1; round <= 2; round++) {
        stall(0);
        job = paged_job(&rig.paged, round);
        cr_assert_eq(rig_run(&rig, &job), KVR_OK);
        cr_assert_eq(job.moved, 1);
        cr_assert(paged_same(&rig.paged, round, 0, 4));
        cr_assert_eq(rig_stats(&rig, 0).hangs, round);
        cr_assert_eq(rig_stats(&rig, 0).resets, round);
    }
    rig_close(&rig);
}

/* A layer takes 40 ms, all of them longer than 20 times that; the floor is far below. */
Test(hangs, a_device_that_is_slow_but_moves_on_is_not_failed)
{
    static struct gpu_job jobs[8];

    rig_open(&rig,
             &(struct rig_options){.batch_bytes = 1, .bytes_s = {200000}, .hang_timeout_ms = 1});
    for (unsigned i = 0; i < 8; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_gt(rig_stats(&rig, 0).busy_ns[0], 20ull * 40 * 1000000);
    cr_assert_eq(rig_stats(&rig, 0).failures, 0);
    rig_close(&rig);
}

/* It has nothing to do: that it does nothing means nothing. */
Test(hangs, an_idle_device_is_not_failed)
{
    const struct timespec pause = {.tv_nsec = 300000000};
    struct gpu_job job;

    rig_open(&rig, &(struct rig_options){.bytes_s = {2000000}, .hang_timeout_ms = 100});
    for (unsigned i = 0; i < 2; i++) {
        job = paged_job(&rig.paged, i);
        cr_assert_eq(rig_run(&rig, &job), KVR_OK);
        nanosleep(&pause, NULL);
    }
    cr_assert_eq(rig_stats(&rig, 0).failures, 0);
    rig_close(&rig);
}

Test(hangs, while_a_reset_takes_its_time_nobody_waits_but_what_was_in_flight)
{
    struct gpu_job stuck, job, *ended;
    struct gpu_region *region;

    backend.reset = reset_held;
    rig_open(&rig, &(struct rig_options){.nr_devices = 2,
                                         .batch_bytes = 1,
                                         .backend = &backend,
                                         .hang_timeout_ms = TIMEOUT_MS});
    hold_resets(true);
    stall(0);
    stuck = paged_job(&rig.paged, 1);
    stuck.device = 0;
    rig_push(&rig, &stuck);
    rig_await_state(&rig, 0, GPU_RESETTING);
    cr_assert_eq(gpu_region_import(rig.fleet, GPU_ANY, &rig.paged.handle, &region), 0);
    cr_assert(gpu_region_address(region, 0) == 0 && gpu_region_address(region, 1) != 0);
    job = paged_job(&rig.paged, 2);
    job.region = region;
    cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    gpu_region_close(rig.fleet, region);
    cr_assert_eq(gpu_region_import(rig.fleet, 0, &rig.paged.handle, &region), 0);
    cr_assert_eq(rig_stats(&rig, 0).state, GPU_RESETTING);
    cr_assert_eq(gpu_pop(rig.fleet, 0, &ended, 1), 0, "the device may still write");
    hold_resets(false);
    cr_assert_eq(rig_pop(&rig), &stuck);
    cr_assert_eq(stuck.status, KVR_OK);
    cr_assert_eq(stuck.moved, 1);
    cr_assert_neq(gpu_region_address(region, 0), 0, "it came while the device was down");
    gpu_region_close(rig.fleet, region);
    rig_close(&rig);
}

Test(hangs, a_fleet_can_end_while_a_device_hangs)
{
    struct gpu_job plugs[2];

    backend.reset = reset_never;
    rig_open(&rig, &(struct rig_options){
                       .batch_bytes = 1, .backend = &backend, .hang_timeout_ms = TIMEOUT_MS});
    rig_plug(&rig, plugs);
    rig_close(&rig);
    cr_assert_eq(plugs[0].status, KVR_INTERNAL);
    cr_assert_eq(plugs[1].status, KVR_INTERNAL);
}
