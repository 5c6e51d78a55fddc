/* SPDX-License-Identifier: Apache-2.0 */
/* A client that reads copies of blocks in the memory of the server's devices where they lie. Every
 * byte is checked. gpu_places URL read [DEVICES] | refused | hold N | outlive */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kvrail/transfer.h"

#define LEN (2u << 20)
#define MEMORIES 64u
#define PATIENCE 1000u /* looks, 10 ms each */

static struct kvr_client *client;
static uint8_t *value;
/* What was imported, by number. */
static const uint8_t *mapped[MEMORIES];

static void fail(const char *what, unsigned a)
{
    printf("%s (%u)\n", what, a);
    exit(1);
}

static void must(enum kvr_status status, enum kvr_status wanted, const char *what)
{
    if (status == wanted)
        return;
    printf("%s: %s, wanted %s\n", what, kvr_status_name(status), kvr_status_name(wanted));
    exit(1);
}

static void pause_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&pause, NULL);
}

static uint8_t byte_of(unsigned which, unsigned i)
{
    return (uint8_t)(i * 37 + i / 251 + i / 65521 + which * 101);
}

static struct kvr_key key_of(unsigned n)
{
    static char name[24];

    snprintf(name, sizeof(name), "place/%u", n);
    return (struct kvr_key){name, (uint32_t)strlen(name)};
}

static void put(unsigned n, unsigned which)
{
    struct kvr_key key = key_of(n);

    for (unsigned i = 0; i < LEN; i++)
        value[i] = byte_of(which, i);
    must(kvr_put(client, key.data, key.len, value, LEN, 0), KVR_OK, "put");
}

static const uint8_t *bytes_of(const struct kvr_gpu_place *place)
{
    const struct kvr_gpu_memory *memory = place->memory;

    if (memory->number >= MEMORIES || memory->kind != KVR_REGION_MEMFD)
        fail("memory of another kind", memory->kind);
    if (!mapped[memory->number]) {
        mapped[memory->number] = mmap(NULL, memory->size, PROT_READ, MAP_SHARED, memory->fd, 0);
        if (mapped[memory->number] == MAP_FAILED)
            fail("memory that cannot be mapped", (unsigned)memory->number);
    }
    return mapped[memory->number] + place->offset;
}

static void must_hold(const struct kvr_gpu_place *place, unsigned which)
{
    const uint8_t *bytes = bytes_of(place);

    if (place->len != LEN)
        fail("a copy of another length", place->len);
    for (unsigned i = 0; i < LEN; i++)
        if (bytes[i] != byte_of(which, i))
            fail("a wrong byte in a copy", i);
}

/* Until there is a copy: each look counts as a hit. */
static void look(unsigned n, unsigned device, struct kvr_gpu_place *place)
{
    struct kvr_key key = key_of(n);
    enum kvr_status status = KVR_MISS;

    for (unsigned i = 0; i < PATIENCE && status == KVR_MISS; i++) {
        status = kvr_gpu_look(client, &key, device, place);
        if (status == KVR_MISS)
            pause_ms(10);
    }
    must(status, KVR_OK, "look");
    if (place->device != device)
        fail("a copy on another device", place->device);
}

static void read_all(unsigned devices)
{
    struct kvr_gpu_place place, fresh, again;
    struct kvr_key key;

    for (unsigned device = 0; device < devices; device++) {
        put(0, 1);
        look(0, device, &place);
        must_hold(&place, 1);
        put(0, 2);
        /* What else there is room for comes and goes. */
        for (unsigned n = 1; n < 24; n++) {
            put(n, n);
            key = key_of(n);
            for (unsigned i = 0; i < 3; i++)
                if (kvr_gpu_look(client, &key, device, &fresh) == KVR_OK) {
                    must_hold(&fresh, n);
                    must(kvr_gpu_release(client, &fresh), KVR_OK, "release");
                } else {
                    pause_ms(5);
                }
        }
        look(0, device, &fresh);
        must_hold(&fresh, 2);
        must_hold(&place, 1);
        again = place;
        must(kvr_gpu_release(client, &place), KVR_OK, "release of an old value");
        must(kvr_gpu_release(client, &place), KVR_INVALID, "release of nothing");
        must(kvr_gpu_release(client, &again), KVR_INVALID, "a second release");
        must_hold(&fresh, 2);
        must(kvr_gpu_release(client, &fresh), KVR_OK, "release");
    }
}

static void refused(const char *url)
{
    struct kvr_gpu_place place, forged;
    struct kvr_options options;
    struct kvr_client *reader;
    struct kvr_key key = key_of(0);

    put(0, 1);
    must(kvr_gpu_look(client, &key, 31, &place), KVR_NO_DEVICE, "a device that is not there");
    must(kvr_gpu_look(client, &key, 65536, &place), KVR_INVALID, "no device's number");
    must(kvr_gpu_look(client, &(struct kvr_key){"nobody", 6}, 0, &place), KVR_MISS, "no such key");
    must(kvr_gpu_look(client, &(struct kvr_key){"", 0}, 0, &place), KVR_INVALID, "no key");
    look(0, 0, &place);
    forged = place;
    forged.pin++;
    must(kvr_gpu_release(client, &forged), KVR_INVALID, "a forged pin");
    must_hold(&place, 1);
    kvr_options_init(&options);
    options.read_only = 1;
    must(kvr_open(url, &options, &reader), KVR_OK, "open");
    must(kvr_gpu_look(reader, &key, 0, &forged), KVR_DENIED, "a client that only reads");
    must(kvr_gpu_release(reader, &place), KVR_INVALID, "another client's");
    kvr_close(reader);
    must_hold(&place, 1);
    must(kvr_gpu_release(client, &place), KVR_OK, "release");
}

static void hold(unsigned n)
{
    struct kvr_gpu_place place;

    for (unsigned i = 0; i < n; i++) {
        put(i, i);
        look(i, 0, &place);
        must_hold(&place, i);
    }
    printf("held\n");
    pause_ms(60000);
}

/* Somebody kills the dataplane, and says so by a line. */
static void outlive(void)
{
    struct kvr_gpu_place place, fresh;
    char line[16];
    uint64_t number;

    put(0, 1);
    look(0, 0, &place);
    number = place.memory->number;
    must_hold(&place, 1);
    printf("held\n");
    if (!fgets(line, sizeof(line), stdin))
        fail("nobody said a line", 0);
    look(0, 0, &fresh);
    if (fresh.memory->number == number)
        fail("the same memory of another dataplane", (unsigned)number);
    must_hold(&fresh, 1);
    must_hold(&place, 1);
    must(kvr_gpu_release(client, &place), KVR_INTERNAL, "release of what a dead server pinned");
    must(kvr_gpu_release(client, &fresh), KVR_OK, "release");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    value = malloc(LEN);
    if (argc < 3 || !value)
        return 2;
    must(kvr_open(argv[1], NULL, &client), KVR_OK, "open");
    if (strcmp(argv[2], "read") == 0)
        read_all(argc > 3 ? (unsigned)atoi(argv[3]) : 1);
    else if (strcmp(argv[2], "refused") == 0)
        refused(argv[1]);
    else if (strcmp(argv[2], "hold") == 0 && argc > 3)
        hold((unsigned)atoi(argv[3]));
    else if (strcmp(argv[2], "outlive") == 0)
        outlive();
    else
        return 2;
    kvr_close(client);
    free(value);
    return 0;
}
