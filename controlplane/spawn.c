/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a child_spec into a process: fork, the descriptors that it may keep, its command line,
 * exec. It outlives kvraild. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/child.h"

#define SETTINGS_MAX 128u
#define ARGS_MAX (2 * SETTINGS_MAX + 2 * LOCAL_CLIENTS_MAX + 16)

struct line {
    char *argv[ARGS_MAX];
    unsigned n;
};

static void add(struct line *line, const char *flag, const char *value)
{
    line->argv[line->n++] = strdup(flag);
    line->argv[line->n++] = strdup(value);
}

static void keep_open(int fd)
{
    fcntl(fd, F_SETFD, fcntl(fd, F_GETFD) & ~FD_CLOEXEC);
}

static void add_fd(struct line *line, const char *flag, int fd)
{
    char text[16];

    if (fd < 0)
        return;
    keep_open(fd);
    snprintf(text, sizeof(text), "%d", fd);
    add(line, flag, text);
}

static void add_client(struct line *line, const struct local_spec *client)
{
    char text[128];

    keep_open(client->segment_fd);
    keep_open(client->pidfd);
    snprintf(text, sizeof(text), "%u:%u:%u:%d:%llu:%d:%d", client->id, client->pid, client->uid,
             client->may_write, (unsigned long long)client->pinned_max, client->segment_fd,
             client->pidfd);
    add(line, "--client", text);
}

__attribute__((noreturn)) static void become(const struct child_spec *spec, int ctl_fd)
{
    static struct line line;
    char text[512];
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* a Ctrl-C is for kvraild, which then stops the dataplane in order */
    line.argv[line.n++] = strdup(spec->program);
    add_fd(&line, "--index-fd", spec->index_fd);
    add_fd(&line, "--data-fd", spec->data_fd);
    add_fd(&line, "--ctl-fd", ctl_fd);
    add_fd(&line, "--adopt-fd", spec->adopt_fd);
    add_fd(&line, "--roster-fd", spec->roster_fd);
    for (unsigned i = 0; i < spec->nr_clients && i < LOCAL_CLIENTS_MAX; i++)
        add_client(&line, &spec->clients[i]);
    for (unsigned i = 0; i < SETTINGS_MAX && spec->settings[i]; i++)
        add(&line, "--set", spec->settings[i]);
    execv(spec->program, line.argv);
    snprintf(text, sizeof(text), "failed cannot start %.300s: %s\n", spec->program,
             strerror(errno));
    log_error("%.*s", (int)strcspn(text, "\n") - 7, text + 7);
    if (send(ctl_fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        _exit(126);
    _exit(127);
}

pid_t child_spawn(const struct child_spec *spec, int ctl_fd)
{
    pid_t pid = fork();

    if (pid == 0)
        become(spec, ctl_fd);
    return pid < 0 ? -errno : pid;
}
