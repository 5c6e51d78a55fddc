/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts come and go here: the first with the handle, others when the server was replaced. Whether
 * the arena is alive is kvraild's socket and the poll cores' heartbeats to say; while one of them
 * does, hits go on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/attach.h"
#include "client/session.h"

#define HELD_DEFAULT 16384u
#define FRESH_NS (200 * NS_PER_MS) /* a heartbeat this young: the dataplane runs */
#define AGAIN_NS (100 * NS_PER_MS) /* most time that a handle in use spends on attaching again */
#define PAUSE_FIRST_NS (5 * NS_PER_MS)
#define PAUSE_MAX_NS (200 * NS_PER_MS)

/* Memory of the handle that a child of fork() finds zeroed. */
static const uint8_t *guard_create(void)
{
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, 4096, MADV_WIPEONFORK) != 0) {
        munmap(page, 4096);
        return NULL;
    }
    *page = 1;
    return page;
}

void mount_close(struct mount *mount, bool forked)
{
    if (mount->socket >= 0)
        close(mount->socket);
    if (mount->hazards.free)
        hazards_close(&mount->hazards);
    if (!forked) {
        /* What is mapped is not there in a child. */
        if (mount->segment.header) {
            shared_store(&mount->segment.header->closed, 1u);
            segment_close(&mount->segment);
        }
        if (mount->arena.sb)
            arena_close(&mount->arena);
    }
    free(mount);
}

struct mount *mount_find(const struct local *local, uint32_t number)
{
    struct mount *mount = local->mount;

    while (mount && mount->number != number)
        mount = mount->next;
    return mount;
}

void mount_forget(struct local *local, struct mount *mount)
{
    if (mount == local->mount || mount->nr_held > 0 || mount->nr_places > 0)
        return;
    for (struct mount *at = local->mount; at; at = at->next)
        if (at->next == mount) {
            at->next = mount->next;
            mount_close(mount, false);
            return;
        }
}

static enum kvr_status join(struct kvr_client *client, uint64_t until_ns, struct mount **mount)
{
    const struct kvr_options *options = &client->options;
    struct attach_wish wish = {.name = options->name,
                               .held_max = options->max_held ? options->max_held : HELD_DEFAULT,
                               .read_only = options->read_only != 0};

    return attach(client->local->path, &wish, until_ns, mount);
}

enum kvr_status local_open(struct kvr_client *client, const char *path)
{
    uint64_t until_ns = client->now_ns + client->options.connect_ms * NS_PER_MS;
    struct local *local = calloc(1, sizeof(*local));
    enum kvr_status status;

    if (!local)
        return KVR_NO_MEMORY;
    client->local = local;
    strncpy(local->path, path, sizeof(local->path) - 1);
    local->here = guard_create();
    if (!local->here)
        return KVR_NO_MEMORY;
    while ((status = join(client, until_ns, &local->mount)) == KVR_UNREACHABLE) {
        struct timespec pause = {.tv_nsec = (long)PAUSE_FIRST_NS};

        if (clock_ns() + PAUSE_FIRST_NS >= until_ns)
            break;
        nanosleep(&pause, NULL); /* it may be starting */
    }
    if (status != KVR_OK)
        return status;
    local->mount->number = 1;
    local->looked_ns = coarse_ns();
    client->hello.seed = local->mount->arena.sb->seed;
    return KVR_OK;
}

void local_close(struct kvr_client *client)
{
    struct local *local = client->local;

    if (!local)
        return;
    while (local->mount) {
        struct mount *mount = local->mount;

        local->mount = mount->next;
        mount_close(mount, local_forked(local));
    }
    if (local->here)
        munmap((void *)(uintptr_t)local->here, 4096);
    free(local);
    client->local = NULL;
}

static bool connected(struct mount *mount)
{
    uint8_t byte;
    ssize_t n;

    if (mount->socket < 0)
        return false;
    n = recv(mount->socket, &byte, sizeof(byte), MSG_DONTWAIT | MSG_PEEK);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return true;
    close(mount->socket);
    mount->socket = -1;
    return false;
}

static bool beats(const struct arena *arena)
{
    uint64_t now_ns = clock_ns();

    for (unsigned i = 0; i < arena->nr_cores; i++) {
        uint64_t beat_ns = __atomic_load_n(&arena_stats(arena, i)->heartbeat_ns, __ATOMIC_RELAXED);

        if (beat_ns + FRESH_NS > now_ns && beat_ns < now_ns + FRESH_NS)
            return true;
    }
    return false;
}

/* What is held stays where it is; everything else goes on in the new mount. */
static void move(struct kvr_client *client, struct mount *fresh)
{
    struct local *local = client->local;
    struct mount *before = local->mount;
    uint32_t number = before->number;

    fresh->number = number + 1;
    fresh->next = before;
    local->mount = fresh;
    session_moved(client); /* calls let go of what they have in the mount before */
    before = mount_find(local, number);
    if (before)
        mount_forget(local, before);
}

bool local_look(struct kvr_client *client)
{
    struct local *local = client->local;
    struct mount *fresh;
    uint64_t now_ns = clock_ns();
    bool alive = connected(local->mount);

    if (!alive && now_ns >= local->try_ns) {
        uint32_t most_ms = client->options.timeout_ms;
        uint64_t most_ns = most_ms * NS_PER_MS < AGAIN_NS ? most_ms * NS_PER_MS : AGAIN_NS;

        client->now_ns = now_ns;
        if (join(client, now_ns + most_ns, &fresh) == KVR_OK) {
            move(client, fresh);
            local->pause_ns = 0;
            alive = true;
        } else {
            local->pause_ns = local->pause_ns ? 2 * local->pause_ns : PAUSE_FIRST_NS;
            if (local->pause_ns > PAUSE_MAX_NS)
                local->pause_ns = PAUSE_MAX_NS;
            local->try_ns = clock_ns() + local->pause_ns;
        }
    }
    local->lost = !alive && !beats(&local->mount->arena);
    if (!local->lost)
        local->looked_ns = coarse_ns();
    return !local->lost;
}

void local_follow(struct kvr_client *client)
{
    struct local *local = client->local;
    uint64_t boot_id;

    if (client->now_ns - local->looked_ns >= LOOK_NS && client->now_ns > local->looked_ns)
        (void)local_look(client);
    boot_id = shared_load(&local->mount->arena.sb->boot_id);
    if (boot_id != local->mount->boot_id) {
        local->mount->boot_id = boot_id;
        session_restarted(client);
    }
}
