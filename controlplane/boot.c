/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that knows the order of start and stop. Rows are set up from the top and taken down
 * from the bottom; a row that fails has said why. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "controlplane/kvraild.h"

/* ---- Signals ----------------------------------------------------------------------------------
 */

static void signal_come(void *owner, short revents)
{
    struct kvraild *kvraild = owner;
    struct signalfd_siginfo info;

    (void)revents;
    if (read(kvraild->signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP)
        live_reload(kvraild);
    else
        supervise_stop(kvraild);
}

static int signals_setup(struct kvraild *kvraild)
{
    sigset_t set;
    int rc;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    kvraild->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    rc = kvraild->signal_fd < 0
             ? -errno
             : loop_watch(&kvraild->loop, kvraild->signal_fd, POLLIN, signal_come, kvraild);
    if (rc < 0)
        log_error("signals cannot be received: %s", strerror(-rc));
    return rc;
}

static void signals_teardown(struct kvraild *kvraild)
{
    loop_unwatch(&kvraild->loop, kvraild->signal_fd);
    close(kvraild->signal_fd);
}

/* ---- The dataplane's program ------------------------------------------------------------------
 */

/* Beside kvraild, where it is installed, or where a build leaves it. */
static void program_choose(char *program, size_t size)
{
    static const char *const places[] = {"", "../libexec/kvrail/", "../dataplane/", NULL};
    char self[PATH_MAX - 64];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (len < 0)
        len = 0;
    self[len] = '\0';
    while (len > 0 && self[len - 1] != '/')
        self[--len] = '\0';
    for (unsigned i = 0; places[i]; i++) {
        snprintf(program, size, "%s%skvrail-dataplane", self, places[i]);
        if (access(program, X_OK) == 0)
            return;
    }
    snprintf(program, size, "%skvrail-dataplane", self);
}

static int program_setup(struct kvraild *kvraild)
{
    const char *given = options_text(&kvraild->options, OPT_dataplane);

    if (*given)
        snprintf(kvraild->program, sizeof(kvraild->program), "%s", given);
    else
        program_choose(kvraild->program, sizeof(kvraild->program));
    if (access(kvraild->program, X_OK) == 0)
        return 0;
    log_error("dataplane: %s cannot be run: %s; set dataplane to the path of kvrail-dataplane",
              kvraild->program, strerror(errno));
    return -ENOENT;
}

/* ---- Control socket ---------------------------------------------------------------------------
 */

static int socket_setup(struct kvraild *kvraild)
{
    const char *given = options_text(&kvraild->options, OPT_control_socket);
    char *path = kvraild->socket_path;
    int rc;

    if (*given)
        snprintf(path, sizeof(kvraild->socket_path), "%s", given);
    else
        control_socket_default(path, sizeof(kvraild->socket_path));
    rc = ctl_open(&kvraild->ctl, &kvraild->loop, path, commands_run, kvraild);
    if (rc == -EADDRINUSE)
        log_error("another kvraild answers on %s; stop it first, or choose another control_socket",
                  path);
    else if (rc == -ENOTSOCK)
        log_error("control socket %s: something else is there, not a socket; it is left alone",
                  path);
    else if (rc < 0)
        log_error("control socket %s cannot be opened: %s", path, strerror(-rc));
    return rc;
}

static void socket_teardown(struct kvraild *kvraild)
{
    ctl_close(&kvraild->ctl);
}

/* ---- Notes ------------------------------------------------------------------------------------
 */

void kvraild_note(struct kvraild *kvraild, const char *format, ...)
{
    char text[CHILD_LINE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_warning("%s", text);
    for (unsigned i = 0; i < kvraild->nr_notes; i++)
        if (strcmp(kvraild->notes[i], text) == 0)
            return;
    if (kvraild->nr_notes < KVRAILD_NOTES_MAX)
        memcpy(kvraild->notes[kvraild->nr_notes++], text, sizeof(text));
}

/* ---- Local socket ------------------------------------------------------------------------------
 */

/* Beside the control socket: kvrail.sock, kvrail.local.sock. options_check has seen its length. */
static void local_path_choose(struct kvraild *kvraild)
{
    const char *given = options_text(&kvraild->options, OPT_local_socket);

    if (*given)
        snprintf(kvraild->local_path, sizeof(kvraild->local_path), "%s", given);
    else if (!control_socket_beside(&kvraild->options, "local", kvraild->local_path,
                                    sizeof(kvraild->local_path)))
        kvraild->local_path[0] = '\0';
}

static int local_setup(struct kvraild *kvraild)
{
    const struct options *options = &kvraild->options;
    struct attach_rules rules = {
        .write = (enum attach_write)options_number(options, OPT_local_write),
        .mode = (enum attach_mode)options_number(options, OPT_local_access),
        .write_owner_only = !kvraild->arena.sealed,
        .clients_max = (uint32_t)options_number(options, OPT_clients_max),
        .slots_max = (uint32_t)options_number(options, OPT_client_slots),
        .pinned_max = memory_pinned_max(kvraild),
    };
    int rc = 0;

    kvraild->clients.region_rules =
        (struct region_rules){.most = (uint32_t)options_number(options, OPT_client_regions),
                              .bytes_most = options_number(options, OPT_client_region_bytes)};
    rc = clients_roster(&kvraild->clients);
    if (rc < 0) {
        log_error("no memory for the list of clients: %s", strerror(-rc));
        return rc;
    }
    local_path_choose(kvraild);
    if (rules.clients_max == 0) {
        kvraild->local_path[0] = '\0';
        kvraild->attach.fd = -1;
        return 0;
    }
    rc = attach_open(&kvraild->attach, &kvraild->loop, &kvraild->clients, &kvraild->arena, &rules,
                     kvraild->local_path);
    if (rc == -ENOTSOCK)
        log_error("local_socket: %s: something else is there, not a socket; it is left alone",
                  kvraild->local_path);
    else if (rc == -EADDRINUSE)
        log_error("local_socket: somebody else listens on %s; choose another", kvraild->local_path);
    else if (rc < 0)
        log_error("local_socket: %s cannot be opened: %s", kvraild->local_path, strerror(-rc));
    return rc;
}

static void local_teardown(struct kvraild *kvraild)
{
    attach_close(&kvraild->attach);
}

static int clients_start(struct kvraild *kvraild)
{
    clients_setup(&kvraild->clients, &kvraild->loop, &kvraild->child, &kvraild->arena);
    return 0;
}

static void clients_stop(struct kvraild *kvraild)
{
    clients_teardown(&kvraild->clients);
}

/* ---- PID file, rates ---------------------------------------------------------------------------
 */

static int pid_setup(struct kvraild *kvraild)
{
    const char *path = options_text(&kvraild->options, OPT_pid_file);
    FILE *file;

    if (!*path)
        return 0;
    file = fopen(path, "we");
    if (!file) {
        log_error("pid_file: %s cannot be written: %s", path, strerror(errno));
        return -errno;
    }
    fprintf(file, "%d\n", (int)getpid());
    fclose(file);
    snprintf(kvraild->pid_file, sizeof(kvraild->pid_file), "%s", path);
    return 0;
}

static void pid_teardown(struct kvraild *kvraild)
{
    if (kvraild->pid_file[0])
        unlink(kvraild->pid_file);
}

static int rates_setup(struct kvraild *kvraild)
{
    rates_start(&kvraild->rates, &kvraild->loop, &kvraild->arena);
    return 0;
}

static void rates_teardown(struct kvraild *kvraild)
{
    rates_stop(&kvraild->rates);
}

/* ---- The table ----------------------------------------------------------------------------------
 */

static const struct boot_row {
    const char *name;
    int (*setup)(struct kvraild *kvraild);
    void (*teardown)(struct kvraild *kvraild);
} boot_table[] = {
    {"signals", signals_setup, signals_teardown},
    {"dataplane program", program_setup, NULL},
    {"control socket", socket_setup, socket_teardown}, /* first: a second kvraild ends here */
    {"clients", clients_start, clients_stop},
    {"adoption", adopt_setup, adopt_teardown}, /* of a dataplane that runs already */
    {"arena", memory_setup, memory_teardown},
    {"pid file", pid_setup, pid_teardown},
    {"rates", rates_setup, rates_teardown},
    {"local socket", local_setup, local_teardown},
    {"dataplane", supervise_start, supervise_teardown},
};

int boot_run(struct kvraild *kvraild)
{
    unsigned up = 0;

    kvraild->started_ns = clock_ns();
    while (up < sizeof(boot_table) / sizeof(boot_table[0])) {
        if (boot_table[up].setup(kvraild) < 0) {
            kvraild->exit_code = 1;
            kvraild->loop.stop = true;
            break;
        }
        log_debug("%s: up", boot_table[up].name);
        up++;
    }
    while (!kvraild->loop.stop)
        loop_turn(&kvraild->loop, -1);
    while (up-- > 0) {
        if (boot_table[up].teardown)
            boot_table[up].teardown(kvraild);
        log_debug("%s: down", boot_table[up].name);
    }
    return kvraild->exit_code;
}
