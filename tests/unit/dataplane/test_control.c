/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/control.h"
#include "dataplane/note.h"

static int peer;
static struct control_command command;

static void setup(void)
{
    int pair[2];

    log_setup("test", LOG_LEVEL_ERROR);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    peer = pair[1];
    cr_assert_eq(control_open(pair[0]), 0);
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
    cr_assert_eq(control_wait(1000, &command), CONTROL_SET);
    cr_assert_str_eq(command.key, "idle");
    cr_assert_str_eq(command.value, "spin");
    tell("stop\n");
    cr_assert_eq(control_wait(1000, &command), CONTROL_STOP);
}

Test(control, lines_may_come_together_or_in_pieces)
{
    tell("set a 1\nset b 2 3\nset c");
    cr_assert_eq(control_wait(1000, &command), CONTROL_SET);
    cr_assert_str_eq(command.key, "a");
    cr_assert_eq(control_wait(1000, &command), CONTROL_SET);
    cr_assert_str_eq(command.value, "2 3");
    cr_assert_eq(control_wait(0, &command), CONTROL_TICK);
    tell(" \n");
    cr_assert_eq(control_wait(1000, &command), CONTROL_SET);
    cr_assert_str_eq(command.key, "c");
    cr_assert_str_eq(command.value, "");
}

Test(control, what_is_not_understood_is_answered_and_skipped)
{
    char flood[2000];

    tell("dance\n");
    cr_assert_eq(control_wait(1000, &command), CONTROL_TICK);
    expect_said("error unknown command\n");
    tell("set alone\n");
    cr_assert_eq(control_wait(1000, &command), CONTROL_TICK);
    expect_said("error expected: set KEY VALUE\n");
    memset(flood, 'x', sizeof(flood));
    flood[sizeof(flood) - 1] = '\0';
    tell("set ");
    tell(flood);
    tell("\nstop\n");
    for (int turn = 0; turn < 20; turn++)
        if (control_wait(100, &command) == CONTROL_STOP)
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
    cr_assert_eq(control_wait(1000, &command), CONTROL_STOP);
    cr_assert_eq(kill(getpid(), SIGINT), 0);
    cr_assert_eq(control_wait(1000, &command), CONTROL_STOP);
}

Test(control, a_daemon_that_goes_away_stops_nothing)
{
    close(peer);
    cr_assert_eq(control_wait(1000, &command), CONTROL_TICK);
    control_say("into the void");
    cr_assert_eq(control_wait(0, &command), CONTROL_TICK);
    cr_assert_eq(kill(getpid(), SIGTERM), 0);
    cr_assert_eq(control_wait(1000, &command), CONTROL_STOP);
}

Test(control, a_daemon_that_does_not_read_blocks_nothing)
{
    for (int i = 0; i < 5000; i++)
        control_say("note %d", i);
    cr_assert_eq(control_wait(0, &command), CONTROL_TICK);
}
