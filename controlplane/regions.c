/* SPDX-License-Identifier: Apache-2.0 */
/* What a client asks of its regions, its answer, and what the dataplane is told. Invariant: a
 * region is in the table from its registration until the dataplane has let go of it, so that each
 * dataplane learns of all; a client hears that it is registered from the dataplane's word on. */
#include "controlplane/regions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/child.h"
#include "controlplane/clients.h"
#include "kvrail/region.h"
#include "shm/passing.h"

static unsigned number_of(const struct held_region *region)
{
    return (unsigned)(region - region->client->regions);
}

static void answer(const struct client *client, unsigned op, unsigned number, int error,
                   const char *text)
{
    struct attach_region_done done = {.magic = ATTACH_MAGIC,
                                      .version = ATTACH_VERSION,
                                      .status = (uint32_t)error,
                                      .op = op,
                                      .number = number};

    snprintf(done.text, sizeof(done.text), "%s", text);
    if (client->fd >= 0 &&
        passing_send(client->fd, &done, sizeof(done), NULL, 0) != (ssize_t)sizeof(done))
        log_warning("client %u does not take the answer about its region %u", client->spec.id,
                    number);
}

static void answer_asked(struct held_region *region, unsigned op, int error)
{
    if (!region->asked)
        return;
    region->asked = false;
    answer(region->client, op, number_of(region), error, error ? strerror(error) : "");
}

static void free_region(struct held_region *region)
{
    if (region->fd >= 0)
        close(region->fd);
    region->fd = -1;
    region->state = HELD_FREE;
}

/* ---- The dataplane ---- */

#define TOKEN(region) ((uint64_t)(region)->client->spec.id << 8 | number_of(region))

/* The region that a token names; NULL: its client has gone. */
static struct held_region *region_of(struct clients *clients, uint64_t token)
{
    for (unsigned i = 0; i < clients->nr; i++)
        if (clients->list[i]->spec.id == token >> 8)
            return &clients->list[i]->regions[token & 0xff];
    return NULL;
}

static void add_done(void *owner, uint64_t token, const char *error)
{
    struct clients *clients = owner;
    struct held_region *region = region_of(clients, token);
    int code = error ? atoi(error) : 0;

    if (!region || region->state != HELD_OPENS)
        return;
    if (error && clients->child->state == CHILD_DOWN)
        return; /* the next one is told */
    if (!error) {
        region->state = HELD_OPEN;
        answer_asked(region, ATTACH_REGION_ADD, 0);
        return;
    }
    log_warning("client %u: its region %u is not taken by a device: %s", region->client->spec.id,
                number_of(region), code > 0 ? strerror(code) : error);
    answer_asked(region, ATTACH_REGION_ADD, code > 0 ? code : EIO);
    free_region(region);
}

static void hex_text(const uint8_t *bytes, char *text)
{
    for (unsigned i = 0; i < ATTACH_HANDLE_MAX; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static void tell_add(struct held_region *region)
{
    struct clients *clients = region->client->clients;
    struct child_command command = {.done = add_done, .owner = clients, .token = TOKEN(region)};
    char hex[2 * ATTACH_HANDLE_MAX + 1] = "-", line[256];
    int rc;

    if (region->kind == KVR_REGION_CUDA_IPC)
        hex_text(region->bytes, hex);
    snprintf(line, sizeof(line), "region-add %u %u %u %llu %s", region->client->spec.id,
             number_of(region), region->kind, (unsigned long long)region->size, hex);
    region->told = true;
    rc = child_send_fds(clients->child, line, &region->fd, region->fd >= 0, &command);
    if (rc < 0)
        add_done(clients, command.token, strerror(-rc));
}

/* region-gone follows; where it cannot, there is nothing to let go of. */
static void drop_done(void *owner, uint64_t token, const char *error)
{
    struct held_region *region = region_of(owner, token);

    if (error && region && region->state == HELD_CLOSES)
        regions_gone(region->client, number_of(region));
}

static void tell_drop(struct held_region *region)
{
    struct clients *clients = region->client->clients;
    struct child_command command = {.done = drop_done, .owner = clients, .token = TOKEN(region)};
    char line[64];

    snprintf(line, sizeof(line), "region-drop %u %u", region->client->spec.id, number_of(region));
    if (child_send(clients->child, line, &command) < 0)
        regions_gone(region->client, number_of(region));
}

void regions_dataplane_ready(struct client *client)
{
    for (unsigned i = 0; i < KVR_REGIONS_MAX; i++)
        if (client->regions[i].state == HELD_OPENS && !client->regions[i].told)
            tell_add(&client->regions[i]);
}

void regions_dataplane_gone(struct client *client)
{
    for (unsigned i = 0; i < KVR_REGIONS_MAX; i++) {
        struct held_region *region = &client->regions[i];

        region->told = false;
        if (region->state == HELD_OPEN)
            region->state = HELD_OPENS;
        else if (region->state == HELD_CLOSES)
            regions_gone(client, i);
    }
}

void regions_gone(struct client *client, unsigned number)
{
    struct held_region *region = number < KVR_REGIONS_MAX ? &client->regions[number] : NULL;

    if (!region || region->state != HELD_CLOSES)
        return;
    free_region(region);
    answer_asked(region, ATTACH_REGION_DROP, 0);
}

/* ---- The client ---- */

unsigned regions_count(const struct client *client, uint64_t *bytes)
{
    unsigned nr = 0;

    *bytes = 0;
    for (unsigned i = 0; i < KVR_REGIONS_MAX; i++) {
        if (client->regions[i].state == HELD_FREE)
            continue;
        nr++;
        *bytes += client->regions[i].size;
    }
    return nr;
}

static bool needs_fd(uint32_t kind)
{
    return kind == KVR_REGION_MEMFD || kind == KVR_REGION_CUDA_FD;
}

/* 0, or an errno that says why not. */
static int check(const struct client *client, const struct region_rules *rules,
                 const struct attach_region *wish, int fd)
{
    uint64_t bytes;
    unsigned nr = regions_count(client, &bytes);

    if (wish->kind < KVR_REGION_MEMFD || wish->kind > KVR_REGION_CUDA_FD || wish->size == 0 ||
        needs_fd(wish->kind) != (fd >= 0))
        return EINVAL;
    if (client->regions[wish->number].state != HELD_FREE)
        return EEXIST;
    if (nr >= rules->most || wish->size > rules->bytes_most ||
        bytes > rules->bytes_most - wish->size)
        return EDQUOT;
    return 0;
}

/* The descriptor becomes the region's, or is closed. */
static void take_add(struct client *client, const struct region_rules *rules,
                     const struct attach_region *wish, int fd)
{
    struct held_region *region = &client->regions[wish->number];
    int error = check(client, rules, wish, fd);

    if (error) {
        if (fd >= 0)
            close(fd);
        answer(client, ATTACH_REGION_ADD, wish->number, error, strerror(error));
        return;
    }
    *region = (struct held_region){.client = client,
                                   .kind = wish->kind,
                                   .size = wish->size,
                                   .fd = fd,
                                   .state = HELD_OPENS,
                                   .asked = true};
    memcpy(region->bytes, wish->bytes, sizeof(region->bytes));
    if (client->clients->child->state == CHILD_READY && client->told)
        tell_add(region);
}

static void take_drop(struct client *client, const struct attach_region *wish)
{
    struct held_region *region = &client->regions[wish->number];
    enum child_state state = client->clients->child->state;

    if (region->state != HELD_OPEN && region->state != HELD_OPENS) {
        answer(client, ATTACH_REGION_DROP, wish->number, ENOENT, strerror(ENOENT));
        return;
    }
    region->asked = true;
    region->state = HELD_CLOSES;
    if (state == CHILD_READY)
        tell_drop(region);
    else if (state != CHILD_STOPPING)
        regions_gone(client, wish->number); /* none has it */
}

bool regions_hear(struct client *client, const struct region_rules *rules)
{
    struct attach_region wish;
    struct passed came;
    ssize_t got = passing_receive(client->fd, &wish, sizeof(wish), &came);

    if (got == -EAGAIN || got == -EINTR)
        return true;
    if (got == (ssize_t)sizeof(wish) && wish.op == ATTACH_POOL && came.nr == 0)
        return pools_hear(client, &wish);
    if (got != (ssize_t)sizeof(wish) || came.nr > 1 || wish.magic != ATTACH_MAGIC ||
        wish.version != ATTACH_VERSION || wish.number >= KVR_REGIONS_MAX ||
        (wish.op != ATTACH_REGION_ADD && (wish.op != ATTACH_REGION_DROP || came.nr > 0))) {
        passing_close(came.fds, came.nr);
        return false;
    }
    if (wish.op == ATTACH_REGION_ADD)
        take_add(client, rules, &wish, came.nr ? came.fds[0] : -1);
    else
        take_drop(client, &wish);
    return true;
}

void regions_forget(struct client *client)
{
    for (unsigned i = 0; i < KVR_REGIONS_MAX; i++)
        if (client->regions[i].state != HELD_FREE)
            free_region(&client->regions[i]);
}
