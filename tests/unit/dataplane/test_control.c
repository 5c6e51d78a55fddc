/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/adopt.h"
#include "dataplane/control.h"
#include "dataplane/note.h"
#include "tests/fixture/descriptors.h"

static int peer;
static struct control_command command;

static void setup(void)
{
    int pair[2];

    log_setup("test", LOG_LEVEL_ERROR);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    peer = pair[1];
    cr_assert_eq(control_open(pair[0], -1), 0);
}

static void teardown(void)
{
    control_close();
    close(peer);
}

TestSuite(control, .init = setup, .fini = teardown, .timeout = 10);

static void tell(const char *text)
{
    cr_assert_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

static void expect_said(const char *text)
{
    char said[1024];
    ssize_t len = recv(peer, said, sizeof(said) - 1, MSG_DONTWAIT);

    cr_assert_gt(len, 0);
    said[len] = '\0';
    cr_assert_str_eq(said, text);
}

Test(control, stop_and_set_are_understood)
{
    tell("set idle spin\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_SET);
    cr_assert_str_eq(command.key, "idle");
    cr_assert_str_eq(command.value, "spin");
    tell("stop\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_STOP);
}

Test(control, lines_may_come_together_or_in_pieces)
{
    tell("set a 1\nset b 2 3\nset c");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_SET);
    cr_assert_str_eq(command.key, "a");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_SET);
    cr_assert_str_eq(command.value, "2 3");
    cr_assert_eq(control_wait(0, -1, &command), CONTROL_TICK);
    tell(" \n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_SET);
    cr_assert_str_eq(command.key, "c");
    cr_assert_str_eq(command.value, "");
}

Test(control, what_is_not_understood_is_answered_and_skipped)
{
    char flood[2000];

    tell("dance\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK);
    expect_said("error unknown command\n");
    tell("set alone\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK);
    expect_said("error expected: set KEY VALUE\n");
    memset(flood, 'x', sizeof(flood));
    flood[sizeof(flood) - 1] = '\0';
    tell("set ");
    tell(flood);
    tell("\nstop\n");
    for (int turn = 0; turn < 20; turn++)
        if (control_wait(100, -1, &command) == CONTROL_STOP)
            return;
    cr_assert_fail("stop was lost behind a line too long");
}

Test(control, what_is_said_is_one_line)
{
    control_say("failed %s", "this\nand that");
    expect_said("failed this and that\n");
    note("no %s", "hugepages");
    expect_said("note no hugepages\n");
}

Test(control, signals_stop)
{
    cr_assert_eq(kill(getpid(), SIGTERM), 0);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_STOP);
    cr_assert_eq(kill(getpid(), SIGINT), 0);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_STOP);
}

Test(control, a_daemon_that_goes_away_stops_nothing)
{
    close(peer);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK);
    control_say("into the void");
    cr_assert_eq(control_wait(0, -1, &command), CONTROL_TICK);
    cr_assert_eq(kill(getpid(), SIGTERM), 0);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_STOP);
}

Test(control, a_daemon_that_does_not_read_blocks_nothing)
{
    for (int i = 0; i < 5000; i++)
        control_say("note %d", i);
    cr_assert_eq(control_wait(0, -1, &command), CONTROL_TICK);
}

/* A line with copies of descriptors beside it. */
static void tell_with(const char *text, const int *fds, unsigned nr)
{
    cr_assert_eq(descriptors_send(peer, text, fds, nr), (ssize_t)strlen(text));
}

static unsigned open_descriptors(void)
{
    unsigned nr = 0;

    for (int fd = 0; fd < 256; fd++)
        nr += fcntl(fd, F_GETFD) >= 0;
    return nr;
}

Test(control, a_client_comes_with_its_descriptors)
{
    int pipes[2];

    cr_assert_eq(pipe(pipes), 0);
    tell_with("client-add 7 100 1000 1 4096\n", pipes, 2);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_CLIENT_ADD);
    cr_assert_eq(command.client.id, 7);
    cr_assert_eq(command.client.pid, 100);
    cr_assert_eq(command.client.uid, 1000);
    cr_assert(command.client.may_write);
    cr_assert_eq(command.client.pinned_max, 4096);
    cr_assert_eq(write(command.client.pidfd, "x", 1), 1, "the second is the pipe's writing end");
    cr_assert_eq(read(pipes[0], &command, 1), 1);
    tell("client-drop 7\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_CLIENT_DROP);
    cr_assert_eq(command.client.id, 7);
}

Test(control, descriptors_that_no_line_takes_are_closed)
{
    static const char *const lines[] = {"client-add 7 100 1000 2 4096\n", "client-add 7\n",
                                        "client-add 0 1 1 1 1\n", "dance\n",
                                        "client-add 7 100 1000 1 4096 \n"};
    unsigned before = open_descriptors();
    int pair[3] = {peer, peer, peer};

    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        tell_with(lines[i], pair, 3);
        cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK);
        cr_assert_eq(open_descriptors(), before, "%s", lines[i]);
    }
    tell("client-add 7 100 1000 1 4096\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK);
    tell("client-drop x\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK);
}

Test(control, a_region_comes_with_the_descriptor_that_its_kind_has)
{
    int pipes[2];
    char line[256] = "region-add 7 3 2 8192 ";

    cr_assert_eq(pipe(pipes), 0);
    tell_with("region-add 7 3 1 8192 -\n", &pipes[1], 1);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_REGION_ADD);
    cr_assert_eq(command.client.id, 7);
    cr_assert_eq(command.region, 3);
    cr_assert_eq(command.handle.kind, GPU_HANDLE_MEMFD);
    cr_assert_eq(command.handle.size, 8192);
    cr_assert_eq(write(command.handle.fd, "x", 1), 1);
    close(command.handle.fd);
    for (unsigned i = 0; i < GPU_HANDLE_MAX; i++)
        snprintf(line + strlen(line), 3, "%02x", 255 - i);
    strcat(line, "\n");
    tell(line);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_REGION_ADD);
    cr_assert_eq(command.handle.kind, GPU_HANDLE_CUDA_IPC);
    cr_assert_eq(command.handle.fd, -1);
    for (unsigned i = 0; i < GPU_HANDLE_MAX; i++)
        cr_assert_eq(command.handle.bytes[i], 255 - i);
    tell("region-drop 7 3\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_REGION_DROP);
    cr_assert_eq(command.client.id, 7);
    cr_assert_eq(command.region, 3);
}

Test(control, a_region_that_makes_no_sense_is_no_command_and_its_descriptor_is_closed)
{
    static const char *const lines[] = {"region-add 7 3 1 8192\n",    "region-add 7 3 0 8192 -\n",
                                        "region-add 7 3 4 8192 -\n",  "region-add 7 3 2 8192 abc\n",
                                        "region-add 7 3 2 8192 0x\n", "region-drop 7\n"};
    unsigned before = open_descriptors();

    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        tell_with(lines[i], &peer, i < 5);
        cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK, "%s", lines[i]);
        cr_assert_eq(open_descriptors(), before, "%s", lines[i]);
    }
    tell("region-add 7 3 1 8192 -\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK, "no descriptor");
}

Test(control, a_pool_is_asked_for_by_client_device_and_core)
{
    tell("pool-export 7 3 12\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_POOL_EXPORT);
    cr_assert_eq(command.client.id, 7);
    cr_assert_eq(command.device, 3);
    cr_assert_eq(command.core, 12);
    tell("pool-export 7 3\n");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK);
}

Test(control, another_descriptor_wakes_it)
{
    int pipes[2];

    cr_assert_eq(pipe(pipes), 0);
    cr_assert_eq(write(pipes[1], "x", 1), 1);
    cr_assert_eq(control_wait(60000, pipes[0], &command), CONTROL_TICK);
}

/* ---- Adoption ---------------------------------------------------------------------------------
 */

static bool one_client(void *context, unsigned i, struct local_spec *client)
{
    *client = (struct local_spec){.id = 9, .pid = 100, .uid = 1000, .pinned_max = 4096};
    client->segment_fd = client->pidfd = *(int *)context;
    return i == 0;
}

static size_t receive_all(int fd, char *text, size_t size, unsigned *nr_fds)
{
    _Alignas(struct cmsghdr) char control[256];
    size_t used = 0;

    *nr_fds = 0;
    for (;;) {
        struct iovec iov = {.iov_base = text + used, .iov_len = size - 1 - used};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
        ssize_t len = recvmsg(fd, &msg, MSG_DONTWAIT);
        struct cmsghdr *cmsg = len > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

        if (len <= 0)
            break;
        used += (size_t)len;
        if (cmsg)
            *nr_fds += (unsigned)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    }
    text[used] = '\0';
    return used;
}

Test(adopt, the_next_daemon_is_told_all_of_it, .timeout = 10)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), pair[2], next, zero = 0;
    struct settings settings;
    struct adopt_told told = {.settings = &settings, .client = one_client, .context = &zero};
    struct ucred who;
    socklen_t len = sizeof(who);
    char text[16384];
    unsigned nr_fds;

    settings_defaults(&settings);
    settings.mtu = 9000;
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/kvrail-adopt-%d", (int)getpid());
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    cr_assert_eq(control_open(pair[0], listener), 0);
    control_say("recovered kept=3");
    control_say("note no hugepages");
    control_say("ready mac=1");
    close(pair[1]);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_TICK);
    control_say("note while nobody heard it");

    next = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(connect(next, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(unlink(address.sun_path), 0);
    cr_assert_eq(getsockopt(next, SOL_SOCKET, SO_PEERCRED, &who, &len), 0);
    cr_assert_eq(who.pid, getpid(), "who listens is the peer");
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_ADOPT);
    for (unsigned twice = 0; twice < 2; twice++) {
        adopt_tell(&told);
        receive_all(next, text, sizeof(text), &nr_fds);
        cr_assert_eq(nr_fds, 5);
        cr_assert_eq(strncmp(text, "adopted 1 ", 10), 0);
        cr_assert(strstr(text, "\narena\nclient 9 100 1000 0 4096\nsetting device "));
        cr_assert(strstr(text, "\nsetting mtu 9000\n"));
        cr_assert(strstr(text, "\nsetting idle sleep\n"));
        cr_assert(strstr(text, "\nnote no hugepages\nnote while nobody heard it\n"
                               "recovered kept=3\nready mac=1\n"));
    }
    cr_assert_eq(write(next, "stop\n", 5), 5);
    cr_assert_eq(control_wait(1000, -1, &command), CONTROL_STOP);
    control_close();
}
