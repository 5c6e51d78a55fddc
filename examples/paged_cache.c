/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's paged cache: blocks go from it into the cache, and come back to other places, layer
 * by layer, moved by the server. Here it lies in a memfd; on a GPU it is named by a CUDA handle
 * instead, and the rest is the same.
 *
 *   cc -D_GNU_SOURCE paged_cache.c -o paged_cache $(pkg-config --cflags --libs kvrail)
 *   ./paged_cache shm:///run/kvrail/local.sock */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <kvrail/transfer.h>

/* As vLLM has it: a tensor [2, NR_BLOCKS, 16, 8, 128] of bf16 for each layer, one after the other.
 */
#define NR_BLOCKS 16
#define LAYERS 4
#define PIECE (16 * 8 * 128 * 2)
#define SIZE ((size_t)LAYERS * 2 * NR_BLOCKS * PIECE)

static const struct kvr_form form = {.nr_layers = LAYERS,
                                     .nr_kinds = 2,
                                     .nr_pieces = 1,
                                     .piece_bytes = PIECE,
                                     .layer_step = 2 * NR_BLOCKS * PIECE,
                                     .kind_step = NR_BLOCKS * PIECE};

/* The paged cache, and the server told of it. */
static unsigned char *open_cache(struct kvr_client *client, struct kvr_region **region)
{
    struct kvr_region_spec spec = {.kind = KVR_REGION_MEMFD, .size = SIZE};
    void *cache;

    spec.fd = memfd_create("paged-cache", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (spec.fd < 0 || ftruncate(spec.fd, SIZE) < 0 ||
        fcntl(spec.fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        return NULL;
    cache = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, spec.fd, 0);
    if (cache == MAP_FAILED)
        return NULL;
    spec.base = cache;
    if (kvr_region_register(client, &spec, region) != KVR_OK)
        return NULL;
    close(spec.fd);
    return cache;
}

/* The attention of these layers may be computed now, while the others are on their way. */
static void layers_are_there(struct kvr_transfer *transfer, uint32_t layers)
{
    printf("layers 0 to %u of %u blocks\n", layers - 1, transfer->prefix);
}

int main(int argc, char **argv)
{
    const struct kvr_key chain[] = {{"paged/0", 7}, {"paged/1", 7}, {"paged/2", 7}};
    const uint64_t here[] = {5 * PIECE, 2 * PIECE}, there[] = {9 * PIECE, 0, 14 * PIECE};
    struct kvr_transfer transfer = {.keys = chain, .offs = here, .nr_keys = 2, .form = form};
    struct kvr_client *client;
    unsigned char *cache;
    enum kvr_status status;

    status = kvr_open(argc > 1 ? argv[1] : "shm:///run/kvrail/local.sock", NULL, &client);
    if (status != KVR_OK) {
        fprintf(stderr, "cannot reach the server: %s\n", kvr_status_text(status));
        return 1;
    }
    cache = open_cache(client, &transfer.region);
    if (!cache) {
        fprintf(stderr, "the server cannot reach this memory\n");
        return 1;
    }
    for (unsigned i = 0; i < LAYERS * 2; i++)
        memset(cache + i * form.kind_step + 5 * PIECE, 'a' + (int)i, PIECE);
    printf("store: %s\n", kvr_status_name(kvr_store(client, &transfer)));

    transfer.offs = there;
    transfer.nr_keys = 3;
    transfer.on_layer = layers_are_there;
    status = kvr_load(client, &transfer);
    printf("load: %s, the first %u of 3\n", kvr_status_name(status), transfer.prefix);
    for (unsigned i = 0; i < LAYERS * 2 && status == KVR_OK; i++)
        if (cache[i * form.kind_step + 9 * PIECE + 4711] != 'a' + (int)i)
            status = KVR_CORRUPT;
    kvr_close(client);
    return status == KVR_OK && transfer.prefix == 2 ? 0 : 1;
}
