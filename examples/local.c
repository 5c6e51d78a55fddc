/* SPDX-License-Identifier: Apache-2.0 */
/* On the server's own host: a value is written where it will lie, and read where it lies. No byte
 * of it is copied, and reading it takes no word with the server.
 *
 *   cc local.c -o local $(pkg-config --cflags --libs kvrail)
 *   ./local shm:///run/kvrail/local.sock */
#include <stdio.h>
#include <string.h>

#include <kvrail/client.h>

#define TOKENS 16
#define BLOCK (TOKENS * 4096)

/* What an engine would have its GPU do. */
static void compute(unsigned char *block, unsigned char seed)
{
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = (unsigned char)(seed + i);
}

/* The block of a key, written in place; where this user may not write the cache's memory, by copy.
 */
static enum kvr_status store(struct kvr_client *client, const char *key, unsigned char seed)
{
    static unsigned char own[BLOCK];
    struct kvr_call put = {
        .op = KVR_CALL_PUT, .key = {key, (uint32_t)strlen(key)}, .value_len = BLOCK};
    struct kvr_place place;
    enum kvr_status status = kvr_reserve(client, &put, &place);

    if (status == KVR_OK) {
        compute(place.data, seed);
        return kvr_seal(client, &place, NULL); /* from here on everybody sees it */
    }
    if (status != KVR_DENIED)
        return status;
    compute(own, seed);
    put.value = own;
    return kvr_do(client, &put);
}

int main(int argc, char **argv)
{
    const struct kvr_key chain[] = {{"prompt/0", 8}, {"prompt/1", 8}, {"prompt/2", 8}};
    struct kvr_view views[3];
    struct kvr_client *client;
    enum kvr_status status;
    uint32_t prefix;

    status = kvr_open(argc > 1 ? argv[1] : "shm:///run/kvrail/local.sock", NULL, &client);
    if (status != KVR_OK) {
        fprintf(stderr, "cannot reach the server: %s\n", kvr_status_text(status));
        return 1;
    }
    for (unsigned i = 0; i < 2 && status == KVR_OK; i++)
        status = store(client, chain[i].data, (unsigned char)i);
    printf("put: %s\n", kvr_status_name(status));

    /* All that is stored of the chain, held at once. */
    status = kvr_match_views(client, chain, 3, views, &prefix);
    printf("match: %s, the first %u of 3\n", kvr_status_name(status), prefix);
    for (uint32_t i = 0; i < prefix; i++) {
        const unsigned char *block = views[i].data;

        printf("block %u: %u bytes, the last is %u\n", i, views[i].len, block[views[i].len - 1]);
    }
    /* Whatever happened to the keys meanwhile, the bytes stayed as they were. Until now: */
    kvr_release(client, views, prefix);
    kvr_close(client);
    return status == KVR_OK && prefix == 2 ? 0 : 1;
}
