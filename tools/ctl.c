/* SPDX-License-Identifier: Apache-2.0 */
/* A whole exchange has one deadline, whatever the other side does. */
#include "tools/ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define TIMEOUT_MS 5000u
#define ANSWER_MAX (16u << 20)

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    uint64_t now = clock_ns();
    int n;

    if (now >= deadline_ns)
        return -ETIMEDOUT;
    n = poll(&pollfd, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1);
    return n < 0 && errno != EINTR ? -errno : 0;
}

/* A socket connected to path, or -errno. */
static int connect_to(const char *path, uint64_t deadline_ns)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, rc;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* A full backlog answers EAGAIN and cannot be polled for. */
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        rc = -errno;
        if (rc == -EAGAIN && clock_ns() < deadline_ns) {
            poll(NULL, 0, 5);
            continue;
        }
        close(fd);
        return rc == -EAGAIN ? -ETIMEDOUT : rc;
    }
    return fd;
}

static int send_all(int fd, const char *text, size_t len, uint64_t deadline_ns)
{
    ssize_t n;
    int rc;

    while (len > 0) {
        n = send(fd, text, len, MSG_NOSIGNAL);
        if (n > 0) {
            text += n;
            len -= (size_t)n;
            continue;
        }
        rc = errno == EAGAIN || errno == EINTR ? wait_for(fd, POLLOUT, deadline_ns) : -errno;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Up to the end of the line; *text is the caller's. */
static int receive_line(int fd, char **text, size_t *len, uint64_t deadline_ns)
{
    size_t room = 0;
    ssize_t n;
    int rc;

    *text = NULL;
    for (*len = 0;;) {
        if (*len == room) {
            char *grown = room < ANSWER_MAX ? realloc(*text, room = room ? room * 2 : 4096) : NULL;

            if (!grown)
                return room < ANSWER_MAX ? -ENOMEM : -EPROTO;
            *text = grown;
        }
        n = recv(fd, *text + *len, room - *len, 0);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return -EPROTO;
        if (n > 0) {
            *len += (size_t)n;
            if ((*text)[*len - 1] == '\n')
                return 0;
            continue;
        }
        rc = errno == EAGAIN || errno == EINTR ? wait_for(fd, POLLIN, deadline_ns) : -errno;
        if (rc < 0)
            return rc;
    }
}

static int exchange_text(const char *path, uint32_t timeout_ms, const char *request,
                         json_t **answer)
{
    uint64_t deadline_ns = clock_ns() + timeout_ms * NS_PER_MS;
    int fd = connect_to(path, deadline_ns), rc;
    char *text = NULL;
    size_t len = 0;

    if (fd < 0)
        return fd;
    rc = send_all(fd, request, strlen(request), deadline_ns);
    if (rc == 0)
        rc = send_all(fd, "\n", 1, deadline_ns);
    /* Turned away before the request was read: the answer says why. */
    if (rc == 0 || rc == -EPIPE)
        rc = receive_line(fd, &text, &len, deadline_ns);
    if (rc == 0) {
        *answer = json_loadb(text, len, 0, NULL);
        if (!json_is_object(*answer)) {
            json_decref(*answer);
            *answer = NULL;
            rc = -EPROTO;
        }
    }
    free(text);
    close(fd);
    return rc;
}

int ctl_exchange(const char *path, uint32_t timeout_ms, json_t *request, json_t **answer)
{
    char *text = json_dumps(request, JSON_COMPACT);
    int rc = text ? exchange_text(path, timeout_ms, text, answer) : -ENOMEM;

    free(text);
    json_decref(request);
    return rc;
}

static int show_failure(const struct cli *cli, const char *path, int rc)
{
    if (rc == -ENOENT || rc == -ECONNREFUSED)
        return cli_error(cli, CLI_UNREACHABLE,
                         "no kvraild answers on %s; start one, or name its socket with --control",
                         path);
    if (rc == -ETIMEDOUT)
        return cli_error(cli, CLI_UNREACHABLE, "kvraild on %s did not answer in time", path);
    if (rc == -EPROTO)
        return cli_error(cli, CLI_UNREACHABLE, "%s: what answers there is not kvraild", path);
    return cli_error(cli, CLI_UNREACHABLE, "%s: %s", path, strerror(-rc));
}

int ctl_ask(const struct cli *cli, const char *command, json_t *arguments, json_t **result)
{
    json_t *request = arguments ? arguments : json_object(), *answer = NULL;
    const char *path = cli_control(cli);
    int rc;

    json_object_set_new(request, "command", json_string(command));
    rc = ctl_exchange(path, cli->timeout_ms ? cli->timeout_ms : TIMEOUT_MS, request, &answer);
    if (rc < 0)
        return show_failure(cli, path, rc);
    *result = json_incref(json_object_get(answer, "result"));
    if (json_is_true(json_object_get(answer, "ok")) && *result) {
        json_decref(answer);
        return CLI_OK;
    }
    json_decref(*result);
    rc = cli_error(cli, CLI_ERROR, "%s", ctl_text(answer, "error"));
    json_decref(answer);
    return rc;
}

int ctl_show(const struct cli *cli, const char *command, json_t *arguments,
             void (*show)(const json_t *result))
{
    json_t *result = NULL;
    int code = ctl_ask(cli, command, arguments, &result);

    if (code != CLI_OK)
        return code;
    if (cli->json)
        cli_print_json(json_incref(result));
    else
        show(result);
    json_decref(result);
    return CLI_OK;
}

const char *ctl_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

uint64_t ctl_number(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

double ctl_real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}
