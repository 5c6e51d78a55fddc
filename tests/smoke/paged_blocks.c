/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of Llama-3-8B (32 layers, 8 heads of 128, bf16, 16 tokens: 2 MiB) in a paged cache as vLLM
 * lays it out: [2, nr_slots, 16, 8, 128] for each layer, all layers in one memfd. Each byte of it
 * follows from key, layer, kind and place, so that every one can be checked, also those that no
 * transfer may touch.
 *
 *   paged_blocks URL store N      fills N slots and stores them under "llama/0" ..
 *   paged_blocks URL load N [layers]   N blocks into other slots; layers: with on_layer
 *   paged_blocks URL partial N    layers 8 to 15 of N blocks
 *   paged_blocks URL refused      what must be refused, with which status
 *   paged_blocks URL again MS     loads and stores for so long, whatever dies meanwhile
 *   paged_blocks URL reload MS    loads what is stored, again and again, whatever dies meanwhile
 * Exit code 0: all as it must be; 1: not, with a line that says what. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <kvrail/transfer.h>

#define LAYERS 32u
#define PIECE (16u * 8u * 128u * 2u) /* bytes: keys, or values, of a block in a layer */
#define SLOTS 40u
#define KIND_STEP ((uint64_t)SLOTS * PIECE)
#define LAYER_STEP (2 * KIND_STEP)
#define SIZE (LAYERS * LAYER_STEP)
#define BLOCKS_MAX 16u
#define UNTOUCHED 0xeeu

static const struct kvr_form form = {
    .nr_layers = LAYERS,
    .nr_kinds = 2,
    .nr_pieces = 1,
    .piece_bytes = PIECE,
    .layer_step = LAYER_STEP,
    .kind_step = KIND_STEP,
};

static struct kvr_client *client;
static struct kvr_region *region;
static uint8_t *cache;
static int memfd;
static struct kvr_key keys[BLOCKS_MAX];
static uint64_t offs[BLOCKS_MAX];
static unsigned slots[BLOCKS_MAX];
static enum kvr_status statuses[BLOCKS_MAX];

static void fail(const char *what, unsigned a, unsigned b)
{
    printf("%s (%u, %u)\n", what, a, b);
    exit(1);
}

static uint64_t word_of(unsigned key, unsigned layer, unsigned kind, unsigned i)
{
    uint64_t x = ((uint64_t)key << 40 | (uint64_t)layer << 32 | (uint64_t)kind << 24 | i) + 1;

    x *= 0x9e3779b97f4a7c15ull;
    x ^= x >> 29;
    return x * 0xbf58476d1ce4e5b9ull;
}

static uint64_t *piece_at(unsigned slot, unsigned layer, unsigned kind)
{
    return (uint64_t *)(void *)(cache + layer * LAYER_STEP + kind * KIND_STEP +
                                (uint64_t)slot * PIECE);
}

static void fill_slot(unsigned slot, unsigned key)
{
    for (unsigned layer = 0; layer < LAYERS; layer++)
        for (unsigned kind = 0; kind < 2; kind++) {
            uint64_t *piece = piece_at(slot, layer, kind);

            for (unsigned i = 0; i < PIECE / 8; i++)
                piece[i] = word_of(key, layer, kind, i);
        }
}

static void must_hold(unsigned slot, unsigned key, unsigned first, unsigned end)
{
    for (unsigned layer = first; layer < end; layer++)
        for (unsigned kind = 0; kind < 2; kind++) {
            const uint64_t *piece = piece_at(slot, layer, kind);

            for (unsigned i = 0; i < PIECE / 8; i++)
                if (piece[i] != word_of(key, layer, kind, i))
                    fail("a wrong byte in a block (key, layer)", key, layer);
        }
}

static void must_be_untouched(unsigned slot, unsigned first, unsigned end)
{
    for (unsigned layer = first; layer < end; layer++)
        for (unsigned kind = 0; kind < 2; kind++) {
            const uint8_t *piece = (const uint8_t *)piece_at(slot, layer, kind);

            if (piece[0] != UNTOUCHED || memcmp(piece, piece + 1, PIECE - 1) != 0)
                fail("a byte was written that no block has (slot, layer)", slot, layer);
        }
}

static void others_untouched(unsigned n)
{
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        bool taken = false;

        for (unsigned i = 0; i < n; i++)
            taken |= slots[i] == slot;
        if (!taken)
            must_be_untouched(slot, 0, LAYERS);
    }
}

/* The n blocks lie in slots here and there, others for each step. */
static void choose(unsigned n, unsigned step)
{
    static char names[BLOCKS_MAX][24];

    for (unsigned i = 0; i < n; i++) {
        slots[i] = (i * step + 3) % SLOTS;
        offs[i] = (uint64_t)slots[i] * PIECE;
        snprintf(names[i], sizeof(names[i]), "llama/%u", i);
        keys[i] = (struct kvr_key){names[i], (uint32_t)strlen(names[i])};
    }
}

static struct kvr_transfer transfer_of(unsigned n)
{
    return (struct kvr_transfer){.keys = keys,
                                 .offs = offs,
                                 .nr_keys = n,
                                 .region = region,
                                 .form = form,
                                 .timeout_ms = 20000,
                                 .statuses = statuses};
}

static void open_cache(const char *url)
{
    struct kvr_region_spec spec = {.kind = KVR_REGION_MEMFD, .size = SIZE};
    enum kvr_status status = kvr_open(url, NULL, &client);

    if (status != KVR_OK)
        fail(kvr_status_name(status), 0, 0);
    memfd = memfd_create("paged-cache", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memfd < 0 || ftruncate(memfd, SIZE) < 0 ||
        fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        fail("no memfd", 0, 0);
    cache = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (cache == MAP_FAILED)
        fail("no memory", 0, 0);
    memset(cache, UNTOUCHED, SIZE);
    spec.fd = memfd;
    spec.base = cache;
    status = kvr_region_register(client, &spec, &region);
    if (status != KVR_OK)
        fail(kvr_status_text(status), status, 0);
}

static void must(enum kvr_status status, enum kvr_status wanted, const char *what)
{
    if (status == wanted)
        return;
    printf("%s: %s, wanted %s\n", what, kvr_status_name(status), kvr_status_name(wanted));
    exit(1);
}

static void store(unsigned n)
{
    struct kvr_transfer transfer;

    choose(n, 7);
    transfer = transfer_of(n);
    for (unsigned i = 0; i < n; i++)
        fill_slot(slots[i], i);
    must(kvr_store(client, &transfer), KVR_OK, "store");
    if (transfer.nr_done != n || transfer.prefix != n)
        fail("stored less than all", transfer.nr_done, transfer.prefix);
    for (unsigned i = 0; i < n; i++)
        must_hold(slots[i], i, 0, LAYERS);
    others_untouched(n);
    printf("stored %u blocks, %.1f ms\n", n, (double)transfer.latency_ns / 1e6);
}

static unsigned nr_told, layers_told;

static void layers_are_there(struct kvr_transfer *transfer, uint32_t layers)
{
    if (layers <= layers_told || layers > LAYERS)
        fail("layers out of order", layers, layers_told);
    for (unsigned i = 0; i < transfer->prefix; i++)
        must_hold(slots[i], i, layers_told, layers);
    layers_told = layers;
    nr_told++;
}

static void load(unsigned n, bool layered)
{
    struct kvr_transfer transfer;

    choose(n + 1, 11); /* one more than is stored */
    transfer = transfer_of(n + 1);
    transfer.on_layer = layered ? layers_are_there : NULL;
    must(kvr_load(client, &transfer), KVR_OK, "load");
    if (transfer.nr_done != n || transfer.prefix != n || statuses[n] != KVR_MISS)
        fail("another prefix than is stored", transfer.nr_done, transfer.prefix);
    if (layered && layers_told != LAYERS)
        fail("not all layers were told of", layers_told, nr_told);
    for (unsigned i = 0; i < n; i++)
        must_hold(slots[i], i, 0, LAYERS);
    others_untouched(n);
    printf("loaded %u blocks, %.1f ms, %u calls of on_layer\n", n,
           (double)transfer.latency_ns / 1e6, nr_told);
}

static void partial(unsigned n)
{
    struct kvr_transfer transfer;

    choose(n, 11);
    transfer = transfer_of(n);
    transfer.first_layer = 8;
    transfer.nr_layers = 8;
    must(kvr_load(client, &transfer), KVR_OK, "load of layers 8 to 15");
    for (unsigned i = 0; i < n; i++) {
        must_be_untouched(slots[i], 0, 8);
        must_hold(slots[i], i, 8, 16);
        must_be_untouched(slots[i], 16, LAYERS);
    }
    others_untouched(n);
}

static void refused(void)
{
    struct kvr_transfer transfer;

    choose(2, 11);
    transfer = transfer_of(2);
    offs[1] = (uint64_t)SLOTS * PIECE; /* its last piece ends behind the region */
    must(kvr_load(client, &transfer), KVR_BAD_RANGE, "a block outside its region");
    must(kvr_store(client, &transfer), KVR_BAD_RANGE, "a block outside its region");
    offs[1] = 8;
    must(kvr_load(client, &transfer), KVR_BAD_RANGE, "a block between two places");
    choose(2, 11);
    transfer.form.kind_step = PIECE / 2;
    must(kvr_load(client, &transfer), KVR_INVALID, "pieces that overlap");
    transfer.form = form;
    transfer.form.nr_layers = 16;
    must(kvr_load(client, &transfer), KVR_MISFIT, "a form with fewer layers");
    transfer.form = form;
    transfer.keys = &(struct kvr_key){"nobody has stored this", 22};
    transfer.nr_keys = 1;
    must(kvr_load(client, &transfer), KVR_OK, "what is not stored");
    if (transfer.prefix != 0 || statuses[0] != KVR_MISS)
        fail("a block that is not stored", transfer.prefix, statuses[0]);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        must_be_untouched(slot, 0, LAYERS);
    must(kvr_region_forget(client, region), KVR_OK, "forget");
}

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* What ends well is right, whatever happens to the server; the rest ends in time, and at the end
 * all is well again. */
static void again(unsigned ms)
{
    uint64_t until = now_ms() + ms;
    unsigned ok = 0, failed = 0;

    while (now_ms() < until || ok == 0) {
        struct kvr_transfer transfer;
        enum kvr_status status;
        uint64_t began;

        choose(8, 7);
        transfer = transfer_of(8);
        transfer.timeout_ms = 1500;
        for (unsigned i = 0; i < 8; i++)
            fill_slot(slots[i], i);
        began = now_ms();
        status = kvr_store(client, &transfer);
        if (now_ms() - began > 2500)
            fail("a store ended late (ms)", (unsigned)(now_ms() - began), status);
        choose(8, 11);
        memset(cache, UNTOUCHED, SIZE);
        transfer.private_state = NULL;
        began = now_ms();
        status = kvr_load(client, &transfer);
        if (now_ms() - began > 2500)
            fail("a load ended late (ms)", (unsigned)(now_ms() - began), status);
        if (status != KVR_OK) {
            failed++;
            printf("load: %s after %u ms\n", kvr_status_name(status), (unsigned)(now_ms() - began));
        }
        for (unsigned i = 0; i < 8; i++)
            if (statuses[i] == KVR_OK)
                must_hold(slots[i], i, 0, LAYERS);
        ok += status == KVR_OK && transfer.prefix == 8;
        if (now_ms() > until + 20000)
            fail("no load ends well any more", ok, failed);
    }
    printf("%u loads of 8 blocks went well, %u did not\n", ok, failed);
}

/* As again, but for the stores: what is loaded so often may come from anywhere. */
static void reload(unsigned ms)
{
    uint64_t until = now_ms() + ms;
    unsigned ok = 0, failed = 0;

    choose(8, 11);
    while (now_ms() < until || ok == 0) {
        struct kvr_transfer transfer = transfer_of(8);
        enum kvr_status status;

        transfer.timeout_ms = 1500;
        memset(cache, UNTOUCHED, SIZE);
        status = kvr_load(client, &transfer);
        for (unsigned i = 0; i < 8; i++)
            if (statuses[i] == KVR_OK)
                must_hold(slots[i], i, 0, LAYERS);
        ok += status == KVR_OK && transfer.prefix == 8;
        failed += status != KVR_OK;
        if (now_ms() > until + 20000)
            fail("no load ends well any more", ok, failed);
    }
    printf("%u loads of 8 blocks went well, %u did not\n", ok, failed);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 3 ? (unsigned)atoi(argv[3]) : 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3 ||
        (strcmp(argv[2], "again") != 0 && strcmp(argv[2], "reload") != 0 && n >= BLOCKS_MAX))
        return 2;
    open_cache(argv[1]);
    if (strcmp(argv[2], "store") == 0)
        store(n);
    else if (strcmp(argv[2], "load") == 0)
        load(n, argc > 4);
    else if (strcmp(argv[2], "partial") == 0)
        partial(n);
    else if (strcmp(argv[2], "refused") == 0)
        refused();
    else if (strcmp(argv[2], "again") == 0)
        again(n);
    else if (strcmp(argv[2], "reload") == 0)
        reload(n);
    else
        return 2;
    kvr_close(client);
    return 0;
}
