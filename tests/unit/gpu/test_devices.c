/* SPDX-License-Identifier: Apache-2.0 */
/* Several devices: who gets a job, what happens when one fails, and how it comes back. */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "rig.h"

static struct rig rig;

static struct gpu_device *device(unsigned index)
{
    return gpu_fleet_device(rig.fleet, index);
}

TestSuite(devices, .timeout = 60);

Test(devices, a_job_runs_where_it_asks_to)
{
    struct gpu_job jobs[12];

    rig_open(&rig, &(struct rig_options){.nr_devices = 4});
    for (unsigned i = 0; i < 12; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        jobs[i].device = (int16_t)(i % 4);
        cr_assert_eq(rig_run(&rig, &jobs[i]), KVR_OK);
        cr_assert_eq(jobs[i].ran_on, (int)(i % 4));
        cr_assert(paged_same(&rig.paged, i, 0, 4));
    }
    rig_close(&rig);
}

/* Nothing ends while all are pushed: 40 jobs of 32 KiB on links of 30 and 90 KB/s. */
Test(devices, the_least_outstanding_bytes_over_bandwidth_decide)
{
    static struct gpu_job jobs[40];

    rig_open(&rig, &(struct rig_options){.nr_devices = 2, .bytes_s = {100000000, 300000000}});
    for (unsigned i = 0; i < 2; i++)
        gpu_host_stall(device(i), true);
    for (unsigned i = 0; i < 40; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    cr_assert_eq(rig_stats(&rig, 0).outstanding_bytes, 10 * rig.paged.packed_len);
    cr_assert_eq(rig_stats(&rig, 1).outstanding_bytes, 30 * rig.paged.packed_len);
    for (unsigned i = 0; i < 2; i++)
        gpu_host_stall(device(i), false);
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(rig_stats(&rig, 0).jobs, 10);
    cr_assert_eq(rig_stats(&rig, 0).outstanding_bytes, 0);
    rig_close(&rig);
}

Test(devices, bandwidth_is_measured_while_jobs_run)
{
    static struct gpu_job jobs[32];
    struct gpu_device_stats stats;

    rig_open(&rig, &(struct rig_options){.bytes_s = {20000000}, .piece_bytes = 8192});
    for (unsigned i = 0; i < 32; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    for (unsigned i = 0; i < 32; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    stats = rig_stats(&rig, 0);
    cr_assert(stats.bytes_s[0] > 1000000 && stats.bytes_s[0] < 40000000);
    cr_assert_eq(stats.bytes_s[1], 20000000, "no store, no new figure");
    rig_close(&rig);
}

Test(devices, a_region_is_used_only_where_it_is)
{
    struct gpu_job job = {0};
    struct gpu_region *region;

    rig_open(&rig, &(struct rig_options){.nr_devices = 3});
    cr_assert_eq(gpu_region_import(rig.fleet, 2, &rig.paged.handle, &region), 0);
    cr_assert(gpu_region_address(region, 2) != 0 && gpu_region_address(region, 0) == 0);
    cr_assert_eq(gpu_region_size(region), rig.paged.size);
    for (unsigned i = 0; i < 10; i++) {
        job = paged_job(&rig.paged, i);
        job.region = region;
        cr_assert_eq(rig_run(&rig, &job), KVR_OK);
        cr_assert_eq(job.ran_on, 2);
    }
    job.device = 1;
    cr_assert_eq(rig_run(&rig, &job), KVR_BAD_FIELD);
    gpu_region_close(rig.fleet, region);
    rig_close(&rig);
}

Test(devices, handles_that_no_device_takes_make_no_region)
{
    struct gpu_region *region = NULL;
    struct gpu_handle handle;

    rig_open(&rig, &(struct rig_options){.nr_devices = 2});
    handle = rig.paged.handle;
    handle.size++;
    cr_assert_eq(gpu_region_import(rig.fleet, GPU_ANY, &handle, &region), -22);
    cr_assert_eq(gpu_region_import(rig.fleet, 2, &rig.paged.handle, &region), -22);
    handle = rig.paged.handle;
    handle.kind = GPU_HANDLE_CUDA_IPC;
    cr_assert_eq(gpu_region_import(rig.fleet, GPU_ANY, &handle, &region), -95);
    cr_assert_eq(gpu_region_alloc(rig.fleet, GPU_ANY, 4096, &region), -22);
    cr_assert_eq(gpu_region_alloc(rig.fleet, 0, 1ull << 40, &region), -12);
    cr_assert_null(region);
    rig_close(&rig);
}

/* Failure. */

Test(devices, jobs_of_a_device_that_fails_are_done_by_another)
{
    static struct gpu_job jobs[40];
    unsigned nr_moved = 0;

    rig_open(&rig, &(struct rig_options){.nr_devices = 2, .batch_bytes = 1});
    gpu_host_stall(device(0), true);
    gpu_host_stall(device(1), true);
    for (unsigned i = 0; i < 40; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    cr_assert_gt(rig_stats(&rig, 0).outstanding_bytes, 0);
    gpu_host_fail_after(device(0), 3, 0);
    gpu_host_stall(device(0), false);
    gpu_host_stall(device(1), false);
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    for (unsigned i = 0; i < 40; i++) {
        cr_assert(paged_same(&rig.paged, i, 0, 4));
        nr_moved += jobs[i].moved > 0;
    }
    cr_assert_gt(nr_moved, 0);
    cr_assert_eq(rig_stats(&rig, 0).failures, 1);
    cr_assert_eq(rig_stats(&rig, 0).moved_away, nr_moved);
    cr_assert_eq(rig_stats(&rig, 1).failures, 0);
    rig_close(&rig);
}

Test(devices, one_that_comes_back_works_again_with_all_its_regions)
{
    struct gpu_job job;
    struct gpu_region *pool;

    rig_open(&rig, &(struct rig_options){.nr_devices = 2});
    cr_assert_eq(gpu_region_alloc(rig.fleet, 0, 1 << 20, &pool), 0);
    cr_assert_eq(gpu_region_lost(pool), 0);
    for (unsigned round = 1; round <= 2; round++) {
        gpu_host_fail_after(device(0), 0, 0);
        job = paged_job(&rig.paged, round);
        job.device = 0;
        rig_push(&rig, &job);
        /* It was made ready for the device when that was found out: it goes on after the reset. */
        cr_assert_eq(rig_pop(&rig), &job);
        cr_assert(job.status == KVR_OK || job.status == KVR_INTERNAL);
        rig_await_state(&rig, 0, GPU_UP);
        cr_assert_eq(rig_stats(&rig, 0).failures, round);
        cr_assert_eq(rig_stats(&rig, 0).resets, round);
        cr_assert_eq(gpu_region_lost(pool), round);
        cr_assert_neq(gpu_region_address(pool, 0), 0);
        job = paged_job(&rig.paged, 10 + round);
        job.device = 0;
        cr_assert_eq(rig_run(&rig, &job), KVR_OK);
        cr_assert(paged_same(&rig.paged, 10 + round, 0, 4));
        job.region = pool;
        job.form.kind_step = 4096;
        job.form.layer_step = 8192;
        cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    }
    gpu_region_close(rig.fleet, pool);
    rig_close(&rig);
}

Test(devices, what_is_in_flight_is_held_until_a_reset_has_succeeded)
{
    struct gpu_job plugs[2], waiting, *ended;

    rig_open(&rig, &(struct rig_options){.nr_devices = 2, .batch_bytes = 1});
    rig_plug(&rig, plugs);
    waiting = paged_job(&rig.paged, 5);
    waiting.device = 0;
    rig_push(&rig, &waiting);
    rig_await_waiting(&rig, 0, 1);
    gpu_host_fail_after(device(0), 0, 3);
    /* It had not begun and may run nowhere else. */
    cr_assert_eq(rig_pop(&rig), &waiting);
    cr_assert_eq(waiting.status, KVR_INTERNAL);
    cr_assert_eq(waiting.began_ns, 0);
    while (rig_stats(&rig, 0).resets == 0)
        cr_assert_eq(gpu_pop(rig.fleet, 0, &ended, 1), 0, "the device may still write");
    cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(plugs[0].moved, 1);
    cr_assert_eq(rig_stats(&rig, 0).failures, 1);
    rig_close(&rig);
}

Test(devices, without_any_device_a_job_ends_as_internal)
{
    struct gpu_job plugs[2], jobs[5];
    struct gpu_push_stats stats;

    rig_open(&rig, &(struct rig_options){.batch_bytes = 1});
    rig_plug(&rig, plugs);
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    rig_await_waiting(&rig, 0, 4);
    gpu_host_fail_after(device(0), 0, 5);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_INTERNAL);
    cr_assert_neq(rig_stats(&rig, 0).state, GPU_UP);
    jobs[4] = paged_job(&rig.paged, 4);
    cr_assert_eq(rig_run(&rig, &jobs[4]), KVR_INTERNAL);
    cr_assert_eq(jobs[4].ran_on, -1);
    gpu_push_stats(rig.fleet, &stats);
    cr_assert_eq(stats.homeless, 5);
    cr_assert_eq(rig_pop(&rig)->status, KVR_OK, "the plugs, after the reset");
    cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    rig_close(&rig);
}

/* Fails device 0 with the job in flight and waits for the reset. It is popped by nobody yet. */
static void fail_with_job(uint64_t nr_resets)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    rig_await_running(&rig, 0, 1);
    gpu_host_fail_after(device(0), 0, 0);
    while (rig_stats(&rig, 0).resets < nr_resets)
        nanosleep(&pause, NULL);
}

Test(devices, a_job_with_which_two_devices_failed_is_not_tried_again)
{
    struct gpu_job job, *ended;

    rig_open(&rig, &(struct rig_options){.batch_bytes = 1});
    job = paged_job(&rig.paged, 5);
    gpu_host_stall(device(0), true);
    rig_push(&rig, &job);
    fail_with_job(1);
    gpu_host_stall(device(0), true);
    cr_assert_eq(gpu_pop(rig.fleet, 0, &ended, 1), 0, "it goes to a device again");
    cr_assert_eq(job.moved, 1);
    fail_with_job(2);
    cr_assert_eq(rig_pop(&rig), &job);
    cr_assert_eq(job.status, KVR_INTERNAL);
    cr_assert_eq(rig_stats(&rig, 0).failed, 1);
    rig_close(&rig);
}

Test(devices, a_region_that_came_while_a_device_was_down_is_there_when_it_is_up)
{
    struct gpu_region *region;
    struct gpu_job job;

    rig_open(&rig, &(struct rig_options){.nr_devices = 2});
    gpu_host_fail_after(device(1), 0, 2);
    cr_assert_eq(gpu_region_import(rig.fleet, GPU_ANY, &rig.paged.handle, &region), 0);
    cr_assert(gpu_region_address(region, 0) != 0 && gpu_region_address(region, 1) == 0);
    rig_await_state(&rig, 1, GPU_FAILED);
    rig_await_state(&rig, 1, GPU_UP);
    cr_assert_neq(gpu_region_address(region, 1), 0);
    job = paged_job(&rig.paged, 3);
    job.region = region;
    job.device = 1;
    cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    gpu_region_close(rig.fleet, region);
    rig_close(&rig);
}

/* Two of four layers were there, and are not any more. */
Test(devices, a_job_whose_region_lost_its_bytes_is_not_done)
{
    struct gpu_region *pool;
    struct gpu_job job;

    rig_open(&rig, &(struct rig_options){.batch_bytes = 1});
    cr_assert_eq(gpu_region_alloc(rig.fleet, 0, 1 << 20, &pool), 0);
    job = paged_job(&rig.paged, 1);
    job.region = pool;
    job.form.kind_step = 4096;
    job.form.layer_step = 8192;
    gpu_host_fail_after(device(0), 2, 0);
    cr_assert_eq(rig_run(&rig, &job), KVR_INTERNAL);
    cr_assert_eq(gpu_region_lost(pool), 1);
    cr_assert_eq(job.layers_done, 2);
    rig_await_state(&rig, 0, GPU_UP);
    cr_assert_eq(rig_run(&rig, &job), KVR_OK, "one that is pushed now");
    gpu_region_close(rig.fleet, pool);
    rig_close(&rig);
}

/* No descriptor is to be had for its memory when the device comes back. */
Test(devices, a_region_that_does_not_survive_a_reset_takes_no_jobs)
{
    struct rlimit before, none;
    struct gpu_region *pool;
    struct gpu_job job;

    rig_open(&rig, &(struct rig_options){.nr_devices = 1});
    cr_assert_eq(gpu_region_alloc(rig.fleet, 0, 1 << 20, &pool), 0);
    getrlimit(RLIMIT_NOFILE, &before);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    gpu_host_fail_after(device(0), 0, 0);
    job = paged_job(&rig.paged, 1);
    cr_assert_neq(rig_run(&rig, &job), KVR_EXPIRED);
    rig_await_state(&rig, 0, GPU_UP);
    setrlimit(RLIMIT_NOFILE, &before);
    cr_assert_eq(gpu_region_address(pool, 0), 0);
    cr_assert_eq(gpu_region_lost(pool), 1);
    job.form.kind_step = 4096;
    job.form.layer_step = 8192;
    job.region = pool;
    cr_assert_eq(rig_run(&rig, &job), KVR_INTERNAL);
    job.device = 0;
    cr_assert_eq(rig_run(&rig, &job), KVR_BAD_FIELD);
    gpu_region_close(rig.fleet, pool);
    rig_close(&rig);
}

Test(devices, regions_can_be_closed_while_a_device_is_down)
{
    struct gpu_region *region, *pool;

    rig_open(&rig, &(struct rig_options){.nr_devices = 2});
    cr_assert_eq(gpu_region_import(rig.fleet, GPU_ANY, &rig.paged.handle, &region), 0);
    cr_assert_eq(gpu_region_alloc(rig.fleet, 1, 1 << 20, &pool), 0);
    gpu_host_fail_after(device(1), 0, 3);
    gpu_region_close(rig.fleet, region);
    cr_assert_eq(gpu_region_import(rig.fleet, 1, &rig.paged.handle, &region), 0);
    rig_await_state(&rig, 1, GPU_FAILED);
    gpu_region_close(rig.fleet, pool);
    gpu_region_close(rig.fleet, region);
    rig_await_state(&rig, 1, GPU_UP);
    cr_assert_eq(rig_stats(&rig, 1).memory_free, rig_stats(&rig, 0).memory_free);
    rig_close(&rig);
}

/* The rest of a fleet's life. */

static void await_registered(unsigned index, uint64_t bytes)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < 10000 && rig_stats(&rig, index).registered_bytes != bytes; i++)
        nanosleep(&pause, NULL);
    cr_assert_eq(rig_stats(&rig, index).registered_bytes, bytes);
}

Test(devices, the_arena_is_registered_in_the_background_and_again_after_a_reset)
{
    const uint64_t len = (200ull << 20) + 4096;
    uint8_t *address = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct gpu_job job;

    rig_open(&rig, &(struct rig_options){.nr_devices = 2});
    cr_assert_neq(address, MAP_FAILED);
    cr_assert_eq(gpu_register_start(rig.fleet, address, len), 0);
    cr_assert_eq(gpu_register_start(rig.fleet, address, len), -16);
    await_registered(0, len);
    await_registered(1, len);
    cr_assert_eq(gpu_backend_host.host_register(device(0), address, 16), -17, "it is");
    cr_assert_eq(gpu_backend_host.host_register(device(0), address + len - 16, 16), -17);
    gpu_host_fail_after(device(1), 0, 1);
    job = paged_job(&rig.paged, 3);
    job.device = 1;
    cr_assert_neq(rig_run(&rig, &job), KVR_EXPIRED);
    rig_await_state(&rig, 1, GPU_UP);
    await_registered(1, len);
    cr_assert_eq(gpu_backend_host.host_register(device(1), address + len - 16, 16), -17);
    rig_close(&rig);
    munmap(address, len);
}

Test(devices, a_fleet_that_ends_finishes_what_runs_and_cancels_what_waits)
{
    struct gpu_job plugs[2], jobs[10];
    const struct timespec pause = {.tv_nsec = 1000000};

    rig_open(&rig, &(struct rig_options){.batch_bytes = 1, .bytes_s = {100000}});
    for (unsigned i = 0; i < 2; i++) {
        plugs[i] = paged_job(&rig.paged, 20 + i);
        plugs[i].nr_layers = 1;
        rig_push(&rig, &plugs[i]);
    }
    for (unsigned i = 0; i < 10; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        jobs[i].priority = KVR_LOW;
        rig_push(&rig, &jobs[i]);
    }
    while (rig_stats(&rig, 0).jobs_running == 0)
        nanosleep(&pause, NULL);
    gpu_fleet_destroy(rig.fleet);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(plugs[i].status, KVR_OK);
        cr_assert(paged_same(&rig.paged, 20 + i, 0, 1));
    }
    for (unsigned i = 0; i < 10; i++)
        cr_assert(jobs[i].status == KVR_CANCELED && jobs[i].ended_ns);
    paged_close(&rig.paged);
}

Test(devices, a_fleet_can_end_while_a_device_is_down)
{
    struct gpu_job plugs[2], job;

    rig_open(&rig, &(struct rig_options){.batch_bytes = 1});
    rig_plug(&rig, plugs);
    job = paged_job(&rig.paged, 1);
    rig_push(&rig, &job);
    rig_await_waiting(&rig, 0, 1);
    gpu_host_fail_after(device(0), 0, 1000);
    rig_await_state(&rig, 0, GPU_FAILED);
    rig_close(&rig);
    cr_assert_eq(plugs[0].status, KVR_INTERNAL);
    cr_assert_eq(plugs[1].status, KVR_INTERNAL);
    cr_assert_eq(job.status, KVR_CANCELED);
}

Test(devices, no_device_no_fleet_and_it_says_why)
{
    const struct gpu_fleet_options options = {.backend = &gpu_backend_host, .nr_producers = 1};
    struct gpu_fleet_options bad = options;
    struct gpu_fleet *fleet = NULL;
    char why[128] = "";

    gpu_host_set_devices(0);
    cr_assert_eq(gpu_fleet_create(&options, &fleet, why, sizeof(why)), -19);
    cr_assert_str_not_empty(why);
    gpu_host_set_devices(1);
    bad.nr_producers = 0;
    cr_assert_eq(gpu_fleet_create(&bad, &fleet, why, sizeof(why)), -22);
    bad = options;
    bad.jobs_max = 100;
    cr_assert_eq(gpu_fleet_create(&bad, &fleet, why, sizeof(why)), -22);
    cr_assert_null(fleet);
}

static uint64_t cpu_ns(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NS_PER_US;
}

/* Four that spin would take 2 s of every core there is. */
Test(devices, idle_workers_sleep)
{
    const struct timespec pause = {.tv_nsec = 500000000};
    uint64_t before;

    rig_open(&rig, &(struct rig_options){.nr_devices = 4});
    before = cpu_ns();
    nanosleep(&pause, NULL);
    cr_assert_lt(cpu_ns() - before, 250 * NS_PER_MS);
    rig_close(&rig);
}
