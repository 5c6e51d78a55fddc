/* SPDX-License-Identifier: Apache-2.0 */
/* An engine whose paged cache lies in GPU memory, which it exports as its backend does: by a CUDA
 * IPC handle, or by the descriptor of a VMM allocation. Blocks are stored from there and loaded to
 * other places; then every byte of the memory is compared with what must be there.
 *
 *   device_blocks URL [LOADS]   loads them so often, 1 unless said, with a pause between
 * Exit code 0: all as it must be; 77: no CUDA device here; 1: not, with a line that says what. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kvrail/transfer.h>

#include "gpu/backend.h"

#define LAYERS 8u
#define PIECE 32768u
#define SLOTS 16u
#define KIND_STEP ((uint64_t)SLOTS * PIECE)
#define LAYER_STEP (2 * KIND_STEP)
#define SIZE (LAYERS * LAYER_STEP)
#define BLOCKS 6u
#define UNTOUCHED 0xeeu
#define PAUSE_US 100000u

static const struct kvr_form form = {.nr_layers = LAYERS,
                                     .nr_kinds = 2,
                                     .nr_pieces = 1,
                                     .piece_bytes = PIECE,
                                     .layer_step = LAYER_STEP,
                                     .kind_step = KIND_STEP};

static struct gpu_device *device;
static struct gpu_memory memory;
static uint8_t wanted[SIZE], found[SIZE];

static void fail(const char *what, const char *why)
{
    printf("%s: %s\n", what, why);
    exit(1);
}

static void open_device(void)
{
    struct gpu_device_options options = {0};
    char why[256] = "";
    unsigned nr;

    if (gpu_backend_cuda.probe(&nr, why, sizeof(why)) < 0 || nr == 0) {
        printf("skipped: no CUDA device: %s\n", why);
        exit(77);
    }
    if (gpu_backend_cuda.open(0, &options, &device) < 0 ||
        gpu_backend_cuda.alloc(device, SIZE, &memory) < 0)
        fail("device 0", "cannot be opened");
}

static struct kvr_region *make_region(struct kvr_client *client)
{
    struct kvr_region_spec spec = {.size = SIZE};
    struct kvr_region *region = NULL;
    struct gpu_handle handle;
    enum kvr_status status;

    if (gpu_backend_cuda.export(device, &memory, &handle) < 0)
        fail("memory", "cannot be exported");
    spec.kind = (enum kvr_region_kind)handle.kind;
    spec.fd = handle.fd;
    memcpy(spec.bytes, handle.bytes, sizeof(spec.bytes));
    status = kvr_region_register(client, &spec, &region);
    if (status != KVR_OK)
        fail("register", kvr_status_text(status));
    printf("registered by %s\n", handle.kind == GPU_HANDLE_CUDA_FD ? "descriptor" : "IPC handle");
    if (handle.fd >= 0)
        close(handle.fd);
    return region;
}

/* The device's memory: nothing but the blocks, each in its slot. */
static void expect_blocks(const uint64_t *offs)
{
    memset(wanted, UNTOUCHED, sizeof(wanted));
    for (unsigned b = 0; b < BLOCKS; b++)
        for (unsigned layer = 0; layer < LAYERS; layer++)
            for (unsigned kind = 0; kind < 2; kind++) {
                uint8_t *piece = wanted + offs[b] + layer * LAYER_STEP + kind * KIND_STEP;

                for (unsigned i = 0; i < PIECE; i++)
                    piece[i] = (uint8_t)(b * 29 + layer * 11 + kind * 5 + i * 7 + i / 249);
            }
}

static void must_be_so(const char *when)
{
    if (gpu_backend_cuda.read(device, memory.address, found, SIZE) < 0)
        fail(when, "the device's memory cannot be read");
    for (unsigned i = 0; i < SIZE; i++)
        if (found[i] != wanted[i])
            fail(when, "a wrong byte in the device's memory");
}

static void must(enum kvr_status status, const char *what)
{
    if (status != KVR_OK)
        fail(what, kvr_status_text(status));
}

/* To other places each time. */
static void load(struct kvr_client *client, struct kvr_transfer *transfer, uint64_t *offs,
                 unsigned time)
{
    memset(wanted, UNTOUCHED, SIZE);
    if (gpu_backend_cuda.write(device, memory.address, wanted, SIZE) < 0)
        fail("device 0", "cannot be written");
    for (unsigned b = 0; b < BLOCKS; b++)
        offs[b] = (uint64_t)(b * 7 + 1 + time) % SLOTS * PIECE;
    expect_blocks(offs);
    if (time > 0)
        usleep(PAUSE_US);
    transfer->private_state = NULL;
    must(kvr_load(client, transfer), "load");
    if (transfer->prefix != BLOCKS)
        fail("load", "less than all");
    must_be_so("after the load");
}

int main(int argc, char **argv)
{
    unsigned nr_loads = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    static const struct kvr_key keys[BLOCKS] = {{"device/0", 8}, {"device/1", 8}, {"device/2", 8},
                                                {"device/3", 8}, {"device/4", 8}, {"device/5", 8}};
    struct kvr_transfer transfer = {
        .keys = keys, .nr_keys = BLOCKS, .form = form, .timeout_ms = 20000};
    uint64_t offs[BLOCKS];
    struct kvr_client *client;

    if (argc < 2)
        return 2;
    open_device();
    must(kvr_open(argv[1], NULL, &client), "open");
    transfer.region = make_region(client);
    transfer.offs = offs;
    for (unsigned b = 0; b < BLOCKS; b++)
        offs[b] = (uint64_t)(b * 5 + 2) % SLOTS * PIECE;
    expect_blocks(offs);
    if (gpu_backend_cuda.write(device, memory.address, wanted, SIZE) < 0)
        fail("device 0", "cannot be written");
    must(kvr_store(client, &transfer), "store");
    must_be_so("after the store");

    for (unsigned i = 0; i < nr_loads; i++)
        load(client, &transfer, offs, i);
    must(kvr_region_forget(client, transfer.region), "forget");
    kvr_close(client);
    gpu_backend_cuda.free(device, &memory);
    gpu_backend_cuda.close(device);
    printf("%u blocks stored and loaded, every byte as it must be\n", BLOCKS);
    return 0;
}
