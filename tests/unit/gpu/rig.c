/* SPDX-License-Identifier: Apache-2.0 */
/* The rig of the fleet's tests. Everything that waits gives up after RIG_PATIENCE_NS. */
#include "rig.h"

#include <criterion/criterion.h>
#include <time.h>

#include "base/clock.h"

static void pause_a_little(uint64_t start_ns)
{
    struct timespec ts = {.tv_nsec = 100000};

    cr_assert_lt(clock_ns() - start_ns, RIG_PATIENCE_NS, "it does not come");
    nanosleep(&ts, NULL);
}

void rig_open(struct rig *rig, const struct rig_options *options)
{
    struct gpu_fleet_options fleet = {.backend =
                                          options->backend ? options->backend : &gpu_backend_host,
                                      .nr_producers = 1,
                                      .jobs_max = RIG_JOBS_MAX,
                                      .batch_bytes = options->batch_bytes,
                                      .batch_wait_us = options->batch_wait_us,
                                      .hang_timeout_ms = options->hang_timeout_ms,
                                      .devices = rig->devices};
    char why[128];

    if (fleet.hang_timeout_ms == 0)
        fleet.hang_timeout_ms = RIG_PATIENCE_NS / NS_PER_MS;
    *rig = (struct rig){0};
    for (unsigned i = 0; i < 4; i++)
        rig->devices[i].model_bytes_s = options->bytes_s[i];
    paged_open(&rig->paged, options->nr_blocks ? options->nr_blocks : 64,
               options->nr_layers ? options->nr_layers : 4, 2,
               options->piece_bytes ? options->piece_bytes : 4096);
    paged_fill(&rig->paged, 1);
    gpu_host_set_devices(options->nr_devices ? options->nr_devices : 1);
    cr_assert_eq(gpu_fleet_create(&fleet, &rig->fleet, why, sizeof(why)), 0, "%s", why);
    cr_assert_eq(gpu_region_import(rig->fleet, GPU_ANY, &rig->paged.handle, &rig->paged.region), 0);
}

void rig_close(struct rig *rig)
{
    /* Jobs may still be there; the fleet closes the region. */
    gpu_fleet_destroy(rig->fleet);
    paged_close(&rig->paged);
}

void rig_push(struct rig *rig, struct gpu_job *job)
{
    cr_assert(gpu_push(rig->fleet, 0, job));
}

struct gpu_job *rig_pop(struct rig *rig)
{
    uint64_t start_ns = clock_ns();
    struct gpu_job *job;

    while (gpu_pop(rig->fleet, 0, &job, 1) == 0)
        pause_a_little(start_ns);
    return job;
}

enum kvr_status rig_run(struct rig *rig, struct gpu_job *job)
{
    rig_push(rig, job);
    cr_assert_eq(rig_pop(rig), job);
    return job->status;
}

void rig_plug(struct rig *rig, struct gpu_job plugs[2])
{
    gpu_host_stall(gpu_fleet_device(rig->fleet, 0), true);
    for (unsigned i = 0; i < 2; i++) {
        plugs[i] = paged_job(&rig->paged, rig->paged.nr_blocks - 1 - i);
        plugs[i].priority = KVR_CRITICAL;
        plugs[i].device = 0;
        plugs[i].nr_layers = 1;
        rig_push(rig, &plugs[i]);
    }
    rig_await_running(rig, 0, 2);
}

void rig_unplug(struct rig *rig, unsigned nr_waiting)
{
    rig_await_waiting(rig, 0, nr_waiting);
    gpu_host_stall(gpu_fleet_device(rig->fleet, 0), false);
}

struct gpu_device_stats rig_stats(struct rig *rig, unsigned device)
{
    struct gpu_device_stats stats;

    cr_assert_eq(gpu_stats(rig->fleet, device, &stats), 0);
    return stats;
}

void rig_await_state(struct rig *rig, unsigned device, enum gpu_state state)
{
    uint64_t start_ns = clock_ns();

    while (rig_stats(rig, device).state != state)
        pause_a_little(start_ns);
}

void rig_await_running(struct rig *rig, unsigned device, uint64_t nr)
{
    uint64_t start_ns = clock_ns();

    while (rig_stats(rig, device).jobs_running != nr)
        pause_a_little(start_ns);
}

void rig_await_waiting(struct rig *rig, unsigned device, uint64_t nr)
{
    uint64_t start_ns = clock_ns();

    while (rig_stats(rig, device).jobs_waiting != nr)
        pause_a_little(start_ns);
}
