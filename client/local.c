/* SPDX-License-Identifier: Apache-2.0 */
/* Hits without the server: look the key up in the mapped index, publish the block in a hazard slot,
 * fence, look whether it is still sealed. Nothing here makes a system call, but for a look at the
 * server ten times a second. */
#include "client/local.h"

#include <string.h>

#include "client/find.h"
#include "client/poll.h"
#include "client/task.h"

#define BATCH 16u /* keys whose cache lines are fetched together */
#define STAGES 3u /* batches under way: buckets on their way, descriptors on their way, in work */

/* What to do about an outcome other than that it is found. */
static enum kvr_status status_of(enum found found)
{
    return found == FOUND_ABSENT ? KVR_MISS : KVR_LIMIT;
}

static inline void describe(struct kvr_view *view, const struct block_view *block, uint32_t number,
                            uint32_t slot)
{
    /* Words, each by itself: put together in memory and copied they would have to be waited for. */
    uint64_t sizes = block->value_len | (uint64_t)block->value_crc << 32;
    uint64_t kind = block->ttl_ms | (uint64_t)block->layout << 32 | (uint64_t)KVR_TIER_HOST << 48;
    uint64_t place = slot | (uint64_t)number << 32;

    view->data = block->value;
    view->ref = block->ref;
    memcpy(&view->len, &sizes, sizeof(sizes));
    memcpy(&view->ttl_ms, &kind, sizeof(kind));
    memcpy(&view->slot, &place, sizeof(place));
}
_Static_assert(sizeof(struct kvr_view) == 40 && offsetof(struct kvr_view, len) == 16 &&
                   offsetof(struct kvr_view, ttl_ms) == 24 &&
                   offsetof(struct kvr_view, layout) == 28 &&
                   offsetof(struct kvr_view, tier) == 30 && offsetof(struct kvr_view, slot) == 32,
               "describe writes a view in words");

/* Whether one more may be held, of so many bytes. */
static inline bool may_hold(const struct mount *mount, uint64_t bytes)
{
    return mount->nr_held < mount->held_max && mount->held_bytes + bytes <= mount->pinned_max;
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
    found = probe_pin(mount, &probe, key, now_ns, &block);
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
    describe(view, &block, mount->number, probe.slot);
    return FOUND;
}

/* Many keys looked up in one call. */
struct run {
    struct mount *mount;
    const struct kvr_key *keys;
    struct kvr_view *views; /* as many */
    uint32_t nr;
    uint64_t now_ns;
    enum found why; /* it went no further; FOUND = it is done */
};

/* Looks at the blocks that a batch was led to, names them in slots, fences. Returns whether all of
 * them are named. */
static bool name_batch(const struct run *run, uint32_t from, struct probe *probes, uint32_t n)
{
    struct mount *mount = run->mount;
    const struct kvr_key *keys = &run->keys[from];
    struct kvr_view *views = &run->views[from];
    struct hazards hazards = mount->hazards; /* in registers, as long as nobody else needs it */
    uint32_t number = mount->number;

    for (uint32_t i = 0; i < n; i++) {
        struct block_view block;

        if (unlikely(!probe_read(mount, &probes[i], &keys[i], &block)))
            continue;
        probes[i].slot = hazard_publish(&hazards, block.ref);
        describe(&views[i], &block, number, probes[i].slot);
    }
    n -= mount->hazards.nr_free - hazards.nr_free;
    mount->hazards.nr_free = hazards.nr_free;
    mount->hazards.used = hazards.used;
    hazard_fence(&hazards);
    return n == 0;
}

static void record_batch(const struct mount *mount, const struct probe *probes,
                         const struct kvr_view *views, uint32_t n)
{
    struct recorder recorder = {0};

    for (uint32_t i = 0; i < n; i++)
        record(&recorder, mount, probes[i].glance.partition, views[i].ref);
    record_end(&recorder);
}

/* One that the short way did not hold. */
static __attribute__((noinline)) enum found hold_again(const struct run *run, uint32_t at,
                                                       struct probe *probe)
{
    struct mount *mount = run->mount;
    struct block_view block;
    enum found found;

    probe_let_go(mount, probe);
    found = probe_pin_again(mount, probe, &run->keys[at], run->now_ns, &block);
    if (found != FOUND)
        return found;
    describe(&run->views[at], &block, mount->number, probe->slot);
    return FOUND;
}

/* Holds what is named, and what the short way missed, up to the first key of the batch that cannot
 * be; run->why is what became of that one. Returns how many. */
static uint32_t hold_each(struct run *run, uint32_t from, struct probe *probes, uint32_t n)
{
    struct mount *mount = run->mount;
    struct kvr_view *views = &run->views[from];
    uint32_t i;

    for (i = 0; i < n; i++) {
        if (probes[i].slot == HAZARD_NONE || !probe_holds(&probes[i])) {
            run->why = hold_again(run, from + i, &probes[i]);
            if (run->why != FOUND)
                break;
        }
        if (!may_hold(mount, views[i].len)) {
            run->why = FOUND_FULL;
            break;
        }
        hold(mount, 1, views[i].len);
    }
    record_batch(mount, probes, views, i);
    for (uint32_t k = i; k < n; k++)
        probe_let_go(mount, &probes[k]);
    return i;
}

/* All that hold_each would say, where nothing is in the way. */
static uint32_t hold_batch(struct run *run, uint32_t from, struct probe *probes, uint32_t n)
{
    struct mount *mount = run->mount;
    struct kvr_view *views = &run->views[from];
    bool good = name_batch(run, from, probes, n);
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < n && good; i++) {
        good = probe_holds(&probes[i]);
        bytes += views[i].len;
    }
    if (unlikely(!good || n > mount->held_max - mount->nr_held ||
                 bytes > mount->pinned_max - mount->held_bytes))
        return hold_each(run, from, probes, n);
    record_batch(mount, probes, views, n);
    hold(mount, n, bytes);
    return n;
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

/* Keys of the batch that begins at `from`. */
static uint32_t batch_len(const struct run *run, uint32_t from)
{
    return from >= run->nr ? 0 : run->nr - from < BATCH ? run->nr - from : BATCH;
}

/* Whether all keys are of the length that most have. */
static bool common(const struct kvr_key *keys, uint32_t n)
{
    uint32_t differ = 0;

    for (uint32_t i = 0; i < n; i++)
        differ |= keys[i].len ^ HASH_COMMON;
    return differ == 0;
}

static void setup_batch(const struct run *run, uint32_t from, struct probe *probes)
{
    const struct kvr_key *keys = &run->keys[from];
    const struct part_map *maps = run->mount->arena.maps;
    unsigned nr = run->mount->arena.nr_partitions;
    uint64_t seed = run->mount->seed;
    uint32_t n = batch_len(run, from);

    if (common(keys, n) && nr == 1)
        for (uint32_t i = 0; i < n; i++)
            glance_place(&probes[i].glance, maps, 1, hash_common_key(keys[i].data, seed));
    else
        for (uint32_t i = 0; i < n; i++)
            glance_place(&probes[i].glance, maps, nr, hash_key(keys[i].data, keys[i].len, seed));
    for (uint32_t i = 0; i < n; i++)
        prefetch_read(probes[i].glance.bucket);
}

static void guess_batch(const struct run *run, uint32_t from, struct probe *probes)
{
    uint32_t n = batch_len(run, from);

    for (uint32_t i = 0; i < n; i++)
        probe_guess(&probes[i]);
}

/* As far as it goes. While the cache lines of one batch are worked on, those of the next two are on
 * their way. Returns how many keys are done. */
static uint32_t run_once(struct kvr_client *client, struct run *run)
{
    struct probe probes[STAGES][BATCH];
    bool fences = any_fenced(client);
    uint32_t done = 0;

    run->why = FOUND;
    setup_batch(run, 0, probes[0]);
    setup_batch(run, BATCH, probes[1]);
    guess_batch(run, 0, probes[0]);
    for (unsigned turn = 0; done < run->nr && run->why == FOUND; turn++) {
        struct probe *now = probes[turn % STAGES];
        uint32_t n = batch_len(run, done);

        setup_batch(run, done + 2 * BATCH, probes[(turn + 2) % STAGES]);
        guess_batch(run, done + BATCH, probes[(turn + 1) % STAGES]);
        if (unlikely(fences && fenced(client, now, n)))
            run->why = FOUND_UNSURE;
        else
            done += hold_batch(run, done, now, n);
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
    struct run run;
    enum kvr_status status;
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
        run = (struct run){.mount = client->local->mount,
                           .keys = keys + done,
                           .views = views + done,
                           .nr = (uint32_t)nr_keys - done,
                           .now_ns = coarse_ns()};
        done += run_once(client, &run);
    } while (run.why == FOUND_UNSURE && wait_more(client, &patience, &keys[done]));
    if (status == KVR_OK)
        client->local->mount->segment.header->matches++;
    if (status == KVR_OK && run.why == FOUND_UNSURE)
        status = KVR_TIMEOUT;
    if (status != KVR_OK) {
        if (done > 0)
            kvr_release(client, views, done);
        return status;
    }
    *prefix = done;
    return run.why == FOUND_FULL ? KVR_LIMIT : KVR_OK;
}

/* Views of one mount: as many of the first as are. */
static size_t release_of(struct mount *mount, const struct kvr_view *views, size_t n)
{
    struct hazards hazards = mount->hazards;
    uint64_t bytes = 0;
    uint32_t nr = 0;
    size_t i;

    for (i = 0; i < n && views[i].mount == mount->number; i++) {
        const struct kvr_view *view = &views[i];

        /* Twice released is once released. */
        if (unlikely(view->slot >= hazards.nr_slots || hazards.slots[view->slot] != view->ref ||
                     view->ref == 0))
            continue;
        nr++;
        bytes += view->len;
        hazard_release(&hazards, view->slot);
    }
    mount->hazards.nr_free = hazards.nr_free;
    mount->nr_held -= nr;
    mount->held_bytes -= bytes;
    return i;
}

void kvr_release(struct kvr_client *client, const struct kvr_view *views, size_t n)
{
    struct local *local = client->local;

    if (!local || local_forked(local))
        return;
    for (size_t i = 0; i < n;) {
        struct mount *mount = mount_find(local, views[i].mount);

        if (!mount) {
            i++;
            continue;
        }
        i += release_of(mount, views + i, n - i);
        if (unlikely(mount != local->mount))
            mount_forget(local, mount);
    }
}
