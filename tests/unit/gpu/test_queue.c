/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "base/random.h"
#include "gpu/queue.h"

#define JOBS 500u

static struct gpu_job jobs[JOBS];

static void fill(struct queue *queue, struct rng *rng)
{
    cr_assert_eq(queue_create(queue, JOBS), 0);
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct gpu_job){.order = i, .deadline_ns = rng_below(rng, 50)};
        queue_push(queue, &jobs[i]);
    }
}

static uint64_t deadline(const struct gpu_job *job)
{
    return job->deadline_ns ? job->deadline_ns : UINT64_MAX;
}

/* Empties it. */
static unsigned count_in_order(struct queue *queue)
{
    const struct gpu_job *last = NULL;
    unsigned nr = 0;

    for (; queue->nr > 0; nr++) {
        const struct gpu_job *top = queue_top(queue), *job = queue_pop(queue);

        cr_assert_eq(job, top);
        if (last) {
            cr_assert_leq(deadline(last), deadline(job));
            cr_assert(deadline(last) != deadline(job) || last->order < job->order);
        }
        last = job;
    }
    cr_assert_null(queue_top(queue));
    return nr;
}

Test(queue, earliest_deadline_first_then_order_of_arrival_and_none_last)
{
    struct queue queue;
    struct rng rng;

    rng_seed(&rng, 1);
    fill(&queue, &rng);
    cr_assert_eq(count_in_order(&queue), JOBS);
    queue_destroy(&queue);
}

static bool keep_even(void *arg, struct gpu_job *job)
{
    unsigned *dropped = arg;

    *dropped += job->order % 2 == 1;
    return job->order % 2 == 0;
}

Test(queue, a_filter_keeps_the_order_of_what_stays)
{
    struct queue queue;
    struct rng rng;
    unsigned dropped = 0;

    rng_seed(&rng, 2);
    fill(&queue, &rng);
    queue_filter(&queue, keep_even, &dropped);
    cr_assert_eq(dropped, JOBS / 2);
    cr_assert_eq(count_in_order(&queue), JOBS / 2);
    queue_destroy(&queue);
}

Test(queue, jobs_that_take_turns_send_a_layer_of_each_before_the_next)
{
    struct queue queue;

    cr_assert_eq(queue_create(&queue, 8), 0);
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = (struct gpu_job){.order = i, .deadline_ns = i == 3 ? 9 : 5, .by_layer = true};
        queue_push(&queue, &jobs[i]);
    }
    for (unsigned layer = 0; layer < 5; layer++)
        for (unsigned i = 0; i < 3; i++) {
            cr_assert_eq(queue_top(&queue), &jobs[i], "layer %u", layer);
            jobs[i].layers_sent++;
            queue_turn(&queue);
        }
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(queue_pop(&queue), &jobs[i], "then the later deadline");
    queue_destroy(&queue);
}
