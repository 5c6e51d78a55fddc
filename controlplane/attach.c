/* SPDX-License-Identifier: Apache-2.0 */
/* The server's half of the handshake. Whoever connects may be hostile: each has a time limit for
 * the whole of it, and only so many are listened to at once, those of a user who floods the least.
 */
#include "controlplane/attach.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/kvraild.h"
#include "controlplane/passing.h"

#define HANDSHAKE_MS 2000u
#define BACKLOG 64
#define SLOTS_UNIT 64u

struct attacher {
    struct kvraild *kvraild;
    int conn;
    struct peer peer;
    bool offered; /* its segment is awaited, else its hello */
    bool may_write;
    uint64_t pinned_max, order;
    char name[ATTACH_NAME_MAX];
    struct timer deadline;
};

/* Lets go of it, but not of the descriptors that keep says are somebody else's now. */
static void attacher_free(struct attacher *attacher, bool keep)
{
    struct attach *attach = &attacher->kvraild->attach;

    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        if (attach->half[i] == attacher)
            attach->half[i] = NULL;
    loop_disarm(&attacher->kvraild->loop, &attacher->deadline);
    loop_unwatch(&attacher->kvraild->loop, attacher->conn);
    if (!keep) {
        close(attacher->conn);
        close(attacher->peer.pidfd);
    }
    free(attacher);
}

static void attacher_late(void *owner)
{
    attacher_free(owner, false);
}

/* ---- What is said -----------------------------------------------------------------------------
 */

void attach_done_send(int conn, uint32_t status, uint32_t id, const char *text)
{
    struct attach_done done = {
        .magic = ATTACH_MAGIC, .version = ATTACH_VERSION, .status = status, .id = id};

    if (conn < 0)
        return;
    snprintf(done.text, sizeof(done.text), "%s", text);
    /* Whoever does not read it sees the end of the connection. */
    (void)!passing_send(conn, &done, sizeof(done), NULL, 0);
}

__attribute__((format(printf, 3, 4))) static void refuse(struct attacher *attacher, uint32_t status,
                                                         const char *format, ...)
{
    struct attach_offer offer = {
        .magic = ATTACH_MAGIC, .version = ATTACH_VERSION, .status = status};
    va_list args;

    va_start(args, format);
    vsnprintf(offer.text, sizeof(offer.text), format, args);
    va_end(args);
    log_info("client %s, pid %d, user %u turned away: %s", attacher->name, (int)attacher->peer.pid,
             (unsigned)attacher->peer.uid, offer.text);
    (void)!passing_send(attacher->conn, &offer, sizeof(offer), NULL, 0);
    attacher_free(attacher, false);
}

static bool write_granted(const struct kvraild *kvraild, uid_t uid)
{
    const char *who = options_text(&kvraild->options, OPT_local_write);

    if (strcmp(who, "owner") == 0)
        return uid == 0 || uid == geteuid();
    return strcmp(who, "all") == 0;
}

static void offer_send(struct attacher *attacher, bool wished)
{
    struct kvraild *kvraild = attacher->kvraild;
    const struct options *options = &kvraild->options;
    struct attach_offer offer = {
        .magic = ATTACH_MAGIC,
        .version = ATTACH_VERSION,
        .slots_max = (uint32_t)options_number(options, OPT_client_slots) / SLOTS_UNIT * SLOTS_UNIT,
        .pinned_max = kvraild->arena.data_size / 100 * options_number(options, OPT_client_pinned),
        .arena_id = kvraild->arena.sb->arena_id};
    int fds[2], rc;

    attacher->may_write = wished && write_granted(kvraild, attacher->peer.uid);
    attacher->pinned_max = offer.pinned_max;
    offer.rights = attacher->may_write ? ATTACH_WRITE : ATTACH_READ;
    rc = arena_lend(&kvraild->arena, attacher->may_write ? ARENA_WRITE_DATA : ARENA_READ, &fds[0],
                    &fds[1]);
    if (rc) {
        refuse(attacher, (uint32_t)-rc, "the cache cannot be handed over: %s", strerror(-rc));
        return;
    }
    attacher->offered = true;
    if (passing_send(attacher->conn, &offer, sizeof(offer), fds, 2) < 0)
        attacher_free(attacher, false);
    passing_close(fds, 2);
}

/* ---- What is heard ----------------------------------------------------------------------------
 */

/* For people to read, so nothing that could do things to a terminal. */
static void name_take(struct attacher *attacher, const char name[ATTACH_NAME_MAX])
{
    unsigned len = 0;

    for (; len + 1 < ATTACH_NAME_MAX && name[len]; len++)
        attacher->name[len] = (char)(isprint((unsigned char)name[len]) ? name[len] : '?');
    attacher->name[len] = '\0';
}

static void hello_take(struct attacher *attacher, const struct attach_hello *hello)
{
    struct kvraild *kvraild = attacher->kvraild;

    if (hello->magic != ATTACH_MAGIC) {
        attacher_free(attacher, false); /* it speaks of something else */
        return;
    }
    name_take(attacher, hello->name);
    if (hello->version != ATTACH_VERSION || hello->arena_version != ARENA_VERSION)
        refuse(attacher, EPROTO,
               "the client library speaks version %u and knows arenas of version %u, kvraild %u "
               "and %u",
               hello->version, hello->arena_version, ATTACH_VERSION, ARENA_VERSION);
    else if (hello->wish > ATTACH_WRITE)
        refuse(attacher, EINVAL, "there is no right %u", hello->wish);
    else if (kvraild->stopping)
        refuse(attacher, EAGAIN, "kvraild is stopping");
    else if (clients_count(kvraild) >= options_number(&kvraild->options, OPT_clients_max))
        refuse(attacher, EBUSY, "as many clients as clients_max allows are attached already");
    else
        offer_send(attacher, hello->wish == ATTACH_WRITE);
}

static void segment_take(struct attacher *attacher, const struct attach_segment *message, int fd)
{
    struct newcomer newcomer = {.peer = attacher->peer,
                                .conn = attacher->conn,
                                .segment_fd = fd,
                                .may_write = attacher->may_write,
                                .asymmetric = message->asymmetric == 1,
                                .pinned_max = attacher->pinned_max};
    struct kvraild *kvraild = attacher->kvraild;
    char name[ATTACH_NAME_MAX];

    memcpy(name, attacher->name, sizeof(name));
    newcomer.name = name;
    attacher_free(attacher, true);
    clients_join(kvraild, &newcomer);
}

static void attacher_ready(void *owner, short revents)
{
    struct attacher *attacher = owner;
    union {
        struct attach_hello hello;
        struct attach_segment segment;
    } message;
    int fds[PASSING_MAX];
    unsigned nr = 0;
    ssize_t n = passing_receive(attacher->conn, &message, sizeof(message), fds, &nr);

    (void)revents;
    if (n == -EAGAIN || n == -EINTR)
        return;
    if (!attacher->offered && n == sizeof(message.hello) && nr == 0) {
        hello_take(attacher, &message.hello);
    } else if (attacher->offered && n == sizeof(message.segment) && nr == 1 &&
               message.segment.magic == ATTACH_MAGIC && message.segment.version == ATTACH_VERSION) {
        segment_take(attacher, &message.segment, fds[0]);
    } else {
        passing_close(fds, nr);
        attacher_free(attacher, false);
    }
}

/* ---- Who comes --------------------------------------------------------------------------------
 */

static unsigned count_of(const struct attach *attach, uid_t uid)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        nr += attach->half[i] && attach->half[i]->peer.uid == uid;
    return nr;
}

/* A place for one more: that of the oldest of the user who has most of them. */
static unsigned place_make(struct attach *attach)
{
    unsigned worst = ATTACHERS_MAX;

    for (unsigned i = 0; i < ATTACHERS_MAX; i++) {
        const struct attacher *one = attach->half[i], *than;
        unsigned own, his;

        if (!one)
            return i;
        than = worst < ATTACHERS_MAX ? attach->half[worst] : NULL;
        own = count_of(attach, one->peer.uid);
        his = than ? count_of(attach, than->peer.uid) : 0;
        if (own > his || (own == his && one->order < than->order))
            worst = i;
    }
    attacher_free(attach->half[worst], false);
    return worst;
}

static void attacher_come(void *owner, short revents)
{
    struct kvraild *kvraild = owner;
    struct attach *attach = &kvraild->attach;
    static uint64_t orders;
    int conn = accept4(attach->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct attacher *attacher;
    struct peer peer;

    (void)revents;
    if (conn < 0)
        return;
    if (peer_of(conn, &peer) < 0) {
        close(conn); /* it has ended, or could not be watched */
        return;
    }
    attacher = calloc(1, sizeof(*attacher));
    if (attacher) {
        *attacher = (struct attacher){
            .kvraild = kvraild, .conn = conn, .peer = peer, .order = orders++, .name = "?"};
        if (loop_watch(&kvraild->loop, conn, POLLIN, attacher_ready, attacher) == 0) {
            attach->half[place_make(attach)] = attacher;
            loop_arm(&kvraild->loop, &attacher->deadline, HANDSHAKE_MS, attacher_late, attacher);
            return;
        }
    }
    free(attacher);
    close(peer.pidfd);
    close(conn);
}

/* ---- Open, close ------------------------------------------------------------------------------
 */

static int listen_on(struct attach *attach, unsigned mode)
{
    const struct sockaddr *address = (const struct sockaddr *)&attach->address;
    int rc = ctl_stale_remove(&attach->address, SOCK_SEQPACKET);
    mode_t mask;

    if (rc < 0)
        return rc;
    mask = umask(~mode & 0777); /* these permissions from the first instant on */
    attach->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (attach->fd < 0 || bind(attach->fd, address, sizeof(attach->address)) < 0 ||
        listen(attach->fd, BACKLOG) < 0)
        rc = -errno;
    umask(mask);
    return rc;
}

static int open_at(struct kvraild *kvraild, const char *path)
{
    struct attach *attach = &kvraild->attach;
    unsigned mode;
    int rc;

    if (!local_socket_mode(&kvraild->options, &mode) ||
        strlen(path) >= sizeof(attach->address.sun_path))
        return -EINVAL;
    strcpy(attach->address.sun_path, path);
    rc = listen_on(attach, mode);
    if (rc == 0)
        rc = loop_watch(&kvraild->loop, attach->fd, POLLIN, attacher_come, kvraild);
    if (rc < 0 && attach->fd >= 0) {
        close(attach->fd);
        attach->fd = -1;
    }
    return rc;
}

int attach_setup(struct kvraild *kvraild)
{
    const char *given = options_text(&kvraild->options, OPT_local_socket);
    char path[2 * OPTION_TEXT_MAX];
    int rc;

    kvraild->attach = (struct attach){.fd = -1, .address = {.sun_family = AF_UNIX}};
    if (*given)
        snprintf(path, sizeof(path), "%s", given);
    else if (!control_socket_beside(&kvraild->options, "local", path, sizeof(path))) {
        log_error("local_socket: %s is too long; set it", path);
        return -ENAMETOOLONG;
    }
    rc = open_at(kvraild, path);
    if (rc == -EADDRINUSE)
        log_error("local_socket: somebody else listens on %s; choose another", path);
    else if (rc == -ENOTSOCK)
        log_error("local_socket: something else is at %s, not a socket; it is left alone", path);
    else if (rc < 0)
        log_error("local_socket: %s cannot be opened: %s", path, strerror(-rc));
    return rc;
}

void attach_teardown(struct kvraild *kvraild)
{
    struct attach *attach = &kvraild->attach;

    for (unsigned i = 0; i < ATTACHERS_MAX; i++)
        if (attach->half[i])
            attacher_free(attach->half[i], false);
    if (attach->fd < 0)
        return;
    loop_unwatch(&kvraild->loop, attach->fd);
    unlink(attach->address.sun_path);
    close(attach->fd);
    attach->fd = -1;
}
