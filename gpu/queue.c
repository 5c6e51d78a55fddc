/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of waiting jobs. The worker's thread; every job is at one place of one heap. */
#include "gpu/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int queue_create(struct queue *queue, uint32_t capacity)
{
    queue->heap = malloc(capacity * sizeof(queue->heap[0]));
    queue->nr = 0;
    queue->capacity = capacity;
    return queue->heap ? 0 : -ENOMEM;
}

void queue_destroy(struct queue *queue)
{
    free(queue->heap);
    queue->heap = NULL;
}

static bool before(const struct gpu_job *a, const struct gpu_job *b)
{
    uint64_t a_ns = a->deadline_ns ? a->deadline_ns : UINT64_MAX;
    uint64_t b_ns = b->deadline_ns ? b->deadline_ns : UINT64_MAX;

    if (a_ns != b_ns)
        return a_ns < b_ns;
    return a->turn != b->turn ? a->turn < b->turn : a->order < b->order;
}

static void sink(struct queue *queue, uint32_t at, struct gpu_job *job)
{
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= queue->nr)
            break;
        if (child + 1 < queue->nr && before(queue->heap[child + 1], queue->heap[child]))
            child++;
        if (!before(queue->heap[child], job))
            break;
        queue->heap[at] = queue->heap[child];
        at = child;
    }
    queue->heap[at] = job;
}

void queue_push(struct queue *queue, struct gpu_job *job)
{
    uint32_t at = queue->nr++;

    assert(at < queue->capacity);
    job->turn = job->by_layer ? job->layers_sent : 0;
    for (; at > 0 && before(job, queue->heap[(at - 1) / 2]); at = (at - 1) / 2)
        queue->heap[at] = queue->heap[(at - 1) / 2];
    queue->heap[at] = job;
}

void queue_turn(struct queue *queue)
{
    struct gpu_job *top = queue->heap[0];

    if (!top->by_layer)
        return;
    top->turn = top->layers_sent;
    sink(queue, 0, top);
}

struct gpu_job *queue_pop(struct queue *queue)
{
    struct gpu_job *top = queue->heap[0];

    queue->nr--;
    if (queue->nr > 0)
        sink(queue, 0, queue->heap[queue->nr]);
    return top;
}

void queue_filter(struct queue *queue, bool (*keep)(void *arg, struct gpu_job *job), void *arg)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < queue->nr; i++)
        if (keep(arg, queue->heap[i]))
            queue->heap[kept++] = queue->heap[i];
    if (kept == queue->nr)
        return;
    queue->nr = kept;
    for (uint32_t at = kept / 2; at > 0; at--)
        sink(queue, at - 1, queue->heap[at - 1]);
}
