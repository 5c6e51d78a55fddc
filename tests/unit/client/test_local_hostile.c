/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever comes from the local socket: the client refuses it in words, in time, and leaks nothing.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "near_server.h"
#include "tests/fixture/descriptors.h"

static struct near_server near;

static void expect(enum kvr_status wanted,
                   bool (*twist)(struct near_server *near, struct attach_offer *offer, size_t *len,
                                 int fds[2], unsigned *nr_fds))
{
    struct kvr_client *client = NULL;
    struct kvr_options options;
    enum kvr_status status;
    unsigned fds;

    near_setup(&near);
    near.twist = twist;
    near_start(&near);
    kvr_options_init(&options);
    options.connect_ms = wanted == KVR_UNREACHABLE ? 300 : 20000;
    fds = descriptors_open();
    status = kvr_open(near.url, &options, &client);
    cr_assert_eq(status, wanted, "%s", kvr_status_name(status));
    cr_assert_null(client);
    for (unsigned i = 0; i < 100 && descriptors_open() != fds; i++)
        usleep(20000); /* the server's end of the socket */
    cr_assert_eq(descriptors_open(), fds);
    near_stop(&near);
}

static bool silent(struct near_server *, struct attach_offer *, size_t *, int *, unsigned *)
{
    usleep(400000);
    return true;
}

Test(local_hostile, a_server_that_says_nothing_is_given_up)
{
    expect(KVR_UNREACHABLE, silent);
}

static bool refused(struct near_server *, struct attach_offer *offer, size_t *, int *,
                    unsigned *nr_fds)
{
    offer->status = EACCES;
    *nr_fds = 0;
    return false;
}

Test(local_hostile, a_refusal_is_passed_on)
{
    expect(KVR_DENIED, refused);
}

static bool other_version(struct near_server *, struct attach_offer *offer, size_t *, int *,
                          unsigned *nr_fds)
{
    offer->status = EPROTO;
    *nr_fds = 0;
    return false;
}

Test(local_hostile, another_arena_version_is_said_to_be_one)
{
    expect(KVR_BAD_VERSION, other_version);
}

static bool full(struct near_server *, struct attach_offer *offer, size_t *, int *,
                 unsigned *nr_fds)
{
    offer->status = EBUSY;
    *nr_fds = 0;
    return false;
}

Test(local_hostile, a_server_without_room_is_unreachable)
{
    expect(KVR_UNREACHABLE, full);
}

static bool magic(struct near_server *, struct attach_offer *offer, size_t *, int *, unsigned *)
{
    offer->magic++;
    return false;
}

static bool short_message(struct near_server *, struct attach_offer *, size_t *len, int *,
                          unsigned *)
{
    *len -= 8;
    return false;
}

static bool rights(struct near_server *, struct attach_offer *offer, size_t *, int *, unsigned *)
{
    offer->rights = 7;
    return false;
}

static bool no_slots(struct near_server *, struct attach_offer *offer, size_t *, int *, unsigned *)
{
    offer->slots_max = 0;
    return false;
}

static bool other_id(struct near_server *, struct attach_offer *offer, size_t *, int *, unsigned *)
{
    offer->arena_id++;
    return false;
}

static bool no_fds(struct near_server *, struct attach_offer *, size_t *, int *, unsigned *nr_fds)
{
    *nr_fds = 0;
    return false;
}

static bool one_fd(struct near_server *, struct attach_offer *, size_t *, int *, unsigned *nr_fds)
{
    *nr_fds = 1;
    return false;
}

static bool swapped(struct near_server *, struct attach_offer *, size_t *, int *fds, unsigned *)
{
    int index = fds[0];

    fds[0] = fds[1];
    fds[1] = index;
    return false;
}

static void replace(int *fd, int fresh)
{
    cr_assert_geq(dup2(fresh, *fd), 0);
    close(fresh);
}

static bool not_a_memfd(struct near_server *, struct attach_offer *, size_t *, int *fds, unsigned *)
{
    replace(&fds[0], open("/dev/zero", O_RDWR));
    return false;
}

static bool unsealed(struct near_server *, struct attach_offer *, size_t *, int *fds, unsigned *)
{
    int fd = memfd_create("unsealed", 0);

    cr_assert_eq(ftruncate(fd, 1 << 20), 0);
    replace(&fds[1], fd);
    return false;
}

static bool nonsense(struct near_server *, struct attach_offer *, size_t *, int *fds, unsigned *)
{
    int fd = memfd_create("nonsense", MFD_ALLOW_SEALING);

    cr_assert_eq(ftruncate(fd, 1 << 20), 0);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    replace(&fds[0], fd);
    return false;
}

static bool lies_of_writing(struct near_server *server, struct attach_offer *offer, size_t *,
                            int *fds, unsigned *)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", server->arena.data_fd);
    replace(&fds[1], open(path, O_RDONLY));
    offer->rights = ATTACH_WRITE;
    return false;
}

Test(local_hostile, an_offer_that_is_no_arena_is_refused)
{
    expect(KVR_PROTOCOL, magic);
    expect(KVR_PROTOCOL, short_message);
    expect(KVR_PROTOCOL, rights);
    expect(KVR_PROTOCOL, no_slots);
    expect(KVR_PROTOCOL, other_id);
    expect(KVR_PROTOCOL, no_fds);
    expect(KVR_PROTOCOL, one_fd);
    expect(KVR_PROTOCOL, not_a_memfd);
    expect(KVR_PROTOCOL, unsealed);
    expect(KVR_PROTOCOL, swapped);
    expect(KVR_PROTOCOL, nonsense);
    expect(KVR_PROTOCOL, lies_of_writing);
}

/* Answers of a server gone mad: the rings' own numbers, lengths and bytes. */
static void *scribble(void *arg)
{
    struct segment *segment = arg;
    struct segment_rings rings = segment_rings_of(segment, 0);

    for (unsigned i = 0; i < 2000; i++) {
        struct segment_cell *cell = &rings.completions[i % SEGMENT_CELLS];

        __atomic_store_n(&cell->len, i * 2654435761u, __ATOMIC_RELAXED);
        memset(cell->bytes, (int)i, 64);
        __atomic_store_n(&rings.group->completion_tail, i * 40503u, __ATOMIC_RELEASE);
        __atomic_store_n(&rings.group->request_head, i * 69069u, __ATOMIC_RELEASE);
        usleep(100);
    }
    return NULL;
}

Test(local_hostile, rings_full_of_nonsense_end_in_a_timeout)
{
    struct kvr_client *client;
    struct kvr_options options;
    pthread_t thread;
    uint64_t start_ns;

    near_setup(&near);
    near_start(&near);
    kvr_options_init(&options);
    options.timeout_ms = 100;
    options.connect_ms = 20000;
    client = near_client(&near, &options);
    near.silent = true;
    pthread_create(&thread, NULL, scribble, &near.segments[0]);
    for (unsigned i = 0; i < 3; i++) {
        start_ns = clock_ns();
        cr_assert_eq(kvr_put(client, "key", 3, "value", 5, 0), KVR_TIMEOUT);
        cr_assert_lt(clock_ns() - start_ns, 2 * NS_PER_S);
    }
    pthread_join(thread, NULL);
    kvr_close(client);
    near_stop(&near);
}

Test(local_hostile, a_long_or_missing_path_is_no_server)
{
    struct kvr_client *client = NULL;
    struct kvr_options options;

    kvr_options_init(&options);
    options.connect_ms = 50;
    cr_assert_eq(kvr_open("shm://", &options, &client), KVR_INVALID);
    cr_assert_eq(kvr_open("shm:///tmp/kvrail-there-is-no-such-socket", &options, &client),
                 KVR_UNREACHABLE);
}
