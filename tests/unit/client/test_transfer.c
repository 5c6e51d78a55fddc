/* SPDX-License-Identifier: Apache-2.0 */
/* kvr_load and kvr_store against the real engine (engine.h): over UDP the library copies, over
 * shared memory a device of the host's does. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "kvrail/transfer.h"

#define SLOTS 64u
#define LAYERS 8u
#define PIECE 4096u
#define LAYER_STEP (2ull * SLOTS * PIECE)
#define SIZE (LAYERS * LAYER_STEP)
#define BLOCK (LAYERS * 2u * PIECE)
#define NR 40u
#define UNTOUCHED 0xeeu

static const struct kvr_form form = {.nr_layers = LAYERS,
                                     .nr_kinds = 2,
                                     .nr_pieces = 1,
                                     .piece_bytes = PIECE,
                                     .layer_step = LAYER_STEP,
                                     .kind_step = (uint64_t)SLOTS * PIECE};

static struct kvr_client *client;
static struct kvr_region *region;
static struct kvr_region_spec spec;
static uint8_t *memory;
static struct kvr_key keys[NR];
static char names[NR][16];
static uint64_t offs[NR];
static enum kvr_status statuses[NR];

static void setup(void)
{
    engine_start("2", "67108864", "0");
    client = engine_open("127.0.0.1");
    spec = (struct kvr_region_spec){.kind = KVR_REGION_MEMFD, .size = SIZE};
    spec.fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_geq(spec.fd, 0);
    cr_assert_eq(ftruncate(spec.fd, SIZE), 0);
    cr_assert_eq(fcntl(spec.fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, spec.fd, 0);
    cr_assert_neq(memory, MAP_FAILED);
    spec.base = memory;
    cr_assert_eq(kvr_region_register(client, &spec, &region), KVR_OK);
    cr_assert_eq(kvr_region_by_device(region), engine_path[0] != 0);
    for (unsigned i = 0; i < NR; i++) {
        snprintf(names[i], sizeof(names[i]), "block/%u", i);
        keys[i] = (struct kvr_key){names[i], (uint32_t)strlen(names[i])};
    }
}

static void teardown(void)
{
    kvr_close(client);
    engine_stop();
    munmap(memory, SIZE);
    close(spec.fd);
}

TestSuite(transfer, .init = setup, .fini = teardown);

static uint8_t byte_of(unsigned block, unsigned layer, unsigned kind, unsigned i)
{
    return (uint8_t)(block * 31 + layer * 7 + kind * 101 + i * 3 + i / 255);
}

static uint8_t *piece_at(unsigned block, unsigned layer, unsigned kind)
{
    return memory + offs[block] + layer * LAYER_STEP + kind * form.kind_step;
}

static void choose(unsigned step)
{
    for (unsigned i = 0; i < NR; i++)
        offs[i] = (uint64_t)(i * step % SLOTS) * PIECE;
}

static void fill(unsigned n)
{
    for (unsigned b = 0; b < n; b++)
        for (unsigned layer = 0; layer < LAYERS; layer++)
            for (unsigned kind = 0; kind < 2; kind++)
                for (unsigned i = 0; i < PIECE; i++)
                    piece_at(b, layer, kind)[i] = byte_of(b, layer, kind, i);
}

static void must_hold(unsigned block, unsigned first, unsigned end)
{
    for (unsigned layer = first; layer < end; layer++)
        for (unsigned kind = 0; kind < 2; kind++)
            for (unsigned i = 0; i < PIECE; i++)
                if (piece_at(block, layer, kind)[i] != byte_of(block, layer, kind, i))
                    cr_assert(false, "block %u layer %u byte %u", block, layer, i);
}

static unsigned touched(void)
{
    unsigned n = 0;

    for (uint64_t at = 0; at < SIZE; at += PIECE)
        n += memory[at] != UNTOUCHED || memcmp(memory + at, memory + at + 1, PIECE - 1) != 0;
    return n;
}

static struct kvr_transfer of(uint32_t n)
{
    return (struct kvr_transfer){.keys = keys,
                                 .offs = offs,
                                 .nr_keys = n,
                                 .region = region,
                                 .form = form,
                                 .statuses = statuses};
}

static void store_all(uint32_t n)
{
    struct kvr_transfer transfer = of(n);

    choose(1);
    fill(n);
    cr_assert_eq(kvr_store(client, &transfer), KVR_OK);
    cr_assert_eq(transfer.nr_done, n);
    cr_assert_eq(transfer.prefix, n);
    cr_assert_eq(transfer.bytes, (uint64_t)n * BLOCK);
    memset(memory, UNTOUCHED, SIZE);
    choose(11);
}

Test(transfer, brings_back_what_was_stored_to_other_places_and_touches_nothing_else)
{
    struct kvr_transfer transfer = of(NR);

    store_all(NR);
    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    cr_assert_eq(transfer.prefix, NR);
    cr_assert_eq(transfer.nr_done, NR);
    for (unsigned i = 0; i < NR; i++) {
        cr_assert_eq(statuses[i], KVR_OK);
        must_hold(i, 0, LAYERS);
    }
    cr_assert_eq(touched(), NR * LAYERS * 2);
}

Test(transfer, loads_the_prefix_that_is_stored_and_says_what_is_not)
{
    struct kvr_transfer transfer = of(NR);

    store_all(NR);
    cr_assert_eq(kvr_del(client, keys[5].data, keys[5].len), KVR_OK);
    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    cr_assert_eq(transfer.prefix, 5);
    cr_assert_eq(transfer.nr_done, 5);
    cr_assert_eq(statuses[4], KVR_OK);
    cr_assert_eq(statuses[5], KVR_MISS);
    cr_assert_eq(statuses[NR - 1], KVR_MISS);
    cr_assert_eq(touched(), 5 * LAYERS * 2);
    cr_assert_eq(kvr_del(client, keys[0].data, keys[0].len), KVR_OK);
    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    cr_assert_eq(transfer.prefix, 0);
}

static uint32_t layers_seen, nr_seen;

static void see(struct kvr_transfer *transfer, uint32_t layers)
{
    cr_assert_gt(layers, layers_seen);
    cr_assert_leq(layers, LAYERS);
    cr_assert_eq(transfer->prefix, NR);
    for (unsigned i = 0; i < NR; i++)
        must_hold(i, layers_seen, layers);
    layers_seen = layers;
    nr_seen++;
}

Test(transfer, tells_of_each_layer_when_all_blocks_have_it)
{
    struct kvr_transfer transfer = of(NR);

    store_all(NR);
    transfer.on_layer = see;
    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    cr_assert_eq(layers_seen, LAYERS);
    cr_assert_geq(nr_seen, 1);
    cr_assert_eq(touched(), NR * LAYERS * 2);
}

Test(transfer, loads_some_layers_only)
{
    struct kvr_transfer transfer = of(NR);

    store_all(NR);
    transfer.first_layer = 2;
    transfer.nr_layers = 3;
    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    for (unsigned i = 0; i < NR; i++)
        must_hold(i, 2, 5);
    cr_assert_eq(touched(), NR * 3 * 2);
    cr_assert_eq(transfer.bytes, NR * 3ull * 2 * PIECE);
}

Test(transfer, counts_what_is_there_already_as_stored)
{
    struct kvr_transfer transfer = of(NR);

    store_all(3);
    fill(NR);
    transfer.add = 1;
    cr_assert_eq(kvr_store(client, &transfer), KVR_OK);
    cr_assert_eq(transfer.nr_done, NR);
}

static unsigned nr_done;

static void count(struct kvr_transfer *transfer)
{
    cr_assert_eq(transfer->status, KVR_OK);
    cr_assert_null(transfer->private_state);
    nr_done++;
}

Test(transfer, submitted_ones_end_in_kvr_poll_and_wake_its_descriptor)
{
    struct kvr_transfer transfers[4];
    struct pollfd pollfd = {.fd = kvr_fd(client), .events = POLLIN};

    store_all(NR);
    for (unsigned i = 0; i < 4; i++) {
        transfers[i] = of(10);
        transfers[i].statuses = NULL;
        transfers[i].keys += (size_t)i * 10;
        transfers[i].offs += (size_t)i * 10;
        transfers[i].done = count;
        cr_assert_eq(kvr_submit_load(client, &transfers[i]), KVR_OK);
    }
    cr_assert_eq(nr_done, 0);
    cr_assert_eq(kvr_region_forget(client, region), KVR_BUSY);
    while (nr_done < 4 && poll(&pollfd, 1, 5000) > 0)
        kvr_poll(client, 0);
    cr_assert_eq(nr_done, 4);
    for (unsigned i = 0; i < NR; i++)
        must_hold(i, 0, LAYERS);
    cr_assert_eq(kvr_region_forget(client, region), KVR_OK);
}

static unsigned nr_canceled;

static void canceled(struct kvr_transfer *transfer)
{
    cr_assert_eq(transfer->status, KVR_CANCELED);
    nr_canceled++;
}

Test(transfer, ends_as_canceled_with_its_handle)
{
    struct kvr_transfer load = of(NR), store = of(NR);

    store_all(NR);
    load.done = store.done = canceled;
    load.statuses = store.statuses = NULL;
    cr_assert_eq(kvr_submit_load(client, &load), KVR_OK);
    cr_assert_eq(kvr_submit_store(client, &store), KVR_OK);
    kvr_close(client);
    cr_assert_eq(nr_canceled, 2);
    client = NULL;
}

Test(transfer, of_no_blocks_is_over_at_once)
{
    struct kvr_transfer transfer = of(0);

    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    cr_assert_eq(kvr_store(client, &transfer), KVR_OK);
    transfer.done = count;
    cr_assert_eq(kvr_submit_store(client, &transfer), KVR_OK);
    cr_assert_eq(nr_done, 0, "not from within");
    cr_assert_geq(kvr_poll(client, 1000), 1);
    cr_assert_eq(nr_done, 1);
}

Test(transfer, is_refused_with_the_reason_before_a_byte_moves)
{
    struct kvr_transfer transfer = of(2);

    store_all(2);
    offs[1] = (uint64_t)SLOTS * PIECE;
    cr_assert_eq(kvr_load(client, &transfer), KVR_BAD_RANGE);
    offs[1] = 3;
    cr_assert_eq(kvr_load(client, &transfer), KVR_BAD_RANGE);
    choose(11);
    transfer.form.kind_step = 16;
    cr_assert_eq(kvr_load(client, &transfer), KVR_INVALID);
    transfer.form = form;
    transfer.first_layer = 7;
    transfer.nr_layers = 2;
    cr_assert_eq(kvr_load(client, &transfer), KVR_INVALID);
    transfer = of(2);
    transfer.form.nr_layers = 4;
    cr_assert_eq(kvr_load(client, &transfer), KVR_MISFIT);
    cr_assert_eq(statuses[0], KVR_MISFIT);
    cr_assert_eq(transfer.prefix, 0);
    cr_assert_eq(touched(), 0);
    transfer = of(2);
    transfer.region = NULL;
    cr_assert_eq(kvr_load(client, &transfer), KVR_INVALID);
}

Test(transfer, converts_on_the_way_where_a_device_does_it)
{
    struct kvr_transfer transfer = of(1);
    struct kvr_call get = {.op = KVR_CALL_GET, .key = keys[0], .meta_only = 1};

    choose(1);
    memset(memory, 0, SIZE); /* zeroes stay zeroes */
    transfer.conversion = (struct kvr_conversion){.bits = 8, .element = KVR_BF16, .group = 128};
    if (!engine_path[0]) {
        cr_assert_eq(kvr_store(client, &transfer), KVR_INVALID);
        return;
    }
    cr_assert_eq(kvr_store(client, &transfer), KVR_OK);
    cr_assert_eq(kvr_do(client, &get), KVR_OK);
    cr_assert_eq(get.stored_len, BLOCK / 2 + BLOCK / 2 / 128 * 4);
    memset(memory, UNTOUCHED, SIZE);
    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    for (unsigned layer = 0; layer < LAYERS; layer++)
        for (unsigned i = 0; i < PIECE; i++)
            cr_assert_eq(piece_at(0, layer, 1)[i], 0);
}

Test(transfer, regions_are_taken_up_to_a_limit_and_again_after_one_was_forgotten)
{
    struct kvr_region *more[KVR_REGIONS_MAX], *last;

    for (unsigned i = 1; i < KVR_REGIONS_MAX; i++)
        cr_assert_eq(kvr_region_register(client, &spec, &more[i]), KVR_OK);
    cr_assert_eq(kvr_region_register(client, &spec, &last), KVR_LIMIT);
    cr_assert_eq(kvr_region_forget(client, more[7]), KVR_OK);
    cr_assert_eq(kvr_region_register(client, &spec, &last), KVR_OK);
}

Test(transfer, regions_must_be_what_they_say)
{
    struct kvr_region_spec wrong = spec;
    struct kvr_region *none;

    wrong.size = 0;
    cr_assert_eq(kvr_region_register(client, &wrong, &none), KVR_INVALID);
    wrong = spec;
    wrong.kind = 9;
    cr_assert_eq(kvr_region_register(client, &wrong, &none), KVR_INVALID);
    wrong = spec;
    wrong.base = NULL;
    cr_assert_eq(kvr_region_register(client, &wrong, &none),
                 engine_path[0] ? KVR_OK : KVR_NO_DEVICE);
    if (!engine_path[0])
        return;
    wrong.size = SIZE + 4096;
    cr_assert_eq(kvr_region_register(client, &wrong, &none), KVR_INVALID, "more than the file has");
    wrong = spec;
    wrong.kind = KVR_REGION_CUDA_IPC;
    cr_assert_eq(kvr_region_register(client, &wrong, &none), KVR_NO_DEVICE);
}

Test(transfer, host_memory_of_ones_own_needs_no_device)
{
    static uint8_t own[SIZE];
    struct kvr_region_spec host = {.kind = KVR_REGION_HOST, .fd = -1, .size = SIZE, .base = own};
    struct kvr_transfer transfer = of(NR);

    store_all(NR);
    cr_assert_eq(kvr_region_register(client, &host, &transfer.region), KVR_OK);
    cr_assert_eq(kvr_region_by_device(transfer.region), 0);
    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    memcpy(memory, own, SIZE);
    for (unsigned i = 0; i < NR; i++)
        must_hold(i, 0, LAYERS);
    cr_assert_eq(kvr_store(client, &transfer), KVR_OK);
}

Test(transfer, serves_the_example)
{
    const char *example = getenv("KVRAIL_EXAMPLE_PAGED");
    char command[512];

    cr_assert_not_null(example);
    snprintf(command, sizeof(command), "%s %s > /dev/null", example, engine_url);
    cr_assert_eq(system(command), 0);
}

Test(transfer, a_server_that_hangs_is_given_up_in_time_and_moves_nothing_when_it_goes_on)
{
    struct kvr_transfer transfer = of(NR);
    struct timespec pause = {.tv_nsec = 200000000};

    store_all(NR);
    transfer.timeout_ms = 300;
    cr_assert_eq(kill(engine_child.pid, SIGSTOP), 0);
    /* Its cores may go on for a moment: only when all of it stands does it take nothing. */
    cr_assert_eq(waitpid(engine_child.pid, NULL, WUNTRACED), engine_child.pid);
    cr_assert_eq(kvr_load(client, &transfer), KVR_TIMEOUT);
    cr_assert_eq(transfer.nr_done, 0);
    cr_assert_eq(kill(engine_child.pid, SIGCONT), 0);
    /* What was left in the rings is taken now, and its time is over. */
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    nanosleep(&pause, NULL);
    cr_assert_eq(touched(), 0);
    transfer.timeout_ms = 0;
    cr_assert_eq(kvr_load(client, &transfer), KVR_OK);
    cr_assert_eq(transfer.prefix, NR);
    cr_assert_eq(kvr_region_forget(client, region), KVR_OK);
}
