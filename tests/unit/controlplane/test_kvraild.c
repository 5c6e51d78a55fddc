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
    kill((pid_t)json_integer_value(json_object_get(
             json_object_get(json_object_get(answer, "result"), "dataplane"), "pid")),
         SIGKILL);
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

Test(kvraild, a_dataplane_that_dies_is_degraded_and_started_again)
{
    json_t *answer;

    write_file("");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    kill((pid_t)json_integer_value(json_object_get(
             json_object_get(json_object_get(answer, "result"), "dataplane"), "pid")),
         SIGKILL);
    json_decref(answer);
    answer = wait_state("degraded");
    cr_assert(strstr(json_string_value(json_array_get(
                         json_object_get(json_object_get(answer, "result"), "reasons"), 0)),
                     "the dataplane was ended by signal 9 (Killed)"));
    json_decref(answer);
    answer = wait_state("ok");
    cr_assert_eq(json_integer_value(json_object_get(
                     json_object_get(json_object_get(answer, "result"), "dataplane"), "restarts")),
                 1);
    json_decref(answer);
}

Test(kvraild, a_stalled_core_is_degraded_with_its_number)
{
    json_t *answer;
    pid_t dataplane;

    write_file("");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    dataplane = (pid_t)json_integer_value(
        json_object_get(json_object_get(json_object_get(answer, "result"), "dataplane"), "pid"));
    json_decref(answer);
    kill(dataplane, SIGSTOP);
    answer = wait_state("degraded");
    cr_assert(strstr(json_string_value(json_array_get(
                         json_object_get(json_object_get(answer, "result"), "reasons"), 0)),
                     "core 0 has not turned for "));
    json_decref(answer);
    kill(dataplane, SIGCONT);
    json_decref(wait_state("ok"));
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
    dataplane = (pid_t)json_integer_value(
        json_object_get(json_object_get(json_object_get(answer, "result"), "dataplane"), "pid"));
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
