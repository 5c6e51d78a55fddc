/* SPDX-License-Identifier: Apache-2.0 */
/* See bed.h. The calling thread is the owner of the partition; it is offline for RCU, as nothing is
 * unlinked here. */
#include "perf/micro/bed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "dataplane/cookie.h"
#include "shm/reclaim.h"
#include "tools/content.h"

#define COOKIE_MS 3600000u

static unsigned bed_rx(struct transport *transport, uint64_t now_ns, struct request **requests,
                       unsigned max)
{
    (void)transport;
    (void)now_ns;
    (void)requests;
    (void)max;
    return 0;
}

static void bed_release(struct transport *transport, struct request *request)
{
    (void)transport;
    (void)request;
}

static bool bed_reply_begin(struct transport *transport, const struct peer *peer,
                            struct reply *reply)
{
    struct bed *bed = (struct bed *)transport;

    (void)peer;
    reply->bytes = bed->frames + (size_t)(bed->next_frame++ % BED_FRAMES) * BED_FRAME;
    reply->room = transport->max_datagram;
    reply->len = 0;
    return true;
}

static bool bed_reply_attach(struct transport *transport, struct reply *reply,
                             struct partition *partition, uint32_t block, const uint8_t *bytes,
                             uint32_t len)
{
    (void)transport;
    (void)reply;
    (void)partition;
    (void)block;
    (void)bytes;
    (void)len;
    return false;
}

static void bed_reply_send(struct transport *transport, const struct peer *peer,
                           struct reply *reply)
{
    (void)peer;
    (void)reply;
    ((struct bed *)transport)->sent++;
}

static void bed_turn_round(struct transport *transport, struct request *request, uint32_t len)
{
    (void)request;
    (void)len;
    ((struct bed *)transport)->sent++;
}

static unsigned bed_flush(struct transport *transport)
{
    (void)transport;
    return 0;
}

static const struct transport_ops bed_ops = {.name = "bed",
                                             .rx = bed_rx,
                                             .release = bed_release,
                                             .reply_begin = bed_reply_begin,
                                             .reply_attach = bed_reply_attach,
                                             .reply_send = bed_reply_send,
                                             .turn_round = bed_turn_round,
                                             .flush = bed_flush};

uint64_t bed_memory(uint64_t nr_keys, uint32_t value_len)
{
    return nr_keys * (192 + (uint64_t)value_len + 64);
}

void bed_key(uint64_t id, uint8_t key[BED_KEY])
{
    content_key(key, BED_KEY, id, 0);
}

struct key_hash bed_hash(const struct bed *bed, const uint8_t key[BED_KEY])
{
    return hash_key(key, BED_KEY, bed->arena.sb->seed);
}

/* A client that has shown its cookie. */
static void introduce(struct bed *bed)
{
    bed->peer = (struct peer){.ip = {[10] = 0xff, [11] = 0xff, 10, 96, 0, 2},
                              .local_ip = {[10] = 0xff, [11] = 0xff, 10, 96, 0, 1},
                              .mac = {2, 0, 0, 0, 0, 2},
                              .local_mac = {2, 0, 0, 0, 0, 1},
                              .port = 40000,
                              .local_port = BED_PORT};
    bed->session = 0x5e55;
    bed->cookie = cookie_make(bed->cookies, &bed->peer, bed->session, bed->core->epoch);
}

static int open_core(struct bed *bed, struct transport *transport)
{
    struct partition_recovery recovery;
    struct core_options options = {.nr_cores = 1,
                                   .arena = &bed->arena,
                                   .transport = transport ? transport : &bed->transport,
                                   .cookies = bed->cookies,
                                   .reclaimer = bed->reclaimer,
                                   .live = {.idle = IDLE_SPIN,
                                            .train_max = 65536,
                                            .cookie_ms = COOKIE_MS,
                                            .upload_idle_ms = 5000,
                                            .lease_max_ms = 10000,
                                            .deadline_default_ms = 1000,
                                            .zero_copy_min = 1,
                                            .policy = "lru"},
                                   .sessions_max = 1024,
                                   .uploads_max = 8,
                                   .base_port = BED_PORT,
                                   .boot_id = 1};

    return core_create(&options, &bed->core, &recovery);
}

struct bed *bed_open(uint64_t nr_keys, uint32_t value_len, struct transport *transport)
{
    struct arena_spec spec = {.data_size =
                                  (32u << 20) + nr_keys * ((value_len + 127) / 64 * 64) * 9 / 8,
                              .nr_partitions = 1,
                              .nr_cores = 1,
                              .blocks_max = nr_keys + nr_keys / 8 + 1024,
                              .hugepages = HUGEPAGES_AUTO,
                              .seed = 7};
    struct bed *bed = calloc(1, sizeof(*bed));
    int rc = bed ? arena_create(&spec, &bed->arena) : -ENOMEM;

    if (rc) {
        log_error("arena: %s", strerror(-rc));
        free(bed);
        return NULL;
    }
    bed->transport = (struct transport){
        .ops = &bed_ops, .max_datagram = KVR_DATAGRAM_MAX, .zero_copy_min = UINT32_MAX};
    bed->frames = aligned_alloc(CACHE_LINE, (size_t)BED_FRAMES * BED_FRAME);
    rc = bed->frames ? reclaimer_create(&bed->arena, &bed->reclaimer) : -ENOMEM;
    if (!rc)
        rc = cookie_keys_create(&bed->cookies);
    if (!rc)
        rc = open_core(bed, transport);
    if (rc) {
        log_error("engine: %s", strerror(-rc));
        bed_close(bed);
        return NULL;
    }
    core_tick(bed->core, clock_ns());
    introduce(bed);
    return bed;
}

void bed_close(struct bed *bed)
{
    core_destroy(bed->core);
    cookie_keys_destroy(bed->cookies);
    if (bed->reclaimer)
        reclaimer_destroy(bed->reclaimer);
    arena_close(&bed->arena);
    free(bed->frames);
    free(bed);
}

static bool store(struct bed *bed, uint64_t id, uint32_t value_len)
{
    struct partition *partition = bed->core->partitions[0];
    uint8_t key[BED_KEY];
    struct block_request request = {.key = key, .key_len = BED_KEY, .value_len = value_len};
    uint32_t now_ms = bed->core->now_ms, block, crc = 0;
    uint64_t ref;

    bed_key(id, key);
    request.hash = bed_hash(bed, key);
    if (partition_reserve(partition, &request, now_ms, &block) != KVR_OK)
        return false;
    if (value_len > 0) {
        content_fill(partition_value(partition, block), value_len, id, 1);
        crc = crc32c(0, partition_value(partition, block), value_len);
    }
    return partition_seal(partition, block, crc, false, now_ms, &ref) == KVR_OK;
}

bool bed_fill(struct bed *bed, uint64_t nr_keys, uint32_t value_len)
{
    for (uint64_t id = 0; id < nr_keys; id++)
        if (!store(bed, id, value_len)) {
            log_error("block %llu of %llu cannot be stored", (unsigned long long)id,
                      (unsigned long long)nr_keys);
            return false;
        }
    return true;
}
