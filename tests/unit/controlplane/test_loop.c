/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/loop.h"

static struct loop loop;
static int pipes[2][2];
static unsigned calls;

static void setup(void)
{
    loop = (struct loop){0};
    calls = 0;
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pipe2(pipes[i], O_NONBLOCK), 0);
}

TestSuite(loop, .init = setup);

static void count(void *owner, short revents)
{
    char byte;

    cr_assert(revents & (POLLIN | POLLHUP));
    cr_assert_geq(read(*(int *)owner, &byte, 1), 0);
    calls++;
}

static void unwatch_both(void *owner, short revents)
{
    (void)owner, (void)revents;
    loop_unwatch(&loop, pipes[0][0]);
    loop_unwatch(&loop, pipes[1][0]);
    calls++;
}

Test(loop, calls_what_is_ready_and_only_that)
{
    cr_assert_eq(loop_watch(&loop, pipes[0][0], POLLIN, count, &pipes[0][0]), 0);
    cr_assert_eq(loop_watch(&loop, pipes[1][0], POLLIN, count, &pipes[1][0]), 0);
    loop_turn(&loop, 0);
    cr_assert_eq(calls, 0);
    cr_assert_eq(write(pipes[1][1], "x", 1), 1);
    loop_turn(&loop, 1000);
    cr_assert_eq(calls, 1);
    loop_watch_for(&loop, pipes[1][0], 0);
    cr_assert_eq(write(pipes[1][1], "x", 1), 1);
    loop_turn(&loop, 0);
    cr_assert_eq(calls, 1);
}

Test(loop, a_callback_may_unwatch_what_is_ready_in_the_same_turn)
{
    cr_assert_eq(loop_watch(&loop, pipes[0][0], POLLIN, unwatch_both, NULL), 0);
    cr_assert_eq(loop_watch(&loop, pipes[1][0], POLLIN, unwatch_both, NULL), 0);
    cr_assert_eq(write(pipes[0][1], "x", 1), 1);
    cr_assert_eq(write(pipes[1][1], "x", 1), 1);
    loop_turn(&loop, 1000);
    cr_assert_eq(calls, 1);
    cr_assert_eq(loop.nr_watches, 0);
}

static void replace(void *owner, short revents)
{
    (void)owner, (void)revents;
    loop_unwatch(&loop, pipes[1][0]);
    cr_assert_eq(loop_watch(&loop, pipes[1][0], POLLIN, unwatch_both, NULL), 0);
    loop_unwatch(&loop, pipes[0][0]);
}

Test(loop, a_new_watch_on_an_old_descriptor_is_not_called_for_the_old_event)
{
    cr_assert_eq(loop_watch(&loop, pipes[0][0], POLLIN, replace, NULL), 0);
    cr_assert_eq(loop_watch(&loop, pipes[1][0], POLLIN, count, &pipes[1][0]), 0);
    cr_assert_eq(write(pipes[0][1], "x", 1), 1);
    cr_assert_eq(write(pipes[1][1], "x", 1), 1);
    loop_turn(&loop, 1000);
    cr_assert_eq(calls, 0);
    loop_turn(&loop, 1000);
    cr_assert_eq(calls, 1);
}

Test(loop, is_full_at_its_limit)
{
    for (unsigned i = 0; i < LOOP_WATCHES_MAX; i++)
        cr_assert_eq(loop_watch(&loop, 1000 + (int)i, 0, count, NULL), 0);
    cr_assert_eq(loop_watch(&loop, 5000, 0, count, NULL), -ENOSPC);
}

static struct timer first, second;

static void fired(void *owner)
{
    calls = calls * 10 + *(unsigned *)owner;
}

static void fire_again(void *owner)
{
    calls++;
    loop_arm(&loop, &first, 1, fire_again, owner);
}

Test(loop, timers_fire_once_and_in_time)
{
    unsigned one = 1, two = 2;
    uint64_t start = clock_ns();

    loop_arm(&loop, &second, 40, fired, &two);
    loop_arm(&loop, &first, 10, fired, &one);
    while (calls < 12 && clock_ns() - start < 2 * NS_PER_S)
        loop_turn(&loop, -1);
    cr_assert_eq(calls, 12);
    cr_assert_geq(clock_ns() - start, 40 * NS_PER_MS);
    cr_assert_not(first.armed || second.armed);
    cr_assert_null(loop.timers);
}

Test(loop, a_disarmed_timer_stays_silent)
{
    unsigned one = 1;

    loop_arm(&loop, &first, 1, fired, &one);
    loop_arm(&loop, &first, 5, fired, &one);
    loop_disarm(&loop, &first);
    loop_disarm(&loop, &first);
    loop_turn(&loop, 20);
    cr_assert_eq(calls, 0);
}

Test(loop, a_timer_may_arm_itself_without_holding_up_the_turn)
{
    loop_arm(&loop, &first, 0, fire_again, NULL);
    loop_turn(&loop, 100);
    cr_assert_eq(calls, 1);
    loop_turn(&loop, 100);
    cr_assert_eq(calls, 2);
}
