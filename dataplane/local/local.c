/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of clients on this host. Main thread. Invariant: memory that a poll core or the copy
 * worker may still look at is neither unmapped nor freed (client.h says who tells whom). */
#include "dataplane/local/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "dataplane/local/client.h"
#include "dataplane/local/copy.h"
#include "dataplane/session.h"
#include "shm/attach.h"
#include "shm/words.h"

#define OVER_NS NS_PER_S /* holding too much for so long ends a client */
#define COPIES_CAPACITY 16384u

_Static_assert(COPIES_CAPACITY >= LOCAL_CLIENTS_MAX * (SIDE_STORES + SIDE_MOVES),
               "a ring takes all stores and sums");

static void port_destroy(struct port *port)
{
    if (port)
        spsc_destroy(&port->copies);
    free(port);
}

static int port_create(struct local *local, unsigned index, struct port **out)
{
    struct port *port = aligned_alloc(CACHE_LINE, sizeof(*port));

    if (!port)
        return -ENOMEM;
    memset(port, 0, sizeof(*port));
    port->transport = (struct transport){
        .ops = &rings_ops, .max_datagram = REPLY_MAX_64 * 64u, .zero_copy_min = UINT32_MAX};
    port->local = local;
    port->index = index;
    if (spsc_create(&port->copies, COPIES_CAPACITY) < 0) {
        free(port);
        return -ENOMEM;
    }
    *out = port;
    return 0;
}

static int start_copier(struct local *local)
{
    struct spsc *rings[KVR_PARTITIONS_MAX];

    for (unsigned i = 0; i < local->nr_cores; i++)
        rings[i] = &local->ports[i]->copies;
    return copier_create(&local->arena->sb->copy, &local->present, rings, local->nr_cores,
                         &local->copier);
}

int local_create(struct arena *arena, struct reclaimer *reclaimer, unsigned nr_cores,
                 struct local **out)
{
    size_t size = sizeof(struct local) + nr_cores * sizeof(struct port *);
    struct local *local =
        aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    int rc = 0;

    if (!local)
        return -ENOMEM;
    memset(local, 0, size);
    local->arena = arena;
    local->reclaimer = reclaimer;
    local->nr_cores = nr_cores;
    local->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (local->epoll_fd < 0)
        rc = -errno;
    for (unsigned i = 0; i < nr_cores && rc == 0; i++)
        rc = port_create(local, i, &local->ports[i]);
    if (rc == 0)
        rc = start_copier(local);
    if (rc < 0) {
        local_destroy(local);
        return rc;
    }
    *out = local;
    return 0;
}

void side_destroy(struct side *side)
{
    if (!side)
        return;
    session_table_destroy(side->sessions);
    free(side->moves);
    free(side->rings);
    free(side->buffers);
    free(side);
}

static void fill_buffers(struct side *side, const struct client *client)
{
    struct peer peer = {.port = (uint16_t)client->slot};

    for (unsigned i = 0; i < 4; i++)
        peer.ip[12 + i] = (uint8_t)(client->spec.id >> (24 - 8 * i)); /* for the list of errors */
    side->free = (1u << SIDE_BUFFERS) - 1;
    for (unsigned i = 0; i < SIDE_BUFFERS; i++) {
        struct buffer *buffer = &side->buffers[i];

        buffer->home = side;
        buffer->request.frame = buffer;
        buffer->request.msg = buffer->bytes;
        buffer->request.local = (uint8_t)(client->slot + 1);
        buffer->request.peer = peer;
    }
}

/* Indexes go on from where they are: the client may have been here before this process was. */
static void fill_rings(const struct local *local, struct side *side, unsigned core)
{
    for (unsigned i = 0; i < side->nr_rings; i++) {
        struct ring *ring = &side->rings[i];

        ring->at = segment_rings_of(&side->client->segment, core + i * local->nr_cores);
        ring->request_head = shared_load(&ring->at.group->request_head);
        ring->completion_tail = shared_load(&ring->at.group->completion_tail);
        ring->access_head = shared_load(&ring->at.group->access_tail);
    }
}

struct side *side_create(const struct local *local, struct client *client, unsigned core)
{
    struct side *side = calloc(1, sizeof(*side));

    if (!side)
        return NULL;
    side->client = client;
    side->waiting_tail = &side->waiting;
    side->nr_rings = (local->arena->nr_partitions - core + local->nr_cores - 1) / local->nr_cores;
    side->rings = calloc(side->nr_rings, sizeof(*side->rings));
    side->buffers = calloc(SIDE_BUFFERS, sizeof(*side->buffers));
    if (!side->rings || !side->buffers ||
        session_table_create(side->nr_rings, &side->sessions) < 0) {
        side_destroy(side);
        return NULL;
    }
    fill_buffers(side, client);
    fill_rings(local, side, core);
    return side;
}

/* The descriptors stay open. */
static void client_free(const struct local *local, struct client *client)
{
    for (unsigned i = 0; client->sides && i < local->nr_cores; i++)
        side_destroy(client->sides[i]);
    free(client->sides);
    free(client);
}

static struct client *client_create(const struct local *local, const struct local_spec *spec,
                                    const struct segment *segment, unsigned slot)
{
    struct client *client = aligned_alloc(CACHE_LINE, sizeof(*client));

    if (!client)
        return NULL;
    memset(client, 0, sizeof(*client));
    client->spec = *spec;
    client->segment = *segment;
    client->slot = slot;
    client->sides = calloc(local->nr_cores, sizeof(struct side *));
    for (unsigned i = 0; client->sides && i < local->nr_cores; i++) {
        client->sides[i] = side_create(local, client, i);
        if (!client->sides[i])
            break;
    }
    if (!client->sides || !client->sides[local->nr_cores - 1]) {
        client_free(local, client);
        return NULL;
    }
    return client;
}

static void close_fds(const struct local_spec *spec)
{
    close(spec->segment_fd);
    if (spec->pidfd >= 0)
        close(spec->pidfd);
}

static struct client *find(const struct local *local, uint32_t id)
{
    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++)
        if (local->clients[slot] && local->clients[slot]->spec.id == id)
            return local->clients[slot];
    return NULL;
}

static int free_slot(const struct local *local, uint32_t id, unsigned *slot)
{
    if (id == 0 || id > CLIENT_ID_MAX)
        return -EINVAL;
    if (find(local, id))
        return -EEXIST;
    for (*slot = 0; *slot < LOCAL_CLIENTS_MAX; ++*slot)
        if (!local->clients[*slot])
            return 0;
    return -ENOSPC;
}

static int watch(struct local *local, const struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = client->slot};

    if (client->spec.pidfd < 0)
        return 0;
    return epoll_ctl(local->epoll_fd, EPOLL_CTL_ADD, client->spec.pidfd, &event) < 0 ? -errno : 0;
}

/* Lets the cores see it, and the reclaimer first. */
static int publish(struct local *local, struct client *client)
{
    int rc = watch(local, client);

    if (rc < 0)
        return rc;
    rc = reclaim_client_add(local->reclaimer, client->spec.id, &client->segment);
    if (rc < 0)
        return rc;
    client->serial = ++local->serial;
    local->clients[client->slot] = client;
    __atomic_fetch_or(&local->present, 1ull << client->slot, __ATOMIC_RELEASE);
    return 0;
}

int local_add(struct local *local, const struct local_spec *spec)
{
    struct client *client;
    struct segment segment;
    unsigned slot;
    int rc = free_slot(local, spec->id, &slot);

    if (rc == 0)
        rc = segment_attach(spec->segment_fd, local->arena->nr_partitions,
                            local->arena->sb->arena_id, &segment);
    if (rc < 0) {
        close_fds(spec);
        return rc;
    }
    client = client_create(local, spec, &segment, slot);
    rc = client ? publish(local, client) : -ENOMEM;
    if (rc == 0)
        return 0;
    if (client)
        client_free(local, client);
    segment_close(&segment); /* and its descriptor */
    if (spec->pidfd >= 0)
        close(spec->pidfd);
    return rc;
}

static void begin_end(struct local *local, struct client *client, const char *why)
{
    client->why = why;
    if (client->spec.pidfd >= 0)
        (void)epoll_ctl(local->epoll_fd, EPOLL_CTL_DEL, client->spec.pidfd, NULL);
    reclaim_client_remove(local->reclaimer, client->spec.id);
    __atomic_store_n(&client->owner.gone, 1, __ATOMIC_RELAXED);
    __atomic_fetch_or(&local->leaving, 1ull << client->slot, __ATOMIC_RELEASE);
}

int local_drop(struct local *local, uint32_t id)
{
    struct client *client = find(local, id);

    if (!client)
        return -ENOENT;
    if (!client->why)
        begin_end(local, client, "hung up");
    return 0;
}

/* Whether every core has ended its side. */
static bool sides_gone(const struct local *local, const struct client *client)
{
    for (unsigned i = 0; i < local->nr_cores; i++)
        if (local->ports[i]->core && !shared_load(&client->sides[i]->gone))
            return false;
    return true;
}

static bool unseen(const struct local *local, const struct client *client)
{
    for (unsigned i = 0; i < local->nr_cores; i++)
        if (local->ports[i]->core && shared_load(&local->ports[i]->seen) >> client->slot & 1)
            return false;
    return true;
}

/* The last steps of a client's end. Whether it has gone. */
static bool end_client(struct local *local, struct client *client)
{
    uint64_t bit = 1ull << client->slot;

    if (!client->hidden && sides_gone(local, client)) {
        client->hidden = true;
        __atomic_fetch_and(&local->present, ~bit, __ATOMIC_RELEASE);
    }
    if (!client->hidden || !unseen(local, client))
        return false;
    local->clients[client->slot] = NULL;
    regions_close(local, client);
    __atomic_fetch_and(&local->leaving, ~bit, __ATOMIC_RELEASE);
    segment_close(&client->segment);
    if (client->spec.pidfd >= 0)
        close(client->spec.pidfd);
    client_free(local, client);
    return true;
}

static void drop_dead(struct local *local)
{
    struct epoll_event events[16];
    int n = epoll_wait(local->epoll_fd, events, 16, 0);

    for (int i = 0; i < n; i++) {
        struct client *client = local->clients[events[i].data.u32];

        if (client && !client->why)
            begin_end(local, client, "its process died");
    }
}

static const char *fault_of(struct local *local, struct client *client, uint64_t now_ns)
{
    uint64_t blocks, bytes;

    if (__atomic_load_n(&client->segment.header->closed, __ATOMIC_ACQUIRE) == 1)
        return "closed";
    if (!reclaim_client_held(local->reclaimer, client->spec.id, &blocks, &bytes) ||
        bytes / 2 <= client->spec.pinned_max)
        client->over_since_ns = 0;
    else if (client->over_since_ns == 0)
        client->over_since_ns = now_ns;
    else if (now_ns - client->over_since_ns >= OVER_NS)
        return "held more than twice what it may";
    return NULL;
}

void local_tick(struct local *local, uint64_t now_ns,
                void (*gone)(void *context, uint32_t id, const char *why), void *context)
{
    drop_dead(local);
    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++) {
        struct client *client = local->clients[slot];
        const char *why;
        uint32_t id;

        if (!client)
            continue;
        why = client->why ? NULL : fault_of(local, client, now_ns);
        if (why)
            begin_end(local, client, why);
        if (!client->why)
            continue;
        id = client->spec.id;
        why = client->why;
        if (end_client(local, client)) {
            log_info("client %u has gone: %s", id, why);
            gone(context, id, why);
        }
    }
}

int local_fd(const struct local *local)
{
    return local->epoll_fd;
}

bool local_client(const struct local *local, unsigned i, struct local_spec *spec)
{
    const struct client *at = NULL;
    uint64_t after = 0;

    do {
        at = NULL;
        for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++) {
            const struct client *client = local->clients[slot];

            if (client && !client->why && client->serial > after &&
                (!at || client->serial < at->serial))
                at = client;
        }
        if (!at)
            return false;
        after = at->serial;
    } while (i-- > 0);
    *spec = at->spec;
    return true;
}

void local_destroy(struct local *local)
{
    if (!local)
        return;
    copier_destroy(local->copier);
    for (unsigned slot = 0; slot < LOCAL_CLIENTS_MAX; slot++) {
        struct client *client = local->clients[slot];

        if (!client)
            continue;
        if (!client->why)
            begin_end(local, client, "the server stops");
        segment_close(&client->segment);
        if (client->spec.pidfd >= 0)
            close(client->spec.pidfd);
        client_free(local, client);
    }
    for (unsigned i = 0; i < local->nr_cores; i++)
        port_destroy(local->ports[i]);
    if (local->epoll_fd >= 0)
        close(local->epoll_fd);
    free(local);
}
