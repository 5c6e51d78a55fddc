/* SPDX-License-Identifier: Apache-2.0 */
/* kvraild over a stand-in for the dataplane, in a folder of its own. */
#include "daemon.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

char dir[64], path[96], file[96], errors[96];
pid_t pid;

void daemon_setup(void)
{
    strcpy(dir, "/tmp/kvrail-kvraild-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/socket", dir);
    snprintf(file, sizeof(file), "%s/kvrail.yaml", dir);
    snprintf(errors, sizeof(errors), "%s/errors", dir);
    pid = -1;
}

void daemon_teardown(void)
{
    char command[128];

    if (pid > 0) {
        kill(pid, SIGTERM);
        poll(NULL, 0, 50);
        kill(pid, SIGTERM); /* the second one kills the dataplane at once */
        waitpid(pid, NULL, 0);
    }
    snprintf(command, sizeof(command), "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

/* The running dataplane, as status says. */
pid_t dataplane_pid(json_t *status)
{
    return (pid_t)json_integer_value(
        json_object_get(json_object_get(json_object_get(status, "result"), "dataplane"), "pid"));
}

void write_file(const char *text)
{
    FILE *out = fopen(file, "w");

    fputs(text, out);
    fclose(out);
}

pid_t start(const char *behaviour, const char *flag)
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

int end_of(pid_t process)
{
    int status;

    cr_assert_eq(waitpid(process, &status, 0), process);
    cr_assert(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

bool said(const char *text)
{
    char all[8192] = "";
    FILE *in = fopen(errors, "r");

    if (!in)
        return false;
    all[fread(all, 1, sizeof(all) - 1, in)] = '\0';
    fclose(in);
    return strstr(all, text) != NULL;
}

unsigned lines_said(void)
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

bool said_in_time(const char *text)
{
    for (unsigned i = 0; i < 300 && !said(text); i++)
        poll(NULL, 0, 20);
    return said(text);
}

/* NULL while nobody answers. */
json_t *ask(const char *request)
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

const char *state_of(json_t *answer)
{
    const char *state =
        json_string_value(json_object_get(json_object_get(answer, "result"), "state"));

    return state ? state : "?";
}

json_t *wait_state(const char *state)
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

json_t *dataplane_of(json_t *status)
{
    return json_object_get(json_object_get(status, "result"), "dataplane");
}

const char *first_of(json_t *status, const char *array)
{
    const char *text = json_string_value(
        json_array_get(json_object_get(json_object_get(status, "result"), array), 0));

    return text ? text : "";
}

/* Waits for another dataplane than this one. */
json_t *wait_other(pid_t before)
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
