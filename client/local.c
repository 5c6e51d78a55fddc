/* SPDX-License-Identifier: Apache-2.0 */
/* Hits without the server: look the key up in the mapped index, publish the block in a hazard slot,
 * fence, look whether it is still sealed. Nothing here makes a system call, but for a look at the
 * server ten times a second. */
#include "client/local.h"

#include <string.h>

#include "client/find.h"
#include "client/poll.h"
#include "client/task.h"

/* What to do about an outcome other than that it is found. */
static enum kvr_status status_of(enum found found)
{
    return found == FOUND_ABSENT ? KVR_MISS : KVR_LIMIT;
}

static enum found view_once(struct kvr_client *client, const struct kvr_key *key,
                            struct kvr_view *view)
{
    struct mount *mount = client->local->mount;
    struct probe probe;
    struct block_view block;
    enum found found;

    probe_setup(&probe, mount, key);
    if (probe_fenced(client, &probe))
        return FOUND_UNSURE;
    found = probe_pin(mount, &probe, key, &block);
    if (found != FOUND) {
        mount->segment.header->misses += found == FOUND_ABSENT;
        return found;
    }
    if (!may_hold(mount, block.value_len)) {
        probe_let_go(mount, &probe);
        return FOUND_FULL;
    }
    hold(mount, 1, block.value_len);
    probe_record(mount, &probe, block.ref);
    view_describe(view, &block, mount->number, probe.slot);
    return FOUND;
}

bool local_wait(struct kvr_client *client, struct patience *patience, const struct kvr_key *key)
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
    } while (found == FOUND_UNSURE && local_wait(client, &patience, &key));
    return found == FOUND_UNSURE ? KVR_TIMEOUT : status_of(found);
}

static inline void release(struct mount *mount, struct hazards *hazards,
                           const struct kvr_view *view)
{
    /* Twice released is once released. */
    if (unlikely(view->slot >= hazards->nr_slots || hazards->slots[view->slot] != view->ref ||
                 view->ref == 0))
        return;
    mount->nr_held--;
    mount->held_bytes -= view->len;
    hazard_release(hazards, view->slot);
}

/* Views of one mount: as many of the first as are. */
static size_t release_many(struct mount *mount, const struct kvr_view *views, size_t n)
{
    struct hazards hazards = mount->hazards; /* in registers */
    size_t i;

    for (i = 0; i < n && views[i].mount == mount->number; i++)
        release(mount, &hazards, &views[i]);
    mount->hazards.nr_free = hazards.nr_free;
    return i;
}

static void release_any(struct local *local, const struct kvr_view *views, size_t n)
{
    for (size_t i = 0; i < n;) {
        struct mount *mount = mount_find(local, views[i].mount);

        if (!mount) {
            i++;
            continue;
        }
        i += release_many(mount, views + i, n - i);
        if (mount != local->mount)
            mount_forget(local, mount);
    }
}

void kvr_release(struct kvr_client *client, const struct kvr_view *views, size_t n)
{
    struct local *local = client->local;

    if (!local || local_forked(local))
        return;
    if (n == 1 && likely(views->mount == local->mount->number))
        release(local->mount, &local->mount->hazards, views);
    else
        release_any(local, views, n);
}
