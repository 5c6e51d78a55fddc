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

static inline void describe(struct kvr_view *view, const struct block_view *block, uint32_t number,
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

/* Whether one more may be held, besides what is and nr that will be; bytes with all of those. */
static inline bool may_hold(const struct mount *mount, uint32_t nr, uint64_t bytes)
{
    return mount->nr_held + nr < mount->held_max && mount->held_bytes + bytes <= mount->pinned_max;
}

static inline void hold(struct mount *mount, uint32_t nr, uint64_t bytes)
{
    mount->nr_held += nr;
    mount->held_bytes += bytes;
    mount->segment.header->hits += nr;
    mount->segment.header->hit_bytes += bytes;
}

static enum found view_once(struct kvr_client *client, const struct kvr_key *key, uint64_t now_ns,
                            struct kvr_view *view)
{
    struct mount *mount = client->local->mount;
    struct probe probe;
    struct block_view block;
    enum found found;

    probe_setup(&probe, mount, key);
    if (probe_fenced(client, &probe))
        return FOUND_UNSURE;
    found = probe_pin(mount, &probe, now_ns, &block);
    if (found != FOUND) {
        mount->segment.header->misses += found == FOUND_ABSENT;
        return found;
    }
    if (!may_hold(mount, 0, block.value_len)) {
        probe_let_go(mount, &probe);
        return FOUND_FULL;
    }
    hold(mount, 1, block.value_len);
    probe_record(mount, &probe, block.ref);
    describe(view, &block, mount->number, probe.slot);
    return FOUND;
}

/* Holds the keys of a batch up to the first that it cannot; *why is what became of that one.
 * Returns how many. */
static uint32_t hold_batch(struct mount *mount, struct probe *probes, uint32_t n, uint64_t now_ns,
                           struct kvr_view *views, enum found *why)
{
    struct hazards hazards = mount->hazards; /* in registers, as long as nobody else needs it */
    uint64_t bytes = 0;
    uint32_t i;

    for (i = 0; i < n; i++)
        probe_publish(&hazards, &probes[i]);
    mount->hazards.nr_free = hazards.nr_free;
    mount->hazards.used = hazards.used;
    hazard_fence(&hazards);
    for (i = 0; i < n; i++) {
        struct block_view block;

        if (probes[i].slot == HAZARD_NONE || !probe_verify(mount, &probes[i], &block)) {
            probe_let_go(mount, &probes[i]);
            *why = probe_pin_again(mount, &probes[i], now_ns, &block);
            if (*why != FOUND)
                break;
        }
        if (!may_hold(mount, i, bytes + block.value_len)) {
            *why = FOUND_FULL;
            break;
        }
        bytes += block.value_len;
        probe_record(mount, &probes[i], block.ref);
        describe(&views[i], &block, mount->number, probes[i].slot);
    }
    for (uint32_t k = i; k < n; k++)
        probe_let_go(mount, &probes[k]);
    hold(mount, i, bytes);
    return i;
}

/* Of a batch, if any link of the handle is fenced at all: that is rare. */
static bool fenced(const struct kvr_client *client, const struct probe *probes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (probe_fenced(client, &probes[i]))
            return true;
    return false;
}

static bool any_fenced(const struct kvr_client *client)
{
    for (uint32_t p = 0; p < client->nr_links; p++)
        if (client->links[p] && order_fenced(&client->links[p]->order))
            return true;
    return false;
}

/* As far as it goes; *why it went no further: FOUND = all are held. While the cache lines of one
 * batch are worked on, those of the next are on their way. */
static uint32_t match_once(struct kvr_client *client, const struct kvr_key *keys, uint32_t nr,
                           struct kvr_view *views, enum found *why)
{
    struct mount *mount = client->local->mount;
    uint64_t now_ns = coarse_ns();
    struct probe probes[2][BATCH];
    uint32_t done = 0, ahead = 0;
    bool fences = any_fenced(client);
    unsigned turn = 0;

    *why = FOUND;
    for (; ahead < nr && ahead < BATCH; ahead++) {
        probe_setup(&probes[0][ahead], mount, &keys[ahead]);
        prefetch_read(probes[0][ahead].bucket);
    }
    while (done < nr && *why == FOUND) {
        struct probe *now = probes[turn], *next = probes[turn ^= 1];
        uint32_t n = ahead - done, held, from = ahead;

        for (uint32_t i = 0; i < n; i++)
            probe_guess(&now[i]);
        for (; ahead < nr && ahead - from < BATCH; ahead++) {
            probe_setup(&next[ahead - from], mount, &keys[ahead]);
            prefetch_read(next[ahead - from].bucket);
        }
        if (fences && fenced(client, now, n)) {
            *why = FOUND_UNSURE;
            break;
        }
        held = hold_batch(mount, now, n, now_ns, views + done, why);
        done += held;
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
        found = view_once(client, &key, coarse_ns(), view);
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
        mount->nr_held--;
        mount->held_bytes -= views[i].len;
        hazard_release(&mount->hazards, views[i].slot);
        if (mount != local->mount)
            mount_forget(local, mount);
    }
}
