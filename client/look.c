/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks read in the memory of the server's devices, where they lie: LOOK and RELEASE, and the
 * memory that kvraild hands out. Invariant: what a caller is told of is pinned by the dataplane
 * that exported the memory, under a ticket that nothing else of this handle uses. */
#include "client/look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/attach.h"
#include "client/build.h"
#include "client/datagram.h"
#include "client/local.h"
#include "client/poll.h"
#include "client/region.h"
#include "client/task.h"
#include "shm/words.h"

/* Between two looks whether kvraild has answered. */
#define FIRST_NS (100 * NS_PER_US)
#define AGAIN_NS (NS_PER_MS)

static struct mount *mount_of(const struct kvr_client *client)
{
    return client->local->mount;
}

/* ---- Memory ---- */

static void memory_free(struct kvr_client *client, struct memory *memory)
{
    struct memory **at = &client->looks->memories;

    while (*at != memory)
        at = &(*at)->next;
    *at = memory->next;
    if (memory->said.fd >= 0)
        close(memory->said.fd);
    free(memory);
}

static void memory_let_go(struct kvr_client *client, struct memory *memory)
{
    if (memory && --memory->nr_looks == 0 && memory->old)
        memory_free(client, memory);
}

/* Another one is in their place. */
static void retire(struct kvr_client *client, uint32_t device, uint32_t core)
{
    struct memory *next;

    for (struct memory *memory = client->looks->memories; memory; memory = next) {
        next = memory->next;
        if (memory->device != device || memory->core != core)
            continue;
        memory->old = true;
        if (memory->nr_looks == 0)
            memory_free(client, memory);
    }
}

static struct memory *memory_find(const struct kvr_client *client, uint64_t boot,
                                  const struct kvr_look_rep *rep)
{
    for (struct memory *memory = client->looks->memories; memory; memory = memory->next)
        if (!memory->old && memory->boot == boot && memory->device == rep->device &&
            memory->core == rep->core && memory->lost == rep->lost)
            return memory;
    return NULL;
}

static bool sane(const struct attach_pool_done *done, int fd)
{
    return done->kind >= KVR_REGION_MEMFD && done->kind <= KVR_REGION_CUDA_FD && done->size > 0 &&
           (done->kind != KVR_REGION_CUDA_IPC) == (fd >= 0);
}

/* fd becomes its own. */
static bool memory_add(struct kvr_client *client, const struct attach_pool_done *done, int fd)
{
    struct looks *looks = client->looks;
    struct memory *memory = malloc(sizeof(*memory));

    if (!memory)
        return false;
    retire(client, done->device, done->core);
    *memory = (struct memory){.said = {.number = ++looks->last_number,
                                       .kind = (enum kvr_region_kind)done->kind,
                                       .fd = fd,
                                       .size = done->size},
                              .next = looks->memories,
                              .boot = looks->ask.boot,
                              .device = done->device,
                              .core = done->core,
                              .lost = done->lost};
    memcpy(memory->said.bytes, done->bytes, sizeof(memory->said.bytes));
    looks->memories = memory;
    return true;
}

void look_hear(struct kvr_client *client, const struct attach_pool_done *done, int fd)
{
    struct memory_ask *ask = client->looks ? &client->looks->ask : NULL;
    bool mine = ask && ask->said && ask->mount == mount_of(client)->number &&
                done->device == ask->device && done->core == ask->core;

    if (mine) {
        ask->said = false;
        ask->status = done->status;
        if (done->status == 0 && !sane(done, fd))
            ask->status = EPROTO;
        else if (done->status == 0 &&
                 shared_load(&mount_of(client)->arena.sb->boot_id) != ask->boot)
            ask->status = EAGAIN; /* which dataplane said so is not known */
        else if (done->status == 0 && !memory_add(client, done, fd))
            ask->status = ENOMEM;
        else if (done->status == 0)
            fd = -1;
    }
    if (fd >= 0)
        close(fd);
}

static enum kvr_status refusal(uint32_t error)
{
    switch (error) {
    case ENODEV:
    case ENOTSUP:
        return KVR_NO_DEVICE;
    case EACCES:
        return KVR_DENIED;
    case ENOMEM:
        return KVR_NO_MEMORY;
    case EPROTO:
        return KVR_PROTOCOL;
    default:
        return KVR_INTERNAL;
    }
}

/* One at a time: an older question is answered first. */
static bool say(struct kvr_client *client, uint32_t device, uint32_t core)
{
    struct attach_pool wish = {.magic = ATTACH_MAGIC,
                               .version = ATTACH_VERSION,
                               .op = ATTACH_POOL,
                               .device = device,
                               .core = core};
    struct mount *mount = mount_of(client);
    struct memory_ask *ask = &client->looks->ask;

    if (ask->said && ask->mount == mount->number)
        return false;
    *ask = (struct memory_ask){.boot = shared_load(&mount->arena.sb->boot_id),
                               .mount = mount->number,
                               .device = device,
                               .core = core};
    ask->said = attach_say(mount->socket, &wish, sizeof(wish), -1);
    return ask->said;
}

/* The memory that the copy lies in; KVR_MISS: it is not there any more. */
static enum kvr_status fetch(struct kvr_client *client, uint64_t boot,
                             const struct kvr_look_rep *rep, uint64_t until_ns,
                             struct memory **memory)
{
    const struct memory_ask *ask = &client->looks->ask;
    bool mine = false;
    unsigned waits = 0;

    while (!(*memory = memory_find(client, boot, rep))) {
        if (shared_load(&mount_of(client)->arena.sb->boot_id) != boot)
            return KVR_MISS;
        if (mine && !ask->said && ask->status != EAGAIN)
            return ask->status == 0 ? KVR_MISS : refusal(ask->status);
        if (!mine || !ask->said)
            mine = say(client, rep->device, rep->core);
        client->now_ns = clock_ns();
        if (client->now_ns >= until_ns)
            return client->local->lost ? KVR_UNREACHABLE : KVR_TIMEOUT;
        poll_wait(client, client->now_ns + (waits++ ? AGAIN_NS : FIRST_NS));
        regions_hear(client);
    }
    return KVR_OK;
}

/* ---- Looks ---- */

static void look_free(struct kvr_client *client, struct look *look)
{
    struct look **at = &client->looks->list;

    while (*at != look)
        at = &(*at)->next;
    *at = look->next;
    memory_let_go(client, look->memory);
    free(look);
}

/* A number that no other look of the partition has. False: there is none. */
static bool ticket_take(const struct kvr_client *client, struct look *look)
{
    uint64_t taken = 0;

    for (const struct look *other = client->looks->list; other; other = other->next)
        if (other != look && other->mount == look->mount && other->partition == look->partition)
            taken |= 1ull << other->ticket;
    if (taken == UINT64_MAX)
        return false;
    look->ticket = (uint8_t)__builtin_ctzll(~taken);
    return true;
}

/* call first: the task knows only that. */
struct asked {
    struct kvr_call call;
    struct look *look;
    uint16_t device;
    struct kvr_look_rep rep; /* out */
};

static struct asked *asked_of(const struct task *task)
{
    return (struct asked *)(void *)task->call;
}

static uint32_t look_size(const struct kvr_client *, const struct task *task)
{
    return (uint32_t)sizeof(struct kvr_look_req) + pad8(task->call->key.len);
}

static uint32_t release_size(const struct kvr_client *, const struct task *)
{
    return sizeof(struct kvr_seal_req);
}

static uint32_t no_weight(const struct kvr_client *, const struct task *)
{
    return 0;
}

static void look_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                       struct writer *writer)
{
    const struct asked *asked = asked_of(datagram->entries[entry].task);
    struct kvr_look_req req = {.ticket = asked->look->ticket, .device = asked->device};

    build_look(writer, &req, asked->call.key.data, asked->call.key.len);
}

static void release_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                          struct writer *writer)
{
    const struct look *look = asked_of(datagram->entries[entry].task)->look;

    build_seal(writer, KVR_RELEASE, look->pin, look->ticket, 0);
}

static void restart(struct kvr_client *client, struct task *task)
{
    datagram_abandon(client, task);
    task_unqueue(client, task);
    task->traffic = TRAFFIC_WRITE;
}

static enum prepared look_prepare(struct kvr_client *client, struct task *task)
{
    struct look *look = asked_of(task)->look;

    look->mount = mount_of(client)->number;
    look->partition = task->link->partition;
    if (ticket_take(client, look))
        return PREPARE_SEND;
    task->call->status = KVR_LIMIT;
    return PREPARE_DONE;
}

/* Pins end with the dataplane. */
static bool is_gone(const struct kvr_client *client, const struct look *look)
{
    return look->mount != mount_of(client)->number || look->boot != client->hello.boot;
}

static enum prepared release_prepare(struct kvr_client *client, struct task *task)
{
    if (!is_gone(client, asked_of(task)->look))
        return PREPARE_SEND;
    task->call->status = KVR_INTERNAL;
    return PREPARE_DONE;
}

static struct link *release_route(struct kvr_client *client, const struct task *task)
{
    uint16_t partition = asked_of(task)->look->partition;

    return client->links[partition < client->nr_links ? partition : 0];
}

static void look_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                        const struct kvr_op *record)
{
    struct task *task = datagram->entries[entry].task;
    enum kvr_status status = (enum kvr_status)record->status;
    struct asked *asked = asked_of(task);

    if (record->op != KVR_LOOK) {
        client->stats.rx_unexpected++;
        return;
    }
    datagram_close(datagram, entry);
    if (status == KVR_OK && shared_load(&mount_of(client)->arena.sb->boot_id) != client->hello.boot)
        status = KVR_NO_UPLOAD; /* the last word of a dataplane that is gone */
    if (status != KVR_LIMIT && task_soft(client, task, status))
        return;
    if (status == KVR_OK) {
        memcpy(&asked->rep, record, sizeof(asked->rep));
        asked->look->pin = asked->rep.pin;
        asked->look->boot = client->hello.boot;
        mount_of(client)->nr_places++; /* with the mount its pins would go */
    }
    task_end(client, task, status);
}

static void release_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                           const struct kvr_op *record)
{
    struct task *task = datagram->entries[entry].task;
    enum kvr_status status = (enum kvr_status)record->status;

    if (record->op != KVR_RELEASE) {
        client->stats.rx_unexpected++;
        return;
    }
    datagram_close(datagram, entry);
    if (status == KVR_NO_UPLOAD)
        status = KVR_INTERNAL;
    if (!task_soft(client, task, status))
        task_end(client, task, status);
}

static const struct task_kind look_kind = {
    .size = look_size,
    .weight = no_weight,
    .write = look_write,
    .answer = look_answer,
    .restart = restart,
    .prepare = look_prepare,
};

static const struct task_kind release_kind = {
    .size = release_size,
    .weight = no_weight,
    .write = release_write,
    .answer = release_answer,
    .restart = restart,
    .prepare = release_prepare,
    .route = release_route,
};

static enum kvr_status release(struct kvr_client *client, struct look *look)
{
    struct asked asked = {.call = {.op = KVR_CALL_GET}, .look = look};
    enum kvr_status status = poll_call(client, &asked.call, &release_kind);
    struct mount *mount = mount_find(client->local, look->mount);

    look_free(client, look);
    if (mount) {
        mount->nr_places--;
        mount_forget(client->local, mount);
    }
    return status;
}

/* ---- The public functions ---- */

static enum kvr_status usable(const struct kvr_client *client)
{
    if (!client->local)
        return KVR_NOT_LOCAL;
    if (local_forked(client->local))
        return KVR_INVALID;
    return mount_of(client)->may_write ? KVR_OK : KVR_DENIED;
}

static enum kvr_status ask_for(struct kvr_client *client, struct asked *asked)
{
    enum kvr_status status = poll_call(client, &asked->call, &look_kind);

    if (status == KVR_BAD_FIELD)
        return KVR_NO_DEVICE;
    return status == KVR_BAD_OP ? KVR_DENIED : status;
}

static bool fits(const struct kvr_look_rep *rep, const struct memory *memory)
{
    return rep->offset <= memory->said.size && rep->value_len <= memory->said.size - rep->offset;
}

static struct look *look_make(struct kvr_client *client)
{
    struct look *look;

    if (!client->looks)
        client->looks = calloc(1, sizeof(*client->looks));
    look = client->looks ? calloc(1, sizeof(*look)) : NULL;
    if (!look)
        return NULL;
    look->next = client->looks->list;
    client->looks->list = look;
    return look;
}

static void tell(struct kvr_gpu_place *place, const struct asked *asked)
{
    const struct look *look = asked->look;

    *place = (struct kvr_gpu_place){.memory = &look->memory->said,
                                    .offset = asked->rep.offset,
                                    .ref = asked->rep.ref,
                                    .len = asked->rep.value_len,
                                    .crc = asked->rep.value_crc,
                                    .layout = asked->rep.layout,
                                    .device = asked->rep.device,
                                    .partition = look->partition,
                                    .ticket = look->ticket,
                                    .pin = look->pin};
}

enum kvr_status kvr_gpu_look(struct kvr_client *client, const struct kvr_key *key, uint32_t device,
                             struct kvr_gpu_place *place)
{
    struct asked asked = {.call = {.op = KVR_CALL_GET}, .device = (uint16_t)device};
    uint64_t until_ns = clock_ns() + client->options.timeout_ms * NS_PER_MS;
    enum kvr_status status = usable(client);
    struct memory *memory = NULL;

    if (status != KVR_OK)
        return status;
    if (!key || !key->data || key->len < 1 || key->len > KVR_KEY_MAX || device > UINT16_MAX)
        return KVR_INVALID;
    asked.call.key = *key;
    asked.look = look_make(client);
    if (!asked.look)
        return KVR_NO_MEMORY;
    status = ask_for(client, &asked);
    if (status != KVR_OK) {
        look_free(client, asked.look);
        return status;
    }
    status = fetch(client, asked.look->boot, &asked.rep, until_ns, &memory);
    if (status == KVR_OK && !fits(&asked.rep, memory))
        status = KVR_PROTOCOL;
    if (status != KVR_OK) {
        (void)release(client, asked.look);
        return status;
    }
    memory->nr_looks++;
    asked.look->memory = memory;
    tell(place, &asked);
    return KVR_OK;
}

static struct look *look_find(const struct kvr_client *client, const struct kvr_gpu_place *place)
{
    for (struct look *look = client->looks->list; look; look = look->next)
        if (look->memory && &look->memory->said == place->memory && look->pin == place->pin &&
            look->partition == place->partition && look->ticket == place->ticket)
            return look;
    return NULL;
}

enum kvr_status kvr_gpu_release(struct kvr_client *client, struct kvr_gpu_place *place)
{
    enum kvr_status status = usable(client);
    struct look *look;

    if (status == KVR_NOT_LOCAL || status == KVR_INVALID)
        return status;
    look = client->looks ? look_find(client, place) : NULL;
    if (!look)
        return KVR_INVALID;
    *place = (struct kvr_gpu_place){0};
    return release(client, look);
}

void looks_free(struct kvr_client *client)
{
    if (!client->looks)
        return;
    while (client->looks->list)
        look_free(client, client->looks->list);
    while (client->looks->memories)
        memory_free(client, client->looks->memories);
    free(client->looks);
    client->looks = NULL;
}
