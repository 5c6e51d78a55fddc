/* SPDX-License-Identifier: Apache-2.0 */
/* What is submitted together, and how long a lane waits for more. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "rig.h"

#define SMALL 1024u /* bytes */

static struct rig rig;

/* Two plugs fill the lane, a layer of 128 KiB each; jobs have one layer of 1 KiB. */
#define PLUGGED ((struct rig_options){.batch_bytes = 256 << 10, .piece_bytes = 64 << 10})

static struct gpu_job small_job(unsigned block)
{
    struct gpu_job job = paged_job(&rig.paged, block);

    job.form =
        (struct kvr_form){.nr_layers = 1, .nr_kinds = 1, .nr_pieces = 1, .piece_bytes = SMALL};
    job.near_len = SMALL;
    return job;
}

static bool small_same(const uint8_t *cache, const struct gpu_job *job)
{
    return memcmp(cache + job->region_off, job->near, SMALL) == 0;
}

Test(batches, small_jobs_that_wait_together_go_together, .timeout = 60)
{
    struct gpu_job plugs[2], jobs[32];

    rig_open(&rig, &PLUGGED);
    rig_plug(&rig, plugs);
    for (unsigned i = 0; i < 32; i++) {
        jobs[i] = small_job(i);
        rig_push(&rig, &jobs[i]);
    }
    rig_unplug(&rig, 32);
    for (unsigned i = 0; i < 34; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    for (unsigned i = 0; i < 32; i++)
        cr_assert(small_same(rig.paged.cache, &jobs[i]));
    cr_assert_eq(rig_stats(&rig, 0).batches, 3, "one, and a plug each");
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

/* One submit has one direction. A block is loaded, and what was loaded is moved on, 10 times. */
Test(batches, moves_and_loads_share_a_lane_but_no_batch, .timeout = 60)
{
    struct gpu_job plugs[2], jobs[20];

    rig_open(&rig, &PLUGGED);
    rig_plug(&rig, plugs);
    for (unsigned i = 0; i < 20; i++) {
        jobs[i] = small_job(i);
        if (i % 2) {
            jobs[i].direction = GPU_MOVE;
            jobs[i].from = rig.paged.region;
            jobs[i].from_form = jobs[i].form;
            jobs[i].from_off = jobs[i - 1].region_off;
        }
        rig_push(&rig, &jobs[i]);
    }
    rig_unplug(&rig, 20);
    for (unsigned i = 0; i < 22; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    for (unsigned i = 0; i < 20; i += 2) {
        cr_assert(small_same(rig.paged.cache, &jobs[i]));
        cr_assert_arr_eq(rig.paged.cache + jobs[i + 1].region_off, jobs[i].near, SMALL);
    }
    cr_assert_eq(rig_stats(&rig, 0).batches, 22);
    rig_close(&rig);
}
