/* SPDX-License-Identifier: Apache-2.0 */
/* Server side of the control socket. A client has one request in work at a time; nothing is read
 * from it until the answer has left, so it can make kvraild hold one line and one answer at most.
 */
#include "controlplane/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MS 5000u
#define IDLE_MS 60000u

static void client_work(struct ctl_client *client);

static void client_close(struct ctl_client *client)
{
    struct ctl *ctl = client->ctl;

    for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++)
        if (ctl->clients[i] == client)
            ctl->clients[i] = NULL;
    loop_disarm(ctl->loop, &client->deadline);
    loop_unwatch(ctl->loop, client->fd);
    close(client->fd);
    json_decref(client->id);
    free(client->answer);
    free(client);
}

static void client_late(void *owner)
{
    client_close(owner);
}

static struct ctl_client *client_find(const struct ctl *ctl, uint64_t token)
{
    for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++)
        if (ctl->clients[i] && ctl->clients[i]->token == token)
            return ctl->clients[i];
    return NULL;
}

/* ---- Answers ----------------------------------------------------------------------------------
 */

/* Sends what the socket takes. False: the client is gone. */
static bool client_send(struct ctl_client *client)
{
    ssize_t n;

    while (client->answer_sent < client->answer_len) {
        n = send(client->fd, client->answer + client->answer_sent,
                 client->answer_len - client->answer_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            client_close(client);
            return false;
        }
        client->answer_sent += (size_t)n;
    }
    free(client->answer);
    client->answer = NULL;
    if (client->closing) {
        client_close(client);
        return false;
    }
    return true;
}

/* Watches for what comes next. A deadline runs on while the same thing is waited for: a client
 * that sends or takes one byte now and then gains nothing. */
static void client_wait(struct ctl_client *client)
{
    const struct ctl *ctl = client->ctl;
    char waiting = client->answer ? 'a' : client->asked ? 0 : client->line_len ? 'l' : 'i';

    loop_watch_for(ctl->loop, client->fd, waiting == 'a' ? POLLOUT : waiting ? POLLIN : 0);
    if (waiting == client->waiting)
        return;
    client->waiting = waiting;
    if (waiting)
        loop_arm(ctl->loop, &client->deadline, waiting == 'i' ? ctl->idle_ms : ctl->line_ms,
                 client_late, client);
    else
        loop_disarm(ctl->loop, &client->deadline);
}

/* Steals the object. */
static void answer(struct ctl_client *client, json_t *object)
{
    if (client->id)
        json_object_set(object, "id", client->id);
    json_decref(client->id);
    client->id = NULL;
    client->asked = false;
    client->answer = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (!client->answer) {
        client_close(client);
        return;
    }
    client->answer_len = strlen(client->answer);
    client->answer_sent = 0;
    client->answer[client->answer_len++] = '\n'; /* over the end: a length goes with it */
    if (client_send(client))
        client_wait(client);
}

void ctl_answer(struct ctl *ctl, uint64_t token, json_t *result)
{
    struct ctl_client *client = client_find(ctl, token);

    if (client && client->asked && result)
        answer(client, json_pack("{s:b, s:o}", "ok", 1, "result", result));
    else if (client && client->asked)
        answer(client, json_pack("{s:b, s:s}", "ok", 0, "error", "no memory for the answer"));
    else
        json_decref(result);
}

static void refuse(struct ctl_client *client, const char *text)
{
    json_t *line = json_string(text);

    /* text may quote what a client sent; what is not UTF-8 cannot be quoted. */
    answer(client,
           json_pack("{s:b, s:o}", "ok", 0, "error", line ? line : json_string("bad request")));
}

void ctl_refuse(struct ctl *ctl, uint64_t token, const char *format, ...)
{
    struct ctl_client *client = client_find(ctl, token);
    char text[1024];
    va_list args;

    if (!client || !client->asked)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    refuse(client, text);
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

static void line_take(struct ctl_client *client, const char *line, size_t len)
{
    struct ctl *ctl = client->ctl;
    json_error_t error;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);

    client->asked = true;
    client->waiting = 0;
    if (!json_is_object(request)) {
        char text[256];

        snprintf(text, sizeof(text), "not a JSON object: %.160s",
                 request ? "another value" : error.text);
        refuse(client, text);
    } else {
        client->id = json_incref(json_object_get(request, "id"));
        ctl->request(ctl->owner, client->token, request);
    }
    json_decref(request);
}

/* Takes complete lines out of the buffer while nothing is in work. */
static void client_work(struct ctl_client *client)
{
    struct ctl *ctl = client->ctl;
    uint64_t token = client->token;

    while (!client->asked && !client->answer) {
        char line[CTL_LINE_MAX];
        const char *end = memchr(client->line, '\n', client->line_len);
        size_t len = end ? (size_t)(end - client->line) : 0;

        if (!end)
            break;
        memcpy(line, client->line, len);
        client->line_len -= len + 1;
        memmove(client->line, client->line + len + 1, client->line_len);
        line_take(client, line, len);
        if (client_find(ctl, token) != client)
            return;
    }
    if (!client->asked && !client->answer && client->line_len == sizeof(client->line)) {
        client->asked = client->closing = true;
        refuse(client, "line too long");
        return;
    }
    client_wait(client);
}

/* False: the client is gone. */
static bool client_read(struct ctl_client *client)
{
    ssize_t n = recv(client->fd, client->line + client->line_len,
                     sizeof(client->line) - client->line_len, MSG_DONTWAIT);

    if (n > 0)
        client->line_len += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        client_close(client);
        return false;
    }
    return true;
}

static void client_ready(void *owner, short revents)
{
    struct ctl_client *client = owner;

    if ((revents & (POLLERR | POLLNVAL)) || (client->asked && !client->answer))
        client_close(client); /* broken, or hung up while its request is in work */
    else if (client->answer ? client_send(client) : client_read(client))
        client_work(client);
}

/* ---- Clients come ------------------------------------------------------------------------------
 */

static void turn_away(int fd)
{
    static const char text[] = "{\"ok\":false,\"error\":\"too many clients\"}\n";

    if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        errno = 0; /* it will see the end of file */
    close(fd);
}

static struct ctl_client *client_create(struct ctl *ctl, int fd)
{
    struct ctl_client *client = calloc(1, sizeof(*client));

    if (!client)
        return NULL;
    client->ctl = ctl;
    client->fd = fd;
    client->token = ++ctl->tokens;
    if (loop_watch(ctl->loop, fd, POLLIN, client_ready, client) < 0) {
        free(client);
        return NULL;
    }
    client_wait(client);
    return client;
}

static void client_come(void *owner, short revents)
{
    struct ctl *ctl = owner;
    int fd = accept4(ctl->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    unsigned slot = 0;

    (void)revents;
    if (fd < 0)
        return;
    while (slot < CTL_CLIENTS_MAX && ctl->clients[slot])
        slot++;
    if (slot < CTL_CLIENTS_MAX)
        ctl->clients[slot] = client_create(ctl, fd);
    if (slot == CTL_CLIENTS_MAX || !ctl->clients[slot])
        turn_away(fd);
}

/* ---- Open, close -------------------------------------------------------------------------------
 */

/* The lock outlives every mix of starts and crashes; the file itself stays, since removing it would
 * let two holders exist. */
static int lock_take(const char *path)
{
    char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
    int fd, rc;

    snprintf(name, sizeof(name), "%s.lock", path);
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    rc = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
    close(fd);
    return rc;
}

/* Whoever holds the lock may still not be the only one who serves the path. */
int ctl_stale_remove(const struct sockaddr_un *address, int type)
{
    struct stat st;
    int fd, rc;

    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    rc = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN
             ? -EADDRINUSE
             : 0;
    close(fd);
    if (rc == 0 && unlink(address->sun_path) < 0)
        rc = -errno;
    return rc;
}

static int listen_on(struct ctl *ctl)
{
    mode_t mask = umask(0117); /* 0660 from the first instant on */
    int rc = 0;

    ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (ctl->fd < 0 ||
        bind(ctl->fd, (const struct sockaddr *)&ctl->address, sizeof(ctl->address)) < 0 ||
        listen(ctl->fd, 16) < 0)
        rc = -errno;
    umask(mask);
    return rc;
}

int ctl_open(struct ctl *ctl, struct loop *loop, const char *path,
             void (*request)(void *owner, uint64_t token, const json_t *request), void *owner)
{
    int rc;

    *ctl = (struct ctl){.loop = loop,
                        .fd = -1,
                        .lock_fd = -1,
                        .address = {.sun_family = AF_UNIX},
                        .request = request,
                        .owner = owner,
                        .line_ms = LINE_MS,
                        .idle_ms = IDLE_MS};
    if (strlen(path) >= sizeof(ctl->address.sun_path))
        return -ENAMETOOLONG;
    strcpy(ctl->address.sun_path, path);
    rc = ctl->lock_fd = lock_take(path);
    if (rc < 0)
        return rc;
    rc = ctl_stale_remove(&ctl->address, SOCK_STREAM);
    if (rc == 0)
        rc = listen_on(ctl);
    if (rc == 0)
        rc = loop_watch(loop, ctl->fd, POLLIN, client_come, ctl);
    if (rc < 0) {
        if (ctl->fd >= 0)
            close(ctl->fd);
        close(ctl->lock_fd);
        ctl->fd = ctl->lock_fd = -1;
    }
    return rc;
}

void ctl_close(struct ctl *ctl)
{
    if (ctl->fd < 0)
        return;
    for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++)
        if (ctl->clients[i])
            client_close(ctl->clients[i]);
    loop_unwatch(ctl->loop, ctl->fd);
    unlink(ctl->address.sun_path);
    close(ctl->fd);
    close(ctl->lock_fd);
    ctl->fd = ctl->lock_fd = -1;
}
