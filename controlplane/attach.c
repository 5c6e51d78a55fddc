/* SPDX-License-Identifier: Apache-2.0 */
/* kvraild's half of the handshake: who it is comes from the kernel, what it says is checked, and no
 * step may take long. The index is given for reading only, the values too unless the client may
 * write: through descriptors that were opened so, of files that only their owner may open again. */
#include "controlplane/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/ctl.h"
#include "controlplane/peer.h"
#include "shm/passing.h"

#define STEP_MS 2000u

/* ---- Messages ---------------------------------------------------------------------------------
 */

static bool say(int fd, const void *message, size_t len, const int *fds, unsigned nr_fds)
{
    return passing_send(fd, message, len, fds, nr_fds) == (ssize_t)len;
}

/* One message of exactly len bytes. *given: the descriptor beside it, or -1; several are closed,
 * and make it no message. */
static bool hear(int fd, void *message, size_t len, int *given)
{
    struct passed came;
    ssize_t got = passing_receive(fd, message, len, &came);

    *given = -1;
    if (got != (ssize_t)len || came.nr > 1) {
        passing_close(came.fds, came.nr);
        return false;
    }
    if (came.nr)
        *given = came.fds[0];
    return true;
}

/* ---- One who attaches -------------------------------------------------------------------------
 */

static void free_entry(struct attacher *a)
{
    close(a->fd);
    if (a->pidfd >= 0)
        close(a->pidfd);
    a->fd = a->pidfd = -1;
}

static void let_go(struct attacher *a)
{
    loop_disarm(a->attach->loop, &a->deadline);
    if (a->adding)
        clients_forget_waiter(a->attach->clients, a);
    else
        loop_unwatch(a->attach->loop, a->fd);
    free_entry(a);
}

static void refuse_offer(struct attacher *a, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void refuse_offer(struct attacher *a, int error, const char *format, ...)
{
    struct attach_offer offer = {
        .magic = ATTACH_MAGIC, .version = ATTACH_VERSION, .status = (uint32_t)error};
    va_list args;

    va_start(args, format);
    vsnprintf(offer.text, sizeof(offer.text), format, args);
    va_end(args);
    a->attach->refused++;
    log_warning("local client (pid %d, uid %d) refused: %s", (int)a->pid, (int)a->uid, offer.text);
    (void)say(a->fd, &offer, sizeof(offer), NULL, 0);
    let_go(a);
}

static void say_done(int fd, uint32_t id, int error, const char *text)
{
    struct attach_done done = {
        .magic = ATTACH_MAGIC, .version = ATTACH_VERSION, .status = (uint32_t)error, .id = id};

    snprintf(done.text, sizeof(done.text), "%s", text);
    (void)say(fd, &done, sizeof(done), NULL, 0);
}

static void refuse_segment(struct attacher *a, int error, const char *text)
{
    a->attach->refused++;
    log_warning("local client (pid %d, uid %d) refused: %s", (int)a->pid, (int)a->uid, text);
    say_done(a->fd, 0, error, text);
    let_go(a);
}

static bool write_allowed(const struct attach *attach, uid_t uid)
{
    bool owner = uid == 0 || uid == geteuid();

    switch (attach->rules.write) {
    case ATTACH_WRITE_ALL:
        return owner || !attach->rules.write_owner_only;
    case ATTACH_WRITE_OWNER:
        return owner;
    default:
        return false;
    }
}

static void offer(struct attacher *a)
{
    struct attach *attach = a->attach;
    struct attach_offer said = {
        .magic = ATTACH_MAGIC,
        .version = ATTACH_VERSION,
        .rights = a->may_write ? ATTACH_WRITE : ATTACH_READ,
        .slots_max = attach->rules.slots_max,
        .pinned_max = attach->rules.pinned_max,
        .arena_id = attach->arena->sb->arena_id,
    };
    int fds[2];
    int rc =
        arena_lend(attach->arena, a->may_write ? ARENA_WRITE_DATA : ARENA_READ, &fds[0], &fds[1]);

    if (rc < 0) {
        refuse_offer(a, -rc, "the cache cannot be handed over: %s", strerror(-rc));
        return;
    }
    a->offered = true;
    if (!say(a->fd, &said, sizeof(said), fds, 2))
        let_go(a);
    passing_close(fds, 2);
}

static void take_hello(struct attacher *a)
{
    struct attach_hello hello;
    int given;

    if (!hear(a->fd, &hello, sizeof(hello), &given) || given >= 0) {
        if (given >= 0)
            close(given);
        refuse_offer(a, EPROTO, "no greeting that this kvraild knows");
        return;
    }
    if (hello.magic != ATTACH_MAGIC || hello.version != ATTACH_VERSION ||
        hello.arena_version != ARENA_VERSION) {
        refuse_offer(a, EPROTO, "client and kvraild are of different versions");
        return;
    }
    if (a->attach->clients->nr >= a->attach->rules.clients_max) {
        refuse_offer(a, EBUSY, "clients_max: %u clients are attached already",
                     a->attach->rules.clients_max);
        return;
    }
    memcpy(a->name, hello.name, sizeof(a->name));
    a->name[sizeof(a->name) - 1] = '\0';
    for (char *c = a->name; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    a->may_write = hello.wish == ATTACH_WRITE && write_allowed(a->attach, a->uid);
    offer(a);
}

static void added(void *waiter, uint32_t id, const char *error)
{
    struct attacher *a = waiter;

    /* The connection itself is the client's by now, as a copy. */
    say_done(a->fd, id, error ? EIO : 0, error ? error : "");
    free_entry(a);
}

static void take_segment(struct attacher *a)
{
    struct client_wish wish = {.fd = a->fd,
                               .segment_fd = -1,
                               .pid = a->pid,
                               .uid = a->uid,
                               .may_write = a->may_write,
                               .pinned_max = a->attach->rules.pinned_max,
                               .name = a->name};
    struct attach_segment segment;
    int rc;

    if (!hear(a->fd, &segment, sizeof(segment), &wish.segment_fd) || wish.segment_fd < 0 ||
        segment.magic != ATTACH_MAGIC || segment.version != ATTACH_VERSION) {
        if (wish.segment_fd >= 0)
            close(wish.segment_fd);
        refuse_segment(a, EPROTO, "no segment");
        return;
    }
    wish.pidfd = a->pidfd;
    wish.fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 3);
    if (wish.fd < 0) {
        close(wish.segment_fd);
        refuse_segment(a, EMFILE, "kvraild has too many open files");
        return;
    }
    a->pidfd = -1;
    loop_unwatch(a->attach->loop, a->fd);
    a->adding = true;
    loop_disarm(a->attach->loop, &a->deadline);
    rc = clients_add(a->attach->clients, &wish, added, a);
    if (rc < 0) {
        char text[ATTACH_TEXT_MAX];

        snprintf(text, sizeof(text), "its segment cannot be used: %s", strerror(-rc));
        a->attach->refused++;
        log_warning("local client (pid %d, uid %d) refused: %s", (int)a->pid, (int)a->uid, text);
        say_done(a->fd, 0, rc == -EPROTO ? EPROTO : EINVAL, text);
        free_entry(a);
    }
}

static void attacher_ready(void *owner, short revents)
{
    struct attacher *a = owner;

    if (!(revents & POLLIN))
        let_go(a);
    else if (a->offered)
        take_segment(a);
    else
        take_hello(a);
}

static void attacher_late(void *owner)
{
    struct attacher *a = owner;

    a->attach->late++;
    let_go(a);
}

/* ---- The socket -------------------------------------------------------------------------------
 */

static unsigned count_of(const struct attach *attach, uid_t uid)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        nr += attach->attachers[i].fd >= 0 && attach->attachers[i].uid == uid;
    return nr;
}

/* An entry for one more: if there is none, that of the oldest of the user who has most of them, so
 * that nobody keeps others out. NULL: all of them wait for the dataplane. */
static struct attacher *entry_make(struct attach *attach)
{
    struct attacher *worst = NULL;

    for (struct attacher *a = attach->attachers; a < attach->attachers + ATTACHERS_MAX; a++) {
        unsigned his, most = worst ? count_of(attach, worst->uid) : 0;

        if (a->fd < 0)
            return a;
        his = count_of(attach, a->uid);
        if (!a->adding && (his > most || (his == most && a->order < worst->order)))
            worst = a;
    }
    if (worst) {
        attach->late++;
        let_go(worst);
    }
    return worst;
}

static void come(void *owner, short revents)
{
    struct attach *attach = owner;
    int fd = accept4(attach->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct attacher *a;
    struct peer peer;

    (void)revents;
    if (fd < 0)
        return;
    if (peer_of(fd, &peer) < 0) {
        attach->refused++;
        close(fd); /* its process has ended, or cannot be watched from here */
        return;
    }
    a = entry_make(attach);
    if (!a || loop_watch(attach->loop, fd, POLLIN, attacher_ready, a) < 0) {
        attach->refused++;
        close(peer.pidfd);
        close(fd);
        return;
    }
    *a = (struct attacher){.attach = attach,
                           .fd = fd,
                           .pidfd = peer.pidfd,
                           .pid = peer.pid,
                           .uid = peer.uid,
                           .order = attach->orders++};
    loop_arm(attach->loop, &a->deadline, STEP_MS, attacher_late, a);
}

static int listen_on(struct attach *attach)
{
    static const mode_t masks[] = {
        [ATTACH_MODE_OWNER] = 0177, [ATTACH_MODE_GROUP] = 0117, [ATTACH_MODE_ALL] = 0111};
    mode_t before = umask(masks[attach->rules.mode]);
    int rc = 0;

    attach->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (attach->fd < 0 ||
        bind(attach->fd, (const struct sockaddr *)&attach->address, sizeof(attach->address)) < 0 ||
        listen(attach->fd, 64) < 0)
        rc = -errno;
    umask(before);
    return rc;
}

void attach_arena(struct attach *attach)
{
    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        if (attach->attachers[i].fd >= 0)
            let_go(&attach->attachers[i]);
}

int attach_open(struct attach *attach, struct loop *loop, struct clients *clients,
                const struct arena *arena, const struct attach_rules *rules, const char *path)
{
    int rc;

    *attach = (struct attach){.loop = loop,
                              .clients = clients,
                              .arena = arena,
                              .rules = *rules,
                              .fd = -1,
                              .address = {.sun_family = AF_UNIX}};
    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        attach->attachers[i].fd = -1;
    if (strlen(path) >= sizeof(attach->address.sun_path))
        return -ENAMETOOLONG;
    strcpy(attach->address.sun_path, path);
    rc = ctl_stale_remove(&attach->address, SOCK_SEQPACKET);
    if (rc == 0)
        rc = listen_on(attach);
    if (rc == 0)
        rc = loop_watch(loop, attach->fd, POLLIN, come, attach);
    if (rc < 0) {
        if (attach->fd >= 0)
            close(attach->fd);
        attach->fd = -1;
    }
    return rc;
}

void attach_close(struct attach *attach)
{
    if (attach->fd < 0)
        return;
    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        if (attach->attachers[i].fd >= 0)
            let_go(&attach->attachers[i]);
    loop_unwatch(attach->loop, attach->fd);
    unlink(attach->address.sun_path);
    close(attach->fd);
    attach->fd = -1;
}
