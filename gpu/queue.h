/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of one class that wait at a device, earliest deadline first (a binary heap); without one, or
 * with the same, in order of arrival. One thread. */
#pragma once

#include "gpu/job.h"

struct queue {
    struct gpu_job **heap;
    uint32_t nr, capacity;
};

[[nodiscard]] int queue_create(struct queue *queue, uint32_t capacity);
void queue_destroy(struct queue *queue);
/* The top job has sent a layer: where it takes turns others may come before it now. */
void queue_turn(struct queue *queue);
/* Never more than capacity. */
void queue_push(struct queue *queue, struct gpu_job *job);
struct gpu_job *queue_pop(struct queue *queue); /* not of an empty one */
/* Takes out the jobs that keep does not want; it may hand them to others. */
void queue_filter(struct queue *queue, bool (*keep)(void *arg, struct gpu_job *job), void *arg);

static inline struct gpu_job *queue_top(const struct queue *queue)
{
    return queue->nr ? queue->heap[0] : NULL;
}
