/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: memory of clients, as the fleet has it. Main thread. Invariant: the fleet lets go of a
 * region only when no core looks at it and no job names it, and a dead client's with the client. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "dataplane/local/client.h"
#include "gpu/fleet.h"

static struct client *find(const struct local *local, uint32_t id)
{
    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++)
        if (local->clients[slot] && !local->clients[slot]->why &&
            local->clients[slot]->spec.id == id)
            return local->clients[slot];
    return NULL;
}

static uint32_t state_of(const struct region *region)
{
    return __atomic_load_n(&region->state, __ATOMIC_RELAXED);
}

/* Before its first region, which it is seen with. */
static int make_moves(const struct local *local, struct client *client)
{
    for (unsigned i = 0; i < local->nr_cores; i++) {
        struct side *side = client->sides[i];

        if (!side->moves)
            side->moves = calloc(SIDE_MOVES, sizeof(*side->moves));
        if (!side->moves)
            return -ENOMEM;
    }
    return 0;
}

int local_region_add(struct local *local, uint32_t id, unsigned number,
                     const struct gpu_handle *handle)
{
    struct client *client = find(local, id);
    struct region *region;
    int rc;

    if (!local->fleet)
        return -ENODEV;
    if (!client)
        return -ENOENT;
    if (number >= KVR_REGIONS_MAX)
        return -EINVAL;
    region = &client->regions[number];
    if (state_of(region) != REGION_FREE)
        return -EEXIST;
    rc = make_moves(local, client);
    if (rc == 0)
        rc = gpu_region_import(local->fleet, GPU_ANY, handle, &region->memory);
    if (rc < 0)
        return rc;
    /* Pairs with region_take. */
    __atomic_store_n(&region->state, REGION_OPEN, __ATOMIC_SEQ_CST);
    return 0;
}

int local_region_drop(struct local *local, uint32_t id, unsigned number)
{
    struct client *client = find(local, id);

    if (!client || number >= KVR_REGIONS_MAX || state_of(&client->regions[number]) != REGION_OPEN)
        return -ENOENT;
    /* Then jobs is looked at; region_take does both the other way round: one sees the other. */
    __atomic_store_n(&client->regions[number].state, REGION_CLOSING, __ATOMIC_SEQ_CST);
    return 0;
}

static void region_close(const struct local *local, struct region *region)
{
    gpu_region_close(local->fleet, region->memory);
    region->memory = NULL;
    __atomic_store_n(&region->state, REGION_FREE, __ATOMIC_SEQ_CST);
}

void local_regions_tick(struct local *local,
                        void (*gone)(void *context, uint32_t id, unsigned region), void *context)
{
    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++) {
        struct client *client = local->clients[slot];

        for (unsigned i = 0; client && i < KVR_REGIONS_MAX; i++) {
            struct region *region = &client->regions[i];

            if (state_of(region) != REGION_CLOSING ||
                __atomic_load_n(&region->jobs, __ATOMIC_SEQ_CST) > 0)
                continue;
            region_close(local, region);
            gone(context, client->spec.id, i);
        }
    }
}

void regions_close(const struct local *local, struct client *client)
{
    for (unsigned i = 0; i < KVR_REGIONS_MAX; i++)
        if (state_of(&client->regions[i]) != REGION_FREE)
            region_close(local, &client->regions[i]);
}

/* No core runs: this thread takes their jobs back, however long that is. */
static void await_jobs(struct local *local)
{
    struct timespec pause = {.tv_nsec = 50000};

    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++)
        if (local->clients[slot])
            __atomic_store_n(&local->clients[slot]->owner.gone, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < local->nr_cores; i++)
        while (local->ports[i]->nr_jobs > 0) {
            moves_take(local->ports[i]);
            if (local->ports[i]->nr_jobs > 0)
                nanosleep(&pause, NULL);
        }
}

void local_set_fleet(struct local *local, struct gpu_fleet *fleet)
{
    if (local->fleet && !fleet) {
        await_jobs(local);
        for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++)
            if (local->clients[slot])
                regions_close(local, local->clients[slot]);
    }
    local->fleet = fleet;
}
