/* SPDX-License-Identifier: Apache-2.0 */
#include "near_server.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "base/random.h"
#include "shm/passing.h"
#include "shm/words.h"
#include "tests/fixture/descriptors.h"

#define PATIENCE_MS 1000

static void nap(void)
{
    struct timespec pause = {.tv_nsec = 20000};

    nanosleep(&pause, NULL);
}

/* ---- as the owner core ---- */

struct key_hash near_hash(const struct near_server *near, const char *key)
{
    return hash_key(key, strlen(key), near->arena.sb->seed);
}

uint32_t near_ms(const struct near_server *near)
{
    return arena_ms(&near->arena, clock_ns());
}

void near_fill(uint8_t *bytes, uint32_t len, const char *key, uint64_t ref)
{
    struct rng rng;

    rng_seed(&rng, XXH3_64bits(key, strlen(key)) ^ ref);
    for (uint32_t i = 0; i < len; i += 8) {
        uint64_t word = rng_next(&rng);

        memcpy(bytes + i, &word, len - i < 8 ? len - i : 8);
    }
}

bool near_good(const void *bytes, uint32_t len, const char *key, uint64_t ref)
{
    uint8_t *same = malloc(len ? len : 1);
    bool good;

    near_fill(same, len, key, ref);
    good = memcmp(bytes, same, len) == 0;
    free(same);
    return good;
}

static enum kvr_status put(struct near_server *near, const char *key, uint32_t len, uint32_t ttl_ms,
                           uint64_t *ref)
{
    struct block_request request = {.key = key,
                                    .key_len = (uint32_t)strlen(key),
                                    .hash = near_hash(near, key),
                                    .value_len = len,
                                    .ttl_ms = ttl_ms};
    enum kvr_status status;
    uint32_t block, crc;
    uint8_t *value;

    partition_poll(near->partition, near_ms(near));
    status = partition_reserve(near->partition, &request, near_ms(near), &block);
    if (status != KVR_OK)
        return status;
    value = partition_value(near->partition, block);
    *ref = block_ref(near->arena.maps[0].descs[block].generation, block);
    near_fill(value, len, key, *ref);
    crc = crc32c(0, value, len);
    return partition_seal(near->partition, block, crc, false, near_ms(near), ref);
}

uint64_t near_put(struct near_server *near, const char *key, uint32_t len, uint32_t ttl_ms)
{
    enum kvr_status status;
    uint64_t ref = 0;

    do {
        pthread_mutex_lock(&near->lock);
        status = put(near, key, len, ttl_ms, &ref);
        pthread_mutex_unlock(&near->lock);
        if (status == KVR_BUSY)
            nap();
    } while (status == KVR_BUSY);
    cr_assert_eq(status, KVR_OK, "put %s: %s", key, kvr_status_name(status));
    return ref;
}

void near_del(struct near_server *near, const char *key)
{
    pthread_mutex_lock(&near->lock);
    cr_assert_eq(partition_del(near->partition, near_hash(near, key), key, (uint32_t)strlen(key), 0,
                               near_ms(near)),
                 KVR_OK);
    pthread_mutex_unlock(&near->lock);
}

/* Long enough for a grace period and a scan. */
void near_poll(struct near_server *near)
{
    for (unsigned i = 0; i < 50; i++) {
        struct timespec pause = {.tv_nsec = NS_PER_MS};

        pthread_mutex_lock(&near->lock);
        partition_poll(near->partition, near_ms(near));
        pthread_mutex_unlock(&near->lock);
        nanosleep(&pause, NULL);
    }
}

static void *own(void *arg)
{
    struct near_server *near = arg;

    while (!__atomic_load_n(&near->stop_owner, __ATOMIC_ACQUIRE)) {
        bool any = false;

        pthread_mutex_lock(&near->lock);
        near->arena.stats[0].heartbeat_ns = clock_ns();
        for (unsigned i = 0; i < near->nr_clients && !near->silent; i++)
            any |= near_answer(near, &near->segments[i]);
        pthread_mutex_unlock(&near->lock);
        if (!any)
            nap();
    }
    return NULL;
}

uint32_t near_mark(const struct near_server *near, const struct segment *segment, uint32_t ticket)
{
    return (uint32_t)(segment - near->segments + 1) << 8 | ticket;
}

/* None of the clients dies before the test does. */
static bool keeps_reserved(void *context, uint32_t mark)
{
    const struct near_server *near = context;

    return !near->forgets && mark >> 8 != 0;
}

static void take_place(struct near_server *near, uint32_t block, uint32_t mark)
{
    const struct block_desc *desc = &near->arena.maps[0].descs[block];

    for (unsigned i = 0; i < NEAR_PLACES; i++) {
        if (near->places[i].open)
            continue;
        near->places[i] = (struct near_place){.segment = &near->segments[(mark >> 8) - 1],
                                              .block = block,
                                              .len = desc->value_len,
                                              .ticket = mark & 0xff,
                                              .ref = block_ref(desc->generation, block),
                                              .open = true};
        return;
    }
}

static void open_partition(struct near_server *near)
{
    struct partition_options options = {.policy = "lru",
                                        .reclaimer = near->reclaimer,
                                        .keep_reserved = keeps_reserved,
                                        .context = near};
    struct partition_recovery recovery;
    uint32_t block = 0, mark;

    arena_recovery_begin(&near->arena);
    cr_assert_eq(partition_open(&near->arena, 0, &options, &near->partition, &recovery), 0);
    arena_recovery_end(&near->arena);
    memset(near->places, 0, sizeof(near->places));
    for (; partition_next_reserved(near->partition, &block, &mark); block++)
        take_place(near, block, mark);
}

void near_start_owner(struct near_server *near)
{
    near->boot = clock_ns();
    near->stop_owner = false;
    if (!near->partition)
        open_partition(near);
    shared_store(&near->arena.sb->boot_id, near->boot);
    cr_assert_eq(pthread_create(&near->owner, NULL, own, near), 0);
}

void near_kill_owner(struct near_server *near)
{
    __atomic_store_n(&near->stop_owner, true, __ATOMIC_RELEASE);
    pthread_join(near->owner, NULL);
    near->arena.stats[0].heartbeat_ns = 0;
    partition_close(near->partition);
    near->partition = NULL;
}

/* ---- as kvraild ---- */

static bool say(int socket, const void *message, size_t len, const int *fds, unsigned nr_fds)
{
    return passing_send(socket, message, len, fds, nr_fds) == (ssize_t)len;
}

/* *fd: what came along, or -1. Waits, but not for long. */
static ssize_t hear(int socket, void *message, size_t len, int *fd)
{
    return descriptors_hear(socket, message, len, PATIENCE_MS, fd);
}

/* As the real one does it: by /proc, so that reading is all that the descriptor allows. */
static int reopen(int fd, int flags)
{
    char path[64];
    int again;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = open(path, flags | O_CLOEXEC);
    cr_assert_geq(again, 0);
    return again;
}

static bool offer_arena(struct near_server *near, int socket, const struct attach_hello *hello)
{
    struct attach_offer offer = {.magic = ATTACH_MAGIC,
                                 .version = ATTACH_VERSION,
                                 .status = near->refuse_with,
                                 .rights = hello->wish < near->rights ? hello->wish : near->rights,
                                 .slots_max = near->slots_max,
                                 .pinned_max = near->pinned_max,
                                 .arena_id = near->arena.sb->arena_id,
                                 .text = "as the test says"};
    int fds[2] = {reopen(near->arena.index_fd, O_RDONLY),
                  reopen(near->arena.data_fd, offer.rights ? O_RDWR : O_RDONLY)};
    size_t len = sizeof(offer);
    unsigned nr_fds = 2;
    bool sent;

    sent = (!near->twist || !near->twist(near, &offer, &len, fds, &nr_fds)) &&
           say(socket, &offer, len, fds, nr_fds);
    close(fds[0]);
    close(fds[1]);
    return sent;
}

static bool shake(struct near_server *near, int socket)
{
    struct attach_hello hello;
    struct attach_segment word;
    struct attach_done done = {.magic = ATTACH_MAGIC, .version = ATTACH_VERSION};
    struct segment segment;
    unsigned at = near->nr_clients;
    int fd;

    if (hear(socket, &hello, sizeof(hello), &fd) != sizeof(hello) || hello.magic != ATTACH_MAGIC ||
        hello.arena_version != ARENA_VERSION)
        return false;
    if (!offer_arena(near, socket, &hello) || hear(socket, &word, sizeof(word), &fd) <= 0)
        return false;
    if (fd < 0 || at == NEAR_CLIENTS)
        return false;
    if (segment_attach(fd, near->arena.nr_partitions, near->arena.sb->arena_id, &segment) != 0) {
        close(fd);
        return false;
    }
    pthread_mutex_lock(&near->lock);
    near->segments[at] = segment;
    near->connections[at] = socket;
    near->nr_clients++;
    pthread_mutex_unlock(&near->lock);
    cr_assert_eq(reclaim_client_add(near->reclaimer, at + 1, &near->segments[at]), 0);
    done.id = at + 1;
    return say(socket, &done, sizeof(done), NULL, 0);
}

static void *keep(void *arg)
{
    struct near_server *near = arg;

    while (!__atomic_load_n(&near->stop, __ATOMIC_ACQUIRE)) {
        struct pollfd fd = {.fd = near->listener, .events = POLLIN};
        int socket;

        if (poll(&fd, 1, 10) <= 0)
            continue;
        socket = accept4(near->listener, NULL, NULL, SOCK_CLOEXEC);
        if (socket < 0)
            continue;
        if (!shake(near, socket))
            close(socket);
    }
    return NULL;
}

void near_start_keeper(struct near_server *near)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strncpy(address.sun_path, near->path, sizeof(address.sun_path) - 1);
    unlink(near->path);
    near->stop = false;
    near->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(near->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(near->listener, 8), 0);
    cr_assert_eq(pthread_create(&near->attacher, NULL, keep, near), 0);
}

void near_kill_keeper(struct near_server *near)
{
    __atomic_store_n(&near->stop, true, __ATOMIC_RELEASE);
    pthread_join(near->attacher, NULL);
    close(near->listener);
    unlink(near->path);
    for (unsigned i = 0; i < near->nr_clients; i++)
        if (near->connections[i] >= 0)
            close(near->connections[i]);
    for (unsigned i = 0; i < near->nr_clients; i++)
        near->connections[i] = -1;
}

/* ---- all of it ---- */

void near_setup(struct near_server *near)
{
    memset(near, 0, sizeof(*near));
    near->rights = ATTACH_WRITE;
    near->slots_max = 4096;
    near->pinned_max = 1ull << 30;
    snprintf(near->path, sizeof(near->path), "/tmp/kvrail-near-%d.sock", (int)getpid());
    snprintf(near->url, sizeof(near->url), "shm://%s", near->path);
    pthread_mutex_init(&near->lock, NULL);
}

static void make(struct near_server *near)
{
    struct arena_spec spec = {
        .data_size = 16u << 20, .nr_partitions = 1, .nr_cores = 1, .blocks_max = 4096};

    cr_assert_eq(arena_create(&spec, &near->arena), 0);
    cr_assert_eq(reclaimer_create(&near->arena, &near->reclaimer), 0);
    near_start_owner(near);
}

static void unmake(struct near_server *near)
{
    near_kill_owner(near);
    for (unsigned i = 0; i < near->nr_clients; i++) {
        reclaim_client_remove(near->reclaimer, i + 1);
        segment_close(&near->segments[i]);
    }
    near->nr_clients = 0;
    reclaimer_destroy(near->reclaimer);
    arena_close(&near->arena);
}

void near_start(struct near_server *near)
{
    make(near);
    near_start_keeper(near);
}

void near_stop(struct near_server *near)
{
    near_kill_keeper(near);
    unmake(near);
    pthread_mutex_destroy(&near->lock);
}

void near_replace(struct near_server *near)
{
    near_kill_keeper(near);
    unmake(near);
    make(near);
    near_start_keeper(near);
}

struct kvr_client *near_client(struct near_server *near, const struct kvr_options *options)
{
    struct kvr_options patient;
    struct kvr_client *client = NULL;
    enum kvr_status status;

    kvr_options_init(&patient);
    patient.timeout_ms = patient.connect_ms = 20000;
    status = kvr_open(near->url, options ? options : &patient, &client);
    cr_assert_eq(status, KVR_OK, "%s", kvr_status_name(status));
    return client;
}
