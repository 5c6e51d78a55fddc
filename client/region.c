/* SPDX-License-Identifier: Apache-2.0 */
/* Registration of memory: said on the mount's socket, answered there, and said again on each mount
 * that comes after. Nothing here blocks but the two public functions, until the default timeout. */
#include "client/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/attach.h"
#include "client/local.h"
#include "client/look.h"
#include "client/poll.h"
#include "shm/attach.h"
#include "shm/passing.h"

#define LOOK_AGAIN_NS (200 * NS_PER_US)

_Static_assert(KVR_HANDLE_MAX == ATTACH_HANDLE_MAX, "handles go as they are");

/* ---- What is said and heard ---- */

static bool say(const struct mount *mount, const struct kvr_region *region,
                enum attach_region_op op)
{
    struct attach_region word = {
        .magic = ATTACH_MAGIC, .version = ATTACH_VERSION, .op = op, .number = region->number};
    int fd = -1;

    if (op == ATTACH_REGION_ADD) {
        word.kind = region->spec.kind;
        word.size = region->spec.size;
        memcpy(word.bytes, region->spec.bytes, sizeof(word.bytes));
        fd = region->spec.fd;
    }
    return attach_say(mount->socket, &word, sizeof(word), fd);
}

static enum kvr_status refusal(uint32_t error)
{
    switch (error) {
    case ENODEV:
    case ENOTSUP:
        return KVR_NO_DEVICE;
    case EINVAL:
        return KVR_INVALID;
    case EDQUOT:
    case ENOSPC:
        return KVR_LIMIT;
    case ENOMEM:
        return KVR_NO_MEMORY;
    default:
        return KVR_INTERNAL;
    }
}

static void take(struct kvr_client *client, const struct attach_region_done *done)
{
    struct kvr_region *region;

    if (done->magic != ATTACH_MAGIC || done->version != ATTACH_VERSION ||
        done->number >= KVR_REGIONS_MAX)
        return;
    region = client->regions[done->number];
    if (!region || region->mount != client->local->mount->number)
        return;
    if (done->op == ATTACH_REGION_ADD && region->word == REGION_SAID) {
        region->word = done->status == 0 ? REGION_HERE : REGION_REFUSED;
        region->refused = refusal(done->status);
    } else if (done->op == ATTACH_REGION_DROP && region->word == REGION_LEAVES) {
        region->word = REGION_GONE; /* also if it was not there */
    }
}

void regions_hear(struct kvr_client *client)
{
    union {
        struct attach_region_done region;
        struct attach_pool_done pool;
    } done;
    struct passed came;
    ssize_t n;

    _Static_assert(sizeof(done.region) == sizeof(done.pool), "told apart by op");
    while (client->local->mount->socket >= 0 &&
           (n = passing_receive(client->local->mount->socket, &done, sizeof(done), &came)) != 0) {
        bool pool = n == (ssize_t)sizeof(done) && came.nr <= 1 && done.pool.magic == ATTACH_MAGIC &&
                    done.pool.op == ATTACH_POOL;

        if (pool)
            look_hear(client, &done.pool, came.nr ? came.fds[0] : -1);
        else
            passing_close(came.fds, came.nr);
        if (n < 0)
            return;
        if (!pool && n == (ssize_t)sizeof(done))
            take(client, &done.region);
    }
}

/* What was said to an older mount says nothing of this one. */
static void follow(const struct kvr_client *client, struct kvr_region *region)
{
    uint32_t number = client->local->mount->number;

    if (region->mount == number)
        return;
    region->mount = number;
    region->word = region->word == REGION_LEAVES ? REGION_GONE : REGION_UNSAID;
}

enum prepared region_prepare(struct kvr_client *client, struct kvr_region *region,
                             enum kvr_status *status)
{
    follow(client, region);
    if (region->word == REGION_HERE)
        return PREPARE_SEND;
    regions_hear(client);
    switch ((enum region_word)region->word) {
    case REGION_HERE:
        return PREPARE_SEND;
    case REGION_UNSAID:
        if (say(client->local->mount, region, ATTACH_REGION_ADD))
            region->word = REGION_SAID;
        return PREPARE_WAIT;
    case REGION_SAID:
        return PREPARE_WAIT;
    case REGION_REFUSED:
        *status = region->refused;
        return PREPARE_DONE;
    default:
        *status = KVR_NO_REGION;
        return PREPARE_DONE;
    }
}

/* ---- Register, forget ---- */

static bool needs_fd(enum kvr_region_kind kind)
{
    return kind == KVR_REGION_MEMFD || kind == KVR_REGION_CUDA_FD;
}

static bool spec_valid(const struct kvr_region_spec *spec)
{
    return spec && spec->kind >= KVR_REGION_MEMFD && spec->kind <= KVR_REGION_HOST &&
           spec->size > 0 && (spec->kind != KVR_REGION_HOST || spec->base) &&
           (!needs_fd(spec->kind) || spec->fd >= 0);
}

static void free_region(struct kvr_client *client, struct kvr_region *region)
{
    client->regions[region->number] = NULL;
    if (region->spec.fd >= 0)
        close(region->spec.fd);
    free(region);
}

void regions_free(struct kvr_client *client)
{
    for (unsigned i = 0; i < KVR_REGIONS_MAX; i++)
        if (client->regions[i])
            free_region(client, client->regions[i]);
}

/* What was given up while its answer was outstanding, and has got one since. */
static void sweep(struct kvr_client *client)
{
    if (!client->local)
        return;
    regions_hear(client);
    for (unsigned i = 0; i < KVR_REGIONS_MAX; i++) {
        struct kvr_region *region = client->regions[i];

        if (!region || !region->abandoned)
            continue;
        follow(client, region);
        if (region->word == REGION_GONE)
            free_region(client, region);
    }
}

/* An entry under the lowest number that is free. */
static enum kvr_status make(struct kvr_client *client, const struct kvr_region_spec *spec,
                            struct kvr_region **out)
{
    struct kvr_region *region;
    unsigned number = 0;

    sweep(client);
    while (number < KVR_REGIONS_MAX && client->regions[number])
        number++;
    if (number == KVR_REGIONS_MAX)
        return KVR_LIMIT;
    region = calloc(1, sizeof(*region));
    if (!region)
        return KVR_NO_MEMORY;
    region->spec = *spec;
    region->number = (uint8_t)number;
    region->by_device = client->local && spec->kind != KVR_REGION_HOST;
    region->spec.fd = -1;
    if (region->by_device && needs_fd(spec->kind)) {
        region->spec.fd = fcntl(spec->fd, F_DUPFD_CLOEXEC, 3);
        if (region->spec.fd < 0) {
            free(region);
            return errno == EBADF ? KVR_INVALID : KVR_NO_MEMORY;
        }
    }
    client->regions[number] = region;
    *out = region;
    return KVR_OK;
}

/* Lets the rest of the handle work on for a moment. False: time is over. */
static bool pause_until(struct kvr_client *client, uint64_t until_ns)
{
    client->now_ns = clock_ns();
    if (client->now_ns >= until_ns)
        return false;
    poll_wait(client, client->now_ns + LOOK_AGAIN_NS);
    return true;
}

static enum kvr_status await(struct kvr_client *client, struct kvr_region *region)
{
    uint64_t until_ns = clock_ns() + client->options.timeout_ms * NS_PER_MS;
    enum kvr_status status = KVR_OK;
    enum prepared prepared;

    while ((prepared = region_prepare(client, region, &status)) == PREPARE_WAIT)
        if (!pause_until(client, until_ns))
            return client->local->lost ? KVR_UNREACHABLE : KVR_TIMEOUT;
    return prepared == PREPARE_SEND ? KVR_OK : status;
}

/* An answer may still come: its number stays taken until then. */
static void abandon(struct kvr_client *client, struct kvr_region *region)
{
    (void)say(client->local->mount, region, ATTACH_REGION_DROP);
    region->word = REGION_LEAVES;
    region->abandoned = true;
}

enum kvr_status kvr_region_register(struct kvr_client *client, const struct kvr_region_spec *spec,
                                    struct kvr_region **out)
{
    struct kvr_region *region = NULL;
    enum kvr_status status;

    if (!spec_valid(spec) || !out)
        return KVR_INVALID;
    if (client->local && local_forked(client->local))
        return KVR_INVALID;
    if (!client->local && !spec->base)
        return KVR_NO_DEVICE;
    status = make(client, spec, &region);
    if (status == KVR_OK && region->by_device)
        status = await(client, region);
    if (status == KVR_NO_DEVICE && spec->kind == KVR_REGION_MEMFD && spec->base) {
        region->by_device = false; /* it is host memory: then the library copies */
        status = KVR_OK;
    }
    if (status == KVR_OK)
        *out = region;
    else if (region && region->word == REGION_SAID)
        abandon(client, region);
    else if (region)
        free_region(client, region);
    return status;
}

int kvr_region_by_device(const struct kvr_region *region)
{
    return region->by_device;
}

enum kvr_status kvr_region_forget(struct kvr_client *client, struct kvr_region *region)
{
    uint64_t until_ns = clock_ns() + client->options.timeout_ms * NS_PER_MS;

    if (!region)
        return KVR_INVALID;
    if (region->nr_transfers > 0)
        return KVR_BUSY;
    while (region->by_device && region->word != REGION_GONE) {
        follow(client, region);
        if (region->word == REGION_HERE || region->word == REGION_SAID) {
            if (say(client->local->mount, region, ATTACH_REGION_DROP))
                region->word = REGION_LEAVES;
        } else if (region->word != REGION_LEAVES) {
            break; /* this mount's server does not have it */
        }
        regions_hear(client);
        if (region->word != REGION_GONE && !pause_until(client, until_ns))
            return KVR_TIMEOUT;
    }
    free_region(client, region);
    return KVR_OK;
}
