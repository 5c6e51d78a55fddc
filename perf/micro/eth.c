/* SPDX-License-Identifier: Apache-2.0 */
/* Where copying a value into the packet ends to be cheaper than attaching it: whole replies over
 * the DPDK transport and net_null, which frees what is sent. With a few values that stay in the
 * cache, and with 64 MiB of them. */
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "dataplane/eth/eal.h"
#include "dataplane/eth/eal_log.h"
#include "dataplane/eth/transport.h"
#include "dataplane/note.h"
#include "dataplane/reply.h"
#include "perf/micro/bed.h"
#include "perf/micro/bench.h"

#define RECORD ((uint32_t)sizeof(struct kvr_get_rep))
#define FLUSH 32u
#define COLD_BYTES (64u << 20)
#define HOT_VALUES 8u

void note(const char *format, ...)
{
    (void)format;
}

/* DPDK starts once in a process; the port stays until its end. */
static struct {
    bool open;
    struct settings settings;
    struct arena arena;
    struct port port;
    struct core_stats *stats;
    struct transport *transport;
} world;

static int open_port(struct fault *fault)
{
    struct arena_spec spec = {.data_size = 1 << 20, .nr_partitions = 1, .nr_cores = 1};
    cpu_set_t pinned;
    struct cpu_plan plan;
    int rc;

    if (sched_getaffinity(0, sizeof(pinned), &pinned) || arena_create(&spec, &world.arena))
        return -1;
    settings_defaults(&world.settings);
    snprintf(world.settings.device, sizeof(world.settings.device), "net_ring0");
    world.settings.mtu = 9000;
    world.settings.packet_memory = 128;
    world.settings.zero_copy_min = 1;
    world.stats = arena_stats(&world.arena, 0);
    rc = cpu_plan("", &pinned, 1, &plan);
    if (!rc)
        rc = eal_log_open();
    if (!rc)
        rc = eal_start(&world.settings, &plan, &pinned, fault);
    if (!rc)
        rc = port_create(&world.settings, 1, 1, &world.arena, &world.port, fault);
    if (!rc)
        rc = eth_transports_create(&world.port, &world.settings, &world.stats, &world.transport);
    if (!rc)
        rc = port_start(&world.port, &world.settings, fault);
    return rc;
}

static bool open_world(void)
{
    struct fault fault = {""};

    if (world.open)
        return true;
    if (open_port(&fault)) {
        log_error("net_ring: %s", fault.text);
        return false;
    }
    world.open = true;
    return true;
}

struct kind {
    const char *name, *what;
    bool attach, cold;
};

struct state {
    struct bed *bed;
    struct request request;
    struct block_view *blocks; /* in the order of use */
    uint32_t nr, len;
    bool attach;
    uint64_t at, asked;
};

static bool find_all(struct state *state)
{
    struct rng rng;

    rng_seed(&rng, 1);
    for (uint32_t i = 0; i < state->nr; i++) {
        uint8_t key[BED_KEY];

        bed_key(rng_below(&rng, state->nr), key);
        if (!index_find(&state->bed->arena, 0, bed_hash(state->bed, key), key, BED_KEY,
                        state->bed->core->now_ms, &state->blocks[i]))
            return false;
    }
    return true;
}

static void *setup(const struct bench *bench)
{
    const struct kind *kind = bench->with;
    struct state *state = calloc(1, sizeof(*state));

    if (!state)
        return NULL;
    state->attach = kind->attach;
    state->len = (uint32_t)bench->arg;
    state->nr = kind->cold ? COLD_BYTES / state->len : HOT_VALUES;
    state->blocks = calloc(state->nr, sizeof(*state->blocks));
    if (state->blocks && open_world())
        state->bed = bed_open(state->nr, state->len, world.transport);
    if (!state->bed || !bed_fill(state->bed, state->nr, state->len) || !find_all(state)) {
        if (state->bed)
            bed_close(state->bed);
        free(state->blocks);
        free(state);
        return NULL;
    }
    state->request.peer = state->bed->peer;
    state->request.hdr = (struct kvr_hdr){.session = 1, .reply_max = UINT8_MAX};
    return state;
}

/* As op_get sends a record. */
static void send_one(struct state *state, const struct block_view *block)
{
    struct core *core = state->bed->core;
    struct answer answer;
    uint8_t *at;

    answer_begin(&answer, core, &state->request);
    at = answer_room(&answer, RECORD + state->len);
    if (!at)
        return;
    memset(at, 0, RECORD);
    if (state->attach) {
        answer.reply.len -= state->len;
        answer_tail(&answer, &(struct tail){.partition = core->partitions[0],
                                            .block = block->block,
                                            .bytes = block->value,
                                            .len = state->len,
                                            .attach = true});
    } else {
        memcpy(at + RECORD, block->value, state->len);
        answer_end(&answer);
    }
}

/* Everything sent, announcements too, is gone. */
static void leave(void)
{
    struct rte_mbuf *frames[FLUSH];
    uint16_t n;

    (void)world.transport->ops->flush(world.transport);
    while ((n = rte_eth_rx_burst(world.port.id, 0, frames, FLUSH)) > 0)
        rte_pktmbuf_free_bulk(frames, n);
}

static void run(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++) {
        send_one(state, &state->blocks[state->at++ % state->nr]);
        if (i % FLUSH == FLUSH - 1)
            leave();
    }
    state->asked += nr;
}

static bool teardown(void *arg)
{
    struct state *state = arg;
    const struct core_stats *stats = state->bed->core->stats;
    bool right;

    leave();
    right = stats->tx_datagrams == state->asked &&
            stats->tx_zero_copy == (state->attach ? state->asked : 0) &&
            partition_pinned(state->bed->core->partitions[0]) == 0;
    bed_close(state->bed);
    free(state->blocks);
    free(state);
    return right;
}

void eth_benches(struct bench_list *list)
{
    static const struct kind kinds[] = {
        {"copy", "reply with the value copied", false, false},
        {"attach", "reply with the value attached", true, false},
        {"copy-cold", "reply with the value copied, from memory", false, true},
        {"attach-cold", "reply with the value attached, from memory", true, true},
    };
    static const uint64_t sizes[] = {64, 256, 512, 1024, 2048, 4096, 8192};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (unsigned j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++) {
            struct bench bench = {.what = kinds[j].what,
                                  .with = &kinds[j],
                                  .arg = sizes[i],
                                  .memory = kinds[j].cold ? 2ull * COLD_BYTES : 0,
                                  .step = FLUSH,
                                  .setup = setup,
                                  .run = run,
                                  .teardown = teardown};

            bench_name(&bench, "eth/%s/%s", kinds[j].name, bench_size(sizes[i]).s);
            bench_add(list, &bench);
        }
}
