/* SPDX-License-Identifier: Apache-2.0 */
/* The pool against a model: random hits, hints, overwrites, deletes (of which the pool hears at
 * once or late), devices that fail, jobs that move copies into an engine's cache, and clients that
 * read the exported memory and die. Whoever holds a pin must see the bytes of the reference that it
 * asked for, unless it is told that they were lost; a forgotten reference is never found. Usage:
 * gpu_pool [SECONDS [SEED]] */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/spsc.h"
#include "unit/gpu/pool_bed.h"

#define DEVICES 3u
#define CLIENTS 2u
#define LEASES 32u /* of a client */
#define MOVES 16u
#define LATE 64u
#define NR_FORGOTTEN 256u
#define FAILURES 12u        /* each makes its device's pause before a reset longer */
#define HOLDER_JOBS CLIENTS /* clients have the numbers before it */

/* A pin of a client. Written by the owner before it is sent, then the client's until it is back. */
struct lease {
    struct pool_place place;
    uint64_t ref;
    bool out; /* owner */
};

/* What a client mapped of a device's region, the newest. */
struct window {
    uint8_t *bytes;
    size_t size;
    uint32_t lost;
};

struct client {
    pthread_t thread;
    struct model *model;
    unsigned number;
    struct spsc leases, back;
    struct lease all[LEASES];
    struct window windows[DEVICES]; /* client */
    uint64_t reads, passed;         /* client; passed: the handle was of other memory */
    bool stop, deaf;                /* atomic: owner. deaf: reads nothing any more */
    bool quiet;                     /* atomic: client, it has seen deaf */
};

struct move {
    struct gpu_job job;
    struct pool_place place;
    uint64_t ref;
    uint32_t engine_lost;
    bool out;
};

struct model {
    struct bed *bed;
    struct rng rng;
    struct zipf zipf;
    struct client clients[CLIENTS];
    struct gpu_region *engines[DEVICES];
    struct move moves[MOVES];
    uint64_t late[LATE]; /* unlinked, and the pool does not know */
    uint64_t forgotten[NR_FORGOTTEN];
    unsigned nr_late, nr_forgotten;
    uint64_t break_ns, break_every_ns; /* the next failure; 0: never */
    uint64_t steps, found, read, moved, lost, failures, deaths;
};

static void fail(const char *what, uint64_t ref)
{
    fprintf(stderr, "gpu_pool: %s: block %u, generation %u\n", what, (unsigned)ref,
            (unsigned)(ref >> 32));
    abort();
}

static uint64_t below(struct model *model, uint64_t n)
{
    return rng_below(&model->rng, n);
}

/* Clients. */

static bool window_open(struct client *client, const struct pool_place *place)
{
    struct window *window = &client->windows[place->device];
    struct gpu_handle handle;
    uint32_t lost;

    if (window->bytes && window->lost == place->lost)
        return true;
    if (pool_export(client->model->bed->pool, (unsigned)place->device, &handle, &lost))
        return false;
    if (window->bytes)
        munmap(window->bytes, window->size);
    *window = (struct window){.size = handle.size, .lost = lost};
    window->bytes = mmap(NULL, handle.size, PROT_READ, MAP_SHARED, handle.fd, 0);
    close(handle.fd);
    if (window->bytes == MAP_FAILED)
        fail("mmap", 0);
    return lost == place->lost;
}

static void lease_read(struct client *client, const struct lease *lease)
{
    const struct pool_place *place = &lease->place;

    if (!window_open(client, place)) {
        client->passed++;
        return;
    }
    sched_yield(); /* others may do something meanwhile */
    if (!bed_bytes_are(client->windows[place->device].bytes + place->offset, lease->ref,
                       place->bytes))
        fail("a client sees other bytes", lease->ref);
    client->reads++;
}

static void *client_run(void *arg)
{
    struct client *client = arg;
    uint64_t word;

    while (!__atomic_load_n(&client->stop, __ATOMIC_RELAXED)) {
        bool deaf = __atomic_load_n(&client->deaf, __ATOMIC_ACQUIRE); /* with client_die */
        bool any = spsc_pop(&client->leases, &word);

        if (any && !deaf)
            lease_read(client, &client->all[word]);
        if (any)
            (void)spsc_push(&client->back, word);
        else
            __atomic_store_n(&client->quiet, deaf, __ATOMIC_RELEASE); /* with client_die */
        if (!any)
            sched_yield();
    }
    for (unsigned i = 0; i < DEVICES; i++)
        if (client->windows[i].bytes)
            munmap(client->windows[i].bytes, client->windows[i].size);
    return NULL;
}

static void client_start(struct model *model, unsigned number)
{
    struct client *client = &model->clients[number];

    *client = (struct client){.model = model, .number = number};
    if (spsc_create(&client->leases, LEASES) || spsc_create(&client->back, LEASES) ||
        pthread_create(&client->thread, NULL, client_run, client))
        fail("a client does not start", 0);
}

static void leases_take_back(struct model *model, struct client *client, bool dead)
{
    uint64_t word;

    while (spsc_pop(&client->back, &word)) {
        struct lease *lease = &client->all[word];
        int rc = pool_unpin(model->bed->pool, client->number, lease->place.pin);

        if (dead ? rc != -EINVAL : rc != 0 && rc != -EIO)
            fail("an unpin", lease->ref);
        lease->out = false;
    }
}

/* It reads no more, its pins go, and what it still sends is refused. */
static void client_die(struct model *model, struct client *client)
{
    __atomic_store_n(&client->quiet, false, __ATOMIC_RELAXED);
    __atomic_store_n(&client->deaf, true, __ATOMIC_RELEASE);   /* with client_run */
    while (!__atomic_load_n(&client->quiet, __ATOMIC_ACQUIRE)) /* with client_run */
        sched_yield();
    (void)pool_release(model->bed->pool, client->number);
    leases_take_back(model, client, true);
    __atomic_store_n(&client->deaf, false, __ATOMIC_RELEASE);
    model->deaths++;
}

static bool lend(struct model *model, const struct pool_place *place, uint64_t ref)
{
    struct client *client = &model->clients[below(model, CLIENTS)];

    for (uint64_t i = 0; i < LEASES; i++) {
        struct pool_place own;

        if (client->all[i].out)
            continue;
        if (pool_pin(model->bed->pool, ref, place->device, client->number, &own))
            return false;
        client->all[i] = (struct lease){.place = own, .ref = ref, .out = true};
        (void)spsc_push(&client->leases, i);
        return true;
    }
    return false;
}

/* Jobs that read. */

/* As bytes: a form with pieces of 16, so that more than one is on its way. */
static struct kvr_form pieces_of(uint32_t bytes)
{
    struct kvr_form form = {.nr_layers = 1, .nr_kinds = 1, .nr_pieces = 1, .piece_bytes = bytes};

    if (bytes % 64 == 0)
        form = (struct kvr_form){
            .nr_layers = 2, .nr_kinds = 1, .nr_pieces = 2, .piece_bytes = bytes / 4};
    return pool_form(&form);
}

static bool move_start(struct model *model, const struct pool_place *place, uint64_t ref)
{
    for (uint64_t i = 0; i < MOVES; i++) {
        struct move *move = &model->moves[i];
        struct gpu_region *engine = model->engines[place->device];

        if (move->out)
            continue;
        *move = (struct move){.place = *place, .ref = ref, .out = true};
        move->engine_lost = gpu_region_lost(engine);
        move->job = (struct gpu_job){.direction = GPU_MOVE,
                                     .priority = (uint8_t)below(model, GPU_PRIORITIES),
                                     .device = place->device,
                                     .region = engine,
                                     .region_off = i * BED_BLOCK_MAX,
                                     .from = place->region,
                                     .from_off = place->offset,
                                     .from_form = pieces_of(place->bytes),
                                     .form = pieces_of(place->bytes),
                                     .user = move};
        if (gpu_push(model->bed->fleet, BED_PRODUCER, &move->job))
            return true;
        move->out = false;
        return false;
    }
    return false;
}

/* The bytes are what they should be, or the device has failed and gives none. */
static void count_read(struct model *model, int rc, uint64_t ref, uint64_t *counter)
{
    if (rc == 0)
        ++*counter;
    else if (rc == -EBADMSG || model->failures == 0)
        fail("other bytes", ref);
    else
        model->lost++;
}

/* What arrived counts only if neither side was lost until it was looked at. */
static void move_end(struct model *model, struct move *move)
{
    struct pool_place arrived = {.region = move->job.region,
                                 .offset = move->job.region_off,
                                 .bytes = move->place.bytes,
                                 .device = move->place.device};
    int rc = pool_unpin(model->bed->pool, HOLDER_JOBS, move->place.pin);
    int read_rc = bed_place_read(model->bed, &arrived, move->ref);

    if (rc != 0 && rc != -EIO)
        fail("an unpin after a job", move->ref);
    if (rc == -EIO || move->job.status != KVR_OK ||
        gpu_region_lost(arrived.region) != move->engine_lost)
        model->lost++;
    else
        count_read(model, read_rc, move->ref, &model->moved);
    move->out = false;
}

static void jobs_take(struct model *model)
{
    struct gpu_job *jobs[8];
    unsigned nr = gpu_pop(model->bed->fleet, BED_PRODUCER, jobs, 8);

    for (unsigned i = 0; i < nr; i++)
        if (!pool_take(model->bed->pool, jobs[i]))
            move_end(model, jobs[i]->user);
}

/* The owner reads itself. */
static void read_here(struct model *model, const struct pool_place *place, uint64_t ref)
{
    int rc = bed_place_read(model->bed, place, ref);

    if (pool_unpin(model->bed->pool, HOLDER_JOBS, place->pin) == -EIO)
        model->lost++;
    else
        count_read(model, rc, ref, &model->read);
}

/* Steps. */

static void hit(struct model *model)
{
    uint32_t block = (uint32_t)zipf_next(&model->zipf, &model->rng);
    struct pool_block from = bed_block(model->bed, block);
    int device = below(model, 3) ? GPU_ANY : (int)below(model, DEVICES);
    struct pool_place place;
    uint64_t how = below(model, 8);

    if (model->bed->blocks[block].gone)
        return;
    if (pool_pin(model->bed->pool, from.ref, device, HOLDER_JOBS, &place)) {
        (void)pool_hit(model->bed->pool, device, &from);
        return;
    }
    model->found++;
    if (place.bytes != from.len)
        fail("another length", from.ref);
    if (how < 3 && move_start(model, &place, from.ref))
        return;
    if (how < 6)
        (void)lend(model, &place, from.ref);
    read_here(model, &place, from.ref);
}

static void hint(struct model *model)
{
    uint32_t block = (uint32_t)below(model, BED_BLOCKS);
    struct pool_block from = bed_block(model->bed, block);

    from.priority = (uint8_t)below(model, GPU_PRIORITIES);
    (void)pool_load(model->bed->pool, (int)below(model, DEVICES + 1) - 1, &from);
}

static void forget(struct model *model, uint64_t ref)
{
    pool_forget(model->bed->pool, ref);
    model->forgotten[model->nr_forgotten++ % NR_FORGOTTEN] = ref;
}

static void late_news(struct model *model)
{
    if (model->nr_late)
        forget(model, model->late[--model->nr_late]);
}

static void unlink_block(struct model *model, uint32_t block)
{
    struct bed_block *at = &model->bed->blocks[block];

    if (at->gone)
        return;
    at->gone = true;
    if (model->nr_late < LATE && below(model, 4) == 0)
        model->late[model->nr_late++] = bed_ref(model->bed, block);
    else
        forget(model, bed_ref(model->bed, block));
}

/* Its memory is used again as soon as nobody has it pinned. */
static void overwrite(struct model *model)
{
    uint32_t block = (uint32_t)below(model, BED_BLOCKS);
    static const uint32_t lens[] = {4096, 16384, BED_BLOCK_MAX};
    uint32_t most = lens[below(model, 3)];

    unlink_block(model, block);
    if (model->bed->blocks[block].pins == 0)
        bed_write(model->bed, block, 16 * (1 + (uint32_t)below(model, most / 16)));
}

static void ask_for_the_forgotten(struct model *model)
{
    unsigned nr = model->nr_forgotten < NR_FORGOTTEN ? model->nr_forgotten : NR_FORGOTTEN;
    struct pool_place place;

    if (nr == 0)
        return;
    nr = (unsigned)below(model, nr);
    if (pool_pin(model->bed->pool, model->forgotten[nr], GPU_ANY, HOLDER_JOBS, &place) != -ENOENT)
        fail("a forgotten block is found", model->forgotten[nr]);
}

static void break_a_device(struct model *model, uint64_t now_ns)
{
    struct gpu_device *device =
        gpu_fleet_device(model->bed->fleet, (unsigned)below(model, DEVICES));

    gpu_host_fail_after(device, below(model, 200), (unsigned)below(model, 2));
    model->failures++;
    model->break_ns = now_ns + model->break_every_ns;
}

static void step(struct model *model, uint64_t now_ns)
{
    uint64_t what = below(model, 1000);

    if (what < 900)
        hit(model);
    else if (what < 950)
        hint(model);
    else if (what < 958)
        overwrite(model);
    else if (what < 960)
        unlink_block(model, (uint32_t)below(model, BED_BLOCKS));
    else if (what < 963)
        late_news(model);
    else if (what < 980)
        ask_for_the_forgotten(model);
    if (model->break_every_ns && now_ns >= model->break_ns)
        break_a_device(model, now_ns);
    else if (what == 998 && below(model, 20) == 0)
        client_die(model, &model->clients[below(model, CLIENTS)]);
    jobs_take(model);
    for (unsigned i = 0; i < CLIENTS; i++)
        leases_take_back(model, &model->clients[i], false);
    if (++model->steps % 4096 == 0 && pool_audit(model->bed->pool))
        fail("the audit", 0);
}

static bool any_out(const struct model *model)
{
    for (unsigned i = 0; i < MOVES; i++)
        if (model->moves[i].out)
            return true;
    for (unsigned i = 0; i < CLIENTS; i++)
        for (unsigned l = 0; l < LEASES; l++)
            if (model->clients[i].all[l].out)
                return true;
    return false;
}

static void end(struct model *model)
{
    while (any_out(model)) {
        jobs_take(model);
        for (unsigned i = 0; i < CLIENTS; i++)
            leases_take_back(model, &model->clients[i], false);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        __atomic_store_n(&model->clients[i].stop, true, __ATOMIC_RELAXED);
        pthread_join(model->clients[i].thread, NULL);
        spsc_destroy(&model->clients[i].leases);
        spsc_destroy(&model->clients[i].back);
    }
    while (model->nr_late)
        late_news(model);
    bed_settle(model->bed);
    for (unsigned i = 0; i < DEVICES; i++)
        gpu_region_close(model->bed->fleet, model->engines[i]);
}

static void report(const struct model *model, const char *policy)
{
    uint64_t evictions = 0, loads = 0;

    for (unsigned i = 0; i < DEVICES; i++) {
        struct pool_stats stats;

        (void)pool_stats(model->bed->pool, i, &stats);
        evictions += stats.evictions;
        loads += stats.loads;
    }
    printf("%s: %llu steps, %llu found, %llu read, %llu moved, %llu and %llu by clients, %llu "
           "loads, %llu evictions, %llu failures, %llu reads lost, %llu deaths\n",
           policy, (unsigned long long)model->steps, (unsigned long long)model->found,
           (unsigned long long)model->read, (unsigned long long)model->moved,
           (unsigned long long)model->clients[0].reads, (unsigned long long)model->clients[1].reads,
           (unsigned long long)loads, (unsigned long long)evictions,
           (unsigned long long)model->failures, (unsigned long long)model->lost,
           (unsigned long long)model->deaths);
    if (!model->read || !model->moved || !model->clients[0].reads || !evictions)
        fail("something was never tried", 0);
}

static void run(const char *policy, uint64_t seed, uint64_t ns, bool failures)
{
    static struct model model;
    struct pool_options options = {.policy = policy_find(policy),
                                   .classes = {{4096, 24}, {16384, 12}, {65536, 6}},
                                   .nr_classes = 3,
                                   .promote_hits = 2,
                                   .nr_holders = CLIENTS + 1,
                                   .pins_max = 48};
    uint64_t until_ns;

    model = (struct model){.bed = bed_open(DEVICES, &options)};
    rng_seed(&model.rng, seed);
    zipf_setup(&model.zipf, BED_BLOCKS, 0.9);
    for (unsigned i = 0; i < DEVICES; i++)
        if (gpu_region_alloc(model.bed->fleet, (int)i, MOVES * BED_BLOCK_MAX, &model.engines[i]))
            fail("an engine's cache", 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        client_start(&model, i);
    until_ns = clock_ns() + ns;
    model.break_every_ns = failures ? ns / FAILURES : 0;
    for (uint64_t now_ns; (now_ns = clock_ns()) < until_ns;)
        step(&model, now_ns);
    end(&model);
    report(&model, policy);
    bed_close(model.bed);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 5;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : clock_ns();
    uint64_t part_ns = (uint64_t)(seconds * (double)NS_PER_S / 4);

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %llu\n", (unsigned long long)seed);
    run("lru", seed, part_ns, false);
    run("lru", seed + 1, part_ns, true);
    run("lfu", seed + 2, part_ns, true);
    run("fifo", seed + 3, part_ns, true);
    return 0;
}
