/* SPDX-License-Identifier: Apache-2.0 */
/* A job: one block's way between the arena and a region. The producer fills it, and it is the
 * fleet's from gpu_push until gpu_pop hands it back, to the same producer, exactly once. What it
 * names (arena bytes, region) must stay until then, and no longer: that is how long a pin is held.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gpu/backend.h"
#include "kvrail/proto.h"
#include "kvrail/status.h"

#define GPU_ANY (-1)
#define GPU_PRIORITIES 5u /* enum kvr_priority */

struct gpu_region;

/* Somebody whose jobs end together: set gone, and none of them begins any more. */
struct gpu_owner {
    uint32_t gone; /* atomic: whoever learns of the end */
};

struct gpu_job {
    /* Producer. */
    enum gpu_direction direction;
    uint8_t priority;              /* enum kvr_priority */
    int16_t device;                /* GPU_ANY, or only this one */
    uint64_t deadline_ns;          /* clock_ns(); does not begin after; 0 = none */
    const struct gpu_owner *owner; /* NULL: nobody's */
    struct gpu_region *region;
    uint64_t region_off;     /* of the block */
    struct gpu_region *from; /* GPU_MOVE: where the block comes from; else not looked at */
    uint64_t from_off;
    struct kvr_form from_form; /* how it lies there: the same pieces as form, at other places */
    uint8_t *near;             /* arena's bytes; NULL with GPU_MOVE */
    uint32_t near_len; /* must be what form and conversion make of a block (form_packed_len) */
    uint16_t first_layer, nr_layers; /* of form; 0, 0 = all */
    bool by_layer; /* takes turns with those of its deadline: a layer of each, then the next */
    struct kvr_form form;
    struct kvr_conversion conversion;
    void *user;

    /* Fleet. */
    uint32_t layers_done; /* atomic: that many of its layers are complete, in order. Who acquires it
                           * sees their bytes */
    uint16_t moved;       /* how often it was given to another device */
    int16_t ran_on;       /* device on which it began last; -1: none */
    enum kvr_status status;                 /* see below */
    uint64_t pushed_ns, began_ns, ended_ns; /* began: the last time, if it was moved; 0: never */
    uint64_t bytes;                         /* of its layers, at the device's side */

    /* Fleet's own. */
    struct gpu_job *next;
    uint64_t order;       /* of arrival at the device */
    uint32_t layer_bytes; /* of one layer, over the link */
    uint32_t lost;        /* how often its regions had lost their bytes when it was pushed */
    uint16_t producer;
    uint16_t layers_sent; /* done or in flight */
    uint16_t turn;        /* by_layer: layers sent when it took its place in the queue */
    uint8_t crashes;      /* devices that failed while it was in flight there */
    bool begun, canceled;
};

/* How a job ends:
 *
 * - OK: every layer is where it belongs.
 *
 * - CANCELED: its owner is gone, or the fleet ends; layers_done may be more than 0.
 *
 * - EXPIRED: the deadline had passed before it began; after a move, before it went on.
 *
 * - BAD_FIELD: a field outside its range: direction, priority, device, region, layers, a form that
 *   is not form_valid, an offset that is no multiple of 16, GPU_MOVE of unlike forms or with a
 *   conversion; or the region is not in the device that it asks for.
 *
 * - BAD_RANGE: the form reaches beyond the region, or makes other than near_len bytes.
 *
 * - INTERNAL: no device is left that could do it, two failed while it was in flight, or a region
 *   has lost its bytes since it was pushed (layers_done, too, may be gone). */
