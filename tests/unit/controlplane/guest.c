/* SPDX-License-Identifier: Apache-2.0 */
/* The client's half of the handshake, step by step, with nothing of the client library. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon.h"

static size_t receive(const struct guest *guest, void *bytes, size_t size, int *fds)
{
    char control[256];
    struct iovec iov = {bytes, size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(guest->conn, &msg, 0);
    struct cmsghdr *cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

    if (cmsg && fds)
        memcpy(fds, CMSG_DATA(cmsg), cmsg->cmsg_len - CMSG_LEN(0));
    return n < 0 ? 0 : (size_t)n;
}

void guest_connect(struct guest *guest)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};

    *guest = (struct guest){.index_fd = -1, .data_fd = -1};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s.local", path);
    for (unsigned i = 0; i < 250; i++) {
        guest->conn = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        setsockopt(guest->conn, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        if (connect(guest->conn, (struct sockaddr *)&address, sizeof(address)) == 0)
            return;
        close(guest->conn);
        poll(NULL, 0, 20);
    }
    cr_assert_fail("nobody listens on the local socket");
}

uint32_t guest_hello(struct guest *guest, enum attach_rights wish)
{
    struct attach_hello hello = {.magic = ATTACH_MAGIC,
                                 .version = ATTACH_VERSION,
                                 .arena_version = ARENA_VERSION,
                                 .wish = wish,
                                 .name = "guest\033[1m"};
    int fds[2] = {-1, -1};

    cr_assert_eq(send(guest->conn, &hello, sizeof(hello), 0), (ssize_t)sizeof(hello));
    cr_assert_eq(receive(guest, &guest->offer, sizeof(guest->offer), fds), sizeof(guest->offer));
    cr_assert_eq(guest->offer.magic, ATTACH_MAGIC);
    guest->index_fd = fds[0];
    guest->data_fd = fds[1];
    cr_assert_eq(guest->offer.status == 0, fds[1] >= 0);
    return guest->offer.status;
}

void guest_segment(struct guest *guest)
{
    struct attach_segment message = {.magic = ATTACH_MAGIC, .version = ATTACH_VERSION};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {&message, sizeof(message)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    struct segment_spec spec = {.nr_slots = 64};
    bool write = guest->offer.rights == ATTACH_WRITE;

    cr_assert_eq(arena_attach(guest->index_fd, guest->data_fd,
                              write ? ARENA_WRITE_DATA : ARENA_READ, &guest->arena),
                 0);
    spec.nr_partitions = guest->arena.nr_partitions;
    cr_assert_eq(segment_create(&spec, guest->arena.sb->arena_id, &guest->segment), 0);
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.head), &guest->segment.fd, sizeof(int));
    cr_assert_eq(sendmsg(guest->conn, &msg, 0), (ssize_t)sizeof(message));
}

uint32_t guest_done(struct guest *guest)
{
    cr_assert_eq(receive(guest, &guest->done, sizeof(guest->done), NULL), sizeof(guest->done));
    cr_assert_eq(guest->done.magic, ATTACH_MAGIC);
    return guest->done.status;
}

void guest_attach(struct guest *guest, enum attach_rights wish)
{
    guest_connect(guest);
    cr_assert_eq(guest_hello(guest, wish), 0, "%s", guest->offer.text);
    guest_segment(guest);
    cr_assert_eq(guest_done(guest), 0, "%s", guest->done.text);
    cr_assert_neq(guest->done.id, 0);
}

bool guest_hung_up(const struct guest *guest)
{
    char bytes[512];

    return receive(guest, bytes, sizeof(bytes), NULL) == 0;
}

pid_t guest_fork(void)
{
    int pipes[2];
    char byte;
    pid_t child;

    cr_assert_eq(pipe(pipes), 0);
    child = fork();
    if (child == 0) {
        static struct guest guest;

        guest_attach(&guest, ATTACH_READ);
        if (write(pipes[1], "x", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(pipes[1]);
    cr_assert_eq(read(pipes[0], &byte, 1), 1);
    close(pipes[0]);
    return child;
}

json_t *wait_clients(size_t nr)
{
    for (unsigned i = 0; i < 250; i++) {
        json_t *answer = ask("{\"command\":\"client-list\"}\n");
        json_t *clients = json_object_get(json_object_get(answer, "result"), "clients");

        if (answer && json_array_size(clients) == nr)
            return answer;
        json_decref(answer);
        poll(NULL, 0, 20);
    }
    cr_assert_fail("never %zu clients", nr);
    return NULL;
}
