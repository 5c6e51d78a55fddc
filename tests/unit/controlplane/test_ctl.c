/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/ctl.h"

static struct loop loop;
static struct ctl ctl;
static char dir[64], path[96], lock[112];
static uint64_t last_token;
static unsigned requests;

/* {"say": X} is answered X; {"refuse": text}; {"big": n} with n bytes; {"later": 1} not at once. */
static void request_come(void *owner, uint64_t token, const json_t *request)
{
    const json_t *big = json_object_get(request, "big");

    cr_assert_eq(owner, &ctl);
    requests++;
    last_token = token;
    if (json_object_get(request, "later"))
        return;
    if (json_object_get(request, "refuse"))
        ctl_refuse(&ctl, token, "no: %s", json_string_value(json_object_get(request, "refuse")));
    else if (big) {
        size_t n = (size_t)json_integer_value(big);
        char *text = malloc(n + 1);

        memset(text, 'b', n);
        text[n] = '\0';
        ctl_answer(&ctl, token, json_string(text));
        free(text);
    } else
        ctl_answer(&ctl, token, json_incref(json_object_get(request, "say")));
}

static void setup(void)
{
    strcpy(dir, "/tmp/kvrail-ctl-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/socket", dir);
    snprintf(lock, sizeof(lock), "%s.lock", path);
    loop = (struct loop){0};
    requests = 0;
    cr_assert_eq(ctl_open(&ctl, &loop, path, request_come, &ctl), 0);
}

static void teardown(void)
{
    ctl_close(&ctl);
    unlink(path);
    unlink(lock);
    rmdir(dir);
}

TestSuite(ctl, .init = setup, .fini = teardown);

static int client(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(address.sun_path, path);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void turns(unsigned n)
{
    while (n-- > 0)
        loop_turn(&loop, 1);
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads what came until n lines are there, running the server meanwhile. */
static const char *hear(int fd, unsigned n)
{
    static char text[CTL_LINE_MAX];
    uint64_t end = clock_ns() + 3 * NS_PER_S;
    size_t len = 0;
    ssize_t got;

    memset(text, 0, sizeof(text));
    while (n > 0) {
        cr_assert_lt(clock_ns(), end, "heard only: %s", text);
        loop_turn(&loop, 1);
        while (n > 0 && (got = recv(fd, text + len, 1, 0)) == 1)
            n -= text[len++] == '\n';
    }
    return text;
}

static bool closed(int fd)
{
    char byte;

    for (unsigned i = 0; i < 20; i++) {
        ssize_t n = recv(fd, &byte, 1, 0);

        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return true;
        loop_turn(&loop, 1);
    }
    return false;
}

Test(ctl, answers_a_line_with_a_line)
{
    int fd = client();

    say(fd, "{\"say\": 7}\n");
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":true,\"result\":7}\n");
    say(fd, "{\"refuse\": \"because\"}\n");
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":false,\"error\":\"no: because\"}\n");
}

Test(ctl, repeats_the_id_of_a_request)
{
    int fd = client();

    say(fd, "{\"say\": 7, \"id\": [1, \"x\"]}\n{\"refuse\": \"r\", \"id\": 2}\n{\"say\": 8}\n");
    cr_assert_str_eq(hear(fd, 3), "{\"ok\":true,\"result\":7,\"id\":[1,\"x\"]}\n"
                                  "{\"ok\":false,\"error\":\"no: r\",\"id\":2}\n"
                                  "{\"ok\":true,\"result\":8}\n");
}

Test(ctl, a_line_may_come_byte_by_byte)
{
    const char *line = "{\"say\": \"slow\"}\n";
    int fd = client();

    for (; *line; line++) {
        cr_assert_eq(send(fd, line, 1, 0), 1);
        turns(2);
    }
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":true,\"result\":\"slow\"}\n");
}

Test(ctl, lines_that_are_no_request_are_refused_and_the_client_stays)
{
    static const char *const bad[] = {"\n",
                                      "hello\n",
                                      "[]\n",
                                      "7\n",
                                      "null\n",
                                      "{\"say\": 1\n",
                                      "{\"say\": 1} x\n",
                                      "{\"say\": 1, \"say\": 2}\n",
                                      "{\"say\": \"\xff\xfe\"}\n",
                                      "{\"say\": \"\\u0000\"}\n",
                                      "{\"say\": 1e999}\n",
                                      "{\"say\": 99999999999999999999999}\n"};
    int fd = client();

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        say(fd, bad[i]);
        cr_assert_eq(strncmp(hear(fd, 1), "{\"ok\":false,\"error\":\"not a JSON object: ", 40), 0,
                     "%s", bad[i]);
    }
    cr_assert_eq(send(fd, "{\"say\":\0 1}\n", 12, 0), 12);
    cr_assert(strstr(hear(fd, 1), "\"ok\":false"));
    say(fd, "{\"say\": 9}\n");
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":true,\"result\":9}\n");
    cr_assert_eq(requests, 1);
}

Test(ctl, deep_nesting_is_refused)
{
    char deep[CTL_LINE_MAX];
    int fd = client();

    memset(deep, '[', sizeof(deep));
    memcpy(deep, "{\"a\":", 5);
    deep[CTL_LINE_MAX - 1] = '\0';
    deep[CTL_LINE_MAX - 2] = '\n';
    say(fd, deep);
    cr_assert(strstr(hear(fd, 1), "\"ok\":false"));
}

Test(ctl, a_line_without_end_is_refused_and_the_client_closed)
{
    char endless[CTL_LINE_MAX + 1];
    int fd = client();

    memset(endless, 'x', CTL_LINE_MAX);
    endless[CTL_LINE_MAX] = '\0';
    say(fd, endless);
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":false,\"error\":\"line too long\"}\n");
    cr_assert(closed(fd));
    cr_assert_eq(requests, 0);
}

Test(ctl, the_longest_line_that_fits_is_served)
{
    char line[CTL_LINE_MAX + 1];
    int fd = client();

    memset(line, ' ', CTL_LINE_MAX);
    memcpy(line, "{\"say\": 1}", 10);
    line[CTL_LINE_MAX - 1] = '\n';
    line[CTL_LINE_MAX] = '\0';
    say(fd, line);
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":true,\"result\":1}\n");
}

Test(ctl, many_clients_are_served_side_by_side_and_one_too_many_is_turned_away)
{
    int fds[CTL_CLIENTS_MAX + 1];
    char line[64], want[64];

    for (unsigned i = 0; i <= CTL_CLIENTS_MAX; i++) {
        fds[i] = client();
        turns(2);
    }
    cr_assert_str_eq(hear(fds[CTL_CLIENTS_MAX], 1),
                     "{\"ok\":false,\"error\":\"too many clients\"}\n");
    cr_assert(closed(fds[CTL_CLIENTS_MAX]));
    for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++) {
        snprintf(line, sizeof(line), "{\"say\": %u}\n", i);
        say(fds[i], line);
    }
    for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++) {
        snprintf(want, sizeof(want), "{\"ok\":true,\"result\":%u}\n", i);
        cr_assert_str_eq(hear(fds[i], 1), want);
    }
    close(fds[3]);
    turns(2);
    fds[3] = client();
    say(fds[3], "{\"say\": 33}\n");
    cr_assert_str_eq(hear(fds[3], 1), "{\"ok\":true,\"result\":33}\n");
}

Test(ctl, an_answer_may_come_later_and_others_do_not_wait_for_it)
{
    int slow = client(), quick = client();
    uint64_t token;

    say(slow, "{\"later\": 1, \"id\": 5}\n{\"say\": 2}\n");
    turns(3);
    token = last_token;
    say(quick, "{\"say\": 1}\n");
    cr_assert_str_eq(hear(quick, 1), "{\"ok\":true,\"result\":1}\n");
    cr_assert_eq(requests, 2, "the second line of the slow client must wait for the first");
    ctl_answer(&ctl, token, json_string("at last"));
    cr_assert_str_eq(hear(slow, 1), "{\"ok\":true,\"result\":\"at last\",\"id\":5}\n");
    say(slow, "{\"say\": 3}\n");
    cr_assert_str_eq(hear(slow, 2), "{\"ok\":true,\"result\":2}\n{\"ok\":true,\"result\":3}\n");
}

Test(ctl, a_late_answer_to_a_client_that_left_goes_nowhere)
{
    int fd = client(), other;
    uint64_t token;

    say(fd, "{\"later\": 1}\n");
    turns(3);
    token = last_token;
    close(fd);
    turns(3);
    other = client();
    turns(2);
    ctl_answer(&ctl, token, json_integer(1));
    ctl_refuse(&ctl, token, "x");
    say(other, "{\"say\": 2}\n");
    cr_assert_str_eq(hear(other, 1), "{\"ok\":true,\"result\":2}\n");
}

Test(ctl, a_client_that_ends_its_side_still_gets_its_answer)
{
    int fd = client();

    say(fd, "{\"say\": 4}\n");
    shutdown(fd, SHUT_WR);
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":true,\"result\":4}\n");
    cr_assert(closed(fd));
}

Test(ctl, a_large_answer_arrives_whole)
{
    uint64_t end = clock_ns() + 5 * NS_PER_S;
    size_t len = 0;
    char bytes[4096], last = 0;
    int fd = client();
    ssize_t n;

    say(fd, "{\"big\": 3000000}\n");
    while (last != '\n' && clock_ns() < end) {
        loop_turn(&loop, 1);
        while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
            len += (size_t)n;
            last = bytes[n - 1];
        }
    }
    cr_assert_eq(len, strlen("{\"ok\":true,\"result\":\"\"}\n") + 3000000);
    say(fd, "{\"say\": 5}\n");
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":true,\"result\":5}\n");
}

Test(ctl, clients_that_waste_time_are_closed)
{
    int idle, trickle, deaf, good;
    uint64_t end;

    ctl.line_ms = 60;
    ctl.idle_ms = 1500;
    idle = client();
    trickle = client();
    deaf = client();
    turns(5);
    say(deaf, "{\"big\": 2000000}\n");
    end = clock_ns() + 5 * NS_PER_S;
    while (loop.nr_watches > 2 && clock_ns() < end) {
        if (send(trickle, "x", 1, MSG_NOSIGNAL) < 0)
            cr_assert(errno == EPIPE || errno == ECONNRESET);
        loop_turn(&loop, 5);
        poll(NULL, 0, 2);
    }
    cr_assert_eq(loop.nr_watches, 2, "only the idle client is left");
    cr_assert(closed(trickle), "a byte now and then does not keep a line open");
    while (loop.nr_watches > 1 && clock_ns() < end)
        loop_turn(&loop, 5);
    cr_assert(closed(idle));
    close(deaf);
    good = client();
    say(good, "{\"say\": 6}\n");
    cr_assert_str_eq(hear(good, 1), "{\"ok\":true,\"result\":6}\n");
}

Test(ctl, the_socket_is_for_owner_and_group)
{
    struct stat st;

    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0660);
}

Test(ctl, a_second_server_on_the_path_is_refused_and_the_first_serves_on)
{
    struct ctl second;
    int fd;

    cr_assert_eq(ctl_open(&second, &loop, path, request_come, &second), -EADDRINUSE);
    unlink(lock);
    cr_assert_eq(ctl_open(&second, &loop, path, request_come, &second), -EADDRINUSE,
                 "also when somebody removed the lock");
    fd = client();
    say(fd, "{\"say\": 1}\n");
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":true,\"result\":1}\n");
}

Test(ctl, a_socket_left_by_a_crash_is_replaced)
{
    int fd;

    ctl_close(&ctl);
    cr_assert_eq(access(path, F_OK), -1);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&ctl.address, sizeof(ctl.address)), 0);
    close(fd);
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(ctl_open(&ctl, &loop, path, request_come, &ctl), 0);
    fd = client();
    say(fd, "{\"say\": 1}\n");
    cr_assert_str_eq(hear(fd, 1), "{\"ok\":true,\"result\":1}\n");
}

Test(ctl, something_that_is_no_socket_is_left_alone)
{
    int fd;

    ctl_close(&ctl);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    cr_assert_eq(ctl_open(&ctl, &loop, path, request_come, &ctl), -ENOTSOCK);
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(ctl_open(&ctl, &loop, "/does/not/exist/x", request_come, &ctl), -ENOENT);
}
