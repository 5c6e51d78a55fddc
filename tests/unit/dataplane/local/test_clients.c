/* SPDX-License-Identifier: Apache-2.0 */
/* Who is attached, what they hit, and how they go. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "guest.h"
#include "shm/attach.h"
#include "shm/words.h"

static struct rig rig;
static struct guest guest;
static struct rig_options options;
static char why_gone[64];
static uint32_t id_gone;

static void open_rig(void)
{
    rig_defaults(&options);
    options.local = true;
    options.nr_cores = 2;
    rig_open(&rig, &options);
    guest_open(&guest, &rig, 7, true);
}

static void close_rig(void)
{
    rig_close(&rig);
    guest_close(&guest);
}

TestSuite(clients, .init = open_rig, .fini = close_rig);

static void note_gone(void *context, uint32_t id, const char *why)
{
    cr_assert_eq(context, &rig);
    snprintf(why_gone, sizeof(why_gone), "%s", why);
    id_gone = id;
}

/* Turns and ticks for a second at most. */
static void wait_gone(uint32_t id)
{
    struct timespec pause = {.tv_nsec = 200000};

    for (uint64_t end_ns = clock_ns() + NS_PER_S; id_gone != id && clock_ns() < end_ns;) {
        rig_turn(&rig);
        local_tick(rig.local, rig.now_ns, note_gone, &rig);
        nanosleep(&pause, NULL);
    }
    cr_assert_eq(id_gone, id);
}

static int add(uint32_t id, int fd, int pidfd)
{
    struct local_spec spec = {.id = id, .segment_fd = fd, .pidfd = pidfd, .pinned_max = 1000};

    return local_add(rig.local, &spec);
}

Test(clients, are_refused_where_their_id_or_segment_is_wrong)
{
    int fd = dup(guest.segment.fd);

    cr_assert_eq(add(7, fd, -1), -EEXIST);
    cr_assert_eq(fcntl(fd, F_GETFD), -1, "the descriptor is closed in any case");
    cr_assert_eq(add(0, dup(guest.segment.fd), -1), -EINVAL);
    cr_assert_eq(add(CLIENT_ID_MAX + 1, dup(guest.segment.fd), -1), -EINVAL);
    fd = memfd_create("nothing", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_lt(add(9, fd, -1), 0);
    cr_assert_eq(fcntl(fd, F_GETFD), -1);
}

Test(clients, are_as_many_as_the_table_has_slots_and_slots_are_used_again)
{
    static struct guest guests[LOCAL_CLIENTS_MAX];
    struct local_spec spec;
    uint8_t out[8];

    for (unsigned i = 1; i < LOCAL_CLIENTS_MAX; i++)
        guest_open(&guests[i], &rig, 100 + i, false);
    cr_assert_eq(add(999, dup(guest.segment.fd), -1), -ENOSPC);
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++) {
        cr_assert(local_client(rig.local, i, &spec));
        cr_assert_eq(spec.id, i == 0 ? 7 : 100 + i);
    }
    cr_assert(!local_client(rig.local, LOCAL_CLIENTS_MAX, &spec));
    cr_assert(guest_leave(&guests[10]));
    cr_assert(!local_client(rig.local, LOCAL_CLIENTS_MAX - 1, &spec));
    guest_close(&guests[10]);
    guest_open(&guests[10], &rig, 500, false);
    for (unsigned i = 1; i < LOCAL_CLIENTS_MAX; i++) {
        cr_assert_eq(guest_put(&guests[i], "key", "value", 5), KVR_OK, "client %u", i);
        cr_assert_eq(guest_get(&guests[i], "key", out, sizeof(out)), 5);
    }
    for (unsigned i = 1; i < LOCAL_CLIENTS_MAX; i++) {
        cr_assert(guest_leave(&guests[i]));
        guest_close(&guests[i]);
    }
}

Test(clients, go_when_they_say_so)
{
    shared_store(&guest.segment.header->closed, 1);
    wait_gone(7);
    cr_assert_str_eq(why_gone, "closed");
    cr_assert_eq(local_drop(rig.local, 7), -ENOENT);
}

Test(clients, go_when_their_process_dies)
{
    struct pollfd pollfd = {.fd = local_fd(rig.local), .events = POLLIN};
    struct local_spec spec = {.id = 8, .segment_fd = dup(guest.segment.fd), .pinned_max = 1000};
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    spec.pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    cr_assert_geq(spec.pidfd, 0);
    cr_assert_eq(local_add(rig.local, &spec), 0);
    cr_assert_eq(poll(&pollfd, 1, 0), 0);
    kill(child, SIGKILL);
    cr_assert_eq(poll(&pollfd, 1, 1000), 1);
    wait_gone(8);
    cr_assert_str_eq(why_gone, "its process died");
    cr_assert_eq(poll(&pollfd, 1, 0), 0);
    waitpid(child, NULL, 0);
}

/* Puts references of stored blocks into the guest's hazard slots. */
static void hold(unsigned nr)
{
    static uint8_t value[1000];
    char key[64];
    uint64_t ref;

    rig_hello(&rig);
    for (unsigned i = 0; i < nr; i++) {
        snprintf(key, sizeof(key), "held%u", i);
        cr_assert_eq(rig_put(&rig, key, value, sizeof(value), &ref), KVR_OK);
        shared_store(&guest.segment.slots[i], ref);
        shared_store(&guest.segment.header->slots_used, i + 1);
    }
}

Test(clients, go_when_they_hold_far_too_much_for_a_second)
{
    struct local_spec spec = {
        .id = 8, .segment_fd = dup(guest.segment.fd), .pidfd = -1, .pinned_max = 4000};
    struct timespec pause = {.tv_nsec = 30000000};

    cr_assert_eq(local_add(rig.local, &spec), 0);
    hold(9);
    for (unsigned i = 0; i < 12; i++) { /* the reclaimer scans by itself while blocks are held */
        rig_turn(&rig);
        rig.now_ns += NS_PER_S / 20;
        local_tick(rig.local, rig.now_ns, note_gone, &rig);
        nanosleep(&pause, NULL);
    }
    cr_assert_eq(id_gone, 0);
    rig.now_ns += NS_PER_S;
    wait_gone(8);
    cr_assert_str_eq(why_gone, "held more than twice what it may");
}

Test(clients, tell_of_their_hits_and_nonsense_counts_for_nothing)
{
    struct core *core = rig.cores[0];
    uint64_t ref;
    unsigned n = 0;
    char key[64];

    rig_hello(&rig);
    rig_key(&rig, "key", 0, &n, key);
    cr_assert_eq(rig_put(&rig, key, "value", 5, &ref), KVR_OK);
    rig_turn(&rig);
    for (unsigned i = 0; i < 10; i++)
        guest_access(&guest, 0, ref);
    rig_turn(&rig);
    cr_assert_eq(counter_read(&core->stats->local_accesses), 10);
    cr_assert_eq(counter_read(&core->stats->local_accesses_lost), 0);
    guest_access(&guest, 0, ref + (1ull << 32));
    guest_access(&guest, 0, ref + 1);
    guest_access(&guest, 0, 0);
    guest_access(&guest, 0, UINT64_MAX);
    guest_access(&guest, 0, ref + rig.arena.maps[0].nr_blocks);
    rig_turn(&rig);
    cr_assert_eq(counter_read(&core->stats->local_accesses_lost), 5);
    for (unsigned i = 0; i < SEGMENT_ACCESSES + 100; i++)
        guest_access(&guest, 0, ref);
    for (unsigned i = 0; i < 10; i++)
        rig_turn(&rig);
    cr_assert_eq(counter_read(&core->stats->local_accesses_lost), 105);
    cr_assert_eq(counter_read(&core->stats->local_accesses), 15 + SEGMENT_ACCESSES);
    guest.segment.groups[0] = 0;
    segment_rings_of(&guest.segment, 0).group->access_tail += 3000000000u;
    for (unsigned i = 0; i < 10; i++)
        rig_turn(&rig);
}

Test(clients, keep_by_their_hits_what_would_go_first)
{
    uint8_t value[1000] = {0}, out[1000];
    uint64_t ref;
    unsigned n = 0;
    char first[64], key[64];

    rig_hello(&rig);
    rig_key(&rig, "key", 0, &n, first);
    cr_assert_eq(rig_put(&rig, first, value, sizeof(value), &ref), KVR_OK);
    for (unsigned i = 0; i < 20000; i++) {
        rig_key(&rig, "key", 0, &n, key);
        guest_access(&guest, 0, ref);
        cr_assert_eq(rig_put(&rig, key, value, sizeof(value), NULL), KVR_OK);
    }
    cr_assert_gt(counter_read(&arena_part(&rig.arena, 0)->evictions), 10000);
    cr_assert_eq(rig_get(&rig, first, out, sizeof(out)), 1000);
}

Test(clients, leave_while_their_requests_travel_between_cores)
{
    struct message message;

    for (unsigned i = 0; i < 50; i++) {
        struct guest one;
        char key[64];
        unsigned n = 0;

        guest_open(&one, &rig, 1000 + i, true);
        rig_key(&rig, "key", 1, &n, key);
        for (unsigned k = 0; k < 10; k++) {
            guest_begin(&one, &message);
            message_get(&message, key, NULL, 0);
            cr_assert(guest_post(&one, &message));
        }
        if (i % 2)
            rig_turn(&rig);
        cr_assert(guest_leave(&one));
        guest_close(&one);
    }
}

Test(clients, are_dropped_without_a_trace_before_the_cores_saw_them)
{
    struct guest one;

    for (unsigned i = 0; i < 200; i++) {
        guest_open(&one, &rig, 2000 + i, true);
        cr_assert(guest_leave(&one));
        guest_close(&one);
    }
}
