/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of a fleet of one device: what they do, in which order, and what is refused. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gpu/form.h"
#include "gpu/quant.h"
#include "rig.h"

static struct rig rig;

static void open_rig(void)
{
    rig_open(&rig, &(struct rig_options){.batch_bytes = 1});
}

static void close_rig(void)
{
    rig_close(&rig);
}

TestSuite(jobs, .init = open_rig, .fini = close_rig, .timeout = 60);

Test(jobs, a_load_puts_every_piece_in_its_place_and_no_other_byte)
{
    struct gpu_job job = paged_job(&rig.paged, 5);
    uint8_t *before = malloc(rig.paged.size);
    unsigned nr_others = 0;

    memcpy(before, rig.paged.cache, rig.paged.size);
    cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    cr_assert(paged_same(&rig.paged, 5, 0, 4));
    for (uint64_t i = 0; i < rig.paged.size; i++)
        nr_others += before[i] != rig.paged.cache[i] && i / 4096 % 64 != 5;
    cr_assert_eq(nr_others, 0);
    cr_assert_eq(job.layers_done, 4);
    cr_assert_eq(job.bytes, rig.paged.packed_len);
    cr_assert_eq(job.ran_on, 0);
    cr_assert(job.pushed_ns <= job.began_ns && job.began_ns <= job.ended_ns);
    free(before);
}

Test(jobs, a_store_brings_the_block_to_the_arena)
{
    struct gpu_job job = paged_job(&rig.paged, 9);
    uint64_t before = 0, after = 0;

    job.direction = GPU_STORE;
    memcpy(&before, paged_near(&rig.paged, 10), sizeof(before));
    cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    cr_assert(paged_same(&rig.paged, 9, 0, 4));
    memcpy(&after, paged_near(&rig.paged, 10), sizeof(after));
    cr_assert_eq(before, after);
}

Test(jobs, some_layers_are_moved_if_some_are_asked_for)
{
    struct gpu_job job = paged_job(&rig.paged, 3);

    job.first_layer = 1;
    job.nr_layers = 2;
    cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    cr_assert(!paged_same(&rig.paged, 3, 0, 1) && paged_same(&rig.paged, 3, 1, 2) &&
              !paged_same(&rig.paged, 3, 3, 1));
    cr_assert_eq(job.layers_done, 2);
    cr_assert_eq(job.bytes, rig.paged.packed_len / 2);
}

Test(jobs, converted_blocks_are_those_of_quant_h)
{
    struct gpu_job job = paged_job(&rig.paged, 7);
    const uint8_t *cache = rig.paged.cache + paged_off(&rig.paged, 7);
    uint8_t want[4096], back[4096];

    job.direction = GPU_STORE;
    job.conversion = (struct kvr_conversion){8, KVR_BF16, 128};
    job.near_len = form_packed_len(&job.form, &job.conversion);
    cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    for (unsigned piece = 0; piece < 8; piece++) {
        uint64_t at = piece / 2 * job.form.layer_step + piece % 2 * job.form.kind_step;

        quant_pack(&job.conversion, cache + at, 2048, want);
        cr_assert_arr_eq(job.near + piece * (job.near_len / 8), want, job.near_len / 8);
    }
    job.direction = GPU_LOAD;
    cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    quant_unpack(&job.conversion, job.near, 2048, back);
    cr_assert_arr_eq(cache, back, 4096);
}

Test(jobs, a_move_goes_from_one_region_and_form_to_another)
{
    struct gpu_job store = paged_job(&rig.paged, 8), job = paged_job(&rig.paged, 30);
    struct gpu_region *pool;

    cr_assert_eq(gpu_region_alloc(rig.fleet, 0, 1 << 20, &pool), 0);
    job.direction = GPU_MOVE;
    job.region = pool;
    job.region_off = 4096;
    job.form.kind_step = 4096;
    job.form.layer_step = 8192;
    job.from = rig.paged.region;
    job.from_off = paged_off(&rig.paged, 8);
    job.from_form = rig.paged.form;
    cr_assert_eq(rig_run(&rig, &job), KVR_OK);
    store.direction = GPU_STORE;
    store.region = pool;
    store.region_off = 4096;
    store.form = job.form;
    cr_assert_eq(rig_run(&rig, &store), KVR_OK);
    cr_assert(paged_same(&rig.paged, 8, 0, 4));
    cr_assert_eq(rig_stats(&rig, 0).move_bytes, rig.paged.packed_len);
    gpu_region_close(rig.fleet, pool);
}

Test(jobs, figures_add_up)
{
    struct gpu_job load = paged_job(&rig.paged, 1), store = paged_job(&rig.paged, 2);
    struct gpu_device_stats stats;

    store.direction = GPU_STORE;
    cr_assert_eq(rig_run(&rig, &load), KVR_OK);
    cr_assert_eq(rig_run(&rig, &store), KVR_OK);
    stats = rig_stats(&rig, 0);
    cr_assert_eq(stats.jobs, 2);
    cr_assert_eq(stats.jobs_waiting + stats.jobs_running + stats.outstanding_bytes, 0);
    cr_assert_eq(stats.load_bytes, rig.paged.packed_len);
    cr_assert_eq(stats.store_bytes, rig.paged.packed_len);
    cr_assert_eq(stats.pieces, 16);
    cr_assert_eq(stats.batches, 8, "a layer each");
    cr_assert(stats.busy_ns[0] > 0 && stats.busy_ns[1] > 0 && stats.heartbeat_ns > 0);
    cr_assert_eq(stats.state, GPU_UP);
    cr_assert_str_eq(stats.info.where, "host:0");
    cr_assert_neq(gpu_stats(rig.fleet, 1, &stats), 0);
}

/* Order. */

Test(jobs, within_a_class_the_earliest_deadline_is_first)
{
    struct gpu_job plugs[2], jobs[20];
    uint64_t later_ns = clock_ns() + 100 * NS_PER_S;
    const struct gpu_job *popped[22];

    rig_plug(&rig, plugs);
    for (unsigned i = 0; i < 20; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        jobs[i].deadline_ns = i == 0 ? 0 : later_ns + i * 7 % 20 * NS_PER_S;
        rig_push(&rig, &jobs[i]);
    }
    rig_unplug(&rig, 20);
    for (unsigned i = 0; i < 22; i++)
        popped[i] = rig_pop(&rig);
    for (unsigned i = 3; i < 21; i++)
        cr_assert_lt(popped[i - 1]->deadline_ns, popped[i]->deadline_ns);
    cr_assert_eq(popped[21], &jobs[0], "without a deadline comes last");
    for (unsigned i = 0; i < 20; i++)
        cr_assert(paged_same(&rig.paged, i, 0, 4));
}

Test(jobs, the_more_urgent_class_is_first_whatever_the_deadlines)
{
    struct gpu_job plugs[2], jobs[20];
    uint64_t later_ns = clock_ns() + 100 * NS_PER_S;
    unsigned last = 0;

    rig_plug(&rig, plugs);
    for (unsigned i = 0; i < 20; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        jobs[i].priority = (uint8_t)(i * 3 % 5);
        jobs[i].deadline_ns = later_ns + (5u - jobs[i].priority) * NS_PER_S;
        rig_push(&rig, &jobs[i]);
    }
    rig_unplug(&rig, 20);
    for (unsigned i = 0; i < 22; i++) {
        const struct gpu_job *job = rig_pop(&rig);

        cr_assert_geq(job->priority, last);
        last = job->priority;
    }
}

Test(jobs, an_urgent_job_passes_between_the_layers_of_another)
{
    struct gpu_job slow = paged_job(&rig.paged, 0), urgent = paged_job(&rig.paged, 1);

    slow.priority = KVR_BACKGROUND;
    slow.device = 0;
    gpu_host_stall(gpu_fleet_device(rig.fleet, 0), true);
    rig_push(&rig, &slow);
    rig_await_running(&rig, 0, 1);
    urgent.priority = KVR_HIGH;
    rig_push(&rig, &urgent);
    rig_unplug(&rig, 1); /* with two layers of the other in flight */
    cr_assert_eq(rig_pop(&rig), &urgent);
    cr_assert_eq(rig_pop(&rig), &slow);
    cr_assert(paged_same(&rig.paged, 0, 0, 4) && paged_same(&rig.paged, 1, 0, 4));
}

Test(jobs, loads_and_stores_do_not_wait_for_each_other)
{
    struct gpu_job loads[3], store = paged_job(&rig.paged, 40);

    gpu_host_stall(gpu_fleet_device(rig.fleet, 0), true);
    for (unsigned i = 0; i < 3; i++) {
        loads[i] = paged_job(&rig.paged, i);
        rig_push(&rig, &loads[i]);
    }
    store.direction = GPU_STORE;
    store.priority = KVR_BACKGROUND;
    rig_push(&rig, &store);
    /* The first load is in flight with two layers, and so is the store. */
    rig_await_running(&rig, 0, 2);
    rig_await_waiting(&rig, 0, 2);
    while (rig_stats(&rig, 0).batches < 4)
        ;
    gpu_host_stall(gpu_fleet_device(rig.fleet, 0), false);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
}

/* A slow lane; what the job says is done must be there at that moment. */
Test(jobs, layers_are_reported_in_order_while_the_job_runs)
{
    struct rig slow;
    struct gpu_job job;
    struct gpu_job *ended;
    uint32_t seen = 0, steps = 0;

    rig_open(&slow, &(struct rig_options){.batch_bytes = 1, .nr_layers = 10, .bytes_s = {1000000}});
    job = paged_job(&slow.paged, 2);
    rig_push(&slow, &job);
    while (gpu_pop(slow.fleet, 0, &ended, 1) == 0) {
        uint32_t done = __atomic_load_n(&job.layers_done, __ATOMIC_ACQUIRE);

        cr_assert_geq(done, seen);
        cr_assert(paged_same(&slow.paged, 2, 0, done));
        steps += done > seen;
        seen = done;
    }
    cr_assert_eq(job.status, KVR_OK);
    cr_assert_eq(job.layers_done, 10);
    cr_assert_gt(steps, 2);
    rig_close(&slow);
}

/* Refused. */

Test(jobs, a_producer_has_at_most_jobs_max_in_the_fleet)
{
    static struct gpu_job jobs[RIG_JOBS_MAX + 1];

    for (unsigned i = 0; i <= RIG_JOBS_MAX; i++)
        jobs[i] = paged_job(&rig.paged, i % 64);
    for (unsigned i = 0; i < RIG_JOBS_MAX; i++)
        rig_push(&rig, &jobs[i]);
    cr_assert(!gpu_push(rig.fleet, 0, &jobs[RIG_JOBS_MAX]));
    (void)rig_pop(&rig);
    cr_assert(gpu_push(rig.fleet, 0, &jobs[RIG_JOBS_MAX]));
    for (unsigned i = 0; i < RIG_JOBS_MAX; i++)
        (void)rig_pop(&rig);
}

/* Status, and not a byte moved. */
static void refused(struct gpu_job *job, enum kvr_status status)
{
    uint8_t *cache = malloc(rig.paged.size), *arena = malloc(rig.paged.size);

    memcpy(cache, rig.paged.cache, rig.paged.size);
    memcpy(arena, rig.paged.arena, rig.paged.size);
    cr_assert_eq(rig_run(&rig, job), status);
    cr_assert_eq(job->began_ns, 0);
    cr_assert_eq(job->layers_done, 0);
    cr_assert_eq(job->ran_on, -1);
    cr_assert(job->ended_ns >= job->pushed_ns);
    cr_assert_arr_eq(cache, rig.paged.cache, rig.paged.size);
    cr_assert_arr_eq(arena, rig.paged.arena, rig.paged.size);
    free(cache);
    free(arena);
}

#define REFUSED(status, statement)                                                                 \
    do {                                                                                           \
        struct gpu_job job = paged_job(&rig.paged, 1);                                             \
        statement;                                                                                 \
        refused(&job, (status));                                                                   \
    } while (0)

Test(jobs, fields_outside_their_range_are_refused)
{
    struct gpu_push_stats stats;

    REFUSED(KVR_BAD_FIELD, job.direction = (enum gpu_direction)3);
    REFUSED(KVR_BAD_FIELD, job.priority = GPU_PRIORITIES);
    REFUSED(KVR_BAD_FIELD, job.device = 1);
    REFUSED(KVR_BAD_FIELD, job.device = -2);
    REFUSED(KVR_BAD_FIELD, job.region = NULL);
    REFUSED(KVR_BAD_FIELD, job.near = NULL);
    REFUSED(KVR_BAD_FIELD, job.region_off += 8);
    REFUSED(KVR_BAD_FIELD, job.form.nr_kinds = 3);
    REFUSED(KVR_BAD_FIELD, job.form.layer_step = 16);
    REFUSED(KVR_BAD_FIELD, (job.first_layer = 4, job.nr_layers = 1));
    REFUSED(KVR_BAD_FIELD, (job.first_layer = 65535, job.nr_layers = 65535));
    REFUSED(KVR_BAD_FIELD, job.first_layer = 1);
    REFUSED(KVR_BAD_FIELD, job.conversion = ((struct kvr_conversion){8, KVR_BF16, 48}));
    gpu_push_stats(rig.fleet, &stats);
    cr_assert_eq(stats.refused, 13);
    cr_assert_eq(rig_stats(&rig, 0).jobs, 0);
}

Test(jobs, moves_between_unlike_forms_or_with_a_conversion_are_refused)
{
#define MOVE                                                                                       \
    (job.direction = GPU_MOVE, job.from = job.region, job.from_form = job.form, job.from_off = 0)
    REFUSED(KVR_BAD_FIELD, (MOVE, job.from = NULL));
    REFUSED(KVR_BAD_FIELD, (MOVE, job.from_off = 8));
    REFUSED(KVR_BAD_FIELD, (MOVE, job.from_form.nr_layers = 3));
    REFUSED(KVR_BAD_FIELD, (MOVE, job.from_form.layer_step = 0));
    REFUSED(KVR_BAD_FIELD, (MOVE, job.conversion = ((struct kvr_conversion){8, KVR_BF16, 32})));
    REFUSED(KVR_BAD_RANGE, (MOVE, job.from_off = 64 * 4096));
    REFUSED(KVR_BAD_RANGE, (MOVE, job.region_off = 64 * 4096));
}

Test(jobs, memory_outside_the_region_is_refused)
{
    REFUSED(KVR_BAD_RANGE, job.region_off = 64 * 4096);
    REFUSED(KVR_BAD_RANGE, job.region_off = rig.paged.size);
    REFUSED(KVR_BAD_RANGE, job.region_off = UINT64_MAX - 15);
    REFUSED(KVR_BAD_RANGE, job.form.layer_step += 22 * 4096);
    REFUSED(KVR_BAD_RANGE, job.form.layer_step = 1ull << 62);
}

Test(jobs, a_form_that_makes_another_length_is_refused)
{
    REFUSED(KVR_BAD_RANGE, job.near_len -= 16);
    REFUSED(KVR_BAD_RANGE, job.form.nr_layers = 3);
    REFUSED(KVR_BAD_RANGE, job.conversion = ((struct kvr_conversion){8, KVR_BF16, 32}));
}

Test(jobs, a_deadline_that_has_passed_is_refused)
{
    REFUSED(KVR_EXPIRED, job.deadline_ns = 1);
    REFUSED(KVR_EXPIRED, job.deadline_ns = clock_ns() - 1);
    cr_assert_eq(rig_stats(&rig, 0).expired, 2);
}

Test(jobs, a_job_expires_while_it_waits_and_says_so_at_once)
{
    struct gpu_job plugs[2], job = paged_job(&rig.paged, 1);

    rig_plug(&rig, plugs);
    job.deadline_ns = clock_ns() + 20 * NS_PER_MS;
    rig_push(&rig, &job);
    /* The device stands still meanwhile. */
    cr_assert_eq(rig_pop(&rig), &job);
    cr_assert_eq(job.status, KVR_EXPIRED);
    cr_assert_eq(job.began_ns, 0);
    cr_assert_geq(job.ended_ns, job.deadline_ns);
    cr_assert(!paged_same(&rig.paged, 1, 0, 1));
    rig_unplug(&rig, 0);
    cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
}

Test(jobs, jobs_of_the_gone_are_canceled_and_those_of_others_are_not)
{
    static struct gpu_job plugs[2], jobs[20];
    struct gpu_owner owners[2] = {{0}};

    rig_plug(&rig, plugs);
    for (unsigned i = 0; i < 20; i++) {
        jobs[i] = paged_job(&rig.paged, i);
        jobs[i].owner = &owners[i % 2];
        rig_push(&rig, &jobs[i]);
    }
    rig_await_waiting(&rig, 0, 20);
    __atomic_store_n(&owners[1].gone, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 10; i++) {
        const struct gpu_job *job = rig_pop(&rig);

        cr_assert_eq(job->owner, &owners[1]);
        cr_assert_eq(job->status, KVR_CANCELED);
        cr_assert_eq(job->began_ns, 0);
    }
    rig_unplug(&rig, 10);
    for (unsigned i = 0; i < 12; i++)
        cr_assert_eq(rig_pop(&rig)->status, KVR_OK);
    for (unsigned i = 0; i < 20; i++)
        cr_assert_eq(paged_same(&rig.paged, i, 0, 4), i % 2 == 0);
    cr_assert_eq(rig_stats(&rig, 0).canceled, 10);
}

Test(jobs, a_job_of_the_gone_ends_between_its_layers_and_not_before_its_copies)
{
    struct gpu_job job = paged_job(&rig.paged, 6), *ended;
    struct gpu_owner owner = {0};

    gpu_host_stall(gpu_fleet_device(rig.fleet, 0), true);
    job.owner = &owner;
    rig_push(&rig, &job);
    rig_await_running(&rig, 0, 1);
    __atomic_store_n(&owner.gone, 1, __ATOMIC_RELAXED);
    for (uint64_t end_ns = clock_ns() + 50 * NS_PER_MS; clock_ns() < end_ns;)
        cr_assert_eq(gpu_pop(rig.fleet, 0, &ended, 1), 0, "a layer or two are in flight");
    gpu_host_stall(gpu_fleet_device(rig.fleet, 0), false);
    cr_assert_eq(rig_pop(&rig), &job);
    cr_assert_eq(job.status, KVR_CANCELED);
    cr_assert(job.layers_done == 1 || job.layers_done == 2);
    cr_assert(paged_same(&rig.paged, 6, 0, job.layers_done));
    cr_assert(!paged_same(&rig.paged, 6, job.layers_done, 1));
}
