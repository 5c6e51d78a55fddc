/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of kvrail that speak to the control socket: against kvraild over a stand-in for the
 * dataplane, and against things that are not kvraild. */
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

static char dir[64], path[96];
static char output[1 << 16];
static pid_t pid;

static void setup(void)
{
    strcpy(dir, "/tmp/kvrail-cli-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/socket", dir);
    pid = -1;
}

static void teardown(void)
{
    char command[128];

    if (pid > 0) {
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
    }
    snprintf(command, sizeof(command), "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(cli, .init = setup, .fini = teardown, .timeout = 30);

/* Runs kvrail; its exit code, and stdout and stderr together in output. */
static int kvrail(const char *arguments)
{
    char command[512];
    size_t len;
    FILE *pipe;
    int status;

    snprintf(command, sizeof(command), "%s %s --control %s 2>&1", getenv("KVRAIL"), arguments,
             path);
    pipe = popen(command, "r");
    len = fread(output, 1, sizeof(output) - 1, pipe);
    output[len] = '\0';
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void runs(const char *arguments, int code)
{
    int got = kvrail(arguments);

    cr_assert_eq(got, code, "%s: %d, not %d: %s", arguments, got, code, output);
}

static void says(const char *text)
{
    cr_assert(strstr(output, text), "no '%s' in: %s", text, output);
}

static json_t *json_of(const char *arguments, int code)
{
    json_t *value;

    runs(arguments, code);
    value = json_loads(output, 0, NULL);
    cr_assert(json_is_object(value), "%s: %s", arguments, output);
    return value;
}

static void start(void)
{
    pid = fork();
    if (pid == 0) {
        FILE *quiet = freopen("/dev/null", "w", stderr);

        execl(getenv("KVRAILD"), "kvraild", "--config", "/dev/null", "--control", path,
              "--dataplane", getenv("FAKE_DATAPLANE"), "--cache-size", "4MiB", "--hugepages", "off",
              "--device", "fake:ready", "--stall-ms", "1h", NULL);
        _exit(quiet ? 99 : 98);
    }
    for (unsigned i = 0; i < 300 && kvrail("status --quiet") != 0; i++)
        poll(NULL, 0, 10);
    says("ok");
}

Test(cli, status_shows_what_there_is)
{
    json_t *status;

    start();
    runs("status", 0);
    says("kvrail 0.");
    says("  ok  up ");
    says("udp://10.96.0.1:9690");
    says("fake:ready  mac 02:00:00:00:00:01  mtu 1500  CPUs 1");
    says("of 4 MiB");
    says("note      no hugepages: ordinary pages are used");
    status = json_of("status --json", 0);
    cr_assert_str_eq(json_string_value(json_object_get(status, "state")), "ok");
    json_decref(status);
}

Test(cli, a_degraded_kvrail_is_exit_3_with_the_reason)
{
    json_t *status;
    pid_t dataplane;

    start();
    status = json_of("status --json", 0);
    dataplane =
        (pid_t)json_integer_value(json_object_get(json_object_get(status, "dataplane"), "pid"));
    json_decref(status);
    kill(dataplane, SIGSTOP);
    for (unsigned i = 0; i < 100 && kvrail("status") == 0; i++)
        poll(NULL, 0, 50);
    runs("status", 3);
    says("degraded");
    says("problem   core 0 has not turned for ");
    kill(dataplane, SIGCONT);
}

Test(cli, restart_answers_when_the_next_dataplane_serves)
{
    json_t *answer;

    start();
    runs("restart", 0);
    says("restarted in ");
    says("; kept 3 blocks, 300 B");
    answer = json_of("restart --warm --json", 0);
    cr_assert(json_is_integer(json_object_get(answer, "ms")));
    json_decref(answer);
    runs("status", 0);
    says("recovered kept 3 blocks, 300 B; dropped 2 unfinished, 0 damaged, 5 expired");
    runs("restart --cold", 0);
    runs("restart --cold --warm", 2);
    says("either --warm or --cold");
    runs("restart now", 2);
}

Test(cli, clients_and_pins_of_nobody)
{
    start();
    runs("client list", 0);
    says("no clients on this host");
    runs("client drop 7", 1);
    runs("client", 2);
    runs("pins", 0);
    runs("status", 0);
    says("local     0 clients on this host");
}

Test(cli, errors_and_latency_of_an_idle_server)
{
    json_t *value;

    start();
    runs("errors", 0);
    says("no errors");
    runs("errors --all", 0);
    says("bad_crc            0  datagram damaged on the way");
    value = json_of("errors --json --last 3", 0);
    cr_assert_eq(json_integer_value(json_object_get(value, "total")), 0);
    json_decref(value);
    runs("latency", 0);
    says("no operation was answered yet");
    value = json_of("latency --json", 0);
    cr_assert_eq(json_array_size(json_object_get(value, "ops")), 0);
    json_decref(value);
}

Test(cli, config_is_listed_read_and_changed)
{
    json_t *value;

    start();
    runs("config", 0);
    says("cache_size             4MiB");
    runs("config get cache_size", 0);
    cr_assert_str_eq(output, "4MiB\n");
    runs("config get cache-size", 0);
    runs("config get cash_size", 2);
    says("no key 'cash_size'; did you mean cache_size?");
    runs("config set policy lfu", 0);
    says("policy: now lfu");
    runs("config get policy", 0);
    cr_assert_str_eq(output, "lfu\n");
    runs("config set policy fifo", 1);
    says("policy: fifo is out of order today");
    runs("config set policy best", 1);
    says("policy: 'best' is not known; allowed: one of lru, lfu, fifo");
    runs("config set port 1", 1);
    says("port: cannot change while running");
    value = json_of("config set idle spin --json", 0);
    cr_assert_str_eq(json_string_value(json_object_get(value, "value")), "spin");
    json_decref(value);
    runs("config set policy", 2);
    says("set takes 2 arguments, not 1");
    runs("config dance", 2);
}

Test(cli, files_are_checked_without_a_server)
{
    char command[256];
    json_t *value;
    FILE *file;

    snprintf(command, sizeof(command), "%s/a.yaml", dir);
    file = fopen(command, "w");
    fputs("port: 0\nmtu: 9000\nidle: never\n", file);
    fclose(file);
    snprintf(command, sizeof(command), "config check %s/a.yaml", dir);
    runs(command, 1);
    says("a.yaml:1: port: '0' is too small; allowed: 1 to 65535");
    says("a.yaml:3: idle: 'never' is not known; allowed: one of spin, pause, sleep");
    snprintf(command, sizeof(command), "config check --json %s/a.yaml", dir);
    value = json_of(command, 1);
    cr_assert_eq(json_array_size(json_object_get(value, "faults")), 2);
    json_decref(value);
    runs("config check " SOURCE_ROOT "/dist/kvrail.yaml", 0);
    says("kvrail.yaml: ok");
    runs("config keys", 0);
    says("cache_size             size");
}

Test(cli, nobody_there_is_exit_4)
{
    static const char *const commands[] = {"status", "errors", "latency", "config",
                                           "config set idle spin"};

    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        runs(commands[i], 4);
        says("no kvraild answers on ");
    }
}

/* Something else on the path, that sends text to whoever comes and then waits. */
static void pretend(const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client;
    static const char blank[1 << 16] = "{\"ok\":true,\"result\":{";

    strcpy(address.sun_path, path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(fd, 4), 0);
    pid = fork();
    if (pid != 0) {
        close(fd);
        return;
    }
    signal(SIGPIPE, SIG_IGN);
    while ((client = accept(fd, NULL, NULL)) >= 0) {
        if (strcmp(text, "endless") == 0)
            while (send(client, blank, sizeof(blank), MSG_NOSIGNAL) > 0) {
            }
        else if (send(client, text, strlen(text), MSG_NOSIGNAL) < 0)
            _exit(1);
        if (!*text)
            continue; /* keeps it open */
        close(client);
    }
    _exit(0);
}

Test(cli, what_is_not_kvraild_is_exit_4)
{
    pretend("HTTP/1.1 400 Bad Request\r\n\r\n");
    runs("status", 4);
    says("what answers there is not kvraild");
}

Test(cli, a_line_cut_short_is_exit_4)
{
    pretend("{\"ok\":tr");
    runs("status", 4);
    says("what answers there is not kvraild");
}

Test(cli, one_that_is_turned_away_hears_why)
{
    pretend("{\"ok\":false,\"error\":\"too many clients\"}\n");
    runs("status", 1);
    says("too many clients");
}

Test(cli, silence_ends_at_the_timeout)
{
    uint64_t from = clock_ns();

    pretend("");
    runs("status --timeout 300ms", 4);
    says("did not answer in time");
    cr_assert_geq(clock_ns() - from, 290 * NS_PER_MS);
    cr_assert_lt(clock_ns() - from, 5 * NS_PER_S);
}

Test(cli, an_endless_answer_ends)
{
    pretend("endless");
    runs("status --timeout 20s", 4);
    says("what answers there is not kvraild");
}

Test(cli, members_of_the_wrong_type_do_no_harm)
{
    pretend("{\"ok\":true,\"result\":{\"state\":7,\"urls\":{},\"notes\":[1,null],\"arena\":[],"
            "\"cores\":[1],\"counters\":3,\"last\":[{}],\"ops\":[[]],\"total\":\"x\","
            "\"options\":[{\"key\":1}]}}\n");
    runs("status", 3);
    runs("errors --all", 0);
    runs("latency", 0);
    runs("config", 0);
}
