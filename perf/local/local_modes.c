/* SPDX-License-Identifier: Apache-2.0 */
/* The measured loops. Values begin with the number of their key: every hit is checked against it,
 * outside of what is timed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/histogram.h"
#include "local_load.h"
#include "perf/micro/ticks.h"

#define DRAWN 4096u           /* key numbers drawn ahead of a round */
#define SAMPLES 500000u       /* hits timed one by one */
#define SLICE_NS 20000000ull  /* of copying, before memcpy has its turn */
#define COPY_BYTES (1u << 30) /* most of ordinary memory for the reference */

static bool wrong(const char *what, uint64_t number, enum kvr_status status)
{
    fprintf(stderr, "local_load: %s: key %lu: %s\n", what, (unsigned long)number,
            kvr_status_name(status));
    return false;
}

/* Whether the value is that of the key. */
static bool right(const struct work *work, const void *value, uint32_t len, uint64_t number)
{
    uint64_t said = ~number;

    memcpy(&said, value, len < sizeof(said) ? len : sizeof(said));
    return len == work->size && (len < sizeof(said) || said == number);
}

static double tick_cost_ns(const struct work *work)
{
    uint64_t began = ticks_now();

    for (unsigned i = 0; i < 10000; i++)
        (void)ticks_now();
    return (double)(ticks_now() - began) / 10000 * work->ns_per_tick;
}

static void quantiles(json_t *report, const char *name, const struct histogram *ns)
{
    json_object_set_new(report, name,
                        json_pack("{s:I, s:I, s:I, s:I}", "p50_ns",
                                  (json_int_t)histogram_quantile(ns, 0.5), "p99_ns",
                                  (json_int_t)histogram_quantile(ns, 0.99), "max_ns",
                                  (json_int_t)ns->max, "samples", (json_int_t)ns->count));
}

/* ---- hit ------------------------------------------------------------------------------------- */

/* A round of hits; the first byte of each value is read, as a caller would. */
static bool hit_round(struct work *work, const uint64_t *numbers)
{
    uint8_t key[KEY_SIZE_MAX];

    for (unsigned i = 0; i < DRAWN; i++) {
        struct kvr_view view;
        enum kvr_status status =
            kvr_get_view(work->client, work_key(work, numbers[i], key), work->key_size, &view);

        if (status != KVR_OK || view.len != work->size)
            return wrong("hit", numbers[i], status);
        kvr_release(work->client, &view, 1);
    }
    return true;
}

static bool hit_timed(struct work *work, struct histogram *ns)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t number = work_draw(work), began, ended;
        uint8_t key[KEY_SIZE_MAX];
        enum kvr_status status;
        struct kvr_view view;

        work_key(work, number, key);
        began = ticks_now();
        status = kvr_get_view(work->client, key, work->key_size, &view);
        if (status == KVR_OK)
            kvr_release(work->client, &view, 1);
        ended = ticks_now();
        if (status != KVR_OK)
            return wrong("hit", number, status);
        histogram_add(ns, (uint64_t)((double)(ended - began) * work->ns_per_tick + 0.5));
    }
    return true;
}

/* That the right values are found; not timed. */
static bool hit_checked(struct work *work)
{
    for (unsigned i = 0; i < DRAWN; i++) {
        uint64_t number = work_draw(work);
        uint8_t key[KEY_SIZE_MAX];
        struct kvr_view view;
        enum kvr_status status =
            kvr_get_view(work->client, work_key(work, number, key), work->key_size, &view);
        bool good;

        if (status != KVR_OK)
            return wrong("hit", number, status);
        good = right(work, view.data, view.len, number);
        kvr_release(work->client, &view, 1);
        if (!good)
            return wrong("wrong value", number, KVR_CORRUPT);
    }
    return true;
}

bool mode_hit(struct work *work, json_t *report)
{
    struct histogram *ns = calloc(1, sizeof(*ns));
    uint64_t numbers[DRAWN], spent_ns = 0, hits = 0;
    bool good = ns && hit_checked(work);

    while (good && (double)spent_ns < work->seconds * 1e9) {
        uint64_t began;

        for (unsigned i = 0; i < DRAWN; i++)
            numbers[i] = work_draw(work);
        began = clock_ns();
        good = hit_round(work, numbers);
        spent_ns += clock_ns() - began;
        hits += DRAWN;
    }
    good = good && hit_timed(work, ns);
    if (good) {
        json_object_set_new(report, "hits_s", json_real((double)hits * 1e9 / (double)spent_ns));
        json_object_set_new(report, "ns_per_hit", json_real((double)spent_ns / (double)hits));
        json_object_set_new(report, "tick_cost_ns", json_real(tick_cost_ns(work)));
        quantiles(report, "hit", ns);
    }
    free(ns);
    return good;
}

/* ---- hits: many keys a call ------------------------------------------------------------------ */

struct batch {
    struct kvr_key keys[BATCH_MAX];
    struct kvr_view views[BATCH_MAX];
    uint64_t numbers[BATCH_MAX];
    uint8_t bytes[BATCH_MAX][KEY_SIZE_MAX];
};

static void batch_draw(struct work *work, struct batch *batch)
{
    for (uint32_t i = 0; i < work->batch; i++) {
        batch->numbers[i] = work_draw(work);
        batch->keys[i].data = work_key(work, batch->numbers[i], batch->bytes[i]);
        batch->keys[i].len = work->key_size;
    }
}

/* One call, and the release of what it held. Every value is looked at in between, outside of what
 * is timed. */
static bool batch_run(struct work *work, struct batch *batch, uint64_t *ticks)
{
    uint64_t began = ticks_now(), held, done;
    size_t found = 0;
    enum kvr_status status =
        kvr_get_views(work->client, batch->keys, work->batch, batch->views, &found);
    bool good = true;

    held = ticks_now();
    if (status != KVR_OK || found != work->batch)
        return wrong("hits", found, status);
    for (uint32_t i = 0; i < work->batch && good; i++)
        good = right(work, batch->views[i].data, batch->views[i].len, batch->numbers[i]);
    done = ticks_now();
    kvr_release(work->client, batch->views, work->batch);
    *ticks = held - began + ticks_now() - done;
    return good || wrong("wrong value", batch->numbers[0], KVR_CORRUPT);
}

bool mode_hits(struct work *work, json_t *report)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    struct histogram *ns = calloc(1, sizeof(*ns));
    uint64_t end_ns = clock_ns() + (uint64_t)(work->seconds * 1e9), hits = 0, ticks = 0;
    double spent_ns = 0;
    bool good = batch && ns;

    while (good && clock_ns() < end_ns)
        for (uint32_t i = 0; i < DRAWN / work->batch && good; i++) {
            double call_ns;

            batch_draw(work, batch);
            good = batch_run(work, batch, &ticks);
            call_ns = (double)ticks * work->ns_per_tick;
            histogram_add(ns, (uint64_t)(call_ns + 0.5));
            spent_ns += call_ns;
            hits += work->batch;
        }
    if (good) {
        json_object_set_new(report, "hits_s", json_real((double)hits * 1e9 / spent_ns));
        json_object_set_new(report, "ns_per_hit", json_real(spent_ns / (double)hits));
        json_object_set_new(report, "batch", json_integer(work->batch));
        quantiles(report, "call", ns);
    }
    free(batch);
    free(ns);
    return good;
}

/* ---- match ----------------------------------------------------------------------------------- */

/* A chain is a run of keys in the order in which they were stored. */
static uint64_t chain_make(struct work *work, struct kvr_key *keys, uint8_t *bytes)
{
    uint64_t first = rng_below(&work->rng, work->nr_keys - work->chain + 1);

    for (uint32_t i = 0; i < work->chain; i++)
        keys[i] = (struct kvr_key){work_key(work, first + i, bytes + (size_t)i * work->key_size),
                                   work->key_size};
    return first;
}

static bool match_once(struct work *work, struct kvr_key *keys, uint8_t *bytes,
                       struct kvr_view *views, struct histogram *match, struct histogram *both)
{
    uint64_t first = chain_make(work, keys, bytes), began, matched, ended;
    uint32_t prefix = 0;
    enum kvr_status status;
    bool good = true;

    began = ticks_now();
    status = kvr_match_views(work->client, keys, work->chain, views, &prefix);
    matched = ticks_now();
    if (status != KVR_OK || prefix != work->chain)
        return wrong("match", first + prefix, status);
    for (uint32_t i = 0; i < work->chain && good; i += 97)
        good = right(work, views[i].data, views[i].len, first + i);
    ended = ticks_now();
    kvr_release(work->client, views, prefix);
    ended = ticks_now() - ended;
    histogram_add(match, (uint64_t)((double)(matched - began) * work->ns_per_tick));
    histogram_add(both, (uint64_t)((double)(matched - began + ended) * work->ns_per_tick));
    return good || wrong("wrong value in a chain", first, KVR_CORRUPT);
}

bool mode_match(struct work *work, json_t *report)
{
    struct kvr_key *keys = calloc(work->chain, sizeof(*keys));
    uint8_t *bytes = malloc((size_t)work->chain * work->key_size);
    struct kvr_view *views = calloc(work->chain, sizeof(*views));
    struct histogram *ns = calloc(2, sizeof(*ns));
    uint64_t end_ns = clock_ns() + (uint64_t)(work->seconds * 1e9);
    bool good = keys && bytes && views && ns && work->chain <= work->nr_keys;

    while (good && clock_ns() < end_ns)
        good = match_once(work, keys, bytes, views, &ns[0], &ns[1]);
    if (good) {
        quantiles(report, "match", &ns[0]);
        quantiles(report, "match_and_release", &ns[1]);
        json_object_set_new(report, "chain", json_integer(work->chain));
    }
    free(keys);
    free(bytes);
    free(views);
    free(ns);
    return good;
}

/* ---- copy ------------------------------------------------------------------------------------ */

struct copier {
    struct work *work;
    uint8_t *buffer, *plain; /* of the reference */
    uint64_t nr_plain;
    uint64_t copied, copied_ns, moved, moved_ns;
};

static bool copy_slice(struct copier *copier)
{
    struct work *work = copier->work;
    uint64_t began = clock_ns(), now = began;

    while (now - began < SLICE_NS) {
        uint64_t number = work_draw(work);
        size_t len = 0;
        uint8_t key[KEY_SIZE_MAX];
        enum kvr_status status = kvr_get_copy(work->client, work_key(work, number, key),
                                              work->key_size, copier->buffer, work->size, 0, &len);

        if (status != KVR_OK)
            return wrong("copy", number, status);
        if (!right(work, copier->buffer, (uint32_t)len, number))
            return wrong("wrong value", number, KVR_CORRUPT);
        copier->copied += len;
        now = clock_ns();
    }
    copier->copied_ns += now - began;
    return true;
}

static void move_slice(struct copier *copier)
{
    struct work *work = copier->work;
    uint64_t began = clock_ns(), now = began;

    while (now - began < SLICE_NS) {
        uint64_t number = work_draw(work) % copier->nr_plain;

        memcpy(copier->buffer, copier->plain + number * work->size, work->size);
        __asm__ volatile("" ::"r"(copier->buffer) : "memory");
        copier->moved += work->size;
        now = clock_ns();
    }
    copier->moved_ns += now - began;
}

bool mode_copy(struct work *work, json_t *report)
{
    struct copier copier = {.work = work, .nr_plain = work->nr_keys};
    uint64_t end_ns;
    bool good;

    if (copier.nr_plain * work->size > COPY_BYTES)
        copier.nr_plain = COPY_BYTES / work->size;
    copier.buffer = aligned_alloc(4096, (work->size + 4095u) / 4096u * 4096u);
    copier.plain = aligned_alloc(4096, (copier.nr_plain * work->size + 4095u) / 4096u * 4096u);
    good = copier.buffer && copier.plain;
    if (good) {
        memset(copier.plain, 0x5a, copier.nr_plain * work->size);
        memset(copier.buffer, 0, work->size);
    }
    end_ns = clock_ns() + (uint64_t)(work->seconds * 1e9);
    while (good && clock_ns() < end_ns) {
        good = copy_slice(&copier);
        move_slice(&copier);
    }
    if (good) {
        double copy = (double)copier.copied / (double)copier.copied_ns;
        double move = (double)copier.moved / (double)copier.moved_ns;

        json_object_set_new(report, "copy_bytes_s", json_real(copy * 1e9));
        json_object_set_new(report, "memcpy_bytes_s", json_real(move * 1e9));
        json_object_set_new(report, "ratio", json_real(copy / move));
        json_object_set_new(report, "reference_blocks", json_integer((json_int_t)copier.nr_plain));
    }
    free(copier.buffer);
    free(copier.plain);
    return good;
}

/* ---- count ----------------------------------------------------------------------------------- */

/* All keys once: which are there, and whether their values are theirs. */
bool mode_count(struct work *work, json_t *report)
{
    uint64_t hits = 0, bad = 0;

    for (uint64_t i = 0; i < work->nr_keys; i++) {
        uint8_t key[KEY_SIZE_MAX];
        struct kvr_view view;
        enum kvr_status status =
            kvr_get_view(work->client, work_key(work, i, key), work->key_size, &view);

        if (status == KVR_MISS)
            continue;
        if (status != KVR_OK)
            return wrong("count", i, status);
        hits++;
        bad += !right(work, view.data, view.len, i);
        kvr_release(work->client, &view, 1);
    }
    json_object_set_new(report, "hits", json_integer((json_int_t)hits));
    json_object_set_new(report, "wrong", json_integer((json_int_t)bad));
    return true;
}
