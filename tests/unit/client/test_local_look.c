/* SPDX-License-Identifier: Apache-2.0 */
/* kvr_gpu_look and kvr_gpu_release, whatever the dataplane answers in the rings and kvraild on the
 * local socket: what makes no sense is refused and let go of, in time, and nothing leaks. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvrail/transfer.h"
#include "near_server.h"
#include "shm/passing.h"
#include "shm/words.h"
#include "tests/fixture/descriptors.h"

#define SIZE 65536u

/* What kvraild says of the pool. */
static struct attach_pool_done says;
static bool with_descriptor, mute;
static unsigned nr_asked; /* atomic */
static bool stop;         /* atomic */

static struct near_server near;
static struct kvr_client *client;
static pthread_t keeper;
static int memfd;
static const struct kvr_key key = {"key", 3};
static struct kvr_gpu_place place;
static unsigned fds_before;

static void answer(int socket, const struct attach_pool *wish)
{
    struct attach_pool_done done = says;

    __atomic_fetch_add(&nr_asked, 1, __ATOMIC_RELAXED);
    if (mute)
        return;
    done.magic = ATTACH_MAGIC;
    done.version = ATTACH_VERSION;
    done.op = ATTACH_POOL;
    done.device = wish->device;
    done.core = wish->core;
    cr_assert_eq(passing_send(socket, &done, sizeof(done), &memfd, with_descriptor),
                 (ssize_t)sizeof(done));
}

static void *keep(void *)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct pollfd pollfd = {.fd = near.connections[0], .events = POLLIN};
        struct attach_pool wish;
        struct passed came;

        if (poll(&pollfd, 1, 10) > 0 &&
            passing_receive(pollfd.fd, &wish, sizeof(wish), &came) == (ssize_t)sizeof(wish))
            answer(pollfd.fd, &wish);
    }
    return NULL;
}

static void setup(void)
{
    struct kvr_options options;

    near_setup(&near);
    near.look = (struct kvr_look_rep){
        .pin = 1ull << 32, .ref = 7, .offset = 4096, .value_len = 4096, .lost = 3, .layout = 9};
    near_start(&near);
    kvr_options_init(&options);
    options.timeout_ms = 3000;
    client = near_client(&near, &options);
    memfd = memfd_create("pool", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(memfd, SIZE), 0);
    says = (struct attach_pool_done){.kind = KVR_REGION_MEMFD, .size = SIZE, .lost = 3};
    with_descriptor = true;
    cr_assert_eq(pthread_create(&keeper, NULL, keep, NULL), 0);
    fds_before = descriptors_open();
}

static void stop_answering(void)
{
    if (!__atomic_exchange_n(&stop, true, __ATOMIC_RELAXED))
        pthread_join(keeper, NULL);
}

static void teardown(void)
{
    kvr_close(client);
    stop_answering();
    near_stop(&near);
    close(memfd);
}

TestSuite(local_look, .init = setup, .fini = teardown, .timeout = 60);

static enum kvr_status look(void)
{
    return kvr_gpu_look(client, &key, 0, &place);
}

/* What cannot be used is let go of at once; the newest memory may be kept. */
static void refused_with(enum kvr_status wanted)
{
    unsigned before = near.nr_seen[KVR_RELEASE];
    enum kvr_status status = look();

    cr_assert_eq(status, wanted, "%s", kvr_status_name(status));
    cr_assert_gt(near.nr_seen[KVR_RELEASE], before);
    cr_assert_leq(descriptors_open(), fds_before + 1);
}

Test(local_look, memory_is_asked_for_once)
{
    struct kvr_gpu_place first;

    cr_assert_eq(look(), KVR_OK);
    first = place;
    cr_assert_eq(place.offset, 4096);
    cr_assert_eq(place.len, 4096);
    cr_assert_eq(place.layout, 9);
    cr_assert_eq(place.memory->size, SIZE);
    near.look.pin++;
    cr_assert_eq(look(), KVR_OK);
    cr_assert_eq(place.memory, first.memory);
    cr_assert_neq(place.ticket, first.ticket);
    cr_assert_eq(__atomic_load_n(&nr_asked, __ATOMIC_RELAXED), 1);
    cr_assert_eq(kvr_gpu_release(client, &place), KVR_OK);
    cr_assert_eq(kvr_gpu_release(client, &place), KVR_INVALID);
    cr_assert_eq(kvr_gpu_release(client, &first), KVR_OK);
}

Test(local_look, memory_that_was_lost_is_asked_for_again_and_the_old_one_stays_while_it_is_read)
{
    struct kvr_gpu_place first;
    unsigned fds;

    cr_assert_eq(look(), KVR_OK);
    first = place;
    fds = descriptors_open();
    near.look.pin++;
    near.look.lost = says.lost = 4;
    cr_assert_eq(look(), KVR_OK);
    cr_assert_neq(place.memory->number, first.memory->number);
    cr_assert_eq(first.memory->size, SIZE);
    cr_assert_eq(descriptors_open(), fds + 1);
    near.released = KVR_INTERNAL;
    cr_assert_eq(kvr_gpu_release(client, &first), KVR_INTERNAL);
    cr_assert_eq(descriptors_open(), fds);
    near.released = KVR_OK;
    cr_assert_eq(kvr_gpu_release(client, &place), KVR_OK);
}

Test(local_look, a_copy_outside_the_memory_is_refused)
{
    near.look.offset = SIZE - 4095;
    refused_with(KVR_PROTOCOL);
    near.look.offset = UINT64_MAX - 10;
    refused_with(KVR_PROTOCOL);
    near.look.offset = SIZE - 4096;
    cr_assert_eq(look(), KVR_OK);
}

Test(local_look, a_handle_that_makes_no_sense_is_refused)
{
    with_descriptor = false;
    refused_with(KVR_PROTOCOL);
    with_descriptor = true;
    says.kind = KVR_REGION_CUDA_IPC;
    refused_with(KVR_PROTOCOL);
    says.kind = KVR_REGION_HOST;
    refused_with(KVR_PROTOCOL);
    says.kind = KVR_REGION_MEMFD;
    says.size = 0;
    refused_with(KVR_PROTOCOL);
    says.size = SIZE;
    says.lost = 2;
    refused_with(KVR_MISS);
    says.lost = 3;
    cr_assert_eq(look(), KVR_OK);
}

Test(local_look, what_kvraild_refuses_is_told)
{
    with_descriptor = false;
    says.status = ENODEV;
    refused_with(KVR_NO_DEVICE);
    says.status = EACCES;
    refused_with(KVR_DENIED);
    says.status = EINVAL;
    refused_with(KVR_INTERNAL);
    says.status = 0;
    with_descriptor = true;
    cr_assert_eq(look(), KVR_OK);
}

Test(local_look, a_kvraild_that_says_nothing_is_given_up_in_time)
{
    mute = true;
    refused_with(KVR_TIMEOUT);
    refused_with(KVR_TIMEOUT);
    cr_assert_eq(__atomic_load_n(&nr_asked, __ATOMIC_RELAXED), 1, "one question at a time");
}

Test(local_look, a_miss_asks_for_no_memory)
{
    near.look.pin = 0;
    cr_assert_eq(look(), KVR_MISS);
    cr_assert_eq(near.nr_seen[KVR_RELEASE], 0);
    cr_assert_eq(__atomic_load_n(&nr_asked, __ATOMIC_RELAXED), 0);
}

Test(local_look, pins_of_a_dataplane_that_is_gone_are_not_believed)
{
    cr_assert_eq(look(), KVR_OK);
    near_kill_owner(&near);
    near_start_owner(&near);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    usleep(300000);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    cr_assert_eq(kvr_gpu_release(client, &place), KVR_INTERNAL);
    cr_assert_eq(near.nr_seen[KVR_RELEASE], 0, "the new one was not asked");
    cr_assert_eq(look(), KVR_OK);
    cr_assert_eq(kvr_gpu_release(client, &place), KVR_OK);
}

Test(local_look, more_than_may_be_held_of_a_partition_is_refused)
{
    static struct kvr_gpu_place places[KVR_TICKETS];

    for (unsigned i = 0; i < KVR_TICKETS; i++) {
        cr_assert_eq(look(), KVR_OK);
        places[i] = place;
        near.look.pin++;
    }
    cr_assert_eq(look(), KVR_LIMIT);
    cr_assert_eq(kvr_gpu_release(client, &places[40]), KVR_OK);
    cr_assert_eq(look(), KVR_OK);
    cr_assert_eq(place.ticket, 40, "the one that is free");
}

Test(local_look, what_is_held_stays_held_at_the_server_when_kvraild_is_another_one)
{
    cr_assert_eq(look(), KVR_OK);
    stop_answering();
    near_kill_keeper(&near);
    near_start_keeper(&near);
    for (unsigned i = 0; i < 500 && __atomic_load_n(&near.nr_clients, __ATOMIC_ACQUIRE) < 2; i++) {
        usleep(20000);
        cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    }
    cr_assert_eq(__atomic_load_n(&near.nr_clients, __ATOMIC_ACQUIRE), 2);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    cr_assert_eq(shared_load(&near.segments[0].header->closed), 0, "its end would let go");
    cr_assert_eq(kvr_gpu_release(client, &place), KVR_INTERNAL);
    cr_assert_eq(shared_load(&near.segments[0].header->closed), 1);
}
