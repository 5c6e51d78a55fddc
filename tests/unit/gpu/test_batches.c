/* SPDX-License-Identifier: Apache-2.0 */
/* What is submitted together, and how long a lane waits for more. */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "rig.h"

static struct rig rig;

Test(batches, small_jobs_that_wait_together_go_together, .timeout = 60)
{
    struct gpu_job plugs[2], jobs[32];
    uint64_t before;

    /* A layer is 8 KiB, a job four of them. */
    rig_open(&rig, &(struct rig_options){.batch_bytes = 512 << 10});
    rig_plug(&rig, plugs);
    before = rig_stats(&rig, 0).batches;
    for (unsigned i = 0; i < 32; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    /* 512 KiB may be in flight: 16 KiB of plugs and a first batch or two. */
    rig_unplug(&rig, 0);
    for (unsigned i = 0; i < 34; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(rig_stats(&rig, 0).load_bytes, (32 * 4 + 2) * 8192);
    cr_assert_lt(rig_stats(&rig, 0).batches - before, 34);
    rig_close(&rig);
}

Test(batches, no_more_is_in_flight_than_batch_bytes, .timeout = 60)
{
    struct gpu_job plugs[2], jobs[32];
    uint64_t nr_batches;

    rig_open(&rig, &(struct rig_options){.batch_bytes = 64 << 10});
    rig_plug(&rig, plugs);
    for (unsigned i = 0; i < 32; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    /* Six layers beside the two plugs: one job and half of the next. */
    rig_await_waiting(&rig, 0, 30);
    cr_assert_eq(rig_stats(&rig, 0).jobs_running, 4);
    nr_batches = rig_stats(&rig, 0).batches;
    cr_assert(nr_batches >= 3 && nr_batches <= 8);
    rig_unplug(&rig, 30);
    for (unsigned i = 0; i < 34; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    rig_close(&rig);
}

Test(batches, a_layer_larger_than_batch_bytes_is_moved_too, .timeout = 60)
{
    struct gpu_job jobs[3];

    rig_open(&rig,
             &(struct rig_options){.batch_bytes = 4096, .nr_blocks = 4, .piece_bytes = 1 << 20});
    for (unsigned i = 0; i < 3; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    for (unsigned i = 0; i < 3; i++)
        cr_assert(paged_same(&rig.paged, i, 0, 4));
    rig_close(&rig);
}

Test(batches, an_idle_lane_waits_for_more_but_not_with_critical_jobs, .timeout = 60)
{
    struct gpu_job jobs[3], critical;
    struct gpu_job *ended;

    rig_open(&rig, &(struct rig_options){.batch_wait_us = 4000000});
    for (unsigned i = 0; i < 3; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    for (uint64_t end_ns = clock_ns() + 50 * NS_PER_MS; clock_ns() < end_ns;)
        cr_assert_eq(gpu_pop(rig.fleet, 0, &ended, 1), 0);
    critical = paged_job(&rig.paged, 10);
    critical.priority = KVR_CRITICAL;
    rig_push(&rig, &critical);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(rig_stats(&rig, 0).batches, 1, "all together");
    cr_assert_eq(critical.began_ns, jobs[0].began_ns);
    rig_close(&rig);
}

Test(batches, an_idle_lane_waits_no_longer_than_it_was_told, .timeout = 60)
{
    struct gpu_job jobs[2];

    rig_open(&rig, &(struct rig_options){.batch_wait_us = 30000});
    for (unsigned i = 0; i < 2; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(rig_stats(&rig, 0).batches, 1);
    cr_assert_geq(jobs[0].began_ns - jobs[0].pushed_ns, 29 * NS_PER_MS);
    rig_close(&rig);
}
