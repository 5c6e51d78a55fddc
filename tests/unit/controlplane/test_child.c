/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/child.h"
#include "shm/arena.h"

static struct loop loop;
static struct child child;
static struct arena arena;
static unsigned readies, gones, answers;
static char reason[CHILD_LINE_MAX], answer[CHILD_LINE_MAX];

static void ready(void *owner)
{
    cr_assert_eq(owner, &child);
    readies++;
}

static void gone(void *owner, const char *text)
{
    (void)owner;
    cr_assert_eq(child.state, CHILD_DOWN);
    snprintf(reason, sizeof(reason), "%s", text);
    gones++;
}

static void done(void *owner, uint64_t token, const char *error)
{
    cr_assert_eq(owner, &answers);
    cr_assert_eq(token, 77);
    snprintf(answer, sizeof(answer), "%s", error ? error : "ok");
    answers++;
}
static const struct child_command command = {.done = done, .owner = &answers, .token = 77};

static void setup(void)
{
    struct arena_spec spec = {.data_size = 1 << 20, .nr_partitions = 1, .nr_cores = 1};

    loop = (struct loop){0};
    child_init(&child, &loop, &child);
    child.ready = ready;
    child.gone = gone;
    readies = gones = answers = 0;
    reason[0] = answer[0] = '\0';
    cr_assert_eq(arena_create(&spec, &arena), 0);
}

static void teardown(void)
{
    child_close(&child);
    arena_close(&arena);
    cr_assert_eq(loop.nr_watches, 0);
    cr_assert_null(loop.timers);
}

TestSuite(child, .init = setup, .fini = teardown);

static void start(const char *behaviour)
{
    char device[64];
    char *settings[] = {device, (char *)"port=9690", NULL};
    struct child_spec spec = {.program = getenv("FAKE_DATAPLANE"),
                              .index_fd = arena.index_fd,
                              .data_fd = arena.data_fd,
                              .adopt_fd = -1,
                              .roster_fd = -1,
                              .settings = settings,
                              .start_ms = 400,
                              .term_ms = 150};

    snprintf(device, sizeof(device), "device=fake:%s", behaviour);
    cr_assert_eq(child_start(&child, &spec), 0);
    cr_assert_eq(child.state, CHILD_STARTING);
}

/* Runs the loop until the counter moves; how long that took. */
static uint64_t until(const unsigned *counter)
{
    uint64_t from = clock_ns();
    unsigned before = *counter;

    while (*counter == before) {
        cr_assert_lt(clock_ns() - from, 5 * NS_PER_S);
        loop_turn(&loop, 100);
    }
    return (clock_ns() - from) / NS_PER_MS;
}

Test(child, becomes_ready_and_says_what_it_is)
{
    char value[64];

    start("ready");
    until(&readies);
    cr_assert_eq(child.state, CHILD_READY);
    cr_assert_eq(child.nr_notes, 1);
    cr_assert_str_eq(child.notes[0], "no hugepages: ordinary pages are used");
    cr_assert(child_field(&child, "mac", value, sizeof(value)));
    cr_assert_str_eq(value, "02:00:00:00:00:01");
    cr_assert(child_field(&child, "cores", value, sizeof(value)));
    cr_assert_str_eq(value, "1");
    cr_assert_not(child_field(&child, "core", value, sizeof(value)));
    cr_assert_not(child_field(&child, "address", value, sizeof(value)));
    cr_assert_eq(child_recovered(&child, "kept_bytes"), 300);
    cr_assert_eq(child_recovered(&child, "bytes"), 0);
}

Test(child, works_on_the_arena_that_it_is_given)
{
    uint64_t end = clock_ns() + 2 * NS_PER_S;

    start("ready");
    until(&readies);
    while (counter_read(&arena_stats(&arena, 0)->heartbeat_ns) == 0 && clock_ns() < end)
        loop_turn(&loop, 10);
    cr_assert_neq(counter_read(&arena_stats(&arena, 0)->heartbeat_ns), 0);
}

Test(child, inherits_no_descriptor_that_it_was_not_given)
{
    char link[64], target[256];
    int open_fds = 0;

    start("ready");
    until(&readies);
    for (int fd = 3; fd < 256; fd++) {
        snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)child.pid, fd);
        ssize_t len = readlink(link, target, sizeof(target) - 1);

        if (len < 0)
            continue;
        target[len] = '\0';
        /* Criterion's own descriptors are not closed on exec. */
        open_fds += strstr(target, "memfd:") || strstr(target, "pidfd");
    }
    cr_assert_eq(open_fds, 4, "the two memfds and its own copies of them, not %d", open_fds);
}

Test(child, a_failed_start_ends_with_its_own_words)
{
    start("fail");
    until(&gones);
    cr_assert_str_eq(reason, "device eth9 does not exist; see `ip link`");
    cr_assert_not(child.was_ready);
    cr_assert_eq(readies, 0);
}

Test(child, an_exit_or_crash_without_words_is_described)
{
    start("exit");
    until(&gones);
    cr_assert_str_eq(reason, "the dataplane exited with status 3");
    start("crash");
    until(&gones);
    cr_assert_str_eq(reason, "the dataplane was ended by signal 6 (Aborted)");
}

Test(child, a_program_that_cannot_be_run_says_so)
{
    char *none[] = {NULL};
    struct child_spec spec = {.program = "/does/not/exist",
                              .index_fd = arena.index_fd,
                              .data_fd = arena.data_fd,
                              .adopt_fd = -1,
                              .roster_fd = -1,
                              .settings = none,
                              .start_ms = 1000};

    cr_assert_eq(child_start(&child, &spec), 0);
    until(&gones);
    cr_assert_str_eq(reason, "cannot start /does/not/exist: No such file or directory");
}

Test(child, one_that_hangs_at_start_is_killed)
{
    uint64_t ms;

    start("hang");
    ms = until(&gones);
    cr_assert(ms >= 390 && ms < 2000, "after %llu ms", (unsigned long long)ms);
    cr_assert_str_eq(reason, "the dataplane did not become ready in time");
}

Test(child, death_after_ready_is_noticed_at_once)
{
    uint64_t ms;

    start("die");
    until(&readies);
    ms = until(&gones);
    cr_assert_lt(ms, 1000);
    cr_assert_str_eq(reason, "the dataplane was ended by signal 9 (Killed)");
    cr_assert(child.was_ready);
}

Test(child, stops_when_asked)
{
    start("ready");
    until(&readies);
    child_stop(&child, 3000);
    cr_assert_eq(child.state, CHILD_STOPPING);
    cr_assert_lt(until(&gones), 1000);
    cr_assert_str_eq(reason, "the dataplane exited with status 0");
}

Test(child, one_that_ignores_stop_and_sigterm_is_killed)
{
    uint64_t ms;

    start("deaf");
    until(&readies);
    child_stop(&child, 100);
    ms = until(&gones);
    cr_assert(ms >= 240 && ms < 2000, "after %llu ms", (unsigned long long)ms);
    cr_assert_str_eq(reason, "the dataplane was ended by signal 9 (Killed)");
}

Test(child, a_second_stop_kills_at_once)
{
    start("deaf");
    until(&readies);
    child_stop(&child, 60000);
    child_stop(&child, 60000);
    cr_assert_lt(until(&gones), 1000);
}

Test(child, one_that_is_killed_ends_with_the_reason_even_when_it_is_stopped)
{
    start("deaf");
    until(&readies);
    kill(child.pid, SIGSTOP);
    child_kill(&child, "its core had not turned for 1.00 s");
    cr_assert_lt(until(&gones), 1000);
    cr_assert_str_eq(reason, "its core had not turned for 1.00 s");
}

Test(child, can_be_started_again)
{
    for (unsigned i = 0; i < 3; i++) {
        start("ready");
        until(&readies);
        cr_assert_eq(child.nr_notes, 1);
        kill(child.pid, SIGKILL);
        until(&gones);
    }
    cr_assert_eq(loop.nr_watches, 0);
}

Test(child, commands_are_answered_in_order)
{
    start("ready");
    cr_assert_eq(child_send(&child, "set policy lfu", &command), -ENOTCONN);
    until(&readies);
    cr_assert_eq(child_send(&child, "set policy lfu", &command), 0);
    cr_assert_eq(child_send(&child, "set policy fifo", &command), 0);
    until(&answers);
    if (answers == 1) {
        cr_assert_str_eq(answer, "ok");
        until(&answers);
    }
    cr_assert_str_eq(answer, "fifo is out of order today");
    cr_assert_eq(child_send(&child, "set\nstop", &command), -EINVAL);
}

Test(child, commands_end_when_the_dataplane_dies)
{
    start("mute");
    until(&readies);
    for (unsigned i = 0; i < CHILD_COMMANDS_MAX; i++)
        cr_assert_eq(child_send(&child, "set policy lfu", &command), 0);
    cr_assert_eq(child_send(&child, "set policy lfu", &command), -EAGAIN);
    kill(child.pid, SIGKILL);
    until(&gones);
    cr_assert_eq(answers, CHILD_COMMANDS_MAX);
    cr_assert_str_eq(answer, "the dataplane went away");
}

Test(child, a_command_without_answer_times_out_and_its_late_answer_is_not_taken_for_another)
{
    start("late");
    until(&readies);
    cr_assert_eq(child_send(&child, "set policy fifo", &command), 0);
    cr_assert_geq(until(&answers), 2500);
    cr_assert_str_eq(answer, "the dataplane did not answer in time");
    cr_assert_eq(child_send(&child, "set policy lfu", &command), 0);
    until(&answers);
    cr_assert_str_eq(answer, "ok");
}
