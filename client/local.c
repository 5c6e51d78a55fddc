/* SPDX-License-Identifier: Apache-2.0 */
/* Hits without the server: look the key up in the mapped index, publish the block in a hazard slot,
 * fence, look whether it is still sealed. Nothing here makes a system call, but for a look at the
 * server ten times a second. */
#include "client/local.h"

#include <string.h>

#include "client/find.h"
#include "client/poll.h"
#include "client/task.h"

#define BATCH 32u /* keys whose cache lines are fetched together */

/* What to do about an outcome other than that it is found. */
static enum kvr_status status_of(enum found found)
{
    return found == FOUND_ABSENT ? KVR_MISS : KVR_LIMIT;
}

static void describe(struct kvr_view *view, const struct block_view *block, uint32_t number,
                     uint32_t slot)
{
    *view = (struct kvr_view){.data = block->value,
                              .ref = block->ref,
                              .len = block->value_len,
                              .crc = block->value_crc,
                              .ttl_ms = block->ttl_ms,
                              .layout = block->layout,
                              .tier = KVR_TIER_HOST,
                              .slot = slot,
                              .mount = number};
}

/* A block that is pinned becomes the caller's; false: it would be too much, the pin is gone. */
static bool keep(struct mount *mount, const struct block_view *block, uint32_t slot)
{
    if (mount->nr_held >= mount->held_max ||
        mount->held_bytes + block->value_len > mount->pinned_max) {
        hazard_release(&mount->hazards, slot);
        return false;
    }
    mount->nr_held++;
    mount->held_bytes += block->value_len;
    mount->lens[slot] = block->value_len;
    return true;
}

static void let_go(struct mount *mount, uint32_t slot)
{
    mount->nr_held--;
    mount->held_bytes -= mount->lens[slot];
    hazard_release(&mount->hazards, slot);
}

static enum found view_once(struct kvr_client *client, const struct kvr_key *key,
                            struct kvr_view *view)
{
    struct mount *mount = client->local->mount;
    struct probe probe;
    struct block_view block;
    enum found found;
    uint32_t slot;

    probe_setup(&probe, mount, key);
    if (probe_fenced(client, &probe))
        return FOUND_UNSURE;
    found = probe_pin(mount, &probe, coarse_ns(), &block, &slot);
    if (found != FOUND) {
        mount->segment.header->misses += found == FOUND_ABSENT;
        return found;
    }
    if (!keep(mount, &block, slot))
        return FOUND_FULL;
    probe_record(mount, &probe, block.ref);
    mount->segment.header->hits++;
    mount->segment.header->hit_bytes += block.value_len;
    describe(view, &block, mount->number, slot);
    return FOUND;
}

/* The keys of one batch that are there, up to the first that is not: pinned, but not yet proven. */
struct batch {
    struct probe probes[BATCH];
    struct block_view blocks[BATCH];
};

static uint32_t pin_batch(struct kvr_client *client, struct batch *batch,
                          const struct kvr_key *keys, uint32_t n, uint64_t now_ns,
                          struct kvr_view *views, enum found *why)
{
    struct mount *mount = client->local->mount;
    uint32_t i;

    for (i = 0; i < n; i++) {
        probe_setup(&batch->probes[i], mount, &keys[i]);
        probe_prefetch(mount, &batch->probes[i]);
    }
    for (i = 0; i < n; i++)
        probe_prefetch_block(mount, &batch->probes[i]);
    for (i = 0; i < n; i++) {
        uint32_t slot;

        if (probe_fenced(client, &batch->probes[i])) {
            *why = FOUND_UNSURE;
            return i;
        }
        *why = probe_look(mount, &batch->probes[i], now_ns, &batch->blocks[i]);
        if (*why != FOUND)
            return i;
        slot = hazard_publish(&mount->hazards, batch->blocks[i].ref);
        if (slot == HAZARD_NONE || !keep(mount, &batch->blocks[i], slot)) {
            *why = FOUND_FULL;
            return i;
        }
        describe(&views[i], &batch->blocks[i], mount->number, slot);
    }
    return n;
}

/* The look after the fence. Returns how many of the first hold. */
static uint32_t prove(struct mount *mount, const struct kvr_view *views, uint32_t n)
{
    uint32_t good = 0;

    hazard_fence(&mount->hazards);
    while (good < n && hazard_holds(&mount->arena, views[good].ref))
        good++;
    return good;
}

static void record(struct mount *mount, const struct probe *probes, const struct kvr_view *views,
                   uint32_t n)
{
    struct segment_header *header = mount->segment.header;

    for (uint32_t i = 0; i < n; i++) {
        probe_record(mount, &probes[i], views[i].ref);
        header->hit_bytes += views[i].len;
    }
    header->hits += n;
}

/* As far as it goes; *why it went no further: FOUND = all are held. */
static uint32_t match_once(struct kvr_client *client, const struct kvr_key *keys, uint32_t nr,
                           struct kvr_view *views, enum found *why)
{
    struct mount *mount = client->local->mount;
    uint64_t now_ns = coarse_ns();
    struct batch batch;
    uint32_t done = 0;

    *why = FOUND;
    while (done < nr && *why == FOUND) {
        uint32_t most = nr - done < BATCH ? nr - done : BATCH;
        uint32_t n = pin_batch(client, &batch, keys + done, most, now_ns, views + done, why);
        uint32_t good = prove(mount, views + done, n);

        for (uint32_t i = good; i < n; i++)
            let_go(mount, views[done + i].slot);
        if (good < n)
            *why = FOUND_UNSURE; /* overwritten just now: what is there instead? */
        record(mount, batch.probes, views + done, good);
        done += good;
    }
    return done;
}

/* A lookup that was disturbed, or comes too early: again and again, while the handle's other work
 * goes on, until the default deadline. */
struct patience {
    uint64_t until_ns;
    uint32_t nr;
};

static bool wait_more(struct kvr_client *client, struct patience *patience,
                      const struct kvr_key *key)
{
    uint64_t step_ns = 10 * NS_PER_US << (patience->nr < 7 ? patience->nr : 7);

    client->now_ns = clock_ns();
    if (patience->until_ns == 0)
        patience->until_ns = client->now_ns + client->options.timeout_ms * NS_PER_MS;
    if (client->now_ns >= patience->until_ns)
        return false;
    patience->nr++;
    probe_raise_fence(client, key);
    poll_turn(client);
    if (step_ns > NS_PER_MS)
        step_ns = NS_PER_MS;
    if (client->now_ns + step_ns > patience->until_ns)
        step_ns = patience->until_ns - client->now_ns;
    poll_wait(client, client->now_ns + step_ns);
    return true;
}

enum kvr_status kvr_get_view(struct kvr_client *client, const void *data, size_t len,
                             struct kvr_view *view)
{
    struct kvr_key key = {data, (uint32_t)len};
    struct patience patience = {0};
    enum kvr_status status;
    enum found found;

    if (!data || len == 0 || len > KVR_KEY_MAX)
        return KVR_INVALID;
    do {
        status = local_usable(client);
        if (status != KVR_OK)
            return status;
        found = view_once(client, &key, view);
        if (found == FOUND)
            return KVR_OK;
    } while (found == FOUND_UNSURE && wait_more(client, &patience, &key));
    return found == FOUND_UNSURE ? KVR_TIMEOUT : status_of(found);
}

enum kvr_status kvr_match_views(struct kvr_client *client, const struct kvr_key *keys,
                                size_t nr_keys, struct kvr_view *views, uint32_t *prefix)
{
    struct patience patience = {0};
    enum kvr_status status;
    enum found why;
    uint32_t done = 0;

    *prefix = 0;
    if (nr_keys > UINT32_MAX || (nr_keys > 0 && (!keys || !views)))
        return KVR_INVALID;
    for (size_t i = 0; i < nr_keys; i++)
        if (!keys[i].data || keys[i].len == 0 || keys[i].len > KVR_KEY_MAX)
            return KVR_INVALID;
    do {
        status = local_usable(client);
        if (status != KVR_OK)
            break;
        done += match_once(client, keys + done, (uint32_t)nr_keys - done, views + done, &why);
    } while (why == FOUND_UNSURE && wait_more(client, &patience, &keys[done]));
    if (status == KVR_OK)
        client->local->mount->segment.header->matches++;
    if (status == KVR_OK && why == FOUND_UNSURE)
        status = KVR_TIMEOUT;
    if (status != KVR_OK) {
        if (done > 0)
            kvr_release(client, views, done);
        return status;
    }
    *prefix = done;
    return why == FOUND_FULL ? KVR_LIMIT : KVR_OK;
}

void kvr_release(struct kvr_client *client, const struct kvr_view *views, size_t n)
{
    struct local *local = client->local;

    if (!local || local_forked(local))
        return;
    for (size_t i = 0; i < n; i++) {
        struct mount *mount = local->mount;

        if (mount->number != views[i].mount)
            mount = mount_find(local, views[i].mount);
        /* Twice released is once released. */
        if (!mount || views[i].slot >= mount->hazards.nr_slots ||
            mount->hazards.slots[views[i].slot] != views[i].ref || views[i].ref == 0)
            continue;
        let_go(mount, views[i].slot);
        if (mount != local->mount)
            mount_forget(local, mount);
    }
}
