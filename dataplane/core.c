/* SPDX-License-Identifier: Apache-2.0 */
/* Makes and unmakes a poll core, and gives it new settings. Main thread, but for core_tick. */
#include "dataplane/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "dataplane/cookie.h"
#include "dataplane/handoff.h"
#include "dataplane/local/local.h"
#include "dataplane/local/turn.h"
#include "dataplane/reply.h"
#include "dataplane/session.h"
#include "dataplane/upload.h"
#include "shm/reclaim.h"

#define CRC_BUDGET (64u * 1024u) /* bytes of uploads checked in a turn, some 2 us */

static int open_partitions(struct core *core, const struct core_options *options,
                           struct partition_recovery *recovery)
{
    struct partition_options partition_options = {.policy = options->live.policy,
                                                  .reclaimer = options->reclaimer,
                                                  .verify = options->verify,
                                                  .keep_reserved =
                                                      options->local ? local_keeps_reserved : NULL,
                                                  .context = options->local};

    for (unsigned p = core->index; p < core->nr_partitions; p += core->nr_cores) {
        struct partition_recovery one = {0};
        int rc = partition_open(core->arena, p, &partition_options, &core->partitions[p], &one);

        if (rc < 0)
            return rc;
        recovery->kept += one.kept;
        recovery->kept_bytes += one.kept_bytes;
        recovery->kept_reserved += one.kept_reserved;
        recovery->dropped_unsealed += one.dropped_unsealed;
        recovery->dropped_damaged += one.dropped_damaged;
        recovery->dropped_expired += one.dropped_expired;
    }
    return 0;
}

static int make_tables(struct core *core, const struct core_options *options)
{
    int rc;

    core->live = malloc(sizeof(*core->live));
    if (!core->live)
        return -ENOMEM;
    *core->live = options->live;
    core->now = core->live;
    memcpy(core->policy, options->live.policy, sizeof(core->policy));
    rc = session_table_create(options->sessions_max, &core->sessions);
    if (rc == 0)
        rc = upload_table_create(options->uploads_max, (uint32_t)options->boot_id, &core->uploads);
    if (rc == 0)
        rc = cookie_cache_create(&core->cookie_cache);
    return rc;
}

/* An earlier run over the same arena may have ended in the middle of anything. */
static void mend_stats(struct core_stats *stats)
{
    counter_set(&stats->sessions, 0);
    counter_set(&stats->uploads, 0);
    for (unsigned i = 0; i < ERRORS_KEPT; i++)
        stats->errors[i].seq += stats->errors[i].seq & 1;
}

int core_create(const struct core_options *options, struct core **out,
                struct partition_recovery *recovery)
{
    struct core *core;
    int rc;

    if (options->index >= options->nr_cores || options->sessions_max == 0 ||
        options->uploads_max == 0 || options->uploads_max > UPLOADS_MAX ||
        options->nr_cores > options->arena->sb->nr_partitions ||
        (options->nr_cores > 1 && !options->handoff) || options->live.cookie_ms == 0)
        return -EINVAL;
    core = aligned_alloc(CACHE_LINE, (sizeof(*core) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (!core)
        return -ENOMEM;
    memset(core, 0, sizeof(*core));
    memset(recovery, 0, sizeof(*recovery));
    core->index = options->index;
    core->nr_cores = options->nr_cores;
    core->arena = options->arena;
    core->stats = arena_stats(options->arena, options->index);
    core->transport = options->transport;
    core->nr_partitions = options->arena->sb->nr_partitions;
    core->handoff = options->handoff;
    core->cookies = options->cookies;
    core->parked_tail = &core->parked;
    core->boot_id = options->boot_id;
    core->base_port = options->base_port;
    core->unit_shift = crc32c_shift(KVR_FRAG_BEST);
    core->max_datagram = options->transport->max_datagram < KVR_DATAGRAM_MAX
                             ? options->transport->max_datagram
                             : KVR_DATAGRAM_MAX;
    mend_stats(core->stats);
    rc = make_tables(core, options);
    if (rc == 0)
        rc = open_partitions(core, options, recovery);
    if (rc < 0) {
        core_destroy(core);
        return rc;
    }
    if (options->local)
        local_bind(options->local, core);
    *out = core;
    return 0;
}

static void release_all(struct core *core)
{
    unsigned ring = 0;
    struct request *request;

    while ((request = core->parked) != NULL) {
        core->parked = request->next;
        core->transport->ops->release(core->transport, request);
    }
    while (core->handoff && (request = handoff_pop(core, &ring)) != NULL)
        request_transport(core, request)->ops->release(request_transport(core, request), request);
    local_unbind(core);
}

void core_destroy(struct core *core)
{
    if (!core)
        return;
    release_all(core);
    upload_table_destroy(core->uploads);
    session_table_destroy(core->sessions);
    cookie_cache_destroy(core->cookie_cache);
    for (unsigned p = 0; p < core->nr_partitions; p++)
        if (core->partitions[p])
            partition_close(core->partitions[p]);
    free(core->live);
    free(core);
}

static void apply_policy(struct core *core)
{
    memcpy(core->policy, core->now->policy, sizeof(core->policy));
    for (unsigned p = core->index; p < core->nr_partitions; p += core->nr_cores)
        if (partition_set_policy(core->partitions[p], core->policy, core->now_ms) < 0)
            log_warning("policy %s is unknown: partition %u keeps the one it has", core->policy, p);
}

/* Clients ask for as much at once as HELLO allowed them, and take for lost what does not come. So a
 * lower train_max counts when the cookies that were given with the higher one have died. */
static void hold_train_max(struct core *core)
{
    if (core->now->train_max >= core->train_max) {
        core->train_max = core->now->train_max;
        core->train_epoch = core->epoch;
    } else if (core->epoch - core->train_epoch > 1) {
        core->train_max = core->now->train_max;
    }
}

static uint32_t copy_max(const struct core *core)
{
    uint32_t least = core->transport->zero_copy_min;

    if (core->now->zero_copy_min == 0)
        return UINT32_MAX;
    return (core->now->zero_copy_min > least ? core->now->zero_copy_min : least) - 1;
}

void core_tick(struct core *core, uint64_t now_ns)
{
    answer_latency(core, now_ns);
    core->now_ns = now_ns;
    core->now_ms = arena_ms(core->arena, now_ns);
    /* acquire: with the release in live_publish, the copy is complete */
    core->now = __atomic_load_n(&core->live, __ATOMIC_ACQUIRE);
    core->epoch = now_ns / (core->now->cookie_ms * NS_PER_MS);
    hold_train_max(core);
    core->copy_max = copy_max(core);
    core->crc_budget = CRC_BUDGET;
    core->train_budget = TRAIN_BUDGET;
    if (unlikely(memcmp(core->policy, core->now->policy, sizeof(core->policy)) != 0))
        apply_policy(core);
}

int live_publish(struct core **cores, unsigned nr_cores, const struct live_settings *live)
{
    struct live_settings *fresh[KVR_PARTITIONS_MAX], *old[KVR_PARTITIONS_MAX];

    if (live->cookie_ms == 0)
        return -EINVAL;
    for (unsigned i = 0; i < nr_cores; i++) {
        fresh[i] = malloc(sizeof(*fresh[i]));
        if (!fresh[i]) {
            while (i-- > 0)
                free(fresh[i]);
            return -ENOMEM;
        }
        *fresh[i] = *live;
    }
    for (unsigned i = 0; i < nr_cores; i++)
        old[i] = __atomic_exchange_n(&cores[i]->live, fresh[i], __ATOMIC_ACQ_REL);
    rcu_synchronize();
    for (unsigned i = 0; i < nr_cores; i++)
        free(old[i]);
    return 0;
}
