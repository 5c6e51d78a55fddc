/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of local clients. One that came while the dataplane is down, or before it went down,
 * is passed to the next one when that starts; one that ends meanwhile simply is not. */
#include "controlplane/clients.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/attach.h"
#include "controlplane/kvraild.h"

/* ---- Rows --------------------------------------------------------------------------------------
 */

static struct client *row_free(struct clients *clients)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        if (clients->rows[i].state == CLIENT_FREE)
            return &clients->rows[i];
    return NULL;
}

static struct client *row_find(struct clients *clients, uint32_t id)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        if (clients->rows[i].state != CLIENT_FREE && clients->rows[i].spec.id == id)
            return &clients->rows[i];
    return NULL;
}

struct client *clients_find(struct kvraild *kvraild, uint32_t id)
{
    struct client *client = row_find(&kvraild->clients, id);

    return client && client->state != CLIENT_LEAVING ? client : NULL;
}

unsigned clients_count(const struct kvraild *kvraild)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        nr += kvraild->clients.rows[i].state != CLIENT_FREE;
    return nr;
}

static void comm_read(uint32_t pid, char *comm, size_t size)
{
    char path[32];
    FILE *file;

    comm[0] = '\0';
    snprintf(path, sizeof(path), "/proc/%u/comm", pid);
    file = fopen(path, "re");
    if (!file)
        return;
    if (fgets(comm, (int)size, file))
        comm[strcspn(comm, "\n")] = '\0';
    for (char *c = comm; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    fclose(file);
}

/* Its connection and its process say nothing any more. */
static void unwatch(struct client *client)
{
    struct loop *loop = &client->kvraild->loop;

    loop_unwatch(loop, client->spec.pidfd);
    if (client->conn < 0)
        return;
    loop_unwatch(loop, client->conn);
    close(client->conn);
    client->conn = -1;
}

static void forget(struct client *client)
{
    struct kvraild *kvraild = client->kvraild;

    unwatch(client);
    roster_remove(&kvraild->clients.roster, client->spec.id);
    segment_close(&client->segment);
    close(client->spec.pidfd);
    free(client->pins);
    *client = (struct client){.conn = -1};
}

/* ---- The end ----------------------------------------------------------------------------------
 */

static void drop_answered(void *owner, uint64_t token, const char *error)
{
    struct kvraild *kvraild = owner;
    struct client *client = row_find(&kvraild->clients, (uint32_t)token);

    /* It knows of no such client: "client-gone" has come before, or never will. */
    if (error && client && client->state == CLIENT_LEAVING && kvraild->child.state == CHILD_READY)
        forget(client);
}

/* Whether the dataplane will say when it has let go. */
static bool tell_drop(struct client *client)
{
    struct kvraild *kvraild = client->kvraild;
    struct child_command command = {
        .done = drop_answered, .owner = kvraild, .token = client->spec.id};
    char line[32];

    if (!client->told || kvraild->child.state == CHILD_DOWN)
        return false;
    if (kvraild->child.state != CHILD_READY)
        return true; /* clients_ready or clients_down follows */
    snprintf(line, sizeof(line), "client-drop %u", client->spec.id);
    return child_send(&kvraild->child, line, &command) == 0;
}

void clients_drop(struct client *client, const char *why)
{
    if (client->state == CLIENT_FREE || client->state == CLIENT_LEAVING)
        return;
    log_info("client %u (%s, pid %u) leaves: %s", client->spec.id, client->name, client->spec.pid,
             why);
    client->state = CLIENT_LEAVING;
    unwatch(client);
    if (!tell_drop(client))
        forget(client);
}

void clients_drop_all(struct kvraild *kvraild, const char *why)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        clients_drop(&kvraild->clients.rows[i], why);
}

static void process_ended(void *owner, short revents)
{
    (void)revents;
    clients_drop(owner, "its process has ended");
}

static void conn_ended(void *owner, short revents)
{
    (void)revents;
    clients_drop(owner, "it closed its connection");
}

/* ---- The beginning ----------------------------------------------------------------------------
 */

static int watch(struct client *client)
{
    struct loop *loop = &client->kvraild->loop;
    int rc = loop_watch(loop, client->spec.pidfd, POLLIN, process_ended, client);

    /* It has nothing more to say: only the hang-up counts. */
    if (rc == 0 && client->conn >= 0)
        rc = loop_watch(loop, client->conn, 0, conn_ended, client);
    return rc;
}

static void joined(struct client *client)
{
    client->state = CLIENT_LIVE;
    attach_done_send(client->conn, 0, client->spec.id, "");
    log_info("client %u (%s, pid %u, user %u) attached, for %s", client->spec.id, client->name,
             client->spec.pid, client->spec.uid,
             client->spec.may_write ? "reading and writing" : "reading");
}

static void add_answered(void *owner, uint64_t token, const char *error)
{
    struct kvraild *kvraild = owner;
    struct client *client = row_find(&kvraild->clients, (uint32_t)token);

    if (!client || client->state != CLIENT_JOINING)
        return;
    if (!error) {
        joined(client);
    } else if (kvraild->child.state == CHILD_READY) {
        attach_done_send(client->conn, EAGAIN, 0, error);
        clients_drop(client, error);
    } /* else it died, and the next one is told */
}

static void tell_add(struct client *client)
{
    struct kvraild *kvraild = client->kvraild;
    const struct local_spec *spec = &client->spec;
    struct child_command command = {.done = add_answered, .owner = kvraild, .token = spec->id};
    int fds[2] = {spec->segment_fd, spec->pidfd};
    char line[128];

    if (client->told || kvraild->child.state != CHILD_READY)
        return;
    snprintf(line, sizeof(line), "client-add %u %u %u %d %llu", spec->id, spec->pid, spec->uid,
             spec->may_write, (unsigned long long)spec->pinned_max);
    client->told = child_send_fds(&kvraild->child, line, fds, 2, &command) == 0;
    if (!client->told) {
        attach_done_send(client->conn, EAGAIN, 0, "the dataplane is busy; try again");
        clients_drop(client, "the dataplane could not be told of it");
    }
}

/* On success all descriptors are the row's. */
static int row_fill(struct kvraild *kvraild, const struct local_spec *spec,
                    const struct roster_row *row, int conn, struct client **out)
{
    struct client *client = row_free(&kvraild->clients);
    int rc;

    if (!client)
        return -EUSERS;
    *client =
        (struct client){.kvraild = kvraild, .spec = *spec, .conn = conn, .since_ms = row->since_ms};
    rc = segment_attach(spec->segment_fd, kvraild->arena.nr_partitions, kvraild->arena.sb->arena_id,
                        &client->segment);
    if (rc)
        return rc;
    memcpy(client->name, row->name, sizeof(client->name));
    client->name[sizeof(client->name) - 1] = '\0';
    comm_read(spec->pid, client->comm, sizeof(client->comm));
    client->pins = calloc(client->segment.spec.nr_slots, sizeof(*client->pins));
    rc = client->pins ? watch(client) : -ENOMEM;
    if (rc) {
        loop_unwatch(&kvraild->loop, spec->pidfd);
        client->segment.fd = -1; /* stays the caller's */
        segment_close(&client->segment);
        free(client->pins);
        *client = (struct client){.conn = -1};
        return rc;
    }
    *out = client;
    return 0;
}

static const char *refusal(int rc)
{
    return rc == -EUSERS   ? "as many clients as clients_max allows are attached already"
           : rc == -EPROTO ? "the client library is of another version than kvraild"
           : rc == -EINVAL ? "the client's segment is not as it must be, or of another arena"
                           : strerror(-rc);
}

void clients_join(struct kvraild *kvraild, const struct newcomer *newcomer)
{
    struct local_spec spec = {.segment_fd = newcomer->segment_fd,
                              .pidfd = newcomer->peer.pidfd,
                              .pid = (uint32_t)newcomer->peer.pid,
                              .uid = newcomer->peer.uid,
                              .pinned_max = newcomer->pinned_max,
                              .may_write = newcomer->may_write};
    struct roster_row row = {.pid = spec.pid,
                             .uid = spec.uid,
                             .may_write = spec.may_write,
                             .pinned_max = spec.pinned_max,
                             .since_ms = clock_wall_ms(),
                             .started = process_started(spec.pid),
                             .asymmetric = newcomer->asymmetric};
    struct client *client = NULL;
    struct stat st;
    int rc = fstat(spec.segment_fd, &st) < 0 ? -errno : 0;

    snprintf(row.name, sizeof(row.name), "%s", newcomer->name);
    if (rc == 0 && clients_count(kvraild) >= options_number(&kvraild->options, OPT_clients_max))
        rc = -EUSERS;
    if (rc == 0)
        rc = row_fill(kvraild, &spec, &row, newcomer->conn, &client);
    if (rc) {
        attach_done_send(newcomer->conn, (uint32_t)(rc == -EUSERS ? EBUSY : -rc), 0, refusal(rc));
        close(spec.segment_fd);
        close(spec.pidfd);
        close(newcomer->conn);
        return;
    }
    row.segment = st.st_ino;
    row.id = client->spec.id = roster_next_id(&kvraild->clients.roster);
    client->state = CLIENT_JOINING;
    if (roster_add(&kvraild->clients.roster, &row) < 0)
        clients_drop(client, "the roster is full");
    else
        tell_add(client);
}

bool clients_inherit(struct kvraild *kvraild, const struct local_spec *spec,
                     const struct roster_row *row)
{
    struct client *client;
    int rc = row_fill(kvraild, spec, row, -1, &client);

    if (rc) {
        struct child_command command = {0};
        char line[32];

        log_warning("client %u (pid %u) cannot be taken over: %s", spec->id, spec->pid,
                    strerror(-rc));
        snprintf(line, sizeof(line), "client-drop %u", spec->id);
        (void)!child_send(&kvraild->child, line, &command);
        close(spec->segment_fd);
        close(spec->pidfd);
        return false;
    }
    client->state = CLIENT_LIVE;
    client->told = kvraild->child.state == CHILD_STARTING;
    return true;
}

void clients_prune(struct kvraild *kvraild)
{
    const struct roster_row *rows = kvraild->clients.roster.page->rows;

    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        if (rows[i].id && !row_find(&kvraild->clients, rows[i].id))
            roster_remove(&kvraild->clients.roster, rows[i].id);
}

/* ---- The dataplane comes and goes -------------------------------------------------------------
 */

unsigned clients_specs(struct kvraild *kvraild, struct local_spec specs[LOCAL_CLIENTS_MAX])
{
    unsigned nr = 0;

    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++) {
        struct client *client = &kvraild->clients.rows[i];

        if (client->state == CLIENT_FREE || client->state == CLIENT_LEAVING)
            continue;
        client->told = true;
        specs[nr++] = client->spec;
    }
    return nr;
}

void clients_ready(struct kvraild *kvraild)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++) {
        struct client *client = &kvraild->clients.rows[i];

        if (client->state == CLIENT_JOINING && client->told)
            joined(client);
        else if (client->state == CLIENT_JOINING)
            tell_add(client);
        else if (client->state == CLIENT_LEAVING && !tell_drop(client))
            forget(client);
    }
}

void clients_gone(struct kvraild *kvraild, uint32_t id, const char *why)
{
    struct client *client = row_find(&kvraild->clients, id);

    if (!client)
        return;
    if (client->state != CLIENT_LEAVING)
        log_info("client %u (%s, pid %u) is gone: %s", id, client->name, client->spec.pid, why);
    forget(client);
}

void clients_down(struct kvraild *kvraild)
{
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++) {
        struct client *client = &kvraild->clients.rows[i];

        client->told = false;
        if (client->state == CLIENT_LEAVING)
            forget(client);
    }
}

int clients_setup(struct kvraild *kvraild)
{
    int rc = kvraild->clients.roster.page ? 0 : roster_create(&kvraild->clients.roster);

    if (rc)
        log_error("no memory for the list of clients: %s", strerror(-rc));
    else
        pins_start(kvraild);
    return rc;
}

void clients_teardown(struct kvraild *kvraild)
{
    pins_stop(kvraild);
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        if (kvraild->clients.rows[i].state != CLIENT_FREE)
            forget(&kvraild->clients.rows[i]);
    roster_close(&kvraild->clients.roster);
}
