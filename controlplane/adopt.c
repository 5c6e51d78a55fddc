/* SPDX-License-Identifier: Apache-2.0 */
/* Adoption: the talk with a dataplane that an earlier kvraild has left, and what becomes of it.
 * Whoever listens there is believed if it is root's or kvraild's own user's. */
#include "controlplane/adopt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/kvraild.h"
#include "controlplane/seize.h"
#include "dataplane/settings.h"
#include "shm/passing.h"

#define SILENCE_MS 2000u /* so long without a word: it hangs */
#define STOP_MS 5000
#define TERM_MS 2000
#define KILL_MS 5000
#define START_MS 10000u

/* ---- Lines with descriptors -------------------------------------------------------------------
 */

struct talk {
    int fd;
    char bytes[4096];
    size_t len;
    int fds[16]; /* came, and no line has taken them yet */
    unsigned nr_fds;
    uint64_t until_ns;
};

static int talk_receive(struct talk *talk)
{
    struct pollfd pollfd = {.fd = talk->fd, .events = POLLIN};
    uint64_t now = clock_ns();
    struct passed came;
    ssize_t n;

    if (now >= talk->until_ns)
        return -ETIMEDOUT;
    poll(&pollfd, 1, (int)((talk->until_ns - now) / NS_PER_MS) + 1);
    n = passing_receive(talk->fd, talk->bytes + talk->len, sizeof(talk->bytes) - talk->len, &came);
    if (talk->nr_fds + came.nr > sizeof(talk->fds) / sizeof(talk->fds[0])) {
        passing_close(came.fds, came.nr);
        return -EPROTO;
    }
    memcpy(talk->fds + talk->nr_fds, came.fds, came.nr * sizeof(came.fds[0]));
    talk->nr_fds += came.nr;
    if (n == -EAGAIN || n == -EINTR)
        return 0;
    if (n <= 0)
        return n ? (int)n : -EPIPE;
    talk->len += (size_t)n;
    talk->until_ns = clock_ns() + SILENCE_MS * NS_PER_MS;
    return 0;
}

/* The next line, without its end. */
static int talk_line(struct talk *talk, char line[CHILD_LINE_MAX])
{
    const char *end;
    size_t len;
    int rc;

    while (!(end = memchr(talk->bytes, '\n', talk->len))) {
        rc = talk->len == sizeof(talk->bytes) ? -EPROTO : talk_receive(talk);
        if (rc < 0)
            return rc;
    }
    len = (size_t)(end - talk->bytes);
    if (len >= CHILD_LINE_MAX)
        return -EPROTO;
    memcpy(line, talk->bytes, len);
    line[len] = '\0';
    talk->len -= len + 1;
    memmove(talk->bytes, end + 1, talk->len);
    return 0;
}

/* The first descriptors that came, in their order. */
static bool talk_take(struct talk *talk, int *fds, unsigned nr)
{
    if (talk->nr_fds < nr)
        return false;
    memcpy(fds, talk->fds, nr * sizeof(*fds));
    talk->nr_fds -= nr;
    memmove(talk->fds, talk->fds + nr, talk->nr_fds * sizeof(*fds));
    return true;
}

/* ---- What it says -----------------------------------------------------------------------------
 */

static bool take_client(struct talk *talk, struct adoption *found, const char *words)
{
    struct local_spec spec = {0};
    unsigned may_write;
    unsigned long long pinned_max;
    int fds[2];

    if (found->nr_clients == LOCAL_CLIENTS_MAX ||
        sscanf(words, "%u %u %u %u %llu", &spec.id, &spec.pid, &spec.uid, &may_write,
               &pinned_max) != 5 ||
        !talk_take(talk, fds, 2))
        return false;
    spec.may_write = may_write == 1;
    spec.pinned_max = pinned_max;
    spec.segment_fd = fds[0];
    spec.pidfd = fds[1];
    found->clients[found->nr_clients++] = spec;
    return true;
}

static bool take_arena(struct talk *talk, struct adoption *found)
{
    int fds[3];

    if (found->index_fd >= 0 || !talk_take(talk, fds, 3))
        return false;
    found->index_fd = fds[0];
    found->data_fd = fds[1];
    found->roster_fd = fds[2];
    return true;
}

/* A line of it; -EPROTO: it is not one of those that this kvraild knows. */
static int take(struct talk *talk, struct adoption *found, const char *line, bool *last)
{
    int version = 0;

    if (sscanf(line, "adopted %d %63s", &version, found->version) == 2)
        return version == ADOPT_VERSION ? 0 : -EPROTO;
    if (!found->version[0])
        return -EPROTO;
    if (strcmp(line, "arena") == 0)
        return take_arena(talk, found) ? 0 : -EPROTO;
    if (strncmp(line, "client ", 7) == 0)
        return take_client(talk, found, line + 7) ? 0 : -EPROTO;
    if (strncmp(line, "setting ", 8) == 0) {
        if (found->nr_settings < ADOPT_SETTINGS_MAX)
            snprintf(found->settings[found->nr_settings++], CHILD_LINE_MAX, "%s", line + 8);
        return 0;
    }
    *last = strncmp(line, "ready ", 6) == 0;
    if (found->nr_lines < ADOPT_LINES_MAX - 1 || *last)
        snprintf(found->lines[found->nr_lines++], CHILD_LINE_MAX, "%s", line);
    return 0;
}

/* 0; -ETIMEDOUT: it says nothing (more); -EPROTO: it speaks otherwise; -errno. */
static int listen_to(struct adoption *found)
{
    struct talk talk = {.fd = found->ctl, .until_ns = clock_ns() + SILENCE_MS * NS_PER_MS};
    char line[CHILD_LINE_MAX];
    bool last = false;
    int rc = 0;

    while (rc == 0 && !last) {
        rc = talk_line(&talk, line);
        if (rc == 0)
            rc = take(&talk, found, line, &last);
    }
    passing_close(talk.fds, talk.nr_fds);
    if (rc == 0 && found->index_fd < 0)
        rc = -EPROTO;
    return rc;
}

/* ---- What becomes of it -----------------------------------------------------------------------
 */

static void adoption_free(struct adoption *found)
{
    for (unsigned i = 0; i < found->nr_clients; i++) {
        close(found->clients[i].segment_fd);
        close(found->clients[i].pidfd);
    }
    if (found->ctl >= 0)
        close(found->ctl);
    if (found->peer.pidfd >= 0)
        close(found->peer.pidfd);
    if (found->index_fd >= 0) {
        close(found->index_fd);
        close(found->data_fd);
    }
    if (found->roster_fd >= 0)
        close(found->roster_fd);
    free(found);
}

/* Arena and roster become kvraild's. */
static int cache_take(struct kvraild *kvraild, struct adoption *found)
{
    int rc = arena_attach(found->index_fd, found->data_fd, ARENA_READ, &kvraild->arena);

    if (rc) {
        kvraild->arena.sb = NULL;
        return rc;
    }
    found->index_fd = found->data_fd = -1;
    rc = roster_open(found->roster_fd, &kvraild->clients.roster);
    if (rc) {
        memory_teardown(kvraild);
        return rc;
    }
    found->roster_fd = -1;
    return 0;
}

static bool ended_within(const struct adoption *found, int ms)
{
    struct pollfd dead = {.fd = found->peer.pidfd, .events = POLLIN};

    return poll(&dead, 1, ms) > 0;
}

static int end_it(const struct adoption *found, bool kindly)
{
    static const char stop[] = "stop\n";

    if (kindly && found->ctl >= 0 &&
        send(found->ctl, stop, sizeof(stop) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0 &&
        ended_within(found, STOP_MS))
        return 0;
    if (kindly && pidfd_send_signal(found->peer.pidfd, SIGTERM, NULL, 0) == 0 &&
        ended_within(found, TERM_MS))
        return 0;
    pidfd_send_signal(found->peer.pidfd, SIGKILL, NULL, 0);
    return ended_within(found, KILL_MS) ? 0 : -EBUSY;
}

/* It says nothing: its cache is had through the kernel, then it is killed. */
static int seize_it(struct kvraild *kvraild, struct adoption *found)
{
    int rc = seize(found);

    log_warning("the dataplane with pid %d does not answer: it is killed%s", (int)found->peer.pid,
                rc ? "" : ", its cache is kept");
    if (end_it(found, false) < 0)
        return -EBUSY;
    if (rc == 0)
        rc = cache_take(kvraild, found);
    if (rc)
        kvraild_note(kvraild,
                     "the dataplane of the kvraild before did not answer, and its cache could not "
                     "be had (%s): the cache starts empty",
                     strerror(-rc));
    return rc;
}

static const char *refusal(int rc)
{
    return rc == -EPROTO   ? "it is of another version or layout"
           : rc == -EACCES ? "others may write its files"
                           : strerror(-rc);
}

/* Whether there is anything of use in what listens on ctl. */
static int judge(struct kvraild *kvraild, struct adoption *found)
{
    int rc = listen_to(found);

    if (rc == -ETIMEDOUT)
        return seize_it(kvraild, found);
    if (rc == 0)
        rc = cache_take(kvraild, found);
    if (rc == 0) {
        found->living = true;
        return 0;
    }
    kvraild_note(kvraild,
                 "the dataplane with pid %d cannot be adopted: %s; it is stopped, the cache starts "
                 "empty",
                 (int)found->peer.pid, refusal(rc));
    return end_it(found, true) < 0 ? -EBUSY : rc;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

    if (fd < 0)
        return -errno;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    rc = -errno;
    close(fd);
    return rc;
}

int adopt_setup(struct kvraild *kvraild)
{
    struct adoption *found;
    int ctl, rc;

    if (!control_socket_beside(&kvraild->options, "adopt", kvraild->adopt_path,
                               sizeof(kvraild->adopt_path)))
        kvraild->adopt_path[0] = '\0';
    ctl = connect_to(kvraild->adopt_path);
    if (ctl < 0)
        return 0;
    found = calloc(1, sizeof(*found));
    if (!found) {
        close(ctl);
        return -ENOMEM;
    }
    found->ctl = ctl;
    found->index_fd = found->data_fd = found->roster_fd = found->peer.pidfd = -1;
    rc = peer_of(ctl, &found->peer);
    if (rc == 0 && found->peer.uid != 0 && found->peer.uid != geteuid())
        rc = -EPERM;
    if (rc) {
        log_warning("what listens on %s is no dataplane of this kvraild; left alone: %s",
                    kvraild->adopt_path, strerror(-rc));
        adoption_free(found);
        return 0;
    }
    rc = judge(kvraild, found);
    if (rc == 0) {
        kvraild->adoption = found;
        return 0;
    }
    if (rc == -EBUSY)
        log_error("the dataplane with pid %d, which an earlier kvraild has left, does not end",
                  (int)found->peer.pid);
    adoption_free(found);
    return rc == -EBUSY ? rc : 0;
}

void adopt_teardown(struct kvraild *kvraild)
{
    if (kvraild->adoption)
        adoption_free(kvraild->adoption);
    kvraild->adoption = NULL;
}

/* ---- Its second life --------------------------------------------------------------------------
 */

/* What it was started with stays in force until it is restarted, what may change live is sent. */
static void settings_settle(struct kvraild *kvraild, char *setting)
{
    char *value = strchr(setting, ' ');
    const struct option_row *option;
    struct option_value own;
    struct faults faults = {0};
    char wire[OPTION_TEXT_MAX];
    enum option_id id;

    if (!value)
        return;
    *value++ = '\0';
    option = option_find(setting);
    if (!option || !option->dataplane)
        return;
    id = (enum option_id)(option - option_table);
    own = kvraild->options.values[id];
    option_wire(option, &own, wire, sizeof(wire));
    if (id == OPT_hugepages || strcmp(wire, value) == 0)
        return;
    if (option->live)
        live_set(kvraild, id, &own, NULL, 0);
    else if (options_set(&kvraild->options, "", setting, value, SOURCE_LIVE, &faults) == 0)
        log_warning(
            "%s: the adopted dataplane runs with %s; %s takes effect after `kvrail restart`",
            option->name, options_text(&kvraild->options, id), own.text);
    faults_free(&faults);
}

static void arena_compare(struct kvraild *kvraild)
{
    const struct arena *arena = &kvraild->arena;
    uint64_t wished = options_number(&kvraild->options, OPT_cache_size);
    uint64_t slack = arena->nr_partitions * 2 * MIB; /* regions are rounded up */

    if (arena->data_size < wished || arena->data_size > wished + slack ||
        arena->nr_partitions != options_partitions(&kvraild->config.options))
        kvraild_note(kvraild,
                     "the cache that was taken over has %llu MiB in %u partitions; cache_size and "
                     "partitions take effect after `kvrail restart --cold`",
                     (unsigned long long)(arena->data_size / MIB), arena->nr_partitions);
}

/* What else the roster names has ended. */
static void roster_prune(struct roster *roster, const struct adoption *found)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++) {
        uint32_t id = roster->page->rows[i].id;
        unsigned at = 0;

        while (at < found->nr_clients && found->clients[at].id != id)
            at++;
        if (id && at == found->nr_clients)
            roster_remove(roster, id);
    }
}

/* The descriptors become the registry's. */
static void clients_take(struct kvraild *kvraild, struct adoption *found)
{
    struct clients *clients = &kvraild->clients;

    roster_prune(&clients->roster, found);
    for (unsigned i = 0; i < found->nr_clients; i++) {
        const struct local_spec *spec = &found->clients[i];
        const struct roster_row *row = roster_find(&clients->roster, spec->id);
        char name[ATTACH_NAME_MAX];
        struct client_wish wish = {.fd = -1,
                                   .segment_fd = spec->segment_fd,
                                   .pidfd = spec->pidfd,
                                   .id = spec->id,
                                   .pid = (pid_t)spec->pid,
                                   .uid = spec->uid,
                                   .may_write = spec->may_write,
                                   .pinned_max = spec->pinned_max,
                                   .since_wall_ms = row ? row->since_ms : 0,
                                   .name = name};
        int rc;

        snprintf(name, sizeof(name), "%.31s", row ? row->name : "?");
        rc = clients_add(clients, &wish, NULL, NULL);
        if (rc)
            log_warning("client %u (pid %u) cannot be taken over: %s", spec->id, spec->pid,
                        strerror(-rc));
    }
    found->nr_clients = 0;
}

static bool child_take_over(struct kvraild *kvraild, struct adoption *found)
{
    struct child_found process = {.pid = found->peer.pid,
                                  .pidfd = found->peer.pidfd,
                                  .ctl_fd = found->ctl,
                                  .started_ns = kvraild->arena.sb->started_ns,
                                  .start_ms = START_MS,
                                  .term_ms = TERM_MS};
    int rc = child_adopt(&kvraild->child, &process);

    if (rc) {
        log_error("the dataplane with pid %d cannot be watched: %s; it is killed",
                  (int)found->peer.pid, strerror(-rc));
        (void)!end_it(found, false);
        return false;
    }
    found->ctl = found->peer.pidfd = -1;
    return true;
}

bool adopt_finish(struct kvraild *kvraild)
{
    struct adoption *found = kvraild->adoption;
    bool living;

    if (!found)
        return false;
    living = found->living && child_take_over(kvraild, found);
    clients_take(kvraild, found);
    arena_compare(kvraild);
    if (living) {
        log_info("adopted the dataplane with pid %d, up %llu s, with %u clients",
                 (int)kvraild->child.pid,
                 (unsigned long long)((clock_ns() - kvraild->child.started_ns) / NS_PER_S),
                 kvraild->clients.nr);
        if (strcmp(found->version, KVRAIL_VERSION) != 0)
            kvraild_note(kvraild, "the dataplane is of version %s; `kvrail restart` brings %s",
                         found->version, KVRAIL_VERSION);
        for (unsigned i = 0; i < found->nr_lines; i++)
            child_take(&kvraild->child, found->lines[i]);
        for (unsigned i = 0; i < found->nr_settings; i++)
            settings_settle(kvraild, found->settings[i]);
    }
    adopt_teardown(kvraild);
    return living;
}

/* ---- The next one's way in --------------------------------------------------------------------
 */

int adopt_bind(struct kvraild *kvraild)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;
    mode_t mask = umask(0177);
    struct stat st;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", kvraild->adopt_path);
    if (lstat(address.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(address.sun_path);
    rc = fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(mask);
    if (rc == 0)
        return fd;
    kvraild_note(kvraild, "%s cannot be made: %s; no later kvraild can adopt this dataplane",
                 kvraild->adopt_path, strerror(-rc));
    if (fd >= 0)
        close(fd);
    return -1;
}

void adopt_unbind(const struct kvraild *kvraild)
{
    if (kvraild->adopt_path[0])
        unlink(kvraild->adopt_path);
}
