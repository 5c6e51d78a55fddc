/* SPDX-License-Identifier: Apache-2.0 */
/* PING and STAT: any core answers them. STAT adds up what all cores and partitions count; the sums
 * are of one moment only as far as the counters are. */
#include <string.h>

#include "dataplane/ops.h"

int op_ping(struct core *core, struct request *request, struct request_op *op,
            struct answer *answer)
{
    struct kvr_ping ping;

    (void)request;
    memcpy(&ping, op->record, sizeof(ping));
    ping.op = (struct kvr_op){0};
    ping.server_ns = core->now_ns;
    answer_record(answer, op, KVR_OK, &ping, sizeof(ping));
    return KVR_OK;
}

static uint64_t answered(const struct core_stats *stats, unsigned op)
{
    uint64_t sum = 0;

    for (unsigned status = 0; status <= KVR_MISFIT; status++)
        sum += counter_read(&stats->ops[op][status]);
    return sum;
}

static bool is_error(unsigned status)
{
    return status != KVR_OK && status != KVR_MISS && status != KVR_EXISTS && status != KVR_STALE;
}

static uint64_t errors(const struct core_stats *stats)
{
    uint64_t sum = 0;

    for (unsigned op = 1; op < KVR_OPCODES; op++)
        for (unsigned status = 0; status <= KVR_MISFIT; status++)
            if (is_error(status))
                sum += counter_read(&stats->ops[op][status]);
    return sum;
}

static void add_core(struct kvr_stat_rep *rep, const struct core_stats *stats)
{
    rep->hits += counter_read(&stats->hits);
    rep->misses += counter_read(&stats->misses);
    rep->gets += answered(stats, KVR_GET);
    rep->puts +=
        counter_read(&stats->ops[KVR_PUT][KVR_OK]) + counter_read(&stats->ops[KVR_COMMIT][KVR_OK]);
    rep->dels += counter_read(&stats->ops[KVR_DEL][KVR_OK]);
    rep->matches += answered(stats, KVR_MATCH);
    rep->errors += errors(stats);
    rep->rx_datagrams += counter_read(&stats->rx_datagrams);
    rep->rx_bytes += counter_read(&stats->rx_bytes);
    rep->tx_datagrams += counter_read(&stats->tx_datagrams);
    rep->tx_bytes += counter_read(&stats->tx_bytes);
    for (unsigned i = 0; i < NR_DROP_REASONS; i++)
        rep->dropped += counter_read(&stats->drops[i]);
}

static void add_partition(struct kvr_stat_rep *rep, const struct part_header *part)
{
    rep->items += counter_read(&part->items);
    rep->bytes += counter_read(&part->value_bytes);
    rep->evictions += counter_read(&part->evictions);
    rep->expired += counter_read(&part->expired);
}

int op_stat(struct core *core, struct request *request, struct request_op *op,
            struct answer *answer)
{
    const struct superblock *sb = core->arena->sb;
    struct kvr_stat_rep rep = {.capacity = sb->data_size};

    (void)request;
    rep.uptime_ms = (core->now_ns - sb->started_ns) / 1000000u;
    for (unsigned i = 0; i < core->nr_cores; i++)
        add_core(&rep, arena_stats(core->arena, i));
    for (unsigned p = 0; p < core->nr_partitions; p++)
        add_partition(&rep, arena_part(core->arena, p));
    answer_record(answer, op, KVR_OK, &rep, sizeof(rep));
    return KVR_OK;
}
