/* SPDX-License-Identifier: Apache-2.0 */
/* The whole program over a stand-in for the dataplane. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon.h"

TestSuite(kvraild, .init = daemon_setup, .fini = daemon_teardown, .timeout = 30);

Test(kvraild, serves_and_stops_on_sigterm)
{
    json_t *answer, *result;

    write_file("port: 1234\n");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    result = json_object_get(answer, "result");
    cr_assert_str_eq(json_string_value(json_array_get(json_object_get(result, "urls"), 0)),
                     "udp://10.96.0.1:1234");
    cr_assert_str_eq(json_string_value(json_array_get(json_object_get(result, "notes"), 0)),
                     "no hugepages: ordinary pages are used");
    cr_assert_eq(
        json_integer_value(json_object_get(json_object_get(result, "arena"), "data_bytes")),
        4 << 20);
    json_decref(answer);
    kill(pid, SIGTERM);
    cr_assert_eq(end_of(pid), 0);
    pid = -1;
    cr_assert_eq(access(path, F_OK), -1, "the socket is removed");
}

/* What systemd would have heard up to a line with text. */
static void notified(int fd, const char *text)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    char message[1024];
    ssize_t n;

    do {
        cr_assert_eq(poll(&readable, 1, 5000), 1, "never notified of %s", text);
        n = recv(fd, message, sizeof(message) - 1, 0);
        cr_assert_gt(n, 0);
        message[n] = '\0';
    } while (!strstr(message, text));
}

Test(kvraild, tells_systemd_when_it_is_ready_degraded_and_stopping)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    json_t *answer;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", dir);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    write_file("");
    pid = start("ready", NULL);
    notified(fd, "READY=1\nSTATUS=serving udp://10.96.0.1:9690");
    answer = wait_state("ok");
    kill(dataplane_pid(answer), SIGKILL);
    json_decref(answer);
    notified(fd, "STATUS=degraded: the dataplane was ended by signal 9");
    notified(fd, "STATUS=serving");
    kill(pid, SIGTERM);
    notified(fd, "STOPPING=1");
    cr_assert_eq(end_of(pid), 0);
    pid = -1;
}

Test(kvraild, every_command_is_answered)
{
    static const char *const commands[] = {"status", "stat", "errors", "latency", "config", "ping"};
    char request[64];
    json_t *answer;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        snprintf(request, sizeof(request), "{\"command\":\"%s\"}\n", commands[i]);
        answer = ask(request);
        cr_assert(json_is_true(json_object_get(answer, "ok")), "%s", commands[i]);
        cr_assert(json_is_object(json_object_get(answer, "result")), "%s", commands[i]);
        json_decref(answer);
    }
    answer = ask("{\"command\":\"dance\"}\n");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "error")), "dance: unknown command");
    json_decref(answer);
    answer = ask("{\"command\":\"errors\",\"last\":-1}\n");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "error")),
                     "last: must be a number from 0 to 100000");
    json_decref(answer);
    json_decref(ask("{\"command\":\"stop\"}\n"));
    cr_assert_eq(end_of(pid), 0);
    pid = -1;
}

static void set_says(const char *key, const char *value, const char *error)
{
    char request[128];
    const char *text;
    json_t *answer;

    snprintf(request, sizeof(request),
             "{\"command\":\"config-set\",\"key\":\"%s\",\"value\":\"%s\"}\n", key, value);
    answer = ask(request);
    text = json_string_value(json_object_get(answer, "error"));
    cr_assert_str_eq(text ? text : "ok", error ? error : "ok");
    json_decref(answer);
}

static void value_is(const char *key, const char *value, const char *source)
{
    json_t *answer = ask("{\"command\":\"config\"}\n"), *row;
    size_t i;

    json_array_foreach(json_object_get(json_object_get(answer, "result"), "options"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "key")), key) != 0)
            continue;
        cr_assert_str_eq(json_string_value(json_object_get(row, "value")), value);
        cr_assert_str_eq(json_string_value(json_object_get(row, "source")), source);
    }
    json_decref(answer);
}

Test(kvraild, live_settings_change_when_the_dataplane_takes_them)
{
    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    set_says("policy", "lfu", NULL);
    value_is("policy", "lfu", "live");
    set_says("policy", "fifo", "policy: fifo is out of order today");
    value_is("policy", "lfu", "live");
    set_says("policy", "best", "policy: 'best' is not known; allowed: one of lru, lfu, fifo");
    set_says("polizy", "lfu", "polizy: unknown key; did you mean policy?");
    set_says("port", "7",
             "port: cannot change while running; set it in the configuration file and restart "
             "kvraild");
    set_says("cookie_ms", "7s", NULL);
    value_is("cookie_ms", "7s", "live");
}

Test(kvraild, sighup_applies_what_changed_in_the_file)
{
    write_file("idle: sleep\n");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    set_says("policy", "lfu", NULL);
    write_file("idle: spin\nport: 4444\n");
    kill(pid, SIGHUP);
    cr_assert(said_in_time("idle: now spin"));
    cr_assert(said_in_time("port: 4444 takes effect after a restart"));
    value_is("idle", "spin", "file");
    value_is("port", "9690", "default");
    value_is("policy", "lfu", "live");
    write_file("idle: x\nmtu: 3\n");
    kill(pid, SIGHUP);
    cr_assert(said_in_time("nothing was changed"));
    cr_assert(said("idle: 'x' is not known") && said("mtu: '3' is too small"));
    value_is("idle", "spin", "file");
}

Test(kvraild, a_failed_first_start_is_one_line_and_exit_1)
{
    static const char *const cases[][2] = {
        {"fail", "device eth9 does not exist; see `ip link`"},
        {"exit", "the dataplane exited with status 3"},
        {"crash", "the dataplane was ended by signal 6 (Aborted)"}};

    write_file("");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_eq(end_of(start(cases[i][0], NULL)), 1);
        cr_assert(said(cases[i][1]), "%s", cases[i][0]);
        cr_assert_eq(lines_said(), i + 1);
        cr_assert_eq(access(path, F_OK), -1);
    }
}

Test(kvraild, a_dataplane_that_dies_is_started_again_at_once_and_says_what_it_kept)
{
    json_t *answer, *dataplane;
    pid_t before;

    write_file("");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    before = dataplane_pid(answer);
    cr_assert(json_is_null(json_object_get(dataplane_of(answer), "last_restart_ms")));
    json_decref(answer);
    kill(before, SIGKILL);
    answer = wait_other(before);
    dataplane = dataplane_of(answer);
    cr_assert_eq(json_integer_value(json_object_get(dataplane, "restarts")), 1);
    cr_assert_str_eq(json_string_value(json_object_get(dataplane, "last_exit")),
                     "the dataplane was ended by signal 9 (Killed)");
    cr_assert_lt(json_integer_value(json_object_get(dataplane, "last_restart_ms")), 1000);
    dataplane = json_object_get(dataplane, "recovery");
    cr_assert_eq(json_integer_value(json_object_get(dataplane, "kept")), 3);
    cr_assert_eq(json_integer_value(json_object_get(dataplane, "dropped_expired")), 5);
    json_decref(answer);
}

Test(kvraild, one_that_keeps_dying_backs_off_and_a_restart_that_is_asked_for_comes_at_once)
{
    json_t *answer;
    const char *why;

    write_file("restart_pause_max: 1h\n");
    pid = start("frail", NULL);
    answer = wait_state("ok");
    kill(dataplane_pid(answer), SIGKILL);
    json_decref(answer);
    cr_assert(said_in_time("started again in 400 ms"));
    cr_assert(said("the dataplane was ended by signal 9 (Killed); started again\n"));
    answer = wait_state("degraded");
    why = first_of(answer, "reasons");
    cr_assert(strstr(why, "restarts in the last "), "%s", why);
    cr_assert(strstr(why, "; the next try is in 0."), "%s", why);
    cr_assert(strstr(why, "`kvrail restart` tries at once"), "%s", why);
    cr_assert_not(json_is_null(json_object_get(dataplane_of(answer), "next_try_ms")));
    json_decref(answer);
    cr_assert(said_in_time("started again in 3200 ms"));
    json_decref(ask("{\"command\":\"restart\"}\n"));
    cr_assert(said("is started again as asked for"));
    poll(NULL, 0, 200);
    cr_assert(said("started again in 6400 ms"));
}

Test(kvraild, a_planned_restart_is_answered_when_the_next_one_serves)
{
    json_t *answer, *result;
    pid_t before;

    write_file("");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    before = dataplane_pid(answer);
    json_decref(answer);
    answer = ask("{\"command\":\"restart\"}\n");
    result = json_object_get(answer, "result");
    cr_assert(json_is_true(json_object_get(answer, "ok")));
    cr_assert_neq(json_integer_value(json_object_get(result, "pid")), before);
    cr_assert_lt(json_integer_value(json_object_get(result, "ms")), 1000);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(result, "recovery"), "kept")),
                 3);
    json_decref(answer);
    answer = wait_state("ok");
    cr_assert_eq(json_integer_value(json_object_get(dataplane_of(answer), "restarts")), 0);
    cr_assert_str_eq(json_string_value(json_object_get(dataplane_of(answer), "last_exit")), "");
    json_decref(answer);
    answer = ask("{\"command\":\"restart\",\"cold\":1}\n");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "error")),
                     "cold: must be true or false");
    json_decref(answer);
}

Test(kvraild, a_dataplane_that_is_stopped_is_killed_and_replaced)
{
    uint64_t from;
    json_t *answer;
    pid_t before;

    write_file("stall_ms: 400ms\n");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    before = dataplane_pid(answer);
    json_decref(answer);
    from = clock_ns();
    kill(before, SIGSTOP);
    answer = wait_other(before);
    cr_assert_lt(clock_ns() - from, 1500 * NS_PER_MS);
    cr_assert(strstr(json_string_value(json_object_get(dataplane_of(answer), "last_exit")),
                     "the dataplane stalled and was killed: core 0 had not turned for 0."));
    json_decref(answer);
    cr_assert_eq(kill(before, 0), -1);
}

Test(kvraild, a_core_that_waits_for_a_cpu_does_not_count_as_stalled)
{
    json_t *answer;
    pid_t before;

    write_file("stall_ms: 400ms\n");
    pid = start("starved", NULL);
    answer = wait_state("ok");
    before = dataplane_pid(answer);
    json_decref(answer);
    cr_assert(said_in_time("core 0 has not turned for 0."));
    cr_assert(said_in_time("for a CPU, which others use"));
    cr_assert(said_in_time("core 0 turns again"));
    answer = wait_state("ok");
    cr_assert_eq(dataplane_pid(answer), before);
    json_decref(answer);
}

Test(kvraild, a_worker_that_stopped_counts_as_a_stall)
{
    write_file("stall_ms: 400ms\n");
    pid = start("lame", NULL);
    json_decref(wait_state("ok"));
    cr_assert(
        said_in_time("the dataplane stalled and was killed: the reclaimer had not turned for"));
}

Test(kvraild, a_second_one_on_the_same_socket_is_refused)
{
    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    cr_assert_eq(end_of(start("ready", NULL)), 1);
    cr_assert(said("another kvraild answers on "));
    json_decref(wait_state("ok"));
}

Test(kvraild, wrong_settings_are_exit_2_and_a_good_file_checks_out)
{
    write_file("port: 0\n");
    cr_assert_eq(end_of(start("ready", NULL)), 2);
    cr_assert(said("kvrail.yaml:1: port: '0' is too small; allowed: 1 to 65535"));
    cr_assert_eq(end_of(start("ready", "--check-config")), 2);
    write_file("port: 1\n");
    cr_assert_eq(end_of(start("ready", "--check-config")), 0);
    cr_assert_eq(end_of(start("ready", "--version")), 0);
}
