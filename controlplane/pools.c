/* SPDX-License-Identifier: Apache-2.0 */
/* A client's question for the memory of a pool, and its one answer: the dataplane's, or why there
 * is none. Invariant: nobody gets such memory who may not write the cache, for it can be written.
 */
#include "controlplane/pools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "controlplane/child.h"
#include "controlplane/clients.h"
#include "shm/passing.h"

static void answer(struct client *client, struct attach_pool_done *done, int fd)
{
    client->pool.asked = false;
    done->magic = ATTACH_MAGIC;
    done->version = ATTACH_VERSION;
    done->op = ATTACH_POOL;
    done->device = client->pool.device;
    done->core = client->pool.core;
    if (client->fd >= 0 &&
        passing_send(client->fd, done, sizeof(*done), &fd, fd >= 0) != (ssize_t)sizeof(*done))
        log_warning("client %u does not take the answer about a pool", client->spec.id);
}

static void refuse(struct client *client, int error, const char *text)
{
    struct attach_pool_done done = {.status = (uint32_t)error};

    snprintf(done.text, sizeof(done.text), "%s", text);
    answer(client, &done, -1);
}

static struct client *client_of(const struct clients *clients, uint64_t id)
{
    for (unsigned i = 0; i < clients->nr; i++)
        if (clients->list[i]->spec.id == id)
            return clients->list[i];
    return NULL;
}

/* With "ok" it was answered already, by pools_told. */
static void export_done(void *owner, uint64_t id, const char *error)
{
    struct client *client = client_of(owner, id);
    int code = error ? atoi(error) : EIO;

    if (!client || !client->pool.asked)
        return;
    if (code > 0)
        refuse(client, code, strerror(code));
    else
        refuse(client, EAGAIN, error);
}

static void ask(struct client *client)
{
    struct clients *clients = client->clients;
    struct child_command command = {
        .done = export_done, .owner = clients, .token = client->spec.id};
    char line[64];

    snprintf(line, sizeof(line), "pool-export %u %u %u", client->spec.id, client->pool.device,
             client->pool.core);
    if (!client->told || child_send(clients->child, line, &command) < 0)
        refuse(client, EAGAIN, "no dataplane serves now");
}

bool pools_hear(struct client *client, const struct attach_region *message)
{
    static const uint8_t zero[sizeof(((struct attach_pool *)0)->zero)];
    struct attach_pool wish;

    _Static_assert(sizeof(wish) == sizeof(*message), "told apart by op");
    memcpy(&wish, message, sizeof(wish));
    if (wish.magic != ATTACH_MAGIC || wish.version != ATTACH_VERSION || client->pool.asked ||
        memcmp(wish.zero, zero, sizeof(zero)) != 0)
        return false;
    client->pool = (struct asked_pool){.asked = true, .device = wish.device, .core = wish.core};
    if (client->spec.may_write)
        ask(client);
    else
        refuse(client, EACCES, "only for clients that may write: its memory cannot be read-only");
    return true;
}

/* False: no such bytes. */
static bool read_hex(const char *text, uint8_t *bytes, size_t size)
{
    if (strcmp(text, "-") == 0)
        return true;
    if (strlen(text) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned byte;

        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return false;
        bytes[i] = (uint8_t)byte;
    }
    return true;
}

void pools_told(struct client *client, const struct child_pool *pool)
{
    struct attach_pool_done done = {.kind = pool->kind, .size = pool->size, .lost = pool->lost};

    if (!client->pool.asked || client->pool.device != pool->device ||
        client->pool.core != pool->core)
        return;
    if ((pool->kind != KVR_REGION_CUDA_IPC) != (pool->fd >= 0) ||
        !read_hex(pool->hex, done.bytes, sizeof(done.bytes)))
        return; /* export_done says so */
    answer(client, &done, pool->fd);
}
