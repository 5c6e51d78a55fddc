/* SPDX-License-Identifier: Apache-2.0 */
/* The first tier of LOADs. Invariant: what the pool's bytes were copied from is pinned in the arena
 * until the copy has ended well, so that nothing that went wrong with a device ends as OK with
 * other bytes. Blocks lie in the pool as in the arena: those that are converted on their way are
 * not copied there. */
#include "dataplane/local/tier.h"

#include "gpu/pool.h"
#include "shm/index.h"

#define HOLDER 0u /* the core's own jobs */

static bool converts(const struct kvr_conversion *conversion)
{
    return conversion->bits != 0 && conversion->bits != 16;
}

/* The device whose memory the region is; GPU_ANY: several reach it. */
static int device_of(const struct port *port, const struct gpu_region *region)
{
    int device = GPU_ANY;

    for (unsigned i = 0; i < gpu_fleet_size(port->local->fleet); i++) {
        if (gpu_region_address(region, i) == 0)
            continue;
        if (device != GPU_ANY)
            return GPU_ANY;
        device = (int)i;
    }
    return device;
}

/* Pinned, on a device that reaches the region. */
static bool find_copy(struct port *port, const struct move *move, uint64_t ref, int device,
                      struct pool_place *place)
{
    struct pool *pool = port->core->pool;

    if (pool_pin(pool, ref, device, HOLDER, place) < 0)
        return false;
    if (gpu_region_address(move->job.region, (unsigned)place->device) != 0)
        return true;
    (void)pool_unpin(pool, HOLDER, place->pin);
    return false;
}

static void serve(struct move *move, const struct pool_place *place)
{
    struct gpu_job *job = &move->job;

    job->direction = GPU_MOVE;
    job->device = place->device;
    job->from = place->region;
    job->from_off = place->offset;
    job->from_form = pool_form(&job->form);
    job->near = NULL;
    move->pin = place->pin;
    move->lost = place->lost;
    move->tier = MOVE_FROM_POOL;
}

void tier_begin(struct port *port, struct move *move, const struct block_view *view)
{
    struct pool_block block = {
        .ref = view->ref, .near = move->job.near, .len = view->value_len, .priority = KVR_LOW};
    struct pool_place place;
    int device;

    if (converts(&move->job.conversion))
        return;
    device = device_of(port, move->job.region);
    if (find_copy(port, move, view->ref, device, &place))
        serve(move, &place);
    else if (pool_hit(port->core->pool, device, &block))
        port->nr_jobs++;
}

bool tier_take(struct port *port, struct gpu_job *job)
{
    return port->core->pool && pool_take(port->core->pool, job);
}

static void restore(struct port *port, struct move *move)
{
    struct gpu_job *job = &move->job;

    job->direction = GPU_LOAD;
    job->device = GPU_ANY;
    job->from = NULL;
    job->near = partition_value(port->core->partitions[move->partition], move->block);
    move->tier = MOVE_FROM_ARENA;
    move->stage = MOVE_READY;
    counter_add(&port->core->stats->pool_redone, 1);
}

bool tier_end(struct port *port, struct move *move)
{
    enum kvr_status status = move->job.status;
    int rc = pool_unpin(port->core->pool, HOLDER, move->pin);

    move->tier = MOVE_WAS_IN_POOL;
    if (status == KVR_CANCELED || status == KVR_EXPIRED || (status == KVR_OK && rc == 0))
        return true;
    restore(port, move);
    return false;
}

void tier_leave(struct port *port, struct move *move)
{
    if (move->tier == MOVE_FROM_POOL)
        (void)pool_unpin(port->core->pool, HOLDER, move->pin);
}

bool tier_holds(const struct move *move)
{
    /* The worker counts a loss before it does what was pushed after it. */
    return move->tier != MOVE_FROM_POOL || gpu_region_lost(move->job.from) == move->lost;
}
