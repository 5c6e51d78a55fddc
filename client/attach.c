/* SPDX-License-Identifier: Apache-2.0 */
/* The client's half of the handshake. What comes from the socket is believed after it was checked:
 * sizes, magic, rights; the arena by arena_attach. Every wait ends at one deadline. */
#include "client/attach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/attach.h"
#include "shm/passing.h"

#define SLOTS_UNIT 64u
/* Two of the largest values; only what is used takes memory. */
#define STAGING_BYTES (128ull << 20)
#define CONNECT_STEP_NS (NS_PER_MS)

struct handshake {
    int socket, fds[2];
    uint64_t until_ns;
    struct attach_offer offer;
    struct mount *mount;
};

/* Until the socket is ready, or the time is over. */
static bool wait_for(const struct handshake *h, short events)
{
    struct pollfd pollfd = {.fd = h->socket, .events = events};
    uint64_t now_ns;

    while ((now_ns = clock_ns()) < h->until_ns) {
        uint64_t left_ns = h->until_ns - now_ns;
        struct timespec left = {(time_t)(left_ns / NS_PER_S), (long)(left_ns % NS_PER_S)};
        int n = ppoll(&pollfd, 1, &left, NULL);

        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
    return false;
}

/* A socket whose listener has a full queue says EAGAIN. */
static enum kvr_status connect_to(struct handshake *h, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    h->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (h->socket < 0)
        return errno == ENOMEM ? KVR_NO_MEMORY : KVR_UNREACHABLE;
    while (connect(h->socket, (struct sockaddr *)&address, sizeof(address)) != 0) {
        struct timespec pause = {.tv_nsec = (long)CONNECT_STEP_NS};

        if (errno == EACCES || errno == EPERM)
            return KVR_DENIED;
        if ((errno != EAGAIN && errno != EINTR) || clock_ns() >= h->until_ns)
            return KVR_UNREACHABLE;
        nanosleep(&pause, NULL);
    }
    return KVR_OK;
}

bool attach_say(int socket, const void *message, size_t len, int fd)
{
    ssize_t n = passing_send(socket, message, len, &fd, fd >= 0);

    if (n < 0)
        errno = (int)-n;
    return n == (ssize_t)len;
}

/* fd: sent along, unless it is -1. */
static bool say(const struct handshake *h, const void *message, size_t len, int fd)
{
    while (wait_for(h, POLLOUT)) {
        if (attach_say(h->socket, message, len, fd))
            return true;
        if (errno != EAGAIN && errno != EINTR)
            return false;
    }
    return false;
}

/* Keeps up to two descriptors; whatever else comes is closed. */
static void take_fds(struct handshake *h, const struct passed *came)
{
    for (unsigned i = 0; i < came->nr; i++) {
        if (i < 2 && h->fds[i] < 0)
            h->fds[i] = came->fds[i];
        else
            close(came->fds[i]);
    }
}

/* One message of exactly len bytes. *nr_fds: how many descriptors came beside it. */
static enum kvr_status hear(struct handshake *h, void *message, size_t len, unsigned *nr_fds)
{
    struct passed came;
    ssize_t n;

    do {
        if (!wait_for(h, POLLIN))
            return KVR_UNREACHABLE;
        n = passing_receive(h->socket, message, len, &came);
    } while (n == -EAGAIN || n == -EINTR);
    take_fds(h, &came);
    *nr_fds = came.nr;
    if (n == -EMSGSIZE)
        return KVR_PROTOCOL;
    if (n <= 0)
        return KVR_UNREACHABLE;
    return (size_t)n != len || came.cut ? KVR_PROTOCOL : KVR_OK;
}

static enum kvr_status refusal(uint32_t error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return KVR_DENIED;
    case EPROTO:
        return KVR_BAD_VERSION;
    default:
        return KVR_UNREACHABLE;
    }
}

static enum kvr_status take_offer(struct handshake *h, uint32_t wished)
{
    struct attach_offer *offer = &h->offer;
    unsigned nr_fds = 0;
    enum kvr_status status = hear(h, offer, sizeof(*offer), &nr_fds);

    if (status != KVR_OK)
        return status;
    if (offer->magic != ATTACH_MAGIC)
        return KVR_PROTOCOL;
    if (offer->version != ATTACH_VERSION)
        return KVR_BAD_VERSION;
    if (offer->status != 0)
        return refusal(offer->status);
    if (nr_fds != 2 || offer->rights > wished || offer->slots_max < SLOTS_UNIT)
        return KVR_PROTOCOL;
    return KVR_OK;
}

/* Whom the other end belongs to: he could shrink files of his own, but he is the server. */
static uid_t owner_of(const struct handshake *h)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof(peer);

    return getsockopt(h->socket, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 ? peer.uid : getuid();
}

static enum kvr_status map_arena(struct handshake *h)
{
    struct mount *mount = h->mount;
    bool write = h->offer.rights == ATTACH_WRITE;
    int rc = arena_attach_from(owner_of(h), h->fds[0], h->fds[1],
                               write ? ARENA_WRITE_DATA : ARENA_READ, &mount->arena);

    if (rc == -EPROTO)
        return KVR_BAD_VERSION;
    if (rc == -ENOMEM)
        return KVR_NO_MEMORY;
    if (rc < 0) {
        mount->arena.sb = NULL;
        return KVR_PROTOCOL;
    }
    h->fds[0] = h->fds[1] = -1; /* the arena's */
    mount->may_write = write;
    mount->seed = mount->arena.sb->seed;
    mount->boot_id = shared_load(&mount->arena.sb->boot_id);
    return mount->arena.sb->arena_id == h->offer.arena_id ? KVR_OK : KVR_PROTOCOL;
}

/* One slot more than values may be held: for copies. */
static enum kvr_status make_segment(struct handshake *h, uint32_t held_max, bool asymmetric)
{
    struct mount *mount = h->mount;
    uint32_t most = h->offer.slots_max < SEGMENT_SLOTS_MAX ? h->offer.slots_max : SEGMENT_SLOTS_MAX;
    uint32_t slots = held_max < most ? held_max + 1 : most;
    struct segment_spec spec = {.nr_partitions = mount->arena.nr_partitions,
                                .staging_size = mount->may_write ? 0 : STAGING_BYTES};

    spec.nr_slots = (slots + SLOTS_UNIT - 1) / SLOTS_UNIT * SLOTS_UNIT;
    if (spec.nr_slots > most)
        spec.nr_slots = most / SLOTS_UNIT * SLOTS_UNIT;
    mount->held_max = held_max < spec.nr_slots ? held_max : spec.nr_slots - 1;
    mount->pinned_max = h->offer.pinned_max;
    if (segment_create(&spec, h->offer.arena_id, &mount->segment) != 0 ||
        hazards_open(&mount->hazards, &mount->segment, asymmetric) != 0)
        return KVR_NO_MEMORY;
    for (unsigned p = 0; p < spec.nr_partitions; p++)
        mount->rings[p] = segment_rings_of(&mount->segment, p);
    staging_setup(&mount->staging, mount->segment.staging, spec.staging_size);
    memset(mount->tickets, 0xff, sizeof(mount->tickets));
    /* A child that wrote into its parent's segment would let go of what the parent holds. */
    (void)madvise(mount->segment.header, mount->segment.size, MADV_DONTFORK);
    (void)madvise(mount->arena.sb, mount->arena.index_size, MADV_DONTFORK);
    (void)madvise(mount->arena.data, mount->arena.data_size, MADV_DONTFORK);
    return KVR_OK;
}

static enum kvr_status hand_over(struct handshake *h, bool asymmetric)
{
    struct attach_segment word = {
        .magic = ATTACH_MAGIC, .version = ATTACH_VERSION, .asymmetric = asymmetric};
    struct attach_done done;
    enum kvr_status status;
    unsigned nr_fds = 0;

    if (!say(h, &word, sizeof(word), h->mount->segment.fd))
        return KVR_UNREACHABLE;
    status = hear(h, &done, sizeof(done), &nr_fds);
    if (status != KVR_OK)
        return status;
    if (nr_fds != 0 || done.magic != ATTACH_MAGIC || done.version != ATTACH_VERSION)
        return KVR_PROTOCOL;
    if (done.status != 0)
        return refusal(done.status);
    if (done.id == 0 || done.id > CLIENT_ID_MAX)
        return KVR_PROTOCOL;
    h->mount->id = done.id;
    return KVR_OK;
}

static enum kvr_status shake(struct handshake *h, const char *path, const struct attach_wish *wish)
{
    struct attach_hello hello = {.magic = ATTACH_MAGIC,
                                 .version = ATTACH_VERSION,
                                 .arena_version = ARENA_VERSION,
                                 .wish = wish->read_only ? ATTACH_READ : ATTACH_WRITE};
    const char *name = wish->name ? wish->name : program_invocation_short_name;
    enum kvr_status status = connect_to(h, path);
    bool asymmetric;

    if (status != KVR_OK)
        return status;
    strncpy(hello.name, name, sizeof(hello.name) - 1);
    if (!say(h, &hello, sizeof(hello), -1))
        return KVR_UNREACHABLE;
    status = take_offer(h, hello.wish);
    if (status == KVR_OK)
        status = map_arena(h);
    if (status != KVR_OK)
        return status;
    asymmetric = hazards_register();
    status = make_segment(h, wish->held_max, asymmetric);
    return status == KVR_OK ? hand_over(h, asymmetric) : status;
}

enum kvr_status attach(const char *path, const struct attach_wish *wish, uint64_t until_ns,
                       struct mount **out)
{
    struct handshake h = {.socket = -1, .fds = {-1, -1}, .until_ns = until_ns};
    enum kvr_status status;

    h.mount = calloc(1, sizeof(*h.mount));
    if (!h.mount)
        return KVR_NO_MEMORY;
    h.mount->socket = -1;
    h.mount->segment.fd = -1;
    status = shake(&h, path, wish);
    for (unsigned i = 0; i < 2; i++)
        if (h.fds[i] >= 0)
            close(h.fds[i]);
    h.mount->socket = h.socket;
    if (status != KVR_OK)
        mount_close(h.mount, false);
    else
        *out = h.mount;
    return status;
}
