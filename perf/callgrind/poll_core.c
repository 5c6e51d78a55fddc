/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of dataplane/boot.c in its order, for one core that runs on the calling thread. */
#include "poll_core.h"

#include <errno.h>
#include <rte_ring.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "dataplane/eth/eal.h"
#include "dataplane/eth/eal_log.h"
#include "dataplane/eth/transport.h"
#include "shm/reclaim.h"

#define DEVICE "net_ring0"
#define RING "ETH_RXTX0_" DEVICE /* as the driver names it */
#define BASE_PORT 9690u
#define SLOT_SPARE 192u /* bytes around a small value, generously */
#define DATA_MIN (64ull << 20)

static void choose_settings(struct settings *settings, const struct poll_core_spec *spec)
{
    settings_defaults(settings);
    snprintf(settings->device, sizeof(settings->device), DEVICE);
    snprintf(settings->ipv4, sizeof(settings->ipv4), "10.96.0.1/24");
    settings->ipv6[0] = 0;
    settings->host_ipv4[0] = 0;
    settings->host_ipv6[0] = 0;
    settings->port = BASE_PORT;
    settings->mtu = spec->mtu;
    settings->idle = IDLE_SPIN;
    settings->cookie_ms = 3600000; /* it runs slowly under valgrind */
    settings->packet_memory = 64;
    settings->packet_buffers = 8192;
}

static int start_eal(struct poll_core *poll, struct fault *fault)
{
    struct cpu_plan plan;
    cpu_set_t allowed;
    int rc;

    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        return fault_set(fault, -errno, "CPU affinity cannot be read: %s", strerror(errno));
    rc = cpu_plan("", &allowed, 1, &plan);
    if (!rc)
        rc = eal_log_open();
    if (rc)
        return fault_set(fault, rc, "DPDK does not start: %s", strerror(-rc));
    return eal_start(&poll->settings, &plan, &allowed, fault);
}

static int make_arena(struct poll_core *poll, const struct poll_core_spec *spec,
                      struct fault *fault)
{
    uint64_t want = spec->keys * (spec->value_len + SLOT_SPARE);
    struct arena_spec arena = {.data_size = want < DATA_MIN ? DATA_MIN : want,
                               .hugepages = HUGEPAGES_AUTO,
                               .nr_partitions = 1,
                               .nr_cores = 1,
                               .blocks_max = spec->keys + spec->keys / 4 + 1024};
    int rc = arena_create(&arena, &poll->arena);

    return rc ? fault_set(fault, rc, "no arena for %lu keys: %s", (unsigned long)spec->keys,
                          strerror(-rc))
              : 0;
}

static int make_core(struct poll_core *poll, struct fault *fault)
{
    struct core_stats *stats = arena_stats(&poll->arena, 0);
    struct partition_recovery found;
    struct core_options options = {
        .nr_cores = 1,
        .arena = &poll->arena,
        .reclaimer = poll->reclaimer,
        .live = {.idle = poll->settings.idle,
                 .train_max = (uint32_t)poll->settings.train_max,
                 .cookie_ms = (uint32_t)poll->settings.cookie_ms,
                 .upload_idle_ms = (uint32_t)poll->settings.upload_idle_ms,
                 .lease_max_ms = (uint32_t)poll->settings.lease_max_ms,
                 .deadline_default_ms = (uint32_t)poll->settings.deadline_default_ms,
                 .zero_copy_min = (uint32_t)poll->settings.zero_copy_min},
        .sessions_max = (uint32_t)poll->settings.sessions_max,
        .uploads_max = (uint32_t)poll->settings.uploads_max,
        .base_port = (uint16_t)poll->settings.port,
        .boot_id = 1,
    };
    int rc = eth_transports_create(&poll->port, &poll->settings, &stats, &poll->transport);

    snprintf(options.live.policy, sizeof(options.live.policy), "%.15s", poll->settings.policy);
    if (!rc)
        rc = cookie_keys_create(&poll->cookies);
    if (!rc)
        rc = handoff_create(1, &poll->handoff);
    options.transport = poll->transport;
    options.handoff = poll->handoff;
    options.cookies = poll->cookies;
    if (!rc)
        rc = core_create(&options, &poll->core, &found);
    return rc ? fault_set(fault, rc, "the poll core cannot be made: %s", strerror(-rc)) : 0;
}

int poll_core_open(struct poll_core *poll, const struct poll_core_spec *spec, struct fault *fault)
{
    int rc;

    memset(poll, 0, sizeof(*poll));
    log_set_level(LOG_LEVEL_WARNING);
    choose_settings(&poll->settings, spec);
    rc = make_arena(poll, spec, fault);
    if (rc)
        return rc;
    rc = start_eal(poll, fault);
    if (!rc)
        rc = port_create(&poll->settings, 1, 1, &poll->arena, &poll->port, fault);
    if (rc)
        return rc;
    rc = reclaimer_create(&poll->arena, &poll->reclaimer);
    if (rc)
        return fault_set(fault, rc, "reclaimer thread does not start: %s", strerror(-rc));
    rc = make_core(poll, fault);
    if (!rc)
        rc = port_start(&poll->port, &poll->settings, fault);
    if (rc)
        return rc;
    poll->wire = rte_ring_lookup(RING);
    return poll->wire ? 0 : fault_set(fault, -ENODEV, "the device has no ring named " RING);
}

void poll_core_close(struct poll_core *poll)
{
    core_destroy(poll->core);
    handoff_destroy(poll->handoff);
    cookie_keys_destroy(poll->cookies);
    port_stop(&poll->port);
    eth_transports_destroy(&poll->transport, 1);
    reclaimer_destroy(poll->reclaimer);
    port_destroy(&poll->port);
    eal_stop();
    arena_close(&poll->arena);
}

int poll_core_put(struct poll_core *poll, const void *key, uint32_t key_len, const void *value,
                  uint32_t value_len)
{
    struct partition *partition = poll->core->partitions[0];
    struct block_request request = {.key = key,
                                    .key_len = key_len,
                                    .hash = hash_key(key, key_len, poll->arena.sb->seed),
                                    .value_len = value_len};
    uint32_t now_ms = 0, block; /* of the epoch, which has just begun */
    uint64_t ref;

    if (partition_reserve(partition, &request, now_ms, &block) != KVR_OK)
        return -ENOMEM;
    memcpy(partition_value(partition, block), value, value_len);
    if (partition_seal(partition, block, crc32c(0, value, value_len), false, now_ms, &ref) !=
        KVR_OK)
        return -ENOMEM;
    return 0;
}
