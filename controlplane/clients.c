/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a registered client: added, told to the dataplane, ended by hang-up, death of its process
 * or an order. Invariant: nobody is told that he is in before the dataplane looks at his hazard
 * slots, or before there is a dataplane that would not. */
#include "controlplane/clients.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "controlplane/child.h"
#include "controlplane/pins.h"
#include "controlplane/proc_stat.h"

#define SCAN_MS 250u

static void scan_all(void *owner)
{
    struct clients *clients = owner;
    uint64_t now_ns = clock_ns();

    for (unsigned i = 0; i < clients->nr; i++)
        pins_scan(clients->list[i], clients->arena, now_ns);
    if (clients->nr > 0)
        loop_arm(clients->loop, &clients->scan, SCAN_MS, scan_all, clients);
}

void clients_setup(struct clients *clients, struct loop *loop, struct child *child,
                   const struct arena *arena)
{
    *clients = (struct clients){.loop = loop, .child = child, .arena = arena, .roster = {.fd = -1}};
}

int clients_roster(struct clients *clients)
{
    return clients->roster.page ? 0 : roster_create(&clients->roster);
}

/* ---- One client -------------------------------------------------------------------------------
 */

static void unwatch(const struct client *client)
{
    if (client->fd >= 0)
        loop_unwatch(client->clients->loop, client->fd);
    if (client->spec.pidfd >= 0)
        loop_unwatch(client->clients->loop, client->spec.pidfd);
}

static void client_free(struct client *client)
{
    regions_forget(client);
    if (client->fd >= 0)
        close(client->fd);
    if (client->spec.pidfd >= 0)
        close(client->spec.pidfd);
    if (client->segment.header)
        segment_close(&client->segment);
    else if (client->spec.segment_fd >= 0)
        close(client->spec.segment_fd);
    free(client->seen);
    free(client->since_ns);
    free(client);
}

static void answer(struct client *client, const char *error)
{
    void (*added)(void *waiter, uint32_t id, const char *error) = client->added;

    client->added = NULL;
    if (added)
        added(client->waiter, client->spec.id, error);
}

static void take_out(struct client *client)
{
    struct clients *clients = client->clients;

    for (unsigned i = 0; i < clients->nr; i++)
        if (clients->list[i] == client) {
            clients->nr--;
            memmove(&clients->list[i], &clients->list[i + 1],
                    (clients->nr - i) * sizeof(clients->list[0]));
            break;
        }
}

static void client_remove(struct client *client, const char *why)
{
    log_info("client %u (pid %u, %s) is gone: %s", client->spec.id, client->spec.pid, client->name,
             why);
    take_out(client);
    roster_remove(&client->clients->roster, client->spec.id);
    unwatch(client);
    answer(client, why);
    client_free(client);
}

static struct client *client_find(const struct clients *clients, uint32_t id)
{
    for (unsigned i = 0; i < clients->nr; i++)
        if (clients->list[i]->spec.id == id)
            return clients->list[i];
    return NULL;
}

/* ---- The dataplane ----------------------------------------------------------------------------
 */

/* client-gone follows; whatever was answered, nothing more is to be done. */
static void drop_done(void *owner, uint64_t id, const char *error)
{
    struct client *client = client_find(owner, (uint32_t)id);

    if (error && client && client->leaving)
        client_remove(client, error);
}

static void add_done(void *owner, uint64_t id, const char *error)
{
    struct client *client = client_find(owner, (uint32_t)id);

    if (!client)
        return;
    if (!error || client->clients->child->state == CHILD_DOWN) {
        /* The next dataplane begins with it. */
        client->told = error == NULL;
        answer(client, NULL);
        if (client->told)
            regions_dataplane_ready(client);
        return;
    }
    log_warning("client %u: the dataplane does not take it: %s", client->spec.id, error);
    client_remove(client, error);
}

static void tell(struct client *client)
{
    struct clients *clients = client->clients;
    struct child_command command = {.done = add_done, .owner = clients, .token = client->spec.id};
    int fds[2] = {client->spec.segment_fd, client->spec.pidfd}, rc;
    char line[128];

    snprintf(line, sizeof(line), "client-add %u %u %u %d %llu", client->spec.id, client->spec.pid,
             client->spec.uid, client->spec.may_write, (unsigned long long)client->spec.pinned_max);
    client->told = true;
    rc = child_send_fds(clients->child, line, fds, 2, &command);
    if (rc < 0)
        add_done(clients, client->spec.id, strerror(-rc));
}

/* client-gone follows; until then it stays in the list. */
static void tell_leaves(struct client *client)
{
    struct clients *clients = client->clients;
    struct child_command command = {.done = drop_done, .owner = clients, .token = client->spec.id};
    char line[64];

    snprintf(line, sizeof(line), "client-drop %u", client->spec.id);
    if (child_send(clients->child, line, &command) < 0)
        client_remove(client, "it left");
}

/* The end begins. */
static void client_leave(struct client *client, const char *why)
{
    enum child_state state = client->clients->child->state;

    if (client->leaving)
        return;
    if (!client->told || state == CHILD_DOWN) {
        client_remove(client, why);
        return;
    }
    log_info("client %u (pid %u, %s) leaves: %s", client->spec.id, client->spec.pid, client->name,
             why);
    client->leaving = true;
    unwatch(client);
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    close(client->spec.pidfd);
    client->spec.pidfd = -1;
    if (state == CHILD_READY)
        tell_leaves(client);
    /* Else it starts or stops: once it is ready it is told, when it is gone there is no need. */
}

int clients_drop(struct clients *clients, uint32_t id, const char *why)
{
    struct client *client = client_find(clients, id);

    if (!client)
        return -ENOENT;
    client_leave(client, why);
    return 0;
}

void clients_drop_all(struct clients *clients, const char *why)
{
    /* Those that leave stay in the list until the dataplane has let go of them. */
    for (unsigned i = clients->nr; i-- > 0;)
        client_leave(clients->list[i], why);
}

unsigned clients_specs(struct clients *clients, struct local_spec *specs)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < clients->nr; i++) {
        clients->list[i]->told = true;
        specs[nr++] = clients->list[i]->spec;
    }
    return nr;
}

void clients_dataplane_ready(struct clients *clients)
{
    /* Telling may remove some. */
    for (unsigned i = clients->nr; i-- > 0;) {
        if (i >= clients->nr)
            continue;
        if (clients->list[i]->leaving)
            tell_leaves(clients->list[i]);
        else if (!clients->list[i]->told)
            tell(clients->list[i]);
        else
            regions_dataplane_ready(clients->list[i]);
    }
}

void clients_dataplane_gone(struct clients *clients)
{
    for (unsigned i = clients->nr; i-- > 0;) {
        struct client *client = clients->list[i];

        client->told = false;
        regions_dataplane_gone(client);
        if (client->leaving)
            client_remove(client, "it left");
        else
            answer(client, NULL);
    }
}

void clients_gone(struct clients *clients, uint32_t id, const char *why)
{
    struct client *client = client_find(clients, id);

    if (client)
        client_remove(client, why);
}

void clients_region_gone(struct clients *clients, uint32_t id, unsigned region)
{
    struct client *client = client_find(clients, id);

    if (client)
        regions_gone(client, region);
}

void clients_pool(struct clients *clients, const struct child_pool *pool)
{
    struct client *client = client_find(clients, pool->client);

    if (client)
        pools_told(client, pool);
    if (pool->fd >= 0)
        close(pool->fd);
}

/* ---- Its end ----------------------------------------------------------------------------------
 */

static void process_ended(void *owner, short revents)
{
    (void)revents;
    client_leave(owner, "its process has ended");
}

/* Once it is attached a client speaks of regions and pools only. */
static void heard(void *owner, short revents)
{
    struct client *client = owner;

    if (!(revents & POLLIN))
        client_leave(client, "its connection broke");
    else if (!regions_hear(client, &client->clients->region_rules))
        client_leave(client, "it closed its connection");
}

static int watch(struct client *client)
{
    struct loop *loop = client->clients->loop;
    int rc = loop_watch(loop, client->spec.pidfd, POLLIN, process_ended, client);

    if (rc == 0 && client->fd >= 0) {
        rc = loop_watch(loop, client->fd, POLLIN, heard, client);
        if (rc < 0)
            loop_unwatch(loop, client->spec.pidfd);
    }
    return rc;
}

/* ---- Adding -----------------------------------------------------------------------------------
 */

/* In the roster before anybody else hears of it. */
static int enroll(struct client *client)
{
    struct roster *roster = &client->clients->roster;
    struct roster_row row = {.pid = client->spec.pid,
                             .uid = client->spec.uid,
                             .may_write = client->spec.may_write,
                             .pinned_max = client->spec.pinned_max,
                             .since_ms = client->since_wall_ms,
                             .started = process_started(client->spec.pid)};
    struct stat st;

    if (client->spec.id && roster_find(roster, client->spec.id))
        return 0;
    if (fstat(client->spec.segment_fd, &st) < 0)
        return -errno;
    if (!client->spec.id)
        client->spec.id = roster_next_id(roster);
    row.id = client->spec.id;
    row.segment = st.st_ino;
    memcpy(row.name, client->name, sizeof(row.name));
    return roster_add(roster, &row);
}

static int client_make(struct client *client)
{
    const struct arena *arena = client->clients->arena;
    int rc = segment_attach(client->spec.segment_fd, arena->nr_partitions, arena->sb->arena_id,
                            &client->segment);

    if (rc < 0)
        return rc;
    client->seen = calloc(client->segment.spec.nr_slots, sizeof(*client->seen));
    client->since_ns = calloc(client->segment.spec.nr_slots, sizeof(*client->since_ns));
    if (!client->seen || !client->since_ns)
        return -ENOMEM;
    rc = enroll(client);
    if (rc == 0 && (rc = watch(client)) < 0)
        roster_remove(&client->clients->roster, client->spec.id);
    return rc;
}

int clients_add(struct clients *clients, const struct client_wish *wish,
                void (*added)(void *waiter, uint32_t id, const char *error), void *waiter)
{
    struct client *client = calloc(1, sizeof(*client));
    int rc = -ENOSPC;

    if (!client) {
        close(wish->segment_fd);
        close(wish->pidfd);
        if (wish->fd >= 0)
            close(wish->fd);
        return -ENOMEM;
    }
    client->clients = clients;
    client->fd = wish->fd;
    client->since_wall_ms = wish->since_wall_ms ? wish->since_wall_ms : clock_wall_ms();
    client->spec = (struct local_spec){.id = wish->id,
                                       .segment_fd = wish->segment_fd,
                                       .pidfd = wish->pidfd,
                                       .pid = (uint32_t)wish->pid,
                                       .uid = wish->uid,
                                       .pinned_max = wish->pinned_max,
                                       .may_write = wish->may_write};
    snprintf(client->name, sizeof(client->name), "%s", wish->name);
    if (clients->nr < LOCAL_CLIENTS_MAX)
        rc = client_make(client);
    if (rc < 0) {
        client_free(client);
        return rc;
    }
    client->added = added;
    client->waiter = waiter;
    clients->list[clients->nr++] = client;
    if (clients->nr == 1)
        loop_arm(clients->loop, &clients->scan, SCAN_MS, scan_all, clients);
    log_info("client %u (pid %u, uid %u, %s) %s", client->spec.id, client->spec.pid,
             client->spec.uid, client->name, client->spec.may_write ? "may write" : "reads");
    if (!added)
        client->told = true;
    else if (clients->child->state == CHILD_READY)
        tell(client);
    else if (clients->child->state == CHILD_DOWN)
        answer(client, NULL);
    return 0;
}

void clients_forget_waiter(struct clients *clients, const void *waiter)
{
    for (unsigned i = 0; i < clients->nr; i++)
        if (clients->list[i]->waiter == waiter)
            clients->list[i]->added = NULL;
}

void clients_teardown(struct clients *clients)
{
    loop_disarm(clients->loop, &clients->scan);
    while (clients->nr > 0) {
        struct client *client = clients->list[--clients->nr];

        unwatch(client);
        client_free(client);
    }
    roster_close(&clients->roster);
}
