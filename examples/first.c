/* SPDX-License-Identifier: Apache-2.0 */
/* A first client: stores a block, looks how much of a chain is there, fetches it.
 *
 *   cc first.c -o first $(pkg-config --cflags --libs kvrail)
 *   ./first udp://10.96.0.1 */
#include <stdio.h>
#include <string.h>

#include <kvrail/client.h>

int main(int argc, char **argv)
{
    const struct kvr_key chain[] = {{"prompt/0", 8}, {"prompt/1", 8}, {"prompt/2", 8}};
    const char block[] = "keys and values of the first tokens";
    struct kvr_client *client;
    enum kvr_status status;
    uint32_t prefix;
    char buffer[256];
    size_t len;

    status = kvr_open(argc > 1 ? argv[1] : "udp://10.96.0.1", NULL, &client);
    if (status != KVR_OK) {
        fprintf(stderr, "cannot reach the server: %s\n", kvr_status_text(status));
        return 1;
    }

    /* Keep it for a minute. Values may have any size up to 64 MiB. */
    status = kvr_put(client, "prompt/0", 8, block, strlen(block), 60000);
    printf("put: %s\n", kvr_status_name(status));

    /* How many of the first keys are stored? One exchange, also for thousands of keys. */
    status = kvr_match(client, chain, 3, NULL, &prefix);
    if (status == KVR_OK)
        printf("match: the first %u of 3\n", prefix);

    /* KVR_OK: these are the bytes stored under the key. KVR_MISS: there are none. */
    status = kvr_get(client, "prompt/0", 8, buffer, sizeof(buffer), &len);
    if (status == KVR_OK)
        printf("get: %.*s\n", (int)len, buffer);
    else
        printf("get: %s\n", kvr_status_text(status));

    kvr_close(client);
    return status == KVR_OK ? 0 : 1;
}
