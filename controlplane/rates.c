/* SPDX-License-Identifier: Apache-2.0 */
/* Samples the counters of the arena once a second. */
#include "controlplane/rates.h"

#include "base/clock.h"

#define INTERVAL_MS 1000u

uint64_t ops_total(const struct core_stats *stats, enum kvr_opcode op)
{
    uint64_t total = 0;

    for (unsigned status = 0; status <= KVR_STATUS_WIRE_MAX; status++)
        total += counter_read(&stats->ops[op][status]);
    return total;
}

static void take(const struct arena *arena, struct reading_sum *sum)
{
    *sum = (struct reading_sum){.at_ns = clock_ns()};
    for (unsigned core = 0; core < arena->sb->nr_cores; core++) {
        const struct core_stats *stats = arena_stats(arena, core);

        sum->gets += ops_total(stats, KVR_GET);
        sum->puts += ops_total(stats, KVR_PUT) + ops_total(stats, KVR_COMMIT);
        sum->hits += counter_read(&stats->hits);
        sum->misses += counter_read(&stats->misses);
        sum->rx_datagrams += counter_read(&stats->rx_datagrams);
        sum->rx_bytes += counter_read(&stats->rx_bytes);
        sum->tx_datagrams += counter_read(&stats->tx_datagrams);
        sum->tx_bytes += counter_read(&stats->tx_bytes);
        sum->busy_ns[core] = counter_read(&stats->busy_ns);
    }
    for (unsigned i = 0; i < GPU_ROWS; i++) {
        const struct gpu_row *row = &arena->sb->gpus[i];

        sum->gpus[i] = (struct gpu_reading){.at_ns = counter_read(&row->written_ns),
                                            .load_bytes = counter_read(&row->load_bytes),
                                            .store_bytes = counter_read(&row->store_bytes),
                                            .load_busy_ns = counter_read(&row->load_busy_ns),
                                            .store_busy_ns = counter_read(&row->store_busy_ns)};
    }
}

static void tick(void *owner)
{
    struct rates *rates = owner;

    rates->before = rates->now;
    take(rates->arena, &rates->now);
    loop_arm(rates->loop, &rates->timer, INTERVAL_MS, tick, rates);
}

void rates_start(struct rates *rates, struct loop *loop, const struct arena *arena)
{
    *rates = (struct rates){.loop = loop, .arena = arena};
    tick(rates);
}

void rates_stop(struct rates *rates)
{
    if (rates->loop)
        loop_disarm(rates->loop, &rates->timer);
}

double rates_of(const struct rates *rates, uint64_t before, uint64_t now)
{
    uint64_t ns = rates->now.at_ns - rates->before.at_ns;

    /* Counters start again at 0 with a new arena or dataplane. */
    if (rates->before.at_ns == 0 || ns == 0 || now < before)
        return 0;
    return (double)(now - before) * 1e9 / (double)ns;
}

double rates_busy(const struct rates *rates, unsigned core)
{
    double share = rates_of(rates, rates->before.busy_ns[core], rates->now.busy_ns[core]) / 1e9;

    return share > 1 ? 1 : share;
}
