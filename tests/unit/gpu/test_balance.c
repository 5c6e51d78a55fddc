/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that wait at one device while another has nothing to do. Two devices of the same modest
 * speed: a queue of forty jobs is more than a second's work. One is stalled, so that what it keeps
 * is kept for certain. */
#include <criterion/criterion.h>

#include "rig.h"

#define BYTES_S 1000000u
#define JOBS 40u
#define RESETS_BAD 5u /* some 300 ms, in which jobs find one device only */

static struct rig rig;
static struct gpu_job jobs[JOBS];

static struct gpu_device *device(unsigned index)
{
    return gpu_fleet_device(rig.fleet, index);
}

/* Device 1 takes nothing, device 0 is down. */
static void open_half_down(struct gpu_job *probe)
{
    rig_open(&rig, &(struct rig_options){
                       .nr_devices = 2, .batch_bytes = 1, .bytes_s = {BYTES_S, BYTES_S}});
    gpu_host_stall(device(1), true);
    gpu_host_fail_after(device(0), 0, RESETS_BAD);
    *probe = paged_job(&rig.paged, JOBS);
    probe->device = 0;
    rig_push(&rig, probe);
    rig_await_state(&rig, 0, GPU_FAILED);
}

static void push_all(struct gpu_region *region)
{
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        jobs[i].device = i % 4 == 3 ? 1 : GPU_ANY;
        jobs[i].region = region;
        rig_push(&rig, &jobs[i]);
    }
}

static void pop_rest(unsigned nr)
{
    struct gpu_job *more;

    gpu_host_stall(device(1), false);
    for (unsigned i = 0; i < nr; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(gpu_pop(rig.fleet, 0, &more, 1), 0);
    for (unsigned i = 0; i < JOBS; i++)
        cr_assert(paged_same(&rig.paged, i, 0, 4));
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(rig_stats(&rig, i).outstanding_bytes, 0);
}

TestSuite(balance, .timeout = 60);

/* 30 of 40 may run on both, and two at most have begun. */
Test(balance, jobs_that_wait_move_to_a_device_that_has_come_back)
{
    const unsigned nr = 26;
    unsigned times_ended[JOBS] = {0};
    struct gpu_job probe;

    open_half_down(&probe);
    push_all(rig.paged.region);
    cr_assert_eq(rig_pop(&rig), &probe, "after the reset");
    for (unsigned i = 0; i < nr; i++) {
        struct gpu_job *job = rig_pop(&rig);

        cr_assert_eq(job->status, KVR_OK);
        cr_assert_eq(job->device, GPU_ANY, "a job stays where it asks to be");
        cr_assert_eq(job->ran_on, 0);
        cr_assert_eq(++times_ended[job - jobs], 1);
    }
    cr_assert_geq(rig_stats(&rig, 1).moved_away, nr);
    cr_assert_eq(rig_stats(&rig, 1).jobs, 0);
    pop_rest(JOBS - nr);
    for (unsigned i = 3; i < JOBS; i += 4)
        cr_assert(jobs[i].moved == 0 && jobs[i].ran_on == 1);
    rig_close(&rig);
}

Test(balance, jobs_stay_where_their_region_is)
{
    struct gpu_region *region;
    struct gpu_job probe, *ended;

    open_half_down(&probe);
    cr_assert_eq(gpu_region_import(rig.fleet, 1, &rig.paged.handle, &region), 0);
    push_all(region);
    cr_assert_eq(rig_pop(&rig), &probe);
    cr_assert_eq(gpu_pop(rig.fleet, 0, &ended, 1), 0);
    pop_rest(JOBS);
    cr_assert_eq(rig_stats(&rig, 1).moved_away, 0);
    gpu_region_close(rig.fleet, region);
    rig_close(&rig);
}
