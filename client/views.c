/* SPDX-License-Identifier: Apache-2.0 */
/* Views of many keys in one call, chains and others: batches of them in three passes, each over
 * what the one before it has fetched, so that the cache misses of many keys overlap. One fence a
 * batch. */
#include "client/find.h"
#include "client/poll.h"

#define BATCH 16u /* keys whose cache lines are fetched together */
#define STAGES 3u /* batches under way: buckets on their way, descriptors on their way, in work */

/* Many keys looked up in one call. */
struct run {
    struct mount *mount;
    const struct kvr_key *keys;
    struct kvr_view *views; /* as many */
    uint32_t nr;
    bool chain;   /* ends at the first key that is absent */
    uint32_t len; /* of all keys, if it is HASH_SHORT or HASH_LONG; else 0 */
    uint64_t now_ns;
    enum found why; /* it went no further; FOUND = it is done */
    uint32_t nr_absent;
};

/* Looks at the blocks that a batch was led to, names them in slots, fences. Returns whether all of
 * them are named. */
static inline __attribute__((always_inline)) bool
name_batch(const struct run *run, uint32_t from, struct probe *probes, uint32_t n, uint32_t len)
{
    struct mount *mount = run->mount;
    const struct part_map *maps = mount->arena.maps;
    const struct kvr_key *keys = &run->keys[from];
    struct kvr_view *views = &run->views[from];
    struct hazards hazards = mount->hazards; /* in registers, as long as nobody else needs it */
    uint32_t number = mount->number;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t partition = len ? 0 : probes[i].glance.partition;
        uint32_t key_len = len ? len : keys[i].len;
        struct block_view block;

        if (unlikely(!probe_read(mount, &probes[i], &maps[partition], partition, keys[i].data,
                                 key_len, &block)))
            continue;
        probes[i].slot = hazard_publish(&hazards, block.ref);
        view_describe(&views[i], &block, number, probes[i].slot);
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
    view_describe(&run->views[at], &block, mount->number, probe->slot);
    return FOUND;
}

/* Makes of a key what became of it. False: the run ends here. */
static bool settle(struct run *run, uint32_t at, struct probe *probe)
{
    struct kvr_view *view = &run->views[at];
    struct mount *mount = run->mount;

    run->why = FOUND;
    if (probe->slot == HAZARD_NONE || !probe_holds(probe))
        run->why = hold_again(run, at, probe);
    if (run->why == FOUND && !may_hold(mount, view->len))
        run->why = FOUND_FULL;
    if (run->why == FOUND) {
        hold(mount, 1, view->len);
        probe_record(mount, probe, view->ref);
        return true;
    }
    if (run->why != FOUND_ABSENT || run->chain)
        return false;
    *view = (struct kvr_view){0};
    mount->segment.header->misses++;
    run->nr_absent++;
    run->why = FOUND;
    return true;
}

/* Holds what is named, and what the short way missed, up to the first key of the batch that ends
 * the run. Returns how many keys that are. */
static __attribute__((noinline)) uint32_t hold_each(struct run *run, uint32_t from,
                                                    struct probe *probes, uint32_t n)
{
    uint32_t i = 0;

    while (i < n && settle(run, from + i, &probes[i]))
        i++;
    for (uint32_t k = i; k < n; k++)
        probe_let_go(run->mount, &probes[k]);
    return i;
}

/* All that hold_each would say, where nothing is in the way. */
static inline __attribute__((always_inline)) uint32_t
hold_batch(struct run *run, uint32_t from, struct probe *probes, uint32_t n, uint32_t len)
{
    struct mount *mount = run->mount;
    struct kvr_view *views = &run->views[from];
    bool good = name_batch(run, from, probes, n, len);
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (unlikely(!good || !probe_holds(&probes[i])))
            return hold_each(run, from, probes, n);
        bytes += views[i].len;
    }
    if (unlikely(n > mount->held_max - mount->nr_held ||
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

static inline __attribute__((always_inline)) void setup_batch(const struct run *run, uint32_t from,
                                                              struct probe *probes, uint32_t len)
{
    const struct arena *arena = &run->mount->arena;
    const struct kvr_key *keys = &run->keys[from];
    uint64_t seed = run->mount->seed;
    uint32_t n = batch_len(run, from);

    for (uint32_t i = 0; i < n; i++) {
        struct key_hash hash =
            len ? hash_key_of(keys[i].data, len, seed) : hash_key(keys[i].data, keys[i].len, seed);
        uint32_t partition = len ? 0 : hash_partition(hash, arena->nr_partitions);

        glance_place(&probes[i].glance, &arena->maps[partition], partition, hash);
        prefetch_read(probes[i].glance.bucket);
    }
}

static inline __attribute__((always_inline)) void guess_batch(const struct run *run, uint32_t from,
                                                              struct probe *probes, uint32_t len)
{
    const struct part_map *maps = run->mount->arena.maps;
    uint32_t n = batch_len(run, from);

    for (uint32_t i = 0; i < n; i++)
        probe_guess(&probes[i], &maps[len ? 0 : probes[i].glance.partition]);
}

/* As far as it goes. While the cache lines of one batch are worked on, those of the next two are on
 * their way. Returns how many keys are done. */
static inline __attribute__((always_inline)) uint32_t run_through(struct kvr_client *client,
                                                                  struct run *run, uint32_t len)
{
    struct probe probes[STAGES][BATCH];
    bool fences = any_fenced(client);
    uint32_t done = 0;

    run->why = FOUND;
    setup_batch(run, 0, probes[0], len);
    setup_batch(run, BATCH, probes[1], len);
    guess_batch(run, 0, probes[0], len);
    for (unsigned turn = 0; done < run->nr && run->why == FOUND; turn++) {
        struct probe *now = probes[turn % STAGES];
        uint32_t n = batch_len(run, done);

        setup_batch(run, done + 2 * BATCH, probes[(turn + 2) % STAGES], len);
        guess_batch(run, done + BATCH, probes[(turn + 1) % STAGES], len);
        if (unlikely(fences && fenced(client, now, n)))
            run->why = FOUND_UNSURE;
        else
            done += hold_batch(run, done, now, n, len);
    }
    return done;
}

/* The same three times: where all keys are of one of the usual lengths and there is one partition,
 * a tenth of the instructions has nothing to do. */
static uint32_t run_once(struct kvr_client *client, struct run *run)
{
    uint32_t len = run->mount->arena.nr_partitions == 1 ? run->len : 0;

    if (len == HASH_SHORT)
        return run_through(client, run, HASH_SHORT);
    if (len == HASH_LONG)
        return run_through(client, run, HASH_LONG);
    return run_through(client, run, 0);
}

/* *len: see struct run. */
static bool keys_good(const struct kvr_key *keys, size_t nr, uint32_t *len)
{
    uint32_t first = nr > 0 ? keys[0].len : HASH_SHORT, differ = 0;
    bool bad = first - 1 >= KVR_KEY_MAX;

    for (size_t i = 0; i < nr; i++) {
        differ |= keys[i].len ^ first;
        bad |= !keys[i].data;
    }
    for (size_t i = 0; i < nr && differ; i++)
        bad |= keys[i].len - 1 >= KVR_KEY_MAX;
    *len = !differ && (first == HASH_SHORT || first == HASH_LONG) ? first : 0;
    return !bad;
}

/* run: keys, views, nr, chain. Comes back when all keys are done, or one ends it (run->why), or the
 * call failed: then nothing is held. *done: keys up to there. */
static enum kvr_status run_all(struct kvr_client *client, struct run *run, uint32_t *done)
{
    struct run whole = *run;
    struct patience patience = {0};
    enum kvr_status status;

    if (whole.nr > 0 && (!whole.keys || !whole.views))
        return KVR_INVALID;
    if (!keys_good(whole.keys, whole.nr, &run->len))
        return KVR_INVALID;
    do {
        status = local_usable(client);
        if (status != KVR_OK)
            break;
        run->mount = client->local->mount;
        run->keys = whole.keys + *done;
        run->views = whole.views + *done;
        run->nr = whole.nr - *done;
        run->now_ns = coarse_ns();
        *done += run_once(client, run);
    } while (run->why == FOUND_UNSURE && local_wait(client, &patience, &whole.keys[*done]));
    if (status == KVR_OK && run->why == FOUND_UNSURE)
        status = KVR_TIMEOUT;
    if (status != KVR_OK)
        kvr_release(client, whole.views, *done);
    return status;
}

enum kvr_status kvr_match_views(struct kvr_client *client, const struct kvr_key *keys,
                                size_t nr_keys, struct kvr_view *views, uint32_t *prefix)
{
    struct run run = {.keys = keys, .views = views, .nr = (uint32_t)nr_keys, .chain = true};
    uint32_t done = 0;
    enum kvr_status status = KVR_INVALID;

    *prefix = 0;
    if (nr_keys <= UINT32_MAX)
        status = run_all(client, &run, &done);
    if (status != KVR_OK)
        return status;
    client->local->mount->segment.header->matches++;
    *prefix = done;
    return run.why == FOUND_FULL ? KVR_LIMIT : KVR_OK;
}

enum kvr_status kvr_get_views(struct kvr_client *client, const struct kvr_key *keys, size_t nr_keys,
                              struct kvr_view *views, size_t *nr_found)
{
    struct run run = {.keys = keys, .views = views, .nr = (uint32_t)nr_keys};
    uint32_t done = 0;
    enum kvr_status status = KVR_INVALID;

    if (nr_found)
        *nr_found = 0;
    if (nr_keys <= UINT32_MAX)
        status = run_all(client, &run, &done);
    if (status != KVR_OK)
        return status;
    if (nr_found)
        *nr_found = done - run.nr_absent;
    for (size_t i = done; i < nr_keys; i++)
        views[i] = (struct kvr_view){0};
    return run.why == FOUND_FULL ? KVR_LIMIT : KVR_OK;
}
