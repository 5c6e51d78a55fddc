/* SPDX-License-Identifier: Apache-2.0 */
/* Life of the dataplane process: lines of text over a socket, death through a pidfd, which serves
 * for one that somebody else has started as well. Every wait has a time limit. */
#include "controlplane/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "kvrail/region.h"
#include "shm/passing.h"

#define ANSWER_MS 3000u
#define CLOSE_MS 1000

void child_init(struct child *child, struct loop *loop, void *owner)
{
    *child = (struct child){.loop = loop, .owner = owner, .pid = -1, .pidfd = -1, .ctl_fd = -1};
}

/* ---- Lines from the dataplane ---------------------------------------------------------------- */

static void answer_late(void *owner);

static void answer_first(struct child *child, const char *error)
{
    struct child_command first = child->commands[0];

    child->nr_commands--;
    memmove(&child->commands[0], &child->commands[1],
            child->nr_commands * sizeof(child->commands[0]));
    if (child->nr_commands)
        loop_arm(child->loop, &child->answer_deadline, ANSWER_MS, answer_late, child);
    else
        loop_disarm(child->loop, &child->answer_deadline);
    if (first.done)
        first.done(first.owner, first.token, error);
}

static void answer_all(struct child *child, const char *error)
{
    for (unsigned n = child->nr_commands; n > 0 && child->nr_commands > 0; n--)
        answer_first(child, error);
}

/* Answers come in the order of the commands, so those that come after all are counted off first. */
static void answer_late(void *owner)
{
    struct child *child = owner;

    child->nr_overdue += child->nr_commands;
    answer_all(child, "the dataplane did not answer in time");
}

static void answer_take(struct child *child, const char *error)
{
    if (child->nr_overdue)
        child->nr_overdue--;
    else if (child->nr_commands)
        answer_first(child, error);
}

static void note_add(struct child *child, const char *text)
{
    for (unsigned i = 0; i < child->nr_notes; i++)
        if (strcmp(child->notes[i], text) == 0)
            return;
    if (child->nr_notes < CHILD_NOTES_MAX)
        snprintf(child->notes[child->nr_notes++], CHILD_LINE_MAX, "%s", text);
}

static const char *after(const char *line, const char *word)
{
    size_t len = strlen(word);

    if (strncmp(line, word, len) != 0 || (line[len] != ' ' && line[len] != '\0'))
        return NULL;
    return line[len] ? line + len + 1 : line + len;
}

static void ready_take(struct child *child, const char *fields)
{
    snprintf(child->ready_fields, sizeof(child->ready_fields), "%s", fields);
    child->state = CHILD_READY;
    child->was_ready = true;
    child->ready_ns = clock_ns();
    loop_disarm(child->loop, &child->deadline);
    if (child->ready)
        child->ready(child->owner);
}

static void client_gone_take(const struct child *child, const char *text)
{
    char *end;
    unsigned long id = strtoul(text, &end, 10);

    if (end != text && child->client_gone)
        child->client_gone(child->owner, (uint32_t)id, *end == ' ' ? end + 1 : end);
}

static void region_gone_take(const struct child *child, const char *text)
{
    unsigned id, region;

    if (sscanf(text, "%u %u", &id, &region) == 2 && child->region_gone)
        child->region_gone(child->owner, id, region);
}

static int came_take(struct child *child)
{
    int fd;

    if (child->nr_came == 0)
        return -1;
    fd = child->came[0];
    child->nr_came--;
    memmove(&child->came[0], &child->came[1], child->nr_came * sizeof(child->came[0]));
    return fd;
}

static void pool_take(struct child *child, const char *text)
{
    struct child_pool pool = {.fd = -1};
    unsigned long long size;

    if (sscanf(text, "%u %u %u %u %llu %u %131s", &pool.client, &pool.device, &pool.core,
               &pool.kind, &size, &pool.lost, pool.hex) != 7)
        return;
    pool.size = size;
    if (pool.kind != KVR_REGION_CUDA_IPC)
        pool.fd = came_take(child);
    if (child->pool)
        child->pool(child->owner, &pool);
    else if (pool.fd >= 0)
        close(pool.fd);
}

void child_take(struct child *child, const char *line)
{
    const char *text;

    if ((text = after(line, "note"))) {
        note_add(child, text);
    } else if ((text = after(line, "failed"))) {
        snprintf(child->failed, sizeof(child->failed), "%s", text);
        child->told = true;
    } else if ((text = after(line, "recovered"))) {
        snprintf(child->recovered_fields, sizeof(child->recovered_fields), "%s", text);
    } else if ((text = after(line, "client-gone"))) {
        client_gone_take(child, text);
    } else if ((text = after(line, "region-gone"))) {
        region_gone_take(child, text);
    } else if ((text = after(line, "pool"))) {
        pool_take(child, text);
    } else if ((text = after(line, "ready")) && child->state == CHILD_STARTING) {
        ready_take(child, text);
    } else if (after(line, "ok")) {
        answer_take(child, NULL);
    } else if ((text = after(line, "error"))) {
        answer_take(child, *text ? text : "refused");
    }
}

/* A line too long for the buffer is cut, not lost. */
static void bytes_take(struct child *child, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            child->line[child->line_len] = '\0';
            child->line_len = 0;
            child_take(child, child->line);
        } else if (child->line_len + 1 < sizeof(child->line)) {
            child->line[child->line_len++] = bytes[i];
        }
    }
}

static void ctl_close(struct child *child)
{
    passing_close(child->came, child->nr_came);
    child->nr_came = 0;
    if (child->ctl_fd < 0)
        return;
    loop_unwatch(child->loop, child->ctl_fd);
    close(child->ctl_fd);
    child->ctl_fd = -1;
}

/* Those that there is no room for are closed. */
static void came_add(struct child *child, const struct passed *passed)
{
    for (unsigned i = 0; i < passed->nr; i++) {
        if (child->nr_came < PASSING_MAX)
            child->came[child->nr_came++] = passed->fds[i];
        else
            close(passed->fds[i]);
    }
}

static void ctl_drain(struct child *child)
{
    struct passed passed;
    char bytes[4096];
    ssize_t n;

    while (child->ctl_fd >= 0) {
        n = passing_receive(child->ctl_fd, bytes, sizeof(bytes), &passed);
        came_add(child, &passed);
        if (n > 0)
            bytes_take(child, bytes, (size_t)n);
        else if (n == -EINTR)
            continue;
        else if (n == -EAGAIN)
            return;
        else
            ctl_close(child);
    }
}

static void ctl_ready(void *owner, short revents)
{
    (void)revents;
    ctl_drain(owner);
}

/* ---- Start ---------------------------------------------------------------------------------- */

/* By its pidfd: another process may have the number by now. */
static void signal_send(const struct child *child, int nr)
{
    if (child->pidfd >= 0 && pidfd_send_signal(child->pidfd, nr, NULL, 0) < 0 && errno != ESRCH)
        log_warning("the dataplane cannot be sent signal %d: %s", nr, strerror(errno));
}

void child_kill(struct child *child, const char *reason)
{
    if (!child->failed[0])
        snprintf(child->failed, sizeof(child->failed), "%s", reason);
    signal_send(child, SIGKILL);
}

static void start_late(void *owner)
{
    struct child *child = owner;

    child_kill(child, "the dataplane did not become ready in time");
}

static void exit_text(const struct child *child, const siginfo_t *info, char *text, size_t size)
{
    if (child->failed[0])
        snprintf(text, size, "%s", child->failed);
    else if (child->adopted)
        snprintf(text, size, "the dataplane ended, its parent long before it");
    else if (info->si_code == CLD_EXITED)
        snprintf(text, size, "the dataplane exited with status %d", info->si_status);
    else
        snprintf(text, size, "the dataplane was ended by signal %d (%s)", info->si_status,
                 strsignal(info->si_status));
}

static void let_go(struct child *child)
{
    loop_disarm(child->loop, &child->deadline);
    loop_disarm(child->loop, &child->answer_deadline);
    ctl_close(child);
    if (child->pidfd >= 0) {
        loop_unwatch(child->loop, child->pidfd);
        close(child->pidfd);
    }
    child->pidfd = -1;
    child->pid = -1;
    child->state = CHILD_DOWN;
}

static void dataplane_exited(void *owner, short revents)
{
    struct child *child = owner;
    char text[CHILD_LINE_MAX];
    siginfo_t info = {0};

    (void)revents;
    if (!child->adopted &&
        (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0))
        return;
    ctl_drain(child); /* its last words */
    exit_text(child, &info, text, sizeof(text));
    let_go(child);
    answer_all(child, "the dataplane went away");
    child->gone(child->owner, text);
}

static int watch_both(struct child *child)
{
    int rc = loop_watch(child->loop, child->ctl_fd, POLLIN, ctl_ready, child);

    if (rc == 0)
        rc = loop_watch(child->loop, child->pidfd, POLLIN, dataplane_exited, child);
    return rc;
}

/* Forgets what the process before has said. */
static void begin(struct child *child, uint64_t started_ns, unsigned start_ms, unsigned term_ms)
{
    child->state = CHILD_STARTING;
    child->was_ready = child->told = false;
    child->started_ns = started_ns;
    child->term_ms = term_ms;
    child->nr_notes = child->nr_commands = child->nr_overdue = child->line_len = 0;
    child->failed[0] = child->ready_fields[0] = child->recovered_fields[0] = '\0';
    loop_arm(child->loop, &child->deadline, start_ms, start_late, child);
}

int child_start(struct child *child, const struct child_spec *spec)
{
    int pair[2], rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    child->adopted = false;
    rc = child->pid = child_spawn(spec, pair[1]);
    close(pair[1]);
    child->ctl_fd = pair[0];
    if (rc < 0)
        goto close_ctl;
    child->pidfd = pidfd_open(child->pid, 0);
    rc = child->pidfd < 0 ? -errno : watch_both(child);
    if (rc < 0)
        goto kill_process;
    begin(child, clock_ns(), spec->start_ms, spec->term_ms);
    return 0;

kill_process:
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
close_ctl:
    let_go(child);
    return rc;
}

int child_adopt(struct child *child, const struct child_found *found)
{
    int rc;

    child->adopted = true;
    child->pid = found->pid;
    child->pidfd = found->pidfd;
    child->ctl_fd = found->ctl_fd;
    rc = watch_both(child);
    if (rc < 0) {
        loop_unwatch(child->loop, child->ctl_fd);
        child->pid = child->pidfd = child->ctl_fd = -1;
        return rc;
    }
    begin(child, found->started_ns, found->start_ms, found->term_ms);
    return 0;
}

/* ---- Commands, stop -------------------------------------------------------------------------- */

static int line_send(const struct child *child, const char *line, const int *fds, unsigned nr)
{
    char text[CHILD_LINE_MAX + 2];
    int len = snprintf(text, sizeof(text), "%s\n", line);

    if (len >= (int)sizeof(text) || strchr(line, '\n'))
        return -EINVAL;
    if (child->ctl_fd < 0)
        return -ENOTCONN;
    return passing_send(child->ctl_fd, text, (size_t)len, fds, nr) == len ? 0 : -EAGAIN;
}

int child_send_fds(struct child *child, const char *line, const int *fds, unsigned nr,
                   const struct child_command *command)
{
    int rc;

    if (child->state != CHILD_READY)
        return -ENOTCONN;
    if (child->nr_commands == CHILD_COMMANDS_MAX)
        return -EAGAIN;
    rc = line_send(child, line, fds, nr);
    if (rc < 0)
        return rc;
    child->commands[child->nr_commands++] = *command;
    if (child->nr_commands == 1)
        loop_arm(child->loop, &child->answer_deadline, ANSWER_MS, answer_late, child);
    return 0;
}

int child_send(struct child *child, const char *line, const struct child_command *command)
{
    return child_send_fds(child, line, NULL, 0, command);
}

static void stop_kill(void *owner)
{
    signal_send(owner, SIGKILL);
}

static void stop_term(void *owner)
{
    struct child *child = owner;

    signal_send(child, SIGTERM);
    loop_arm(child->loop, &child->deadline, child->term_ms, stop_kill, child);
}

void child_stop(struct child *child, unsigned stop_ms)
{
    if (child->state == CHILD_DOWN)
        return;
    if (child->state == CHILD_STOPPING) {
        stop_kill(child);
        return;
    }
    child->state = CHILD_STOPPING;
    if (line_send(child, "stop", NULL, 0) < 0)
        stop_term(child);
    else
        loop_arm(child->loop, &child->deadline, stop_ms, stop_term, child);
}

static bool field_find(const char *at, const char *name, char *value, size_t size)
{
    size_t name_len = strlen(name), len;

    while (*at) {
        len = strcspn(at, " ");
        if (len > name_len && strncmp(at, name, name_len) == 0 && at[name_len] == '=') {
            snprintf(value, size, "%.*s", (int)(len - name_len - 1), at + name_len + 1);
            return true;
        }
        at += len + (at[len] == ' ');
    }
    return false;
}

bool child_field(const struct child *child, const char *name, char *value, size_t size)
{
    return field_find(child->ready_fields, name, value, size);
}

uint64_t child_recovered(const struct child *child, const char *name)
{
    char value[32];

    return field_find(child->recovered_fields, name, value, sizeof(value))
               ? strtoull(value, NULL, 10)
               : 0;
}

void child_close(struct child *child)
{
    struct pollfd dead = {.fd = child->pidfd, .events = POLLIN};

    if (child->pid > 0) {
        signal_send(child, SIGKILL);
        if (child->adopted)
            poll(&dead, 1, CLOSE_MS);
        else
            waitpid(child->pid, NULL, 0);
    }
    let_go(child);
    answer_all(child, "the dataplane was stopped");
}
