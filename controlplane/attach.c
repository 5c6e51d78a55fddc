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
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define STEP_MS 2000u
#define FDS_MAX 4u

/* ---- Messages ---------------------------------------------------------------------------------
 */

static bool say(int fd, const void *message, size_t len, const int *fds, unsigned nr_fds)
{
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)message, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (nr_fds > 0) {
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, nr_fds * sizeof(int));
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

/* One message of exactly len bytes. *given: a descriptor beside it, or -1; more are closed, and
 * make it none. */
static bool hear(int fd, void *message, size_t len, int *given)
{
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {message, len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    unsigned nr = 0;
    int last = -1;

    *given = -1;
    if (got < 0)
        return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++, nr++) {
            if (last >= 0)
                close(last);
            memcpy(&last, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        }
    }
    if (nr > 1 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)got != len) {
        if (last >= 0)
            close(last);
        return false;
    }
    *given = last;
    return true;
}

/* ---- One who attaches -------------------------------------------------------------------------
 */

static void let_go(struct attacher *a)
{
    loop_disarm(a->attach->loop, &a->deadline);
    if (a->adding)
        clients_forget_waiter(a->attach->clients, a);
    else
        loop_unwatch(a->attach->loop, a->fd);
    close(a->fd);
    a->fd = -1;
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
    int fds[2] = {attach->index_fd, a->may_write ? attach->arena->data_fd : attach->data_fd};

    a->offered = true;
    if (!say(a->fd, &said, sizeof(said), fds, 2))
        let_go(a);
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
    close(a->fd);
    a->fd = -1;
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
    wish.pidfd = pidfd_open(a->pid, 0);
    wish.fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 3);
    if (wish.pidfd < 0 || wish.fd < 0) {
        close(wish.segment_fd);
        if (wish.fd >= 0)
            close(wish.fd);
        if (wish.pidfd >= 0)
            close(wish.pidfd);
        refuse_segment(a, ESRCH, "the client's process cannot be watched");
        return;
    }
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
        close(a->fd);
        a->fd = -1;
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

static void come(void *owner, short revents)
{
    struct attach *attach = owner;
    int fd = accept4(attach->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer;
    socklen_t len = sizeof(peer);
    struct attacher *a = attach->attachers;

    (void)revents;
    if (fd < 0)
        return;
    while (a < attach->attachers + ATTACHERS_MAX && a->fd >= 0)
        a++;
    if (a == attach->attachers + ATTACHERS_MAX ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
        attach->refused++;
        close(fd);
        return;
    }
    *a = (struct attacher){.attach = attach, .fd = fd, .pid = peer.pid, .uid = peer.uid};
    if (loop_watch(attach->loop, fd, POLLIN, attacher_ready, a) < 0) {
        close(fd);
        a->fd = -1;
        return;
    }
    loop_arm(attach->loop, &a->deadline, STEP_MS, attacher_late, a);
}

static int stale_remove(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    return unlink(path) < 0 ? -errno : 0; /* who holds the control socket's lock owns this one */
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

static int open_for_reading(int fd)
{
    char path[40];
    int opened;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    opened = open(path, O_RDONLY | O_CLOEXEC);
    return opened < 0 ? -errno : opened;
}

static void arena_close_fds(struct attach *attach)
{
    if (attach->index_fd >= 0)
        close(attach->index_fd);
    if (attach->data_fd >= 0)
        close(attach->data_fd);
    attach->index_fd = attach->data_fd = -1;
}

int attach_arena(struct attach *attach)
{
    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        if (attach->attachers[i].fd >= 0)
            let_go(&attach->attachers[i]);
    arena_close_fds(attach);
    /* A memfd can be opened again by whoever may: nobody but its owner. */
    if (fchmod(attach->arena->index_fd, 0600) < 0 || fchmod(attach->arena->data_fd, 0600) < 0)
        return -errno;
    attach->index_fd = open_for_reading(attach->arena->index_fd);
    if (attach->index_fd < 0)
        return attach->index_fd;
    attach->data_fd = open_for_reading(attach->arena->data_fd);
    return attach->data_fd < 0 ? attach->data_fd : 0;
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
                              .index_fd = -1,
                              .data_fd = -1,
                              .address = {.sun_family = AF_UNIX}};
    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        attach->attachers[i].fd = -1;
    if (strlen(path) >= sizeof(attach->address.sun_path))
        return -ENAMETOOLONG;
    strcpy(attach->address.sun_path, path);
    rc = stale_remove(path);
    if (rc == 0)
        rc = attach_arena(attach);
    if (rc == 0)
        rc = listen_on(attach);
    if (rc == 0)
        rc = loop_watch(loop, attach->fd, POLLIN, come, attach);
    if (rc < 0) {
        if (attach->fd >= 0)
            close(attach->fd);
        attach->fd = -1;
        arena_close_fds(attach);
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
    arena_close_fds(attach);
}
