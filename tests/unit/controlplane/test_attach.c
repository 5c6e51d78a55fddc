/* SPDX-License-Identifier: Apache-2.0 */
/* Clients on this host: who is let in, with which rights, and how they end. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon.h"
#include "kvrail/region.h"
#include "shm/passing.h"

TestSuite(attach, .init = daemon_setup, .fini = daemon_teardown, .timeout = 60);

static struct guest guest, other;

static json_t *client_at(json_t *answer, size_t i)
{
    return json_array_get(json_object_get(json_object_get(answer, "result"), "clients"), i);
}

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static json_int_t number_of(json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

Test(attach, a_client_is_let_in_and_listed)
{
    json_t *answer, *client;

    write_file("client_slots: 128\nclient_pinned: 25\n");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    cr_assert_eq(guest.offer.rights, ATTACH_READ);
    cr_assert_eq(guest.offer.slots_max, 128);
    cr_assert_eq(guest.offer.pinned_max, (4 << 20) / 100 * 25);
    answer = wait_clients(1);
    client = client_at(answer, 0);
    cr_assert_eq(number_of(client, "id"), guest.done.id);
    cr_assert_eq(number_of(client, "pid"), getpid());
    cr_assert_eq(number_of(client, "uid"), getuid());
    cr_assert_str_eq(text_of(client, "name"), "guest?[1m");
    cr_assert_str_eq(text_of(client, "state"), "attached");
    json_decref(answer);
    close(guest.conn);
    json_decref(wait_clients(0));
}

Test(attach, who_only_reads_can_map_nothing_for_writing)
{
    write_file("local_write: owner\n");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    cr_assert_eq(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, guest.index_fd, 0), MAP_FAILED);
    cr_assert_eq(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, guest.data_fd, 0), MAP_FAILED);
    guest_attach(&other, ATTACH_WRITE);
    cr_assert_eq(other.offer.rights, ATTACH_WRITE, "this is kvraild's own user");
    cr_assert_eq(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, other.index_fd, 0), MAP_FAILED);
    cr_assert_neq(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, other.data_fd, 0), MAP_FAILED);
}

Test(attach, writing_may_be_forbidden_to_all)
{
    write_file("local_write: none\n");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_WRITE);
    cr_assert_eq(guest.offer.rights, ATTACH_READ);
}

Test(attach, one_more_than_may_is_told_so)
{
    write_file("clients_max: 1\n");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    guest_connect(&other);
    cr_assert_eq(guest_hello(&other, ATTACH_READ), EBUSY);
    cr_assert(strstr(other.offer.text, "clients_max"), "%s", other.offer.text);
    cr_assert(guest_hung_up(&other));
    close(guest.conn);
    json_decref(wait_clients(0));
    guest_attach(&other, ATTACH_READ);
}

Test(attach, nonsense_is_hung_up_on)
{
    struct attach_hello hello = {.magic = ATTACH_MAGIC, .version = ATTACH_VERSION + 1};

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_connect(&guest);
    cr_assert_eq(send(guest.conn, "hello", 5, 0), 5);
    while (!guest_hung_up(&guest)) {
    }
    close(guest.conn);
    guest_connect(&guest);
    cr_assert_eq(send(guest.conn, &hello, sizeof(hello), 0), (ssize_t)sizeof(hello));
    cr_assert_eq(recv(guest.conn, &guest.offer, sizeof(guest.offer), 0),
                 (ssize_t)sizeof(guest.offer));
    cr_assert_eq(guest.offer.status, EPROTO);
    close(guest.conn);
    guest_connect(&guest); /* a segment that is none */
    cr_assert_eq(guest_hello(&guest, ATTACH_READ), 0);
    guest_segment(&guest);
    cr_assert_eq(guest_done(&guest), 0);
    cr_assert_eq(send(guest.conn, "more", 4, 0), 4);
    cr_assert(guest_hung_up(&guest), "a client that is attached says nothing");
    json_decref(wait_clients(0));
}

Test(attach, silence_ends_and_keeps_nobody_out)
{
    struct guest idle[40];

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    for (unsigned i = 0; i < 40; i++)
        guest_connect(&idle[i]);
    guest_attach(&guest, ATTACH_READ);
    for (unsigned i = 0; i < 40; i++)
        cr_assert(guest_hung_up(&idle[i]));
    json_decref(wait_clients(1));
}

Test(attach, a_client_that_the_dataplane_does_not_take_is_told_why)
{
    write_file("");
    pid = start("choosy", NULL);
    json_decref(wait_state("ok"));
    guest_connect(&guest);
    cr_assert_eq(guest_hello(&guest, ATTACH_READ), 0);
    guest_segment(&guest);
    cr_assert_neq(guest_done(&guest), 0);
    cr_assert_str_eq(guest.done.text, "no clients today");
    json_decref(wait_clients(0));
}

Test(attach, a_client_that_is_killed_is_gone_within_a_second)
{
    uint64_t from;
    pid_t child;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    child = guest_fork();
    json_decref(wait_clients(1));
    from = clock_ns();
    kill(child, SIGKILL);
    json_decref(wait_clients(0));
    cr_assert_lt(clock_ns() - from, NS_PER_S);
    cr_assert_eq(waitpid(child, NULL, 0), child);
}

Test(attach, a_client_can_be_dropped)
{
    char request[96];
    json_t *answer;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    snprintf(request, sizeof(request), "{\"command\":\"client-drop\",\"client\":%u}\n",
             guest.done.id);
    answer = ask(request);
    cr_assert(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    cr_assert(guest_hung_up(&guest));
    json_decref(wait_clients(0));
    answer = ask(request);
    cr_assert(json_is_false(json_object_get(answer, "ok")));
    json_decref(answer);
}

Test(attach, clients_outlive_the_dataplane)
{
    json_t *answer;
    uint32_t id;
    pid_t before;

    write_file("");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    before = dataplane_pid(answer);
    json_decref(answer);
    guest_attach(&guest, ATTACH_READ);
    id = guest.done.id;
    kill(before, SIGKILL);
    json_decref(wait_other(before));
    answer = wait_clients(1);
    cr_assert_eq(number_of(client_at(answer, 0), "id"), id);
    json_decref(answer);
    close(guest.conn); /* the dataplane was told of it: it says when it has let go */
    json_decref(wait_clients(0));
    cr_assert_not(said("none"), "the new dataplane knew it");
}

Test(attach, pins_say_nothing_of_slots_that_name_nothing)
{
    json_t *answer;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    for (unsigned i = 0; i < 64; i++)
        guest.segment.slots[i] = UINT64_MAX / (i + 1);
    guest.segment.header->slots_used = UINT32_MAX;
    answer = ask("{\"command\":\"pins\"}\n");
    cr_assert_eq(number_of(json_object_get(answer, "result"), "held"), 0);
    json_decref(answer);
    answer = ask("{\"command\":\"pins\",\"limit\":-1}\n");
    cr_assert(json_is_false(json_object_get(answer, "ok")));
    json_decref(answer);
}

Test(attach, a_cold_restart_ends_all_clients)
{
    uint64_t arena;
    json_t *answer;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    arena = guest.offer.arena_id;
    answer = ask("{\"command\":\"restart\",\"cold\":true}\n");
    cr_assert(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    cr_assert(guest_hung_up(&guest));
    guest_attach(&other, ATTACH_READ);
    cr_assert_neq(other.offer.arena_id, arena);
    cr_assert_eq(guest.arena.sb->arena_id, arena, "what it has mapped stays");
}

/* Asks about a region of 8,192 bytes, and waits for the answer: an errno. */
static uint32_t region(struct guest *asks, enum attach_region_op op, uint32_t number, int fd)
{
    struct attach_region wish = {.magic = ATTACH_MAGIC,
                                 .version = ATTACH_VERSION,
                                 .op = op,
                                 .number = number,
                                 .kind = KVR_REGION_MEMFD,
                                 .size = 8192};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {&wish, sizeof(wish)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct attach_region_done done = {0};

    if (fd >= 0) {
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
    }
    cr_assert_eq(sendmsg(asks->conn, &msg, 0), (ssize_t)sizeof(wish));
    cr_assert_eq(recv(asks->conn, &done, sizeof(done), 0), (ssize_t)sizeof(done));
    cr_assert_eq(done.magic, ATTACH_MAGIC);
    cr_assert_eq(done.op, op);
    cr_assert_eq(done.number, number);
    cr_assert(done.status == 0 || done.text[0]);
    return done.status;
}

static json_t *device(json_t *answer)
{
    return json_array_get(json_object_get(json_object_get(answer, "result"), "gpus"), 0);
}

Test(attach, regions_are_handed_to_the_dataplane_and_listed)
{
    int fd = memfd_create("region", MFD_CLOEXEC);
    json_t *answer;

    write_file("client_regions: 2\n");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 3, fd), 0);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 3, fd), EEXIST);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 4, -1), EINVAL, "no descriptor");
    cr_assert_eq(region(&guest, ATTACH_REGION_DROP, 4, -1), ENOENT);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 15, fd), 0);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 0, fd), EDQUOT, "client_regions");
    answer = wait_clients(1);
    cr_assert_eq(number_of(client_at(answer, 0), "regions"), 2);
    cr_assert_eq(number_of(client_at(answer, 0), "region_bytes"), 16384);
    json_decref(answer);
    cr_assert_eq(region(&guest, ATTACH_REGION_DROP, 3, -1), 0);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 0, fd), 0);
    answer = ask("{\"command\":\"gpu-list\"}\n");
    cr_assert_str_eq(text_of(device(answer), "state"), "up");
    cr_assert_str_eq(text_of(device(answer), "where"), "fake:0");
    cr_assert_eq(number_of(device(answer), "jobs"), 3);
    cr_assert_eq(number_of(device(answer), "load_bytes"), 3 * 8192);
    json_decref(answer);
    close(fd);
}

Test(attach, regions_have_a_limit_of_bytes)
{
    int fd = memfd_create("region", MFD_CLOEXEC);

    write_file("client_region_bytes: 10000\n");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 0, fd), 0);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 1, fd), EDQUOT);
    close(fd);
}

Test(attach, a_region_that_no_device_takes_is_said_and_its_number_is_free_again)
{
    int fd = memfd_create("region", MFD_CLOEXEC);

    write_file("");
    pid = start("without-devices", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 0, fd), ENODEV);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 0, fd), ENODEV);
    cr_assert_eq(region(&guest, ATTACH_REGION_DROP, 0, -1), ENOENT);
    close(fd);
}

Test(attach, the_next_dataplane_is_told_of_all_regions)
{
    int fd = memfd_create("region", MFD_CLOEXEC);
    json_t *answer;
    json_int_t jobs = 0;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 0, fd), 0);
    cr_assert_eq(region(&guest, ATTACH_REGION_ADD, 1, fd), 0);
    json_decref(ask("{\"command\":\"restart\"}\n"));
    for (unsigned i = 0; i < 250 && jobs < 4; i++) {
        answer = ask("{\"command\":\"gpu-list\"}\n");
        jobs = number_of(device(answer), "jobs");
        json_decref(answer);
        poll(NULL, 0, 20);
    }
    cr_assert_eq(jobs, 4, "two by each");
    cr_assert_eq(region(&guest, ATTACH_REGION_DROP, 1, -1), 0);
    close(fd);
}

Test(attach, nonsense_about_regions_ends_a_client)
{
    struct attach_region wish = {
        .magic = ATTACH_MAGIC, .version = ATTACH_VERSION, .op = 1, .number = KVR_REGIONS_MAX};

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    cr_assert_eq(send(guest.conn, &wish, sizeof(wish), 0), (ssize_t)sizeof(wish));
    cr_assert(guest_hung_up(&guest));
    json_decref(wait_clients(0));
}

/* Asks for a pool's memory, and waits for the answer. *fd: what came beside it, or -1. */
static struct attach_pool_done pool(struct guest *asks, uint32_t device, uint32_t core, int *fd)
{
    struct attach_pool wish = {.magic = ATTACH_MAGIC,
                               .version = ATTACH_VERSION,
                               .op = ATTACH_POOL,
                               .device = device,
                               .core = core};
    struct pollfd pollfd = {.fd = asks->conn, .events = POLLIN};
    struct attach_pool_done done = {0};
    struct passed came;

    cr_assert_eq(send(asks->conn, &wish, sizeof(wish), 0), (ssize_t)sizeof(wish));
    cr_assert_eq(poll(&pollfd, 1, 10000), 1);
    cr_assert_eq(passing_receive(asks->conn, &done, sizeof(done), &came), (ssize_t)sizeof(done));
    cr_assert_leq(came.nr, 1);
    *fd = came.nr ? came.fds[0] : -1;
    cr_assert_eq(done.magic, ATTACH_MAGIC);
    cr_assert_eq(done.op, ATTACH_POOL);
    cr_assert_eq(done.device, device);
    cr_assert_eq(done.core, core);
    cr_assert(done.status == 0 || done.text[0]);
    return done;
}

Test(attach, who_may_write_is_handed_the_memory_of_a_pool)
{
    struct attach_pool_done done;
    struct stat st;
    int fd;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_WRITE);
    for (unsigned i = 0; i < 3; i++) {
        done = pool(&guest, 0, 0, &fd);
        cr_assert_eq(done.status, 0);
        cr_assert_eq(done.kind, KVR_REGION_MEMFD);
        cr_assert_eq(done.size, 4096);
        cr_assert_eq(done.lost, 7);
        cr_assert_eq(fstat(fd, &st), 0);
        cr_assert_eq(st.st_size, 4096);
        close(fd);
        done = pool(&guest, 1, i, &fd);
        cr_assert_eq(done.status, ENODEV);
        cr_assert_eq(fd, -1);
    }
}

Test(attach, who_only_reads_is_not)
{
    struct attach_pool_done done;
    int fd;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    done = pool(&guest, 0, 0, &fd);
    cr_assert_eq(done.status, EACCES);
    cr_assert_eq(fd, -1);
}

Test(attach, nonsense_about_pools_ends_a_client)
{
    struct attach_pool wish = {
        .magic = ATTACH_MAGIC, .version = ATTACH_VERSION, .op = ATTACH_POOL, .zero = {[71] = 1}};

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_WRITE);
    cr_assert_eq(send(guest.conn, &wish, sizeof(wish), 0), (ssize_t)sizeof(wish));
    cr_assert(guest_hung_up(&guest));
    json_decref(wait_clients(0));
}
