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

static char dir[64], path[96], file[96], errors[96];
static pid_t pid;

static void setup(void)
{
    strcpy(dir, "/tmp/kvrail-kvraild-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/socket", dir);
    snprintf(file, sizeof(file), "%s/kvrail.yaml", dir);
    snprintf(errors, sizeof(errors), "%s/errors", dir);
    pid = -1;
}

static void teardown(void)
{
    char command[128];

    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    snprintf(command, sizeof(command), "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(kvraild, .init = setup, .fini = teardown, .timeout = 30);

/* The running dataplane, as status says. */
static pid_t dataplane_pid(json_t *status)
{
    return (pid_t)json_integer_value(
        json_object_get(json_object_get(json_object_get(status, "result"), "dataplane"), "pid"));
}

static void write_file(const char *text)
{
    FILE *out = fopen(file, "w");

    fputs(text, out);
    fclose(out);
}

static pid_t start(const char *behaviour, const char *flag)
{
    char device[64];
    pid_t started;

    snprintf(device, sizeof(device), "--device=fake:%s", behaviour);
    started = fork();
    if (started == 0) {
        FILE *out = freopen(errors, "a", stderr);

        execl(getenv("KVRAILD"), "kvraild", "--config", file, "--control", path, "--dataplane",
              getenv("FAKE_DATAPLANE"), "--cache-size", "4MiB", "--hugepages", "off", device, flag,
              NULL);
        _exit(out ? 99 : 98);
    }
    return started;
}

static int end_of(pid_t process)
{
    int status;

    cr_assert_eq(waitpid(process, &status, 0), process);
    cr_assert(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static bool said(const char *text)
{
    char all[8192] = "";
    FILE *in = fopen(errors, "r");

    if (!in)
        return false;
    all[fread(all, 1, sizeof(all) - 1, in)] = '\0';
    fclose(in);
    return strstr(all, text) != NULL;
}

static unsigned lines_said(void)
{
    FILE *in = fopen(errors, "r");
    unsigned lines = 0;
    int c;

    while (in && (c = fgetc(in)) != EOF)
        lines += c == '\n';
    if (in)
        fclose(in);
    return lines;
}

static bool said_in_time(const char *text)
{
    for (unsigned i = 0; i < 300 && !said(text); i++)
        poll(NULL, 0, 20);
    return said(text);
}

/* NULL while nobody answers. */
static json_t *ask(const char *request)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 5};
    static char text[1 << 16];
    size_t len = 0;
    ssize_t n;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return NULL;
    }
    cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    while (len < sizeof(text) && (n = recv(fd, text + len, sizeof(text) - len, 0)) > 0) {
        len += (size_t)n;
        if (text[len - 1] == '\n')
            break;
    }
    close(fd);
    return json_loadb(text, len, 0, NULL);
}

static const char *state_of(json_t *answer)
{
    const char *state =
        json_string_value(json_object_get(json_object_get(answer, "result"), "state"));

    return state ? state : "?";
}

static json_t *wait_state(const char *state)
{
    for (unsigned i = 0; i < 500; i++) {
        json_t *answer = ask("{\"command\":\"status\"}\n");

        if (answer && strcmp(state_of(answer), state) == 0)
            return answer;
        json_decref(answer);
        poll(NULL, 0, 10);
    }
    cr_assert(false, "never %s", state);
    return NULL;
}

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

static json_t *dataplane_of(json_t *status)
{
    return json_object_get(json_object_get(status, "result"), "dataplane");
}

static const char *first_of(json_t *status, const char *array)
{
    const char *text = json_string_value(
        json_array_get(json_object_get(json_object_get(status, "result"), array), 0));

    return text ? text : "";
}

/* Waits for another dataplane than this one. */
static json_t *wait_other(pid_t before)
{
    for (unsigned i = 0; i < 100; i++) {
        json_t *answer = wait_state("ok");

        if (dataplane_pid(answer) != before)
            return answer;
        json_decref(answer);
        poll(NULL, 0, 20);
    }
    cr_assert(false, "no other dataplane came");
    return NULL;
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

Test(kvraild, leaves_no_dataplane_behind_when_it_is_killed)
{
    json_t *answer;
    pid_t dataplane;

    write_file("");
    pid = start("deaf", NULL);
    answer = wait_state("ok");
    dataplane = dataplane_pid(answer);
    json_decref(answer);
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    /* This one ignores the SIGTERM, but sees the end of its control line. */
    for (unsigned i = 0; i < 200 && kill(dataplane, 0) == 0; i++)
        poll(NULL, 0, 10);
    cr_assert_eq(kill(dataplane, 0), -1);
    pid = start("ready", NULL);
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
