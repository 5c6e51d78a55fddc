/* SPDX-License-Identifier: Apache-2.0 */
/* A fleet over a backend that is the host's but for what a test replaces. */
#include <criterion/criterion.h>
#include <errno.h>

#include "rig.h"

static struct gpu_backend backend;
static unsigned nr_calls;
static int error;

static int submit_sometimes(struct gpu_device *device, unsigned lane, enum gpu_direction direction,
                            const struct gpu_strip *strips, unsigned nr, uint64_t *ticket)
{
    if (++nr_calls % 3 != 0)
        return -EAGAIN;
    return gpu_backend_host.submit(device, lane, direction, strips, nr, ticket);
}

static int submit_fails_once(struct gpu_device *device, unsigned lane, enum gpu_direction direction,
                             const struct gpu_strip *strips, unsigned nr, uint64_t *ticket)
{
    if (++nr_calls == 3)
        return error;
    return gpu_backend_host.submit(device, lane, direction, strips, nr, ticket);
}

static int open_but_for_one(unsigned index, const struct gpu_device_options *options,
                            struct gpu_device **device)
{
    return index == 1 ? -EBUSY : gpu_backend_host.open(index, options, device);
}

static int open_none(unsigned index, const struct gpu_device_options *options,
                     struct gpu_device **device)
{
    (void)index;
    (void)options;
    (void)device;
    return -EACCES;
}

static void open_faulty(struct rig *rig, unsigned nr_devices)
{
    rig_open(rig, &(struct rig_options){
                      .nr_devices = nr_devices, .batch_bytes = 1, .backend = &backend});
}

static void setup(void)
{
    backend = gpu_backend_host;
    nr_calls = 0;
}

TestSuite(faulty, .init = setup, .timeout = 60);

Test(faulty, a_device_that_has_no_room_is_asked_again)
{
    struct gpu_job jobs[20];
    struct rig rig;

    backend.submit = submit_sometimes;
    open_faulty(&rig, 1);
    for (unsigned i = 0; i < 20; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &jobs[i]);
    }
    for (unsigned i = 0; i < 20; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    for (unsigned i = 0; i < 20; i++)
        cr_assert(paged_same(&rig.paged, i, 0, 4));
    cr_assert_eq(rig_stats(&rig, 0).batches, 80);
    cr_assert_eq(rig_stats(&rig, 0).failures, 0);
    cr_assert_eq(nr_calls, 240);
    rig_close(&rig);
}

Test(faulty, whatever_else_submit_says_is_a_failure)
{
    static const int errors[] = {-EIO, -ENOMEM, -EINVAL};

    for (unsigned i = 0; i < 3; i++) {
        struct gpu_job job;
        struct rig rig;

        setup();
        error = errors[i];
        backend.submit = submit_fails_once;
        open_faulty(&rig, 1);
        job = paged_job(&rig.paged, 7);
        cr_assert_eq(rig_run(&rig, &job), KVR_OK, "after the reset");
        cr_assert(paged_same(&rig.paged, 7, 0, 4));
        cr_assert_eq(job.moved, 1);
        cr_assert_eq(rig_stats(&rig, 0).failures, 1);
        /* The two layers that were done are not done again. */
        cr_assert(nr_calls >= 5 && nr_calls <= 7);
        rig_close(&rig);
    }
}

Test(faulty, a_device_that_does_not_open_is_left_out)
{
    struct gpu_job job;
    struct rig rig;

    backend.open = open_but_for_one;
    open_faulty(&rig, 3);
    cr_assert_eq(gpu_fleet_size(rig.fleet), 3);
    cr_assert_null(gpu_fleet_device(rig.fleet, 1));
    cr_assert_eq(rig_stats(&rig, 1).state, GPU_FAILED);
    for (unsigned i = 0; i < 10; i++) {
        job = paged_job(&rig.paged, i);
        cr_assert_eq(rig_run(&rig, &job), KVR_OK);
        cr_assert_neq(job.ran_on, 1);
    }
    job.device = 1;
    cr_assert_eq(rig_run(&rig, &job), KVR_BAD_FIELD);
    rig_close(&rig);
}

Test(faulty, without_any_that_opens_there_is_no_fleet)
{
    const struct gpu_fleet_options options = {.backend = &backend, .nr_producers = 1};
    struct gpu_fleet *fleet = NULL;
    char why[128] = "";

    gpu_host_set_devices(2);
    backend.open = open_none;
    cr_assert_eq(gpu_fleet_create(&options, &fleet, why, sizeof(why)), -ENODEV);
    cr_assert_str_not_empty(why);
    cr_assert_null(fleet);
}
